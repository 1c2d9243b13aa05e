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
    "scalar": (1.0,),
}
"""Signs of a true vector, an axial vector (angular velocity), (vx, vy, yaw rate), and one number without a side."""


def mirror_joints(robot: RobotConfig, joints: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Index and sign, both [A], that mirror a joint vector; ValueError if a joint's twin is missing."""
    return _twins("joint", robot, joints), torch.tensor([match(robot.mirror_sign, name) for name in joints])


def _twins(what: str, robot: RobotConfig, names: tuple[str, ...]) -> Tensor:
    """Index of each name's mirror image, by `mirror_names`; ValueError if one is missing."""
    swap = {**robot.mirror_names, **{right: left for left, right in robot.mirror_names.items()}}
    index = []
    for name in names:
        side = next((s for s in swap if s in name), "")
        twin = name.replace(side, swap[side]) if side else name
        if twin not in names:
            raise ValueError(f"{what} {name!r} has no mirror image {twin!r}")
        index.append(names.index(twin))
    return torch.tensor(index)


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
        ValueError: a kind that is neither in `SIGNS` nor `joints`, `feet` or `scan`.
    """
    index, sign, start = [], [], 0
    for kind in kinds:
        if kind == "joints":
            part, part_sign = mirror_joints(robot, joints)
        elif kind == "scan":
            part = torch.arange(scan[0] * scan[1]).view(scan).flip(1).flatten()
            part_sign = torch.ones(len(part))
        elif kind == "feet":
            part, part_sign = _twins("foot", robot, robot.feet), torch.ones(len(robot.feet))
        elif kind in SIGNS:
            part, part_sign = torch.arange(len(SIGNS[kind])), torch.tensor(SIGNS[kind])
        else:
            kinds_known = ", ".join((*SIGNS, "joints", "feet", "scan"))
            raise ValueError(f"unknown mirror kind {kind!r}; choose from {kinds_known}")
        index.append(part + start)
        sign.append(part_sign)
        start += len(part)
    return torch.cat(index), torch.cat(sign)
