"""Keep a trained policy for others: `python scripts/ship.py --load_run RUN --name anymal_c_rough`.

`policies/<name>/` gets the weights alone, the configuration, the run's figures, and the exported files that drive a
robot; `--policy <name>` plays and evaluates it. `--refresh` writes the exported files of all of them anew, and the
command that trains each: recipes change.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

from algorithms import checkpoint
from algorithms.export import ONNX
from algorithms.trainer import BEST
from envs.legged_env import LeggedEnv
from runs.command import command, typed
from runs.config import save_config, train_command
from runs.export import JSON, export_run
from runs.flags import parse_flags, refuse
from runs.folders import POLICIES, Run, RunFlags, open_flags, output_name, shipped
from runs.plugins import hand_on
from terrains.ground import Plane

FIGURES = ("evaluation", "terrain", "terrain_mujoco", "commands")
"""What scripts/evaluate.py leaves in a run folder, as JSON."""
KEPT = ("metadata", "iteration", "train_time", "evaluation", "best_score")
"""What is kept of a checkpoint beside the weights; rsl_rl's have not all of it."""


@dataclass
class Flags(RunFlags):
    """Copy a run's policy into policies/, without what only training needs."""

    name: str = ""
    """Name of the policy; empty for the task's."""
    overwrite: bool = False
    """Replace a policy of that name."""
    refresh: bool = False
    """Ship nothing, but export every policy in policies/ anew, or --policy: after a change to exports or recipes."""


def main() -> int:
    """Copy; returns the exit status."""
    flags = parse_flags(Flags())
    if flags.refresh:
        for name in [flags.policy] if flags.policy else shipped():
            print(f"export {export(name)}", flush=True)
            renew_command(name)
        return 0
    refuse(flags, "needs --refresh", "policy")
    run = open_flags(flags)
    name = flags.name or run.cfg.task
    folder = POLICIES / name
    if folder.exists() and not flags.overwrite:
        raise ValueError(f"policy {name} exists; give another --name, or --overwrite")
    if missing := [key for key in KEPT if key not in run.content]:
        raise ValueError(f"{run.checkpoint_path} cannot be shipped: it lacks {', '.join(missing)}")
    # made elsewhere first: what fails leaves the policy that it would replace as it was
    with tempfile.TemporaryDirectory(dir=POLICIES, prefix=".") as temporary:
        made = Path(temporary) / POLICIES.name / name  # plugins' paths begin as those of the place to be
        made.mkdir(parents=True)
        train = make(run, flags.checkpoint, made)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)
    size = sum(path.stat().st_size for path in folder.glob("*.*")) / 1024
    print(f"policy {folder} ({size:.0f} KiB), made by: {train}")
    print(f"watch it: {typed('play')} --policy {name}")
    try:
        print(f"export {export(name)}")
    except ValueError as error:
        print(f"not exported: {error}")
    return 0


def make(run: Run, iteration: int, folder: Path) -> str:
    """Write a run's weights, configuration, plugins and figures into an empty folder; returns what trains it.

    `iteration` is `--checkpoint`. ValueError if the figures in the run folder are of another one.
    """
    weights = run.content.get("average") or run.content["policy"]
    kept = {key: run.content[key] for key in KEPT}
    checkpoint.save(folder / BEST, kept | {"policy": weights, "average": None})
    # where it was trained is nobody's business
    done = max(run.cfg.max_iterations, run.content["iteration"])  # --resume may have gone further
    anywhere = replace(
        run.cfg, log_dir="logs", run_name="", notes="", num_threads=0, device="auto", max_iterations=done
    )
    anywhere.plugin, robot = hand_on(run.folder, run.cfg.plugin, run.cfg.env.robot, folder)
    save_config(replace(anywhere, env=replace(run.cfg.env, robot=robot)), folder / "config.yaml")
    figures: dict[str, Any] = {
        "task": run.cfg.task,
        "train": train_command(anywhere),
        "checkpoint": run.checkpoint_path.name,
        "iteration": run.content["iteration"],
        "samples": run.content["iteration"] * run.cfg.num_envs * run.cfg.agent.ppo.num_steps,
        "train_time": round(run.content["train_time"], 1),
    }
    for kind in FIGURES:
        path = run.folder / f"{output_name(kind, iteration)}.json"
        if path.is_file():
            figures[kind] = _figures(json.loads(path.read_text()), run.checkpoint_path.name, path)
    _write(folder / "figures.json", figures)
    return figures["train"]


def export(name: str) -> Path:
    """Write what drives a robot beside a policy in policies/; returns its folder. TorchScript has no place there."""
    run = open_flags(RunFlags(policy=name))
    env = LeggedEnv(run.cfg.env, 1, "mujoco", "cpu", num_threads=1, ground=Plane())
    return export_run(run, env, run.folder / "exported", (ONNX, JSON))


def renew_command(name: str) -> None:
    """Say by which command today's program trains a policy in policies/."""
    path = POLICIES / name / "figures.json"
    figures = json.loads(path.read_text())
    _write(path, figures | {"train": train_command(open_flags(RunFlags(policy=name)).cfg)})


def _write(path: Path, figures: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(figures, file, indent=1)
    os.replace(file.name, path)
    path.chmod(0o644)


def _figures(report: dict[str, Any], used: str, path: Path) -> dict[str, Any]:
    """A report's figures; ValueError if it is of another checkpoint."""
    if report["checkpoint"] != used:
        raise ValueError(f"{path} is about {report['checkpoint']}, not {used}; run scripts/evaluate.py again")
    return {key: value for key, value in report.items() if key not in ("run", "task", "train_time")}


if __name__ == "__main__":
    command(main)
