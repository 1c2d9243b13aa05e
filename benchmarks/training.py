"""How fast a whole training iteration is, and where its time goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from algorithms import Trainer
from benchmarks.common import TASK, Options, Results, Watch, seconds
from envs.legged_env import LeggedEnv
from scripts.config import default_config


@dataclass(frozen=True)
class TrainBenchmark:
    """Samples per second of training, and the shares of its parts.

    physics: the engine's steps; terms: the rest of the environment (observations, rewards, resets); inference:
    the rest of the rollout (policy, values, advantages, storage); update: PPO.
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

    def quick(self) -> TrainBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, iterations=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        cfg = default_config(TASK, self.recipe)
        env = LeggedEnv(cfg.env, self.num_envs, options.engine, num_threads=options.threads)
        env.reset(seed=cfg.seed)
        trainer = Trainer(env, cfg.agent, None, cfg.seed)
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
