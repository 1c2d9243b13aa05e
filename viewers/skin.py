"""All robots of a picture as one mesh."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy import ndarray

from physics.scene import build_scene
from robots.config import RobotConfig
from terrains.ground import Plane
from viewers.shapes import geom_rgba, geom_triangles, shown_geoms

DETAILS = ((9, 0.0), (6, 0.02), (5, 0.06))
"""Near to far: sides of a circle, and the radius of shapes too small to be drawn, m for a robot 0.5 m high."""


@dataclass
class Skin:
    """A robot's surface at one level of detail: K triangles, grouped by body."""

    points: ndarray
    """In the body's frame, m, [K, 3, 3]."""
    normals: ndarray
    """[K, 3, 3]."""
    bodies: ndarray
    """Body of each triangle, [K]."""
    colours: ndarray
    """Colour of each triangle, an index of the palette, [K]."""


class Wardrobe:
    """A robot's skins and the poses that they take."""

    def __init__(self, robot: RobotConfig):
        """Read the robot's MJCF."""
        self.model = build_scene(robot, Plane(), visuals=True)
        self.data = mujoco.MjData(self.model)
        model = self.model
        shown = shown_geoms(model)
        colours = np.array([geom_rgba(model, g)[:3] for g in shown]).round(3)
        self.palette, index = np.unique(colours, axis=0, return_inverse=True)
        """RGB, 0 to 1, [C, 3]."""
        scale, largest = robot.init_height / 0.5, float(model.geom_rbound[shown].max())
        self.skins = [
            self._skin(shown, index.ravel(), slices, min(scale * least, largest)) for slices, least in DETAILS
        ]

    def twin(self) -> Wardrobe:
        """Another one of the same, for another thread."""
        other = copy.copy(self)
        other.data = mujoco.MjData(self.model)
        return other

    def _skin(self, shown: list[int], colours: ndarray, slices: int, least: float) -> Skin:
        parts = []
        for geom, colour in zip(shown, colours, strict=True):
            if self.model.geom_rbound[geom] < least:
                continue
            fine = slices if self.model.geom_rbound[geom] > 2.0 * least else max(5, slices - 3)
            made = geom_triangles(self.model, geom, fine)
            if made is not None and len(made):
                count = np.ones(len(made), int)
                parts.append(
                    (made.points, made.normals, count * self.model.geom_bodyid[geom], count * colour)
                )
        order = np.argsort(np.concatenate([part[2] for part in parts]), kind="stable")
        points, normals, bodies, used = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
        return Skin(points.astype(np.float32), normals.astype(np.float32), bodies, used)

    def pose(
        self, place: ndarray, quat: ndarray, joints: ndarray, detail: int
    ) -> tuple[ndarray, ndarray, ndarray]:
        """Points and normals [K, 3, 3] and colours [K] of a robot; base position (m), quaternion, joints (rad)."""
        self.data.qpos[:3], self.data.qpos[3:7], self.data.qpos[7:] = place, quat, joints
        mujoco.mj_kinematics(self.model, self.data)
        skin = self.skins[detail]
        turn = self.data.xmat.reshape(-1, 3, 3).astype(np.float32)
        at = self.data.xpos.astype(np.float32)
        points, normals = np.empty_like(skin.points), np.empty_like(skin.normals)
        starts = np.flatnonzero(np.diff(skin.bodies, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(skin.bodies)], strict=True):
            body = skin.bodies[start]
            flat = skin.points[start:end].reshape(-1, 3) @ turn[body].T + at[body]
            points[start:end] = flat.reshape(-1, 3, 3)
            normals[start:end] = (skin.normals[start:end].reshape(-1, 3) @ turn[body].T).reshape(-1, 3, 3)
        return points, normals, skin.colours
