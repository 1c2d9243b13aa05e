"""ANYmal B follows velocity commands, on flat and rough ground: ANYmal C's task, nothing but the robot changed."""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks.adapted import robot_tasks
from robots import ANYMAL_B


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, ANYmal B's."""
    cfg.robot = copy.deepcopy(ANYMAL_B)
    return cfg


TASKS = robot_tasks("anymal_b", "AnymalB", adapt, flat_samples={"fast": 4.4e6}, rough_samples={"gpu": 39.4e6})
