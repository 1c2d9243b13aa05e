"""Pictures of a recording: robots on their ground, commands and velocities as arrows."""

from __future__ import annotations

from pathlib import Path

from viewers.filming import Shot, film_clips
from viewers.recording import Recording, follow, formation
from viewers.stage import Stage


def film(recording: Recording, path: Path, size: tuple[int, int], fps: float) -> None:
    """Write a video of all robots on one floor.

    Args:
        recording: what to show.
        path: MP4 file to make.
        size: width and height in pixels, even numbers.
        fps: frames a second.

    Raises:
        NoOpenGLError: nothing on this machine can draw.
    """
    positions = formation(recording)
    stage = Stage(recording.robot, recording.ground)
    film_clips([[Shot(recording, positions, follow(recording, positions), stage)]], path, size, fps)
