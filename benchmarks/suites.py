"""Every benchmark there is."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from benchmarks.common import Options, Results
from benchmarks.gpu import GpuEnvBenchmark, GpuPhysicsBenchmark, GpuTrainBenchmark, LaunchesBenchmark
from benchmarks.gpu_rivals import GpuUpdateBenchmark, TransferBenchmark, WarpBenchmark
from benchmarks.gpu_targets import FlatTargetBenchmark, RoughTargetBenchmark
from benchmarks.learning import LearningBenchmark
from benchmarks.physics import PhysicsBenchmark, StepErrorBenchmark, WallsBenchmark
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


class GpuBenchmark(Benchmark, Protocol):
    """One that belongs to a part of the suite `gpu`."""

    @property
    def section(self) -> str:
        """Name of the part."""


FLAT, ROUGH = "anymal_c_flat", "anymal_c_rough"
ROBOTS = (1024, 4096, 16384, 65536)
"""Robots on a GPU."""

# what tells most in the first minutes comes first
GPU: list[GpuBenchmark] = [
    *(GpuPhysicsBenchmark("plane", n) for n in ROBOTS),
    *(GpuPhysicsBenchmark("rough", n) for n in ROBOTS),
    *(GpuPhysicsBenchmark("steps", n) for n in ROBOTS),
    *(GpuPhysicsBenchmark("walls", n) for n in ROBOTS),
    *(GpuEnvBenchmark(task, n) for task in (FLAT, ROUGH) for n in ROBOTS),
    *(GpuTrainBenchmark(FLAT, recipe, n) for recipe in ("fast", "reference") for n in ROBOTS),
    *(GpuTrainBenchmark(ROUGH, recipe, n) for recipe in ("fast", "reference") for n in ROBOTS),
    *(GpuTrainBenchmark(task, "fast", 4096, "eager") for task in (FLAT, ROUGH)),
    GpuTrainBenchmark(ROUGH, "reference", 4096, "eager"),
    LaunchesBenchmark(FLAT, "fast"),
    LaunchesBenchmark(ROUGH, "fast"),
    LaunchesBenchmark(ROUGH, "reference"),
    GpuUpdateBenchmark(),
    TransferBenchmark(),
    *(FlatTargetBenchmark(seed) for seed in (1, 2, 3)),
    RoughTargetBenchmark(),
    *(GpuTrainBenchmark(FLAT, "fast", n, "compiled") for n in (4096, 65536)),
    *(GpuTrainBenchmark(ROUGH, recipe, 4096, "compiled") for recipe in ("fast", "reference")),
    LaunchesBenchmark(FLAT, "fast", compiled=True),
    LaunchesBenchmark(ROUGH, "fast", compiled=True),
    GpuUpdateBenchmark(compiled=True),
    *(WarpBenchmark("plane", n) for n in (1024, 4096, 16384)),
    WarpBenchmark("rough", 4096),
    WarpBenchmark("steps", 4096),
]
"""The suite `gpu`, about eight minutes on an H100."""

SECTIONS = tuple(dict.fromkeys(benchmark.section for benchmark in GPU))
"""Names of its parts."""

BENCHMARKS: list[Benchmark] = [
    PhysicsBenchmark("plane"),
    PhysicsBenchmark("plane", instruction_set="avx2"),
    PhysicsBenchmark("plane", targets="random"),
    PhysicsBenchmark("rough"),
    PhysicsBenchmark("steps"),
    WallsBenchmark(),
    *(StepErrorBenchmark(ground) for ground in ("plane", "rough", "steps", "walls")),
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
    *GPU,
]

SUITES = tuple(dict.fromkeys(benchmark.suite for benchmark in BENCHMARKS))
"""Names of the suites."""

SLOW = ("learning", "gpu")
"""Suites that run only when they are asked for by name."""
