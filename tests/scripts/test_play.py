"""The play command, on a policy that was never trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from algorithms import checkpoint
from algorithms.trainer import make_policy
from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from runs import playback
from runs.config import default_config, save_config
from scripts import play
from terrains.ground import HeightField
from viewers.filming import Shot

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--num_envs", "2", "--seconds", "0.2", "--width", "160", "--height", "120", "--num_threads", "1"]


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of experiments with one run and two checkpoints."""
    logs = tmp_path_factory.mktemp("logs")
    folder = logs / "anymal_c_flat" / "2030-01-01_00-00-00"
    folder.mkdir(parents=True)
    cfg = default_config("anymal_c_flat")
    save_config(cfg, folder / "config.yaml")
    policy = make_policy(LeggedEnv(cfg.env, 1, num_threads=1), cfg.agent)
    content = {"metadata": {"task": "anymal_c_flat"}, "train_time": 1.0, "policy": policy.state_dict()}
    for iteration in (4, 7):
        checkpoint.save(folder / f"model_{iteration}.pt", {**content, "iteration": iteration})
    return logs


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["play.py", *flags])
    return play.main()


def test_play_writes_video_plots_and_export(log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def export_run(run: object, env: LeggedEnv, folder: Path) -> Path:
        calls.append(folder)
        return folder

    monkeypatch.setattr(play, "export_run", export_run)
    assert run(monkeypatch, "--log_dir", str(log_dir), *SMALL) == 0
    folder = log_dir / "anymal_c_flat" / "2030-01-01_00-00-00"
    assert (folder / "videos" / "play_7.mp4").stat().st_size > 1000
    assert (folder / "plots" / "play_7.png").stat().st_size > 1000
    assert calls == [folder / "exported"]
    assert (
        run(monkeypatch, "--log_dir", str(log_dir), "--checkpoint", "4", "--no_video", "--no_plots", *SMALL)
        == 0
    )
    assert calls[1:] == [folder / "exported_model_4"], "what drives a robot is not replaced by an early one"


def test_without_opengl_sticks_are_drawn(log_dir: Path, tmp_path: Path) -> None:
    flags = ["--log_dir", str(log_dir), "--checkpoint", "4", "--no_plots", "--no_export", *SMALL]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "play.py", *flags],
        cwd=tmp_path,
        env={"MUJOCO_GL": "disable", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "stick figures" in done.stderr
    folder = log_dir / "anymal_c_flat" / "2030-01-01_00-00-00"
    assert (folder / "videos" / "play_4.mp4").stat().st_size > 1000
    assert not (folder / "plots" / "play_4.png").exists()


def test_switches(log_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    off = ("--no_video", "--no_plots", "--no_export")
    assert (
        run(monkeypatch, "--log_dir", str(log_dir), "--command", "-0.5", "0", "1", "--push", *off, *SMALL)
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("lin_vel_error=")


def test_terrain_is_for_every_policy_and_in_the_files_names(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    made = playback.LeggedEnv

    def make(cfg: EnvConfig, *args: Any, **kwargs: Any) -> LeggedEnv:
        shapes.append((cfg.terrain.type, cfg.terrain.shape, cfg.terrain.difficulty))
        return made(cfg, *args, **kwargs)

    monkeypatch.setattr(playback, "LeggedEnv", make)
    monkeypatch.setattr(play, "film_anyhow", lambda clips, recording, path, *args: videos.append(path.name))
    monkeypatch.setattr(play, "plot_recording", lambda recording, path, *args: plots.append(path.name))
    videos: list[str] = []
    plots: list[str] = []
    run(monkeypatch, "--log_dir", str(log_dir), "--shape", "waves", "--no_export", *SMALL)
    run(monkeypatch, "--log_dir", str(log_dir), "--difficulty", "0.8", "--no_export", *SMALL)
    assert shapes == [("tile", "waves", 0.5), ("tile", "stairs_up", 0.8)]
    assert videos == ["play_7_waves_0.5.mp4", "play_7_stairs_up_0.8.mp4"]
    assert plots == ["play_7_waves_0.5.png", "play_7_stairs_up_0.8.png"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--num_envs", "-1"], "num_envs"),
        (["--seconds", "-1"], "seconds"),
        (["--width", "161"], "width"),
        (["--fps", "0.5"], "fps"),
        (["--gif", "--no-video"], "--gif needs the video: leave out --no-video"),
        (["--mosaic", "--timelapse"], "--mosaic and --timelapse exclude each other"),
        (["--mosaic", "--shape", "stairs_up"], "leave out --shape and --difficulty"),
        (["--viewer", "web", "--mosaic"], "leave out --mosaic, or --viewer"),
        (["--viewer", "web", "--script", "x"], "leave out --script, or --viewer"),
        (["--viewer", "wbe"], "must be web or native, not 'wbe'. Did you mean web"),
        (
            ["--viewer", "web", "--command", "3", "0", "0"],
            "--command: the page steers vx from -2 to 2, not 3",
        ),
        (["--viewer", "web", "--shape", "stairs_upp"], "unknown terrain shape 'stairs_upp'.*stairs_up"),
        (["--viewer", "web", "--num_envs", "65"], "1 to 64 robots"),
        (["--versus", "anymal_c_flta"], "anymal_c_flat"),
        (["--versus_engine", "mujocco"], "mujoco"),
        (["--quality", "ful"], "full"),
        (["--command", "1", "0", "nan"], "finite"),
        (["--command", "1", "0", "0", "--script", "x"], "exclude"),
        (["--script", "missing.txt"], "cannot be read"),
        (["--load_run", "2030-01-01_00-00-01"], "2030-01-01_00-00-00"),
        (["--checkpoint", "5"], "4, 7"),
        (["--vidoe"], "--video"),
    ],
)
def test_mistakes_are_one_sentence(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(monkeypatch, "--log_dir", str(log_dir), *flags)


def test_default_script_is_twelve_seconds_and_gentle() -> None:
    commands = play.sample_script(play.DEFAULT_SCRIPT, 0.0, 0.02)
    assert commands.shape == (600, 3) and commands.abs().max() <= 1.0


def test_script_repeats_or_is_cut() -> None:
    script = ((0.04, 1.0, 0.0, 0.0), (0.02, 0.0, 2.0, 0.0))
    vx = play.sample_script(script, 0.14, 0.02)[:, 0]
    np.testing.assert_array_equal(vx, [1, 1, 0, 1, 1, 0, 1])
    assert len(play.sample_script(script, 0.02, 0.02)) == 1


def test_script_file(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    path.write_text("# stand, then walk\n1 0 0 0\n\n2.5, 1, 0, -0.5  # curve\n")
    assert play.read_script(path) == ((1.0, 0.0, 0.0, 0.0), (2.5, 1.0, 0.0, -0.5))
    for text, sentence in (
        ("1 0 0\n", "line 1"),
        ("0 1 0 0\n", "positive"),
        ("1 inf 0 0", "finite"),
        ("#\n", "no commands"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            play.read_script(path)


def label_words(shot: Shot, step: int) -> str:
    assert shot.label
    return " ".join(word for line in shot.label(step) for word, _ in line)


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> list[list[Shot]]:
    """What would have been filmed."""
    seen: list[list[Shot]] = []
    monkeypatch.setattr(play, "film_anyhow", lambda clips, *args: seen.extend(clips))
    return seen


OFF = ("--no_plots", "--no_export")


def test_a_timelapse_shows_each_checkpoint_in_order_on_the_same_commands(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, clips: list[list[Shot]]
) -> None:
    run(monkeypatch, "--log_dir", str(log_dir), "--timelapse", *OFF, *SMALL)
    assert [label_words(shot, 0).split(",")[0] for (shot,) in clips] == ["iteration 4", "iteration 7"]
    assert "1 s of training" in label_words(clips[0][0], 0)
    np.testing.assert_array_equal(clips[0][0].recording.command, clips[1][0].recording.command)
    assert clips[0][0].stage is clips[1][0].stage
    with pytest.raises(ValueError, match="two checkpoints"):
        run(monkeypatch, "--log_dir", str(log_dir), "--policy", "anymal_c_flat", "--timelapse", *OFF, *SMALL)


def test_versus_shows_both_side_by_side(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, clips: list[list[Shot]]
) -> None:
    run(monkeypatch, "--log_dir", str(log_dir), "--versus", "anymal_c_flat", *OFF, *SMALL)
    run(monkeypatch, "--log_dir", str(log_dir), "--versus_engine", "mujoco", *OFF, *SMALL)
    (policies, engines) = clips
    words = [label_words(shot, 0) for shot in (*policies, *engines)]
    assert "2030-01-01" in words[0] and "anymal_c_flat" in words[1]
    assert "in mujoco" in words[3] and "in mujoco" not in words[2]
    assert not np.array_equal(policies[0].recording.joint_pos, policies[1].recording.joint_pos)


def test_a_mosaic_of_many(log_dir: Path, monkeypatch: pytest.MonkeyPatch, clips: list[list[Shot]]) -> None:
    run(monkeypatch, "--log_dir", str(log_dir), "--mosaic", *OFF, *SMALL[2:])
    ((shot,),) = clips
    assert shot.recording.num_robots == 100 and "100 robots" in label_words(shot, 0)


def test_a_mosaic_of_a_map_is_around_its_middle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: list[list[Shot]]
) -> None:
    monkeypatch.chdir(tmp_path)
    size = ("--num_envs", "6", "--seconds", "0.2")
    run(monkeypatch, "--policy", "anymal_c_rough", "--mosaic", *OFF, *size)
    ((shot,),) = clips
    recording = shot.recording
    assert isinstance(recording.ground, HeightField)
    middle = (
        np.array(recording.ground.origin)
        + recording.ground.cell * np.array(recording.ground.heights.shape) / 2
    )
    start = recording.base_pos[0, :, :2]
    assert np.linalg.norm(start - middle, axis=1).max() < 20.0
    distance = np.linalg.norm(start[:, None] - start[None], axis=-1) + 9.0 * np.eye(6)
    assert distance.min() > 0.9


def test_robots_on_a_tile_start_apart(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, clips: list[list[Shot]]
) -> None:
    run(monkeypatch, "--log_dir", str(log_dir), "--shape", "stairs_up", *OFF, *SMALL[2:])
    ((shot,),) = clips
    start = shot.positions[0, :, :2]
    distance = np.linalg.norm(start[:, None] - start[None], axis=-1) + 9.0 * np.eye(len(start))
    assert len(start) == 9 and distance.min() > 0.9
    words = label_words(shot, 0)
    assert all(part in words for part in ("stairs up", "difficulty 0.5", "told", "walks"))


def test_moving_pictures_lie_beside_the_video(log_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "--log_dir", str(log_dir), "--checkpoint", "4", "--gif", "--webp", *OFF, *SMALL)
    folder = log_dir / "anymal_c_flat" / "2030-01-01_00-00-00" / "videos"
    assert (folder / "play_4.gif").read_bytes()[:3] == b"GIF"
    assert getattr(Image.open(folder / "play_4.webp"), "n_frames", 0) > 1
