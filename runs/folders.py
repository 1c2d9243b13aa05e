"""Run folders: `logs/<experiment>/<date>_<time>_<run_name>/` with configuration, checkpoints and results."""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import torch

from algorithms import checkpoint
from algorithms.networks import ActorCritic
from algorithms.trainer import BEST, make_policy
from envs.legged_env import LeggedEnv
from envs.tasks import all_tasks, get_task
from evaluation.terrain import PAPER
from physics import choose_device
from robots.config import nearest
from runs.config import RunConfig, load_config
from runs.plugins import KEPT, load_more
from runs.rsl_rl_checkpoints import converted, is_rsl_rl


@dataclass
class RunFlags:
    """Flags that name a trained run."""

    task: str = ""
    """Task of the run; empty for any."""
    policy: str = ""
    """Name of a policy in policies/, instead of a run of your own."""
    load_run: str = ""
    """Run folder (name or path), empty or -1 for the newest: the last one at work."""
    checkpoint: int = -1
    """Iteration, -1 for the best by evaluation, or else the last."""
    log_dir: str = "logs"
    """Folder of all experiments."""
    experiment_name: str = ""
    """Folder in it whose runs are looked through; empty for all."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: whatever it was trained on, it goes on with what is here."""
    plugin: tuple[str, ...] = ()
    """Files or packages of your own, besides those that the run keeps: for another kind of terrain, say."""


POLICIES = Path(__file__).resolve().parent.parent / "policies"
"""Trained policies that come with the repository, a folder each."""


def shipped() -> list[str]:
    """Names of those policies."""
    return sorted(path.parent.name for path in POLICIES.glob("*/config.yaml"))


def is_shipped(folder: Path) -> bool:
    """Whether a folder is one of theirs, where nothing is ever written but by scripts/ship.py."""
    return folder.resolve().is_relative_to(POLICIES)


@dataclass
class Run:
    """A trained run, opened for use."""

    folder: Path
    cfg: RunConfig
    checkpoint_path: Path
    content: dict[str, Any]
    """The checkpoint, as saved."""

    @property
    def output(self) -> Path:
        """Where what is made of it goes: the run folder; of a policy in policies/, a folder in the logs."""
        folder = self.folder
        if is_shipped(folder):
            folder = Path(self.cfg.log_dir) / "policies" / folder.name
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def report(run: Run, results: dict[str, Any], **measured: Any) -> str:
    """Figures of a run, what they are of and how they were measured, as JSON."""
    content = {
        "run": run.folder.name,
        "task": run.cfg.task,
        "checkpoint": run.checkpoint_path.name,
        "iteration": run.content["iteration"],
        "train_time": run.content.get("train_time"),
    }
    return json.dumps(_plain(content | measured | results), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """The same with null for numbers that are not finite: JSON has none."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(item: dict[str, Any]) -> dict[str, Any]:
    """What `report` wrote null for, as numbers again: `object_hook` of JSON's."""
    return {name: math.nan if value is None else value for name, value in item.items()}


def output_name(
    what: str,
    checkpoint: int = -1,
    engine: str = "auto",
    cell: float = 0.0,
    shapes: tuple[str, ...] = PAPER,
) -> str:
    """Name of what is made of a run, without its ending; what flags choose otherwise than by default has its own.

    Args:
        what: `terrain`, say.
        checkpoint: iteration; -1 for the one that is taken where none is named.
        engine: physics engine.
        cell: spacing of the map's vertices, m; 0 for that of the training.
        shapes: kinds of terrain, in any order; `terrain` alone is about them.
    """
    marks = [what]
    if engine != "auto":
        marks.append(engine)
    if cell:
        marks.append(f"cell{cell:g}")
    if checkpoint >= 0:
        marks.append(f"model_{checkpoint}")
    if what == "terrain" and set(shapes) != set(PAPER):
        marks += sorted(set(shapes))
    return "_".join(marks)


def experiment_folder(cfg: RunConfig) -> Path:
    """Where the runs of a task go."""
    return Path(cfg.log_dir) / (cfg.experiment_name or cfg.task)


def create_run_folder(cfg: RunConfig) -> Path:
    """Make a new run folder, numbered where several begin in one second; ValueError if it cannot be made."""
    check_names(cfg)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    first = experiment_folder(cfg) / (f"{stamp}_{cfg.run_name}" if cfg.run_name else stamp)
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if not folder.is_dir():
                raise ValueError(f"run folder {folder} cannot be made: there is a file") from error
        except OSError as error:
            raise ValueError(f"run folder {folder} cannot be made ({error.strerror})") from error
    raise AssertionError


NOTE = "TROT_RUN_NOTE"
"""Environment variable: a file that a training writes its run folder's path to, for the program that started it."""


def tell(folder: Path) -> None:
    """Write where a run is into the file that `NOTE` names, if it names one."""
    if note := os.environ.get(NOTE):
        Path(note).write_text(str(folder))


def check_names(cfg: RunConfig) -> None:
    """ValueError for names that would lead out of the folder of logs, or that no shell could type."""
    for flag, name, parts in (
        ("run_name", cfg.run_name, [cfg.run_name]),
        ("experiment_name", cfg.experiment_name, cfg.experiment_name.split("/")),
    ):
        if (
            any(part in (".", "..") or re.search(r"[/\\\x00-\x1f]", part) for part in parts)
            or name[:1] == "/"
        ):
            raise ValueError(f"--{flag} {name!r} must be a name: no .., no control characters, no leading /")


def find_run(flags: RunFlags, any_learner: bool = False) -> Path:
    """The run folder that flags name, or the newest with a checkpoint.

    Args:
        flags: what is looked for.
        any_learner: the newest may be a run of rsl_rl, which can be played but not resumed.

    Raises:
        ValueError: none is there, or several; the sentence lists what is.
    """
    logs, name = Path(flags.log_dir), "" if flags.load_run == "-1" else flags.load_run
    path = Path(name)
    found = (logs / flags.experiment_name).glob("*") if flags.experiment_name else logs.glob("*/*")
    runs = sorted((run for run in found if run.is_dir()), key=_age)
    task = _task_name(flags.task, [path, *runs]) if flags.task else ""
    if not name:
        for run in reversed(runs):
            trained = checkpoint.available(run) and (any_learner or saved_value(run, "learner") != "rsl_rl")
            saved = saved_value(run, "task")
            if trained and (saved == task if task else saved in all_tasks() or (run / KEPT).is_dir()):
                return run
        raise ValueError(
            f"no trained run{task and f' of {task}'} in {logs / flags.experiment_name}; "
            "train one first with scripts/train.py"
        )
    named = [path] if (path / "config.yaml").is_file() else [run for run in runs if run.name == name]
    if not named and path.is_dir():
        raise ValueError(f"{name} is no run folder: it has no config.yaml")
    if not named:
        names = [run.name for run in runs]
        shown = f"; it has {', '.join(names[-5:])}" if names else ", which is empty or missing"
        raise ValueError(f"no run {name!r} in {logs / flags.experiment_name}{shown}.{nearest(name, names)}")
    fitting = [run for run in named if not task or saved_value(run, "task") in ("", task)]
    if not fitting:
        raise ValueError(
            f"run {named[0]} trains {saved_value(named[0], 'task')}, not {task}; leave --task out"
        )
    if len(fitting) > 1:
        raise ValueError(
            f"--load_run {name} could be {' or '.join(map(str, fitting))}; give one of these paths"
        )
    return fitting[0]


def _task_name(name: str, runs: list[Path]) -> str:
    """The task that a flag means; one of a plugin is known by its runs before they bring it. Else ValueError."""
    try:
        return get_task(name).name
    except ValueError:
        key = name.replace("-", "_")
        if not any(saved_value(run, "task") == key for run in runs):
            raise
        return key


def _age(run: Path) -> tuple[float, str]:
    """When a run was last at work, whatever its folder is called now: its newest checkpoint; else its name."""
    checkpoints = checkpoint.available(run).values()
    return max((path.stat().st_mtime for path in checkpoints), default=0.0), run.name


def saved_value(folder: Path, name: str) -> str:
    """A plain value of a run's configuration, without reading the whole; empty where there is none."""
    path = folder / "config.yaml"
    match = re.search(rf"^{name}: (\S+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return match[1] if match else ""


@contextmanager
def locked(folder: Path) -> Iterator[IO[str]]:
    """Keep a folder to this program; ValueError if another one has it."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another program is at work in {folder}") from error
        yield file


def checkpoint_path(folder: Path, iteration: int = -1) -> Path:
    """Checkpoint of an iteration, or the last; ValueError with the iterations there are."""
    available = checkpoint.available(folder)
    if not available:
        raise ValueError(f"run folder {folder} has no checkpoint")
    if iteration < 0:
        return list(available.values())[-1]
    if iteration not in available:
        known = ", ".join(map(str, available))
        raise ValueError(f"run folder {folder} has no checkpoint {iteration}; it has {known}")
    return available[iteration]


def open_run(
    task: str = "",
    experiment_name: str = "",
    log_dir: str = "logs",
    load_run: str = "",
    iteration: int = -1,
    best: bool = True,
    device: str = "cpu",
) -> Run:
    """Open a trained run.

    Args:
        task: task of the run; empty for any.
        experiment_name: folder of the runs; empty for all.
        log_dir: folder of all experiments.
        load_run: run folder, name or path; empty for the newest.
        iteration: checkpoint; -1 for the best by evaluation if there is one and `best`, else the last.
        best: see `iteration`.
        device: where tensors are loaded to.

    Raises:
        ValueError: with one sentence that says what is missing or damaged.
    """
    flags = RunFlags(task, load_run=load_run, log_dir=log_dir, experiment_name=experiment_name)
    folder = find_run(flags, any_learner=True)
    cfg = load_config(folder / "config.yaml")
    path = folder / BEST
    if iteration >= 0 or not best or not path.is_file():
        path = checkpoint_path(folder, iteration)
    return Run(folder, cfg, path, load_checkpoint(path, cfg.task, device))


def open_flags(flags: RunFlags) -> Run:
    """Open the run, or the shipped policy, that flags name; ValueError as `open_run`."""
    folder = flags.load_run
    if flags.policy:
        known = shipped()
        if flags.load_run:
            raise ValueError("--policy and --load_run exclude each other; give one of them")
        if flags.policy not in known:
            raise ValueError(
                f"no policy {flags.policy!r} in policies/; it has {', '.join(known)}.{nearest(flags.policy, known)}"
            )
        folder = str(POLICIES / flags.policy)
    run = open_run(flags.task, flags.experiment_name, flags.log_dir, folder, flags.checkpoint)
    load_more(flags.plugin, run.cfg.plugin)
    choose_device(flags.device)  # refuses what there is not, also where the command does without
    run.cfg.device, run.cfg.log_dir = flags.device, flags.log_dir
    return run


NEEDED = ("metadata", "policy", "iteration")
"""What every checkpoint holds."""


def load_checkpoint(path: Path, task: str, device: str) -> dict[str, Any]:
    """Read a checkpoint of a task, ours or rsl_rl's; ValueError if it is damaged, foreign or another task's."""
    try:
        content = checkpoint.read(path, device)
        theirs = is_rsl_rl(content)
        content = converted(content, path, task) if theirs else checkpoint.load(path, device)
    except ValueError as error:
        raise ValueError(f"{error}{_readable(path)}") from error
    if missing := [name for name in NEEDED if name not in content]:
        raise ValueError(f"checkpoint {path} is damaged: it lacks {', '.join(missing)}{_readable(path)}")
    weights = [*content["policy"].values(), *(content.get("average") or {}).values()]
    if not all(torch.isfinite(x).all() for x in weights):
        raise ValueError(f"checkpoint {path} holds weights that are not finite numbers{_readable(path)}")
    trained_on = content["metadata"].get("task")
    if trained_on != task:
        raise ValueError(f"checkpoint {path} was trained on {trained_on}, its folder is for {task}")
    return content


def _readable(damaged: Path) -> str:
    """What to give instead of a damaged checkpoint."""
    for iteration, path in reversed(checkpoint.available(damaged.parent).items()):
        with suppress(ValueError):
            if path != damaged and checkpoint.load(path):
                return f"; the newest that can be read: --checkpoint {iteration}"
    return ""


def initial_weights(cfg: RunConfig, env: LeggedEnv) -> dict[str, Any]:
    """Weights that `init_from` names, the best by evaluation or else the last; ValueError if they do not fit."""
    name = cfg.init_from
    flags = RunFlags(load_run=name, log_dir=cfg.log_dir)
    folder = POLICIES / name if name in shipped() else find_run(flags)
    path = folder / BEST if (folder / BEST).is_file() else checkpoint_path(folder)
    content = load_checkpoint(path, saved_value(folder, "task"), str(env.device))
    weights = content.get("average") or content["policy"]
    try:
        make_policy(env, cfg.agent).load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"--init_from {name} does not fit this task and its networks ({reason})") from error
    return weights


def load_policy(run: Run, env: LeggedEnv) -> ActorCritic:
    """What a run made (the average, if it kept one), for inference; ValueError if it does not fit `env`."""
    policy = make_policy(env, run.cfg.agent)
    try:
        policy.load_state_dict(run.content.get("average") or run.content["policy"])
    except RuntimeError as error:
        raise ValueError(f"checkpoint {run.checkpoint_path} does not fit task {run.cfg.task}") from error
    return policy.eval()
