"""What training assumed of a robot: what its MJCF says of joints and bodies, and what differed between robots."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import mujoco
import numpy as np

from envs.config import EnvConfig
from envs.randomisation import RANDOMISED, RandomisationConfig, bounds
from physics.scene import build_scene, robot_base
from robots.config import match
from terrains.ground import Plane

DESCRIPTION = (
    "The robot as training knew it, for comparison with another model or a real one. Per joint, in the order of "
    "joint_names: armature (inertia of the rotor at the joint, kg m^2), joint_damping (viscous friction, N m s/rad) "
    "and friction_loss (dry friction, N m), both passive, beside the drive's `damping`; joint_pos_limits (rad, null "
    "for none), within which start angles are clamped; velocity_limit (rad/s), which pd drives do not enforce. "
    "Bodies: mass (kg), centre of mass (com, m, body frame), inertia about it (kg m^2: xx yy zz xy xz yz along the "
    "body frame's axes). `mass` is that of all bodies. `actuator`: what drives were in training; policy.json's "
    "stiffness, damping and effort_limit describe `pd`. `delay`: how late targets took effect, range, s. "
    "`randomisation`: what differed from robot to robot and from the values here. Two numbers are a uniform range, "
    "one number or three (x, y, z) are half widths; a _factor multiplies the value of its name, what is added_ adds "
    "to it; friction is the coefficient of the contacts, base_com_shift in m, encoder_offset and gravity_tilt in "
    "rad. Every push_interval (s) the base's horizontal velocity was set to uniform +-push_velocity (m/s), roll, "
    "pitch and yaw rates to +-push_ang_vel (rad/s); every push_force_interval (s) push_force (N) acted for "
    "push_force_duration (s). What is not named did not differ."
)


def assumptions(cfg: EnvConfig, joints: tuple[str, ...]) -> dict[str, Any]:
    """The block `assumed` of policy.json.

    Args:
        cfg: the task.
        joints: names, in the policy's order.
    """
    model = build_scene(cfg.robot, Plane(), cfg.sim.timestep)
    dofs = [int(model.joint(name).dofadr[0]) for name in joints]
    limits = [_limits(model, name) for name in joints]
    bodies = [_body(model, i) for i in range(robot_base(model), model.nbody)]
    return {
        "description": DESCRIPTION,
        "armature": _plain(model.dof_armature[dofs]),
        "joint_damping": _plain(model.dof_damping[dofs]),
        "friction_loss": _plain(model.dof_frictionloss[dofs]),
        "joint_pos_limits": {"low": [low for low, _ in limits], "high": [high for _, high in limits]},
        "velocity_limit": [float(match(cfg.robot.velocity_limit, name)) for name in joints],
        "mass": _plain(model.body_mass.sum()),
        "bodies": bodies,
        "actuator": cfg.actuator,
        "delay": list(cfg.drive.delay),
        "randomisation": _randomisation(cfg.randomisation),
    }


def _limits(model: mujoco.MjModel, joint: str) -> tuple[float | None, float | None]:
    """Of a hinge, rad; None for none."""
    there = model.joint(joint)
    low, high = _plain(there.range) if there.limited[0] else (None, None)
    return low, high


def _body(model: mujoco.MjModel, body: int) -> dict[str, Any]:
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.body_iquat[body])
    inertia = axes.reshape(3, 3) @ np.diag(model.body_inertia[body]) @ axes.reshape(3, 3).T
    return {
        "name": model.body(body).name,
        "mass": _plain(model.body_mass[body]),
        "com": _plain(model.body_ipos[body]),
        "inertia": _plain(inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]),
    }


def _plain(values: np.ndarray) -> Any:
    """Seven digits, and zero for what only rounding made: the same on every machine."""
    if np.ndim(values):
        return [_plain(value) for value in values]
    return float(f"{values:.7g}") if abs(values) > 1e-12 else 0.0


def _randomisation(cfg: RandomisationConfig) -> dict[str, Any]:
    """Fields of what differs or changes something; pushes that are on."""
    on = [
        name
        for name, entry in RANDOMISED.items()
        if any(low != high or low != entry.neutral for low, high in bounds(cfg, name))
    ]
    if cfg.push_interval > 0.0 and (cfg.push_velocity or cfg.push_ang_vel):
        on += ["push_interval", "push_velocity", "push_ang_vel"]
    if cfg.push_force > 0.0 and cfg.push_force_interval > 0.0:
        on += ["push_force", "push_force_duration", "push_force_interval"]
    values = {field.name: getattr(cfg, field.name) for field in fields(cfg) if field.name in on}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
