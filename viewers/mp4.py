"""Write H.264 videos."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import imageio_ffmpeg
import numpy as np


class Mp4Writer:
    """Context manager; the file appears when it is complete, an error leaves none."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: float,
        source: tuple[int, int] | None = None,
        channels: int = 3,
    ):
        """Prepare; nothing is written yet.

        Args:
            path: file to make; its folder is made too.
            size: width and height of the video, even numbers.
            fps: frames a second.
            source: width and height of the frames given to `write` where they differ; scaled to `size`.
            channels: 3 for RGB, 4 for RGB and a byte that is nothing.
        """
        self._pixels = {3: "rgb24", 4: "rgb0"}[channels]
        self.path, self.size, self.fps, self.source = path, size, fps, source or size
        self._part = path.with_name(f".{path.name}")

    def __enter__(self) -> Mp4Writer:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        width, height = self.size
        # yuv420p and the index in front (faststart) are what browsers play while they load
        output = ["-crf", "21", "-preset", "superfast", "-movflags", "+faststart"]
        if self.source != self.size:
            output += ["-vf", f"scale={width}:{height}:flags=area"]
        output += ["-f", "mp4"]
        self._frames = imageio_ffmpeg.write_frames(
            str(self._part),
            self.source,
            pix_fmt_in=self._pixels,
            fps=self.fps,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=output,
        )
        self._frames.send(None)
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 [height, width, channels]."""
        self._frames.send(np.ascontiguousarray(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
        if error is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)
