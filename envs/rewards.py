"""Reward terms: free functions of a `RobotState`, each returning [N].

Formulas are those of the reference method (Rudin et al., Learning to Walk in Minutes, CoRL 2021, arXiv
2109.11978, and its published code); names are the code's. Weights and parameters are a task's business.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from envs.state import RobotState


def tracking_lin_vel(state: RobotState, sigma: float = 0.25) -> Tensor:
    """exp(-|v_xy* - v_xy|^2 / sigma), base frame, sigma in m^2/s^2."""
    error = (state.command[:, :2] - state.base_lin_vel[:, :2]).square().sum(1)
    return torch.exp(error * (-1.0 / sigma))


def tracking_ang_vel(state: RobotState, sigma: float = 0.25) -> Tensor:
    """exp(-(w_z* - w_z)^2 / sigma), base frame, sigma in rad^2/s^2."""
    return torch.exp((state.command[:, 2] - state.base_ang_vel[:, 2]).square() * (-1.0 / sigma))


def lin_vel_error(state: RobotState) -> Tensor:
    """|v_xy* - v_xy|, m/s: unlike the exponential, it has a slope far from the command too."""
    return (state.command[:, :2] - state.base_lin_vel[:, :2]).norm(dim=1)


def ang_vel_error(state: RobotState) -> Tensor:
    """|w_z* - w_z|, rad/s."""
    return (state.command[:, 2] - state.base_ang_vel[:, 2]).abs()


def lin_vel_z(state: RobotState) -> Tensor:
    """Square of the base's vertical velocity, m^2/s^2."""
    return state.base_lin_vel[:, 2].square()


def ang_vel_xy(state: RobotState) -> Tensor:
    """Square of the base's roll and pitch rates, rad^2/s^2."""
    return state.base_ang_vel[:, :2].square().sum(1)


def orientation(state: RobotState) -> Tensor:
    """Square of the horizontal part of gravity in the base frame: sin^2 of the tilt."""
    return state.projected_gravity[:, :2].square().sum(1)


def base_height(state: RobotState, target: float = 0.5) -> Tensor:
    """Square of the base's distance from its target height above the ground, m^2."""
    return (state.base_pos[:, 2] - state.ground_height - target).square()


def torques(state: RobotState) -> Tensor:
    """Sum of squared joint torques, N^2 m^2."""
    return state.joint_torque.square().sum(1)


def dof_vel(state: RobotState) -> Tensor:
    """Sum of squared joint velocities, rad^2/s^2."""
    return state.joint_vel.square().sum(1)


def dof_acc(state: RobotState) -> Tensor:
    """Sum of squared joint accelerations (differences over a policy step), rad^2/s^4."""
    return state.joint_acc.square().sum(1)


def action_rate(state: RobotState) -> Tensor:
    """Sum of squared changes of the action."""
    return (state.action - state.previous_action).square().sum(1)


def collision(state: RobotState, threshold: float = 0.1) -> Tensor:
    """Number of penalised contact groups that touch with more than `threshold` newtons."""
    force = state.contact_force[:, state.penalised].square().sum(-1)
    return (force > threshold * threshold).sum(1).float()


def termination(state: RobotState) -> Tensor:
    """1 on a fall; added after negative totals are clipped."""
    return state.terminated.float()


def dof_pos_limits(state: RobotState, soft_limit: float = 0.9) -> Tensor:
    """Summed distance of joints outside the middle `soft_limit` of their range, rad; 0 without limits."""
    lower, upper = state.joint_pos_limits.unbind(-1)
    # An infinite range has no middle; its bounds stay infinite and are never exceeded.
    margin = torch.nan_to_num((upper - lower) * 0.5 * (1.0 - soft_limit), posinf=0.0)
    below = (lower + margin - state.joint_pos).clamp(min=0.0)
    above = (state.joint_pos - upper + margin).clamp(min=0.0)
    return (below + above).sum(1)


def dof_vel_limits(state: RobotState, soft_limit: float = 1.0) -> Tensor:
    """Summed excess of joint speeds over `soft_limit` x their limits, each clipped to 1 rad/s."""
    return (state.joint_vel.abs() - soft_limit * state.joint_vel_limits).clamp(0.0, 1.0).sum(1)


def torque_limits(state: RobotState, soft_limit: float = 1.0) -> Tensor:
    """Summed excess of torques over `soft_limit` x their limits, N m."""
    return (state.joint_torque.abs() - soft_limit * state.effort_limits).clamp(min=0.0).sum(1)


def feet_air_time(
    state: RobotState, target: float = 0.5, min_command: float = 0.1, min_turn: float = math.inf
) -> Tensor:
    """Sum over feet at first contact of (swing time - `target`), s; 0 unless |v_xy*| > `min_command` m/s.

    Or, beyond the reference, |w_z*| > `min_turn` rad/s: else robots shuffle where they are told to turn on the spot.
    """
    swing = ((state.feet_air_time - target) * state.first_contact).sum(1)
    return swing * ((state.command[:, :2].norm(dim=1) > min_command) | (state.command[:, 2].abs() > min_turn))


def feet_slip(state: RobotState, threshold: float = 1.0) -> Tensor:
    """Summed horizontal speed of feet that carry more than `threshold` newtons, m/s."""
    loaded = state.contact_force[:, state.feet, 2] > threshold
    return (state.foot_vel[..., :2].norm(dim=-1) * loaded).sum(1)


def no_fly(state: RobotState, threshold: float = 0.1) -> Tensor:
    """1 if exactly one foot carries more than `threshold` newtons (a biped's single stance)."""
    return ((state.contact_force[:, state.feet, 2] > threshold).sum(1) == 1).float()


def stumble(state: RobotState, ratio: float = 5.0) -> Tensor:
    """1 if any foot's horizontal force exceeds `ratio` x its vertical force."""
    force = state.contact_force[:, state.feet]
    return (force[..., :2].norm(dim=-1) > ratio * force[..., 2].abs()).any(1).float()


def stand_still(state: RobotState, max_command: float = 0.1, max_turn: float = math.inf) -> Tensor:
    """Summed distance of joints from the nominal stance, rad, while |v_xy*| < `max_command` m/s.

    Beyond the reference, it may also ask for |w_z*| < `max_turn` rad/s.
    """
    away = (state.joint_pos - state.default_joint_pos).abs().sum(1)
    return away * (state.command[:, :2].norm(dim=1) < max_command) * (state.command[:, 2].abs() < max_turn)


def trot(state: RobotState, min_command: float = 0.1, min_turn: float = 0.1) -> Tensor:
    """Share of what makes a trot: feet across from one another are both down or both up, feet side by side are not.

    For four feet in the order front left, front right, hind left, hind right. 0 where a robot is told to stand:
    |v_xy*| <= `min_command` m/s and |w_z*| <= `min_turn` rad/s.
    """
    front_left, front_right, hind_left, hind_right = state.feet_down.unbind(1)
    across = (front_left == hind_right).float() + (front_right == hind_left)
    beside = (front_left != front_right).float() + (hind_left != hind_right)
    moving = (state.command[:, :2].norm(dim=1) > min_command) | (state.command[:, 2].abs() > min_turn)
    return 0.25 * (across + beside) * moving


def feet_contact_forces(state: RobotState, max_force: float = 500.0) -> Tensor:
    """Summed excess of foot forces over `max_force`, N."""
    return (state.contact_force[:, state.feet].norm(dim=-1) - max_force).clamp(min=0.0).sum(1)
