"""Whether a robot is one that can stand as its configuration says, looked at before hours go into training it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from physics.scene import contact_geoms, robot_base
from robots.config import RobotConfig, match

IN_GROUND = 0.02
"""Feet may begin as deep in the ground, and other parts as much lower than the feet, m."""
IN_AIR = 0.25
"""Feet may begin as high above the ground, m: published robots are dropped by up to 0.15."""
LIMIT_MARGIN = 0.02
"""The stance may be as far outside of joint limits, which are soft, rad."""
TOTAL_MASS = (0.1, 2000.0)
"""Of a robot, kg; outside of it the file is in other units."""
SMALLEST_LINK = 1e-3
"""A link of less mass is told, kg."""
SAG, FAR_SAG = 0.5, math.pi
"""PD drives that yield more under the robot's weight are told, and refused, rad."""


@dataclass
class Standing:
    """The nominal stance with its base at `init_height` over level ground."""

    names: list[str]
    """Of the A joints."""
    angles: np.ndarray
    """rad, [A]."""
    lowest: dict[str, np.ndarray]
    """Geom that touches the ground -> its lowest point, world frame, m, [3]."""
    feet: dict[str, str]
    """Foot -> the lowest geom of its contact group."""
    torques: np.ndarray
    """What holds the joints against gravity with the weight on the feet, N m, [A]."""

    def height(self, foot: str) -> float:
        """Height of a foot's lowest point above the ground, m."""
        return float(self.lowest[self.feet[foot]][2])


def check_stance(robot: RobotConfig, model: mujoco.MjModel) -> list[str]:
    """Look at a robot's scene on a plane; returns what is odd.

    Args:
        robot: the configuration.
        model: its scene; gains count where its drives are position drives.

    Raises:
        ValueError: what makes training pointless, all of it in one sentence, with the right values.
    """
    masses, odd = _masses(model)
    stance = stand(robot, model)
    problems = masses + _outside_limits(stance, model)
    if robot.feet and not problems:  # else heights and torques mean nothing
        problems += _heights(robot, stance)
        if len(heights := [stance.height(foot) for foot in robot.feet]) and np.ptp(heights) > IN_GROUND:
            low, high = (robot.feet[i] for i in (np.argmin(heights), np.argmax(heights)))
            odd.append(f"foot {high} stands {np.ptp(heights):.2f} m higher than {low}")
        if not problems:
            weak, soft = _drives(robot, stance, model)
            problems, odd = weak, odd + soft
    if problems:
        raise ValueError(f"robot {robot.name}: {'; '.join(problems)}")
    return odd


def stand(robot: RobotConfig, model: mujoco.MjModel) -> Standing:
    """The nominal stance, computed by MuJoCo."""
    data = mujoco.MjData(model)
    names = [model.joint(i).name for i in range(1, model.njnt)]
    angles = np.array([match(robot.default_joint_pos, name) for name in names])
    data.qpos[:7], data.qpos[7:] = [0.0, 0.0, robot.init_height, 1.0, 0.0, 0.0, 0.0], angles
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    lowest = {
        model.geom(geom).name: lowest_point(model, data, int(geom))
        for geom in np.flatnonzero(model.geom_contype)
    }
    groups = contact_geoms(robot, list(lowest))
    feet = {foot: min(groups[foot], key=lambda name: lowest[name][2]) for foot in robot.feet}
    return Standing(names, angles, lowest, feet, _torques(model, data, [*feet.values()], lowest))


def lowest_point(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """Lowest point of a geom, world frame, m, [3]; of a mesh its lowest vertex."""
    kinds, kind, size = mujoco.mjtGeom, mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    pos, rot = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    down = -rot[2]  # in the geom's frame
    if kind == kinds.mjGEOM_MESH:
        start = model.mesh_vertadr[mesh := model.geom_dataid[geom]]
        vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
        return pos + rot @ vertices[np.argmax(vertices @ down)]
    if kind == kinds.mjGEOM_BOX:
        return pos + rot @ (np.sign(down) * size)
    if kind == kinds.mjGEOM_ELLIPSOID:
        return pos + rot @ (size**2 * down / np.linalg.norm(size * down))
    point = np.zeros(3)
    if kind in (kinds.mjGEOM_CAPSULE, kinds.mjGEOM_CYLINDER):
        point[2] = np.sign(down[2]) * size[1]
    radial = down.copy()
    if kind == kinds.mjGEOM_CYLINDER:
        radial[2] = 0.0
        radial /= max(float(np.linalg.norm(radial)), 1e-9)
    return pos + rot @ (point + size[0] * radial)


def _torques(
    model: mujoco.MjModel, data: mujoco.MjData, feet: list[str], lowest: dict[str, np.ndarray]
) -> np.ndarray:
    """Joint torques [A] that hold the robot still with its weight on its lowest feet, spread as evenly as can be."""
    holding, jacobian = np.zeros(model.nv), np.zeros((3, model.nv))
    mujoco.mj_comVel(model, data)
    mujoco.mj_passive(model, data)
    mujoco.mj_rne(model, data, 0, holding)
    holding -= data.qfrc_passive
    ground = min((lowest[foot][2] for foot in feet), default=0.0)
    feet = [foot for foot in feet if lowest[foot][2] <= ground + IN_GROUND]
    if feet:
        base = robot_base(model)
        weight = model.body_subtreemass[base] * np.linalg.norm(model.opt.gravity)
        lever = np.array([lowest[foot] - data.subtree_com[base] for foot in feet])
        # forces that carry the weight and do not tip the robot, the smallest of them
        balance = np.vstack((np.ones(len(feet)), lever[:, 0], lever[:, 1]))
        forces = np.clip(np.linalg.lstsq(balance, [weight, 0.0, 0.0], rcond=None)[0], 0.0, None)
        forces *= weight / forces.sum()
        for foot, force in zip(feet, forces, strict=True):
            body = model.geom_bodyid[model.geom(foot).id]
            mujoco.mj_jac(model, data, jacobian, None, lowest[foot], body)
            holding -= force * jacobian[2]
    return holding[6:]


def _outside_limits(stance: Standing, model: mujoco.MjModel) -> list[str]:
    found = []
    for joint, (name, angle) in enumerate(zip(stance.names, stance.angles, strict=True), start=1):
        low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-2.0 * math.pi, 2.0 * math.pi)
        if low - LIMIT_MARGIN <= angle <= high + LIMIT_MARGIN:
            continue
        text = f"default_joint_pos of {name} is {angle:g} rad, outside of {low:.3g} to {high:.3g}"
        radians = math.radians(angle)
        if abs(angle) > math.pi and low <= radians <= high:
            text += f": did you mean {radians:.3g} ({angle:g} degrees)?"
        found.append(text)
    return _first(found)


def _first(found: list[str]) -> list[str]:
    """The first of what is said of several joints, and how many there are: a pattern's joints share its mistake."""
    more = len(found) - 1
    return (
        [found[0] + (f" (as for {more} more joint{'s' if more > 1 else ''})" if more else "")]
        if found
        else []
    )


def _heights(robot: RobotConfig, stance: Standing) -> Iterator[str]:
    feet = min(stance.height(foot) for foot in robot.feet)
    right = math.ceil(100.0 * (robot.init_height - feet)) / 100.0
    if feet < -IN_GROUND:
        text = f"init_height {robot.init_height:g} puts the feet {-feet:.2g} m into the ground; "
        yield text + f"at least {right:.2f}"
    if feet > IN_AIR:
        text = f"init_height {robot.init_height:g} leaves the feet {feet:.2g} m above the ground; "
        yield text + f"{right:.2f} stands on it"
    name = min(stance.lowest, key=lambda geom: stance.lowest[geom][2])
    depth = feet - stance.lowest[name][2]
    if depth > IN_GROUND:
        yield (
            f"in the stance of default_joint_pos {name!r} is {depth:.2f} m lower than the feet "
            f"({', '.join(robot.feet)}): it must stand on them"
        )


def _masses(model: mujoco.MjModel) -> tuple[list[str], list[str]]:
    """What cannot be of masses and inertias, and what is odd."""
    problems, odd = [], []
    base, total = robot_base(model), float(model.body_mass.sum())
    if not TOTAL_MASS[0] <= total <= TOTAL_MASS[1]:
        problems.append(f"its mass is {total:.3g} kg: MJCF is in kg and m")
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    robot = [body for body in range(model.nbody) if model.body_rootid[body] == base]
    geoms = np.isin(model.geom_bodyid, robot)
    reach = np.linalg.norm(data.geom_xpos[geoms] - data.xpos[base], axis=1) + model.geom_rbound[geoms]
    size = 2.0 * float(reach.max(initial=0.0))
    for body in robot:
        name, mass = model.body(body).name, float(model.body_mass[body])
        link = float(model.body_mass[model.body_weldid == body].sum())
        if model.body_jntnum[body] and link < SMALLEST_LINK:
            odd.append(f"link {name} has a mass of {1000.0 * link:.2g} g")
        wide = math.sqrt(model.body_inertia[body].max() / mass) if mass else 0.0
        if wide > size:
            problems.append(
                f"the inertia of body {name} is that of {mass:.3g} kg {wide:.3g} m away, and the robot is "
                f"{size:.2g} m large: MJCF is in kg m^2"
            )
    return problems, odd


def _drives(robot: RobotConfig, stance: Standing, model: mujoco.MjModel) -> tuple[list[str], list[str]]:
    """What cannot carry the robot, and what yields much."""
    weak: list[str] = []
    far: list[str] = []
    soft: list[str] = []
    position = bool((model.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE).all())
    for name, torque in zip(stance.names, np.abs(stance.torques), strict=True):
        limit, stiffness = match(robot.effort_limit, name), match(robot.stiffness, name)
        if torque > limit:
            weak.append(f"effort_limit of {name} is {limit:g} N m, and the stance takes {torque:.3g}")
        if position and torque > SAG * stiffness:
            off = f"{torque / stiffness:.2g} rad off its target" if stiffness else "nowhere"
            text = f"stiffness {stiffness:g} of {name} holds the stance's {torque:.3g} N m {off}"
            (far if torque > FAR_SAG * stiffness else soft).append(text)
    return _first(weak) + _first(far), _first(soft)
