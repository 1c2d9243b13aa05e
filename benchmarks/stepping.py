"""How fast robots are stepped: the physics engine by itself, and the environment around it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from benchmarks.common import TASK, EnvGait, Options, Results, Watch, ratio, seconds
from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from envs.tasks import get_task


def walking_env(
    num_envs: int, warmup: int, options: Options, cfg: EnvConfig | None = None
) -> tuple[LeggedEnv, EnvGait]:
    """An environment (by default the flat task's) whose robots trot, each at its own phase."""
    cfg = cfg or get_task(TASK).recipe("reference").env()
    env = LeggedEnv(cfg, num_envs, options.engine, options.device, options.threads)
    env.reset(seed=1)
    gait = EnvGait(env)
    for _ in range(warmup):
        env.step(gait.actions())
    return env, gait


def paired_step(env: LeggedEnv, physics: Watch, gait: EnvGait) -> tuple[float, float]:
    """Durations of one `env.step`, and of its physics alone, repeated from the same state, s.

    Args:
        env: the environment; afterwards it is where `env.step` left it.
        physics: watches `env.engine.step`.
        gait: gives the actions.
    """
    actions = gait.actions()
    before = env.engine.state_dict()
    physics.clear()
    whole = seconds(lambda: env.step(actions))
    after = env.engine.state_dict()
    env.engine.load_state_dict(before)
    bare = sum(seconds(partial(physics.method, *args, **kwargs)) for args, kwargs in physics.calls)
    env.engine.load_state_dict(after)
    return whole, bare


@dataclass(frozen=True)
class EngineBenchmark:
    """Physics steps per second of an engine under walking-like targets."""

    suite: ClassVar[str] = "engine"
    num_envs: int
    """Robots."""
    steps: int = 40
    """Timed policy steps."""
    warmup: int = 25
    """Policy steps before, in which robots land and start to trot."""

    def quick(self) -> EngineBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 32, steps=5, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        env, gait = walking_env(self.num_envs, self.warmup, options)
        physics = Watch(env.engine, "step")
        times, feet_down = [], 0.0
        for _ in range(self.steps):
            physics.clear()
            env.step(gait.actions())  # falls are reset and robots pushed as in training
            times.append(physics.seconds)
            feet_down += float(env.state.foot_contact.float().mean()) / self.steps
        rate = self.num_envs * env.cfg.sim.decimation / statistics.median(times)
        return {
            "engine": env.engine_choice.split()[0],
            "physics_steps_per_s": rate,
            "env_steps_per_s": rate / env.cfg.sim.decimation,
            "feet_down": feet_down,
        }


@dataclass(frozen=True)
class EnvBenchmark:
    """Throughput of the environment as a share of the bare engine's, from the same states and targets."""

    suite: ClassVar[str] = "env"
    num_envs: int
    """Robots."""
    rounds: int = 30
    """Timed policy steps, each made by the environment and by the bare engine."""
    warmup: int = 25
    """Policy steps before."""

    def quick(self) -> EnvBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 32, rounds=5, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        env, gait = walking_env(self.num_envs, self.warmup, options)
        physics = Watch(env.engine, "step")
        paired_step(env, physics, gait)
        pairs = [paired_step(env, physics, gait) for _ in range(self.rounds)]
        whole, bare = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return {
            "engine": env.engine_choice.split()[0],
            "env_steps_per_s": self.num_envs / statistics.median(whole),
            "engine_env_steps_per_s": self.num_envs / statistics.median(bare),
            **ratio(bare, whole),
        }
