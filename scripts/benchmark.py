"""Measure the speed: `python scripts/benchmark.py [--suite NAME] [--json FILE] [--num_threads 2] [--quick]`.

On an NVIDIA GPU: `python scripts/benchmark.py --suite gpu [--only physics train]`.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
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

from benchmarks.common import NotInstalled, Options, Results
from benchmarks.learning import LearningBenchmark
from benchmarks.scaling import draw
from benchmarks.suites import BENCHMARKS, SECTIONS, SLOW, SUITES, Benchmark
from physics import choose_device
from robots.config import nearest
from runs.command import command, set_threads
from runs.config import parse_flags

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


def main() -> int:
    """Run, print and record; returns the exit status."""
    cfg = parse_flags(BenchmarkConfig())
    device = find_device(cfg)
    chosen = select(cfg)
    threads = set_threads(cfg.num_threads)
    options = Options(threads, cfg.engine, device, results_folder(cfg))
    machine = describe_machine(device)
    print(
        f"{machine.get('gpu', machine['cpu'])}, {machine['cores']} cores, load {machine['load']:.1f}, "
        f"{threads} threads",
        flush=True,
    )
    failed = 0
    for kind, group in itertools.groupby(chosen, type):
        benchmarks = list(group)
        suite, columns = benchmarks[0].suite, []
        print(f"\n{suite}: {summary(kind)}", flush=True)
        for benchmark in benchmarks:
            try:
                results = benchmark.run(options)
            except Exception as error:
                if suite != "gpu":
                    raise
                # machines with a GPU are rare: what else there is to measure is not given up
                reason = str(error).strip().split("\n")[0]
                print(f"  {line(parameters(benchmark))}: {type(error).__name__}: {reason}", flush=True)
                if not isinstance(error, NotInstalled):
                    failed += 1
                    traceback.print_exc(limit=-4)
                continue
            finally:
                release()
            if suite == "gpu":
                print(f"  {line(parameters(benchmark))}: {line(results)}", flush=True)
            columns.append(parameters(benchmark) | results)
            write(record(benchmark, results, cfg, threads, machine), json_path(cfg, suite))
        if columns:
            print_table(columns)
    path = json_path(cfg, "gpu")
    if path and path.is_file() and cfg.suite == "gpu":
        draw(path, path.with_suffix(".png"))
    if failed:
        print(f"\n{failed} of {len(chosen)} parts gave no figures, see their lines")
    return int(failed > 0)


def find_device(cfg: BenchmarkConfig) -> str:
    """The device to measure; ValueError where there is none that fits."""
    device, why = choose_device(cfg.device, cfg.engine)
    if cfg.suite == "gpu" and device == "cpu" and not cfg.quick:
        raise ValueError(
            f"the suite gpu needs an NVIDIA GPU ({why}); with --quick --device cpu it only shows that it runs"
        )
    return device


def release() -> None:
    """Give back the memory of what was measured, and forget what was compiled: torch keeps eight versions only."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


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


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """CPU model, cores, load average of the last minute, versions and git commit; of a GPU name, driver and CUDA."""
    gpu = {}
    if torch.device(device).type == "cuda":
        gpu = {
            "gpu": torch.cuda.get_device_name(device),
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split(
                "\n"
            )[0],
            "cuda": torch.version.cuda,
        }
    return gpu | {
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
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no")
    return commit + ("+" if commit and changed else "")


def _output(*args: str) -> str:
    """What a program prints, empty where it fails."""
    try:
        return subprocess.run(args, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def summary(kind: type) -> str:
    """First sentence of a class's docstring."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def line(values: dict[str, Any]) -> str:
    """Parameters or figures on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in values.items())


MANY = 5
"""More benchmarks of one kind than these are shown one a row."""


def print_table(columns: list[dict[str, Any]]) -> None:
    """Print parameters and figures of benchmarks of one kind, one a column, or one a row where they are many."""
    console = Console()
    if len(columns) <= MANY:
        console.print(table(columns))
        return
    names = list(columns[0])
    drawn = Table(*(name.replace("_", " ") for name in names))
    for column in columns:
        drawn.add_row(*(_cell(column[name]) for name in names))
    for each in drawn.columns:
        each.justify = "right"
    console.width = max(console.width, 200)
    console.print(drawn)


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
