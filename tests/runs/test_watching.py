"""Training that is watched learns the same and goes on, whatever happens to who watches."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from algorithms import Trainer, checkpoint
from envs.legged_env import LeggedEnv
from runs import clips, watching
from runs.aside import start_aside
from runs.config import RunConfig, default_config, load_config, parse, save_config
from runs.training import validate
from runs.watching import ROBOTS, watched

ROOT = Path(__file__).resolve().parents[2]
STEPS = 6


def configured(task: str = "anymal_c_flat", **values: Any) -> RunConfig:
    cfg = default_config(task)
    cfg.num_envs, cfg.env.episode_length = 16, 0.5
    cfg.agent.ppo.num_steps, cfg.agent.eval_envs = STEPS, 0
    cfg.env.terrain.levels, cfg.env.terrain.columns = 2, 8
    for name, value in values.items():
        setattr(cfg, name, value)
    return cfg


def made(cfg: RunConfig) -> Trainer:
    trainer = Trainer(
        LeggedEnv(cfg.env, cfg.num_envs, num_threads=1, seed=cfg.seed), cfg.agent, None, cfg.seed
    )
    trainer.env.reset(seed=cfg.seed)
    return trainer


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.policy.parameters()])


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection[Any, Any]]:
    """Where the page's process would read and ask."""
    ours, its = Pipe()
    shown: list[Any] = []

    def start(what: Any) -> tuple[None, Connection[Any, Any]]:
        shown.append(what)
        return None, ours

    monkeypatch.setattr(watching, "_start", start)
    its.shown = shown  # type: ignore[attr-defined]
    yield its
    its.close()


@pytest.mark.parametrize("task", ["anymal_c_flat", "anymal_c_rough"])
def test_it_learns_the_same_and_answers_when_asked(
    task: str, page: Connection[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made(configured(task))
    for _ in range(3):
        plain.iterate()
    monkeypatch.setattr(clips, "start_aside", nothing("0"))
    cfg = configured(task, viewer="web", video_every=2)
    trainer = made(cfg)
    env: Any = trainer.env
    with watched(cfg, trainer, env, tmp_path):
        trainer.iterate()
        assert not page.poll(), "nobody asked"
        page.send(True)
        trainer.iterate()
        trainer.iterate()
        iteration, poses = page.recv()
        assert iteration == 2 and not page.poll(), "one answer to one question"
        assert poses.shape == (STEPS, ROBOTS, 7 + env.num_actions)
        page.send(True)
        trainer.iterate()
        iteration, poses = page.recv()
        (live, _) = trainer.collector.watchers
        chosen = live._chosen  # type: ignore[attr-defined]
        assert (torch.from_numpy(poses[-1, :, :3]) == env.engine.base_pos[chosen]).all()
        assert (torch.from_numpy(poses[-1, :, 7:]) == env.engine.joint_pos[chosen]).all()
    plain.iterate()
    assert torch.equal(weights(plain), weights(trainer))
    for name, value in plain.env.state_dict()["engine"].items():
        assert torch.equal(value, env.state_dict()["engine"][name]), name
    with pytest.raises(EOFError):
        page.recv()  # the page is told that training has ended
    (shown,) = page.shown  # type: ignore[attr-defined]
    if task == "anymal_c_rough":
        assert len(set(env.course.column[chosen].tolist())) == 8, "spread over the map"
        assert any("stairs up" in name for name in shown.robots)


def nothing(status: str) -> Callable[..., subprocess.Popen[bytes]]:
    """A process that does nothing but end, and says why."""

    def start(
        code: str, arguments: object = (), pass_fds: object = (), errors: Any = None
    ) -> subprocess.Popen[bytes]:
        said = "print('note: sticks', file=sys.stderr); print('no disk', file=sys.stderr)"
        line = f"import sys; {said}; sys.exit({status})"
        return subprocess.Popen([sys.executable, "-c", line], stderr=errors)

    return start


def test_processes_beside_a_training_import_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the current folder. The package imports nothing: the process has only what cores are left."""
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "__init__.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "errors").open("w+b") as errors:
        process = start_aside("import evaluation, sys; sys.exit(3 + len(sys.argv))", ("one",), errors=errors)
        assert process.wait(60.0) == 5, (tmp_path / "errors").read_text()


def test_training_goes_on_when_the_page_dies(
    page: Connection[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = configured(viewer="web")
    trainer = made(cfg)
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        trainer.iterate()
        page.send(True)
        page.close()  # killed while it waits for an answer
        for _ in range(3):
            trainer.iterate()
    assert trainer.iteration == 4
    assert capsys.readouterr().err.count("warning: the viewer has ended") == 1


def test_training_goes_on_when_the_page_stands_still(page: Connection[Any, Any], tmp_path: Path) -> None:
    """It asked and never reads: the answer must fit into the pipe."""
    cfg = configured("anymal_c_rough", viewer="web")
    cfg.agent.ppo.num_steps = 200
    trainer = made(cfg)
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        page.send(True)
        for _ in range(3):
            trainer.iterate()
    assert trainer.iteration == 3


def test_the_last_policy_is_filmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the clip before takes until training ends."""
    begun: list[str] = []

    def start(code: str, arguments: tuple[str, ...], errors: Any) -> subprocess.Popen[bytes]:
        begun.append(arguments[1])
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"], stderr=errors)

    monkeypatch.setattr(clips, "start_aside", start)
    cfg = configured(video_every=1)
    trainer = made(cfg)
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        for _ in range(3):
            trainer.iterate()
    assert begun == ["1", "3"]


def test_a_clip_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "start_aside", nothing("1"))
    cfg = configured(video_every=1)
    trainer = made(cfg)
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        for _ in range(3):
            trainer.iterate()
            (watcher,) = trainer.collector.watchers
            watcher._process.wait()  # type: ignore[attr-defined]
    said = capsys.readouterr().err
    assert said.count("warning: a clip failed (no disk); training goes on") == 1
    assert said.count("warning: sticks") == 1
    assert not list((tmp_path / "videos").iterdir())


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"video_every": -1}, "--video_every"),
        ({"viewer": "web", "port": 99999}, "--port"),
        ({"viewer": "web", "learner": "rsl_rl"}, "--viewer web"),
        ({"video_every": 5, "learner": "rsl_rl"}, "--video_every"),
    ],
)
def test_bad_input_is_one_sentence(values: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        validate(configured(**values))
    with pytest.raises(ValueError, match="web"):
        parse(["--viewer", "wbe"])


def test_watching_may_change_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runs.resume import resume_config

    save_config(configured(), tmp_path / "config.yaml")
    monkeypatch.setattr(sys, "argv", ["train.py", "--viewer", "web", "--port", "9000", "--video_every", "7"])
    cfg = resume_config(tmp_path)
    assert (cfg.viewer, cfg.port, cfg.video_every) == ("web", 9000, 7)
    assert load_config(tmp_path / "config.yaml").viewer == "none"


@pytest.mark.slow
def test_the_command_shows_and_films_and_comes_to_the_same_bits(tmp_path: Path) -> None:
    """With both processes as they are."""
    flags = [
        "--num_envs",
        "8",
        "--num_threads",
        "1",
        "--agent.eval_envs",
        "0",
        "--agent.ppo.num_steps",
        str(STEPS),
    ]
    flags += ["--max_iterations", "40", "--agent.save_interval", "20"]
    command = [sys.executable, "scripts/train.py", *flags, "--log_dir"]
    subprocess.run([*command, str(tmp_path / "plain")], cwd=ROOT, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        more = ["--viewer", "web", "--port", port, "--video_every", "40"]
        done = subprocess.run(
            [*command, str(tmp_path / "watched"), *more], cwd=ROOT, check=True, capture_output=True, text=True
        )
    assert f"({port} is taken)" in done.stdout and "viewer     http://127.0.0.1:" in done.stdout
    plain, seen = (next(tmp_path.glob(f"{name}/*/*")) for name in ("plain", "watched"))
    ends = [checkpoint.load(folder / "model_40.pt") for folder in (plain, seen)]
    for part in ("policy", "average"):
        for name, value in (ends[0][part] or {}).items():
            assert torch.equal(value, ends[1][part][name]), name
    for name, value in ends[0]["env"]["engine"].items():
        assert torch.equal(value, ends[1]["env"]["engine"][name]), name
    videos = seen / "videos"
    assert until(lambda: bool(list(videos.glob("events.out.tfevents.*"))), 300.0), done.stderr
    assert (videos / "iteration_000040.mp4").stat().st_size > 10_000
    (image,) = EventAccumulator(str(videos)).Reload().Images("clip")
    assert image.step == 40 and image.encoded_image_string.startswith(b"GIF8")
    assert not list(videos.glob(".*")), "nothing is left lying about"


@pytest.mark.slow
def test_the_process_of_the_page_serves_and_ends_with_training(tmp_path: Path) -> None:
    cfg = configured("anymal_c_rough", viewer="web")
    trainer = made(cfg)
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        (live,) = trainer.collector.watchers
        process, url = live.process, live.url  # type: ignore[attr-defined]
        assert until(lambda: answers(url), 120.0)
        process.kill()
        assert until(lambda: process.poll() is not None)
        trainer.iterate()
        trainer.iterate()
    assert trainer.iteration == 2
    with watched(cfg, trainer, trainer.env, tmp_path):  # type: ignore[arg-type]
        live = trainer.collector.watchers[-1]
        process, url = live.process, live.url  # type: ignore[attr-defined]
        assert until(lambda: answers(url), 120.0)
    assert until(lambda: process.poll() == 0, 60.0), "it outlives training"


def answers(url: str) -> bool:
    """Whether a page is served there."""
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except OSError:
        return False


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for something; whether it came."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()
