"""How busy a GPU is kept: physics, environment and training by number of robots, and the kernels they launch."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms import Trainer
from benchmarks.common import CAPTURED, Options, Results, capture, seconds
from benchmarks.physics import Robots, make_ground
from benchmarks.stepping import walking_env
from benchmarks.training import make_trainer
from envs.legged_env import LeggedEnv
from physics import BatchedEngine
from robots import ANYMAL_C
from runs.config import default_config

PHYSICS_KERNELS = ("step", "place")
"""Names of the kernels that step the physics and put robots into new states."""
TINY = 32
"""Robots of a quick run."""


def repeat(call: Callable[[], Any], times: int) -> float:
    """Mean duration of calls that are made without a pause, s: the wait for the device is left out of all but one."""
    return seconds(lambda: [call() for _ in range(times)]) / times


@dataclass(frozen=True)
class GpuPhysicsBenchmark:
    """Physics steps per second of the batched engine, replayed as a CUDA graph of eight policy steps."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "physics"
    ground: Literal["plane", "rough", "steps", "walls"]
    num_envs: int
    """Robots."""
    rounds: int = 7
    """Timed groups of four replays."""
    warmup: int = 40
    """Policy steps before, in which robots land and start to trot."""

    def quick(self) -> GpuPhysicsBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, rounds=2, warmup=3)

    def run(self, options: Options) -> Results:
        """Measure."""
        made: list[tuple[BatchedEngine, Robots]] = []
        setup = seconds(lambda: made.append(self._make(options)))
        ((engine, robots),) = made
        for _ in range(self.warmup):
            robots.step()
        targets = [robots.gait.targets() for _ in range(8)]

        def walk() -> None:
            for target in targets:
                engine.step(target, 4)

        replay, times = capture(walk, engine.device), []
        for _ in range(self.rounds):
            robots.stand_up()
            times.append(repeat(replay, 4))
        step = statistics.median(times) / len(targets)
        return {
            "physics_steps_per_s": 4 * self.num_envs / step,
            "policy_step_s": step,
            "solver_iterations": float(engine.solver_iterations.mean()),
            "lost": int(engine.bad.sum()),
            "setup_s": setup,
        }

    def _make(self, options: Options) -> tuple[BatchedEngine, Robots]:
        ground = make_ground(self.ground)
        engine = BatchedEngine(
            ANYMAL_C, ground, self.num_envs, num_threads=options.threads, device=options.device
        )
        return engine, Robots(engine, ground, "trot")


@dataclass(frozen=True)
class GpuEnvBenchmark:
    """A step of the environment: replayed as a CUDA graph, and launched operator by operator."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "env"
    task: str
    num_envs: int
    """Robots."""
    rounds: int = 20
    """Timed policy steps of each kind."""
    warmup: int = 25
    """Policy steps before."""

    def quick(self) -> GpuEnvBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, rounds=2, warmup=2)

    def run(self, options: Options) -> Results:
        """Measure."""
        env, gait = walking_env(self.num_envs, self.warmup, options, default_config(self.task).env)
        actions = gait.actions()

        def step() -> None:
            env.step(actions)

        launched = repeat(step, self.rounds)
        replayed = repeat(capture(step, env.device, env.generator), self.rounds)
        return {
            "env_steps_per_s": self.num_envs / replayed,
            "step_s": replayed,
            "launched_step_s": launched,
        }


@dataclass(frozen=True)
class GpuTrainBenchmark:
    """Samples per second of training, and how long it takes to get there.

    launch: every kernel by itself, as CUDA graphs, or as graphs of what torch.compile has fused.
    """

    suite: ClassVar[str] = "gpu"
    task: str
    recipe: str
    num_envs: int
    """Robots."""
    launch: Literal["eager", "graphs", "compiled"] = "graphs"
    iterations: int = 5
    """Timed iterations."""

    @property
    def section(self) -> str:
        """Compiling takes long, so it is asked for by itself."""
        return "compile" if self.launch == "compiled" else "train"

    def quick(self) -> GpuTrainBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, iterations=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        made: list[tuple[Trainer, LeggedEnv]] = []
        setup = seconds(lambda: made.append(self.make(options)))
        ((trainer, env),) = made
        first, *warmup = [seconds(trainer.iterate) for _ in range(CAPTURED)]
        logs: list[dict[str, float]] = []
        times = [seconds(lambda: logs.append(trainer.iterate())) for _ in range(self.iterations)]
        iteration = statistics.median(times)
        results: Results = {
            "samples_per_s": self.num_envs * trainer.cfg.ppo.num_steps / iteration,
            "iteration_s": iteration,
            "rollout_s": statistics.median(log["Perf/collection_time"] for log in logs),
            "update_s": statistics.median(log["Perf/learning_time"] for log in logs),
            "setup_s": setup,
            "to_first_iteration_s": setup + first,
            "to_full_speed_s": setup + first + sum(warmup),
        }
        if env.device.type == "cuda":
            results["replayed"] = trainer.graphs.on
            results["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return results

    def make(self, options: Options) -> tuple[Trainer, LeggedEnv]:
        """A trainer with this way to launch, and its environment."""
        cfg = default_config(self.task, self.recipe)
        return make_trainer(
            cfg, self.num_envs, options, self.launch != "eager", compiled=self.launch == "compiled"
        )


@dataclass
class Launches:
    """What one call gave the device to do."""

    count: int
    """Kernels and copies; on a CPU operators, without those that only make a view."""
    seconds: dict[str, float]
    """Name of a kernel -> time of all its launches, s; empty on a CPU."""
    counts: dict[str, int]
    """Name of a kernel -> number of its launches; empty on a CPU."""


class _Operators(TorchDispatchMode):
    """Counts operators."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def launches(call: Callable[[], Any], device: torch.device) -> Launches:
    """Everything that a call launches."""
    if device.type != "cuda":
        with _Operators() as operators:
            call()
        return Launches(operators.count, {}, {})
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        seconds(call)
    kernels = [
        event
        for event in profiler.events() or []
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
    ]
    spent: Counter[str] = Counter()
    for kernel in kernels:
        spent[kernel.name] += kernel.device_time * 1e-6
    return Launches(len(kernels), dict(spent), dict(Counter(kernel.name for kernel in kernels)))


@dataclass(frozen=True)
class LaunchesBenchmark:
    """Kernels of an iteration, of a policy step and of a mini-batch, and what share of the time they take.

    busy: time of all kernels over that of an iteration; physics: share of the physics kernel in them.
    """

    suite: ClassVar[str] = "gpu"
    task: str
    recipe: str
    compiled: bool = False
    """torch.compile has fused what it can."""
    num_envs: int = 4096
    """Robots."""

    @property
    def section(self) -> str:
        """Compiling takes long, so it is asked for by itself."""
        return "compile" if self.compiled else "launches"

    def quick(self) -> LaunchesBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, compiled=False)

    def run(self, options: Options) -> Results:
        """Measure; prints the kernels that take longest."""
        cfg = default_config(self.task, self.recipe)
        trainer, env = make_trainer(cfg, self.num_envs, options, compiled=self.compiled)
        trainer.iterate()
        # before graphs are captured: what is in them, part by part
        count = partial(launches, device=env.device)
        step = count(trainer.collector.collect).count / cfg.agent.ppo.num_steps
        values = count(trainer.collector.evaluate).count
        update = count(lambda: trainer.ppo.update(trainer.rollout, trainer.generator)).count
        for _ in range(CAPTURED):
            trainer.iterate()
        whole = count(trainer.iterate)
        results: Results = {
            "per_policy_step": step,
            "per_mini_batch": update / (cfg.agent.ppo.num_epochs * cfg.agent.ppo.num_mini_batches),
            "values_and_advantages": values,
            "per_iteration": whole.count,
        }
        if env.device.type != "cuda":
            return results
        iteration = statistics.median(seconds(trainer.iterate) for _ in range(5))
        busy = sum(whole.seconds.values())
        physics = sum(time for name, time in whole.seconds.items() if name.split("(")[0] in PHYSICS_KERNELS)
        for name, time in Counter(whole.seconds).most_common(10):
            print(f"    {1e3 * time:8.3f} ms in {whole.counts[name]:5d} of {name[:80]}", flush=True)
        return results | {
            "replayed": trainer.graphs.on,
            "iteration_s": iteration,
            "kernels_s": busy,
            "busy": busy / iteration,
            "physics": physics / busy,
        }
