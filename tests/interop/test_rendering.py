"""Pictures for gymnasium, and its own recorders of videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from interop.gymnasium_envs import SingleEnv
from tests.interop.common import FLAT, short_episodes  # noqa: F401
from tests.viewers.test_video import has_opengl, read
from viewers import live
from viewers.recording import Recording

pytestmark = [
    pytest.mark.usefixtures("short_episodes"),
    pytest.mark.skipif(not has_opengl(), reason="no OpenGL here"),
]


def make(num_envs: int, **kwargs: Any) -> Any:
    keywords: dict[str, Any] = {"recipe": "short", "render_mode": "rgb_array", "width": 160, "height": 120}
    return gym.make_vec(FLAT, num_envs=num_envs, **keywords | kwargs)


def red(picture: np.ndarray) -> int:
    """Pixels of a robot's body."""
    return int(((picture[..., 0] > 120) & (picture[..., 1:] < 80).all(-1)).sum())


@pytest.mark.parametrize("numpy", [False, True])
def test_there_is_a_picture_of_each_robot(numpy: bool) -> None:
    env = make(3, numpy=numpy)
    assert env.render_mode == "rgb_array" and env.metadata["render_fps"] == 50
    env.reset(seed=1)
    before = env.render()
    env.step(np.random.default_rng(0).normal(size=(3, 12)))
    after = env.render()
    assert isinstance(before, Sequence) and len(before) == len(after) == 3
    for earlier, later in zip(before, after, strict=True):
        assert earlier.shape == (120, 160, 3) and earlier.dtype == np.uint8
        assert not np.array_equal(earlier, later), "a picture is of the time it was asked for"
        assert 20 < red(earlier) < 0.3 * 120 * 160
    assert not np.array_equal(before[0], before[1])
    with pytest.raises(IndexError):
        before[3]
    env.close()
    assert red(env.render()[0]) > 20, "closed pictures open again"
    env.close()


def test_only_what_is_looked_at_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = live.LiveCamera.draw

    def counted(self: live.LiveCamera, moment: Recording) -> np.ndarray:
        drawn.append(moment)
        return draw(self, moment)

    monkeypatch.setattr(live.LiveCamera, "draw", counted)
    env = make(500)
    env.reset(seed=1)
    assert red(env.render()[-1]) > 20 and len(drawn) == 1
    env.close()


def test_two_environments_draw_by_turns() -> None:
    one, two = make(1), make(1, width=200)
    one.reset(seed=1), two.reset(seed=1)
    first = one.render()[0]
    assert two.render()[0].shape == (120, 200, 3)
    assert np.array_equal(one.render()[0], first)
    two.close()
    assert np.array_equal(one.render()[0], first)
    one.close()


@pytest.mark.slow
def test_rough_ground_is_seen() -> None:
    rough: Any = gym.make_vec(
        "Trot/AnymalCRough-v0", num_envs=1, render_mode="rgb_array", width=160, height=120
    )
    pictures = []
    for env in (make(1, recipe=""), rough):
        env.reset(seed=1)
        pictures.append(env.render()[0])
        env.close()
    assert red(pictures[1]) > 20 and not np.array_equal(*pictures)


def test_without_a_render_mode_there_are_no_pictures() -> None:
    for env in (gym.make_vec(FLAT, num_envs=1), gym.make(FLAT)):
        env.reset()
        assert env.render_mode is None
    assert gym.make(FLAT).unwrapped.render() is None


def test_the_last_picture_of_an_episode_is_its_own() -> None:
    env = gym.make(FLAT, recipe="short", render_mode="rgb_array", width=160, height=120).unwrapped
    assert isinstance(env, SingleEnv)
    env.reset(seed=1)
    for _ in range(20):
        before: Any = env.render()
        *_, truncated, _ = env.step(np.zeros(12))
    assert truncated and np.array_equal(env.render(), before)
    env.reset()
    assert not np.array_equal(env.render(), before)
    env.close()


def test_gymnasium_records_videos_of_one_robot(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env: gym.Env = gym.make(FLAT, recipe="short", render_mode="rgb_array", width=160, height=120)
    env = gym.wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda episode: episode == 1)
    for _ in range(3):
        env.reset()
        for _ in range(20):
            env.step(np.zeros(12))
    env.close()
    (path,) = tmp_path.glob("*.mp4")
    facts, frames = read(path)
    assert facts["fps"] == 50 and frames.shape[1:] == (120, 160, 3) and red(frames[-1]) > 20
    assert len(frames) in (21, 22), "the first picture and twenty steps; the encoder may repeat one"


def test_gymnasium_records_videos_of_several(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = make(4, numpy=True, observation="policy")
    env = gym.wrappers.vector.RecordVideo(
        env, str(tmp_path), step_trigger=lambda step: step == 0, video_length=6
    )
    env.reset()
    for _ in range(10):
        env.step(np.zeros((4, 12)))
    env.close()
    (path,) = tmp_path.glob("*.mp4")
    _, frames = read(path)
    assert frames.shape[1:] == (240, 320, 3) and 6 <= len(frames) <= 8
    quarters = [frames[-1][y : y + 120, x : x + 160] for y in (0, 120) for x in (0, 160)]
    assert all(red(quarter) > 20 for quarter in quarters)
