"""Observation terms: free functions of a `RobotState`, each returning [N, k]; base frame throughout."""

from __future__ import annotations

from torch import Tensor

from envs.state import RobotState


def base_lin_vel(state: RobotState) -> Tensor:
    """Linear velocity, m/s, [N, 3]."""
    return state.base_lin_vel


def base_ang_vel(state: RobotState) -> Tensor:
    """Angular velocity, rad/s, [N, 3]."""
    return state.base_ang_vel


def projected_gravity(state: RobotState) -> Tensor:
    """Direction of gravity, [N, 3]."""
    return state.projected_gravity


def command(state: RobotState) -> Tensor:
    """Commanded vx, vy (m/s) and yaw rate (rad/s), [N, 3]."""
    return state.command


def joint_pos(state: RobotState) -> Tensor:
    """Joint angles relative to the nominal stance, rad, [N, A]."""
    return state.joint_pos - state.default_joint_pos


def joint_vel(state: RobotState) -> Tensor:
    """Joint velocities, rad/s, [N, A]."""
    return state.joint_vel


def previous_action(state: RobotState) -> Tensor:
    """The action just taken, as the policy gave it, [N, A]."""
    return state.action
