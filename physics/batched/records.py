"""The records that pass between the parts of a physics step, and how they lie in memory.

Every field is a scalar, a list of scalars or a list of lists; `flatten` gives the order in which generated
code stores a record as an array. k is the number of joints of a limb. Vectors are in world axes about the
base's origin unless a comment says otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from physics.batched.algebra import Matrix
from physics.batched.scalars import Scalar, Vec

R = TypeVar("R")


@dataclass
class Base:
    """State of the base."""

    pos: Vec
    """World position, m."""
    quat: Vec
    """Base to world, w x y z."""
    lin_vel: Vec
    """Velocity of the origin, m/s."""
    ang_vel: Vec
    """World axes, rad/s."""


@dataclass
class BaseInputs:
    """What may differ between robots."""

    mass: Scalar
    """kg; the inertia scales along."""
    com: Vec
    """Base frame, m."""
    gravity: Vec
    """World, m/s^2."""
    force: Vec
    """On the base's centre of mass, world, N."""
    torque: Vec
    """World, N m."""


@dataclass
class BaseConstants:
    """Constants of the base."""

    unit_inertia: Vec
    """Inertia about the centre of mass for 1 kg, symmetric, base frame, m^2."""
    limb_mass: Scalar
    """Mass of all limbs and of bodies fixed to the base, kg."""
    fixed_mass: Scalar
    """Mass of bodies fixed to the base, kg."""
    fixed_com: Vec
    """Their centre of mass, base frame, m."""
    fixed_inertia: Vec
    """Their inertia about it, symmetric, base frame."""


@dataclass
class Inertial:
    """Articulated body seen from the base's origin: the base block of the mass matrix, and its bias force."""

    inertia: Vec
    """Symmetric 3 x 3."""
    moment: Vec
    """Mass times centre of mass."""
    bias_torque: Vec
    bias_force: Vec


@dataclass
class LinkConstants:
    """Constants of a link and the joint that carries it; the link's origin is on the joint's axis."""

    offset: Vec
    """Origin in the parent link, m."""
    turn: Matrix
    """Rotation of the link in its parent at joint angle 0."""
    axis: Vec
    """Unit axis of the joint, link frame."""
    ref: Scalar
    """Joint coordinate at which the joint is not turned, rad."""
    mass: Scalar
    com: Vec
    inertia: Vec
    """About the centre of mass, symmetric, link frame."""
    spring: Scalar
    """Stiffness of the joint's spring, N m / rad."""
    spring_ref: Scalar
    limit_low: Scalar
    limit_high: Scalar
    """rad; infinite without a limit."""


@dataclass
class LimbInputs:
    """What may differ between robots, one per joint."""

    target: Vec
    """rad or N m."""
    stiffness: Vec
    damping: Vec
    effort: Vec
    joint_damping: Vec
    armature: Vec
    friction_loss: Vec
    invweight: Vec
    """MuJoCo's dof_invweight0."""


@dataclass
class Joints:
    """State of a limb's joints."""

    pos: Vec
    vel: Vec


@dataclass
class Link:
    """Where a link is."""

    rot: Matrix
    """Link to world."""
    pos: Vec
    """Origin, relative to the base's."""
    axis: Vec
    """Axis of its joint, world."""


@dataclass
class Limb:
    """Dynamics of a limb in one state."""

    force: list[Vec]
    """Inertia of the links beyond each joint times the joint's motion: column of the mass matrix that couples
    joint and base, [k][6]."""
    mass: Matrix
    """Lower triangle of the limb's block of the mass matrix."""
    tau: Vec
    """Actuator, passive and bias torques, N m."""
    implicit: Vec
    """Timestep times damping that implicitfast treats implicitly (0 for an actuator at its limit)."""
    torque: Vec
    """Torque of the actuators, N m."""
    rows: list[JointRows]
    """Constraints of each joint."""


@dataclass
class JointRows:
    """Joint limit (one side) and dry friction as constraint rows."""

    limit_sign: Scalar
    """+1 at the lower limit, -1 at the upper."""
    limit_ref: Scalar
    """Minus the reference acceleration: the row's residual is sign x acceleration + this."""
    limit_weight: Scalar
    """MuJoCo's D; 0 within the limits."""
    friction_ref: Scalar
    friction_weight: Scalar
    friction_loss: Scalar


@dataclass
class SphereConstants:
    """A sphere on a link or the base."""

    pos: Vec
    """Centre in the link, m."""
    radius: Scalar
    on: Vec
    """1 for each joint that moves it, else 0; empty on the base."""
    stiffness: Scalar
    """k x impedance x distance is the reference acceleration of position."""
    damping: Scalar
    """b x velocity is that of velocity."""
    imp_start: Scalar
    imp_end: Scalar
    imp_width: Scalar
    imp_middle: Scalar


@dataclass
class SphereInputs:
    """What may differ between robots."""

    friction: Scalar
    weight: Scalar
    """1 / (2 mu^2 (1 + mu^2) body_invweight0): D without impedance."""


@dataclass
class Contact:
    """Three residual rows: along the normal and two tangents; the pyramid's edges are normal +- mu tangent."""

    point: Vec
    jacobian: Matrix
    """Velocity of the point for each joint's speed, [k][3]."""
    frame: Matrix
    """Normal and two tangents."""
    ref: Vec
    """Minus the reference accelerations."""
    weight: Scalar
    """MuJoCo's D of each edge; 0 where there is no contact."""
    friction: Scalar


@dataclass
class Factor:
    """Cholesky factor of a limb's block and what elimination needs."""

    lower: Matrix
    """Strictly lower triangle of L."""
    inverse: Vec
    """1 / diagonal of L."""
    coupling: list[Vec]
    """L^-1 times the coupling to the base, [k][6]."""
    residual: Vec
    """L^-1 times the gradient, [k]."""


@dataclass
class BaseSystem:
    """What limbs and contacts add to the base's 6 x 6 system."""

    hessian: Vec
    """Upper triangle, row by row, 21 numbers."""
    gradient: Vec


def flatten(record: Any) -> list[Scalar]:
    """All scalars of a record, in the order of its fields."""
    if dataclasses.is_dataclass(record):
        return [s for field in dataclasses.fields(record) for s in flatten(getattr(record, field.name))]
    if isinstance(record, list):
        return [scalar for item in record for scalar in flatten(item)]
    return [record]


def unflatten(template: R, values: Iterator[Scalar]) -> R:
    """A record like `template` with its scalars taken from `values`."""
    if dataclasses.is_dataclass(template) and not isinstance(template, type):
        parts = {f.name: unflatten(getattr(template, f.name), values) for f in dataclasses.fields(template)}
        return type(template)(**parts)
    if isinstance(template, list):
        return [unflatten(item, values) for item in template]  # type: ignore[return-value]
    return next(values)


def zeros(*shape: int) -> Any:
    """Nested lists of 0.0."""
    return [zeros(*shape[1:]) for _ in range(shape[0])] if shape else 0.0


def triangle(k: int, strict: bool = False) -> Matrix:
    """Rows of a lower triangle of zeros, without the diagonal if `strict`."""
    return [[0.0] * (i if strict else i + 1) for i in range(k)]


class Constants:
    """Constants of several limbs or spheres that share code.

    Those that are the same everywhere become floats, and specialise the code; the others a small table.
    """

    def __init__(self, records: list[Any]):
        """From one record each, all of one shape."""
        self.template = records[0] if records else None
        table = np.array([flatten(record) for record in records]) if records else np.zeros((0, 0))
        self._uniform = [bool((column == column[0]).all()) for column in table.T]
        self._first = table[0] if len(table) else table
        self.varying = table[:, [not uniform for uniform in self._uniform]] if len(table) else table
        """What differs, [rows, columns]."""

    def record(self, loaded: Iterator[Scalar]) -> Any:
        """The record with floats where uniform and `loaded` (one scalar per column of `varying`) elsewhere."""
        values = (
            float(first) if uniform else next(loaded)
            for first, uniform in zip(self._first, self._uniform, strict=True)
        )
        return unflatten(self.template, values)
