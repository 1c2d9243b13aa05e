"""Measure a trained policy: `python scripts/evaluate.py --num_envs 2048 --json figures.json`.

With `--terrain` it is the paper's success test on every kind of terrain over its difficulties, with `--commands` a
test of classes of commands.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from rich.console import Console
from rich.table import Table

from algorithms import Actor
from envs.legged_env import LeggedEnv
from evaluation.commands import COMMANDS, CommandResult, command_test
from evaluation.terrain import AXES, PAPER, Cell, check_shapes, success_test
from evaluation.walking import Evaluation, evaluate, evaluation_config
from physics import choose_device
from runs.command import command, set_threads
from runs.config import parse_flags
from runs.folders import Run, RunFlags, load_policy, open_flags
from viewers.bars import plot_evaluation, plot_success


@dataclass
class Flags(RunFlags):
    """Evaluate a policy: deterministic, nominal robot, with and without pushes."""

    num_envs: int = 2048
    """Robots."""
    seconds: float = 20.0
    """Length, s."""
    segment: float = 5.0
    """Time between new commands, s."""
    limit: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Largest command: forward and sideways m/s, yaw rad/s."""
    push: bool = True
    """Also evaluate with pushes of +-1 m/s every 10 s."""
    terrain: bool = False
    """Success test instead: can the policy cross each kind of terrain at 0.75 m/s, and how difficult?"""
    shapes: tuple[str, ...] = PAPER
    """Kinds of terrain for it."""
    commands: bool = False
    """Test of classes of commands instead (or besides): forward, slow, sideways, turning, standing."""
    cell: float = 0.0
    """Spacing of the map's vertices for these tests, m; 0 for that of the training."""
    robots: int = 200
    """Robots for each kind and difficulty, or each class of commands."""
    seed: int = 1
    """Seed of commands and starts."""
    engine: str = "auto"
    """Physics engine; another than in training proves that the policy is not tied to it."""
    num_threads: int = 0
    """Threads, 0 for one per core."""
    json: str = ""
    """File for the figures, besides the one in the run folder."""


def main() -> int:
    """Evaluate; the last line printed is `key=value` figures."""
    flags = parse_flags(Flags())
    validate(flags)
    threads = set_threads(flags.num_threads)
    run = open_flags(flags)
    run.cfg.device, why = choose_device(flags.device, flags.engine, run.cfg.env.robot)
    print(f"device {run.cfg.device} ({why})", flush=True)
    run.cfg.env.terrain.cell = flags.cell or run.cfg.env.terrain.cell
    if flags.terrain or flags.commands:
        if flags.terrain:
            test_terrain(run, flags, threads)
        if flags.commands:
            test_commands(run, flags, threads)
        return 0
    results = {"nominal": measure(run, flags, threads, push=False)}
    if flags.push:
        results["pushed"] = measure(run, flags, threads, push=True)
    show(run, results)
    picture = write_report(run, flags, "evaluation", {name: asdict(r) for name, r in results.items()})
    plot_evaluation({name: asdict(result) for name, result in results.items()}, picture)
    print(f"picture: {picture}")
    nominal = results["nominal"]
    line = {
        "lin_vel_error": nominal.lin_vel_error,
        "ang_vel_error": nominal.ang_vel_error,
        "falls": nominal.falls,
        "cost_of_transport": nominal.cost_of_transport,
        "foot_slip": nominal.foot_slip,
        "air_time": nominal.air_time,
        "collisions": nominal.collisions,
        "duty_factor": sum(nominal.duty_factor) / len(nominal.duty_factor),
    }
    if "pushed" in results:
        line["pushed_falls"] = results["pushed"].falls
        line["pushed_lin_vel_error"] = results["pushed"].lin_vel_error
    print(" ".join(f"{name}={value:.4f}" for name, value in line.items()))
    return 0


def write_report(run: Run, flags: Flags, name: str, results: dict[str, Any]) -> Path:
    """Write figures and where they come from, as JSON; returns where a picture of them goes."""
    report = {
        "run": run.folder.name,
        "task": run.cfg.task,
        "checkpoint": run.checkpoint_path.name,
        "iteration": run.content["iteration"],
        "train_time": run.content["train_time"],
        "engine": flags.engine,
        "seed": flags.seed,
        **results,
    }
    text = json.dumps(report, indent=1)
    plots = run.folder / "plots"
    plots.mkdir(exist_ok=True)
    # what another engine or map says stands beside, not instead
    engine = "" if flags.engine == "auto" else f"_{flags.engine}"
    cell = f"_cell{flags.cell:g}" if flags.cell else ""
    path = run.folder / f"{name}{engine}{cell}.json"
    path.write_text(text)
    if flags.json:
        Path(flags.json).write_text(text)
    print(f"figures: {path}")
    return plots / path.with_suffix(".png").name


def test_terrain(run: Run, flags: Flags, threads: int) -> None:
    """The success test; the last line printed is the mean success of each kind."""
    cells = success_test(
        run.cfg.env,
        lambda env: Actor(load_policy(run, env)),
        flags.shapes,
        flags.robots,
        seed=flags.seed,
        engine=flags.engine,
        device=run.cfg.device,
        num_threads=threads,
    )
    show_cells(run, cells)
    picture = write_report(run, flags, "terrain", {"cells": [asdict(cell) for cell in cells]})
    plot_success(cells, picture, f"{run.cfg.task}, {run.folder.name}")
    print(f"picture: {picture}")
    means = {name: [cell.success for cell in cells if cell.shape == name] for name in flags.shapes}
    print(" ".join(f"{name}={sum(values) / len(values):.3f}" for name, values in means.items()))


def test_commands(run: Run, flags: Flags, threads: int) -> None:
    """The test of classes of commands; the last line printed is the share that was followed of each."""
    results = command_test(
        run.cfg.env,
        lambda env: Actor(load_policy(run, env)),
        flags.robots,
        seed=flags.seed,
        engine=flags.engine,
        device=run.cfg.device,
        num_threads=threads,
    )
    show_commands(run, results)
    write_report(run, flags, "commands", {"classes": [asdict(result) for result in results]})
    print(" ".join(f"{result.name}={result.followed:.3f}" for result in results))


def show_commands(run: Run, results: list[CommandResult]) -> None:
    """Print the table of the test of commands."""
    table = Table(
        title=f"commands followed, %: {run.cfg.task}, {run.folder.name}, {run.checkpoint_path.name}"
    )
    for title in ("class", "vx, vy, yaw rate", "followed", "95 % interval", "tracked", "falls"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for result in results:
        shares = (f"{100 * share:.1f}" for share in (result.followed, result.tracked, result.falls))
        followed, tracked, falls = shares
        interval = f"{100 * result.low:.1f} to {100 * result.high:.1f}"
        command_text = " ".join(f"{value:g}" for value in COMMANDS[result.name])
        table.add_row(result.name, command_text, followed, interval, tracked, falls)
    Console().print(table)


def show_cells(run: Run, cells: list[Cell]) -> None:
    """Print the table of the success test."""
    table = Table(title=f"success, %: {run.cfg.task}, {run.folder.name}, {run.checkpoint_path.name}")
    for title in ("terrain", "", "success", "95 % interval", "falls", "time, s"):
        table.add_column(title, justify="left" if title == "terrain" else "right")
    before = ""
    for cell in cells:
        name = "" if cell.shape == before else f"{cell.shape} ({AXES[cell.shape].label})"
        interval = f"{100 * cell.low:.1f} to {100 * cell.high:.1f}"
        shares = f"{100 * cell.success:.1f}", interval, f"{100 * cell.falls:.1f}"
        table.add_row(name, f"{cell.value:g}", *shares, f"{cell.time:.1f}")
        before = cell.shape
    Console().print(table)


def validate(flags: Flags) -> None:
    """ValueError with one sentence for values that cannot work."""
    if not flags.cell >= 0.0:
        raise ValueError(f"--cell must not be negative, not {flags.cell:g}")
    if flags.robots < 1:
        raise ValueError(f"--robots must be at least 1, not {flags.robots}")
    check_shapes(flags.shapes)
    if flags.num_envs < 1:
        raise ValueError(f"--num_envs must be at least 1, not {flags.num_envs}")
    if not flags.seconds > 0 or not flags.segment > 0:
        raise ValueError("--seconds and --segment must be greater than 0")
    if flags.json and flags.terrain and flags.commands:
        raise ValueError("--json takes the figures of one test: give --terrain or --commands")
    if flags.json and not Path(flags.json).resolve().parent.is_dir():
        raise ValueError(f"--json {flags.json}: the folder does not exist")


def measure(run: Run, flags: Flags, threads: int, push: bool) -> Evaluation:
    """Figures of a run's policy in a fresh environment."""
    cfg = evaluation_config(copy.deepcopy(run.cfg.env), flags.seconds, push)
    env = LeggedEnv(cfg, flags.num_envs, flags.engine, run.cfg.device, threads, flags.seed)
    policy = load_policy(run, env)
    return evaluate(env, Actor(policy), flags.seconds, flags.segment, flags.limit, flags.seed)


def show(run: Run, results: dict[str, Evaluation]) -> None:
    """Print the table."""
    table = Table(title=f"{run.cfg.task}, {run.folder.name}, {run.checkpoint_path.name}")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")

    def row(label: str, key: str, scale: float = 1.0, digits: int = 3) -> None:
        values = (getattr(result, key) for result in results.values())
        table.add_row(label, *(_cell(value, scale, digits) for value in values))

    row("velocity error, m/s", "lin_vel_error")
    row("  95th percentile", "lin_vel_error_p95")
    row("  without first second", "lin_vel_error_settled")
    row("yaw rate error, rad/s", "ang_vel_error")
    row("  95th percentile", "ang_vel_error_p95")
    row("  without first second", "ang_vel_error_settled")
    row("falls, %", "falls", 100.0, 2)
    row("cost of transport", "cost_of_transport", digits=2)
    row("foot slip, m/s", "foot_slip")
    row("swing, s", "air_time")
    row("duty factor", "duty_factor", digits=2)
    row("touchdowns, 1/s", "touchdowns", digits=2)
    row("knees or shanks down, %", "collisions", 100.0, 2)
    Console().print(table)


def _cell(value: float | list[float], scale: float, digits: int) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{scale * v:.{digits}f}" for v in values)


if __name__ == "__main__":
    command(main)
