"""What is drawn over robots: arrows of command and velocity, the height scan, forces at feet."""

from __future__ import annotations

import numpy as np
import viser

from viewers.shown import Measured, Shown
from viewers.web.scene import WORLD

GREEN, BLUE, ORANGE, VIOLET = (26, 158, 80), (36, 88, 214), (240, 140, 20), (150, 80, 210)
_FORCE = 1.2
"""Length of the arrow of a force as large as a robot's weight, in heights of its base."""
_SLOWEST = 0.05
"""Velocities below have no arrow, m/s and rad/s."""


class Arrow:
    """An arrow over a robot, and an arc for the yaw rate."""

    def __init__(self, server: viser.ViserServer, name: str, colour: tuple[int, int, int], height: float):
        """Prepare it for a robot whose base is so high, m."""
        scene, self._height = server.scene, height
        path = f"{WORLD}/overlays/{name}"
        self._arrow = scene.add_arrows(
            path,
            np.zeros((1, 2, 3)),
            colour,
            shaft_radius=0.028 * height,
            head_radius=0.07 * height,
            head_length=0.16 * height,
            visible=False,
        )
        self._arc = scene.add_line_segments(
            f"{path}_turn",
            np.zeros((1, 2, 3)),
            colour,
            thickness=4.0,
            thickness_units="screen",
            visible=False,
        )

    def draw(self, tail: np.ndarray, heading: float, velocity: np.ndarray, shown: bool) -> None:
        """Move it.

        Args:
            tail: where it begins, m, [3].
            heading: of the robot, rad.
            velocity: vx, vy (m/s) and yaw rate (rad/s), base frame, [3].
            shown: whether it is to be seen.
        """
        h = self._height
        speed = float(np.hypot(*velocity[:2]))
        straight, turning = shown and speed > _SLOWEST, shown and abs(velocity[2]) > 2 * _SLOWEST
        _show(self._arrow, straight)
        _show(self._arc, turning)
        cos, sin = np.cos(heading), np.sin(heading)
        along = np.array([cos * velocity[0] - sin * velocity[1], sin * velocity[0] + cos * velocity[1], 0.0])
        tip = tail + 1.3 * h * along
        if straight:
            self._arrow.points = np.stack((tail, tip))[None].astype(np.float32)
        if turning:
            angle = heading + np.linspace(0.0, 1.2 * velocity[2], 13)
            arc = tail + 0.55 * h * np.stack((np.cos(angle), np.sin(angle), 0.0 * angle), -1)
            self._arc.points = np.stack((arc[:-1], arc[1:]), 1).astype(np.float32)


class Overlays:
    """All of them; they are made anew with each simulation."""

    def __init__(self, server: viser.ViserServer, simulation: Shown):
        """Prepare, instead of those drawn before."""
        server.scene.remove_by_name(f"{WORLD}/overlays")
        self._simulation = simulation
        self._height = height = simulation.height
        self._command = Arrow(server, "command", GREEN, height)
        self._velocity = Arrow(server, "velocity", BLUE, height)
        self._points = server.scene.add_point_cloud(
            f"{WORLD}/overlays/scan",
            np.zeros((1, 3)),
            ORANGE,
            point_size=0.035 * height,
            point_shape="circle",
            visible=False,
        )
        self._forces = server.scene.add_arrows(
            f"{WORLD}/overlays/forces",
            np.zeros((1, 2, 3)),
            VIOLET,
            shaft_radius=0.018 * height,
            head_radius=0.045 * height,
            head_length=0.1 * height,
            visible=False,
        )
        self._weight = simulation.weight

    def draw(
        self, robot: int, base: np.ndarray, measured: Measured, arrows: bool, scan: bool, forces: bool
    ) -> None:
        """Draw those that are wanted.

        Args:
            robot: the chosen one.
            base: where its base is drawn, m, [3].
            measured: what it does.
            arrows: of command and velocity.
            scan: points of its height scan.
            forces: at the feet of all robots.
        """
        heading = self._simulation.heading(robot)
        above = base + (0.0, 0.0, 0.75 * self._height)
        self._velocity.draw(above, heading, measured.velocity, arrows)
        self._command.draw(above + (0.0, 0.0, 0.16 * self._height), heading, measured.command, arrows)
        points = self._simulation.scan_points(robot) + (0.0, 0.0, 0.01) if scan else np.zeros((0, 3))
        _show(self._points, bool(len(points)))
        if len(points):
            self._points.points = points.astype(np.float32)
        ends = np.zeros((0, 2, 3))
        if forces:
            where, force = self._simulation.forces()
            where, force = where.reshape(-1, 3), force.reshape(-1, 3)
            acting = np.linalg.norm(force, axis=1) > 0.01 * self._weight
            tips = where + _FORCE * self._height / self._weight * force
            ends = np.stack((where, tips), 1)[acting]
        _show(self._forces, bool(len(ends)))
        if len(ends):
            self._forces.points = ends.astype(np.float32)


def _show(handle: viser.SceneNodeHandle, visible: bool) -> None:
    """Send only changes."""
    if handle.visible != visible:
        handle.visible = visible
