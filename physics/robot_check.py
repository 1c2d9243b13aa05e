"""What is wrong between a robot's configuration and its MJCF, all of it at once."""

from __future__ import annotations

from collections.abc import Callable

import mujoco

from robots.config import RobotConfig, match, matching, nearest

PER_JOINT: dict[str, Callable[[float], bool] | None] = {
    "default_joint_pos": None,
    "stiffness": lambda x: x >= 0.0,
    "damping": lambda x: x >= 0.0,
    "effort_limit": lambda x: x > 0.0,
    "velocity_limit": lambda x: x > 0.0,
}
"""Fields with a value for each joint, and what it must be."""


def check_robot(robot: RobotConfig, spec: mujoco.MjSpec) -> None:
    """ValueError that lists whatever does not fit between a configuration and what its MJCF holds."""
    joints = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    geoms = [geom.name for geom in spec.geoms if geom.name and geom.contype]
    problems: list[str] = []
    if not spec.joints or spec.joints[0].type != mujoco.mjtJoint.mjJNT_FREE:
        problems.append("the first joint must be a free joint on the base")

    def attempt(patterns: tuple[str, ...], names: list[str]) -> None:
        try:
            matching(patterns, names)
        except ValueError as error:
            problems.append(str(error).rstrip("."))

    for name, fits in PER_JOINT.items():
        values = getattr(robot, name)
        for joint in joints:
            try:
                value = match(values, joint)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                break  # its siblings most likely lack one too
            if fits and not fits(value):
                problems.append(f"{name} of {joint} is {value:g}")
                break
    for foot in robot.feet:
        if foot not in geoms:
            problems.append(
                f"foot {foot!r} is no geom that touches the ground.{nearest(foot, geoms)}".rstrip(".")
            )
    groups = list(robot.contact_groups)
    for patterns in robot.contact_groups.values():
        attempt(patterns, geoms)
    for patterns in (robot.penalised_contacts, robot.fatal_contacts):
        attempt(patterns, groups)
    for foot in robot.feet:
        if foot not in groups:
            problems.append(f"foot {foot!r} has no contact group of its name")
    if problems:
        raise ValueError(f"robot {robot.name}: {'; '.join(dict.fromkeys(problems))}")
