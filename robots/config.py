"""What a robot's MJCF file cannot say: its stance, gains and which bodies may touch the ground."""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class RobotConfig:
    """Facts about one robot. Dictionaries map regular expressions over names to values; first match wins."""

    name: str
    """Name of the robot, as used in task names."""
    mjcf: str
    """MJCF file, relative to this folder or absolute; what it may hold: physics/mjcf.py."""
    init_height: float
    """Height of the base above the ground at reset, m; the feet may be 2 cm in the ground to 25 cm above it."""
    default_joint_pos: dict[str, float]
    """Joint name pattern -> joint angle of the nominal stance, rad."""
    stiffness: dict[str, float]
    """Joint name pattern -> proportional gain, N m / rad."""
    damping: dict[str, float]
    """Joint name pattern -> derivative gain, N m s / rad."""
    effort_limit: dict[str, float]
    """Joint name pattern -> largest torque of the drive, N m."""
    velocity_limit: dict[str, float]
    """Joint name pattern -> largest speed of the drive, rad / s: of the velocity-limit reward, and of a
    `dc_motor` without load."""
    feet: tuple[str, ...]
    """Collision geoms whose centres are the feet, in the order of every [N, F] tensor. One without a name in the MJCF
    is called as its body, or <body>_0, <body>_1 where that has several."""
    contact_groups: dict[str, tuple[str, ...]]
    """Contact group -> geom name patterns. Every foot has a group of its own name, of one geom or several."""
    penalised_contacts: tuple[str, ...]
    """Contact group patterns that the collision reward counts."""
    fatal_contacts: tuple[str, ...]
    """Contact group patterns that end the episode."""
    mirror_names: dict[str, str] = field(default_factory=dict)
    """Part of a joint or foot name -> that part of its mirror image across the x-z plane (both directions).
    Only symmetry needs it, and `mirror_sign`."""
    mirror_sign: dict[str, float] = field(default_factory=dict)
    """Joint name pattern -> +1, or -1 where the joint's angle changes sign in the mirror."""
    actuator_net: str = ""
    """Actuator network of its drives: a file in this folder or a path; empty for none."""

    @property
    def mjcf_path(self) -> Path:
        """Absolute path of the MJCF file."""
        return Path(__file__).parent / self.mjcf


def match(patterns: dict[str, T], name: str) -> T:
    """Value of the first pattern that matches the whole name; ValueError with the patterns if none does."""
    for pattern, value in patterns.items():
        if _fits(pattern, name):
            return value
    raise ValueError(f"no pattern of {', '.join(patterns) or '(there is none)'} matches {name!r}")


def matching(patterns: tuple[str, ...], names: tuple[str, ...] | list[str]) -> list[str]:
    """Names, in order, that any pattern matches; ValueError for a pattern that matches nothing."""
    for pattern in patterns:
        if not any(_fits(pattern, name) for name in names):
            raise ValueError(f"{pattern!r} matches none of {', '.join(names)}.{nearest(pattern, names)}")
    return [name for name in names if any(_fits(pattern, name) for pattern in patterns)]


def _fits(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is no regular expression ({error}); '.*' stands for anything"
        ) from error


def nearest(name: str, choices: tuple[str, ...] | list[str]) -> str:
    """' Did you mean ...?' with the closest choices, or an empty string."""
    close = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.4)
    return f" Did you mean {' or '.join(close)}?" if close else ""


LARGEST = 1e9
"""No number of a configuration is larger: none of them, in SI units, means anything beyond."""


def check_numbers(value: Any, path: str = "") -> None:
    """Look at every number in nested dataclasses, dictionaries and sequences.

    Args:
        value: what to look at.
        path: its name, for the sentence.

    Raises:
        ValueError: a number that is not finite, or beyond +-1e9.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, dict):
        for name, item in value.items():
            check_numbers(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_numbers(item, path)
    elif isinstance(value, (int, float)) and not abs(value) <= LARGEST:
        what = f"between {-LARGEST:g} and {LARGEST:g}" if math.isfinite(value) else "finite"
        raise ValueError(f"{path} must be {what}, not {value}")


class BadFileError(SystemExit, ValueError):
    """A robot's or task's file is wrong; read before a command begins, so uncaught it is one sentence as well."""


def modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    """Import every module of a package, by name; BadFileError names the file that fails, and why."""
    for found in pkgutil.iter_modules(path, f"{package}."):
        try:
            yield importlib.import_module(found.name)
        except BadFileError:
            raise
        except Exception as error:
            file = found.name.replace(".", "/") + ".py"
            raise BadFileError(f"{file} cannot be imported ({type(error).__name__}: {error})") from error
