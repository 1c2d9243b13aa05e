"""Clips one after another, each of one or several shots side by side, drawn by all cores and written as a video."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy import ndarray

from viewers.arrows import arrows
from viewers.canvas import Canvas
from viewers.labels import Line, write_label
from viewers.mp4 import Mp4Writer
from viewers.progress import Progress
from viewers.recording import Camera, Recording, frame_steps
from viewers.stage import Pose, Stage

_AHEAD = 3
"""Frames drawn or waiting per core."""
_GAP = 4
"""White between shots side by side, pixels."""


@dataclass
class Shot:
    """A recording as one camera sees it."""

    recording: Recording
    positions: ndarray
    """Where the robots are shown, m, [T, N, 3]."""
    cameras: list[Camera]
    """One for each step."""
    stage: Stage
    """Ground and robot; shots of the same share it."""
    label: Callable[[int], list[Line]] | None = None
    """Step -> words in the lower left corner."""
    arrows: list[int] | None = None
    """Robots with arrows; None for all."""
    falls: ndarray | None = None
    """Step from which on each robot lies where it fell, [N]."""
    title: list[Line] = field(default_factory=list)
    """Words in the upper left corner."""


def draw_shot(canvas: Canvas, stage: Stage, shot: Shot, step: int) -> ndarray:
    """A picture without words, uint8 [height, width, 4], reused by the canvas's next one."""
    recording, camera = shot.recording, shot.cameras[step]
    poses = [
        Pose(
            shot.positions[step, i],
            recording.base_quat[step, i],
            recording.joint_pos[step, i],
            shot.falls is not None and bool(step >= shot.falls[i]),
        )
        for i in range(recording.num_robots)
    ]
    aspect = canvas.size[0] / canvas.size[1]
    marked = list(range(recording.num_robots)) if shot.arrows is None else shot.arrows
    reach = 0.62 * camera.distance * max(1.0, aspect / 1.6)
    robots = stage.robots(poses, camera, canvas.size)
    return canvas.draw(robots, arrows(recording, shot.positions, step, marked), camera, reach)


class Artist:
    """A thread with OpenGL of its own that draws frames, one after another."""

    def __init__(self, size: tuple[int, int]):
        """Frames of `size` pixels."""
        self._size = size
        self._thread = ThreadPoolExecutor(1)
        self._canvases: dict[tuple[int, int], tuple[Canvas, Stage]] = {}

    def draw(self, shots: list[Shot], step: int) -> Future[ndarray]:
        """A frame to come, uint8 [height, width, 4]."""
        return self._thread.submit(self._draw, shots, step)

    def close(self) -> None:
        """Give OpenGL back."""
        self._thread.submit(self._free).result()
        self._thread.shutdown()

    def _draw(self, shots: list[Shot], step: int) -> ndarray:
        width, height = self._size
        frame = np.full((height, width, 4), 255, np.uint8)
        edges = np.linspace(0, width + _GAP, len(shots) + 1).astype(int)
        for shot, left, right in zip(shots, edges[:-1], edges[1:] - _GAP, strict=True):
            canvas, stage = self._canvas(shot.stage, (int(right - left), height))
            last = min(step, shot.recording.num_steps - 1)
            part = frame[:, left:right]
            part[:] = draw_shot(canvas, stage, shot, last)
            write_label(part, shot.title, "top") if shot.title else None
            if shot.label:
                write_label(part, shot.label(last))
        return frame

    def _canvas(self, stage: Stage, size: tuple[int, int]) -> tuple[Canvas, Stage]:
        key = id(stage), size[0]
        if key not in self._canvases:
            canvas = Canvas(*size)
            canvas.set_ground(stage.ground, stage.picture)
            self._canvases[key] = canvas, stage.twin()
        return self._canvases[key]

    def _free(self) -> None:
        for canvas, _ in self._canvases.values():
            canvas.__exit__(None, None, None)
        self._canvases.clear()


def film_clips(
    clips: list[list[Shot]], path: Path, size: tuple[int, int], fps: float, scale: float = 1.0
) -> None:
    """Write a video and say how far it is.

    Args:
        clips: what is shown one after another; the shots of each clip stand side by side.
        path: MP4 file to make.
        size: width and height in pixels, even numbers.
        fps: frames a second.
        scale: pictures are drawn so much larger and scaled down, for smoother edges.

    Raises:
        NoOpenGLError: nothing on this machine can draw.
    """
    source = (round(size[0] * scale / 2) * 2, round(size[1] * scale / 2) * 2)
    frames = [
        (shots, int(step))
        for shots in clips
        for step in frame_steps(max((shot.recording for shot in shots), key=lambda r: r.num_steps), fps)
    ]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    artists = [Artist(source) for _ in range(min(count, 8, len(frames)))]
    progress = Progress("video ", len(frames), "frames")
    try:
        waiting = deque(artists[0].draw(*frame) for frame in frames[:1])  # fails before a file is begun
        waiting[0].result()
        with Mp4Writer(path, size, fps, source, channels=4) as video:
            for i in range(len(frames)):
                while len(waiting) < _AHEAD * len(artists) and i + len(waiting) < len(frames):
                    number = i + len(waiting)
                    waiting.append(artists[number % len(artists)].draw(*frames[number]))
                video.write(waiting.popleft().result())
                progress.step()
    finally:
        for artist in artists:
            artist.close()
