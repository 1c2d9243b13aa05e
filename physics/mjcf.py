"""A robot's MJCF, brought into line with our physics where that can be done without asking.

A published model has a floor, lights, drives, options and contact bits of its own. Ours replace them, and one line
says so. What only its author can change is left for `physics.robot_check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np

from robots.config import RobotConfig, nearest

PLAIN = mujoco.MjSpec()
"""Options and defaults as MuJoCo has them: a file's own are not meant for our ground and drives."""
_REPLACED = {
    "actuators": "drive",
    "sensors": "sensor",
    "keys": "keyframe",
    "tuples": "tuple",
    "pairs": "contact pair",
    "excludes": "contact exclusion",
    "lights": "light",
    "cameras": "camera",
}
"""Lists of a spec whose elements go, and what one of them is called."""


def load_mjcf(robot: RobotConfig) -> tuple[mujoco.MjSpec, list[str]]:
    """Read a robot's MJCF; returns it, and what was changed in it.

    Raises:
        ValueError: there is no such file, or it is no MJCF.
    """
    path = robot.mjcf_path
    if not path.is_file():
        near = nearest(path.name, sorted(file.name for file in path.parent.glob("*.xml")))
        raise ValueError(f"robot {robot.name}: {path} does not exist.{near}")
    with explained(f"robot {robot.name}: {path} is no valid MJCF"):
        spec = mujoco.MjSpec.from_file(str(path))
    # What the file's own floor meets is the ground's to meet; MuJoCo's default where the file has none.
    floor = next(
        ((g.contype, g.conaffinity) for g in spec.worldbody.geoms if g.contype or g.conaffinity), (1, 1)
    )
    changes = []
    if gone := [*_remove_surroundings(spec), *_remove_elements(spec), *_reset_options(spec)]:
        changes.append(f"ours replace {', '.join(gone)}")
    named = [*_name_geoms(spec)]  # before some of them no longer collide: deploy.robot counts those as well
    changes += [*_set_contacts(spec, floor), *_set_joints(spec), *named]
    with explained(f"robot {robot.name}: {path} does not compile"):
        changes += _join_base(spec)
    return spec, changes


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What MuJoCo refuses is one sentence, which begins with `what`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what} ({' '.join(str(error).split())})") from error


def count(number: int, what: str) -> str:
    """'1 light', '2 lights'."""
    return f"{number} {what}{'s' if number > 1 else ''}"


def _remove_surroundings(spec: mujoco.MjSpec) -> Iterator[str]:
    """What stands still in the world: floor, tables; and the sky."""
    geoms = list(spec.worldbody.geoms)
    bodies = [body for body in spec.worldbody.bodies if not _moves(body)]
    for element in (*geoms, *bodies, *spec.worldbody.sites):
        spec.delete(element)
    for texture in [t for t in spec.textures if t.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX]:
        spec.delete(texture)
    if geoms:
        yield "its floor" if len(geoms) == 1 else f"{len(geoms)} geoms of the world"
    if bodies:
        yield ", ".join(f"body {body!r}" for body in (body.name or "without name" for body in bodies))


def _moves(body: mujoco.MjsBody) -> bool:
    return bool(body.joints) or any(_moves(child) for child in body.bodies)


def _remove_elements(spec: mujoco.MjSpec) -> Iterator[str]:
    for field, what in _REPLACED.items():
        elements = list(getattr(spec, field))
        for element in elements:
            spec.delete(element)
        if elements:
            yield count(len(elements), what)


def _reset_options(spec: mujoco.MjSpec) -> Iterator[str]:
    """Options and sizes: a file's are made for its own solver, and to hold its own floor and drives."""
    names = [name for name in dir(PLAIN.option) if not name.startswith("_")]
    own = [n for n in names if not np.array_equal(getattr(spec.option, n), getattr(PLAIN.option, n))]
    spec.option = PLAIN.option
    for name in ("memory", "njmax", "nconmax", "nstack"):
        setattr(spec, name, getattr(PLAIN, name))
    if own:
        yield f"option{'s' if len(own) > 1 else ''} {', '.join(own)}"


def _set_contacts(spec: mujoco.MjSpec, floor: tuple[int, int]) -> Iterator[str]:
    """Geoms that meet the file's floor meet our ground and nothing else, as points with friction."""
    bits = inner = points = margins = 0
    for geom in spec.geoms:
        if not geom.contype and not geom.conaffinity:
            continue
        touches = bool(geom.contype & floor[1] or floor[0] & geom.conaffinity)
        inner += not touches
        if touches and (geom.conaffinity or geom.contype != 1):
            bits += 1
        geom.contype, geom.conaffinity = int(touches), 0
        points += touches and geom.condim != 3
        margins += touches and bool(geom.margin or geom.gap)
        geom.condim, geom.margin, geom.gap = 3, 0.0, 0.0
    if bits:
        yield f"{count(bits, 'geom')} meet{'s' * (bits == 1)} the ground only, not one another"
    if inner:
        yield f"{count(inner, 'geom')} for contacts with the robot itself {'do' if inner > 1 else 'does'} not collide"
    if points:
        yield f"condim of {count(points, 'geom')} is 3"
    if margins:
        yield f"{count(margins, 'geom')} lost {'their' if margins > 1 else 'its'} contact margin"


def _set_joints(spec: mujoco.MjSpec) -> Iterator[str]:
    """Nothing holds a base back, and the limits of drives are the configuration's."""
    limited = 0
    for joint in spec.joints:
        if joint.type == mujoco.mjtJoint.mjJNT_FREE:
            if joint.armature or joint.frictionloss or any(joint.damping) or any(joint.stiffness):
                yield f"joint {joint.name!r} of the base is free of damping, armature, stiffness and friction"
            joint.armature = joint.frictionloss = 0.0
            joint.damping, joint.stiffness = np.zeros_like(joint.damping), np.zeros_like(joint.stiffness)
        elif any(joint.actfrcrange):
            joint.actfrcrange, joint.actfrclimited = [0.0, 0.0], mujoco.mjtLimited.mjLIMITED_FALSE
            limited += 1
    if limited:
        yield f"effort_limit replaces actuatorfrcrange of {count(limited, 'joint')}"


def _name_geoms(spec: mujoco.MjSpec) -> Iterator[str]:
    """A nameless geom that collides is called as its body, or <body>_0, <body>_1 where it has several.

    `deploy.robot` names them by the same rule.
    """
    taken, given = {geom.name for geom in spec.geoms}, []
    for body in spec.bodies[1:]:
        nameless = [geom for geom in body.geoms if not geom.name and (geom.contype or geom.conaffinity)]
        alone = len(nameless) == 1 and body.name not in taken
        for i, geom in enumerate(nameless):
            geom.name = body.name if alone else f"{body.name}_{i}"
            while geom.name in taken:
                geom.name += "_"
            taken.add(geom.name)
            given.append(geom.name)
    if given:
        yield f"nameless geoms are called {', '.join(given)}"


def _join_base(spec: mujoco.MjSpec) -> Iterator[str]:
    """A base without mass, as some converters write it, takes that of the bodies fixed to it.

    Other bodies without joints stay as they are: every engine computes them as part of what carries them.
    """
    base = next((body for body in spec.worldbody.bodies if body.joints), None)
    if base is None or base.explicitinertial or all(child.joints for child in base.bodies):
        return
    model = spec.copy().compile()
    if model.body_mass[model.jnt_bodyid[0]] == 0.0:
        spec.fuse_static()
        yield f"base {base.name!r} has no mass of its own, and bodies without joints are part of what carries them"


def drop_visuals(spec: mujoco.MjSpec) -> None:
    """Remove what does not collide, meshes and textures included; masses stay as the whole file gives them."""
    if spec.compiler.inertiafromgeom == mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_TRUE:
        for body in spec.bodies[1:]:
            body.explicitinertial, body.ipos = (
                False,
                [np.nan] * 3,
            )  # such a compiler overrides what was written
        spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_AUTO
    spec.discard_visual()
