"""A1 follows velocity commands on flat and rough ground.

What differs from ANYmal C are the reference method's values for A1 (Rudin et al. 2021, published code).
"""

from __future__ import annotations

import copy

from envs.config import EnvConfig
from envs.tasks.adapted import robot_tasks
from robots import A1


def adapt(cfg: EnvConfig) -> EnvConfig:
    """Make ANYmal C's task, on any ground, A1's."""
    cfg.robot = copy.deepcopy(A1)
    cfg.control.action_scale = 0.25
    cfg.randomisation.added_base_mass = (0.0, 0.0)  # ANYmal's 5 kg are more than this base weighs
    cfg.rewards["torques"].weight = -2e-4
    cfg.rewards["dof_pos_limits"].weight = -10.0
    cfg.rewards["dof_pos_limits"].params["soft_limit"] = 0.9
    cfg.rewards["base_height"].params["target"] = 0.25
    return cfg


def sturdy(cfg: EnvConfig) -> EnvConfig:
    """What a small robot's `fast` recipe needs on flat ground beyond ANYmal's.

    Commands drawn at random are almost never those that robots are told most: straight ahead, turning on the spot,
    standing; nor do noisy starts resemble a robot that has just stood up. Left alone, a light robot may learn to
    bound, which a symmetric policy that is told to go straight ahead never leaves. Its drives have more friction and
    inertia than a model says. Where a fifth of the robots observed without noise, A1 stood with a foot in the air.
    """
    cfg.noise.clean_share = 0.0
    cfg.commands.single_axis_share = 0.3
    cfg.init.nominal_share = 0.2
    for name, weight in {"torques": -1e-4, "trot": 0.5, "stand_still": -0.5}.items():
        cfg.rewards[name].weight = weight
    cfg.rewards["feet_air_time"].params["min_turn"] = 0.1
    cfg.rewards["stand_still"].params["max_turn"] = 0.1
    random = cfg.randomisation
    random.added_joint_damping, random.added_friction_loss = (0.0, 1.0), (0.0, 0.3)
    random.stiffness_factor = random.damping_factor = (0.9, 1.1)
    random.armature_factor = (0.8, 2.5)
    cfg.drive.delay = (0.0, 0.01)
    return cfg


TASKS = robot_tasks(
    "a1",
    "A1",
    adapt,
    on_flat_ground=sturdy,
    flat_samples={"fast": 2.5e6},
    rough_samples={"gpu": 59e6},
)
