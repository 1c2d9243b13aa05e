"""ANYmal C with an arm follows velocity commands on flat ground: nothing but the robot changed."""

from __future__ import annotations

from envs.config import EnvConfig
from envs.tasks.anymal_c_flat import flat_task
from robots import ANYMAL_C_ARM


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, that of ANYmal C with an arm."""
    cfg.robot = ANYMAL_C_ARM
    return cfg


TASKS = (flat_task("anymal_c_arm_flat", "Trot/AnymalCArmFlat-v0", adapt),)
