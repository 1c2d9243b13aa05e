"""Vectors and angles of unit quaternions, w x y z, of bases in the world."""

from __future__ import annotations

import torch
from torch import Tensor


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
