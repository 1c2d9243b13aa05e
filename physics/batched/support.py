"""What the batched engine computes, and one clear sentence for all that it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import mujoco
import numpy as np

MJ = mujoco.mjtObj


class UnsupportedModel(ValueError):
    """A model that the batched engine does not compute."""

    def __init__(self, *what: str):
        problems = "; ".join(dict.fromkeys(what))
        super().__init__(f"{problems}, which engine 'batched' does not compute; use --engine mujoco")


def name_of(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """Name of an element, or its number where it has none."""
    return mujoco.mj_id2name(model, kind, index) or f"#{index}"


_ABSENT = (
    ("neq", MJ.mjOBJ_EQUALITY, "equality constraint"),
    ("ntendon", MJ.mjOBJ_TENDON, "tendon"),
    ("npair", MJ.mjOBJ_PAIR, "contact pair"),
    ("nflex", MJ.mjOBJ_FLEX, "flexible body"),
    ("nplugin", MJ.mjOBJ_PLUGIN, "plugin"),
)
_ZERO = (
    ("jnt_margin", MJ.mjOBJ_JOINT, "joint", "a margin"),
    ("jnt_actfrclimited", MJ.mjOBJ_JOINT, "joint", "an actuator force range of its own"),
    ("jnt_actgravcomp", MJ.mjOBJ_JOINT, "joint", "gravity compensation"),
    ("jnt_stiffnesspoly", MJ.mjOBJ_JOINT, "joint", "a spring that is not linear"),
    ("jnt_springyield", MJ.mjOBJ_JOINT, "joint", "a spring that yields"),
    ("body_gravcomp", MJ.mjOBJ_BODY, "body", "gravity compensation"),
    ("geom_adhesion", MJ.mjOBJ_GEOM, "geom", "adhesion"),
    ("geom_surfacevel", MJ.mjOBJ_GEOM, "geom", "a moving surface"),
    ("actuator_armature", MJ.mjOBJ_ACTUATOR, "actuator", "armature"),
    ("actuator_damping", MJ.mjOBJ_ACTUATOR, "actuator", "damping besides its law"),
    ("actuator_dampingpoly", MJ.mjOBJ_ACTUATOR, "actuator", "damping besides its law"),
    ("actuator_delay", MJ.mjOBJ_ACTUATOR, "actuator", "a delay"),
)
"""Fields of the model that must be zero, and what they mean."""
_DISABLE, _ENABLE = mujoco.mjtDisableBit, mujoco.mjtEnableBit
_DISABLED = (
    _DISABLE.mjDSBL_CONSTRAINT,
    _DISABLE.mjDSBL_CONTACT,
    _DISABLE.mjDSBL_LIMIT,
    _DISABLE.mjDSBL_FRICTIONLOSS,
    _DISABLE.mjDSBL_GRAVITY,
    _DISABLE.mjDSBL_SPRING,
    _DISABLE.mjDSBL_DAMPER,
    _DISABLE.mjDSBL_ACTUATION,
    _DISABLE.mjDSBL_REFSAFE,
)
_ENABLED = (
    _ENABLE.mjENBL_OVERRIDE,
    _ENABLE.mjENBL_SLEEP,
    _ENABLE.mjENBL_DIAGEXACT,
    _ENABLE.mjENBL_IPC,
    _ENABLE.mjENBL_SPECULATIVE,
)
"""Flags that change the physics."""


def named(model: mujoco.MjModel, kind: mujoco.mjtObj, indices: Iterable[int]) -> str:
    """Names of elements, the fourth and further ones counted: 'a', 'b', 'c' and 5 more."""
    names = [repr(name_of(model, kind, int(index))) for index in indices]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check(model: mujoco.MjModel) -> tuple[int, list[str]]:
    """The base's body, and what no part of the engine computes; UnsupportedModel without base or limbs."""
    if not model.njnt or model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
        raise UnsupportedModel("the robot's base has no free joint")
    if model.njnt == 1:
        raise UnsupportedModel("the robot has no hinge")
    base = int(model.jnt_bodyid[0])
    return base, [
        *_check_joints(model, base),
        *_check_elements(model),
        *_check_options(model.opt),
        *_check_actuators(model),
    ]


def _check_joints(model: mujoco.MjModel, base: int) -> Iterator[str]:
    for joint in range(1, model.njnt):
        name = name_of(model, MJ.mjOBJ_JOINT, joint)
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
            yield f"joint {name!r} is not a hinge"
        if model.body_rootid[model.jnt_bodyid[joint]] != base:
            yield f"joint {name!r} is not part of the robot"


def _check_elements(model: mujoco.MjModel) -> Iterator[str]:
    for count, kind, what in _ABSENT:
        if getattr(model, count):
            yield f"{what} {named(model, kind, range(getattr(model, count)))} exists"
    for field, kind, what, fault in _ZERO:
        values = getattr(model, field)
        if values.any():
            yield f"{what} {named(model, kind, np.unique(np.argwhere(values)[:, 0]))} has {fault}"
    free = slice(0, 6)
    passive = (model.dof_damping, model.dof_dampingpoly, model.dof_armature, model.dof_frictionloss)
    if model.jnt_stiffness[0] or any(field[free].any() for field in passive):
        yield "the base's free joint has stiffness, damping, armature or friction loss"
    if model.dof_dampingpoly.any():
        joints = np.unique(model.dof_jntid[np.argwhere(model.dof_dampingpoly)[:, 0]])
        yield f"joint {named(model, MJ.mjOBJ_JOINT, joints)} has damping that is not linear"
    for i, pair in enumerate(model.exclude_signature):
        bodies = int(pair) >> 16, int(pair) & 0xFFFF
        if not all(model.body_weldid[body] for body in bodies):
            name = name_of(model, MJ.mjOBJ_EXCLUDE, i)
            yield f"contact exclusion {name!r} keeps a body from touching the ground"


def _check_options(opt) -> Iterator[str]:
    if opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL or opt.impratio != 1.0:
        yield "the friction cone is not pyramidal with impratio 1"
    if opt.integrator != mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
        yield "the integrator is not implicitfast"
    if opt.density or opt.viscosity:
        yield "the medium has density or viscosity"
    if opt.noslip_iterations:
        yield "the noslip solver is on"
    for flags, refused in ((opt.disableflags, _DISABLED), (opt.enableflags, _ENABLED)):
        for flag in refused:
            if flags & flag:
                yield f"the option {flag.name} changes the physics"


def _check_actuators(model: mujoco.MjModel) -> Iterator[str]:
    if model.actuator_trnid[:, 0].tolist() != list(range(1, model.njnt)):
        yield "the actuators are not one per hinge, in the order of the joints"
    for i in range(model.nu):
        name = name_of(model, MJ.mjOBJ_ACTUATOR, i)
        gain, bias = model.actuator_gainprm[i], model.actuator_biasprm[i]
        position = model.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_AFFINE
        plain = (
            model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
            and model.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE
            and model.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
            and model.actuator_gear[i, 0] == 1.0
            and not model.actuator_ctrllimited[i]
            and not model.opt.disableactuator >> model.actuator_group[i] & 1
            and (bias[0] == 0.0 and bias[1] == -gain[0] if position else gain[0] == 1.0)
        )
        low, high = model.actuator_forcerange[i]
        if not plain or not model.actuator_forcelimited[i] or low != -high:
            yield f"actuator {name!r} is not a PD drive or motor with a symmetric force range"
        if position != (model.actuator_biastype[0] == mujoco.mjtBias.mjBIAS_AFFINE):
            yield f"actuator {name!r} is of another kind than the first"


def find_ground(model: mujoco.MjModel) -> int:
    """The one geom of the world that robots touch."""
    fixed = [g for g in range(model.ngeom) if model.body_weldid[model.geom_bodyid[g]] == 0]
    fixed = [g for g in fixed if model.geom_contype[g] or model.geom_conaffinity[g]]
    plane, hfield = int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD)
    for geom in fixed:
        if int(model.geom_type[geom]) not in (plane, hfield) or not np.allclose(
            model.geom_quat[geom], [1, 0, 0, 0]
        ):
            raise UnsupportedModel(
                f"geom {name_of(model, MJ.mjOBJ_GEOM, geom)!r} of the world is not a level plane or height field"
            )
    if len(fixed) != 1:
        raise UnsupportedModel(f"the world has {len(fixed)} geoms to touch instead of one")
    return fixed[0]


def check_geoms(model: mujoco.MjModel, ground: int, touching: list[int]) -> Iterator[str]:
    """Robot geoms that touch one another, and those that do not touch the ground as spheres do.

    Args:
        model: the scene.
        ground: geom of the ground.
        touching: geoms of the robot that may touch the ground.
    """
    robot = [g for g in range(model.ngeom) if model.body_weldid[model.geom_bodyid[g]] != 0]
    pairs = [(g, h) for g in robot for h in robot if model.geom_contype[g] & model.geom_conaffinity[h]]
    for pair in pairs[:1]:
        names = " and ".join(repr(name_of(model, MJ.mjOBJ_GEOM, g)) for g in pair)
        yield f"geoms {names} of the robot may touch each other" + (
            f", as may {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
        )
    margin = (model.geom_margin != 0) | (model.geom_gap != 0)
    condim = np.where(
        model.geom_priority == model.geom_priority[ground],
        np.maximum(model.geom_condim, model.geom_condim[ground]),
        model.geom_condim,
    )
    for faulty, fault in (
        (model.geom_type != mujoco.mjtGeom.mjGEOM_SPHERE, "touches the ground and is not a sphere"),
        (margin | margin[ground], "or the ground has a contact margin"),
        (model.geom_priority < model.geom_priority[ground], "has a lower priority than the ground"),
        (condim != 3, "does not make contacts of dimension 3"),
    ):
        if found := [g for g in touching if faulty[g]]:
            yield f"geom {named(model, MJ.mjOBJ_GEOM, found)} {fault}"
