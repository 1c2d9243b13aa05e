"""What rsl_rl has beside plain PPO runs on the adapter: memories, symmetry, curiosity, distillation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rsl_rl.runners import DistillationRunner, OnPolicyRunner
from tensordict import TensorDict

from envs import LeggedEnv
from envs.rsl_rl import RslRlVecEnv, with_mirror_images
from runs.rsl_rl_runner import runner_config
from tests.envs.common import lively
from tests.envs.test_rsl_rl import N, tiny_agent


def adapter(own_critic: bool = False) -> RslRlVecEnv:
    cfg = lively()
    cfg.clean_critic = own_critic
    return RslRlVecEnv(LeggedEnv(cfg, N, num_threads=1), seed=1)


def config(env: RslRlVecEnv, **algorithm: Any) -> dict[str, Any]:
    cfg = runner_config(tiny_agent(), env.obs_groups)
    cfg["algorithm"] |= algorithm
    return cfg


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten().clone() for value in module.parameters()])


def learn(env: RslRlVecEnv, cfg: dict[str, Any]) -> OnPolicyRunner:
    """Two iterations, after which all weights are others, and finite."""
    runner = OnPolicyRunner(env, cfg, None, "cpu")
    before = weights(runner.alg.actor)
    runner.learn(2)
    after = weights(runner.alg.actor)
    assert torch.isfinite(after).all() and not torch.equal(before, after)
    return runner


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_memories(kind: str) -> None:
    env = adapter(own_critic=True)
    cfg = config(env)
    for model in ("actor", "critic"):
        cfg[model] |= {"class_name": "RNNModel", "rnn_type": kind, "rnn_hidden_dim": 8, "rnn_num_layers": 1}
    runner = learn(env, cfg)
    hidden = runner.alg.actor.get_hidden_state()
    assert runner.alg.actor.is_recurrent and hidden is not None


def test_mirror_images() -> None:
    env = adapter(own_critic=True)
    obs, actions = env.get_observations(), torch.randn(N, env.num_actions)
    assert set(obs.keys()) == {"policy", "critic"}
    both, acted = with_mirror_images(env, obs, actions)
    assert both is not None and acted is not None and both.batch_size == (2 * N,)
    assert torch.equal(both[:N]["policy"], obs["policy"]) and torch.equal(acted[:N], actions)
    twice, acted_twice = with_mirror_images(env, both[N:], acted[N:])
    assert twice is not None and acted_twice is not None
    for name in obs.keys():  # noqa: SIM118
        assert not torch.equal(both[N:][name], obs[name])
        torch.testing.assert_close(twice[N:][name], obs[name])
    torch.testing.assert_close(acted_twice[N:], actions)
    # a robot that turns left is told to turn right in the mirror
    columns = list(env.env.obs_layout)
    yaw = sum(env.env.obs_layout[name] for name in columns[: columns.index("command")]) + 2
    torch.testing.assert_close(both["policy"][N:, yaw], -obs["policy"][:, yaw])
    assert with_mirror_images(env, None, None) == (None, None)


@pytest.mark.parametrize("flags", [{"use_data_augmentation": True}, {"use_mirror_loss": True}])
def test_symmetry(flags: dict[str, bool]) -> None:
    env = adapter(own_critic=True)
    symmetry = {"data_augmentation_func": with_mirror_images, "mirror_loss_coeff": 0.5, **flags}
    learn(env, config(env, symmetry_cfg=symmetry))


def test_the_mirror_loss_makes_a_policy_symmetric() -> None:
    env = adapter()
    symmetry = {
        "data_augmentation_func": "envs.rsl_rl:with_mirror_images",
        "use_mirror_loss": True,
        "mirror_loss_coeff": 1e3,
    }

    def asymmetry(actor: Any) -> float:
        obs = TensorDict({"policy": torch.randn(64, env.env.num_obs, generator=torch.Generator())}, [64])
        both, _ = with_mirror_images(env, obs, None)
        with torch.no_grad():
            _, wanted = with_mirror_images(env, None, actor(obs))
            assert wanted is not None
            return float((actor(both)[64:] - wanted[64:]).square().mean())

    runner = OnPolicyRunner(env, config(env, symmetry_cfg=symmetry, num_learning_epochs=10), None, "cpu")
    before = asymmetry(runner.alg.actor)
    runner.learn(3)
    assert asymmetry(runner.alg.actor) < 0.5 * before


def test_curiosity() -> None:
    env = adapter()
    cfg = config(
        env,
        rnd_cfg={
            "weight": 0.1,
            "num_outputs": 4,
            "predictor_hidden_dims": [16],
            "target_hidden_dims": [16],
            "state_normalization": True,
            "reward_normalization": True,
        },
    )
    cfg["obs_groups"]["rnd_state"] = ["policy"]
    runner = learn(env, cfg)
    assert runner.alg.rnd is not None and runner.alg.intrinsic_rewards is not None
    assert float(runner.alg.intrinsic_rewards.abs().sum()) > 0.0


def test_distillation_makes_a_student_like_its_teacher(tmp_path: Path) -> None:
    env = adapter(own_critic=True)
    cfg = config(env)
    teacher = learn(env, cfg)
    teacher.save(str(tmp_path / "teacher.pt"))
    student = {
        "num_steps_per_env": 6,
        "save_interval": 100,
        "logger": "tensorboard",
        "obs_groups": {"student": ["policy"], "teacher": ["policy"]},
        "student": dict(config(env)["actor"]),
        "teacher": dict(config(env)["actor"]),
        "algorithm": {
            "class_name": "Distillation",
            "num_learning_epochs": 10,
            "gradient_length": 3,
            "learning_rate": 1e-2,
        },
    }
    runner = DistillationRunner(env, student, None, "cpu")
    with pytest.raises(ValueError, match="[Tt]eacher"):
        runner.learn(1)
    runner.load(str(tmp_path / "teacher.pt"))

    def difference() -> float:
        obs = env.get_observations()
        with torch.no_grad():
            return float((runner.alg.student(obs) - teacher.alg.actor(obs)).square().mean())

    before = difference()
    runner.learn(3)
    assert math.isfinite(before) and difference() < 0.5 * before
