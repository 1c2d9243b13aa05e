"""What libraries are told of the end of an episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.interop.common import FLAT, short_episodes  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_episodes")


def make(num_envs: int = 4, **kwargs: Any) -> gym.vector.VectorEnv:
    keywords: dict[str, Any] = {"recipe": "short", "num_threads": 1}
    return gym.make_vec(FLAT, num_envs=num_envs, **keywords | kwargs)


@pytest.mark.slow  # the library takes its time to load
def test_stable_baselines_is_told_of_ends() -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    from interop.sb3 import sb3_vec_env

    check_env(gym.make(FLAT, action_limit=1.0).unwrapped)
    env, plain = sb3_vec_env(make()), make(numpy=True, observation="policy")
    env.seed(7)
    assert np.array_equal(env.reset(), plain.reset(seed=7)[0])
    falls = time_outs = 0
    random = np.random.default_rng(0)
    for _ in range(40):
        actions = 6.0 * random.normal(size=(4, 12)).astype(np.float32)
        obs, rewards, dones, infos = env.step(actions)
        expected, expected_rewards, terminated, truncated, info = plain.step(actions)
        assert np.array_equal(obs, expected) and np.array_equal(rewards, expected_rewards)
        assert np.array_equal(dones, terminated | truncated)
        for i in range(4):
            assert ("terminal_observation" in infos[i]) == ("episode" in infos[i]) == dones[i]
            if dones[i]:
                assert infos[i]["TimeLimit.truncated"] == truncated[i]
                assert np.array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
        falls, time_outs = falls + terminated.sum(), time_outs + truncated.sum()
    assert falls and time_outs
    assert env.get_attr("num_envs", [0, 1]) == [4, 4] and env.render_mode is None


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["short", "clean"])
@pytest.mark.parametrize("num_envs", [1, 4])
def test_torchrl_sees_whole_episodes(recipe: str, num_envs: int) -> None:
    pytest.importorskip("torchrl")
    from torchrl.envs.utils import check_env_specs

    from interop.torchrl_env import TorchRLEnv

    check_env_specs(TorchRLEnv(make(num_envs, recipe=recipe)))
    env, plain = TorchRLEnv(make(num_envs, recipe=recipe), seed=3), make(num_envs, recipe=recipe)
    batch = env.rollout(60, lambda *seen: torch.zeros(num_envs, 12), break_when_any_done=False)
    obs, _ = plain.reset(seed=3)
    names = {"observation": "policy"} | ({"critic": "critic"} if recipe == "clean" else {})
    assert ("critic" in batch) == (recipe == "clean")
    ends = []
    for step in range(60):
        for name, ours in names.items():
            assert torch.equal(batch[name][:, step], obs[ours])
        obs, reward, terminated, truncated, info = plain.step(torch.zeros(num_envs, 12))
        after, over = batch["next"][:, step], (terminated | truncated).unsqueeze(1)
        for name, ours in names.items():
            assert torch.equal(after[name], torch.where(over, info["final_obs"][ours], obs[ours]))
        for name, value in (("reward", reward), ("terminated", terminated), ("truncated", truncated)):
            assert torch.equal(after[name].squeeze(1), value)
        ends.append(int(over.sum()))
    assert sum(ends) >= 2 * num_envs


@pytest.mark.slow
def test_skrl_knows_what_kind_of_environment_it_is() -> None:
    pytest.importorskip("skrl")
    from skrl.envs.wrappers.torch import wrap_env

    for keywords in ({"observation": "policy"}, {"numpy": True, "observation": "policy"}):
        env = wrap_env(make(**keywords), verbose=False)
        assert (env.num_envs, env.observation_space.shape, env.action_space.shape) == (4, (48,), (12,))
        obs, _ = env.reset()
        obs, reward, terminated, truncated, _ = env.step(torch.zeros(4, 12))
        assert obs.shape == (4, 48) and reward.shape == terminated.shape == truncated.shape == (4, 1)
    assert wrap_env(gym.make(FLAT), verbose=False).num_envs == 1
