"""ANYmal C with an arm follows velocity commands, on flat and rough ground: nothing but the robot changed."""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks.adapted import robot_tasks
from robots import ANYMAL_C_ARM


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, that of ANYmal C with an arm."""
    cfg.robot = copy.deepcopy(ANYMAL_C_ARM)
    return cfg


TASKS = robot_tasks("anymal_c_arm", "AnymalCArm", adapt, flat_samples={"fast": 9.3e6})
