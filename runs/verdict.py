"""What a training came to, in words: figures against the task's targets, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path

from envs.targets import Targets
from envs.tasks import all_tasks, get_task
from runs.command import typed
from runs.config import RunConfig
from runs.estimate import needed_samples

IN_A_ROW = 2
"""Evaluations that must meet the targets one after another: a single one may be luck."""
USUAL = 300
"""Iterations to go on by where nothing better is known."""


def check_until_solved(cfg: RunConfig) -> None:
    """ValueError with one sentence where `--until_solved` would never stop a run."""
    if not cfg.until_solved:
        return
    if cfg.learner == "rsl_rl":
        raise ValueError("--until_solved needs evaluations in training: --learner rsl_rl has none")
    if get_task(cfg.task).targets is None:
        known = ", ".join(task.name for task in all_tasks().values() if task.targets)
        raise ValueError(f"--until_solved: task {cfg.task} declares no targets; these do: {known}")
    if cfg.agent.eval_envs < 1:
        raise ValueError("--until_solved needs evaluations: give --agent.eval_envs 128 instead of 0")


class Goal:
    """Told each evaluation, says whether enough of them in a row met the targets."""

    def __init__(self, targets: Targets, last: Mapping[str, float] | None = None):
        """Begin to count with the `last` evaluation of a run that goes on, if there was one."""
        self.targets, self._met = targets, 0
        if last:
            self(last)

    def __call__(self, figures: Mapping[str, float]) -> bool:
        """Whether that was the last one needed."""
        self._met = 0 if self.targets.missed(figures) else self._met + 1
        return self._met >= IN_A_ROW


def judge(figures: Mapping[str, float], targets: Targets | None) -> list[str]:
    """A line for each figure that has a target: what it means, and whether it is met."""
    bound = targets or Targets()
    rows = (
        ("lin_vel_error", "follows commands within {:.2f} m/s", f"{bound.lin_vel_error:.2f}"),
        ("ang_vel_error", "turns as told within {:.2f} rad/s", f"{bound.ang_vel_error:.2f}"),
        ("falls", "falls {:.1f} %", f"{100 * bound.falls:.0f} %"),
    )
    missed = targets.missed(figures) if targets else []
    lines = []
    for name, words, target in rows:
        text = words.format(figures[name] * (100 if name == "falls" else 1))
        met = "not yet" if name in missed else "good"
        lines.append(f"{text} (target {target}): {met}" if targets else text)
    return lines


def print_verdict(
    cfg: RunConfig, folder: Path, figures: Mapping[str, float], iteration: int, stopped: bool = False
) -> None:
    """Print what the last evaluation of a training says, and what to do next.

    Args:
        cfg: the run.
        folder: its folder.
        figures: of its last evaluation; empty where there was none.
        iteration: updates that are done.
        stopped: whether the user ended it, and was told how to go on.
    """
    if figures:
        how = f"{cfg.agent.eval_envs} robots for {cfg.agent.eval_seconds:g} s"
        print_lines("verdict", [f"last evaluation, {how}:", *judge(figures, get_task(cfg.task).targets)])
    else:
        print_lines("verdict", ["none: nothing was evaluated while it trained"])
    print_lines("next", next_steps(cfg, folder, figures, iteration, stopped))


def next_steps(
    cfg: RunConfig, folder: Path, figures: Mapping[str, float], iteration: int, stopped: bool = False
) -> list[str]:
    """What to do next, and the line to type for it; see `print_verdict`."""
    targets = get_task(cfg.task).targets
    missed = targets.missed(figures) if targets and figures else []
    where = f"--load_run {shlex.quote(str(folder))}"
    lines = []
    if missed and not stopped and cfg.learner == "trot":  # rsl_rl's are not resumed
        why = "falls are learned last" if missed == ["falls"] else "it still learns"
        more = _more_iterations(cfg, iteration)
        lines += [f"{why}; train longer:", f"  {typed('train')} --resume {where} --more_iterations {more}"]
    if missed and (levels := folder / "plots" / "levels.png").is_file():
        lines += ["which ground is still too hard:", f"  {levels}"]
    if not missed:
        lines += [
            "measure it on more robots:" if figures else "measure it:",
            f"  {typed('evaluate')} {where}",
        ]
    return [*lines, "watch it:", f"  {typed('play')} {where}"]


def _more_iterations(cfg: RunConfig, iteration: int) -> int:
    """How many to train on: up to what a measured run took, if that is known and lies ahead."""
    each = cfg.num_envs * cfg.agent.ppo.num_steps
    left = needed_samples(cfg)[0] / each - iteration
    return math.ceil(left / 50) * 50 if left > 0 else USUAL


def print_lines(title: str, lines: list[str]) -> None:
    """Print lines beside a title."""
    for i, line in enumerate(lines):
        print(f"{title if i == 0 else '':10} {line}", flush=True)
