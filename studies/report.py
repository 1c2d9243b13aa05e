"""The report of an experiment: Markdown with tables, and pictures beside it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.commands import COMMANDS, SECONDS
from evaluation.terrain import AXES
from runs.machine import describe_machine
from studies.results import (
    EVALUATED,
    TRAINING,
    Result,
    Results,
    pool_cells,
    pool_classes,
    read_results,
    write_tables,
)
from studies.running import Flags, test_command, train_command
from studies.study import Experiment, StudyRun
from viewers.experiment import over_seeds, plot_batch, plot_commands, plot_curves, plot_success


def write_report(experiment: Experiment, runs: list[StudyRun], folder: Path, line: str, flags: Flags) -> Path:
    """Write `report.md`, tables and pictures of what there is; returns the report's path.

    Args:
        experiment: what was declared.
        runs: its runs.
        folder: the experiment's folder.
        line: command that made them.
        flags: its flags.
    """
    results = read_results(experiment, runs, flags.shapes)
    everything = [result for group in results.values() for result in group]
    # an unfinished run says nothing about the end
    results = {name: [r for r in group if r.finished] or group for name, group in results.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(everything, folder)
    parts = [
        *_opening(experiment, everything),
        *_summary(results),
        *_curves(results, folder),
        *_batch(results, folder),
        *_success(results, folder),
        *_commands(results, folder),
        *_runs(everything),
        *_how(everything[0], line, flags),
    ]
    path = folder / "report.md"
    path.write_text("\n".join(parts) + "\n")
    return path


def _opening(experiment: Experiment, everything: list[Result]) -> list[str]:
    count = {
        state: sum(r.state == state for r in everything)
        for state in dict.fromkeys(r.state for r in everything)
    }
    states = ", ".join(f"{n} {state}" for state, n in count.items())
    changes = [[name, _changes(values)] for name, values in experiment.variants.items()]
    common = f" Common to all: {_changes(experiment.common)}." if experiment.common else ""
    return [
        f"# Experiment {experiment.name}",
        "",
        f"{_names('Task', [r.run.cfg.task for r in everything])}, "
        f"{_names('recipe', [r.run.cfg.recipe for r in everything])}, seeds "
        f"{', '.join(map(str, experiment.seeds))}: {len(everything)} runs ({states}).{common}",
        "",
        *_table(["variant", "changes"], changes),
        "",
        "Figures are means over seeds, with their 95 % confidence interval by Student's t for three seeds or more, "
        "else with the least and the most of them, unless it says otherwise. Where a variant has finished runs, only "
        "those count; where it has none, what there is so far.",
    ]


def _names(what: str, names: list[str]) -> str:
    """What they are, and each name once."""
    each = dict.fromkeys(names)
    return f"{what}{'s' if len(each) > 1 else ''} {', '.join(f'`{name}`' for name in each)}"


def _summary(results: Results) -> list[str]:
    """The few figures by which variants can be compared."""
    figures: dict[str, Callable[[Result], float]] = {
        "evaluated velocity error, m/s": lambda r: r.last("Eval/lin_vel_error"),
        "evaluated falls, %": lambda r: 100 * r.last("Eval/falls"),
        "success on terrain, %": lambda r: 100 * r.success,
        "commands followed, %": lambda r: 100 * r.followed,
        "training, min": lambda r: r.total("Perf/train_time") / 60,
    }
    rows = [
        [name, str(sum(r.finished for r in group))]
        + [
            _seeds([figure(r) for r in group], 1 if "m/s" not in what else 3, 100.0 if "%" in what else None)
            for what, figure in figures.items()
        ]
        for name, group in results.items()
    ]
    return ["", *_table(["variant", "runs finished", *figures], rows)]


def _changes(values: dict[str, Any]) -> str:
    return ", ".join(f"`{path}` = {value}" for path, value in values.items()) or "nothing"


def _curves(results: Results, folder: Path) -> list[str]:
    columns = {name: [r.columns for r in group if r.columns] for name, group in results.items()}
    if not any(columns.values()):
        return ["", "No run has begun."]
    panels = {**EVALUATED, **TRAINING}
    plot_curves(columns, panels, folder / "curves.png", "learning curves")
    shapes = dict.fromkeys(
        name
        for runs in columns.values()
        for run in runs
        for name in run
        if name.startswith("Curriculum/level_")
    )
    rows = [
        [
            what,
            *(
                _seeds([r.last(name) for r in group], 3, 1.0 if "share" in what else None)
                for group in results.values()
            ),
        ]
        for name, what in panels.items()
        if any(name in run for runs in columns.values() for run in runs)
    ]
    lines = [
        "",
        "## Learning",
        "",
        "Evaluated figures are measured in a separate environment, on all levels of the training map alike, without "
        "exploration: variants can be compared by them. Figures in training are measured on the levels that a "
        "variant itself chose: **a variant that trains on easier ground has more reward and success for the "
        "same skill**.",
        "",
        "![learning curves](curves.png)",
        "",
        "At the end (the last evaluation; in training, the mean of the last tenth):",
        "",
        *_table(["", *results], rows),
    ]
    if not shapes:
        return lines
    titles = {name: name.removeprefix("Curriculum/level_").replace("_", " ") for name in shapes}
    plot_curves(columns, titles, folder / "levels.png", "mean level of the robots on each kind of terrain")
    rows = [
        [titles[name], *(_seeds([r.last(name) for r in group]) for group in results.values())]
        for name in shapes
    ]
    return [
        *lines,
        "",
        "## Levels",
        "",
        "![levels](levels.png)",
        "",
        "Mean level at the end, by kind of terrain:",
        "",
        *_table(["", *results], rows),
    ]


def _success(results: Results, folder: Path) -> list[str]:
    results = {name: [r for r in group if r.cells] for name, group in results.items()}
    results = {name: group for name, group in results.items() if group}
    if not results:
        return []
    pooled = {name: pool_cells([r.cells for r in group]) for name, group in results.items()}
    plot_success(pooled, folder / "success.png", "success, all robots of all seeds")
    first = next(iter(pooled.values()))
    means, details = [], []
    for shape in dict.fromkeys(cell.shape for cell in first):
        of_seeds = (
            [100 * float(np.mean([c.success for c in r.cells if c.shape == shape])) for r in group]
            for group in results.values()
        )
        means.append([shape.replace("_", " "), *(_seeds(values, 1, 100.0) for values in of_seeds)])
    for cell in first:
        row = [f"{cell.shape.replace('_', ' ')}, {AXES[cell.shape].label} {cell.value:g}"]
        for name, cells in pooled.items():
            same = next((c for c in cells if (c.shape, c.value) == (cell.shape, cell.value)), None)
            seeds = [
                100 * c.success
                for r in results[name]
                for c in r.cells
                if (c.shape, c.value) == (cell.shape, cell.value)
            ]
            row.append(_share(same.success, same.low, same.high, seeds) if same else "")
        details.append(row)
    return [
        "",
        "## Success on kinds of terrain",
        "",
        "Told to walk forward at 0.75 m/s from the centre of a tile, further than 4 m within 20 s without a fall. "
        "Tiles that were not trained on; the last checkpoint; "
        f"{first[0].robots // len(next(iter(results.values())))} robots of each seed for each difficulty.",
        "",
        "![success](success.png)",
        "",
        "Mean over the difficulties, %:",
        "",
        *_table(["", *results], means),
        "",
        "Each difficulty, %: all robots of all seeds, Wilson's 95 % interval (which knows nothing of how much seeds "
        "differ) and, in brackets, the least and the most successful seed:",
        "",
        *_table(["", *results], details),
    ]


def _commands(results: Results, folder: Path) -> list[str]:
    pooled = {
        name: pool_classes([r.classes for r in group if r.classes])
        for name, group in results.items()
        if any(r.classes for r in group)
    }
    if not pooled:
        return []
    plot_commands(pooled, folder / "commands.png", "classes of commands, on all levels alike")
    rows, falls = [], []
    for i, (name, command) in enumerate(COMMANDS.items()):
        label = f"{name.replace('_', ' ')} ({', '.join(f'{value:g}' for value in command)})"
        rows.append(
            [
                label,
                *(
                    _interval(100 * c[i].followed, 100 * c[i].low, 100 * c[i].high, 1)
                    for c in pooled.values()
                ),
            ]
        )
        falls.append([label, *(_share(c[i].falls, c[i].falls_low, c[i].falls_high) for c in pooled.values())])
    return [
        "",
        "## Classes of commands",
        "",
        f"One command (vx m/s, vy m/s, yaw rate rad/s) for {SECONDS:g} s, on all levels of a map of the task's kind "
        "that was not trained on; the last checkpoint. Followed: share of the path asked for; standing and turning "
        "on the spot: share of the time with all velocities near the command; a fall ends it.",
        "",
        "![classes of commands](commands.png)",
        "",
        "Followed, % (interval over seeds; over robots where there is one seed):",
        "",
        *_table(["", *pooled], rows),
        "",
        "Falls, % (all robots of all seeds, Wilson's 95 % interval):",
        "",
        *_table(["", *pooled], falls),
    ]


def _batch(results: Results, folder: Path) -> list[str]:
    """Where variants differ in their number of robots: final figures over it."""
    first = {name: group[0].run.cfg for name, group in results.items()}
    robots = {name: cfg.num_envs for name, cfg in first.items()}
    if len(set(robots.values())) < 2 or not any(r.columns for group in results.values() for r in group):
        return []
    steps = {name: cfg.agent.ppo.num_steps for name, cfg in first.items()}
    figures = {
        what: {name: np.array([r.last(column) for r in group]) for name, group in results.items()}
        for column, what in {**EVALUATED, **TRAINING}.items()
        if any(column in r.columns for group in results.values() for r in group)
    }
    for what, figure in (
        ("success on terrain, share", "success"),
        ("commands followed, share", "followed"),
    ):
        values = {name: np.array([getattr(r, figure) for r in group]) for name, group in results.items()}
        if np.isfinite(np.concatenate(list(values.values()))).any():
            figures[what] = values
    figures["training time, min"] = {
        name: np.array([r.total("Perf/train_time") / 60 for r in group]) for name, group in results.items()
    }
    plot_batch(robots, figures, steps, folder / "batch.png", "at the end, by the number of robots")
    rows = [
        [name, f"{robots[name]:,}", str(steps[name]), f"{robots[name] * steps[name]:,}"]
        + [
            _seeds(list(by_variant[name]), 3, 1.0 if "share" in what else None)
            for what, by_variant in figures.items()
        ]
        for name in results
    ]
    return [
        "",
        "## Robots and steps",
        "",
        "![figures over robots](batch.png)",
        "",
        *_table(["variant", "robots", "steps", "samples an update", *figures], rows),
    ]


def _runs(everything: list[Result]) -> list[str]:
    rows = []
    for r in everything:
        samples, seconds = r.total("Perf/samples"), r.total("Perf/train_time")
        speed = f"{samples / seconds:,.0f}" if seconds else ""
        done = f"{max(r.iterations, 0)} of {r.run.cfg.max_iterations}"
        figures = f"{samples / 1e6:.2f}", f"{seconds / 60:.1f}", speed
        rows.append([f"[{r.run.name}](runs/{r.run.name})", r.state, done, *figures])
    total = sum(r.total("Perf/train_time") for r in everything)
    samples = sum(r.total("Perf/samples") for r in everything)
    return [
        "",
        "## Runs",
        "",
        f"{samples / 1e6:,.1f} M samples in {total / 3600:.2f} h of training. Times are those of runs that may have "
        "shared the machine with others.",
        "",
        *_table(["run", "state", "iterations", "samples, million", "training, min", "samples/s"], rows),
    ]


def _how(first: Result, line: str, flags: Flags) -> list[str]:
    machine = ", ".join(
        f"{name} {value}" for name, value in describe_machine().items() if name != "load" and value
    )
    robots = [c.robots for c in first.classes] or [flags.robots]  # those that there are figures of
    commands = train_command(first.run), test_command(first.run, replace(flags, robots=robots[0]))
    return [
        "",
        "## How it was made",
        "",
        "```",
        line,
        "```",
        "",
        "Every run can be trained alone, from its folder's `config.yaml`, and goes on from its last checkpoint:",
        "",
        "```",
        *(f"python scripts/{Path(script).name} {shlex.join(rest)}" for _, script, *rest in commands),
        "```",
        "",
        f"Written {datetime.now():%Y-%m-%d %H:%M} on {machine}. Numbers of every run: `runs.csv`, `curves.csv`, "
        "`success.csv`, `commands.csv`.",
    ]


def _seeds(values: Sequence[float], digits: int = 3, whole: float | None = None) -> str:
    """Mean and interval over seeds; of shares, which cannot be less than none or more than `whole`."""
    mean, low, high = (float(value) for value in over_seeds(np.array(values)))
    if not np.isfinite(mean):
        return ""
    if whole is not None:
        low, high = max(low, 0.0), min(high, whole)
    return _interval(mean, low, high, digits) if np.isfinite(values).sum() > 1 else f"{mean:.{digits}f}"


def _interval(mean: float, low: float, high: float, digits: int) -> str:
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _share(share: float, low: float, high: float, seeds: Sequence[float] = ()) -> str:
    """A share with its interval, in per cent, and the least and the most of several seeds."""
    text = _interval(100 * share, 100 * low, 100 * high, 1)
    return f"{text} [{min(seeds):.0f}, {max(seeds):.0f}]" if len(seeds) > 1 else text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = (head, ["---"] * len(head), *rows)
    return ["| " + " | ".join(cells) + " |" for cells in lines]
