"""Where cameras go: with one robot and its neighbours, or slowly over many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy import ndarray

from terrains.ground import Ground, HeightField
from viewers.recording import Camera, Recording, smooth

_CLIMB = 2.0
"""A metre up or down shows as much as so many along."""
_SIDES = (215.0, 145.0, 235.0, 125.0, 50.0, -50.0, 90.0)
"""Azimuths to try, from the direction of the walk, best first: from the front left, the front right ..."""
_TILTS = (-20.0, -26.0, -32.0, -40.0)
_NEAR = 7.5
"""Distance to a robot that the camera goes with, in heights of its base: its neighbours are in the picture too."""


def first_falls(recording: Recording) -> ndarray:
    """Step of each robot's first fall, int [N]; the number of steps for one that did not fall."""
    fell = recording.fell
    return np.where(fell.any(0), fell.argmax(0), recording.num_steps)


def lie_where_they_fell(recording: Recording) -> Recording:
    """The same, but robots that fell stay as they were just before, instead of starting again."""
    steps = np.arange(recording.num_steps)[:, None]
    step = np.minimum(steps, np.maximum(first_falls(recording) - 1, 0))
    robot = np.arange(recording.num_robots)
    still = step < steps
    held = {name: getattr(recording, name)[step, robot] for name in ("base_pos", "base_quat", "joint_pos")}
    speeds = {
        name: np.where(still[..., None], 0.0, getattr(recording, name))
        for name in ("base_lin_vel", "base_ang_vel")
    }
    return replace(recording, **(held | speeds))


def star(recording: Recording) -> int:
    """The robot that shows most before it falls: the longest way, climbs above all."""
    until = first_falls(recording)
    path = np.diff(smooth_track(recording, recording.base_pos), axis=0)
    way = np.linalg.norm(path[..., :2], axis=-1) + _CLIMB * np.abs(path[..., 2])
    alive = np.arange(1, recording.num_steps)[:, None] < until
    shown = (way * alive).sum(0)
    # in a tie the one in the middle, with neighbours on both sides
    start = recording.base_pos[0, :, :2]
    central = np.linalg.norm(start - start.mean(0), axis=1)
    good = np.flatnonzero((shown >= 0.9 * shown.max()) & (until >= until.max()))
    good = good if len(good) else np.flatnonzero(shown >= 0.9 * shown.max())
    return int(good[central[good].argmin()])


def smooth_track(recording: Recording, positions: ndarray) -> ndarray:
    """Positions [T, N, 3] without the bouncing of single steps."""
    sigma = 0.25 / recording.step_dt
    flat = smooth(positions.reshape(len(positions), -1), sigma)
    return flat.reshape(positions.shape)


def go_with(recording: Recording, positions: ndarray, robot: int, side: Camera | None = None) -> list[Camera]:
    """A camera for each step that stays with one robot.

    Args:
        recording: what is filmed.
        positions: of its robots, m, [T, N, 3].
        robot: the one.
        side: from where to look; by default from a side on which no ground is before it.
    """
    height = recording.robot.init_height
    track = smooth(positions[:, robot], 0.5 / recording.step_dt)
    way = track[-1, :2] - track[0, :2]
    ahead = np.degrees(np.arctan2(way[1], way[0])) if np.linalg.norm(way) > height else 0.0
    # a little ahead of the robot, whose neighbours walk behind it
    lookat = track - (0.0, 0.0, 0.2 * height)
    if side:
        return [Camera(point, _NEAR * height, side.azimuth, side.elevation) for point in lookat]
    seen = track[:: max(1, len(track) // 20)]
    best = (-1.0, Camera(lookat[0], _NEAR * height))
    for tilt in _TILTS:
        for azimuth in _SIDES:
            camera = Camera(lookat[0], _NEAR * height, ahead + azimuth, tilt)
            share = _in_sight(recording.ground, seen, camera, height)
            if share > best[0] + 0.02:
                best = share, camera
        if best[0] > 0.97:
            break
    return [replace(best[1], lookat=point) for point in lookat]


def _in_sight(ground: Ground, track: ndarray, camera: Camera, height: float) -> float:
    """Share of points of a track, and of its feet, that the camera sees from its place beside them."""
    if not isinstance(ground, HeightField):
        return 1.0
    back = -camera.distance * camera.axes()[2]
    along = np.linspace(0.1, 1.0, 30)[:, None, None]
    share = []
    for down in (0.1, 0.9):
        points = track - (0.0, 0.0, down * height)
        ray = points + along * back
        share.append((ray[..., 2] > ground.height_at(ray[..., :2].copy())).all(0).mean())
    return float(np.mean(share))


def fly_over(recording: Recording, positions: ndarray, span: float) -> list[Camera]:
    """A slow flight over all robots that begins near the middle of them and rises as it turns.

    Args:
        recording: what is filmed.
        positions: of its robots, m, [T, N, 3].
        span: the flight's last picture is so wide, m.
    """
    share = np.linspace(0.0, 1.0, recording.num_steps)
    share = share * share * (3.0 - 2.0 * share)
    middle = np.median(positions.reshape(-1, 3), axis=0).astype(float)
    first, last = 0.26 * span, 0.48 * span
    return [
        Camera(middle, float(first + s * (last - first)), 205.0 + 40.0 * float(s), float(-24.0 - 10.0 * s))
        for s in share
    ]
