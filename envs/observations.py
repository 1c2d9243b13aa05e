"""Observation terms: free functions of a `RobotState`, each returning [N, k]; base frame throughout."""

from __future__ import annotations

from torch import Tensor

from envs.state import RobotState
from terrains.scan import SCAN_LEVEL, SCAN_LIMIT


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
    """Joint angles as the encoders read them, relative to the nominal stance, rad, [N, A]."""
    return state.joint_pos + state.encoder_offset - state.default_joint_pos


def joint_vel(state: RobotState) -> Tensor:
    """Joint velocities, rad/s, [N, A]."""
    return state.joint_vel


def previous_action(state: RobotState) -> Tensor:
    """The action just taken, as the policy gave it, [N, A]."""
    return state.action


def height_scan(state: RobotState) -> Tensor:
    """Height of a level 0.5 m below the base over the ground at the scan's points, in +-1, m, [N, P]."""
    return (state.base_pos[:, 2:] - SCAN_LEVEL - state.height_scan).clamp(-SCAN_LIMIT, SCAN_LIMIT)


# ---------------------------------------------------------------------- for the critic: no robot measures these


def foot_contact(state: RobotState) -> Tensor:
    """1 for a foot that pushes on the ground with more than 1 N, else 0, [N, F]."""
    return (state.contact_force[:, state.feet, 2] > 1.0).float()


def foot_force(state: RobotState) -> Tensor:
    """Vertical force of the ground on each foot, N, [N, F]."""
    return state.contact_force[:, state.feet, 2]


def friction(state: RobotState) -> Tensor:
    """Friction coefficient of the robot's contacts, [N, 1]."""
    return state.friction.unsqueeze(1)


def added_base_mass(state: RobotState) -> Tensor:
    """Mass added to the base, kg, [N, 1]."""
    return state.added_base_mass.unsqueeze(1)
