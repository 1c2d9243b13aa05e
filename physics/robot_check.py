"""What is wrong between a robot's configuration and its MJCF, all of it at once, each with what helps."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import mujoco

from robots.config import RobotConfig, match, matching, nearest

LOG = logging.getLogger("trot")
"""Without a handler of the user's its lines go to stderr."""
PER_JOINT: dict[str, tuple[Callable[[float], bool], str] | None] = {
    "default_joint_pos": None,
    "stiffness": (lambda x: x >= 0.0, "must not be negative"),
    "damping": (lambda x: x >= 0.0, "must not be negative"),
    "effort_limit": (lambda x: x > 0.0, "must be greater than 0"),
    "velocity_limit": (lambda x: x > 0.0, "must be greater than 0"),
}
"""Fields with a value for each joint, and what it must be."""


def tell(robot: RobotConfig, text: str) -> None:
    """Let the user know something about a robot, once; of processes that torchrun started the first says it."""
    if os.environ.get("RANK", "0") == "0":
        _tell(f"robot {robot.name}: {text}")


@functools.cache
def _tell(line: str) -> None:
    LOG.warning(line)


def check_robot(robot: RobotConfig, spec: mujoco.MjSpec) -> None:
    """ValueError that lists whatever does not fit between a configuration and what its MJCF holds.

    Args:
        robot: the configuration.
        spec: the MJCF as `physics.mjcf.load_mjcf` returns it.
    """
    geoms = [geom.name for geom in spec.geoms if geom.contype]
    if problems := [*_structure(spec), *_joints(robot, spec), *_contacts(robot, geoms)]:
        raise ValueError(f"robot {robot.name}: {'; '.join(dict.fromkeys(problems))}")


def _structure(spec: mujoco.MjSpec) -> Iterator[str]:
    """What no engine here computes."""
    bodies = spec.worldbody.bodies
    robot = sorted(bodies, key=lambda body: len(body.find_all("joint")))[-1:]
    if not spec.joints or spec.joints[0].type != mujoco.mjtJoint.mjJNT_FREE:
        yield "the first joint must be a free joint on the base: give its first body <freejoint/>"
    for body in (body for body in bodies if body not in robot):
        yield f"body {body.name!r} is not part of {robot[0].name!r}, the robot: remove it from the MJCF"
    hinges = [joint for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    for joint in spec.joints[1:]:
        kind = {mujoco.mjtJoint.mjJNT_SLIDE: "slides", mujoco.mjtJoint.mjJNT_BALL: "is a ball joint"}.get(
            joint.type
        )
        if kind:
            help = "remove it to fix its body" if kind == "slides" else "write it as three hinges"
            yield f"joint {joint.name!r} of body {joint.parent.name!r} {kind}, joints must be hinges: {help}"
    if not hinges:
        yield "it has no hinge"
    if nameless := list(dict.fromkeys(repr(hinge.parent.name) for hinge in hinges if not hinge.name)):
        yield f"hinges without a name on {', '.join(nameless)}: give each one"


def _joints(robot: RobotConfig, spec: mujoco.MjSpec) -> Iterator[str]:
    """Values that joints lack, and those that make no sense."""
    joints = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE and joint.name]
    for name, rule in PER_JOINT.items():
        values = getattr(robot, name)
        lacking = [joint for joint in joints if _value(values, joint) is None]
        if lacking:  # the first stands for its siblings
            more = f" (nor {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            known = f"no pattern of {', '.join(values)} matches" if values else "it is empty, and lacks"
            yield f"{name}: {known} {lacking[0]!r}{more}"
        for joint in joints:
            value = _value(values, joint)
            if value is not None and rule and not rule[0](value):
                yield f"{name} of {joint} is {value:g} and {rule[1]}"
                break


def _value(values: dict[str, float], joint: str) -> float | None:
    try:
        return match(values, joint)
    except ValueError:
        return None


def _contacts(robot: RobotConfig, geoms: list[str]) -> Iterator[str]:
    """Feet and contact groups that are not there."""
    groups = list(robot.contact_groups)
    if robot.feet and not geoms:
        yield "no geom of its MJCF touches the ground: give those that should contype 1"
        return
    for foot in robot.feet:
        if foot not in geoms:
            yield f"foot {foot!r} is no geom that touches the ground.{nearest(foot, geoms)}".rstrip(".")
    for field, lists, names in (
        ("contact_groups", robot.contact_groups.values(), geoms),
        ("penalised_contacts", (robot.penalised_contacts,), groups),
        ("fatal_contacts", (robot.fatal_contacts,), groups),
    ):
        for patterns in lists:
            try:
                matching(patterns, names)
            except ValueError as error:
                yield f"{field}: {error}".rstrip(".")
    group_of: dict[str, str] = {}
    for group, patterns in robot.contact_groups.items():
        if not patterns:
            yield f"contact group {group!r} is empty"
        with suppress(ValueError):  # said above
            for geom in matching(patterns, geoms):
                if (other := group_of.setdefault(geom, group)) != group:
                    yield f"geom {geom!r} belongs to the contact groups {other!r} and {group!r}"
    for foot in robot.feet:
        if foot not in groups:
            yield f"foot {foot!r} has no contact group of its name"
