"""Turn a video into a small moving picture for a web page: a GIF, or a WebP, which is sharper."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
from PIL import Image

MAX_BYTES = 3_000_000
"""Readers on slow lines should not wait for a picture."""


def video_to_gif(
    mp4: Path,
    gif: Path,
    width: int = 480,
    seconds: float = 6.0,
    start: float = 0.0,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Convert part of a video; frame rate, colours and width are lowered until the file is small enough.

    Args:
        mp4: video to read.
        gif: file to make.
        width: largest width, pixels; the height keeps the proportions.
        seconds: length.
        start: first second of the video to show.
        max_bytes: largest size of the file.

    Raises:
        ValueError: the video cannot be read, or no setting makes the file small enough.
    """
    gif.parent.mkdir(parents=True, exist_ok=True)
    part = gif.with_name(f".{gif.name}")
    try:
        for scale in (1.0, 0.85, 0.7, 0.55):
            for fps, colours in ((16.0, 96), (12.0, 64), (8.0, 48)):
                _convert(mp4, part, round(width * scale / 2) * 2, seconds, start, fps, colours)
                if part.stat().st_size <= max_bytes:
                    part.replace(gif)
                    return
        raise ValueError(f"{seconds:g} s of {mp4} do not fit into {max_bytes} bytes; take a shorter part")
    finally:
        part.unlink(missing_ok=True)


def video_to_webp(
    mp4: Path,
    webp: Path,
    width: int = 640,
    seconds: float = 6.0,
    start: float = 0.0,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Convert part of a video to an animated WebP; see `video_to_gif`."""
    for fps, quality in ((15.0, 70), (12.5, 55), (10.0, 40), (8.0, 30), (6.0, 20)):
        filters = ["-vf", f"fps={fps},scale={width}:-2:flags=lanczos"]
        stream = imageio_ffmpeg.read_frames(
            str(mp4), input_params=["-ss", f"{start}", "-t", f"{seconds}"], output_params=filters
        )
        size = next(stream)["size"]
        frames = [Image.frombytes("RGB", size, frame) for frame in stream]
        content = io.BytesIO()
        options = {"duration": round(1000 / fps), "loop": 0, "quality": quality, "method": 4}
        frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:], **options)
        if content.tell() <= max_bytes:
            webp.write_bytes(content.getvalue())
            return
    raise ValueError(f"{seconds:g} s of {mp4} do not fit into {max_bytes} bytes; take a shorter part")


def beside(mp4: Path, suffix: str, longest: float = 6.0) -> Path:
    """Make a picture beside a video and return it; of a long one the middle is shown, `longest` s.

    Args:
        mp4: the video.
        suffix: `.gif` or `.webp`.
        longest: s.

    Raises:
        ValueError: see `video_to_gif`.
    """
    _, duration = imageio_ffmpeg.count_frames_and_secs(str(mp4))
    part = min(duration, longest), max(0.0, 0.5 * (duration - longest))
    picture = mp4.with_suffix(suffix)
    if suffix == ".webp":
        video_to_webp(mp4, picture, 640, *part)
    else:
        video_to_gif(mp4, picture, 560, *part)
    return picture


def _convert(
    mp4: Path, gif: Path, width: int, seconds: float, start: float, fps: float, colours: int
) -> None:
    # one palette for the whole clip keeps colours still; only what moves is coded again (diff_mode)
    chain = (
        f"fps={fps},scale={width}:-2:flags=lanczos,split[a][b];"
        f"[a]palettegen=max_colors={colours}:stats_mode=diff[p];"
        "[b][p]paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle"
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-ss", f"{start}", "-t", f"{seconds}"]
    command += ["-i", str(mp4), "-filter_complex", chain, "-loop", "0", "-f", "gif", str(gif)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not gif.exists() or gif.stat().st_size == 0:
        reason = (done.stderr.strip().splitlines() or ["no frames"])[-1]
        raise ValueError(f"{mp4} could not be turned into a GIF ({reason[:120]})")
