"""How well a policy learns: this project's PPO beside rsl_rl's, at equal numbers of samples."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from algorithms import Trainer
from benchmarks.common import TASK, Options, Results
from envs.legged_env import LeggedEnv
from envs.rsl_rl import RslRlVecEnv
from runs.config import RunConfig, default_config, overlay
from runs.rsl_rl_runner import make_runner


@dataclass
class Point:
    """One iteration of one run: a row of the curves."""

    learner: str
    seed: int
    samples: int
    """Samples so far."""
    episodes: int
    """Episodes that ended in the iteration."""
    mean_reward: float
    """Mean return of those episodes; NaN where there were none."""
    mean_episode_length: float
    """Mean length of those episodes, policy steps."""
    step_reward: float
    """Mean reward of a policy step over all robots and steps of the iteration."""


class CountedEnv(LeggedEnv):
    """Counts rewards and episodes itself, so that two learners are judged by the same numbers."""

    def reset(self, **kwargs: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `LeggedEnv.reset`; forgets what was counted."""
        self.counts: list[Tensor] = []
        """For each step: sum of rewards, of finished episodes' returns and lengths, and their number."""
        self._return = torch.zeros(self.num_envs, device=self.device)
        self._steps = torch.zeros(self.num_envs, device=self.device)
        return super().reset(**kwargs)

    def step(self, actions: Tensor | np.ndarray):
        """See `LeggedEnv.step`."""
        result = super().step(actions)
        _, rewards, terminated, truncated, _ = result
        done = (terminated | truncated).float()
        self._return += rewards
        self._steps += 1.0
        self.counts.append(torch.stack((rewards.sum(), done @ self._return, done @ self._steps, done.sum())))
        self._return *= 1.0 - done
        self._steps *= 1.0 - done
        return result

    def curve(self, learner: str, seed: int, num_steps: int) -> list[Point]:
        """One point for every `num_steps` steps."""
        sums = torch.stack(self.counts).double().unflatten(0, (-1, num_steps)).sum(1)
        points = []
        for i, (reward, returns, lengths, episodes) in enumerate(sums.tolist()):
            known = episodes if episodes else math.nan
            batch = num_steps * self.num_envs
            points.append(
                Point(
                    learner,
                    seed,
                    (i + 1) * batch,
                    int(episodes),
                    returns / known,
                    lengths / known,
                    reward / batch,
                )
            )
        return points


def train_ours(env: CountedEnv, cfg: RunConfig, seed: int, iterations: int) -> None:
    """Train with this project's PPO."""
    # the environment counts in Python, which a replayed graph would pass over
    trainer = Trainer(env, cfg.agent, None, seed, graphs=False)
    trainer.train(iterations, lambda iteration, numbers: None)


def train_theirs(env: CountedEnv, cfg: RunConfig, seed: int, iterations: int) -> None:
    """Train with rsl_rl's PPO."""
    with contextlib.redirect_stdout(io.StringIO()):
        make_runner(RslRlVecEnv(env, seed), cfg.agent, seed, None).learn(iterations)


LEARNERS: dict[str, Callable[[CountedEnv, RunConfig, int, int], None]] = {
    "ours": train_ours,
    "rsl_rl": train_theirs,
}


def final_reward(points: list[Point], share: float = 0.1) -> float:
    """Mean return of the episodes that ended in the last `share` of a run's samples, or last of all.

    Raises:
        ValueError: no episode ended in the whole run.
    """
    ended = [point for point in points if point.episodes]
    if not ended:
        raise ValueError(f"no episode ended within {points[-1].samples} samples; give more --samples")
    after = min(points[-1].samples * (1.0 - share), ended[-1].samples - 1)
    last = [point for point in ended if point.samples > after]
    return sum(p.mean_reward * p.episodes for p in last) / sum(p.episodes for p in last)


def compare(ours: list[float], theirs: list[float]) -> Results:
    """Whether ours is not below theirs by more than one pooled standard deviation; one value for each seed."""
    stds = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in (ours, theirs)]
    pooled = math.sqrt(sum(std**2 for std in stds) / 2.0)
    means = [statistics.fmean(values) for values in (ours, theirs)]
    return {
        "ours_mean": means[0],
        "ours_std": stds[0],
        "rsl_rl_mean": means[1],
        "rsl_rl_std": stds[1],
        "pooled_std": pooled,
        "not_below": means[0] >= means[1] - pooled,
    }


def write_csv(points: list[Point], path: Path) -> None:
    """Write every point as a row."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f.name for f in fields(Point)])
        writer.writerows([getattr(point, f.name) for f in fields(Point)] for point in points)


def plot(points: list[Point], path: Path) -> None:
    """Mean and standard deviation over seeds of the mean reward, against samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for learner in LEARNERS:
        own = [point for point in points if point.learner == learner]
        samples = sorted({point.samples for point in own})
        rewards = torch.tensor([[p.mean_reward for p in own if p.samples == n] for n in samples])
        known = rewards.isfinite()
        mean = rewards.nanmean(1)
        spread = torch.where(known, rewards - mean.unsqueeze(1), 0.0).square().sum(1)
        std = (spread / (known.sum(1) - 1).clamp(min=1)).sqrt()
        x = [n / 1e6 for n in samples]
        axes.plot(x, mean.tolist(), label=f"{learner}, {len({p.seed for p in own})} seeds")
        axes.fill_between(x, (mean - std).tolist(), (mean + std).tolist(), alpha=0.25)
    axes.set_xlabel("samples, millions")
    axes.set_ylabel("mean episode reward")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


@dataclass(frozen=True)
class LearningBenchmark:
    """Mean reward at equal samples, ours beside rsl_rl's: same environment, networks and hyper-parameters."""

    suite: ClassVar[str] = "learning"
    samples: int = 2_500_000
    """Samples of each run."""
    num_envs: int = 512
    """Robots."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """One run of each learner for each."""
    recipe: str = ""
    """Recipe of the task, empty for its default."""
    agent: dict[str, Any] = field(
        default_factory=lambda: {
            "policy": {"symmetry": "none"},
            "ppo": {"kl_half_life": 0, "entropy_half_life": 0},
        }
    )
    """Changes to the recipe's learner, the same for both: what rsl_rl cannot do is switched off."""

    def quick(self) -> LearningBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, samples=3 * 24 * 128, num_envs=128, seeds=self.seeds[:2])

    def run(self, options: Options) -> Results:
        """Train, and write `learning.csv` (after each run) and `learning.png`."""
        options.folder.mkdir(parents=True, exist_ok=True)
        points: list[Point] = []
        scores: dict[str, list[float]] = {learner: [] for learner in LEARNERS}
        for seed in self.seeds:
            for learner in LEARNERS:
                curve = self.train(learner, seed, options)
                points += curve
                scores[learner].append(final_reward(curve))
                write_csv(points, options.folder / "learning.csv")
                print(f"{learner}, seed {seed}: mean reward {scores[learner][-1]:.2f}", flush=True)
        plot(points, options.folder / "learning.png")
        results: Results = {"recipe": default_config(TASK, self.recipe).recipe}
        results |= compare(scores["ours"], scores["rsl_rl"])
        verdict = "is not" if results["not_below"] else "IS"
        print(f"ours {verdict} below rsl_rl by more than one pooled standard deviation", flush=True)
        return results

    def train(self, learner: str, seed: int, options: Options) -> list[Point]:
        """One run's curve."""
        cfg = default_config(TASK, self.recipe)
        cfg.agent = overlay(cfg.agent, self.agent, "agent")
        num_steps = cfg.agent.ppo.num_steps
        iterations = max(1, self.samples // (num_steps * self.num_envs))
        env = CountedEnv(cfg.env, self.num_envs, options.engine, options.device, options.threads, seed)
        LEARNERS[learner](env, cfg, seed, iterations)
        return env.curve(learner, seed, num_steps)
