"""How many seconds of training a robot needs to walk, on flat and on rough ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from algorithms import Actor, ActorCritic, Trainer
from benchmarks.common import TASK, Options, Results, seconds
from benchmarks.gpu import TINY
from benchmarks.training import make_trainer
from envs.legged_env import LeggedEnv
from evaluation.terrain import PAPER, success_test
from evaluation.walking import evaluate, evaluation_config
from runs.config import default_config

HARDEST = (20.0, 25.0, 0.1, 0.15, 0.2, 0.25)
"""What figures are recorded of: slopes in degrees, heights in m."""
Judge = Callable[[ActorCritic], Results]
"""Figures of a policy, among them `reached`."""


def train_until(trainer: Trainer, judge: Judge, checks: tuple[float, ...]) -> Results:
    """Train until a policy reaches a target; returns the last figures, and what was spent.

    Args:
        trainer: has not trained yet.
        judge: looks at a policy.
        checks: when it does, s of training: all iterations from the first on, judging left out.
    """
    spent = judging = 0.0
    figures: Results = {}
    for check in checks:
        while spent < check:
            spent += seconds(trainer.iterate)
        judging += seconds(lambda: figures.update(judge(trainer.average or trainer.policy)))
        shown = ", ".join(f"{name} {float(value):.3g}" for name, value in figures.items())
        print(f"    {spent:5.1f} s, {trainer.iteration} iterations: {shown}", flush=True)
        if figures["reached"]:
            break
    samples = trainer.iteration * trainer.env.num_envs * trainer.cfg.ppo.num_steps
    return {
        "reached": figures.pop("reached"),
        "train_s": spent,
        "samples": samples,
        "iterations": trainer.iteration,
        "judging_s": judging,
        **figures,
    }


@dataclass(frozen=True)
class FlatTargetBenchmark:
    """Seconds of training until velocities are followed to 0.20 m/s and 0.20 rad/s, and 1 % of robots fall."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "flat_target"
    seed: int
    recipe: str = ""
    """Empty for the task's default."""
    num_envs: int = 4096
    """Robots."""
    eval_envs: int = 1024
    """Robots of an evaluation."""
    eval_seconds: float = 20.0
    """Length of an evaluation, s."""
    checks: tuple[float, ...] = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    """When the policy is judged, s of training."""

    def quick(self) -> FlatTargetBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, eval_envs=4, eval_seconds=0.2, checks=(0.1,))

    def run(self, options: Options) -> Results:
        """Train."""
        cfg = default_config(TASK, self.recipe)
        cfg.seed = self.seed
        trainer, _ = make_trainer(cfg, self.num_envs, options)
        env = LeggedEnv(
            evaluation_config(default_config(TASK, self.recipe).env, self.eval_seconds),
            self.eval_envs,
            options.engine,
            options.device,
            options.threads,
        )

        def judge(policy: ActorCritic) -> Results:
            found = evaluate(env, Actor(policy), self.eval_seconds)
            errors = found.lin_vel_error, found.ang_vel_error
            return {
                "reached": max(errors) <= 0.20 and found.falls <= 0.01,
                "lin_vel_error": errors[0],
                "ang_vel_error": errors[1],
                "falls": found.falls,
            }

        return {"recipe": cfg.recipe} | train_until(trainer, judge, self.checks)


@dataclass(frozen=True)
class RoughTargetBenchmark:
    """Seconds of training until 98 % of robots climb stairs of 0.2 m, and 98 % come down them."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "rough_target"
    seed: int = 1
    recipe: str = ""
    """Empty for the task's default."""
    num_envs: int = 4096
    """Robots."""
    robots: int = 100
    """Of the test, for each shape and value."""
    shapes: tuple[str, ...] = PAPER
    """What is tested."""
    checks: tuple[float, ...] = (30.0, 45.0, 60.0)
    """When the policy is tested, s of training."""

    def quick(self) -> RoughTargetBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, robots=1, shapes=("stairs_up", "stairs_down"), checks=(0.1,))

    def run(self, options: Options) -> Results:
        """Train."""
        cfg = default_config("anymal_c_rough", self.recipe)
        cfg.seed = self.seed
        trainer, _ = make_trainer(cfg, self.num_envs, options)

        def judge(policy: ActorCritic) -> Results:
            cells = success_test(
                cfg.env,
                lambda env: Actor(policy),
                self.shapes,
                self.robots,
                seed=9001,
                engine=options.engine,
                device=options.device,
                num_threads=options.threads,
            )
            stairs = [c.success for c in cells if c.shape.startswith("stairs") and c.value == 0.2]
            figures: Results = {"reached": min(stairs) >= 0.98}
            return figures | {f"{c.shape}_{c.value:g}": c.success for c in cells if c.value in HARDEST}

        return {"recipe": cfg.recipe} | train_until(trainer, judge, self.checks)
