"""Videos come out whole, with OpenGL or without it, and turn into GIFs."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from viewers import offscreen
from viewers.gif import video_to_gif, video_to_webp
from viewers.mp4 import Mp4Writer
from viewers.offscreen import NoOpenGLError, find_backend
from viewers.recording import Recording
from viewers.stick import film_sticks
from viewers.video import film

SIZE = (160, 120)


def read(path: Path) -> tuple[dict, np.ndarray]:
    """Facts and frames [T, height, width, 3] of a video."""
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def has_opengl() -> bool:
    try:
        find_backend()
    except NoOpenGLError:
        return False
    return True


def test_mujoco_video(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "videos" / "play.mp4"
    if not has_opengl():
        with pytest.raises(NoOpenGLError):
            film(recording, path, SIZE, 10.0)
        assert not path.exists()
        return
    film(recording, path, SIZE, 10.0)
    facts, frames = read(path)
    assert facts["size"] == SIZE and facts["codec"] == "h264" and len(frames) == 4
    # robots are red
    red = (frames[-1, ..., 0] > 120) & (frames[-1, ..., 1:] < 80).all(-1)
    assert 20 < red.sum() < 0.3 * red.size


def test_stick_video(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "play.mp4"
    film_sticks(recording, path, SIZE, 10.0)
    facts, frames = read(path)
    assert facts["size"] == SIZE and facts["codec"] == "h264" and len(frames) == 4
    assert frames[0].mean() > 180 and (frames[-1].min(-1) < 100).sum() > 20


@pytest.mark.parametrize("value", ["disable", "off", "0", "bogus"])
def test_no_opengl_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MUJOCO_GL", value)
    with pytest.raises(NoOpenGLError, match=value):
        find_backend()


@pytest.mark.parametrize("working, chosen", [(("egl", "osmesa"), "egl"), (("osmesa",), "osmesa")])
def test_first_backend_that_works(
    monkeypatch: pytest.MonkeyPatch, working: tuple[str, ...], chosen: str
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(offscreen, "_works", lambda name: name in working)
    assert find_backend() == chosen


def test_advice_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(offscreen, "_works", lambda name: False)
    with pytest.raises(NoOpenGLError, match="apt install libegl1"):
        find_backend()


def test_scaled_video_and_no_file_after_an_error(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 90, 128, 3), dtype=np.uint8)
    with Mp4Writer(tmp_path / "a.mp4", (64, 46), 10.0, source=(128, 90)) as writer:
        for frame in frames:
            writer.write(frame)
    assert read(tmp_path / "a.mp4")[0]["size"] == (64, 46)
    with pytest.raises(RuntimeError, match="stop"), Mp4Writer(tmp_path / "b.mp4", (128, 90), 10.0) as writer:
        writer.write(frames[0])
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_webp_is_made_small_enough(tmp_path: Path) -> None:
    mp4, webp = tmp_path / "a.mp4", tmp_path / "a.webp"
    noise = np.random.default_rng(1).integers(0, 255, (10, 96, 128, 3), np.uint8)
    with Mp4Writer(mp4, (128, 96), 10.0) as video:
        for frame in noise:
            video.write(frame)
    video_to_webp(mp4, webp, 128, 1.0)
    picture, large = Image.open(webp), webp.stat().st_size
    assert picture.size == (128, 96) and getattr(picture, "n_frames", 0) >= 10
    video_to_webp(mp4, webp, 128, 1.0, max_bytes=large // 2)
    assert webp.stat().st_size <= large // 2
    with pytest.raises(ValueError, match="do not fit into 100 bytes"):
        video_to_webp(mp4, webp, 128, 1.0, max_bytes=100)


def test_gif_is_made_small_enough(tmp_path: Path) -> None:
    mp4, gif = tmp_path / "a.mp4", tmp_path / "a.gif"
    noise = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), dtype=np.uint8)
    with Mp4Writer(mp4, (128, 96), 20.0) as writer:
        for frame in noise:
            writer.write(frame)
    video_to_gif(mp4, gif, 128, 1.0)
    large = gif.stat().st_size
    assert gif.read_bytes()[:6] == b"GIF89a"
    video_to_gif(mp4, gif, 128, 1.0, max_bytes=large // 2)
    assert gif.stat().st_size <= large // 2
    with pytest.raises(ValueError, match="shorter"):
        video_to_gif(mp4, gif, 128, 1.0, max_bytes=100)
    with pytest.raises(ValueError, match="could not be turned"):
        video_to_gif(tmp_path / "none.mp4", tmp_path / "b.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4"]
