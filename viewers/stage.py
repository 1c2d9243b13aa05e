"""What a picture is taken of: the ground and all robots on it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from robots.config import RobotConfig
from terrains.ground import Ground, HeightField
from viewers.canvas import Mesh
from viewers.ground_mesh import ground_mesh, ground_texture, plane_mesh, plane_texture, texture_places
from viewers.recording import FIELD_OF_VIEW, Camera
from viewers.skin import Wardrobe

_LEAST_SIZE = (90.0, 36.0)
"""Height from which on a robot is drawn in the finest and in the middle detail, pixels."""
_MOST = (3, 40)
"""Most robots in each of these."""


@dataclass
class Pose:
    """One robot at one time."""

    place: ndarray
    """Base, world frame, m, [3]."""
    quat: ndarray
    """Base to world, w x y z, [4]."""
    joints: ndarray
    """rad, [A]."""
    fallen: bool = False
    """Drawn in grey."""


class Stage:
    """Ground and robots of one kind, ready to be drawn."""

    def __init__(self, robot: RobotConfig, ground: Ground):
        """Prepare the shapes."""
        self.robot = robot
        self.wardrobe = Wardrobe(robot)
        bright = self.wardrobe.palette
        grey = np.repeat(0.45 + 0.25 * bright.mean(1, keepdims=True), 3, axis=1)  # of those who fell
        paints = np.pad(255 * np.concatenate((bright, grey)), ((0, 0), (0, 1)), constant_values=255)
        self._paints = paints.astype(np.uint8)
        if isinstance(ground, HeightField):
            made = ground_mesh(ground)
            places = texture_places(made, ground)
            self.picture = ground_texture(ground)
        else:
            made, self.picture = plane_mesh(), plane_texture()
            places = made.places
        self.ground = Mesh(
            *(
                part.reshape(-1, part.shape[-1]).astype(np.float32)
                for part in (made.points, made.normals, places)
            )
        )

    def twin(self) -> Stage:
        """Another one of the same, for another thread."""
        other = copy.copy(self)
        other.wardrobe = self.wardrobe.twin()
        return other

    def robots(self, poses: list[Pose], camera: Camera, size: tuple[int, int]) -> Mesh:
        """The robots that the camera sees or whose shadows it may see, the nearest in most detail."""
        height, places = self.robot.init_height, np.array([pose.place for pose in poses])
        depth = camera.depth(places)
        seen = np.flatnonzero(camera.sees(places, 2.5 * height, size[0] / size[1]))
        seen = seen[np.argsort(depth[seen], kind="stable")]
        pixels = size[1] * height / np.maximum(2.0 * depth * np.tan(np.radians(FIELD_OF_VIEW / 2)), 1e-3)
        used = [0, 0, 0]
        parts = [(np.empty((0, 3, 3), np.float32), np.empty((0, 3, 3), np.float32), np.empty(0, int))]
        for i in seen:
            detail = int(sum(pixels[i] < least for least in _LEAST_SIZE))
            while detail < 2 and used[detail] >= _MOST[detail]:
                detail += 1
            used[detail] += 1
            points, normals, colours = self.wardrobe.pose(
                poses[i].place, poses[i].quat, poses[i].joints, detail
            )
            parts.append((points, normals, colours + poses[i].fallen * len(self.wardrobe.palette)))
        points, normals, colours = (np.concatenate(column) for column in zip(*parts, strict=True))
        paint = np.repeat(self._paints[colours], 3, axis=0)
        return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), paint)
