"""Arrows for commands and velocities, as triangles that glow."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from viewers.canvas import Mesh
from viewers.recording import Recording
from viewers.shapes import tube

COMMAND_COLOUR = (0.10, 0.65, 0.25)
VELOCITY_COLOUR = (0.10, 0.35, 0.90)
_ARC_SEGMENTS = 6
_GLOW = 150
"""How much of an arrow's colour is its own light, of 255."""


def arrows(recording: Recording, positions: ndarray, step: int, robots: list[int]) -> Mesh:
    """Above each robot, told and measured: linear velocity as an arrow, yaw rate as an arc around its tail."""
    height = recording.robot.init_height
    parts, colours = [np.empty((2, 0, 3, 3))], [np.empty((0, 3))]
    for robot in robots:
        w, x, y, z = recording.base_quat[step, robot]
        heading = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        above = positions[step, robot] + (0.0, 0.0, 0.75 * height)
        shown = (
            (recording.velocity[step, robot], VELOCITY_COLOUR, 0.0),
            (recording.command[step], COMMAND_COLOUR, 0.14 * height),
        )
        for (vx, vy, yaw_rate), colour, lift in shown:
            tail = above + (0.0, 0.0, lift)
            forward = np.array([np.cos(heading), np.sin(heading), 0.0])
            left = np.array([-forward[1], forward[0], 0.0])
            made = []
            if np.hypot(vx, vy) > 0.05:
                tip = tail + 1.2 * height * (vx * forward + vy * left)
                made.append(_arrow(np.stack((tail, tip)), 0.035 * height))
            if abs(yaw_rate) > 0.1:
                angles = heading + np.linspace(0.0, 1.2 * yaw_rate, _ARC_SEGMENTS + 1)
                arc = np.stack((np.cos(angles), np.sin(angles), 0 * angles), axis=-1)
                made.append(_arrow(tail + 0.4 * height * arc, 0.022 * height))
            for triangles in made:
                parts.append(triangles)
                colours.append(np.tile(colour, (triangles.shape[1], 1)))
    points, normals = np.concatenate(parts, axis=1)
    paint = np.full((len(points), 4), 255 - _GLOW)
    paint[:, :3] = 255 * np.concatenate(colours)
    points, normals = (part.reshape(-1, 3).astype(np.float32) for part in (points, normals))
    return Mesh(points, normals, np.repeat(paint, 3, axis=0).astype(np.uint8))


def _arrow(path: ndarray, radius: float) -> ndarray:
    """Points and normals of an arrow along a path [P, 3], [2, K, 3, 3]."""
    last = path[-1] - path[-2]
    length = np.linalg.norm(last)
    head = min(6.0 * radius, 0.8 * length)
    neck = path[-1] - head * last / length
    line = np.concatenate((path[:1], path[:-1], [neck, neck, path[-1]]))
    radii = np.array([0.0, *[radius] * len(path), 2.4 * radius, 0.0])
    return tube(line, radii, sides=8)
