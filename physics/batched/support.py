"""What the batched engine computes, and one clear sentence for what it does not."""

from __future__ import annotations

import mujoco
import numpy as np

MJ = mujoco.mjtObj


class UnsupportedModel(ValueError):
    """A model that the batched engine does not compute."""

    def __init__(self, what: str):
        super().__init__(f"{what}, which engine 'batched' does not compute; use --engine mujoco")


def name_of(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """Name of an element, or its number where it has none."""
    return mujoco.mj_id2name(model, kind, index) or f"#{index}"


def check(model: mujoco.MjModel) -> int:
    """Refuse what no part of the engine computes; returns the base's body."""
    opt = model.opt
    if not model.njnt or model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
        raise UnsupportedModel("the robot's base has no free joint")
    for joint in range(1, model.njnt):
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
            raise UnsupportedModel(f"joint {name_of(model, MJ.mjOBJ_JOINT, joint)!r} is not a hinge")
        if model.jnt_margin[joint] or model.jnt_actfrclimited[joint] or model.jnt_actgravcomp[joint]:
            raise UnsupportedModel(
                f"joint {name_of(model, MJ.mjOBJ_JOINT, joint)!r} has a margin, an actuator force range or "
                "gravity compensation of its own"
            )
    if model.neq:
        raise UnsupportedModel(f"equality constraint {name_of(model, MJ.mjOBJ_EQUALITY, 0)!r} exists")
    if model.ntendon:
        raise UnsupportedModel(f"tendon {name_of(model, MJ.mjOBJ_TENDON, 0)!r} exists")
    if opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL or opt.impratio != 1.0:
        raise UnsupportedModel("the friction cone is not pyramidal with impratio 1")
    if opt.integrator != mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
        raise UnsupportedModel("the integrator is not implicitfast")
    if opt.density or opt.viscosity:
        raise UnsupportedModel("the medium has density or viscosity")
    flags = mujoco.mjtDisableBit
    for flag in (flags.mjDSBL_CONTACT, flags.mjDSBL_LIMIT, flags.mjDSBL_FRICTIONLOSS, flags.mjDSBL_GRAVITY):
        if opt.disableflags & flag:
            raise UnsupportedModel(f"physics is partly disabled ({flag.name})")
    free = slice(0, 6)
    if model.dof_damping[free].any() or model.dof_armature[free].any() or model.dof_frictionloss[free].any():
        raise UnsupportedModel("the base's free joint has damping, armature or friction loss")
    if model.body_gravcomp.any():
        body = int(np.flatnonzero(model.body_gravcomp)[0])
        raise UnsupportedModel(f"body {name_of(model, MJ.mjOBJ_BODY, body)!r} compensates gravity")
    _check_actuators(model)
    return int(model.jnt_bodyid[0])


def _check_actuators(model: mujoco.MjModel) -> None:
    driven = [int(model.actuator_trnid[i, 0]) for i in range(model.nu)]
    if driven != list(range(1, model.njnt)):
        raise UnsupportedModel("the actuators are not one per hinge, in the order of the joints")
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
            and (bias[0] == 0.0 and bias[1] == -gain[0] if position else gain[0] == 1.0)
        )
        low, high = model.actuator_forcerange[i]
        if not plain or not model.actuator_forcelimited[i] or low != -high:
            raise UnsupportedModel(
                f"actuator {name!r} is not a PD drive or motor with a symmetric force range"
            )
        if position != (model.actuator_biastype[0] == mujoco.mjtBias.mjBIAS_AFFINE):
            raise UnsupportedModel(f"actuator {name!r} is of another kind than the first")


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


def check_geoms(model: mujoco.MjModel, ground: int, touching: list[int]) -> None:
    """Refuse robot geoms that touch one another, and those that touch the ground but are not spheres.

    Args:
        model: the scene.
        ground: geom of the ground.
        touching: geoms of the robot that may touch the ground.
    """
    robot = [g for g in range(model.ngeom) if model.body_weldid[model.geom_bodyid[g]] != 0]
    for g in robot:
        others = [h for h in robot if model.geom_contype[g] & model.geom_conaffinity[h]]
        if others:
            raise UnsupportedModel(
                f"geoms {name_of(model, MJ.mjOBJ_GEOM, g)!r} and {name_of(model, MJ.mjOBJ_GEOM, others[0])!r} "
                "of the robot may touch each other"
            )
    for g in touching:
        name = name_of(model, MJ.mjOBJ_GEOM, g)
        if model.geom_type[g] != mujoco.mjtGeom.mjGEOM_SPHERE:
            raise UnsupportedModel(f"geom {name!r} touches the ground and is not a sphere")
        if model.geom_margin[g] or model.geom_gap[g] or model.geom_margin[ground] or model.geom_gap[ground]:
            raise UnsupportedModel(f"geom {name!r} or the ground has a contact margin")
        if model.geom_priority[g] < model.geom_priority[ground]:
            raise UnsupportedModel(f"geom {name!r} has a lower priority than the ground")
        same = model.geom_priority[g] == model.geom_priority[ground]
        if max(model.geom_condim[g], model.geom_condim[ground] if same else 0) != 3:
            raise UnsupportedModel(f"geom {name!r} does not make contacts of dimension 3")
