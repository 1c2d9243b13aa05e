"""How long a training takes, told by its own iterations, and when its policy should be good."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from envs.tasks import get_task
from native.launch import WARM_UP
from runs.config import RunConfig, changes_of_recipe, default_config

RECENT = 50
"""Iterations that the pace is the median of: a busy moment, or another program's end, is soon forgotten."""
ENOUGH = 1.0
"""Seconds of iterations after which their pace is told."""
FREE = {
    "seed",
    "num_threads",
    "device",
    "max_iterations",
    "agent.save_interval",
    "agent.eval_envs",
    "agent.eval_seconds",
}
"""Values that need as many samples as the recipe's own, among those of the environment and the learner and these."""


class Pace:
    """How long iterations and evaluations take; the first iterations, which prepare others, do not count."""

    def __init__(
        self, max_iterations: int, save_interval: int = 0, train_time: float = 0.0, prepare: int = 1
    ):
        """Begin to measure.

        Args:
            max_iterations: where the run ends.
            save_interval: iterations between evaluations, 0 for none.
            train_time: seconds of earlier parts of the run.
            prepare: iterations that say nothing of those that follow.
        """
        self.max_iterations, self.save_interval = max_iterations, save_interval
        self._train_time, self._prepare = train_time, prepare
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._evaluation = 0.0
        self.ready = False
        """Whether a second was measured."""

    def note(self, numbers: dict[str, float]) -> None:
        """Take note of an iteration's figures, see `Trainer.iterate`."""
        seconds = numbers["Perf/collection_time"] + numbers["Perf/learning_time"]
        others = numbers["Perf/train_time"] - self._train_time - seconds
        self._train_time = numbers["Perf/train_time"]
        if others > 1e-3:  # an evaluation since the iteration before
            self._evaluation = others
        if self._prepare > 0:
            self._prepare -= 1
            return
        self._seconds.append(seconds)
        self.ready = self.ready or sum(self._seconds) >= ENOUGH or len(self._seconds) == RECENT

    def seconds(self, first: int, last: int) -> float:
        """What the iterations after `first` up to `last` take, with evaluations, s; nan while that is unknown."""
        if not self._seconds:
            return math.nan
        every = self.save_interval
        evaluations = last // every - first // every if every else 0
        evaluations += bool(every and last == self.max_iterations and last % every)
        return median(self._seconds) * (last - first) + self._evaluation * evaluations


def pace_of(cfg: RunConfig, train_time: float = 0.0, graphs: bool = False) -> Pace:
    """A `Pace` for a run."""
    interval = cfg.agent.save_interval if cfg.agent.eval_envs else 0
    return Pace(cfg.max_iterations, interval, train_time, WARM_UP + 1 if graphs else 1)


def needed_samples(cfg: RunConfig) -> tuple[float, str]:
    """Samples after which a run should meet its task's targets, 0 where nobody knows; and why nobody does."""
    task = get_task(cfg.task)
    if task.targets is None:
        return 0.0, f"{task.name} declares no targets"
    samples = task.samples_needed.get(cfg.recipe, 0.0)
    if not samples:
        return 0.0, f"recipe {cfg.recipe} of {task.name} was not measured"
    if cfg.init_from:
        return 0.0, "the recipe was measured from random weights on"
    changed = changes_of_recipe(default_config(cfg.task, cfg.recipe), cfg).keys()
    shaping = [
        name for name in changed if name.startswith(("env.", "agent.", "num_envs")) and name not in FREE
    ]
    if shaping:
        return 0.0, f"{shaping[0]} is not that of the recipe that was measured"
    return samples, ""


def expectation(cfg: RunConfig, pace: Pace, iteration: int) -> list[str]:
    """Lines that say when a run that is at `iteration` ends, and when its policy should be good."""
    last = cfg.max_iterations
    most = "at most " if cfg.until_solved else ""
    lines = [f"expected   {most}{span(pace.seconds(iteration, last))} for {last - iteration} more iterations"]
    samples, why = needed_samples(cfg)
    if not samples:
        return [*lines, f"good       when? not known: {why}"]
    enough = math.ceil(samples / (cfg.num_envs * cfg.agent.ppo.num_steps))
    measured = f"{samples / 1e6:.1f} M samples, measured on this recipe"
    if enough <= iteration:
        return [*lines, f"good       by now ({measured})"]
    if enough > last:
        return [*lines, f"good       not in this run: that took {enough} iterations ({measured})"]
    return [*lines, f"good       in about {span(pace.seconds(iteration, enough))} ({measured})"]


def span(seconds: float) -> str:
    """A length of time for people."""
    if math.isnan(seconds):
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
