"""Measure the speed: `python scripts/benchmark.py [--suite NAME] [--json FILE] [--num_threads 2] [--quick]`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import mujoco
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common import Options, Results
from benchmarks.learning import LearningBenchmark
from benchmarks.suites import BENCHMARKS, SLOW, SUITES, Benchmark
from robots.config import nearest
from scripts.config import parse_flags
from scripts.runs import command, set_threads

RESULTS = Path("logs/benchmarks")


@dataclass
class BenchmarkConfig:
    """Run declared benchmarks; figures are comparable within one run only, so quote ratios."""

    suite: str = ""
    """physics, engine, env, update, train, terrain or learning (half an hour); empty for all but learning."""
    json: str = ""
    """File that JSON lines are appended to; empty for logs/benchmarks/<suite>.jsonl, or none with --quick."""
    num_threads: int = 2
    """Threads of torch and of the physics, 0 for one per core."""
    engine: str = "auto"
    """Physics engine."""
    quick: bool = False
    """Tiny sizes that only show that the benchmarks run."""
    samples: int = 2_500_000
    """Samples of each training run of the learning suite."""


def main() -> int:
    """Run, print and record; returns the exit status."""
    cfg = parse_flags(BenchmarkConfig())
    chosen = select(cfg)
    threads = set_threads(cfg.num_threads)
    options = Options(threads=threads, engine=cfg.engine, folder=results_folder(cfg))
    machine = describe_machine()
    print(
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f}, {threads} threads",
        flush=True,
    )
    for kind, group in itertools.groupby(chosen, type):
        benchmarks = list(group)
        suite = benchmarks[0].suite
        columns = []
        print(f"\n{suite}: {summary(kind)}", flush=True)
        for benchmark in benchmarks:
            results = benchmark.run(options)
            columns.append(parameters(benchmark) | results)
            write(record(benchmark, results, cfg, threads, machine), json_path(cfg, suite))
        Console().print(table(columns))
    return 0


def select(cfg: BenchmarkConfig) -> list[Benchmark]:
    """The benchmarks to run; ValueError for a suite that does not exist."""
    if cfg.suite and cfg.suite not in SUITES:
        raise ValueError(
            f"unknown suite {cfg.suite!r}; choose from {', '.join(SUITES)}.{nearest(cfg.suite, SUITES)}"
        )
    if cfg.num_threads < 0:
        raise ValueError(f"--num_threads must not be negative, not {cfg.num_threads}")
    if cfg.samples < 1:
        raise ValueError(f"--samples must be at least 1, not {cfg.samples}")
    suites = (cfg.suite,) if cfg.suite else tuple(name for name in SUITES if name not in SLOW)
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.suite in suites]
    chosen = [
        dataclasses.replace(b, samples=cfg.samples) if isinstance(b, LearningBenchmark) else b for b in chosen
    ]
    return [benchmark.quick() for benchmark in chosen] if cfg.quick else chosen


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


def write(line: dict[str, Any], path: Path | None) -> None:
    """Append a JSON line."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


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


def describe_machine() -> dict[str, Any]:
    """CPU model, cores, load average of the last minute, versions and git commit."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mujoco": mujoco.__version__,
        "commit": _commit(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Short hash of the commit, with + where tracked files differ from it; empty outside a repository."""
    outputs = []
    for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        try:
            done = subprocess.run(("git", *args), cwd=ROOT, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        outputs.append(done.stdout.strip())
    return outputs[0] + ("+" if outputs[1] else "")


def summary(kind: type) -> str:
    """First sentence of a class's docstring."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def table(columns: list[dict[str, Any]]) -> Table:
    """Parameters and figures of benchmarks of one kind, one a column."""
    drawn = Table(show_header=False)
    for name in columns[0]:
        drawn.add_row(name.replace("_", " "), *(_cell(column[name]) for column in columns))
    for column in drawn.columns[1:]:
        column.justify = "right"
    return drawn


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (tuple, list)):
        return "-".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    return str(value)


if __name__ == "__main__":
    command(main)
