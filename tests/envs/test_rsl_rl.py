"""rsl_rl on this project's environment: the adapter, and training through runs/rsl_rl_runner.py."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch
from rsl_rl.env import VecEnv
from torch import Tensor

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from envs import LeggedEnv
from envs.rsl_rl import RslRlVecEnv
from runs.config import RunConfig, default_config, load_config
from runs.folders import NOTE
from runs.rsl_rl_runner import make_runner, train_rsl_rl
from tests.envs.common import lively, make, random_actions

N = 6


def adapter(seed: int = 1) -> RslRlVecEnv:
    return RslRlVecEnv(LeggedEnv(lively(), N, num_threads=1, seed=seed), seed=seed)


def tiny_agent(**policy: Any) -> LearnerConfig:
    sizes: dict[str, Any] = {"actor_hidden": (16, 8), "critic_hidden": (8,)}
    return LearnerConfig(PolicyConfig(**(sizes | policy)), PPOConfig(num_steps=4, num_epochs=2))


def tiny_run(folder: Path) -> RunConfig:
    cfg = default_config("anymal_c_flat", "reference")
    cfg.num_envs, cfg.max_iterations, cfg.log_dir, cfg.run_name = N, 2, str(folder), "tiny"
    cfg.agent = tiny_agent()
    return cfg


def test_it_is_what_rsl_rl_asks_for() -> None:
    env = adapter()
    assert isinstance(env, VecEnv)
    assert (env.num_envs, env.num_actions, env.max_episode_length) == (N, 12, 20)
    assert env.cfg is env.env.cfg and env.device == torch.device("cpu")
    obs = env.get_observations()
    assert obs.batch_size == (N,) and obs["policy"].shape == (N, 48)


def test_steps_are_those_of_the_environment() -> None:
    env, plain = adapter(seed=3), LeggedEnv(lively(), N, num_threads=1, seed=3)
    plain.reset(seed=3)
    falls = time_outs = 0
    for actions in random_actions(plain, 40, spread=3.0):
        obs, rewards, dones, extras = env.step(actions)
        expected, expected_rewards, terminated, truncated, _ = plain.step(actions)
        assert torch.equal(obs["policy"], expected["policy"])
        assert torch.equal(rewards, expected_rewards)
        assert torch.equal(dones, (terminated | truncated).long())
        assert torch.equal(extras["time_outs"], truncated)
        falls, time_outs = falls + int(terminated.sum()), time_outs + int(truncated.sum())
    assert falls and time_outs


def test_observations_stay_as_they_were_returned() -> None:
    env = adapter()
    obs = env.get_observations()
    before = obs["policy"].clone()
    env.step(torch.ones(N, 12))
    assert torch.equal(obs["policy"], before)
    assert not torch.equal(env.get_observations()["policy"], before)


def test_rsl_rl_stores_the_observations_it_acted_on() -> None:
    env = adapter()
    runner = make_runner(env, tiny_agent(), seed=1, log_dir=None)
    obs = env.get_observations()
    acted_on = [obs["policy"].clone()]
    for _ in range(3):
        obs, rewards, dones, extras = env.step(runner.alg.act(obs))
        runner.alg.process_env_step(obs, rewards, dones, extras)
        acted_on.append(obs["policy"].clone())
    assert torch.equal(runner.alg.storage.observations["policy"][:3], torch.stack(acted_on[:3]))


def test_episode_lengths_can_be_written() -> None:
    env = adapter()
    env.episode_length_buf = torch.arange(N)
    assert env.env.episode_length.tolist() == list(range(N))
    assert env.episode_length_buf is env.env.episode_length
    assert not env.env.state.time.any(), "nothing was walked yet"
    env.step(torch.zeros(N, env.num_actions))
    assert env.env.state.time.tolist() == pytest.approx([env.env.step_dt] * N)


def test_a_critic_with_its_own_observations_gets_them() -> None:
    obs = {"policy": torch.zeros(2, 3), "critic": torch.ones(2, 5)}
    inner: Any = types.SimpleNamespace(
        num_envs=2,
        num_actions=1,
        max_episode_length=5,
        device=torch.device("cpu"),
        cfg=None,
        reset=lambda seed: (obs, {}),
        get_observations=lambda: obs,
    )
    env = RslRlVecEnv(inner)
    assert env.obs_groups == {"actor": ["policy"], "critic": ["critic"]}
    assert env.get_observations()["critic"].shape == (2, 5)
    assert adapter().obs_groups == {"actor": ["policy"], "critic": ["policy"]}


def test_averages_over_episodes_outlast_steps_in_which_none_ended() -> None:
    env = adapter()

    def passed_on(fall_rate: float, finished: float) -> dict[str, float]:
        log: dict[str, Tensor] = {
            "Episode/fall_rate": torch.tensor(fall_rate),
            "Episode/finished": torch.tensor(finished),
            "Train/lin_vel_error": torch.tensor(0.25),
        }
        return {name: float(value) for name, value in env._log(log).items()}

    assert passed_on(0.5, 2.0)["Episode/fall_rate"] == 0.5
    assert passed_on(0.0, 0.0) == {
        "Episode/fall_rate": 0.5,
        "Episode/finished": 0.0,
        "Train/lin_vel_error": 0.25,
    }
    assert passed_on(0.0, 1.0)["Episode/fall_rate"] == 0.0


@pytest.mark.parametrize("init", ["default", "orthogonal"])
def test_networks_are_the_configured_ones(init: str) -> None:
    agent = tiny_agent(init=init, init_std=0.5, std_range=(0.1, 0.8), normalise_obs=True)
    algorithm = make_runner(adapter(), agent, seed=1, log_dir=None).alg
    actor = [tuple(layer.weight.shape) for layer in algorithm.actor.mlp if hasattr(layer, "weight")]
    critic = [tuple(layer.weight.shape) for layer in algorithm.critic.mlp if hasattr(layer, "weight")]
    assert actor == [(16, 48), (8, 16), (12, 8)] and critic == [(8, 48), (1, 8)]
    torch.testing.assert_close(algorithm.actor.distribution.log_std_param.exp(), torch.full((12,), 0.5))
    assert algorithm.actor.distribution.std_range == [0.1, 0.8]
    assert algorithm.actor.obs_normalization and algorithm.critic.obs_normalization
    last = algorithm.actor.mlp[-1]
    if init == "orthogonal":
        gram = last.weight.T @ last.weight
        torch.testing.assert_close(gram, 1e-4 * torch.eye(8), rtol=0.0, atol=1e-6)
        assert not last.bias.any()
    else:
        assert last.bias.any()


def test_training_leaves_a_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTE, str(tmp_path / "note"))
    assert train_rsl_rl(tiny_run(tmp_path), threads=1) == 0
    (folder,) = (tmp_path / "anymal_c_flat_rsl_rl").iterdir()
    assert folder.name.endswith("_tiny") and (tmp_path / "note").read_text() == str(folder)
    assert {"config.yaml", "model_0.pt", "model_1.pt"} <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("events.out.tfevents.*"))
    assert load_config(folder / "config.yaml").agent.policy.actor_hidden == (16, 8)
    assert str(folder) in capsys.readouterr().out


def test_check_trains_nothing_that_lasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = tiny_run(tmp_path)
    cfg.check = True
    assert train_rsl_rl(cfg, threads=1) == 0
    assert "env-steps/s" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsl_rl.algorithms import PPO

    def interrupted(self: PPO) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PPO, "update", interrupted)
    assert train_rsl_rl(tiny_run(tmp_path), threads=1) == 130
    assert list(tmp_path.glob("*/*/model_0.pt"))


def test_what_rsl_rl_cannot_do_is_refused(tmp_path: Path) -> None:
    cfg = tiny_run(tmp_path)
    cfg.agent.policy.symmetry = "equivariant"
    with pytest.raises(ValueError, match="without equivariant symmetry; give --agent.policy.symmetry none"):
        train_rsl_rl(cfg, threads=1)
    cfg = tiny_run(tmp_path)
    cfg.agent.policy.recurrent = "gru"
    with pytest.raises(ValueError, match="give --agent.policy.recurrent none"):
        train_rsl_rl(cfg, threads=1)
    cfg = tiny_run(tmp_path)
    cfg.agent.ppo.learning_rate_range = (1e-6, 1e-2)
    with pytest.raises(ValueError, match="learning_rate_range"):
        train_rsl_rl(cfg, threads=1)
    cfg = tiny_run(tmp_path)
    cfg.agent.ppo.kl_half_life = 100
    with pytest.raises(ValueError, match="give --agent.ppo.kl_half_life 0"):
        train_rsl_rl(cfg, threads=1)
    cfg = tiny_run(tmp_path)
    cfg.agent.ppo.entropy_half_life = 100
    with pytest.raises(ValueError, match="--agent.ppo.entropy_half_life 0, or"):
        train_rsl_rl(cfg, threads=1)
    assert not list(tmp_path.iterdir())


def test_two_runs_with_one_seed_learn_the_same() -> None:
    weights = []
    for _ in range(2):
        runner = make_runner(RslRlVecEnv(make(lively(), N), seed=5), tiny_agent(), seed=5, log_dir=None)
        runner.learn(2)
        weights.append(torch.cat([p.detach().flatten() for p in runner.alg.actor.parameters()]))
    assert torch.equal(*weights)
