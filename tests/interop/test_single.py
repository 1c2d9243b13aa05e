"""One robot through `gymnasium.make`: what gymnasium's checker and wrappers ask for."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from interop.gymnasium_envs import SingleEnv
from tests.interop.common import FLAT, short_episodes  # noqa: F401
from tests.viewers.test_video import has_opengl


def test_gymnasium_finds_nothing_to_complain_of() -> None:
    env = gym.make(FLAT, action_limit=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=not has_opengl())


def test_observation_and_action_are_flat_boxes() -> None:
    env = gym.make(FLAT)
    obs, info = env.reset(seed=1)
    assert isinstance(env.observation_space, gym.spaces.Box) and obs.shape == (48,) and info == {}
    obs, reward, terminated, truncated, info = env.step(np.zeros(12))
    assert obs.dtype == np.float32 and obs in env.observation_space
    assert (type(reward), terminated, truncated, info) == (float, False, False, {})


def test_an_episode_goes_on_until_its_time_limit_and_no_further(short_episodes: None) -> None:  # noqa: F811
    env = gym.make(FLAT, recipe="short")
    for seed in (1, None, 2, None):
        env.reset(seed=seed)
        ends = []
        for _ in range(20):
            before = env.unwrapped.vector.unwrapped.action.clone()  # type: ignore[attr-defined]
            obs, _, terminated, truncated, _ = env.step(np.full(12, 0.1))
            ends.append((terminated, truncated))
        assert ends == [(False, False)] * 19 + [(False, True)]
        # the last observation is the old episode's: its previous action is what was done, not zeros
        np.testing.assert_allclose(obs[-12:], 0.1, atol=1e-6)
        assert before.abs().sum() > 0
        obs, _ = env.reset()
        assert not obs[-12:].any()


def test_what_is_not_seeded_differs_and_what_is_does_not() -> None:
    first = [gym.make("Trot/AnymalCFlat-v0").reset()[0] for _ in range(2)]
    assert not np.array_equal(*first)
    seeded = [gym.make("Trot/AnymalCFlat-v0").reset(seed=5)[0] for _ in range(2)]
    assert np.array_equal(*seeded)


def test_a_fall_terminates(short_episodes: None) -> None:  # noqa: F811
    env = gym.make(FLAT, recipe="short")
    random, falls = np.random.default_rng(0), 0
    for _ in range(5):
        env.reset()
        over = False
        while not over:
            *_, terminated, truncated, _ = env.step(6.0 * random.normal(size=12))
            over, falls = terminated or truncated, falls + terminated
    assert falls


def test_the_critics_own_observation_is_in_the_info_or_the_observation(short_episodes: None) -> None:  # noqa: F811
    env = gym.make(FLAT, recipe="clean")
    obs, info = env.reset(seed=3)
    assert info["critic"].shape == (48,) and 0 < abs(obs - info["critic"]).max() < 0.6
    for _ in range(20):
        obs, *_, info = env.step(np.zeros(12))
        assert 0 < abs(obs - info["critic"]).max() < 0.6
    env = gym.make(FLAT, recipe="clean", observation="dict")
    obs, info = env.reset(seed=3)
    assert set(obs) == {"policy", "critic"} and info == {} and obs in env.observation_space
    for _ in range(20):
        obs, *_ = env.step(np.zeros(12))
        assert set(obs) == {"policy", "critic"} and obs["critic"].shape == (48,)


def test_wrappers_of_single_environments(short_episodes: None) -> None:  # noqa: F811
    env: Any = gym.make(FLAT, recipe="short", action_limit=2.0)
    env = gym.wrappers.NormalizeReward(
        gym.wrappers.NormalizeObservation(gym.wrappers.RecordEpisodeStatistics(env))
    )
    env = gym.wrappers.RescaleAction(env, np.float32(-1.0), np.float32(1.0))
    env.reset(seed=1)
    for _ in range(20):
        *_, truncated, info = env.step(np.zeros(12))
    assert truncated and info["episode"]["l"] == 20


def test_several_by_gymnasiums_own_vectorisation(short_episodes: None) -> None:  # noqa: F811
    env = gym.make_vec(FLAT, num_envs=2, vectorization_mode="sync", recipe="short")
    env.reset(seed=1)
    for _ in range(20):
        *_, truncated, _ = env.step(np.zeros((2, 12)))
    assert truncated.all()


def test_what_cannot_be_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="one of dict, policy, not 'polici'. Did you mean policy"):
        SingleEnv("anymal_c_flat", observation="polici")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="render_mode must be rgb_array or None, not 'ansi'"):
        SingleEnv("anymal_c_flat", render_mode="ansi")
    with pytest.raises(
        ValueError, match="action_limit must be a positive number, or 0 for the task's, not -1"
    ):
        SingleEnv("anymal_c_flat", action_limit=-1.0)
