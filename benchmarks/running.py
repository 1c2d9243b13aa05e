"""Which benchmarks a command line asks for, and where their figures go."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Results
from benchmarks.learning import LearningBenchmark
from benchmarks.suites import BENCHMARKS, SECTIONS, SLOW, SUITES, Benchmark
from physics import choose_device
from robots.config import nearest

RESULTS = Path("logs/benchmarks")


@dataclass
class BenchmarkConfig:
    """Run declared benchmarks; figures are comparable within one run only, so quote ratios."""

    suite: str = ""
    """physics, engine, env, update, train, terrain, learning (half an hour) or gpu (eight minutes on one); empty for
    all but the last two."""
    only: tuple[str, ...] = ()
    """Parts of the suite gpu: physics, env, train, launches, update, transfer, flat_target, rough_target, compile,
    warp; none for all."""
    json: str = ""
    """File that JSON lines are appended to; empty for logs/benchmarks/<suite>.jsonl, or none with --quick."""
    num_threads: int = 2
    """Threads of torch and of the physics, 0 for one per core."""
    engine: str = "auto"
    """Physics engine."""
    device: str = "auto"
    """Where the tensors live: cpu, cuda or cuda:N; auto for a GPU where there is one that can be used."""
    quick: bool = False
    """Tiny sizes that only show that the benchmarks run."""
    samples: int = 2_500_000
    """Samples of each training run of the learning suite."""


def find_device(cfg: BenchmarkConfig) -> str:
    """The device to measure; ValueError where there is none that fits."""
    device, why = choose_device(cfg.device, cfg.engine)
    if cfg.suite == "gpu" and device == "cpu" and not cfg.quick:
        raise ValueError(
            f"the suite gpu needs an NVIDIA GPU ({why}); with --quick --device cpu it only shows that it runs"
        )
    return device


def select(cfg: BenchmarkConfig) -> list[Benchmark]:
    """The benchmarks to run; ValueError for a suite that does not exist."""
    if cfg.suite and cfg.suite not in SUITES:
        raise ValueError(
            f"unknown suite {cfg.suite!r}; choose from {', '.join(SUITES)}.{nearest(cfg.suite, SUITES)}"
        )
    if cfg.only and cfg.suite != "gpu":
        raise ValueError("--only names parts of one suite: give --suite gpu with it")
    for part in cfg.only:
        if part not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise ValueError(f"no part {part!r}; choose from {known}.{nearest(part, SECTIONS)}")
    if cfg.num_threads < 0:
        raise ValueError(f"--num_threads must not be negative, not {cfg.num_threads}")
    if cfg.samples < 1:
        raise ValueError(f"--samples must be at least 1, not {cfg.samples}")
    suites = (cfg.suite,) if cfg.suite else tuple(name for name in SUITES if name not in SLOW)
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.suite in suites]
    chosen = [
        dataclasses.replace(b, samples=cfg.samples) if isinstance(b, LearningBenchmark) else b for b in chosen
    ]
    if cfg.only:
        chosen = [benchmark for benchmark in chosen if getattr(benchmark, "section", "") in cfg.only]
    if cfg.quick:  # what differs in size only is run once
        chosen = list(dict.fromkeys(benchmark.quick() for benchmark in chosen))
    return chosen


def json_path(cfg: BenchmarkConfig, suite: str) -> Path | None:
    """Where a suite's JSON lines go; None for nowhere."""
    if cfg.json:
        return Path(cfg.json)
    return None if cfg.quick else RESULTS / f"{suite}.jsonl"


def results_folder(cfg: BenchmarkConfig) -> Path:
    """Where curves and plots go: beside the JSON lines, or out of the way."""
    if cfg.json:
        return Path(cfg.json).parent
    return Path(tempfile.gettempdir()) / "trot_benchmark" if cfg.quick else RESULTS


def release() -> None:
    """Give back the memory of what was measured, and forget what was compiled: torch keeps eight versions only."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def parameters(benchmark: Benchmark) -> dict[str, Any]:
    """What a benchmark was declared with."""
    return dataclasses.asdict(benchmark)  # type: ignore[call-overload]


def record(
    benchmark: Benchmark, results: Results, cfg: BenchmarkConfig, threads: int, machine: dict[str, Any]
) -> dict[str, Any]:
    """One JSON line."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "suite": benchmark.suite,
        "benchmark": type(benchmark).__name__,
        "parameters": parameters(benchmark),
        "results": results,
        "threads": threads,
        "quick": cfg.quick,
        "machine": machine,
    }


def write(line: dict[str, Any], path: Path | None) -> None:
    """Append a JSON line."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
