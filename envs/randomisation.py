"""What makes robots differ from one another.

Every entry of `RANDOMISED` draws a number (or one per axis or joint) for each robot from the range of the same
name in `RandomisationConfig`. A new randomisation is an entry and a field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.draws import Uniform
from physics import Engine


def tilted(gravity: Tensor, angles: Tensor) -> Tensor:
    """Gravity [N, 3] as strong as `gravity` [3] that leans from straight down by angles (rad, [N, 2]) to x and y."""
    x, y = angles.unbind(-1)
    down = torch.stack((x.sin() * y.cos(), y.sin(), -x.cos() * y.cos()), dim=-1)
    return gravity.norm() * down


@dataclass(frozen=True)
class Randomised:
    """One quantity that may differ from robot to robot."""

    per: Literal["robot", "side", "axis", "joint"]
    """One number per robot, two (x, y), three (x, y, z), or one per joint."""
    neutral: float | None
    """Drawn value that changes nothing; None if any value counts."""
    target: str = ""
    """What the engine takes: a name of `physics.engine.PARAMS`, or gravity; none if the environment uses it."""
    change: Callable[[Tensor, Tensor], Tensor] | None = None
    """(the model's own value, the drawn ones) -> the robots'; by default the drawn ones themselves."""
    least: float = -math.inf
    """Smallest value that makes sense."""
    most: float = math.inf
    """Largest value that makes sense."""


# No two entries may have the same target: the later one would win.
RANDOMISED: dict[str, Randomised] = {
    "friction": Randomised("robot", None, "friction", least=0.0),
    "added_base_mass": Randomised("robot", 0.0, "base_mass", torch.add),
    "base_com_shift": Randomised("axis", 0.0, "base_com", torch.add),
    "stiffness_factor": Randomised("joint", 1.0, "stiffness", torch.mul, least=0.0),
    "damping_factor": Randomised("joint", 1.0, "damping", torch.mul, least=0.0),
    "armature_factor": Randomised("joint", 1.0, "armature", torch.mul, least=0.0),
    "added_joint_damping": Randomised("joint", 0.0, "joint_damping", torch.add, least=0.0),
    "added_friction_loss": Randomised("joint", 0.0, "friction_loss", torch.add, least=0.0),
    "encoder_offset": Randomised("joint", 0.0),
    "gravity_tilt": Randomised("side", 0.0, "gravity", tilted, most=math.pi / 2),
}


@dataclass
class RandomisationConfig:
    """Differences between robots, and disturbances.

    Ranges LOW HIGH and half widths +- are uniform. What is not asked for costs nothing.
    """

    redraw: Literal["start", "reset"] = "start"
    """When a robot's differences are drawn: once, or anew for each of its episodes. Either way
    `env.reset(seed=...)` draws all of them."""
    friction: tuple[float, float] = (0.5, 1.25)
    """Friction coefficient of a robot's contacts."""
    added_base_mass: tuple[float, float] = (-5.0, 5.0)
    """Mass added to the base, kg; its inertia scales along."""
    base_com_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of the base's centre of mass along the base's x, y and z, +- m."""
    stiffness_factor: tuple[float, float] = (1.0, 1.0)
    """Factor on each joint's proportional gain."""
    damping_factor: tuple[float, float] = (1.0, 1.0)
    """Factor on each joint's derivative gain."""
    armature_factor: tuple[float, float] = (1.0, 1.0)
    """Factor on each joint's armature, the inertia of its rotor."""
    added_joint_damping: tuple[float, float] = (0.0, 0.0)
    """Viscous friction added to each joint's own, N m s / rad."""
    added_friction_loss: tuple[float, float] = (0.0, 0.0)
    """Dry friction added to each joint's own, N m."""
    encoder_offset: float = 0.0
    """Error of each joint's encoder, +- rad: what it reads is the joint's angle plus this. The policy observes
    the reading and the drive tracks its target by it, so that a joint sent to an angle settles at that angle
    minus the offset, and reads the angle. Rewards and limits go by the true angle."""
    gravity_tilt: float = 0.0
    """Angle by which gravity leans towards world x and towards y, +- rad, as on a slope; the observed
    projected gravity leans along."""
    push_interval: float = 15.0
    """Time between pushes of one robot, s; robots are not pushed at the same time. 0 for none."""
    push_velocity: float = 1.0
    """A push sets the base's horizontal velocity to uniform +- this, m/s."""
    push_ang_vel: float = 0.0
    """A push sets the base's roll, pitch and yaw rates to uniform +- this, rad/s; 0 leaves them alone."""
    push_force: float = 0.0
    """Force of a second kind of push, in a random horizontal direction on the base's centre of mass, N."""
    push_force_duration: float = 0.2
    """How long it lasts, s, rounded to policy steps; the end of an episode ends it."""
    push_force_interval: float = 10.0
    """Time from the start of one to the start of the next, s. 0 for none."""

    def validate(self, step_dt: float) -> None:
        """Check ranges; ValueError with one sentence that names the field."""
        if self.redraw not in ("start", "reset"):
            raise ValueError(f"env.randomisation.redraw must be start or reset, not {self.redraw!r}")
        check_ranges(self)
        if self.push_force > 0.0 and self.push_force_interval > 0.0:
            longest = self.push_force_interval
            if not step_dt <= self.push_force_duration <= longest:
                raise ValueError(
                    f"env.randomisation.push_force_duration must be between a policy step ({step_dt:g} s) and "
                    f"push_force_interval ({longest:g} s), not {self.push_force_duration}"
                )


def bounds(cfg: RandomisationConfig, name: str) -> list[tuple[float, float]]:
    """Range of an entry, or one per axis; a single number or three stand for half widths around zero."""
    value = getattr(cfg, name)
    if isinstance(value, tuple) and len(value) == 2:
        return [value]
    return [(-width, width) for width in (value if isinstance(value, tuple) else (value,))]


def check_ranges(cfg: RandomisationConfig) -> None:
    """ValueError with one sentence for a range that no robot can have."""
    for name, entry in RANDOMISED.items():
        value = getattr(cfg, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        where = f"env.randomisation.{name} must"
        if isinstance(value, tuple) and len(value) == 2:
            if not -math.inf < value[0] <= value[1] < math.inf:
                raise ValueError(f"{where} be a range LOW HIGH with LOW <= HIGH, both finite, not {shown}")
            if value[0] < entry.least:
                raise ValueError(f"{where} not go below {entry.least:g}, not {shown}")
        elif not all(0.0 <= high < entry.most for _, high in bounds(cfg, name)):
            most = "finite" if entry.most == math.inf else f"below {entry.most:.4g}"
            raise ValueError(f"{where} not be negative, and {most}, not {shown}")


def differing(cfg: RandomisationConfig) -> list[str]:
    """Entries whose values differ from robot to robot."""
    return [name for name in RANDOMISED if any(low != high for low, high in bounds(cfg, name))]


class Randomisation:
    """The differences between N robots with A joints."""

    def __init__(self, cfg: RandomisationConfig, engine: Engine, buffers: Buffers):
        """Give all robots the values that do not differ; ValueError for a range that this robot cannot have."""
        mass, added = engine.nominal["base_mass"].item(), cfg.added_base_mass
        if mass + added[0] <= 0.0:
            raise ValueError(
                f"env.randomisation.added_base_mass must leave some of the base's {mass:g} kg, "
                f"not {added[0]} {added[1]}"
            )
        self.cfg = cfg
        self.differing = differing(cfg)
        """Entries whose values differ from robot to robot."""
        joints = len(engine.joint_names)
        columns: dict[str, tuple[int, ...]] = {"robot": (), "side": (2,), "axis": (3,), "joint": (joints,)}
        self.values = {name: buffers.make(name, *columns[entry.per]) for name, entry in RANDOMISED.items()}
        """Each robot's value of every entry of `RANDOMISED`, [N] or [N, k]; the neutral one where it is off."""
        alike = [name for name in RANDOMISED if name not in self.differing]
        for name in alike:
            self.values[name].fill_(bounds(cfg, name)[0][0])
        changed = [name for name in alike if bounds(cfg, name)[0][0] != RANDOMISED[name].neutral]
        self._apply(changed, engine, torch.ones(engine.num_envs, dtype=torch.bool, device=engine.device))
        drawn = self.differing if cfg.redraw == "reset" else []
        self.draws = sum(self.values[name][0].numel() for name in drawn)
        """Random numbers that a robot needs in a step."""

    def draw(self, engine: Engine, mask: Tensor, uniform: Uniform) -> None:
        """Draw what differs anew for the robots in `mask` (bool, [N]) and give it to the engine."""
        for name in self.differing:
            value, ranges = self.values[name], bounds(self.cfg, name)
            if len(ranges) == 1:
                sample = uniform(ranges[0], *value.shape[1:])
            else:
                sample = torch.stack([uniform(each) for each in ranges], dim=1)
            value.copy_(torch.where(mask.view(-1, *[1] * (value.ndim - 1)), sample, value))
        self._apply(self.differing, engine, mask)

    def _apply(self, names: list[str], engine: Engine, mask: Tensor) -> None:
        """Give the engine the values of the robots in `mask`, all at once: constants that follow are dear."""
        params = {}
        for name in names:
            entry, value = RANDOMISED[name], self.values[name]
            if entry.change is not None:
                value = entry.change(engine.nominal[entry.target], value)
            if entry.target == "gravity":
                engine.gravity.copy_(torch.where(mask.unsqueeze(1), value, engine.gravity))
            elif entry.target:
                params[entry.target] = value
        if params:
            engine.set_params(mask, **params)
