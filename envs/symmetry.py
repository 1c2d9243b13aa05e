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

_ONLY_SYMMETRY = "correct it, or train without symmetry: --agent.policy.symmetry none"


def mirror_joints(robot: RobotConfig, joints: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Index and sign, both [A], that mirror a joint vector; ValueError if a joint's twin or sign is missing."""
    index = _twins("joint", robot, joints)
    try:
        return index, torch.tensor([match(robot.mirror_sign, name) for name in joints])
    except ValueError as error:
        raise ValueError(f"robot {robot.name}: mirror_sign: {error}; {_ONLY_SYMMETRY}") from error


def _twins(what: str, robot: RobotConfig, names: tuple[str, ...]) -> Tensor:
    """Index of each name's mirror image, by `mirror_names`; ValueError if one is missing."""
    swap = {**robot.mirror_names, **{right: left for left, right in robot.mirror_names.items()}}
    index = []
    for name in names:
        side = next((s for s in swap if s in name), "")
        twin = name.replace(side, swap[side]) if side else name
        if twin not in names:
            raise ValueError(
                f"robot {robot.name}: mirror_names: {what} {name!r} has no mirror image {twin!r}; {_ONLY_SYMMETRY}"
            )
        index.append(names.index(twin))
    return torch.tensor(index)


def observation_width(kind: str, robot: RobotConfig, num_joints: int, scan: tuple[int, int]) -> int:
    """Columns of an observation term of a kind; arguments as of `mirror_observation`, ValueError likewise."""
    others = {"joints": num_joints, "scan": scan[0] * scan[1], "feet": len(robot.feet)}
    if kind in others:
        return others[kind]
    return len(_signs(kind))


def _signs(kind: str) -> tuple[float, ...]:
    if kind not in SIGNS:
        kinds_known = ", ".join((*SIGNS, "joints", "feet", "scan"))
        raise ValueError(f"unknown mirror kind {kind!r}; choose from {kinds_known}")
    return SIGNS[kind]


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
        else:
            part_sign = torch.tensor(_signs(kind))
            part = torch.arange(len(part_sign))
        index.append(part + start)
        sign.append(part_sign)
        start += len(part)
    return torch.cat(index), torch.cat(sign)
