"""One physics step on torch tensors: the reference for the generated code, in float32 or float64.

Slow (a Python call per operation) but plain: no generated code, no in-place change, so autograd passes through.
Scalars of the base are tensors [N], those of limbs that share code [L, N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from physics.batched.algebra import Matrix, add, axpy, matvec
from physics.batched.constraints import (
    add_contact,
    contact_force,
    contact_rows,
    contact_slope,
    joint_rows,
    make_contact,
)
from physics.batched.dynamics import base_inertial, base_rotation, limb_dynamics, links
from physics.batched.integrate import implicit_base, implicit_factor, move_base, move_joints
from physics.batched.model import RobotModel
from physics.batched.newton import (
    back_substitute,
    base_step,
    eliminate,
    factorise,
    limb_rows_slope,
    limb_slope,
    limb_system,
)
from physics.batched.records import (
    Base,
    BaseInputs,
    BaseSystem,
    Contact,
    Joints,
    LimbInputs,
    Link,
    LinkConstants,
    SphereConstants,
    SphereInputs,
    flatten,
    unflatten,
)
from physics.batched.scalars import Scalar, Vec, clamp

Surface = Callable[[Vec, Scalar], list[tuple[Scalar, Matrix]]]
"""World position of a sphere's centre and its radius -> (distance, frame) of each contact slot."""


@dataclass(frozen=True)
class Solver:
    """When Newton's method stops: |slope at the step's end| <= relative x curvature + noise x |slope of the
    quadratic part| + absolute, or after `iterations`."""

    iterations: int = 20
    relative: float = 1e-8
    noise: float = 1e-6
    absolute: float = 1e-6


SEARCH_FROM = 5
"""Iteration of Newton's method from which on the step's length is searched for, not taken from one tangent."""
EXACT = Solver(iterations=50, relative=1e-13, noise=1e-15, absolute=1e-15)
"""For float64."""


@dataclass
class State:
    """Robots in motion. One item per group of limbs in the lists."""

    base: Base
    joints: list[Joints]
    base_acc: Vec
    """Last acceleration of the base: angular and linear, world, [6]; where Newton starts."""
    joint_acc: list[Vec]


@dataclass
class Inputs:
    """What may differ between robots."""

    base: BaseInputs
    limbs: list[LimbInputs]
    spheres: list[list[SphereInputs]]
    """Of each group, [S]."""
    base_spheres: list[SphereInputs]


@dataclass
class Report:
    """What a step found, besides the next state."""

    torque: list[Vec]
    """Of the actuators, at the start of the step."""
    sphere_force: list[list[Vec]]
    """Force of the ground on each limb sphere, world, [groups][S]."""
    base_sphere_force: list[Vec]
    iterations: Tensor
    """Newton iterations used, [N]."""
    gradient: Tensor
    """|Slope| left at the end of the last step of Newton's method, [N]."""


def plane(height: float) -> Surface:
    """Level ground. The frame is MuJoCo's."""
    frame = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
    return lambda centre, radius: [(centre[2] - (radius + height), frame)]


def step(
    model: RobotModel, state: State, inputs: Inputs, surface: Surface, solver: Solver
) -> tuple[State, Report]:
    """Advance all robots by one time step."""
    return _Step(model, state, inputs, surface).run(solver)


@dataclass
class _Touch:
    """A contact slot and its rows."""

    contact: Contact
    residual: Vec
    change: Vec


class _Step:
    def __init__(self, model: RobotModel, state: State, inputs: Inputs, surface: Surface):
        self.model, self.state, self.inputs, self.surface = model, state, inputs, surface
        base, like = state.base, state.base.pos[0]
        rot = base_rotation(base)
        self.inertial = base_inertial(base, rot, inputs.base, model.base)
        self.mass = inputs.base.mass + model.base.limb_mass
        self.limbs, self.touches = [], []
        for g, group in enumerate(model.groups):
            loaded = torch.tensor(group.link_constants.varying).to(like).unsqueeze(-1)  # [L, columns, 1]
            constants: list[LinkConstants] = group.link_constants.record(iter(loaded.unbind(1)))
            chain = links(rot, state.joints[g].pos, constants)
            limb, share = limb_dynamics(
                base,
                inputs.base.gravity,
                chain,
                state.joints[g],
                inputs.limbs[g],
                constants,
                model.timestep,
                model.torque_mode,
                lambda j, pos, vel, own, c=constants: joint_rows(
                    pos, vel, c[j].limit_low, c[j].limit_high, own.invweight[j], own.friction_loss[j],
                    model.limit, model.friction, model.impedance_power,
                ),
            )  # fmt: skip
            for name, value in vars(share).items():
                setattr(self.inertial, name, add(getattr(self.inertial, name), [x.sum(0) for x in value]))
            self.limbs.append(limb)
            num_limbs, _, num_spheres = group.shape
            varying = group.sphere_constants.varying
            table = torch.tensor(varying).to(like).view(num_limbs, num_spheres, varying.shape[1], 1)
            touches = []
            for s in range(num_spheres):
                sphere: SphereConstants = group.sphere_constants.record(iter(table[:, s].unbind(1)))
                where = [limb_spheres[s].link for limb_spheres in group.spheres]
                link = _own_link(chain, where, state.joints[g].pos[0])
                centre = add(link.pos, matvec(link.rot, sphere.pos))
                touches.append(self._touch(chain, state.joints[g], centre, sphere, inputs.spheres[g][s]))
            self.touches.append(touches)
        self.base_touches = []
        table = torch.tensor(model.base_sphere_constants.varying).to(like)
        for s, own in enumerate(inputs.base_spheres):
            sphere = model.base_sphere_constants.record(iter(table[s]))
            self.base_touches.append(self._touch([], Joints([], []), matvec(rot, sphere.pos), sphere, own))

    def _touch(self, chain, joints: Joints, centre: Vec, sphere, own: SphereInputs) -> list[_Touch]:
        found = self.surface(add(self.state.base.pos, centre), sphere.radius)
        power = self.model.impedance_power
        return [
            _Touch(
                make_contact(self.state.base, chain, joints, centre, dist, frame, sphere, own, power), [], []
            )
            for dist, frame in found
        ]

    def _all_touches(self):
        for g, touches in enumerate(self.touches):
            yield from (
                (touch, self.joint_acc[g], self.joint_step[g]) for slots in touches for touch in slots
            )
        yield from ((touch, [], []) for slots in self.base_touches for touch in slots)

    def run(self, solver: Solver) -> tuple[State, Report]:
        self.base_acc, self.joint_acc = list(self.state.base_acc), [list(a) for a in self.state.joint_acc]
        self.joint_step = self.joint_acc
        for touch, acc, _ in self._all_touches():
            touch.residual = add(contact_rows(touch.contact, self.base_acc, acc), touch.contact.ref)
        like = self.state.base.pos[0]
        going = torch.ones_like(like, dtype=torch.bool)
        iterations, gradient = torch.zeros_like(like), torch.zeros_like(like)
        for iteration in range(solver.iterations):
            iterations = iterations + going
            step, start, bend = self._newton_step()
            left, curvature = self._slope(start, bend, torch.ones_like(like))
            length = clamp(1.0 - left / torch.clamp(curvature, min=1e-10), 0.0, 4.0)
            bound = solver.relative * curvature + solver.noise * start.abs() + solver.absolute
            still = going & (left.abs() > bound)  # false for a robot that is not finite
            behind = (left > 0.0) & (length < 0.02)
            unsure = still & behind if iteration < SEARCH_FROM else still
            if bool(unsure.any()):
                first = torch.where(behind, 0.5, length)
                length = torch.where(unsure, self._search(start, bend, left, first), length)
            self._advance(step, torch.where(going, length, 0.0))
            gradient = torch.where(going, left.abs(), gradient)
            going = still
            if not bool(going.any()):
                break
        report = Report(
            [limb.torque for limb in self.limbs],
            [[_force(slots) for slots in touches] for touches in self.touches],
            [_force(slots) for slots in self.base_touches],
            iterations,
            gradient,
        )
        return self._integrate(), report

    def _newton_step(self):
        """Newton step of the base; slope and curvature of the quadratic part at its start."""
        system, factors = BaseSystem([0.0] * 21, [0.0] * 6), []
        for limb, acc, touches in zip(self.limbs, self.joint_acc, self.touches, strict=True):
            block, coupling, gradient, share = limb_system(limb, self.base_acc, acc)
            shares = [share]
            for touch in (t for slots in touches for t in slots):
                shares.append(add_contact(touch.contact, touch.residual, block, coupling, gradient))
            factors.append(factorise(block, coupling, gradient))
            shares.append(eliminate(factors[-1]))
            for item in shares:
                system = _accumulate(system, item)
        for touch in (t for slots in self.base_touches for t in slots):
            system = _accumulate(system, add_contact(touch.contact, touch.residual, [], [], []))
        step, (slope, curvature) = base_step(self.inertial, self.mass, self.base_acc, system)
        self.joint_step = [back_substitute(factor, step) for factor in factors]
        for limb, acc, change in zip(self.limbs, self.joint_acc, self.joint_step, strict=True):
            own = limb_slope(limb, self.base_acc, acc, step, change)
            slope, curvature = slope + own[0].sum(0), curvature + own[1].sum(0)
        for touch, _, change in self._all_touches():
            touch.change = contact_rows(touch.contact, step, change)
        return step, slope, curvature

    def _slope(self, start: Tensor, bend: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and curvature of the cost where a part `at` of the step is taken."""
        slope, curvature = start + at * bend, bend
        for limb, acc, change in zip(self.limbs, self.joint_acc, self.joint_step, strict=True):
            own = limb_rows_slope(limb, acc, change, at)
            slope, curvature = slope + _sum(own[0]), curvature + _sum(own[1])
        for touch, _, _ in self._all_touches():
            own = contact_slope(touch.contact, touch.residual, touch.change, at)
            slope, curvature = slope + _sum(own[0]), curvature + _sum(own[1])
        return slope, curvature

    def _search(self, start: Tensor, bend: Tensor, left: Tensor, first: Tensor) -> Tensor:
        """Where along the step the slope is 0: Newton's method from `first`, kept in bounds by bisection.

        A tangent alone is not enough where rows change sides within the step, as that of a joint that dry friction
        stops: it may point behind the start, and Newton's method may go in circles.
        """
        beyond = left < 0.0
        low, high = torch.where(beyond, 1.0, 0.0 * left), torch.where(beyond, 4.0, 1.0 + 0.0 * left)
        at = first
        for _ in range(4):
            left, curvature = self._slope(start, bend, at)
            low, high = torch.where(left < 0.0, at, low), torch.where(left < 0.0, high, at)
            tangent = at - left / curvature
            at = torch.where((tangent >= low) & (tangent <= high), tangent, 0.5 * (low + high))
        return at

    def _advance(self, step: Vec, length: Tensor) -> None:
        self.base_acc = axpy(length, step, self.base_acc)
        for g, change in enumerate(self.joint_step):
            self.joint_acc[g] = axpy(length, change, self.joint_acc[g])
        for touch, _, _ in self._all_touches():
            touch.residual = axpy(length, touch.change, touch.residual)

    def _integrate(self) -> State:
        model, state = self.model, self.state
        factors = [implicit_factor(limb, acc) for limb, acc in zip(self.limbs, self.joint_acc, strict=True)]
        system = BaseSystem([0.0] * 21, [0.0] * 6)
        for factor in factors:
            system = _accumulate(system, eliminate(factor))
        step = implicit_base(self.inertial, self.mass, system)
        acc = [add(a, back_substitute(f, step)) for a, f in zip(self.joint_acc, factors, strict=True)]
        return replace(
            state,
            base=move_base(state.base, add(self.base_acc, step), model.timestep),
            joints=[move_joints(j, a, model.timestep) for j, a in zip(state.joints, acc, strict=True)],
            base_acc=self.base_acc,
            joint_acc=self.joint_acc,
        )


def _sum(x: Scalar) -> Scalar:
    return x.sum(0) if isinstance(x, Tensor) and x.dim() > 1 else x


def _accumulate(system: BaseSystem, share: BaseSystem) -> BaseSystem:
    return BaseSystem(
        add(system.hessian, [_sum(x) for x in share.hessian]),
        add(system.gradient, [_sum(x) for x in share.gradient]),
    )


def _force(slots: list[_Touch]) -> Vec:
    total = contact_force(slots[0].contact, slots[0].residual)
    for touch in slots[1:]:
        total = add(total, contact_force(touch.contact, touch.residual))
    return total


def _own_link(chain: list[Link], where: list[int], like: Tensor) -> Link:
    """Each limb's own link, as scalars [L, N] like `like`."""
    if len(set(where)) == 1:
        return chain[where[0]]
    flat = [[torch.broadcast_to(x, like.shape) for x in flatten(link)] for link in chain]
    own = [torch.stack([flat[k][i][row] for row, k in enumerate(where)]) for i in range(len(flat[0]))]
    return unflatten(chain[0], iter(own))
