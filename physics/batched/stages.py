"""The physics step cut into stages, traced to C.

A stage is one call of the physics functions on arrays; `native/driver.h` calls the stages in loops over limbs,
contacts and iterations, the same way `eager` does. What a stage stores for a later one follows a `Layout`:
entries that turned out constant while tracing are not stored, and fold into the code of the later stage.
"""

from __future__ import annotations

import numpy as np

from physics.batched.algebra import add, matvec
from physics.batched.code import Code, Layout
from physics.batched.constraints import (
    add_contact,
    contact_force,
    contact_rows,
    contact_slope,
    joint_rows,
    make_contact,
)
from physics.batched.dynamics import base_inertial, base_rotation, limb_dynamics, links, point_motion
from physics.batched.integrate import implicit_base, implicit_factor, move_base, move_joints
from physics.batched.model import LimbGroup, RobotModel, Sphere
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
    Constants,
    Inertial,
    Joints,
    LimbInputs,
    Link,
    SphereInputs,
    flatten,
    triangle,
    unflatten,
    zeros,
)
from physics.batched.surface import (
    COARSE,
    Candidate,
    Nearest,
    cells_reached,
    lower_corners,
    nothing,
    touch_points,
    visit_border,
    visit_cell,
)
from physics.batched.tracer import Function, literal
from terrains.ground import Ground, HeightField

BASE = Base(zeros(3), zeros(4), zeros(3), zeros(3))
BASE_INPUTS = BaseInputs(0.0, zeros(3), zeros(3), zeros(3), zeros(3))
INERTIAL = Inertial(zeros(6), zeros(3), zeros(3), zeros(3))
SYSTEM = BaseSystem(zeros(21), zeros(6))
LINK = Link(zeros(3, 3), zeros(3), zeros(3))
PLANE_FRAME = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
"""Normal and tangents of level ground, as MuJoCo chooses them."""

NO_SPHERES = "".join(
    f"template <class... T> INLINE void {name}(const T&...) {{}}\n"
    for name in ("centre", "contact", "residual", "rows", "add", "slope", "force", "motion")
) + "".join(
    f"INLINE const {kind}* sphere_{name}(int) {{ return nullptr; }}\n"
    for kind, name in (
        ("float", "constants"), ("float", "radius"), ("int", "link"), ("int", "cells"), ("int", "group"),
        ("int", "foot"),
    )
)  # fmt: skip
"""Names that the driver's loops over a limb's spheres must find where there are none."""


class StepCode:
    """All stages of a robot's step."""

    def __init__(
        self,
        model: RobotModel,
        sphere_group: list[int],
        sphere_foot: list[int],
        ground: Ground,
        dry_friction: bool,
    ):
        """Trace everything.

        Args:
            model: the robot.
            sphere_group: contact group of each of the model's spheres, -1 without one.
            sphere_foot: which foot a sphere is, -1 for none.
            ground: what the robot stands on.
            dry_friction: some joint of some robot has friction loss.
        """
        field = ground if isinstance(ground, HeightField) else None
        self.model, self.field, self.dry_friction = model, field, dry_friction
        self._sphere_group, self._sphere_foot = iter(sphere_group), iter(sphere_foot)
        self._num_groups = max(sphere_group, default=-1) + 1
        self._num_spheres = 0
        self.slots = 1 if field is None else 2
        self.base_code = Code("BaseStages")
        self._frame = PLANE_FRAME if field is None else None
        self._trace_base()
        self.groups = [self._trace_limb(f"Limb{g}", group) for g, group in enumerate(model.groups)]
        self.spheres = self._trace_base_spheres()
        self.surface = self._trace_surface(field) if field else Code("Surface")

    @property
    def operations(self) -> dict[str, int]:
        """Number of operations of each stage."""
        codes = [self.base_code, *self.groups, self.spheres, self.surface]
        return {f"{code.name}.{f.name}": f.operations for code in codes for f in code.stages}

    def source(self) -> str:
        """Everything robot-specific that `native/driver.h` needs."""
        groups = [code.name for code in self.groups]
        each = " ".join(f"DO({i}, {name})" for i, name in enumerate(groups))
        return (
            f"#define SLOTS {self.slots}\n#define HEIGHTFIELD {int(self.field is not None)}\n"
            f"#define BASE_SPHERES {int(bool(self.model.base_spheres))}\n#define GROUPS {self._num_groups}\n"
            f"#define JOINT_ROWS {int(self.dry_friction or self.model.limit is not None)}\n"
            + (self._surface_source(self.field) if self.field else "")
            + self.base_code.source()
            + "".join(code.source() for code in self.groups)
            + self.spheres.source()
            + f"#define EACH_GROUP(DO) {each}\n"
        )  # fmt: skip

    # ------------------------------------------------------------------ base

    def _trace_base(self) -> None:
        code, model = self.base_code, self.model
        base, inputs = Layout(BASE), Layout(BASE_INPUTS)
        inertial, system = Layout(INERTIAL), Layout(SYSTEM)

        f = code.stage("rotation")
        f.output("rot", flatten(base_rotation(base.load(f, "base"))))

        f = code.stage("to_world")  # angular velocity between base and world axes
        rot = unflatten(zeros(3, 3), iter(f.input("rot", 9)))
        f.output("out", matvec(rot, f.input("v", 3)))
        f = code.stage("to_base")
        rot = unflatten(zeros(3, 3), iter(f.input("rot", 9)))
        f.output("out", matvec([list(column) for column in zip(*rot, strict=True)], f.input("v", 3)))

        f = code.stage("inertial")
        state, rot = base.load(f, "base"), unflatten(zeros(3, 3), iter(f.input("rot", 9)))
        found = base_inertial(state, rot, inputs.load(f, "inputs"), model.base)
        f.output("inertial", flatten(found), accumulate=True)

        f = code.stage("solve")
        whole, own = inertial.load(f, "inertial"), inputs.load(f, "inputs")
        mass = own.mass + model.base.limb_mass
        step, slope = base_step(whole, mass, f.input("acc", 6), system.load(f, "system"))
        f.output("step", step)
        f.output("slope", slope)

        f = code.stage("implicit")
        whole, own = inertial.load(f, "inertial"), inputs.load(f, "inputs")
        f.output("step", implicit_base(whole, own.mass + model.base.limb_mass, system.load(f, "system")))

        f = code.stage("move")
        state, acc, step = base.load(f, "base"), f.input("acc", 6), f.input("step", 6)
        f.output("out", flatten(move_base(state, add(acc, step), model.timestep)))

    # ------------------------------------------------------------------ limbs

    def _trace_limb(self, name: str, group: LimbGroup) -> Code:
        model, code = self.model, Code(name)
        num_limbs, k, _ = group.shape
        base, inputs = Layout(BASE), Layout(BASE_INPUTS)
        joints, own = Layout(Joints(zeros(k), zeros(k))), Layout(LimbInputs(*[zeros(k) for _ in range(8)]))
        system = Layout([triangle(k), zeros(k, 6), zeros(k)])
        spread = group.link_constants.varying.shape[1]

        f = code.stage("links")
        rot = unflatten(zeros(3, 3), iter(f.input("rot", 9)))
        state = joints.load(f, "joints")
        chain = links(rot, state.pos, group.link_constants.record(iter(f.constants("k", spread))))
        link = Layout(LINK)
        f.output("chain", [x for item in chain for x in flatten(item)])

        def load_chain(f: Function) -> list[Link]:
            values = iter(f.input("chain", k * link.size))
            return [unflatten(chain[0], values) for _ in range(k)]

        f = code.stage("dynamics")
        constants = group.link_constants.record(iter(f.constants("k", spread)))
        state, whole = base.load(f, "base"), inputs.load(f, "inputs")
        limb, share = limb_dynamics(
            state,
            whole.gravity,
            load_chain(f),
            joints.load(f, "joints"),
            own.load(f, "own"),
            constants,
            model.timestep,
            model.torque_mode,
            lambda j, pos, vel, o: joint_rows(
                pos, vel, constants[j].limit_low, constants[j].limit_high, o.invweight[j], o.friction_loss[j],
                model.limit, model.friction if self.dry_friction else None, model.impedance_power,
            ),
        )  # fmt: skip
        limb_layout = Layout(limb)
        f.output("limb", limb_layout.store(limb))
        f.output("inertial", flatten(share), accumulate=True)

        f = code.stage("torque")
        f.output("out", limb_layout.load(f, "limb").torque)

        f = code.stage("system")
        limb, acc, own_acc = limb_layout.load(f, "limb"), f.input("acc", 6), f.input("joint_acc", k)
        *own_system, base_system = limb_system(limb, acc, own_acc)
        f.output("own", flatten(own_system))
        f.output("system", flatten(base_system), accumulate=True)

        f = code.stage("eliminate")
        factor = factorise(*system.load(f, "own"))
        factor_layout = Layout(factor)
        f.output("factor", factor_layout.store(factor))
        f.output("system", flatten(eliminate(factor)), accumulate=True)

        f = code.stage("back")
        limb, acc, own_acc = limb_layout.load(f, "limb"), f.input("acc", 6), f.input("joint_acc", k)
        factor, step = factor_layout.load(f, "factor"), f.input("step", 6)
        change = back_substitute(factor, step)
        f.output("change", change)
        f.output("slope", limb_slope(limb, acc, own_acc, step, change), accumulate=True)

        f = code.stage("rows_slope")
        limb, own_acc, change = limb_layout.load(f, "limb"), f.input("joint_acc", k), f.input("change", k)
        f.output("slope", limb_rows_slope(limb, own_acc, change, 1.0), accumulate=True)

        f = code.stage("implicit")
        factor = implicit_factor(limb_layout.load(f, "limb"), f.input("joint_acc", k))
        f.output("factor", factor_layout.store(factor))
        f.output("system", flatten(eliminate(factor)), accumulate=True)

        f = code.stage("move")
        state, own_acc = joints.load(f, "joints"), f.input("joint_acc", k)
        factor, step = factor_layout.load(f, "factor"), f.input("step", 6)
        acc = add(own_acc, back_substitute(factor, step))
        f.output("out", flatten(move_joints(state, acc, model.timestep)))

        code.sizes |= {
            "limbs": num_limbs,
            "joints": k,
            "chain": k * link.size,
            "limb": limb_layout.size,
            "system_size": system.size,
            "factor": factor_layout.size,
        }
        code.table("link_constants", group.link_constants.varying)
        code.table("joint_rows", group.joints)
        self._trace_spheres(
            code, group.sphere_constants, [s for limb in group.spheres for s in limb], load_chain, link, k
        )
        code.sizes["spheres"] = group.shape[2]
        return code

    # ------------------------------------------------------------------ spheres

    def _trace_base_spheres(self) -> Code:
        code, model = Code("BaseSpheres"), self.model
        link = Layout(Link(unflatten(zeros(3, 3), iter(Function("").input("", 9))), zeros(3), zeros(3)))
        code.sizes |= {"limbs": 1, "joints": 0, "spheres": len(model.base_spheres)}
        if model.base_spheres:
            self._trace_spheres(code, model.base_sphere_constants, model.base_spheres, _no_chain, link, 0)
        return code

    def _trace_spheres(
        self, code: Code, constants: Constants, spheres: list[Sphere], load_chain, link: Layout, k: int
    ) -> None:
        """Stages of spheres on the links of a limb, or on the base (k = 0)."""
        if not spheres:
            code.sizes |= {"link": link.size, "contact_size": 1, "first_sphere": 0}
            code.extra = NO_SPHERES
            return
        model = self.model
        base, joints = Layout(BASE), Layout(Joints(zeros(k), zeros(k)))
        sphere_inputs = Layout(SphereInputs(0.0, 0.0))
        spread = constants.varying.shape[1]

        f = code.stage("centre")
        state, at = base.load(f, "base"), link.load(f, "link")
        sphere = constants.record(iter(f.constants("k", spread)))
        centre = add(state.pos, add(at.pos, matvec(at.rot, sphere.pos)))
        # on level ground the height alone tells whether there is a contact
        f.output(
            "out",
            centre if self.field else [centre[2] - (sphere.radius + model.ground_height)],
        )

        f = code.stage("contact")
        state, chain, at = base.load(f, "base"), load_chain(f), link.load(f, "link")
        own_joints = joints.load(f, "joints")
        sphere = constants.record(iter(f.constants("k", spread)))
        (dist,) = f.input("dist", 1)
        frame = self._frame or unflatten(zeros(3, 3), iter(f.input("frame", 9)))
        centre = add(at.pos, matvec(at.rot, sphere.pos))
        own = sphere_inputs.load(f, "own")
        contact = make_contact(
            state, chain, own_joints, centre, dist, frame, sphere, own, model.impedance_power
        )
        layout = Layout(contact)
        f.output("contact", layout.store(contact))

        f = code.stage("residual")
        contact = layout.load(f, "contact")
        acc, own_acc = f.input("acc", 6), f.input("joint_acc", k)
        f.output("out", add(contact_rows(contact, acc, own_acc), contact.ref))

        f = code.stage("rows")
        contact = layout.load(f, "contact")
        acc, own_acc = f.input("acc", 6), f.input("joint_acc", k)
        f.output("out", contact_rows(contact, acc, own_acc))

        f = code.stage("add")
        contact, residual = layout.load(f, "contact"), f.input("residual", 3)
        block, coupling, gradient = triangle(k), zeros(k, 6), zeros(k)
        share = add_contact(contact, residual, block, coupling, gradient)
        f.output("own", flatten([block, coupling, gradient]), accumulate=True)
        f.output("system", flatten(share), accumulate=True)

        f = code.stage("slope")
        contact, residual, change = layout.load(f, "contact"), f.input("residual", 3), f.input("change", 3)
        f.output("slope", contact_slope(contact, residual, change, 1.0), accumulate=True)

        f = code.stage("force")
        contact, residual = layout.load(f, "contact"), f.input("residual", 3)
        f.output("out", contact_force(contact, residual), accumulate=True)

        f = code.stage("motion")
        state, chain, at = base.load(f, "base"), load_chain(f), link.load(f, "link")
        own_joints = joints.load(f, "joints")
        sphere = constants.record(iter(f.constants("k", spread)))
        pos, vel = point_motion(state, chain, own_joints, at, sphere.pos, sphere.on)
        f.output("pos", pos)
        f.output("vel", vel)

        code.sizes |= {
            "link": link.size,
            "contact_size": layout.size,
        }
        code.table("sphere_constants", constants.varying)
        code.table("sphere_link", np.array([[max(s.link, 0)] for s in spheres]))
        if self.field:
            cells = [[cells_reached(s.constants.radius, self.field.cell)] for s in spheres]
            code.table("sphere_cells", np.array(cells))
            code.table("sphere_radius", np.array([[s.constants.radius] for s in spheres]))
        code.table("sphere_group", np.array([[next(self._sphere_group)] for _ in spheres]))
        code.table("sphere_foot", np.array([[next(self._sphere_foot)] for _ in spheres]))
        code.sizes["first_sphere"] = self._num_spheres
        self._num_spheres += len(spheres)

    # ------------------------------------------------------------------ height field

    def _trace_surface(self, field: HeightField) -> Code:
        """Stages that search the triangles and walls around a sphere, see `surface`."""
        # inline, `nearest` stays in registers: a third less time; plain fields keep the roundings that they had
        code = Code("Surface", "INLINE" if field.has_walls else "STAGE")
        first, face, other = (Candidate(0.0, zeros(3)) for _ in range(3))
        layout = Layout(Nearest(first, face, other, below=0.0, walls=zeros(2) if field.has_walls else []))
        code.sizes["nearest"] = layout.size
        f = code.stage("start")
        f.output("nearest", flatten(nothing(f.input("centre", 3)[0], field.has_walls)))
        f = code.stage("cell")
        p, heights = f.input("p", 3), f.input("heights", 4)
        nearest = visit_cell(p, heights, field.cell, field.has_walls, layout.load(f, "nearest"))
        f.output("out", flatten(nearest))
        if field.has_walls:
            f = code.stage("lower")
            f.output("out", lower_corners(f.input("heights", 4), field.max_rise))
            for axis in (0, 1):
                f = code.stage("border_" + "xy"[axis])
                p, near, far = f.input("p", 3), f.input("near", 4), f.input("far", 4)
                ends = (near[1::2], far[::2]) if axis == 0 else (near[2:], far[:2])
                nearest = visit_border(p, *ends, axis, field.cell, layout.load(f, "nearest"))
                f.output("out", flatten(nearest))
        f = code.stage("slots")
        slots = touch_points(layout.load(f, "nearest"), f.input("radius", 1)[0])
        f.output("dist", [dist for dist, _ in slots])
        f.output("frame", flatten([frame for _, frame in slots]))
        return code

    def _surface_source(self, field: HeightField) -> str:
        most = max(cells_reached(s.constants.radius, field.cell) for s in self.model.spheres)
        return (
            f"#define CELL {literal(field.cell)}\n#define COARSE {COARSE}\n#define MAX_CELLS {most}\n"
            f"#define WALLS {int(field.has_walls)}\n" + self.surface.source()
        )


def _no_chain(f: Function) -> list[Link]:
    f.input("chain", 0)
    return []
