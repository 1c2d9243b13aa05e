"""`gymnasium.make_vec` in NumPy and flat: infos and autoreset as gymnasium's own vector environments have them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers

from envs import LeggedEnv
from interop.arrays import ArraysEnv
from tests.interop.common import FLAT, short_episodes  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("short_episodes")


def make(num_envs: int = 4, **kwargs: Any) -> gym.vector.VectorEnv:
    keywords: dict[str, Any] = {"recipe": "short", "numpy": True, "observation": "policy", "num_threads": 1}
    return gym.make_vec(FLAT, num_envs=num_envs, **keywords | kwargs)


def until_an_end(env: gym.vector.VectorEnv, seed: int = 1) -> tuple[Any, ...]:
    """The first step in which an episode ends, and not all do."""
    env.reset(seed=seed)
    for _ in range(40):
        out = env.step(np.zeros((env.num_envs, 12)))
        done = out[2] | out[3]
        if done.any() and not done.all():
            return out
    raise AssertionError("no episode ended")


def test_without_keywords_it_is_the_plain_environment() -> None:
    assert type(gym.make_vec(FLAT, num_envs=2)) is LeggedEnv


def test_arrays_are_numpy_and_in_their_spaces() -> None:
    env = make(num_envs=3)
    obs, info = env.reset(seed=1)
    assert obs in env.observation_space and env.observation_space.shape == (3, 48) and info == {}
    obs, reward, terminated, truncated, info = env.step(np.zeros((3, 12)))
    assert obs in env.observation_space and obs.dtype == np.float32
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float32, np.bool_, np.bool_)
    assert set(info) == {"log"} and all(value.shape == (3,) for value in info["log"].values())


def test_what_was_returned_stays() -> None:
    env = make()
    first, _ = env.reset(seed=1)
    copy = first.copy()
    env.step(np.ones((4, 12)))
    assert np.array_equal(first, copy)


@pytest.mark.parametrize("observation", ["policy", "dict"])
def test_infos_are_those_of_gymnasiums_same_step_environments(observation: str) -> None:
    theirs = SyncVectorEnv(
        [lambda: gym.make(FLAT, recipe="short", observation=observation) for _ in range(2)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    theirs.reset(seed=1)
    for _ in range(20):
        *_, expected = theirs.step(np.zeros((2, 12)))
    *_, terminated, truncated, info = until_an_end(make(observation=observation))
    assert set(info) - {"log"} == set(expected)
    for key in expected:
        assert type(info[key]) is type(expected[key]), key
    assert info["final_obs"].dtype == expected["final_obs"].dtype == object
    assert np.array_equal(info["_final_obs"], terminated | truncated)
    for last, ended in zip(info["final_obs"], info["_final_obs"], strict=True):
        assert (last is not None) == ended
    last = info["final_obs"][np.flatnonzero(info["_final_obs"])[0]]
    assert type(last) is type(expected["final_obs"][0])


def test_the_critics_own_observation_is_in_the_infos() -> None:
    env = make(recipe="clean")
    obs, info = env.reset(seed=1)
    assert info["critic"].shape == obs.shape and not np.array_equal(info["critic"], obs)
    obs, *_, info = until_an_end(env)
    ended = info["_final_obs"]
    assert np.array_equal(info["final_info"]["_critic"], ended)
    last = np.stack(list(info["final_obs"][ended]))
    assert 0 < abs(last - info["final_info"]["critic"][ended]).max() < 0.6
    assert 0 < abs(obs - info["critic"]).max() < 0.6


def test_tensors_stay_tensors() -> None:
    obs, reward, terminated, truncated, info = until_an_end(make(numpy=False))
    assert all(isinstance(value, torch.Tensor) for value in (obs, reward, terminated, info["final_obs"]))
    assert obs.shape == info["final_obs"].shape == (4, 48)
    assert torch.equal(info["_final_obs"], terminated | truncated)


def test_next_step_is_the_same_episode_told_later() -> None:
    same, late = make(), make(autoreset="next_step")
    assert late.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    *_, info = until_an_end(same)
    obs, _, terminated, truncated, late_info = until_an_end(late)
    done = terminated | truncated
    assert np.array_equal(done, info["_final_obs"]) and "final_obs" not in late_info
    assert np.array_equal(obs[done], np.stack(list(info["final_obs"][done])))
    obs, reward, terminated, truncated, _ = late.step(np.ones((4, 12)))
    assert not (terminated | truncated)[done].any() and not reward[done].any()
    assert not obs[done, -12:].any() and (obs[~done, -12:] == 1.0).all()
    lengths, alive = [], np.zeros(4, int)
    for _ in range(60):
        *_, terminated, truncated, _ = late.step(np.zeros((4, 12)))
        alive += 1
        lengths += list(alive[terminated | truncated])
        alive[terminated | truncated] = 0
    assert max(lengths) == 20, "the step that only begins an episode is one of its twenty"


def test_statistics_of_episodes() -> None:
    env = wrappers.RecordEpisodeStatistics(make())
    total = np.zeros(4)
    env.reset(seed=1)
    for _ in range(40):
        _, reward, terminated, truncated, info = env.step(np.zeros((4, 12)))
        total += reward
        ended = np.flatnonzero(terminated | truncated)
        for i in ended:
            assert info["episode"]["r"][i] == pytest.approx(total[i], abs=1e-5)
            assert 1 <= info["episode"]["l"][i] <= 20
        total[ended] = 0.0
    assert env.episode_count >= 4


def test_wrappers_that_change_actions_and_rewards() -> None:
    inner = make(action_limit=2.0)
    for env, action, done in (
        (wrappers.ClipAction(inner), 3.0, 2.0),
        (wrappers.RescaleAction(inner, -1.0, 1.0), 0.25, 0.5),
    ):
        rewarded = wrappers.TransformReward(wrappers.NormalizeReward(env), lambda reward: 2.0 * reward)
        rewarded.reset(seed=1)
        obs, reward, *_ = rewarded.step(np.full((4, 12), action))
        assert np.isfinite(reward).all() and np.allclose(obs[:, -12:], done)


def test_wrappers_that_change_observations() -> None:
    env = wrappers.NormalizeObservation(make(autoreset="next_step"))
    env.reset(seed=1)
    seen = np.concatenate([env.step(np.zeros((4, 12)))[0] for _ in range(60)])
    assert abs(seen[-100:].mean()) < 0.3 and 0.5 < seen[-100:, :3].std() < 2.0
    flat = wrappers.FlattenObservation(make(observation="dict", autoreset="next_step"))
    assert flat.reset(seed=1)[0].shape == (4, 96)
    with pytest.raises(ValueError, match="NEXT_STEP"):  # gymnasium's rule, not ours
        wrappers.NormalizeObservation(make())


def test_infos_as_a_list() -> None:
    env = wrappers.DictInfoToList(make())
    env.reset(seed=1)
    for _ in range(40):
        *_, terminated, truncated, infos = env.step(np.zeros((4, 12)))
        for i, info in enumerate(infos):
            assert ("final_obs" in info) == bool(terminated[i] | truncated[i])
            assert "Train/lin_vel_error" in info["log"]


@pytest.mark.parametrize("numpy", [True, False])
def test_conversions_between_numpy_and_torch(numpy: bool) -> None:
    pytest.importorskip("array_api_compat")
    from gymnasium.wrappers.vector.array_conversion import ArrayConversion
    from gymnasium.wrappers.vector.numpy_to_torch import NumpyToTorch

    if numpy:
        env: gym.vector.VectorEnv = NumpyToTorch(make(autoreset="next_step"))
        actions: Any = torch.zeros(4, 12)
    else:
        env, actions = ArrayConversion(gym.make_vec(FLAT, num_envs=4), torch, np), np.zeros((4, 12))
    obs, _ = env.reset(seed=1)
    obs, reward, *_ = env.step(actions)
    kind = torch.Tensor if numpy else np.ndarray
    assert isinstance(reward, kind) and isinstance(obs if numpy else obs["policy"], kind)


def test_an_environment_is_wrapped_once() -> None:
    for keywords in ({"numpy": True}, {"observation": "policy"}, {"autoreset": "next_step"}):
        env = gym.make_vec("Trot/AnymalCFlat-v0", num_envs=2, **keywords)
        with pytest.raises(ValueError, match="leave numpy, observation and autoreset out of make_vec"):
            ArraysEnv(env)


def test_wrong_keywords_are_refused_before_anything_is_built() -> None:
    for keywords, message in (
        ({"observation": "flat"}, "observation must be one of dict, policy, not 'flat'"),
        ({"autoreset": "next"}, "autoreset must be one of same_step, next_step, not 'next'"),
        ({"render_mode": "human"}, "render_mode must be rgb_array or None, not 'human'"),
        ({"width": 641, "render_mode": "rgb_array"}, "width and height must be even numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**keywords)
    cart = gym.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(ValueError, match="an environment of gymnasium.make_vec"):
        ArraysEnv(cart)


def test_nothing_that_draws_is_imported_until_something_renders() -> None:
    program = """
import sys, gymnasium, envs
assert "interop" not in sys.modules
gymnasium.make_vec("Trot/AnymalCFlat-v0", num_envs=2, numpy=True)
loaded = [name for name in sys.modules if name.split(".")[0] in ("viewers", "evaluation", "matplotlib")]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
