"""An experiment's report: which figures count, and what it says of how they were made."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from evaluation.commands import COMMANDS, CommandResult
from evaluation.terrain import PAPER, Cell
from runs.flags import parse_flags
from runs.folders import output_name
from scripts import evaluate
from studies import running
from studies.report import write_report
from studies.results import read_result
from studies.running import Flags, is_tested
from studies.study import Experiment, StudyRun, make_runs
from viewers import experiment as pictures

VARIANTS = {"few": {"num_envs": 96}, "many": {"num_envs": 192}}


@pytest.fixture
def declared() -> Experiment:
    """Two variants of two seeds."""
    return Experiment("x", seeds=(1, 2), common={"max_iterations": 3}, variants=VARIANTS)


def write(run: StudyRun, name: str, iteration: int, **results: object) -> None:
    (run.folder / f"{name}.json").write_text(json.dumps({"iteration": iteration, **results}))


def finish(run: StudyRun, success: float = 0.5, robots: int = 100) -> None:
    """Leave what a trained and tested run does."""
    run.folder.mkdir(parents=True)
    (run.folder / "model_3.pt").touch()
    head = "iteration,Perf/samples,Perf/train_time,Eval/falls"
    (run.folder / "progress.csv").write_text(f"{head}\n3,288,1.0,{success}\n")
    cells = [asdict(Cell(shape, 0.1, robots, success, 0.0, 1.0, 0.0, 1.0)) for shape in PAPER]
    cells[0]["time"] = None  # nobody got there
    write(run, "terrain_model_3", 3, cells=cells)
    classes = [
        asdict(CommandResult(name, robots, success, 0.0, 1.0, 1.0, 0.0, 0.0, 0.1)) for name in COMMANDS
    ]
    write(run, "commands_model_3", 3, classes=classes)


def report(experiment: Experiment, runs: list[StudyRun], folder: Path) -> str:
    return write_report(experiment, runs, folder, "the command", Flags()).read_text()


def test_figures_of_other_checkpoints_and_shapes_do_not_count(declared: Experiment, tmp_path: Path) -> None:
    run = make_runs(declared, tmp_path)[0]
    finish(run)
    own = run.folder / "terrain_model_3.json"
    found = read_result(run, PAPER)
    assert found.state == "trained and tested" and math.isnan(found.cells[0].time)
    assert is_tested(run, Flags())
    one = [json.loads(own.read_text())["cells"][0]]
    for checkpoint, shapes in ((-1, PAPER), (2, PAPER), (3, ("slope_up",))):
        write(run, output_name("terrain", checkpoint, shapes=shapes), 3, cells=one)
    assert read_result(run, PAPER).cells[1:] == found.cells[1:], "its own are as they were"
    assert len(read_result(run, ("slope_up",)).cells) == 1
    write(run, "terrain_model_3", 3, cells=one)
    assert not read_result(run, PAPER).cells and not is_tested(run, Flags())


def test_a_run_on_a_plane_has_no_terrain_to_compare(tmp_path: Path) -> None:
    (run,) = make_runs(
        Experiment("x", "anymal_c_flat", seeds=(1,), variants={"a": {"max_iterations": 3}}), tmp_path
    )
    finish(run)
    found = read_result(run, PAPER)
    assert found.state == "trained and tested" and not found.cells


def test_the_report_prints_the_test_that_was_made(declared: Experiment, tmp_path: Path) -> None:
    runs = make_runs(declared, tmp_path)
    finish(runs[0], robots=20)
    lines = report(declared, runs, tmp_path).splitlines()
    (line,) = [line for line in lines if line.startswith("python scripts/evaluate.py")]
    words = shlex.split(line)[2:]
    assert words == running.test_command(runs[0], Flags(robots=20))[2:]
    flags = parse_flags(evaluate.Flags(), words)
    evaluate.validate(flags)
    assert (
        (flags.checkpoint, flags.robots, flags.shapes) == (3, 20, PAPER) and flags.commands and flags.terrain
    )


def test_the_report_names_every_task_and_recipe_that_was_trained(tmp_path: Path) -> None:
    variants = {"a": {"task": "go2_rough"}, "b": {"task": "a1_rough", "recipe": "gpu"}}
    several = Experiment("x", seeds=(1,), variants=variants)
    told = "Tasks `go2_rough`, `a1_rough`, recipes `fast`, `gpu`, seeds 1: 2 runs"
    assert told in report(several, make_runs(several, tmp_path, here=False), tmp_path)
    one = Experiment("x", "go2_rough", seeds=(1,), variants={"a": {"task": "a1_rough"}})
    assert "Task `a1_rough`, recipe `fast`, seeds 1: 1 runs" in report(
        one, make_runs(one, tmp_path), tmp_path
    )


def test_intervals_of_shares_end_at_none_and_all(
    declared: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {}

    def look(figure: Any, axes: list[Any], *_: Any, **__: Any) -> None:
        ends.update({axis.get_title(): axis.get_ylim() for axis in axes})

    monkeypatch.setattr(pictures, "_finish", look)
    declared.seeds = (1, 2, 3)
    runs = make_runs(declared, tmp_path)
    for run in runs:
        finish(run, success=1.0 if run.seed == 1 else 0.0)
    text = report(declared, runs, tmp_path)
    (row,) = [line for line in text.splitlines() if line.startswith("| few | 96 ")]
    assert row.count("0.333 (0.000 to 1.000)") == 3, "falls, success, commands followed"
    low, high = ends["success on terrain, share"]
    assert low >= -0.03 and high <= 1.03
