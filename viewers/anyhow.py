"""A video on whatever machine."""

from __future__ import annotations

import sys
from pathlib import Path

from viewers.filming import Shot, film_clips
from viewers.offscreen import NoOpenGLError
from viewers.recording import Recording
from viewers.stick import film_sticks


def film_anyhow(
    clips: list[list[Shot]],
    recording: Recording,
    path: Path,
    size: tuple[int, int],
    fps: float,
    scale: float = 1.0,
) -> None:
    """Film clips with OpenGL, or a recording alone as stick figures on a machine without it.

    Args:
        clips: what to show, see `viewers.filming.film_clips`.
        recording: what stick figures show; no more frames a second than it has steps are drawn.
        path: MP4 file to make.
        size: width and height in pixels, even numbers.
        fps: frames a second.
        scale: how much larger pictures are drawn before they are scaled.
    """
    fps = min(fps, 1.0 / recording.step_dt)
    try:
        film_clips(clips, path, size, fps, scale)
    except NoOpenGLError as error:
        print(f"warning: {error}, so the video shows stick figures", file=sys.stderr, flush=True)
        film_sticks(recording, path, size, fps)
