"""Go1 follows velocity commands, on flat and rough ground: A1's task with another robot."""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks import a1
from envs.tasks.adapted import robot_tasks
from robots import GO1


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, Go1's."""
    cfg = a1.adapt(cfg)
    cfg.robot = copy.deepcopy(GO1)
    return cfg


TASKS = robot_tasks("go1", "Go1", adapt, on_flat_ground=a1.sturdy, flat_samples={"fast": 3.1e6})
