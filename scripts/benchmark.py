"""Measure the speed: `python scripts/benchmark.py [--suite NAME] [--json FILE] [--num_threads 2] [--quick]`.

On an NVIDIA GPU: `python scripts/benchmark.py --suite gpu [--only physics train]`.
"""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from benchmarks.common import NotInstalled, Options
from benchmarks.running import BenchmarkConfig as Flags
from benchmarks.running import (
    find_device,
    json_path,
    parameters,
    record,
    release,
    results_folder,
    select,
    write,
)
from benchmarks.scaling import draw
from benchmarks.tables import line, print_table, summary
from runs.command import check_output, command, set_threads
from runs.flags import parse_flags
from runs.machine import describe_machine


def main() -> int:
    """Run, print and record; returns the exit status."""
    cfg = parse_flags(Flags())
    device = find_device(cfg)
    chosen = select(cfg)
    if cfg.json:
        Path(cfg.json).parent.mkdir(parents=True, exist_ok=True)
        check_output(Path(cfg.json), "--json")
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


if __name__ == "__main__":
    command(main)
