"""How observations and actions look in a mirror across the robot's x-z plane.

A walking robot with mirrored legs obeys mirrored physics, so every experience is worth two. A mirror map is
a permutation and a sign: `mirrored = x[..., index] * sign`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robots.config import RobotConfig, match

SIGNS = {
    "vector": (1.0, -1.0, 1.0),
    "axial": (-1.0, 1.0, -1.0),
    "command": (1.0, -1.0, -1.0),
}
"""Signs of three-vectors: a true vector, an axial vector (angular velocity), and (vx, vy, yaw rate)."""


def mirror_joints(robot: RobotConfig, joints: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Index and sign, both [A], that mirror a joint vector; ValueError if a joint's twin is missing."""
    swap = {**robot.mirror_names, **{right: left for left, right in robot.mirror_names.items()}}
    index, sign = [], []
    for joint in joints:
        side = next((s for s in swap if s in joint), "")
        twin = joint.replace(side, swap[side]) if side else joint
        if twin not in joints:
            raise ValueError(f"joint {joint!r} has no mirror image {twin!r}")
        index.append(joints.index(twin))
        sign.append(match(robot.mirror_sign, joint))
    return torch.tensor(index), torch.tensor(sign)


def mirror_observation(
    kinds: list[str], robot: RobotConfig, joints: tuple[str, ...], scan: tuple[int, int] = (0, 0)
) -> tuple[Tensor, Tensor]:
    """Index and sign, both [O], for observation terms of the given kinds laid side by side.

    Args:
        kinds: of each term; a `scan` has its rows of points to the robot's left turned around.
        robot: its names and signs.
        joints: names, in order.
        scan: number of the scan's points forward and to the left.

    Raises:
        ValueError: a kind that is neither in `SIGNS` nor `joints` nor `scan`.
    """
    index, sign, start = [], [], 0
    for kind in kinds:
        if kind == "joints":
            part, part_sign = mirror_joints(robot, joints)
        elif kind == "scan":
            part = torch.arange(scan[0] * scan[1]).view(scan).flip(1).flatten()
            part_sign = torch.ones(len(part))
        elif kind in SIGNS:
            part, part_sign = torch.arange(3), torch.tensor(SIGNS[kind])
        else:
            raise ValueError(f"unknown mirror kind {kind!r}; choose from {', '.join(SIGNS)}, joints, scan")
        index.append(part + start)
        sign.append(part_sign)
        start += len(part)
    return torch.cat(index), torch.cat(sign)
