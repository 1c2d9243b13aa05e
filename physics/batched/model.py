"""Reads a compiled `mujoco.MjModel` into what the batched engine computes with, or says why it cannot.

A robot is a base with a free joint and limbs, each an open chain of hinges; bodies without joints are part of
the link they are fixed to. Spheres touch the ground, nothing else touches anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from physics.batched.constraints import SoftConstants
from physics.batched.records import BaseConstants, Constants, LinkConstants, SphereConstants
from physics.batched.support import MJ, UnsupportedModel, check, check_geoms, find_ground, name_of

NO_LIMIT = 1e9
"""Stands for an infinite joint limit, rad: infinity times a zero weight would not be a number."""


@dataclass
class Sphere:
    """A geom that touches the ground."""

    geom: int
    body: int
    link: int
    """Place of its link in the limb, -1 on the base."""
    friction_floor: float
    """Friction of the ground, where it has the same priority as the geom; the larger of the two counts."""
    constants: SphereConstants


@dataclass
class LimbGroup:
    """Limbs of one shape, which share code: L limbs of k joints and S spheres each."""

    joints: np.ndarray
    """Column of each joint in every [N, A] tensor, [L, k]."""
    spheres: list[list[Sphere]]
    """[L][S]."""
    link_constants: Constants
    """One row per limb: a list of k LinkConstants."""
    sphere_constants: Constants
    """One row per sphere, limb by limb."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """L, k, S."""
        return len(self.joints), self.joints.shape[1], len(self.spheres[0])


@dataclass
class RobotModel:
    """Everything that does not differ between robots."""

    base_body: int
    base: BaseConstants
    groups: list[LimbGroup]
    base_spheres: list[Sphere]
    base_sphere_constants: Constants
    timestep: float
    torque_mode: bool
    limit: SoftConstants | None
    """Softness of joint limits; None if no joint has any."""
    friction: SoftConstants
    """Softness of dry friction."""
    impedance_power: int
    ground: int
    """Geom of the ground."""
    ground_height: float
    """World z of a plane, m."""

    @property
    def num_joints(self) -> int:
        """A."""
        return sum(group.joints.size for group in self.groups)

    @property
    def spheres(self) -> list[Sphere]:
        """All spheres: group by group, limb by limb, then the base's."""
        return [s for group in self.groups for limb in group.spheres for s in limb] + self.base_spheres


def read_model(model: mujoco.MjModel) -> RobotModel:
    """Read a scene; UnsupportedModel with one sentence that names all elements that do not fit."""
    base, problems = check(model)
    reader = _Reader(model, find_ground(model), problems)
    parts, starts = reader.rigid_parts(base)
    mass, _, inertia = reader.lump(parts[:1])
    if not mass:
        problems.append(f"body {name_of(model, MJ.mjOBJ_BODY, base)!r} has no mass of its own")
        mass = 1.0
    fixed_mass, fixed_com, fixed_inertia = reader.lump(parts[1:])
    limbs = [reader.limb(start) for start in starts]
    shapes: dict[tuple[int, int], list[_Limb]] = {}
    for limb in limbs:
        shapes.setdefault((len(limb.links), len(limb.spheres)), []).append(limb)
    base_spheres = reader.spheres(parts, -1, np.zeros(3), 0)
    plane = model.geom_type[reader.ground] == mujoco.mjtGeom.mjGEOM_PLANE
    limit = None
    if model.jnt_limited.any():
        limit = reader.soft(model.jnt_solref[1:], model.jnt_solimp[1:], "joint limits")
    friction = reader.soft(
        model.dof_solref[6:], model.dof_solimp[6:], "dry friction of joints", has_depth=False
    )
    if problems:
        raise UnsupportedModel(*problems)
    return RobotModel(
        base_body=base,
        base=BaseConstants(
            _symmetric(inertia / mass),
            fixed_mass + sum(x.mass for limb in limbs for x in limb.links),
            fixed_mass,
            fixed_com.tolist(),
            _symmetric(fixed_inertia),
        ),
        groups=[_group(members) for members in shapes.values()],
        base_spheres=base_spheres,
        base_sphere_constants=Constants([s.constants for s in base_spheres]),
        timestep=float(model.opt.timestep),
        torque_mode=bool((model.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE).all()),
        limit=limit,
        friction=friction,
        impedance_power=reader.power,
        ground=reader.ground,
        ground_height=float(model.geom_pos[reader.ground, 2]) if plane else 0.0,
    )


@dataclass
class _Limb:
    joints: list[int]
    links: list[LinkConstants]
    spheres: list[Sphere]


_Place = tuple[int, np.ndarray, np.ndarray]
"""A body, and its position and rotation in the body it belongs to."""


class _Reader:
    """Reads on past what does not fit, and adds it to `problems`."""

    def __init__(self, model: mujoco.MjModel, ground: int, problems: list[str]):
        self.model, self.ground, self.problems = model, ground, problems
        self.touching = [
            g
            for g in range(model.ngeom)
            if model.body_weldid[model.geom_bodyid[g]] != 0
            and (
                model.geom_contype[g] & model.geom_conaffinity[ground]
                or model.geom_contype[ground] & model.geom_conaffinity[g]
            )
        ]
        problems += check_geoms(model, ground, self.touching)
        self.power = 0
        """Power of all impedances, 0 before the first."""
        self._children: dict[int, list[int]] = {}
        for body in range(1, model.nbody):
            self._children.setdefault(int(model.body_parentid[body]), []).append(body)

    def rigid_parts(self, body: int) -> tuple[list[_Place], list[_Place]]:
        """A body and all that is fixed to it, and the jointed bodies that hang on it, in its frame."""
        model = self.model
        parts: list[_Place] = [(body, np.zeros(3), np.eye(3))]
        jointed: list[_Place] = []
        for parent, pos, rot in parts:  # grows while it is read
            for child in self._children.get(parent, []):
                place = (child, pos + rot @ model.body_pos[child], rot @ _matrix(model.body_quat[child]))
                (jointed if model.body_jntnum[child] else parts).append(place)
        return parts, jointed

    def lump(self, parts: list[_Place]) -> tuple[float, np.ndarray, np.ndarray]:
        """Mass, centre of mass and inertia about it of bodies that are fixed together."""
        model = self.model
        mass = float(sum(model.body_mass[body] for body, _, _ in parts))
        if not mass:
            return 0.0, np.zeros(3), np.zeros((3, 3))
        coms = [pos + rot @ model.body_ipos[body] for body, pos, rot in parts]
        com = sum(model.body_mass[body] * c for (body, _, _), c in zip(parts, coms, strict=True)) / mass
        inertia = np.zeros((3, 3))
        for (body, _, rot), c in zip(parts, coms, strict=True):
            axes, d = rot @ _matrix(model.body_iquat[body]), c - com
            inertia += axes @ np.diag(model.body_inertia[body]) @ axes.T
            inertia += model.body_mass[body] * (d @ d * np.eye(3) - np.outer(d, d))
        return mass, com, inertia

    def limb(self, start: _Place) -> _Limb:
        """Follow a chain of hinges from its first body."""
        model = self.model
        limb, parent_anchor = _Limb([], [], []), np.zeros(3)
        lengths, place = self._chain_length(start), start
        while True:
            body, pos, rot = place
            joint = int(model.body_jntadr[body])
            anchor = model.jnt_pos[joint]
            parts, jointed = self.rigid_parts(body)
            mass, com, inertia = self.lump(parts)
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-NO_LIMIT, NO_LIMIT)
            limb.links.append(
                LinkConstants(
                    offset=(pos + rot @ anchor - parent_anchor).tolist(),
                    turn=rot.tolist(),
                    axis=model.jnt_axis[joint].tolist(),
                    ref=float(model.qpos0[model.jnt_qposadr[joint]]),
                    mass=mass,
                    com=(com - anchor).tolist(),
                    inertia=_symmetric(inertia),
                    spring=float(model.jnt_stiffness[joint]),
                    spring_ref=float(model.qpos_spring[model.jnt_qposadr[joint]]),
                    limit_low=float(low),
                    limit_high=float(high),
                )
            )
            limb.joints.append(joint - 1)
            limb.spheres += self.spheres(parts, len(limb.links) - 1, anchor, lengths)
            if not jointed:
                return limb
            place, parent_anchor = jointed[0], anchor

    def _chain_length(self, start: _Place) -> int:
        model, body, length = self.model, start[0], 0
        while True:
            length += 1
            name = name_of(model, MJ.mjOBJ_BODY, body)
            if model.body_jntnum[body] != 1:
                self.problems.append(f"body {name!r} has several joints")
            _, jointed = self.rigid_parts(body)
            if not jointed:
                return length
            if len(jointed) > 1:
                self.problems.append(f"the limb branches at body {name!r} (only the base may)")
            body = jointed[0][0]

    def spheres(self, parts: list[_Place], link: int, anchor: np.ndarray, num_joints: int) -> list[Sphere]:
        """Spheres on bodies that are fixed together, in the link's frame."""
        found, model, ground = [], self.model, self.ground
        for body, pos, rot in parts:
            for geom in (g for g in self.touching if model.geom_bodyid[g] == body):
                same = model.geom_priority[geom] == model.geom_priority[ground]
                solref, solimp = model.geom_solref[geom], model.geom_solimp[geom]
                if same:  # MuJoCo mixes the parameters of geoms of equal priority
                    a, b = model.geom_solmix[geom], model.geom_solmix[ground]
                    share = a / (a + b) if a + b > 0 else 0.5
                    other = model.geom_solref[ground]
                    positive = solref[0] > 0 and other[0] > 0
                    mixed = share * solref + (1 - share) * other
                    solref = mixed if positive else np.minimum(solref, other)
                    solimp = share * solimp + (1 - share) * model.geom_solimp[ground]
                soft = self.soft(solref[None], solimp[None], f"geom {name_of(model, MJ.mjOBJ_GEOM, geom)!r}")
                constants = SphereConstants(
                    (pos + rot @ model.geom_pos[geom] - anchor).tolist(),
                    float(model.geom_size[geom, 0]),
                    [float(j <= link) for j in range(num_joints)],
                    soft.stiffness,
                    soft.damping,
                    soft.imp_start,
                    soft.imp_end,
                    soft.imp_width,
                    soft.imp_middle,
                )
                floor = float(model.geom_friction[ground, 0]) if same else 0.0
                found.append(Sphere(geom, body, link, floor, constants))
        return found

    def soft(
        self, solref: np.ndarray, solimp: np.ndarray, what: str, has_depth: bool = True
    ) -> SoftConstants:
        """Stiffness, damping and impedance from solref and solimp rows that must all be the same.

        Dry friction has no depth, so that the power of its impedance does not matter. MuJoCo's documentation,
        Modeling, "Solver parameters".
        """
        if (solref != solref[0]).any() or (solimp != solimp[0]).any():
            self.problems.append(f"{what} have different solref or solimp")
        start, end, width, middle, power = (float(x) for x in solimp[0])
        start, end, middle = (float(np.clip(x, 1e-4, 0.9999)) for x in (start, end, middle))
        if has_depth:
            if power != round(power) or power < 1 or (self.power and power != self.power):
                self.problems.append(f"{what}: solimp powers are not one and the same whole number")
            self.power = self.power or int(power)
        first, second = (float(x) for x in solref[0])
        if first > 0.0:
            time = max(first, 2.0 * float(self.model.opt.timestep))
            stiffness, damping = 1.0 / (end * time * second) ** 2, 2.0 / (end * time)
        else:
            stiffness, damping = -first / end**2, -second / end
        if width <= 1e-15 or start == end:
            start = end = 0.5 * (start + end)
        return SoftConstants(stiffness, damping, start, end, max(width, 1e-15), middle)


def _group(limbs: list[_Limb]) -> LimbGroup:
    return LimbGroup(
        np.array([limb.joints for limb in limbs]),
        [limb.spheres for limb in limbs],
        Constants([limb.links for limb in limbs]),
        Constants([s.constants for limb in limbs for s in limb.spheres]),
    )


def _symmetric(m: np.ndarray) -> list[float]:
    return [float(m[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]


def _matrix(quat: np.ndarray) -> np.ndarray:
    rot = np.zeros(9)
    mujoco.mju_quat2Mat(rot, quat)
    return rot.reshape(3, 3)
