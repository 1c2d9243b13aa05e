"""What a viewer asks of robots that walk before its eyes, whichever simulator moves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from terrains.ground import Ground
from viewers.web.settings import Settings


@dataclass
class Measured:
    """What one robot does at one moment; A joints, F feet."""

    time: float
    """Simulated, s."""
    command: np.ndarray
    """vx, vy (m/s), yaw rate (rad/s), [3]."""
    velocity: np.ndarray
    """The same as measured, [3]."""
    contact: np.ndarray
    """Which feet are down, bool, [F]."""
    effort: np.ndarray
    """Torque per its limit, -1 to 1, [A]."""
    value: float
    """What the critic expects of the future; NaN without one."""


class Shown(Protocol):
    """N robots on one ground that walk by a policy; all methods belong to one thread."""

    model: mujoco.MjModel
    """The robot with its visual geoms; what is in its world body is not drawn in the browser."""
    ground: Ground
    """What they walk on."""
    place: str
    """The same in words."""
    robot_name: str
    """Name of the robot."""
    height: float
    """Of its base at the start, m: how large things are drawn."""
    weight: float
    """N."""
    feet: tuple[str, ...]
    """Names of its feet."""
    joint_names: tuple[str, ...]
    """Names of its joints."""
    step_dt: float
    """Duration of a policy step, s."""

    @property
    def time(self) -> float:
        """Simulated, s."""

    def scene(self) -> mujoco.MjModel:
        """The robot on its ground, with lights and sky, for MuJoCo to draw; `qpos` fits it."""

    def reset(self) -> None:
        """All robots start anew."""

    def step(self) -> None:
        """One policy step of all robots."""

    def command(self, command: tuple[float, float, float], robot: int | None = None) -> None:
        """Give a command (vx, vy in m/s, yaw rate in rad/s) to one robot, or to all."""

    def set_body(self, settings: Settings) -> None:
        """Friction and payload, at once."""

    def push(self, robots: list[int], velocity: tuple[float, float]) -> None:
        """Add a horizontal velocity (world frame, m/s) to the bases of some robots."""

    def poses(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Bodies between the last two steps, `share` of the way from one to the other.

        Returns:
            positions, world frame, m, [N, nbody, 3]; quaternions, body to world, w x y z, [N, nbody, 4].
        """

    def qpos(self, share: float) -> np.ndarray:
        """The same as MuJoCo's positions, base first, [N, nq]."""

    def heading(self, robot: int) -> float:
        """Yaw of a robot, rad."""

    def measure(self, robot: int) -> Measured:
        """What a robot does now."""

    def scan_points(self, robot: int) -> np.ndarray:
        """Points of the ground where a robot with a height scan looks, world frame, m, [P, 3]."""

    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """Feet of all robots (world frame, m) and the forces of the ground on them (N), [N, F, 3] each."""


class Opened(Protocol):
    """A policy, not yet in a simulation."""

    def simulate(self, settings: Settings, device: str, num_threads: int, seed: int) -> Shown:
        """Robots that walk by it; ValueError for settings that cannot be had."""


Looked = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions [N, nbody, 3] and quaternions [N, nbody, 4] of bodies, and qpos [N, nq], at one moment."""


def blend(before: Looked, now: Looked, share: float) -> Looked:
    """What lies `share` of the way from one moment to the next."""
    (p0, q0, s0), (p1, q1, s1) = before, now
    qpos = (1.0 - share) * s0 + share * s1
    qpos[:, 3:7] = _turned(s0[:, 3:7], s1[:, 3:7], share)
    return (1.0 - share) * p0 + share * p1, _turned(q0, q1, share), qpos


def _turned(q0: np.ndarray, q1: np.ndarray, share: float) -> np.ndarray:
    sign = np.where((q0 * q1).sum(-1, keepdims=True) < 0.0, -1.0, 1.0)  # the short way round
    quats = (1.0 - share) * q0 + share * sign * q1
    return quats / np.linalg.norm(quats, axis=-1, keepdims=True)


def spread(count: int, height: float) -> np.ndarray:
    """Where to draw robots that all start at the origin of a world of their own: side by side, m, [N, 3]."""
    columns, index = int(np.ceil(np.sqrt(count))), np.arange(count)
    return 2.6 * height * np.stack((-(index // columns), -(index % columns), 0 * index), -1).astype(float)
