"""A run that goes on: what it leaves behind, and how far it goes."""

from __future__ import annotations

import csv
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from algorithms import checkpoint
from runs.config import CHECKSUM, change_saved, load_config, parse, save_config
from runs.folders import NOTE
from runs.progress import ProgressLog
from scripts import train

SMALL = "--recipe fast --num_envs 4 --agent.ppo.num_steps 4 --agent.save_interval 1 --agent.eval_envs 2"


def main(*flags: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        line = [*flags, "--num_threads", "1", "--device", "cpu", "--logger", "none"]
        patch.setattr(sys, "argv", ["scripts/train.py", *line])
        return train.main()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three iterations."""
    logs = tmp_path_factory.mktemp("logs")
    assert (
        main(*SMALL.split(), "--agent.eval_seconds", "0.1", "--max_iterations", "3", "--log_dir", str(logs))
        == 0
    )
    (folder,) = logs.glob("*/*")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def iterations(table: Path) -> list[int]:
    with table.open(newline="") as file:
        return [int(row["iteration"]) for row in csv.DictReader(file)]


def at_iteration(number: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Let something happen as soon as an iteration is logged."""
    write = ProgressLog.write

    def written(log: ProgressLog, iteration: int, numbers: dict[str, float]) -> None:
        write(log, iteration, numbers)
        if iteration == number:
            act()

    patch.setattr(ProgressLog, "write", written)


def crash() -> None:
    raise RuntimeError("crashed")


# ---------------------------------------------------------------------- what is left behind


def test_nothing_is_touched_unless_training_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def holds() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}

    def refuse(*args: Any) -> None:
        raise ValueError("W&B does not begin")

    before = holds()
    where = ("--resume", "--load_run", str(folder))
    assert main(*where, "--checkpoint", "2", "--max_iterations", "2") == 0  # nothing to do
    assert holds() == before
    monkeypatch.setattr(train, "begin_log", refuse)
    with pytest.raises(ValueError, match="W&B does not begin"):
        main(*where, "--checkpoint", "1", "--max_iterations", "5")
    assert holds() == before


def test_a_branch_keeps_the_tables_of_what_it_leaves(folder: Path) -> None:
    (folder / "curriculum.csv").write_text("iteration,shape,level,robots,success\n3,slope_up,0,4,1.0\n")
    assert main("--resume", "--load_run", str(folder), "--checkpoint", "1", "--max_iterations", "2") == 0
    (aside,) = folder.glob("set_aside_*")
    names = {path.name for path in aside.iterdir()}
    assert names - {"model_best.pt"} == {"model_2.pt", "model_3.pt", "progress.csv", "curriculum.csv"}
    assert iterations(aside / "progress.csv") == [1, 2, 3] and iterations(aside / "curriculum.csv") == [3]
    assert iterations(folder / "progress.csv") == [1, 2] and list(checkpoint.available(folder)) == [0, 1, 2]


# ---------------------------------------------------------------------- what it tells whoever started it


def test_a_training_tells_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = folder.parent / "note"
    monkeypatch.setenv(NOTE, str(note))
    logs = ("--log_dir", str(folder.parent / "logs"))
    small = (*SMALL.split(), "--max_iterations", "1", *logs)
    assert main(*small, "--check") == 0
    assert main("--resume", "--load_run", str(folder)) == 0  # nothing to do
    assert not note.exists()
    assert main(*small, "--experiment_name", "a/b") == 0
    assert [note.read_text()] == [str(path) for path in (folder.parent / "logs" / "a" / "b").iterdir()]
    assert main("--resume", "--load_run", str(folder), "--more_iterations", "1") == 0
    assert note.read_text() == str(folder), "the next one is told of: a note is not for a run to go on by"


# ---------------------------------------------------------------------- how far it goes


def test_a_longer_run_that_was_stopped_goes_on_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--resume", "--load_run", str(folder))  # as it says when it stops
    with monkeypatch.context() as patch:
        at_iteration(4, lambda: signal.raise_signal(signal.SIGINT), patch)
        assert main(*where, "--more_iterations", "3") == 130
    assert list(checkpoint.available(folder))[-1] == 4
    assert main(*where) == 0 and list(checkpoint.available(folder))[-1] == 6


@pytest.mark.parametrize("flags", ["--more_iterations 2", "--more_iterations 2 --max_iterations 9"])
def test_iterations_that_an_interrupted_run_has_done_are_not_asked_for_again(
    flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = folder.parent / "launch"  # torchrun's
    launch.mkdir()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(launch / "attempt_0" / "0" / "error.json"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    line = ("--resume", "--load_run", str(folder), *flags.split())
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crashed"):
        at_iteration(4, crash, patch)
        main(*line)
    assert main(*line) == 0
    assert list(checkpoint.available(folder)) == [0, 1, 2, 3, 4, 5]


def test_an_interrupted_run_that_had_not_gone_on_begins_where_it_was_told_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "launch").mkdir()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(folder.parent / "launch" / "attempt_0" / "0" / "e"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    line = ("--resume", "--load_run", str(folder), "--checkpoint", "1", "--max_iterations", "2")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crashed"):
        patch.setattr(train, "begin_log", lambda *args: crash())
        main(*line)
    assert main(*line) == 0
    assert list(checkpoint.available(folder)) == [0, 1, 2]


def test_whether_it_ends_when_solved_is_saved_too(folder: Path) -> None:
    where = ("--resume", "--load_run", str(folder))
    for flags, saved in (
        ("--max_iterations 4 --until_solved", (4, True)),
        ("--more_iterations 1", (5, False)),  # all of them
    ):
        assert main(*where, *flags.split()) == 0
        cfg = load_config(folder / "config.yaml")
        assert (cfg.max_iterations, cfg.until_solved) == saved


def test_a_saved_configuration_changes_in_what_it_is_told_alone(tmp_path: Path) -> None:
    cfg, path = parse(["--task", "go2_rough"]), tmp_path / "config.yaml"
    save_config(cfg, path)
    change_saved(path, max_iterations=7)
    assert load_config(path) == replace(cfg, max_iterations=7)
    assert path.read_text().startswith(CHECKSUM)
    old = yaml.safe_load(path.read_text()) | {"what_is_no_more": [1.0e-5]}
    path.write_text(yaml.safe_dump(old, sort_keys=False))
    change_saved(path, max_iterations=8)
    assert yaml.safe_load(path.read_text()) == old | {"max_iterations": 8}
    damaged = path.read_text().replace("seed: 1", "seed: 2")
    path.write_text(damaged)
    with pytest.raises(ValueError, match="is damaged, or was changed"):
        change_saved(path, max_iterations=9)
    assert path.read_text() == damaged
