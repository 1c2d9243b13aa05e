"""ANYmal B follows velocity commands on flat ground: ANYmal C's task, nothing but the robot changed."""

from __future__ import annotations

from envs.config import EnvConfig
from envs.tasks.anymal_c_flat import flat_task
from robots import ANYMAL_B


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, ANYmal B's."""
    cfg.robot = ANYMAL_B
    return cfg


TASKS = (flat_task("anymal_b_flat", "Trot/AnymalBFlat-v0", adapt),)
