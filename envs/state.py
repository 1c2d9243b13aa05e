"""What the terms of a task may look at: computed once a step, used by all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class RobotState:
    """N robots with A joints, F feet and C contact groups, at the end of a policy step.

    Base-frame quantities are in the axes of each robot's base (x forward, y left, z up).
    """

    step_dt: float
    """Duration of a policy step, s."""
    default_joint_pos: Tensor
    """Joint angles of the nominal stance, rad, [A]."""
    joint_pos_limits: Tensor
    """Lower and upper joint limits, rad, [A, 2]; infinite where a joint has none."""
    joint_vel_limits: Tensor
    """Speed limits, rad/s, [A]."""
    effort_limits: Tensor
    """Torque limits, N m, [A]."""
    feet: Tensor
    """Index of each foot's contact group, [F]."""
    penalised: Tensor
    """Indices of the contact groups that the collision reward counts, [P]."""

    base_pos: Tensor
    """World frame, m, [N, 3]."""
    base_quat: Tensor
    """Base to world, w x y z, [N, 4]."""
    height_scan: Tensor
    """World z of the ground at the points around each robot, as it perceives them, m, [N, P]."""
    ground_height: Tensor
    """Mean world z of the ground around each robot, m, [N]; 0 without a map."""
    base_lin_vel: Tensor
    """Base frame, m/s, [N, 3]."""
    base_ang_vel: Tensor
    """Base frame, rad/s, [N, 3]."""
    projected_gravity: Tensor
    """Unit vector of gravity in the base frame, [N, 3]; (0, 0, -1) when level
    (unless gravity itself is tilted)."""
    joint_pos: Tensor
    """rad, [N, A]."""
    encoder_offset: Tensor
    """What the encoders read beyond `joint_pos`, rad, [N, A]."""
    joint_vel: Tensor
    """rad/s, [N, A]."""
    joint_acc: Tensor
    """Change of joint velocity over the policy step, rad/s^2, [N, A]."""
    joint_torque: Tensor
    """N m, [N, A]."""
    contact_force: Tensor
    """Force of the ground on each contact group, world frame, N, [N, C, 3]."""
    foot_pos: Tensor
    """World frame, m, [N, F, 3]."""
    foot_vel: Tensor
    """World frame, m/s, [N, F, 3]."""
    foot_contact: Tensor
    """Foot is down: vertical force above 1 N now or at the previous step, bool, [N, F]."""
    first_contact: Tensor
    """Foot is down and was in the air until now, bool, [N, F]."""
    feet_air_time: Tensor
    """Time since each foot was last down, s, [N, F]; at a first contact, the length of the swing."""
    command: Tensor
    """Commanded forward velocity, sideways velocity (m/s) and yaw rate (rad/s), base frame, [N, 3]."""
    action: Tensor
    """Action of this step, [N, A]."""
    previous_action: Tensor
    """Action of the step before, [N, A]."""
    friction: Tensor
    """Friction coefficient of the robot's contacts, [N]."""
    added_base_mass: Tensor
    """Mass added to the base, kg, [N]."""
    terminated: Tensor
    """Robot fell in this step, bool, [N]."""


def rotate_inverse(quat: Tensor, vector: Tensor) -> Tensor:
    """Rotate world vectors [N, 3] into the frames of unit quaternions [N, 4] (w x y z)."""
    w, xyz = quat[:, :1], quat[:, 1:]
    twice = 2.0 * torch.linalg.cross(vector, xyz)
    return vector + w * twice + torch.linalg.cross(twice, xyz)


def gravity_in_base(quat: Tensor) -> Tensor:
    """The world's -z axis in the frames of unit quaternions [N, 4]; [N, 3]."""
    w, x, y, z = quat.unbind(-1)
    return torch.stack((2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1), dim=-1)


def yaw_of(quat: Tensor) -> Tensor:
    """Heading of unit quaternions [N, 4], rad in +-pi, [N]."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
