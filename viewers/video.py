"""Film a recording: several robots on one floor, their commands and velocities as arrows."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from physics.scene import build_scene
from robots.config import RobotConfig
from terrains.ground import Ground
from viewers.mp4 import Mp4Writer
from viewers.offscreen import Offscreen
from viewers.recording import FIELD_OF_VIEW, Camera, Recording, follow, formation, frame_steps

COMMAND_COLOUR = (0.1, 0.65, 0.25, 1.0)
VELOCITY_COLOUR = (0.1, 0.35, 0.9, 1.0)
_ARC_SEGMENTS = 6
_SUPERSAMPLING = 1.5
"""Pictures are drawn this much larger and scaled down: cheaper than multisampling in software, and calmer."""


def film(recording: Recording, path: Path, size: tuple[int, int], fps: float) -> None:
    """Write a video.

    Args:
        recording: what to show.
        path: MP4 file to make.
        size: width and height in pixels, even numbers.
        fps: frames a second.

    Raises:
        NoOpenGLError: nothing on this machine can draw MuJoCo scenes.
    """
    source = (round(size[0] * _SUPERSAMPLING), round(size[1] * _SUPERSAMPLING))
    positions = formation(recording)
    cameras = follow(recording, positions)
    distance = max(camera.distance for camera in cameras)
    model = stage(recording.robot, recording.ground, distance, close=recording.num_robots <= 2)
    painter = Painter(model, recording, positions)
    with (
        Offscreen(model, *source, geoms(model, recording.num_robots)) as offscreen,
        Mp4Writer(path, size, fps, source) as video,
    ):
        for step in frame_steps(recording, fps):
            painter.paint(offscreen.scene, step, cameras[step])
            video.write(offscreen.render(*_legend(recording, step)))


def stage(robot: RobotConfig, ground: Ground, distance: float, close: bool) -> mujoco.MjModel:
    """A robot on its ground, made for pictures from a `distance` (m); `close` for rounder shapes."""
    model = build_scene(robot, ground, visuals=True)
    _separate_boxes(model)
    _set_quality(model, distance, close)
    return model


def geoms(model: mujoco.MjModel, num_robots: int) -> int:
    """Room that a scene of so many robots and their arrows needs."""
    return num_robots * (model.ngeom + 4 * _ARC_SEGMENTS) + 100


def _separate_boxes(model: mujoco.MjModel) -> None:
    """Lower boxes of the ground by a millimetre for each that they overlap at the same height: there both shine."""
    (boxes,) = np.nonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_BOX) & (model.geom_bodyid == 0))
    centre, half = model.geom_pos[boxes], model.geom_size[boxes]
    low, high = centre - half, centre + half
    rank = np.zeros(len(boxes))
    for i in range(1, len(boxes)):
        same = np.abs(high[:i, 2] - high[i, 2]) < 1e-6
        over = (low[:i, :2] < high[i, :2]).all(1) & (high[:i, :2] > low[i, :2]).all(1)
        rank[i] = (rank[:i][same & over] + 1).max(initial=0)
    model.geom_pos[boxes, 2] -= 0.001 * rank


def _set_quality(model: mujoco.MjModel, distance: float, close: bool) -> None:
    quality, vis = model.vis.quality, model.vis
    # in software most of the time goes into the triangles of round geoms
    quality.numslices, quality.numstacks = (24, 12) if close else (12, 6)
    quality.offsamples = 0
    vis.map.shadowclip = 0.8 * distance / model.stat.extent
    vis.map.shadowscale = 1.0
    vis.map.znear, vis.map.zfar = 0.1 / model.stat.extent, 200.0 / model.stat.extent
    vis.map.haze = 0.4
    vis.rgba.haze[:] = (0.95, 0.96, 0.97, 1.0)
    vis.headlight.ambient[:] = 0.28
    vis.headlight.diffuse[:] = 0.35
    vis.headlight.specular[:] = 0.15
    vis.global_.fovy = FIELD_OF_VIEW


class Painter:
    """Puts every robot of a recording into one scene."""

    def __init__(self, model: mujoco.MjModel, recording: Recording, positions: np.ndarray):
        self.model, self.recording, self.positions = model, recording, positions
        self.data = mujoco.MjData(model)
        self.options, self.perturb = mujoco.MjvOption(), mujoco.MjvPerturb()

    def paint(self, scene: mujoco.MjvScene, step: int, camera: Camera) -> None:
        view = mujoco.MjvCamera()
        view.lookat, view.distance = camera.lookat, camera.distance
        view.azimuth, view.elevation = camera.azimuth, camera.elevation
        for robot in range(self.recording.num_robots):
            self._pose(step, robot)
            arguments = (self.model, self.data, self.options, self.perturb)
            if robot == 0:
                mujoco.mj_camlight(self.model, self.data)
                mujoco.mjv_updateScene(*arguments, view, mujoco.mjtCatBit.mjCAT_ALL, scene)
                self._stage(scene, camera)
            else:
                mujoco.mjv_addGeoms(*arguments, mujoco.mjtCatBit.mjCAT_DYNAMIC, scene)
        for robot in range(self.recording.num_robots):
            self._arrows(scene, step, robot)

    def _stage(self, scene: mujoco.MjvScene, camera: Camera) -> None:
        """Light and floor, after the first robot."""
        scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = True
        scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        for light in scene.lights[: scene.nlight]:
            if not light.headlight:
                # shadows are drawn around the light's axis, so it goes along with the group
                light.pos = camera.lookat - 40.0 * np.asarray(light.dir) / np.linalg.norm(light.dir)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
                # decoration casts no shadow: a floor that shadows itself shows moire
                geom.category = mujoco.mjtCatBit.mjCAT_DECOR

    def _pose(self, step: int, robot: int) -> None:
        self.data.qpos[:3] = self.positions[step, robot]
        self.data.qpos[3:7] = self.recording.base_quat[step, robot]
        self.data.qpos[7:] = self.recording.joint_pos[step, robot]
        mujoco.mj_kinematics(self.model, self.data)

    def _arrows(self, scene: mujoco.MjvScene, step: int, robot: int) -> None:
        """Linear velocity as a straight arrow, yaw rate as an arc around its tail."""
        w, x, y, z = self.recording.base_quat[step, robot]
        heading = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        height = self.recording.robot.init_height
        above = self.positions[step, robot] + (0.0, 0.0, 0.75 * height)
        shown = (
            (self.recording.velocity[step, robot], VELOCITY_COLOUR, 0.0),
            (self.recording.command[step], COMMAND_COLOUR, 0.12 * height),
        )
        for (vx, vy, yaw_rate), colour, lift in shown:
            tail = above + (0.0, 0.0, lift)
            forward = np.array([np.cos(heading), np.sin(heading), 0.0])
            left = np.array([-forward[1], forward[0], 0.0])
            if np.hypot(vx, vy) > 0.05:
                tip = tail + 1.2 * height * (vx * forward + vy * left)
                _connect(scene, mujoco.mjtGeom.mjGEOM_ARROW, 0.045 * height, tail, tip, colour)
            if abs(yaw_rate) > 0.1:
                angles = heading + np.linspace(0.0, 1.2 * yaw_rate, _ARC_SEGMENTS + 1)
                radius = 0.4 * height
                arc = tail + radius * np.stack((np.cos(angles), np.sin(angles), 0 * angles), axis=-1)
                for start, end in zip(arc[:-2], arc[1:-1], strict=True):
                    _connect(scene, mujoco.mjtGeom.mjGEOM_CAPSULE, 0.02 * height, start, end, colour)
                end = arc[-2] + 2.0 * (arc[-1] - arc[-2])
                _connect(scene, mujoco.mjtGeom.mjGEOM_ARROW, 0.03 * height, arc[-2], end, colour)


def _connect(
    scene: mujoco.MjvScene,
    kind: mujoco.mjtGeom,
    width: float,
    start: np.ndarray,
    end: np.ndarray,
    colour: tuple[float, float, float, float],
) -> None:
    if scene.ngeom >= scene.maxgeom:
        return
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), np.array(colour, np.float32))
    mujoco.mjv_connector(geom, kind, width, start, end)
    geom.category = mujoco.mjtCatBit.mjCAT_DECOR
    geom.emission = 0.4
    scene.ngeom += 1


def _legend(recording: Recording, step: int) -> tuple[str, str]:
    command, measured = recording.command[step], recording.velocity[step].mean(axis=0)
    rows = [
        ("", "command (green)", "measured (blue)"),
        *(
            (name, f"{wanted:+15.2f}", f"{got:+15.2f}")
            for name, wanted, got in zip(("vx  m/s", "vy  m/s", "yaw rad/s"), command, measured, strict=True)
        ),
    ]
    return "\n".join(row[0] for row in rows), "\n".join(f"{row[1]}  {row[2]}" for row in rows)
