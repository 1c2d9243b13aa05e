"""The scene in which an exported policy drives its robot: MJCF, ground and drives, compiled by MuJoCo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco

from deploy.ground import PLAIN, Field


def build(
    facts: dict[str, Any], path: Path, field: Field | None, contact_time: float
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The MJCF with the ground, friction 1, and position drives in the policy's joint order.

    Args:
        facts: contents of `policy.json`.
        path: MJCF of the robot.
        field: the ground, a plane without.
        contact_time: time constant of contacts, s; 0 for the MJCF's own.

    Raises:
        ValueError: the MJCF is missing, or lacks what the policy needs.
    """
    if not path.is_file():
        raise ValueError(f"model {path} does not exist; give another with --model")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ValueError(f"model {path} is not a valid MJCF file ({' '.join(str(error).split())})") from error
    hinges = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    _require("hinge joint", facts["joint_names"], hinges, path)
    _name_geoms(spec)
    geoms = [name for names in facts["fall"]["geoms"].values() for name in names]
    _require("geom", geoms, [geom.name for geom in spec.geoms], path)
    # Drives are the policy's; what refers to the model's own would no longer compile.
    for element in (*spec.keys, *spec.sensors, *spec.actuators):
        spec.delete(element)
    spec.option.timestep = facts["timestep"]
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # A robot with NaN counts as fallen; MuJoCo would put it back to the start.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    planes = [geom for geom in spec.worldbody.geoms if geom.type == mujoco.mjtGeom.mjGEOM_PLANE]
    if field is not None:
        for plane in planes:
            spec.delete(plane)
        field.add_to(spec)
    elif not planes:
        spec.worldbody.add_geom(PLAIN.default, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05])
    for geom in spec.geoms:
        geom.friction[0] = 1.0
        if contact_time:
            geom.solref = [contact_time, 1.0]
    gains = zip(facts["stiffness"], facts["damping"], facts["effort_limit"], strict=True)
    for joint, (stiffness, damping, limit) in zip(facts["joint_names"], gains, strict=True):
        actuator = spec.add_actuator(PLAIN.default, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.forcelimited, actuator.forcerange = True, [-limit, limit]
        actuator.set_to_position(kp=stiffness, kv=damping)
    try:
        model = spec.compile()
    except ValueError as error:
        raise ValueError(f"model {path} does not compile ({' '.join(str(error).split())})") from error
    return model, mujoco.MjData(model)


def _name_geoms(spec: mujoco.MjSpec) -> None:
    """As in training a nameless geom that collides is called as its body, or <body>_0, ... where it has several."""
    taken = {geom.name for geom in spec.geoms}
    for body in spec.bodies[1:]:
        nameless = [geom for geom in body.geoms if not geom.name and (geom.contype or geom.conaffinity)]
        alone = len(nameless) == 1 and body.name not in taken
        for i, geom in enumerate(nameless):
            geom.name = body.name if alone else f"{body.name}_{i}"
            while geom.name in taken:
                geom.name += "_"
            taken.add(geom.name)


def _require(kind: str, names: list[str], there: list[str], path: Path) -> None:
    missing = [name for name in names if name not in there]
    if missing:
        known = ", ".join(name for name in there if name)
        raise ValueError(f"model {path} has no {kind} {', '.join(missing)} for this policy; it has {known}")
