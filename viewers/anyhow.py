"""A video on whatever machine."""

from __future__ import annotations

import sys
from pathlib import Path

from viewers.offscreen import NoOpenGLError
from viewers.recording import Recording
from viewers.stick import film_sticks
from viewers.video import film


def film_anyhow(recording: Recording, path: Path, size: tuple[int, int], fps: float) -> None:
    """Film with OpenGL, or as stick figures on a machine without it; arguments as of `viewers.video.film`."""
    try:
        film(recording, path, size, fps)
    except NoOpenGLError as error:
        print(f"warning: {error}, so the video shows stick figures", file=sys.stderr, flush=True)
        film_sticks(recording, path, size, fps)
