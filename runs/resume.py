"""A run that goes on: by flags, on another kind of device, or in processes that took the place of others."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from algorithms import Trainer, checkpoint
from algorithms.distributed import Ranks
from algorithms.trainer import BEST
from physics import choose_device
from runs.config import RunConfig, change_saved, changes, load_config, parse, to_plain
from runs.flags import as_flags, peek
from runs.folders import RunFlags, is_shipped, load_checkpoint, saved_value, tell
from runs.help import take_help
from runs.plugins import say_differing


@dataclass
class ResumeFlags(RunFlags):
    """Flags that say which run goes on, and how far; where it is, the rest of its configuration is too."""

    resume: bool = False
    more_iterations: int = 0
    until_solved: bool = False


def asked_to_resume() -> ResumeFlags:
    """What the command line says of it; the rest is for others to read."""
    args, _ = take_help(sys.argv[1:])
    flags, _ = peek(ResumeFlags(), as_flags(args, RunConfig()))
    return flags


APPLIED = {"max_iterations", "device", "engine", "num_threads", "check", "graphs", "compile", "until_solved"}
APPLIED |= {"logger", "notes", "viewer", "port", "video_every"}
"""Flags that may change a run that goes on."""
ACCEPTED = {f.name for f in fields(ResumeFlags)} | {"headless", "sim_device", "rl_device"}
"""Flags that are no part of a run."""


def resume_config(folder: Path) -> RunConfig:
    """The saved configuration with the flags that may change on resume; everything else must stay.

    The run goes on where it was, or by `--device auto` on a machine that lacks the device it was given.
    """
    if is_shipped(folder):
        raise ValueError(
            f"{folder} is a policy that came along: it can be played and evaluated, not resumed; "
            "start a new run (its figures.json has the command that trained it)"
        )
    if (folder / BEST).is_file() and not checkpoint.available(folder):
        raise ValueError(
            f"{folder} has no checkpoint to go on from: its model_<iteration>.pt are gone, and going on from "
            "nothing would write over what it holds"
        )
    saved = replace(load_config(folder / "config.yaml"), sim_device="", rl_device="")
    if saved.learner == "rsl_rl":
        raise ValueError(f"run {folder} is rsl_rl's; --resume continues runs of --learner trot only")
    try:
        choose_device(saved.device, saved.engine)
    except ValueError:
        saved.device = "auto"
    say_differing(folder, saved.plugin)
    cfg = parse(default=saved)
    changed = changes(to_plain(saved), to_plain(cfg)).keys() - APPLIED - ACCEPTED
    if changed:
        raise ValueError(
            f"--resume continues {folder.name} as it was; {', '.join(sorted(changed))} cannot change "
            "(start a new run)"
        )
    return replace(saved, **{name: getattr(cfg, name) for name in APPLIED})


def more_than_done(flags: ResumeFlags, state: dict[str, Any] | None, interrupted: Path | None) -> int:
    """Iterations in all that --more_iterations stands for; ValueError where nothing is done yet.

    In an `interrupted` run's folder they are saved: what was done since then is some of them.
    """
    if interrupted:
        return int(saved_value(interrupted, "max_iterations"))
    if state is None:
        raise ValueError(
            "--more_iterations goes on with a run: give --resume, or --max_iterations for a new one"
        )
    if flags.more_iterations < 1:
        raise ValueError(f"--more_iterations must be at least 1, not {flags.more_iterations}")
    return state["iteration"] + flags.more_iterations


def settle(cfg: RunConfig, folder: Path, iteration: int) -> None:
    """A run goes on at `iteration`: set aside what it leaves behind, and save how far it goes now.

    Other flags that may change are of this part of the run alone.
    """
    if aside := set_aside(folder, iteration):
        print(f"checkpoints after iteration {iteration}, and the tables so far, now lie in {aside}")
    change_saved(folder / "config.yaml", max_iterations=cfg.max_iterations, until_solved=cfg.until_solved)


TABLES = ("progress.csv", "curriculum.csv")
"""What a run that goes on cuts off where it does."""


def set_aside(folder: Path, iteration: int) -> Path | None:
    """Move checkpoints after `iteration` into a folder of their own: a run that branches off there will make others.

    Returns:
        that folder, with a copy of the tables; None if there was nothing to move.
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
    for table in TABLES:
        if (folder / table).is_file():
            shutil.copy2(folder / table, aside)
    for path in later:
        path.rename(aside / path.name)
    return aside


def load_own_checkpoint(path: Path, task: str, device: str, ranks: Ranks) -> dict[str, Any]:
    """`load_checkpoint` for one of several processes: with its own robots, if as many wrote it."""
    content = load_checkpoint(path, task, device)
    if not ranks.first and content.get("ranks", 1) == ranks.size:
        content |= checkpoint.load(checkpoint.part(path, ranks.rank), device)
    return content


def remember(folder: Path) -> None:
    """Leave word of the run folder: for the processes that torchrun starts in place of these if one of them ends, and
    for the program that started this one, see `tell`.
    """
    tell(folder)
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


def go_on(trainer: Trainer, content: dict[str, Any], device: str, ranks: Ranks) -> None:
    """Take up a checkpoint, and say what is not as it was; ValueError where it cannot be."""
    if move_checkpoint(content, device, trainer.seed):
        ranks.say("the checkpoint is from another kind of device: random numbers start anew")
    if (before := content.get("ranks", 1)) != ranks.size:
        ranks.say(
            f"the checkpoint is of {before} processes, not {ranks.size}: robots start anew, "
            "on the levels they had reached"
        )
    threads, before = torch.get_num_threads(), content["metadata"].get("threads")
    if device == "cpu" and before not in (None, threads):
        ranks.say(
            f"the checkpoint is of {before} threads, not {threads}: rounding may differ "
            f"(--num_threads {before} goes on to the same bits)"
        )
    trainer.load_state_dict(content)
