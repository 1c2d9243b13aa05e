"""Film a recording as stick figures: needs no OpenGL."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib
import mujoco
import numpy as np

matplotlib.use("Agg")
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from physics.scene import build_scene
from terrains.ground import Plane
from viewers.mp4 import Mp4Writer
from viewers.recording import FIELD_OF_VIEW, Camera, Recording, caption, follow, formation, frame_steps

_DPI = 100
_NEAR = 0.2
"""Lines closer to the camera than this are left out, m."""
_LINES = (("#c8ccd0", 0.8), ("#222222", 2.5), ("#a01818", 3.5), ("#1a9641", 2.0))
"""Colour and width of ground, legs, bases and commands, in the order in which they are drawn."""
_FOOT = "#e07b00"


def film_sticks(recording: Recording, path: Path, size: tuple[int, int], fps: float) -> None:
    """Write a video of lines: bases red, legs black, feet on the ground orange, commands green.

    Args:
        recording: what to show.
        path: MP4 file to make.
        size: width and height in pixels, even numbers.
        fps: frames a second.
    """
    skeleton = _Skeleton(recording)
    positions = formation(recording)
    cameras = follow(recording, positions)
    picture = _Picture(size)
    with Mp4Writer(path, size, fps) as video:
        for step in frame_steps(recording, fps):
            camera = cameras[step]
            bases, legs, feet = [], [], []
            for robot in range(recording.num_robots):
                base, leg, foot = skeleton.pose(positions[step, robot], step, robot)
                bases.append(base)
                legs.append(leg)
                feet.append(foot[recording.foot_contact[step, robot]])
            lines = (
                _ground(camera),
                np.concatenate(legs),
                np.concatenate(bases),
                _commands(recording, positions, step),
            )
            video.write(picture.draw(camera, lines, np.concatenate(feet), caption(recording, step)))


class _Skeleton:
    """Lines from each link to the next, from the robot's MJCF."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.model = build_scene(recording.robot, Plane())
        self.data = mujoco.MjData(self.model)
        self.base = int(self.model.joint(0).bodyid[0])
        links = range(self.base + 1, self.model.nbody)
        self.legs = [(int(self.model.body_parentid[i]), i) for i in links]
        hips = [i for parent, i in self.legs if parent == self.base]
        # around the base's outline, so that no line crosses another
        hips.sort(key=lambda i: np.arctan2(*self.model.body_pos[i][1::-1]))
        self.outline = [*pairwise(hips), (hips[-1], hips[0])]
        self.legs = [pair for pair in self.legs if pair[0] != self.base]
        feet = [self.model.geom(name) for name in recording.robot.feet]
        self.feet = [(int(geom.bodyid[0]), geom.id) for geom in feet]

    def pose(self, position: np.ndarray, step: int, robot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lines of the base [K, 2, 3] and of the legs [L, 2, 3], and the feet [F, 3]; world frame, m."""
        data, recording = self.data, self.recording
        data.qpos[:3] = position
        data.qpos[3:7] = recording.base_quat[step, robot]
        data.qpos[7:] = recording.joint_pos[step, robot]
        mujoco.mj_kinematics(self.model, data)
        feet = np.array([data.geom_xpos[geom] for _, geom in self.feet])
        shins = np.array([(data.xpos[body], data.geom_xpos[geom]) for body, geom in self.feet])
        legs = np.array([data.xpos[list(pair)] for pair in self.legs]).reshape(-1, 2, 3)
        base = np.array([data.xpos[list(pair)] for pair in self.outline])
        return base, np.concatenate((legs, shins)), feet


class _Picture:
    """A matplotlib canvas that is drawn again for each frame."""

    def __init__(self, size: tuple[int, int]):
        self.size, self.aspect = size, size[0] / size[1]
        thickness = size[1] / 720
        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, facecolor="#f5f6f8")
        self.canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(-self.aspect, self.aspect)
        axes.set_ylim(-1.0, 1.0)
        self.lines = [
            LineCollection([], colors=colour, linewidths=width * thickness, capstyle="round")
            for colour, width in _LINES
        ]
        for lines in self.lines:
            axes.add_collection(lines)
        self.feet = axes.scatter([], [], s=25 * thickness**2, color=_FOOT, zorder=3)
        font = max(4.0, 11 * thickness)
        self.text = axes.text(-0.97 * self.aspect, -0.94, "", fontsize=font, family="monospace")

    def draw(self, camera: Camera, lines: tuple[np.ndarray, ...], feet: np.ndarray, text: str) -> np.ndarray:
        """One frame, uint8 [height, width, 3], of lines [K, 2, 3] grouped as in `_LINES` and feet [M, 3]."""
        for collection, segments in zip(self.lines, lines, strict=True):
            flat, depth = _project(camera, segments)
            seen = (depth > _NEAR).all(axis=-1) & (np.abs(flat) < 2.0 * self.aspect).any(axis=(1, 2))
            collection.set_segments(flat[seen])
        self.feet.set_offsets(_project(camera, feet)[0])
        self.text.set_text(text)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3]


def _project(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture coordinates [..., 2] (1 = upper edge) and depths [...] (m) of world points [..., 3]."""
    azimuth, elevation = np.radians(camera.azimuth), np.radians(camera.elevation)
    forward = np.array(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    relative = points - (camera.lookat - camera.distance * forward)
    depth = relative @ forward
    plane = np.stack((relative @ right, relative @ np.cross(right, forward)), axis=-1)
    scale = np.maximum(depth, 1e-3) * np.tan(np.radians(FIELD_OF_VIEW / 2))
    return plane / scale[..., None], depth


def _ground(camera: Camera) -> np.ndarray:
    """Lines of a 1 m grid around the group, [K, 2, 3]; short pieces, so that few cross the camera's plane."""
    reach = int(2.5 * camera.distance)
    x0, y0 = np.floor(camera.lookat[:2])
    ticks = np.arange(-reach, reach + 1)
    pieces = np.arange(-reach, reach, 2)
    i, j = np.meshgrid(ticks, pieces, indexing="ij")
    along_y = np.stack((np.stack((x0 + i, y0 + j), -1), np.stack((x0 + i, y0 + j + 2), -1)), axis=-2)
    along_x = np.stack((np.stack((x0 + j, y0 + i), -1), np.stack((x0 + j + 2, y0 + i), -1)), axis=-2)
    flat = np.concatenate((along_y.reshape(-1, 2, 2), along_x.reshape(-1, 2, 2)))
    return np.concatenate((flat, np.zeros((*flat.shape[:2], 1))), axis=-1)


def _commands(recording: Recording, positions: np.ndarray, step: int) -> np.ndarray:
    """The path that the command asks for over the next second, above each robot, [K, 2, 3]."""
    vx, vy, yaw_rate = recording.command[step]
    w, x, y, z = np.moveaxis(recording.base_quat[step], -1, 0)
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    place = positions[step] + (0.0, 0.0, 0.6 * recording.robot.init_height)
    points = [place]
    for _ in range(8):
        move = np.stack(
            (vx * np.cos(yaw) - vy * np.sin(yaw), vx * np.sin(yaw) + vy * np.cos(yaw), 0 * yaw), -1
        )
        place, yaw = place + move / 8, yaw + yaw_rate / 8
        points.append(place)
    path = np.stack(points, axis=1)
    return np.stack((path[:, :-1], path[:, 1:]), axis=2).reshape(-1, 2, 3)
