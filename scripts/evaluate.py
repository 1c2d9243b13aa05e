"""Measure a trained policy: `python scripts/evaluate.py --num_envs 2048 --json figures.json`."""

from __future__ import annotations

import copy
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from algorithms import Actor
from envs.legged_env import LeggedEnv
from evaluation.commands import command_test
from evaluation.terrain import PAPER, check_shapes, success_test
from evaluation.walking import Evaluation, evaluate, evaluation_config
from physics import choose_device
from runs.command import check_output, command, set_threads
from runs.flags import parse_flags, refuse
from runs.folders import Run, RunFlags, load_policy, open_flags, output_name, report
from viewers.bars import plot_evaluation, plot_success
from viewers.tables import evaluation_line, print_commands, print_evaluation, print_success, success_line


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
    """Spacing of the map's vertices, m; 0 for that of the training."""
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
    check_shapes(flags.shapes)  # a plugin of the run may have brought them
    run.cfg.device, why = choose_device(flags.device, flags.engine, run.cfg.env.robot)
    print(f"device {run.cfg.device} ({why})", flush=True)
    run.cfg.env.terrain.cell = flags.cell or run.cfg.env.terrain.cell
    check_output(run.output / "evaluation.json")
    title = f"{run.cfg.task}, {run.folder.name}, {run.checkpoint_path.name}"
    where: dict[str, Any] = {"engine": flags.engine, "device": run.cfg.device, "num_threads": threads}

    def act(env: LeggedEnv) -> Actor:
        return Actor(load_policy(run, env))

    if flags.terrain:
        cells = success_test(run.cfg.env, act, flags.shapes, flags.robots, flags.seed, **where)
        print_success(cells, title)
        picture = save(run, flags, "terrain", {"cells": [asdict(cell) for cell in cells]})
        plot_success(cells, picture, f"{run.cfg.task}, {run.folder.name}")
        print(f"picture: {picture}")
        print(success_line(cells))
    if flags.commands:
        classes = command_test(run.cfg.env, act, flags.robots, flags.seed, **where)
        print_commands(classes, title)
        save(run, flags, "commands", {"classes": [asdict(result) for result in classes]})
        print(" ".join(f"{result.name}={result.followed:.3f}" for result in classes))
    if flags.terrain or flags.commands:
        return 0
    results = {"nominal": measure(run, flags, threads, push=False)}
    results |= {"pushed": measure(run, flags, threads, push=True)} if flags.push else {}
    print_evaluation(results, title)
    figures = {name: asdict(result) for name, result in results.items()}
    picture = save(run, flags, "evaluation", figures)
    plot_evaluation(figures, picture)
    print(f"picture: {picture}")
    print(evaluation_line(results))
    return 0


def measure(run: Run, flags: Flags, threads: int, push: bool) -> Evaluation:
    """Figures of a run's policy in a fresh environment."""
    cfg = evaluation_config(copy.deepcopy(run.cfg.env), flags.seconds, push)
    env = LeggedEnv(cfg, flags.num_envs, flags.engine, run.cfg.device, threads, flags.seed)
    return evaluate(env, Actor(load_policy(run, env)), flags.seconds, flags.segment, flags.limit, flags.seed)


def save(run: Run, flags: Flags, name: str, results: dict[str, Any]) -> Path:
    """Write figures into the run folder, and where the flags say; returns where a picture of them goes."""
    name = output_name(name, flags.checkpoint, flags.engine, flags.cell, flags.shapes)
    path = run.output / f"{name}.json"
    text = report(run, results, engine=flags.engine, seed=flags.seed)
    path.write_text(text)
    if flags.json:
        Path(flags.json).write_text(text)
    print(f"figures: {path}")
    (run.output / "plots").mkdir(exist_ok=True)
    return run.output / "plots" / f"{name}.png"


def validate(flags: Flags) -> None:
    """ValueError with one sentence for values that cannot work."""
    if not flags.cell >= 0.0:
        raise ValueError(f"--cell must not be negative, not {flags.cell:g}")
    for name in ("robots", "num_envs"):
        if getattr(flags, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(flags, name)}")
    if not flags.seconds > 0 or not flags.segment > 0:
        raise ValueError("--seconds and --segment must be greater than 0")
    if not flags.terrain:
        refuse(flags, "needs --terrain", "shapes")
    if flags.terrain or flags.commands:
        refuse(flags, "is not for --terrain or --commands", "num_envs", "seconds", "segment", "limit", "push")
    else:
        refuse(flags, "needs --terrain or --commands", "robots")
    if flags.json and flags.terrain and flags.commands:
        raise ValueError("--json takes the figures of one test: give --terrain or --commands")
    if flags.json:
        check_output(Path(flags.json), "--json")


if __name__ == "__main__":
    command(main)
