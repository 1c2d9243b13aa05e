"""Go1 follows velocity commands on flat ground: A1's task with another robot."""

from __future__ import annotations

from envs.config import EnvConfig
from envs.tasks import a1_flat
from envs.tasks.anymal_c_flat import flat_task
from robots import GO1


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, Go1's."""
    cfg = a1_flat.adapt(cfg)
    cfg.robot = GO1
    return cfg


TASKS = (flat_task("go1_flat", "Trot/Go1Flat-v0", adapt),)
