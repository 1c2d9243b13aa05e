"""What the runs of an experiment came to: read from their folders, pooled over seeds, written as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.checkpoint import available
from evaluation.commands import CommandResult
from evaluation.terrain import Cell, wilson
from runs.folders import output_name, with_nan
from studies.study import Experiment, StudyRun
from viewers.curves import read_progress
from viewers.experiment import Columns, over_seeds

EVALUATED = {
    "Eval/lin_vel_error": "evaluated velocity error, m/s",
    "Eval/ang_vel_error": "evaluated yaw rate error, rad/s",
    "Eval/falls": "evaluated falls, share",
}
"""Columns measured on all levels alike -> what they are."""
TRAINING = {
    "Train/mean_reward": "in training: mean reward of an episode",
    "Episode/success": "in training: success, share of episodes",
    "Episode/fall_rate": "in training: falls, share of episodes",
    "Curriculum/level": "in training: mean level",
}
"""Columns measured on the levels that the variant trains on -> what they are."""


@dataclass
class Result:
    """What one run came to; empty where there is nothing yet."""

    run: StudyRun
    iterations: int
    columns: Columns
    cells: list[Cell]
    classes: list[CommandResult]
    problem: str = ""
    """Why the folder cannot be read."""

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.iterations >= self.run.cfg.max_iterations

    @property
    def state(self) -> str:
        """How far it is."""
        if self.problem:
            return f"cannot be read ({self.problem})"
        if not self.finished:
            return "unfinished" if self.columns else "not begun"
        tested = self.classes and (self.cells or not self.run.on_map)
        return "trained and tested" if tested else "trained"

    @property
    def success(self) -> float:
        """Mean success over all kinds and difficulties of terrain that were tested, NaN if none was."""
        return float(np.mean([cell.success for cell in self.cells])) if self.cells else float("nan")

    @property
    def followed(self) -> float:
        """Mean share followed over the classes of commands, NaN if they were not tested."""
        return float(np.mean([c.followed for c in self.classes])) if self.classes else float("nan")

    def last(self, column: str) -> float:
        """Final value: the last evaluation, or the mean of a training column over its last tenth."""
        values = self.columns.get(column, np.array([]))
        values = values[-1:] if column.startswith("Eval/") else values[-max(1, len(values) // 10) :]
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else float("nan")

    def total(self, column: str) -> float:
        """Last value of a column that counts up."""
        return float(self.columns[column][-1]) if column in self.columns else 0.0


Results = dict[str, list[Result]]
"""Variant -> its runs."""


def read_results(experiment: Experiment, runs: list[StudyRun], shapes: tuple[str, ...]) -> Results:
    """Read the runs' folders; see `read_result`."""
    results: Results = {name: [] for name in experiment.variants}
    for run in runs:
        results[run.variant].append(read_result(run, shapes))
    return results


def read_result(run: StudyRun, shapes: tuple[str, ...]) -> Result:
    """Read a run's folder; what is wrong with it, if it cannot be read, is said in the result.

    Args:
        run: the run.
        shapes: kinds of terrain that the experiment tests; a test of others does not count.
    """
    try:
        return _read_result(run, shapes)
    except (ValueError, TypeError, KeyError, IndexError, OSError, AttributeError) as error:
        return Result(run, -1, {}, [], [], f"{type(error).__name__}: {error}")


def _read_result(run: StudyRun, shapes: tuple[str, ...]) -> Result:
    iterations = max(available(run.folder), default=-1)
    path = run.folder / "progress.csv"
    begun = path.is_file() and len(path.read_text().split()) > 1
    columns = read_progress(path) if begun else {}
    if columns:
        if missing := {"iteration", "Perf/samples", "Perf/train_time"} - columns.keys():
            raise ValueError(f"progress.csv lacks {', '.join(sorted(missing))}")
        none = columns.get("Episode/finished", np.ones(1)) == 0  # no episode ended: nothing is known of them
        columns |= {
            name: np.where(none, np.nan, c) for name, c in columns.items() if name.startswith("Episode/")
        }
    cells, classes = read_tests(run, shapes)
    return Result(
        run,
        iterations,
        columns,
        [Cell(**cell) for cell in cells],
        [CommandResult(**item) for item in classes],
    )


def read_tests(run: StudyRun, shapes: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Success on these kinds of terrain (a run on a map) and classes of commands, of a run's last checkpoint."""
    last = max(available(run.folder), default=-1)
    terrain, commands = output_name("terrain", last, shapes=shapes), output_name("commands", last)
    cells = _read_test(run.folder / f"{terrain}.json", last).get("cells", [])
    classes = _read_test(run.folder / f"{commands}.json", last).get("classes", [])
    asked = run.on_map and {cell["shape"] for cell in cells} == set(shapes)
    return cells if asked else [], classes


def _read_test(path: Path, iteration: int) -> dict[str, Any]:
    """Results of a test of that iteration; empty if there are none."""
    try:
        content = json.loads(path.read_text(), object_hook=with_nan)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("iteration") == iteration else {}


def pool_cells(groups: list[list[Cell]]) -> list[Cell]:
    """Cells of several seeds as one, with Wilson's interval of all robots together."""
    pooled = []
    for key in dict.fromkeys((c.shape, c.value) for cells in groups for c in cells):
        same = [c for cells in groups for c in cells if (c.shape, c.value) == key]
        robots = sum(c.robots for c in same)
        wins = round(sum(c.success * c.robots for c in same))
        falls = sum(c.falls * c.robots for c in same) / robots
        times = [c.time for c in same if np.isfinite(c.time)]
        time = float(np.mean(times)) if times else float("nan")
        pooled.append(Cell(*key, robots, wins / robots, *wilson(wins, robots), falls, time))
    return pooled


def pool_classes(groups: list[list[CommandResult]]) -> list[CommandResult]:
    """Classes of several seeds as one: interval of the share followed over seeds, of falls over all robots."""
    pooled = []
    for name in dict.fromkeys(c.name for classes in groups for c in classes):
        same = [c for classes in groups for c in classes if c.name == name]
        robots = sum(c.robots for c in same)
        fallen = round(sum(c.falls * c.robots for c in same))
        mean, low, high = over_seeds(np.array([c.followed for c in same]))
        if len(same) == 1:
            low, high = np.array(same[0].low), np.array(same[0].high)
        tracked = float(np.mean([c.tracked for c in same]))
        ends = float(mean), max(0.0, float(low)), min(1.0, float(high))
        pooled.append(CommandResult(name, robots, *ends, tracked, fallen / robots, *wilson(fallen, robots)))
    return pooled


def write_tables(results: list[Result], folder: Path) -> None:
    """`runs.csv`, `curves.csv`, `success.csv` and `commands.csv`: all numbers, run by run."""
    names = {**EVALUATED, **TRAINING}
    levels = {
        name: "" for result in results for name in result.columns if name.startswith("Curriculum/level_")
    }
    keys = [{"variant": result.run.variant, "seed": result.run.seed} for result in results]
    pairs = list(zip(keys, results, strict=True))
    _write(
        folder / "runs.csv",
        (
            key
            | {"state": r.state, "iterations": max(r.iterations, 0), "num_envs": r.run.cfg.num_envs}
            | {"num_steps": r.run.cfg.agent.ppo.num_steps, "samples": r.total("Perf/samples")}
            | {"train_time": r.total("Perf/train_time")}
            | {name: r.last(name) for name in names}
            for key, r in pairs
        ),
    )
    columns = ("iteration", "Perf/samples", "Perf/train_time", *names, *levels)
    _write(
        folder / "curves.csv",
        (
            key | {name: f"{r.columns[name][i]:.6g}" if name in r.columns else "" for name in columns}
            for key, r in pairs
            for i in range(len(r.columns.get("iteration", ())))
        ),
    )
    _write(folder / "success.csv", (key | asdict(cell) for key, r in pairs for cell in r.cells))
    _write(folder / "commands.csv", (key | asdict(item) for key, r in pairs for item in r.classes))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A CSV file; none without rows."""
    rows = list(rows)
    if not rows:
        path.unlink(missing_ok=True)
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
