"""Robot + ground + contact sensors + actuators, compiled into one `mujoco.MjModel`.

The same model is the starting point of every engine. Contact groups become MuJoCo contact sensors named
`contact/<group>/<geom>`; joints get actuators of their own name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import mujoco
import numpy as np
import torch
from torch import Tensor

from physics.mjcf import PLAIN, drop_visuals, explained, load_mjcf
from physics.robot_check import check_robot, tell
from physics.walls import Parts, split
from robots.config import RobotConfig, match, matching
from terrains.ground import Ground, HeightField

Actuation = Literal["position", "torque"]
STEPS_TO_RECOVER = 2
"""Time constant of contacts on height fields, physics steps; MuJoCo allows no smaller one."""
_BASE = 0.3  # thickness of a height field below its lowest point, m: what comes in fast must not pass through


def build_scene(
    robot: RobotConfig,
    ground: Ground,
    timestep: float = 0.005,
    actuation: Actuation = "position",
    visuals: bool = False,
) -> mujoco.MjModel:
    """Compile a scene.

    Args:
        robot: the robot; its MJCF has a free joint, hinges, collision geoms and visual geoms. What else it has
            is brought into line, see `physics.mjcf`, and told once.
        ground: what it stands on.
        timestep: physics time step, s.
        actuation: `position` (PD with force limits, acting at every substep) or `torque`.
        visuals: keep visual geoms and add light, sky and a textured floor. Physics is the same either way;
            without them a step has less to compute.

    Raises:
        ValueError: MJCF and configuration do not fit; all that does not is listed.
    """
    spec, changes = load_mjcf(robot)
    check_robot(robot, spec)
    if changes:
        tell(robot, f"its MJCF is read with changes: {'; '.join(changes)}")
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    # MuJoCo would put a robot with NaN back to the origin by itself; here the environment does, and counts.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    # One robot is one island, and a body has few geoms: looking for more only costs time.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND | mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    refused = f"robot {robot.name}: {robot.mjcf_path} does not compile"
    if visuals:
        _add_surroundings(spec)
    else:
        with explained(refused):
            drop_visuals(spec)
    for geom in spec.geoms:
        if geom.contype:  # a robot's friction is the contact's, whatever the ground's is
            geom.priority = max(geom.priority, 1)
    _add_ground(spec, ground, visuals)
    _add_actuators(spec, robot, actuation)
    _add_contact_sensors(spec, robot)
    with explained(refused):
        return spec.compile()


def joint_pos_limits(model: mujoco.MjModel) -> Tensor:
    """Lower and upper limits of the hinges, rad, [A, 2]; infinite where a joint has none."""
    limits = np.where(model.jnt_limited[1:, None], model.jnt_range[1:], [-np.inf, np.inf])
    return torch.tensor(limits, dtype=torch.float32)


def robot_base(model: mujoco.MjModel) -> int:
    """Index of the body that carries the free joint; ValueError if the first joint is not free."""
    if not model.njnt or model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
        raise ValueError("the robot's first joint must be a free joint on its base")
    return int(model.jnt_bodyid[0])


def nominal_params(model: mujoco.MjModel, device: torch.device) -> dict[str, Tensor]:
    """`Engine.nominal` of a scene, float32."""
    base = robot_base(model)
    values = {
        "gravity": model.opt.gravity,
        "base_mass": model.body_mass[base],
        "base_com": model.body_ipos[base],
        "stiffness": -model.actuator_biasprm[:, 1],
        "damping": -model.actuator_biasprm[:, 2],
        "effort_limit": model.actuator_forcerange[:, 1],
        "joint_damping": model.dof_damping[6:],
        "armature": model.dof_armature[6:],
        "friction_loss": model.dof_frictionloss[6:],
    }
    return {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in values.items()}


def _add_ground(spec: mujoco.MjSpec, ground: Ground, visuals: bool) -> None:
    # Contacts are generated between contype and conaffinity bits: robots (1, 0) touch only the ground (0, 1).
    material = "scene/ground" if visuals else ""
    add_geom = partial(
        spec.worldbody.add_geom, PLAIN.default, contype=0, conaffinity=1, condim=3, material=material
    )
    if not isinstance(ground, HeightField):
        add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05])
        return
    if ground.has_walls:
        parts = split(ground)
        _add_height_field(spec, add_geom, "ground", parts.field, ground.cell, ground.origin)
        _add_boxes(add_geom, ground, parts)
        for i, j in parts.patches:
            x, y = ground.origin[0] + i * ground.cell, ground.origin[1] + j * ground.cell
            _add_height_field(spec, add_geom, f"cell_{i}_{j}", ground.corners[i, j], ground.cell, (x, y))
        # the ground has many geoms now
        spec.option.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    else:
        _add_height_field(spec, add_geom, "ground", ground.heights, ground.cell, ground.origin)
    # In contacts as soft as MuJoCo's default (0.02 s) a fast foot sinks until its centre is below the surface,
    # and MuJoCo's height field then pushes it sideways out of neighbouring triangles: it is stuck.
    for touching in spec.geoms:
        if touching.contype:
            touching.solref = [STEPS_TO_RECOVER * spec.option.timestep, 1.0]


def _add_height_field(
    spec: mujoco.MjSpec,
    add_geom: Callable[..., Any],
    name: str,
    heights: np.ndarray,
    cell: float,
    origin: tuple[float, float],
) -> None:
    """Add an asset and a geom of this name; arguments as of `HeightField`.

    MuJoCo's rows are y and its columns x. The compiler normalises the data to 0..1 in float32, so that heights
    come back to about 1e-7 of the map's range. Each triangle that a geom overlaps makes its own contact: a foot
    near an edge has several.
    """
    nx, ny = heights.shape
    low, high = float(heights.min()), float(heights.max())
    half_x, half_y = cell * (nx - 1) / 2, cell * (ny - 1) / 2
    spec.add_hfield(
        name=name,
        nrow=ny,
        ncol=nx,
        userdata=heights.T.ravel(),
        size=[half_x, half_y, high - low or 1.0, _BASE],  # a flat field too must have an elevation
    )
    add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=name,
        pos=[origin[0] + half_x, origin[1] + half_y, low],
    )


def _add_boxes(add_geom: Callable[..., Any], ground: HeightField, parts: Parts) -> None:
    bottom = float(parts.field.min()) - _BASE
    for rectangle, top in parts.boxes:
        x, y = (
            (o + ground.cell * cells.start, o + ground.cell * cells.stop)
            for o, cells in zip(ground.origin, rectangle, strict=True)
        )
        ends = np.array([x, y, (bottom, top)])
        size = 0.5 * (ends[:, 1] - ends[:, 0])
        add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=ends.mean(1), size=size)


def _add_actuators(spec: mujoco.MjSpec, robot: RobotConfig, actuation: Actuation) -> None:
    for joint in spec.joints:
        if joint.type != mujoco.mjtJoint.mjJNT_HINGE:
            continue
        limit = match(robot.effort_limit, joint.name)
        actuator = spec.add_actuator(
            PLAIN.default,
            name=joint.name,
            target=joint.name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True,
            forcerange=[-limit, limit],
        )
        if actuation == "position":
            actuator.set_to_position(
                kp=match(robot.stiffness, joint.name), kv=match(robot.damping, joint.name)
            )
        else:
            actuator.set_to_motor()


def contact_geoms(robot: RobotConfig, geoms: list[str]) -> dict[str, list[str]]:
    """Contact group -> names of its geoms, in the robot's order of groups."""
    return {group: matching(patterns, geoms) for group, patterns in robot.contact_groups.items()}


def _add_contact_sensors(spec: mujoco.MjSpec, robot: RobotConfig) -> None:
    """One net-force sensor per watched geom, `contact/<place of its group>/<its name>`.

    Its data is the sum of the contact forces in the world frame; the engine flips the sign where MuJoCo
    reports the force of the robot on the ground.
    """
    geoms = [geom.name for geom in spec.geoms if geom.name and geom.contype]
    for order, names in enumerate(contact_geoms(robot, geoms).values()):
        for name in names:
            spec.add_sensor(
                name=f"contact/{order}/{name}",
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_GEOM,
                objname=name,
                reftype=mujoco.mjtObj.mjOBJ_UNKNOWN,
                # data: force; reduce: net force over all matching contacts; one slot
                intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3, 1],
            )


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    spec.visual.global_.offwidth = 1920
    spec.visual.global_.offheight = 1080
    spec.visual.quality.shadowsize = 4096
    spec.add_texture(
        name="scene/sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.75, 0.83, 0.92],
        rgb2=[0.95, 0.96, 0.97],
        width=64,
        height=384,
    )
    spec.add_texture(
        name="scene/ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.62, 0.65, 0.68],
        rgb2=[0.56, 0.59, 0.62],
        width=256,
        height=256,
    )
    material = spec.add_material(
        PLAIN.default, name="scene/ground", texrepeat=[1, 1], texuniform=True, reflectance=0.05
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "scene/ground"
    spec.worldbody.add_light(
        PLAIN.default,
        pos=[0, 0, 6],
        dir=[0.3, 0.4, -1],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=True,
    )
