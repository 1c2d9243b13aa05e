"""Cassie, a biped, follows velocity commands on flat and rough ground.

What differs from ANYmal C are the reference method's values for Cassie (Rudin et al. 2021, published code), but for
the start pose: with knees bent half or one and a half times as much, robots begin 5 cm in the ground or 0.47 m above.
"""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks.adapted import robot_tasks
from robots import CASSIE

WEIGHTS = {
    "tracking_ang_vel": 1.0,
    "lin_vel_z": -0.5,
    "ang_vel_xy": 0.0,
    "torques": -5e-6,
    "dof_acc": -2e-7,
    "collision": 0.0,
    "feet_air_time": 5.0,
    "no_fly": 0.25,
    "dof_pos_limits": -1.0,
    "termination": -200.0,
}


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, Cassie's."""
    cfg.robot = copy.deepcopy(CASSIE)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.init.joint_scale = (0.8, 1.2)
    cfg.scan.x = cfg.scan.y = (-0.5, 0.5)
    cfg.only_positive_rewards = False
    for name, weight in WEIGHTS.items():
        cfg.rewards[name].weight = weight
    cfg.rewards["dof_pos_limits"].params["soft_limit"] = 0.95
    cfg.rewards["feet_contact_forces"].params["max_force"] = 300.0
    cfg.rewards["base_height"].params["target"] = 0.85
    return cfg


TASKS = robot_tasks("cassie", "Cassie", adapt, flat_samples={"fast": 5e6}, rough_samples={"gpu": 49.2e6})
