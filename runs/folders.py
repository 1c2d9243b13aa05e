"""Run folders: `logs/<experiment>/<date>_<time>_<run_name>/` with configuration, checkpoints and results."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import torch

from algorithms import checkpoint
from algorithms.distributed import Ranks
from algorithms.networks import ActorCritic
from algorithms.trainer import BEST, NonFiniteError, make_policy
from envs.legged_env import LeggedEnv
from envs.tasks import all_tasks, get_task
from physics import choose_device
from robots.config import nearest
from runs.config import RunConfig, load_config
from runs.memory import is_out_of_memory


@dataclass
class RunFlags:
    """Flags that name a trained run."""

    task: str = ""
    """Task of the run; empty for any."""
    policy: str = ""
    """Name of a policy in policies/, instead of a run of your own."""
    load_run: str = ""
    """Run folder (name or path), empty for the newest."""
    checkpoint: int = -1
    """Iteration, -1 for the best by evaluation, or else the last."""
    log_dir: str = "logs"
    """Folder of all experiments."""
    experiment_name: str = ""
    """Folder in it whose runs are looked through; empty for all."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: whatever it was trained on, it goes on with what is here."""


POLICIES = Path(__file__).resolve().parent.parent / "policies"
"""Trained policies that come with the repository, a folder each."""


def shipped() -> list[str]:
    """Names of those policies."""
    return sorted(path.parent.name for path in POLICIES.glob("*/config.yaml"))


@dataclass
class Run:
    """A trained run, opened for use."""

    folder: Path
    cfg: RunConfig
    checkpoint_path: Path
    content: dict[str, Any]
    """The checkpoint, as saved."""


def experiment_folder(cfg: RunConfig) -> Path:
    """Where the runs of a task go."""
    return Path(cfg.log_dir) / (cfg.experiment_name or cfg.task)


def create_run_folder(cfg: RunConfig) -> Path:
    """Make a new run folder; ValueError if that is impossible or it already exists."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = experiment_folder(cfg) / (f"{stamp}_{cfg.run_name}" if cfg.run_name else stamp)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ValueError(f"run folder {folder} already exists; give another --run_name") from error
    except OSError as error:
        raise ValueError(f"run folder {folder} cannot be made ({error.strerror})") from error
    return folder


def find_run(flags: RunFlags) -> Path:
    """The run folder that flags name, or the newest with a checkpoint.

    Raises:
        ValueError: none is there, or several; the sentence lists what is.
    """
    logs, name, path = Path(flags.log_dir), flags.load_run, Path(flags.load_run)
    task = get_task(flags.task).name if flags.task else ""
    found = (logs / flags.experiment_name).glob("*") if flags.experiment_name else logs.glob("*/*")
    runs = sorted((run for run in found if run.is_dir()), key=lambda run: run.name)
    if not name:
        for run in reversed(runs):
            trained = checkpoint.available(run) and saved_value(run, "learner") != "rsl_rl"
            if trained and saved_value(run, "task") in ([task] if task else all_tasks()):
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


def set_aside(folder: Path, iteration: int) -> Path | None:
    """Move checkpoints after `iteration` into a folder of their own: a run that branches off there will make others.

    Returns:
        that folder; None if there was nothing to move.
    """
    later = [path for number, path in checkpoint.available(folder).items() if number > iteration]
    later += [part for path in later for part in folder.glob(f"{path.stem}.rank*.pt")]
    if not later:
        return None
    best = folder / BEST
    if best.is_file() and checkpoint.load(best)["iteration"] > iteration:
        later.append(best)
    aside = folder / f"set_aside_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    aside.mkdir()
    for path in later:
        path.rename(aside / path.name)
    return aside


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
    folder = find_run(RunFlags(task, load_run=load_run, log_dir=log_dir, experiment_name=experiment_name))
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
    choose_device(flags.device)  # refuses what there is not, also where the command does without
    run.cfg.device = flags.device
    return run


def load_checkpoint(path: Path, task: str, device: str) -> dict[str, Any]:
    """Read a checkpoint of a task; ValueError if it is damaged, foreign or another task's."""
    try:
        content = checkpoint.load(path, device)
    except ValueError as error:
        raise ValueError(f"{error}{_readable(path)}") from error
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


def load_own_checkpoint(path: Path, task: str, device: str, ranks: Ranks) -> dict[str, Any]:
    """`load_checkpoint` for one of several processes: with its own robots, if as many wrote it."""
    content = load_checkpoint(path, task, device)
    if not ranks.first and content.get("ranks", 1) == ranks.size:
        content |= checkpoint.load(checkpoint.part(path, ranks.rank), device)
    return content


def remember(folder: Path) -> None:
    """Leave word of the run folder for the processes that torchrun starts in place of these if one of them ends."""
    if (note := _note()) and os.environ.get("LOCAL_RANK") == "0":
        note.write_text(str(folder.resolve()))


def remembered() -> Path | None:
    """The run folder of the processes before these; None where torchrun did not start any."""
    note = _note()
    return Path(note.read_text()) if note and note.is_file() else None


def _note() -> Path | None:
    """A file in the folder that torchrun makes for each launch on each machine; None without torchrun."""
    error_file = os.environ.get(
        "TORCHELASTIC_ERROR_FILE"
    )  # <that folder>/attempt_<n>/<local rank>/error.json
    return Path(error_file).parents[2] / "trot_run_folder" if error_file else None


def move_checkpoint(content: dict[str, Any], device: str, seed: int) -> bool:
    """Make a training's checkpoint one of this kind of device, in place; returns whether it was of another kind.

    Random numbers of a GPU cannot be continued on a CPU, nor the other way around: they start anew, from a seed that
    no part of the run had.

    Raises:
        ValueError: it holds weights alone, as those in policies/ do.
    """
    if "ppo" not in content:
        raise ValueError("this checkpoint holds weights alone: it can be played and evaluated, not resumed")
    for group in content["ppo"]["optimizer"]["param_groups"]:
        group["capturable"] = device != "cpu"
    fresh = torch.Generator(device).manual_seed(seed + content["iteration"]).get_state()
    moved = len(fresh) != len(content["generator"])
    if moved:
        content["generator"] = content["env"]["generator"] = fresh
    return moved


def load_policy(run: Run, env: LeggedEnv) -> ActorCritic:
    """What a run made (the average, if it kept one), for inference; ValueError if it does not fit `env`."""
    policy = make_policy(env, run.cfg.agent)
    try:
        policy.load_state_dict(run.content.get("average") or run.content["policy"])
    except RuntimeError as error:
        raise ValueError(f"checkpoint {run.checkpoint_path} does not fit task {run.cfg.task}") from error
    return policy.eval()


def set_threads(num_threads: int) -> int:
    """Give torch and the physics the same number of threads, 0 for one per core; returns it.

    Processes that torchrun started on this machine share the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    count = num_threads or max(share, 1)
    torch.set_num_threads(count)
    return count


def command(main: Callable[[], int | None]) -> None:
    """Run a command: bad input, a failed file, lasting non-finite numbers or no memory left end in one sentence.

    The exit status is then 2.
    """
    try:
        sys.exit(main() or 0)
    except (ValueError, OSError, NonFiniteError) as error:
        sentence = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sentence = "out of memory; give fewer robots"
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(2)
