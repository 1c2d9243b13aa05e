"""Environments in which episodes end within a few steps, and a record of rewards."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401 # registers the tasks
from envs.tasks import Recipe, get_task
from tests.envs.common import lively

FLAT = "Trot/AnymalCFlat-v0"


@pytest.fixture
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes `short`, with episodes of 20 steps, and `clean`, whose critic also has an observation of its own."""

    def clean() -> Any:
        cfg = lively()
        cfg.clean_critic = True
        return cfg

    recipes = get_task("anymal_c_flat").recipes
    monkeypatch.setitem(recipes, "short", Recipe(env=lively))
    monkeypatch.setitem(recipes, "clean", Recipe(env=clean))


class Meter(gym.vector.VectorWrapper):
    """Keeps the mean reward of each step."""

    def __init__(self, env: gym.vector.VectorEnv):
        super().__init__(env)
        self.rewards: list[float] = []

    def step(self, actions: Any) -> Any:
        out = self.env.step(actions)
        self.rewards.append(float(out[1].mean()))
        return out

    def assert_learned(self) -> None:
        """The last quarter of the training earned clearly more than its first steps."""
        first, last = np.mean(self.rewards[:24]), np.mean(self.rewards[-len(self.rewards) // 4 :])
        assert last > first + 0.004, f"reward a step {first:.4f} at the start, {last:.4f} at the end"
