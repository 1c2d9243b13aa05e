"""Every benchmark there is."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from benchmarks.common import Options, Results
from benchmarks.learning import LearningBenchmark
from benchmarks.physics import PhysicsBenchmark
from benchmarks.stepping import EngineBenchmark, EnvBenchmark
from benchmarks.terrain import ChangeBenchmark, MapBenchmark, RoughBenchmark, ScanBenchmark
from benchmarks.training import RecurrentBenchmark, TrainBenchmark
from benchmarks.updating import UpdateBenchmark


class Benchmark(Protocol):
    """A dataclass whose fields say what is measured; `run` measures it."""

    suite: ClassVar[str]

    def quick(self) -> Any:
        """A copy that takes a second or two and only shows that the benchmark runs."""

    def run(self, options: Options) -> Results:
        """Measure; returns name -> figure."""


BENCHMARKS: list[Benchmark] = [
    PhysicsBenchmark("plane"),
    PhysicsBenchmark("plane", instruction_set="avx2"),
    PhysicsBenchmark("plane", targets="random"),
    PhysicsBenchmark("rough"),
    PhysicsBenchmark("steps"),
    EngineBenchmark(num_envs=1024),
    EngineBenchmark(num_envs=4096),
    EnvBenchmark(num_envs=1024),
    EnvBenchmark(num_envs=4096),
    UpdateBenchmark(num_envs=1024, hidden=(128, 64, 32), rounds=15),
    UpdateBenchmark(num_envs=4096, hidden=(128, 64, 32), rounds=9),
    UpdateBenchmark(num_envs=1024, hidden=(512, 256, 128), rounds=9),
    UpdateBenchmark(num_envs=4096, hidden=(512, 256, 128), rounds=5),
    TrainBenchmark(num_envs=1024),
    TrainBenchmark(num_envs=4096),
    TrainBenchmark(num_envs=1024, task="anymal_c_rough"),
    TrainBenchmark(num_envs=4096, task="anymal_c_rough"),
    RecurrentBenchmark("lstm"),
    MapBenchmark(),
    ScanBenchmark("batched", rounds=30),
    ScanBenchmark("mujoco", rounds=6),
    RoughBenchmark(num_envs=1024, rounds=7),
    RoughBenchmark(num_envs=4096, rounds=5),
    ChangeBenchmark("net"),
    ChangeBenchmark("redrawn"),
    ChangeBenchmark("all_redrawn"),
    LearningBenchmark(),
]

SUITES = tuple(dict.fromkeys(benchmark.suite for benchmark in BENCHMARKS))
"""Names of the suites."""

SLOW = ("learning",)
"""Suites that run only when they are asked for by name."""
