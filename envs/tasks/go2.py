"""Go2 follows velocity commands, on flat and rough ground: A1's task with another robot."""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks import a1
from envs.tasks.adapted import robot_tasks
from robots import GO2


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, Go2's."""
    cfg = a1.adapt(cfg)
    cfg.robot = copy.deepcopy(GO2)
    return cfg


TASKS = robot_tasks("go2", "Go2", adapt, on_flat_ground=a1.sturdy, flat_samples={"fast": 3.7e6})
