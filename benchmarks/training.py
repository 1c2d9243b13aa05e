"""How fast a whole training iteration is, and where its time goes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from algorithms import Trainer
from benchmarks.common import CAPTURED, TASK, Options, Results, Watch, interleave, ratio, seconds
from envs.legged_env import LeggedEnv
from runs.config import RunConfig, default_config


def make_trainer(
    cfg: RunConfig, num_envs: int, options: Options, graphs: bool = True, compiled: bool = False
) -> tuple[Trainer, LeggedEnv]:
    """A trainer that is ready to iterate, and its environment.

    Args:
        cfg: the run.
        num_envs: robots.
        options: threads, engine and device.
        graphs: on a GPU, replay graphs; or else launch every kernel.
        compiled: fuse what torch.compile can.
    """
    env = LeggedEnv(cfg.env, num_envs, options.engine, options.device, options.threads)
    env.reset(seed=cfg.seed)
    trainer = Trainer(env, cfg.agent, None, cfg.seed, graphs=graphs)
    if compiled:
        env.compile()
        trainer.compile()
    return trainer, env


def warm_up(trainer: Trainer) -> None:
    """Iterate until a GPU replays graphs; on a CPU do nothing."""
    if trainer.graphs.on:
        for _ in range(CAPTURED):
            trainer.iterate()


def compare_iterations(
    changed: RunConfig, plain: RunConfig, num_envs: int, rounds: int, options: Options
) -> Results:
    """Durations of training iterations of two configurations, made in turn, and how many times as long the first's
    take."""
    trainers = [make_trainer(cfg, num_envs, options) for cfg in (changed, plain)]
    for trainer, _ in trainers:
        warm_up(trainer)
    calls = {
        name: partial(seconds, trainer.iterate)
        for name, (trainer, _) in zip(("changed", "plain"), trainers, strict=True)
    }
    times = interleave(calls, rounds)
    return {
        "engine": trainers[0][1].engine_choice.split()[0],
        "iteration_s": statistics.median(times["changed"]),
        "plain_iteration_s": statistics.median(times["plain"]),
        **ratio(times["changed"], times["plain"]),
    }


@dataclass(frozen=True)
class TrainBenchmark:
    """Samples per second of training, and the shares of its parts.

    physics: the engine's steps; terms: the rest of the environment (observations, rewards, resets); inference:
    the rest of the rollout (policy, values, advantages, storage); update: PPO. A GPU launches every kernel here, so
    that the parts can be told apart: the suite `gpu` measures training with graphs.
    """

    suite: ClassVar[str] = "train"
    num_envs: int
    """Robots."""
    iterations: int = 3
    """Timed iterations."""
    warmup: int = 1
    """Iterations before."""
    recipe: str = ""
    """Recipe of the task, empty for its default."""
    task: str = TASK
    """What is trained."""

    def quick(self) -> TrainBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, iterations=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        cfg = default_config(self.task, self.recipe)
        trainer, env = make_trainer(cfg, self.num_envs, options, graphs=False)
        for _ in range(self.warmup):
            trainer.iterate()
        physics, step = Watch(env.engine, "step"), Watch(env, "step")
        update = Watch(trainer.ppo, "update")
        total = sum(seconds(trainer.iterate) for _ in range(self.iterations))
        samples = self.iterations * self.num_envs * cfg.agent.ppo.num_steps
        return {
            "engine": env.engine_choice.split()[0],
            "recipe": cfg.recipe,
            "samples_per_s": samples / total,
            "physics": physics.seconds / total,
            "terms": (step.seconds - physics.seconds) / total,
            "inference": (total - step.seconds - update.seconds) / total,
            "update": update.seconds / total,
        }


@dataclass(frozen=True)
class RecurrentBenchmark:
    """A training iteration of a policy with a memory against one of the same policy without."""

    suite: ClassVar[str] = "train"
    recurrent: Literal["lstm", "gru"]
    """The memory, before the MLPs of actor and critic."""
    num_envs: int = 1024
    """Robots."""
    rounds: int = 4
    """Timed iterations of each."""

    def quick(self) -> RecurrentBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        changed, plain = (default_config(TASK, "reference") for _ in range(2))
        changed.agent.policy.recurrent = self.recurrent
        return compare_iterations(changed, plain, self.num_envs, self.rounds, options)
