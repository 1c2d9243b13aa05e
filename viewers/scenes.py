"""What the video of a play-back shows: who is followed, from where, and the words beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from terrains.ground import HeightField
from viewers.camera_work import first_falls, fly_over, go_with, lie_where_they_fell, star
from viewers.filming import Shot
from viewers.labels import Line
from viewers.recording import Recording, follow, formation
from viewers.stage import Stage

_MEAN = 0.4
"""Measured speeds in words are means over so long, s."""
_FAR = 4.0
"""The tile's end is so far from its middle, m, where nothing else is known."""


def walk(
    recording: Recording,
    title: str,
    stage: Stage | None = None,
    tile_size: float = 2 * _FAR,
    like: Shot | None = None,
) -> Shot:
    """On a map the camera goes with the robot that shows most; on a plane with all of them.

    Args:
        recording: what is shown.
        title: first line of its words.
        stage: ground and robot, if they are made already.
        tile_size: side of the tile that is crossed, m.
        like: another walk on the same ground; the camera looks from the same side.
    """
    stage = stage or Stage(recording.robot, recording.ground)
    if not isinstance(recording.ground, HeightField):
        positions = formation(recording)
        words = _words(recording, title, list(range(recording.num_robots)))
        return Shot(recording, positions, follow(recording, positions), stage, words)
    robot, falls = star(recording), first_falls(recording)
    shown = lie_where_they_fell(recording)
    result = _result(shown, robot, int(falls[robot]), tile_size)
    cameras = go_with(shown, shown.base_pos, robot, like.cameras[0] if like else None)
    words = _words(shown, title, [robot], result)
    return Shot(shown, shown.base_pos, cameras, stage, words, [robot], falls)


def mosaic(recording: Recording, title: str) -> Shot:
    """Many robots from above."""
    positions = formation(recording)
    extent = np.ptp(positions[..., :2].reshape(-1, 2), axis=0).max()
    cameras = fly_over(recording, positions, float(max(8.0 * recording.robot.init_height, extent)))
    fallen = np.maximum.accumulate(recording.fell, axis=0).sum(1)

    def words(step: int) -> list[Line]:
        count = recording.num_robots
        return [
            [(title, "bold")],
            [(f"{recording.time[step]:.1f} s   {count} robots, {fallen[step]} fell", "")],
        ]

    return Shot(recording, positions, cameras, Stage(recording.robot, recording.ground), words, [])


def _words(
    recording: Recording, title: str, robots: list[int], result: Callable[[int], Line] | None = None
) -> Callable[[int], list[Line]]:
    """Title, time, what is told and what is measured of some robots, and what came of it."""
    measured = recording.velocity[:, robots].mean(1)
    window = max(1, round(_MEAN / recording.step_dt))
    names = ("forward", "left", "turn")

    def words(step: int) -> list[Line]:
        at = step - step % max(1, window // 2)  # numbers that can be read
        mean = measured[max(0, at - window) : at + 1].mean(0)
        told = recording.command[step]
        if told[1:].any() or not result:
            parts = [
                [
                    (f"{name} ", ""),
                    (f"told {wanted:+.2f}", "told"),
                    ("  ", ""),
                    (f"walks {got:+.2f}", "walked"),
                    (f" {unit}", ""),
                ]
                for name, wanted, got, unit in zip(names, told, mean, ("m/s", "m/s", "rad/s"), strict=True)
            ]
        else:
            parts = [
                [
                    ("told ", ""),
                    (f"{told[0]:.2f}", "told"),
                    (" m/s, walks ", ""),
                    (f"{mean[0]:.2f}", "walked"),
                    (" m/s", ""),
                ]
            ]
        end = result(step) if result else []
        return [
            [(title, "bold")],
            [(f"{recording.time[step]:.1f} s", ""), *([("   ", ""), *end] if end else [])],
            *parts,
        ]

    return words


def _result(recording: Recording, robot: int, fall: int, tile_size: float) -> Callable[[int], Line]:
    """How far a robot is from its start, and how it ended: the end is half a tile away, as in the paper's test."""
    way = recording.base_pos[:, robot, :2] - recording.base_pos[0, robot, :2]
    distance = np.linalg.norm(way, axis=1)
    there = np.flatnonzero(distance > tile_size / 2)
    end = int(there[0]) if len(there) else recording.num_steps

    def result(step: int) -> Line:
        if step >= fall:
            return [
                (f"fell after {recording.time[max(0, fall - 1)]:.1f} s and {distance[fall - 1]:.1f} m", "bad")
            ]
        if step >= end:
            return [(f"reached the end after {recording.time[end]:.1f} s, {distance[step]:.1f} m", "good")]
        return [(f"{distance[step]:.1f} m", "")]

    return result
