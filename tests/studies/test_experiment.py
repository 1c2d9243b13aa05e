"""scripts/experiment.py as a user meets it: declared, checked, interrupted, continued, reported."""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from algorithms.checkpoint import available
from evaluation.terrain import Cell, wilson
from scripts import experiment
from studies import running
from studies.results import pool_cells
from studies.study import Experiment, get_experiment, make_runs
from terrains.curriculum import STRATEGIES
from viewers.experiment import over_seeds, smooth

TINY = """
name: tiny
seeds: [4]
common:
  num_envs: 8
  agent.save_interval: 1
  agent.eval_envs: 2
  agent.eval_seconds: 0.1
  agent.policy.actor_hidden: [8, 8]
  agent.policy.critic_hidden: [8, 8]
  env.terrain.levels: 2
  env.terrain.columns: 2
  env.terrain.tile_size: 4.0
  env.terrain.proportions: {obstacles: 0.5, stairs_up: 0.5}
variants:
  fair: {env.curriculum.strategy: fair}
  few: {num_envs: 4, agent.ppo.num_steps: 48}
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    """A file that declares two tiny runs."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *flags: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["experiment.py", *map(str, flags)])
    return experiment.main()


def iterations(run_folder: Path) -> list[int]:
    with (run_folder / "progress.csv").open() as file:
        return [int(row["iteration"]) for row in csv.DictReader(file)]


def interrupt_after(path: Path) -> threading.Thread:
    """Press Ctrl-C when a file appears."""

    def wait() -> None:
        while not path.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_experiment_goes_on_and_is_reported(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    first, second = folder / "runs" / "fair_seed4", folder / "runs" / "few_seed4"
    declared.write_text(TINY.split("  few:")[0])
    flags: list[str | Path] = [
        "--experiment",
        declared,
        "--folder",
        folder,
        "--robots",
        "2",
        "--shapes",
        "obstacles",
    ]
    interrupt_after(first / "model_2.pt")
    assert run(monkeypatch, *flags, "--max_iterations", "9999") == 130
    assert "stopped" in capsys.readouterr().out
    reached = max(available(first))
    assert iterations(first) == list(range(1, reached + 1)), (
        "it ended with a checkpoint of its last iteration"
    )

    flags += ["--max_iterations", str(reached + 1)]
    assert run(monkeypatch, *flags) == 0
    printed = capsys.readouterr().out
    assert "fair_seed4 trained in" in printed and "fair_seed4 tested in" in printed
    log = first.with_suffix(".log").read_text()
    assert f"resumed at iteration {reached}" in log
    assert iterations(first) == list(range(1, reached + 2))
    report = (folder / "report.md").read_text()
    row = f"| [fair_seed4](runs/fair_seed4) | trained and tested | {reached + 1} of {reached + 1} |"
    for part in ("## Learning", "obstacles, height, m 0.1", "standing (0, 0, 0)", row):
        assert part in report

    assert run(monkeypatch, *flags) == 0
    assert first.with_suffix(".log").read_text() == log, "what is finished is left alone"

    declared.write_text(TINY)
    assert run(monkeypatch, *flags, "--prepare") == 0
    for path in first.iterdir():
        if path.suffix in (".csv", ".json", ".pt"):
            shutil.copy(path, second)
    assert run(monkeypatch, *flags, "--report") == 0
    report = (folder / "report.md").read_text()
    assert "2 trained and tested" in report and "| few | 4 | 48 | 192 |" in report
    for name in ("curves", "levels", "success", "commands", "batch"):
        assert f"({name}.png)" in report and (folder / f"{name}.png").stat().st_size > 1000
    with (folder / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * (reached + 1)
    with (folder / "success.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert {(row["variant"], row["shape"]) for row in cells} == {("fair", "obstacles"), ("few", "obstacles")}

    name = f"terrain_model_{reached + 1}_obstacles.json"
    (second / name).write_text('{"iteration": 1, "cells": []}')  # as of another checkpoint
    assert run(monkeypatch, *flags, "--report") == 0
    assert "1 trained and tested, 1 trained)" in (folder / "report.md").read_text()

    declared.write_text(TINY.replace("save_interval: 1", "save_interval: 3"))
    with pytest.raises(ValueError, match="another configuration than variant 'fair'"):
        run(monkeypatch, *flags)


def test_a_failed_run_is_named_and_stops_no_other(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(run: running.StudyRun, flags: running.Flags) -> list[str]:
        good = f"open({str(run.folder / 'model_3.pt')!r}, 'w')"
        return [sys.executable, "-S", "-c", "raise SystemExit('no luck')" if run.variant == "fair" else good]

    monkeypatch.setattr(running, "train_command", program)
    flags: list[str | Path] = [
        "--experiment",
        declared,
        "--folder",
        tmp_path / "out",
        "--no-evaluate",
        "--max_iterations",
        "3",
    ]
    assert run(monkeypatch, *flags) == 1
    printed = capsys.readouterr().out
    assert (
        "fair_seed4 could not be trained (status 1, see" in printed and "fair_seed4.log): no luck" in printed
    )
    assert "few_seed4 trained in" in printed
    report = (tmp_path / "out" / "report.md").read_text()
    assert "1 not begun, 1 trained" in report and "No run has begun." in report


def test_two_programs_cannot_work_in_one_folder(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another program is at work"):
            run(monkeypatch, "--experiment", declared, "--folder", tmp_path)


def test_prepared_runs_wait_for_a_scheduler(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(monkeypatch, "--experiment", declared, "--folder", tmp_path, "--seeds", "1", "2", "--prepare")
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for line, name in zip(lines, ("fair_seed1", "few_seed1", "fair_seed2", "few_seed2"), strict=True):
        folder = tmp_path / "runs" / name
        assert "train.py --task anymal_c_rough --resume" in line and f"--load_run {folder} " in line
        assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_built_in_experiments(tmp_path: Path) -> None:
    runs = make_runs(get_experiment("curriculum"), tmp_path)
    assert {run.cfg.env.curriculum.strategy for run in runs} == set(STRATEGIES) - {"fixed"}
    assert {run.seed for run in runs} == {1, 2, 3} and len({run.folder for run in runs}) == len(runs)
    assert len({run.cfg.env.terrain.seed for run in runs}) == 3, "every seed has its own map"
    for batch in (98_304, 960):
        runs = make_runs(get_experiment("batch", batch), tmp_path)
        assert {run.cfg.num_envs * run.cfg.agent.ppo.num_steps for run in runs} == {batch}
        assert len({run.cfg.num_envs for run in runs}) == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variants: [", ["not valid YAML", "line"]),
        ("- 1", ["declares no experiment"]),
        ("variant: {a: {}}", ["unknown entry 'variant'", "variants"]),
        ("name: x", ["no variants"]),
        ("variants: 3", ["variants must be a mapping"]),
        ("task: anymal_c_ruff\nvariants: {a: {}}", ["unknown task", "anymal_c_rough"]),
        ("variants: {a: {recipe: fasst}}", ["variant 'a'", "no recipe", "fast"]),
        (
            "variants: {a: {env.curriculum.strategy: fare}}",
            ["variant 'a'", "unknown env.curriculum.strategy", "fair"],
        ),
        ("variants: {a: {env.curiculum.strategy: fair}}", ["env.curiculum", "Did you mean curriculum"]),
        ("variants: {a: {env.curriculum: fair}}", ["env.curriculum is a group of values"]),
        ("variants: {a: {envs.x: 1}}", ["envs.x", "begin with one of"]),
        ("variants: {a: {seed: 3}}", ["unknown configuration value seed"]),
        ("variants: {a: {num_envs: many}}", ["num_envs must be a whole number, not 'many'"]),
        ("variants: {a: {num_envs: 0}}", ["num_envs must be at least 1"]),
        ("variants: {a: {num_envs.x: 0}}", ["num_envs must be a whole number"]),
        ("variants: {a: {env.noise.enabled: 1}}", ["env.noise.enabled must be true or false"]),
        ("variants: {a: {env.commands.lin_vel_x: 1}}", ["env.commands.lin_vel_x must be a list of 2"]),
        ("variants: {a: {agent.ppo.schedule: adaptiv}}", ["one of adaptive, fixed", "Did you mean adaptive"]),
        ("variants: {a: {agent.ppo.gamma: 2}}", ["agent.ppo.gamma must lie between"]),
        ("variants: {a: {env.terrain.proportions: {stairs_up: 0.3}}}", ["sum to 1"]),
        ("variants: {a: {}, b: {num_envs: 1024}}", ["variants 'a' and 'b' are the same"]),
        ("variants: {a/b: {}}", ["name 'a/b'"]),
        ("seeds: [1, 1]\nvariants: {a: {}}", ["seeds must differ"]),
        ("seeds: [one]\nvariants: {a: {}}", ["seeds must be whole numbers"]),
        ("seeds: 3\nvariants: {a: {}}", ["seeds must be a list"]),
        (
            "task: anymal_c_flat\nvariants: {a: {env.curriculum.strategy: fair}}",
            ["no effect on task anymal_c_flat"],
        ),
    ],
)
def test_a_bad_declaration_is_refused_in_one_sentence(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        make_runs(get_experiment(str(path)), tmp_path / "out")
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_bad_flags_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, words in (
        (("--experiment", "curiculum"), "Did you mean curriculum"),
        (("--experiment", "batch", "--batch", "1000"), "multiple of 96"),
        (("--experiment", "batch", "--num_envs", "8"), "values of their own"),
        (("--batch", "960"), "--batch needs --experiment batch"),
        (("--no-evaluate", "--robots", "8"), "--robots is for the tests, which --no-evaluate leaves out"),
        (("--shapes", "stair_up"), "stairs_up"),
        (("--jobs", "-1"), "--jobs must be at least 0"),
    ):
        with pytest.raises(ValueError, match=words):
            run(monkeypatch, "--folder", tmp_path / "out", "--report", *flags)
    assert not (tmp_path / "out").exists()


def test_a_flag_wins_over_what_is_common_and_not_over_a_variant(declared: Path) -> None:
    declared.write_text(TINY.replace("common:", "common:\n  task: go2_rough"))
    flags = running.Flags(str(declared), task="a1_rough")
    runs = make_runs(experiment.changed(get_experiment(str(declared)), flags), declared.parent)
    assert {run.cfg.task for run in runs} == {"a1_rough"}
    declared.write_text(TINY.replace("few: {", "few: {task: go2_rough, "))
    with pytest.raises(ValueError, match="--task a1_rough: the variants of tiny have values of their own"):
        experiment.changed(get_experiment(str(declared)), flags)


def test_an_experiment_for_other_machines_is_prepared_and_reported(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--experiment", declared, "--folder", tmp_path / "out")
    for device, sentence in (("cpu", "this machine has"), ("cuda:99", "cuda:99")):
        declared.write_text(TINY.replace("num_envs: 8", f"num_envs: 100000000\n  device: {device}"))
        with pytest.raises(ValueError, match=sentence):
            run(monkeypatch, *flags)
        assert run(monkeypatch, *flags, "--prepare") == 0
        assert run(monkeypatch, *flags, "--report") == 0
    monkeypatch.setattr(running, "ClusterPrograms", lambda *args: running.Programs())
    monkeypatch.setattr(running, "finish", lambda *args: True)
    assert run(monkeypatch, *flags, "--ray", "auto") == 0


def test_variants_with_a_dot_in_their_names_have_logs_of_their_own(tmp_path: Path) -> None:
    variants = {f"lr{rate}": {"agent.ppo.learning_rate": rate} for rate in (0.001, 0.005)}
    runs = make_runs(Experiment("x", seeds=(1,), variants=variants), tmp_path)
    assert [run.log.name for run in runs] == ["lr0.001_seed1.log", "lr0.005_seed1.log"]
    assert all(run.log.parent == run.folder.parent for run in runs)


def test_numbers_in_a_file_may_be_written_as_usual(tmp_path: Path) -> None:
    """YAML reads 1e-3 as text and 1 as a whole number."""
    values = {"agent.ppo.learning_rate": "1e-3", "env.noise.level": 2, "env.commands.lin_vel_x": [0, 1]}
    (made,) = make_runs(Experiment("x", seeds=(7,), variants={"a": values}), tmp_path)
    assert made.cfg.agent.ppo.learning_rate == 1e-3 and made.cfg.env.noise.level == 2.0
    assert made.cfg.env.commands.lin_vel_x == (0.0, 1.0) and made.cfg.seed == 7


def test_interval_over_seeds() -> None:
    mean, low, high = over_seeds(np.array([[1.0, 5.0, np.nan], [2.0, np.nan, np.nan], [3.0, 7.0, np.nan]]))
    # sd 1, t(2) = 4.303: 2 +- 4.303 / sqrt(3); of two seeds least and most; of none nothing
    np.testing.assert_allclose(mean, [2.0, 6.0, np.nan])
    np.testing.assert_allclose(low, [2.0 - 2.4843, 5.0, np.nan], atol=1e-3)
    np.testing.assert_allclose(high, [2.0 + 2.4843, 7.0, np.nan], atol=1e-3)
    many = over_seeds(np.arange(16.0))  # t(15) = 2.131, sd = 4.761
    np.testing.assert_allclose(many[2] - many[0], 2.131 * 4.761 / 4.0, rtol=0.01)


def test_running_mean_leaves_out_what_is_unknown() -> None:
    np.testing.assert_allclose(smooth(np.array([1.0, np.nan, 3.0, 5.0]), 3), [1.0, 2.0, 4.0, 4.0])
    assert np.isnan(smooth(np.array([np.nan, np.nan]), 1)).all()


def test_pooled_success_counts_all_robots() -> None:
    seeds = [
        [Cell("gap", 0.1, 10, 0.8, *wilson(8, 10), 0.1, 5.0)],
        [Cell("gap", 0.1, 30, 0.4, *wilson(12, 30), 0.5, float("nan"))],
    ]
    (cell,) = pool_cells(seeds)
    assert cell.robots == 40 and cell.success == 0.5 and cell.falls == pytest.approx(0.4) and cell.time == 5.0
    assert (cell.low, cell.high) == wilson(20, 40)


def test_a_share_of_a_gpu_is_declared_for_all_or_for_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text(TINY.replace("seeds: [4]", "seeds: [4]\ngpus: 0.5").replace("few: {", "few: {gpus: 2, "))
    runs = make_runs(get_experiment(str(path)), tmp_path)
    assert {run.variant: run.gpus for run in runs} == {"fair": 0.5, "few": 2}
    path.write_text(TINY.replace("few: {", "few: {gpus: -1, "))
    with pytest.raises(ValueError, match="variant 'few': gpus must be a number"):
        make_runs(get_experiment(str(path)), tmp_path)


def test_without_ray_one_sentence(declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="--ray needs the package ray"):
        run(monkeypatch, "--experiment", declared, "--folder", tmp_path / "e", "--ray", "local")


@pytest.mark.slow
def test_a_local_cluster_trains_tests_and_is_interrupted(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray")
    folder = tmp_path / "e"
    flags = (
        "--experiment",
        declared,
        "--folder",
        folder,
        "--ray",
        "local",
        "--robots",
        "2",
        "--shapes",
        "obstacles",
    )
    try:
        waiting = interrupt_after(folder / "runs" / "fair_seed4" / "model_3.pt")
        assert run(monkeypatch, *flags, "--max_iterations", "200") == 130
        waiting.join()
        ray.shutdown()
        done = max(available(folder / "runs" / "fair_seed4"))
        assert done < 200
        assert run(monkeypatch, *flags, "--max_iterations", str(done + 2)) == 0
    finally:
        ray.shutdown()
    assert (folder / "report.md").is_file()
    assert max(available(folder / "runs" / "fair_seed4")) == done + 2
    greedy = tmp_path / "greedy.yaml"
    greedy.write_text(TINY.replace("seeds: [4]", "seeds: [4]\ngpus: 64"))
    try:
        with pytest.raises(ValueError, match="a run asks for 64 GPUs, the whole cluster has 0"):
            run(monkeypatch, "--experiment", greedy, "--folder", tmp_path / "g", "--ray", "local")
    finally:
        ray.shutdown()


def test_runs_stopped_before_their_first_iteration_go_on(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[str | Path] = [
        "--experiment",
        declared,
        "--folder",
        tmp_path / "out",
        "--no-evaluate",
        "--max_iterations",
        "1",
    ]
    assert run(monkeypatch, *flags, "--prepare") == 0
    empty = tmp_path / "out" / "runs" / "fair_seed4" / "progress.csv"
    empty.write_text("")
    assert run(monkeypatch, *flags) == 0
    assert empty.read_text().startswith("iteration,")


def test_a_run_that_cannot_be_read_is_named_in_the_report(
    declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags: list[str | Path] = [
        "--experiment",
        declared,
        "--folder",
        tmp_path / "out",
        "--no-evaluate",
        "--max_iterations",
        "1",
    ]
    assert run(monkeypatch, *flags) == 0
    folder = tmp_path / "out" / "runs" / "fair_seed4"
    (folder / "progress.csv").write_text("some,thing\n1,2\n3\n")
    assert run(monkeypatch, *flags, "--report") == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert "cannot be read (ValueError: progress.csv lacks" in report and "few_seed4" in report
    (folder / "progress.csv").unlink()
    (folder / "commands_model_1.json").write_text('{"iteration": 1, "classes": [{"name": "x"}]}')
    assert run(monkeypatch, *flags, "--report") == 0
    assert "cannot be read (TypeError" in (tmp_path / "out" / "report.md").read_text()
