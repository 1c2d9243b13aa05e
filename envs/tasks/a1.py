"""A1 follows velocity commands on flat and rough ground.

What differs from ANYmal C are the reference method's values for A1 (Rudin et al. 2021, published code).
"""

from __future__ import annotations

from envs.config import EnvConfig
from envs.tasks.adapted import robot_tasks
from robots import A1


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, A1's."""
    cfg.robot = A1
    cfg.control.action_scale = 0.25
    cfg.randomisation.added_base_mass = (0.0, 0.0)  # ANYmal's 5 kg are more than this base weighs
    cfg.rewards["torques"].weight = -2e-4
    cfg.rewards["dof_pos_limits"].weight = -10.0
    cfg.rewards["dof_pos_limits"].params["soft_limit"] = 0.9
    cfg.rewards["base_height"].params["target"] = 0.25
    return cfg


TASKS = robot_tasks("a1", "A1", adapt)
