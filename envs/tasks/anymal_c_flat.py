"""ANYmal C follows velocity commands on flat ground.

Values are the reference method's (code column, flat task; Rudin et al. 2021). `adapted.robot_tasks` makes the same
task for another robot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envs import observations as obs
from envs import rewards as rew
from envs.config import EnvConfig, ObservationTerm, RewardTerm
from envs.targets import FLAT
from envs.tasks import Recipe, Task, for_gpu


def observation_terms() -> dict[str, ObservationTerm]:
    """The reference's 48 values, in its order."""
    return {
        "base_lin_vel": ObservationTerm(obs.base_lin_vel, (2.0,), 0.1, "vector"),
        "base_ang_vel": ObservationTerm(obs.base_ang_vel, (0.25,), 0.2, "axial"),
        "projected_gravity": ObservationTerm(obs.projected_gravity, (1.0,), 0.05, "vector"),
        "command": ObservationTerm(obs.command, (2.0, 2.0, 0.25), 0.0, "command"),
        "joint_pos": ObservationTerm(obs.joint_pos, (1.0,), 0.01, "joints"),
        "joint_vel": ObservationTerm(obs.joint_vel, (0.05,), 1.5, "joints"),
        "previous_action": ObservationTerm(obs.previous_action, (1.0,), 0.0, "joints"),
    }


def reward_terms() -> dict[str, RewardTerm]:
    """Every reward of the reference; weight 0 switches a term off, as those are that it has not."""
    return {
        "tracking_lin_vel": RewardTerm(rew.tracking_lin_vel, 1.0, {"sigma": 0.25}),
        "tracking_ang_vel": RewardTerm(rew.tracking_ang_vel, 0.5, {"sigma": 0.25}),
        "tracking_lin_vel_fine": RewardTerm(rew.tracking_lin_vel, 0.0, {"sigma": 0.02}),
        "tracking_ang_vel_fine": RewardTerm(rew.tracking_ang_vel, 0.0, {"sigma": 0.02}),
        "lin_vel_error": RewardTerm(rew.lin_vel_error, 0.0),
        "ang_vel_error": RewardTerm(rew.ang_vel_error, 0.0),
        "lin_vel_z": RewardTerm(rew.lin_vel_z, -2.0),
        "ang_vel_xy": RewardTerm(rew.ang_vel_xy, -0.05),
        "orientation": RewardTerm(rew.orientation, -5.0),
        "torques": RewardTerm(rew.torques, -2.5e-5),
        "dof_vel": RewardTerm(rew.dof_vel, 0.0),
        "dof_acc": RewardTerm(rew.dof_acc, -2.5e-7),
        "action_rate": RewardTerm(rew.action_rate, -0.01),
        "base_height": RewardTerm(rew.base_height, 0.0, {"target": 0.5}),
        "collision": RewardTerm(rew.collision, -1.0),
        "feet_air_time": RewardTerm(rew.feet_air_time, 2.0, {"target": 0.5}),
        "feet_slip": RewardTerm(rew.feet_slip, 0.0),
        "no_fly": RewardTerm(rew.no_fly, 0.0),
        "trot": RewardTerm(rew.trot, 0.0),
        "stumble": RewardTerm(rew.stumble, 0.0),
        "stand_still": RewardTerm(rew.stand_still, 0.0),
        "feet_contact_forces": RewardTerm(rew.feet_contact_forces, 0.0, {"max_force": 350.0}),
        "dof_pos_limits": RewardTerm(rew.dof_pos_limits, 0.0, {"soft_limit": 0.9}),
        "dof_vel_limits": RewardTerm(rew.dof_vel_limits, 0.0, {"soft_limit": 1.0}),
        "torque_limits": RewardTerm(rew.torque_limits, 0.0, {"soft_limit": 1.0}),
        "termination": RewardTerm(rew.termination, 0.0),
    }


def reference() -> EnvConfig:
    """The task with the published values."""
    return EnvConfig(rewards=reward_terms(), observations=observation_terms())


def fast() -> EnvConfig:
    """Rewards rebalanced for few samples.

    What the reference does against jitter outweighs tracking by far while the policy is still noise, and its
    0.5 s air-time target punishes every early step; both teach a robot to stand still first. Here tracking counts
    twice, penalties less, and a swing need only last a quarter of a second. Negative totals are not clipped, so
    that every penalty is felt. The reference's reward for tracking is so wide that a robot may lag by 0.05 m/s for
    1 % of it; narrow alone it is out of reach of a robot that stands. So there is a narrow one beside it.
    """
    cfg = reference()
    cfg.only_positive_rewards = False
    # most falls follow a reversal of a fast command, so there are more of them, and faster ones than are asked for
    cfg.commands.resampling_time = 2.5
    cfg.commands.lin_vel_x = cfg.commands.lin_vel_y = (-1.2, 1.2)
    cfg.noise.clean_share = 0.2  # a policy that only ever saw noise lags, or falls, without it
    weights = {
        "tracking_lin_vel": 2.0,
        "tracking_ang_vel": 1.0,
        "tracking_lin_vel_fine": 0.5,
        "tracking_ang_vel_fine": 0.25,
        "lin_vel_z": -1.0,
        "ang_vel_xy": -0.02,
        "orientation": -2.5,
        "torques": -1e-5,
        "dof_acc": -1e-7,
        "collision": -0.5,
        "feet_air_time": 5.0,
        "feet_slip": -0.2,
        "termination": -15.0,
    }
    for name, weight in weights.items():
        cfg.rewards[name].weight = weight
    cfg.rewards["feet_air_time"].params["target"] = 0.25
    return cfg


LEARNER: dict[str, Any] = {
    "policy": {"symmetry": "equivariant", "init_std": 0.6},
    "ppo": {"desired_kl": 0.02, "kl_half_life": 1000, "entropy_coef": 0.003},
    "average_decay": 0.97,
}


def eager(learner: dict[str, Any], kl_half_life: int) -> dict[str, Any]:
    """A learner for few robots: short rollouts, many updates, much exploration.

    The step that a policy may take in an update is what limits early learning, and robots that explore by little
    stand for a million samples before they step.
    """
    return learner | {
        "policy": learner["policy"] | {"init_std": 1.0},
        "ppo": learner["ppo"] | {"num_steps": 12, "kl_half_life": kl_half_life},
        "save_interval": 100,
    }


# A policy that keeps exploring leaves part of the stepping to its noise: without it feet may stop after a new command
# until the robot falls. One that explores little from the start learns short, shuffling steps.
FADING = LEARNER | {"ppo": LEARNER["ppo"] | {"entropy_half_life": 400}}

FAST = Recipe(
    env=fast,
    agent=eager(FADING, kl_half_life=2000),
    num_envs=512,
    max_iterations=2000,
)

TASKS = (
    Task(
        name="anymal_c_flat",
        recipes={
            "fast": FAST,
            "gpu": for_gpu(replace(FAST, agent=LEARNER), max_iterations=400, save_interval=400),
            "reference": Recipe(env=reference, num_envs=4096, max_iterations=300),
        },
        gym_id="Trot/AnymalCFlat-v0",
        targets=FLAT,
        samples_needed={"fast": 3.1e6, "gpu": 20e6},
    ),
)
