"""What is set in the page, and the link that restores it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from robots.config import nearest
from terrains.shapes import SHAPES

PLANE = "plane"
MOST_ROBOTS = 64


def terrains() -> tuple[str, ...]:
    """What can be walked on, plugins' shapes too."""
    return PLANE, *SHAPES


@dataclass(frozen=True)
class Settings:
    """A simulation that can be made again."""

    policy: str
    """Name of the policy."""
    terrain: str = PLANE
    """`plane`, or a tile's shape."""
    difficulty: float = 0.5
    """Of the tile, 0 to 1."""
    robots: int = 4
    """Number of robots."""
    robot: int = 0
    """The chosen one, which is followed and commanded."""
    everyone: bool = True
    """Commands and pushes are for all robots."""
    vx: float = 0.0
    """Command forwards, m/s."""
    vy: float = 0.0
    """Command to the left, m/s."""
    yaw: float = 0.0
    """Commanded yaw rate, rad/s."""
    friction: float = 1.0
    """Of all contacts."""
    payload: float = 0.0
    """Mass added to each base, kg."""

    @property
    def command(self) -> tuple[float, float, float]:
        """vx, vy (m/s) and yaw rate (rad/s)."""
        return self.vx, self.vy, self.yaw

    def needs_new(self, other: Settings) -> bool:
        """Whether the simulation of `other` must be built anew for these settings."""
        return any(getattr(self, name) != getattr(other, name) for name in _BUILT)

    def built_as(self, other: Settings) -> Settings:
        """These settings in the simulation of `other`."""
        same = replace(self, **{name: getattr(other, name) for name in _BUILT})
        return replace(same, robot=min(same.robot, same.robots - 1))


_BUILT = ("policy", "terrain", "difficulty", "robots")
"""What a simulation is built for."""
RANGES: dict[str, tuple[float, float]] = {
    "difficulty": (0.0, 1.0),
    "robots": (1, MOST_ROBOTS),
    "robot": (0, MOST_ROBOTS - 1),
    "vx": (-2.0, 2.0),
    "vy": (-1.5, 1.5),
    "yaw": (-2.0, 2.0),
    "friction": (0.05, 2.0),
    "payload": (0.0, 20.0),
}
"""Smallest and largest value of each number."""


def changed(settings: Settings, policies: Sequence[str], /, **values: Any) -> tuple[Settings, list[str]]:
    """Settings with other values, as far as they are possible.

    Args:
        settings: as they are.
        policies: names of policies that there are.
        **values: fields to set, as they came from a page: of any type.

    Returns:
        new settings; a sentence for each value that was ignored.
    """
    good: dict[str, Any] = {}
    remarks = []
    for name, value in values.items():
        if name in ("policy", "terrain"):
            choices = policies if name == "policy" else terrains()
            if value in choices:
                good[name] = str(value)
            else:
                near = nearest(str(value), list(choices))
                remarks.append(f"{name} {str(value)[:40]!r} is unknown.{near}")
        elif name == "everyone":
            good[name] = str(value) in ("True", "1", "true")
        elif name in RANGES:
            low, high = RANGES[name]
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            if math.isnan(number):
                remarks.append(f"{name} {str(value)[:40]!r} is no number.")
            else:
                number = min(max(number, low), high)
                good[name] = int(number) if name in ("robots", "robot") else round(number, 3)
        else:
            remarks.append(
                f"{name[:40]!r} is nothing that can be set.{nearest(name, [*RANGES, 'policy', 'terrain'])}"
            )
    settings = replace(settings, **good)
    return replace(settings, robot=min(settings.robot, settings.robots - 1)), remarks


def to_link(settings: Settings) -> str:
    """Settings as the query of a link; what is as by default is left out."""
    plain = Settings(settings.policy)
    values = {
        name: f"{value:g}" if isinstance(value, float) else str(int(value) if name == "everyone" else value)
        for name, value in vars(settings).items()
        if name == "policy" or value != getattr(plain, name)
    }
    return urlencode(values)


def from_link(query: str, settings: Settings, policies: Sequence[str]) -> tuple[Settings, list[str]]:
    """Settings that a link asks for; what it does not name is as by default, and what makes no sense is ignored.

    Returns:
        settings; a sentence for each value that was ignored.
    """
    try:
        values = dict(parse_qsl(query.lstrip("?")[:2000], max_num_fields=50))
    except ValueError:
        return settings, ["The link cannot be read."]
    mine = {name: value for name, value in values.items() if name not in _NOT_OURS}
    if not mine:
        return settings, []
    return changed(Settings(settings.policy), policies, **mine)


_NOT_OURS = ("websocket", "initialCameraPosition", "initialCameraLookAt", "initialCameraUp", "logCamera")
"""Parameters of a link that viser's page reads."""
