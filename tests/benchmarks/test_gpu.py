"""The suite `gpu`, on a CPU: every part runs at a tiny size, and what needs no GPU is right."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from algorithms import Trainer
from benchmarks.common import NotInstalled, Options, Results, capture
from benchmarks.gpu import (
    GpuEnvBenchmark,
    GpuPhysicsBenchmark,
    GpuTrainBenchmark,
    LaunchesBenchmark,
    launches,
)
from benchmarks.gpu_rivals import GpuUpdateBenchmark, TransferBenchmark, WarpBenchmark
from benchmarks.gpu_targets import FlatTargetBenchmark, RoughTargetBenchmark, train_until
from benchmarks.scaling import draw, knee, read_curves
from benchmarks.suites import GPU, SECTIONS, Benchmark
from benchmarks.training import make_trainer
from runs.config import default_config
from tests.gpu import needs_gpu

ONE_THREAD = Options(threads=1)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("declared", "figures"),
    [
        (GpuPhysicsBenchmark("rough", 4096), {"physics_steps_per_s", "policy_step_s", "setup_s"}),
        (GpuEnvBenchmark("anymal_c_flat", 4096), {"env_steps_per_s", "step_s", "launched_step_s"}),
        (GpuTrainBenchmark("anymal_c_flat", "fast", 4096), {"samples_per_s", "to_first_iteration_s"}),
        (LaunchesBenchmark("anymal_c_flat", "fast"), {"per_policy_step", "per_mini_batch", "per_iteration"}),
        (GpuUpdateBenchmark(), {"ours_s", "rsl_rl_s", "ratio"}),
        (TransferBenchmark("anymal_c_flat"), {"mib", "host_s", "device_s", "stepwise_s", "ratio"}),
        (FlatTargetBenchmark(1), {"train_s", "samples", "iterations", "judging_s", "lin_vel_error"}),
        pytest.param(RoughTargetBenchmark(), {"train_s", "judging_s"}, marks=pytest.mark.slow),
    ],
)
def test_parts_run(declared: Benchmark, figures: set[str]) -> None:
    results = declared.quick().run(ONE_THREAD)
    assert figures <= set(results)
    assert all(float(results[name]) > 0.0 for name in figures)


def test_every_part_can_be_asked_for() -> None:
    assert SECTIONS == (
        "physics", "env", "train", "launches", "update", "transfer", "flat_target", "rough_target", "compile",
        "warp",
    )  # fmt: skip
    sizes = {(b.task, b.recipe, b.num_envs) for b in GPU if isinstance(b, GpuTrainBenchmark)}
    for task in ("anymal_c_flat", "anymal_c_rough"):
        for recipe in ("fast", "reference"):
            assert {(task, recipe, n) for n in (1024, 4096, 16384, 65536)} <= sizes


def test_operators_are_counted_but_views_are_not() -> None:
    x = torch.zeros(4, 3)
    assert launches(lambda: (x.T[0] + 1.0).mul_(2.0), CPU).count == 2


def test_on_a_cpu_a_captured_call_is_made_as_often_as_asked() -> None:
    made: list[int] = []
    call = capture(lambda: made.append(1), CPU)
    assert not made
    call()
    assert made == [1]


def test_training_ends_when_the_target_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    trainer, _ = make_trainer(default_config("anymal_c_flat"), 4, ONE_THREAD)
    seen: list[int] = []

    def judge(policy: torch.nn.Module) -> Results:
        assert policy is trainer.average
        seen.append(trainer.iteration)
        return {"reached": len(seen) == 2, "falls": 0.25}

    results = train_until(trainer, judge, (0.001, 0.002, 9.0))
    assert len(seen) == 2 and results["reached"] and results["falls"] == 0.25
    assert results["iterations"] == seen[-1] and results["samples"] == seen[-1] * 4 * 12
    assert "falls 0.25" in capsys.readouterr().out


def test_warp_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(NotInstalled, match="pip install mujoco-warp"):
        WarpBenchmark("plane", 4096).quick().run(ONE_THREAD)


@pytest.mark.slow
def test_warp_steps_the_same_robots() -> None:
    pytest.importorskip("mujoco_warp")
    results = replace(WarpBenchmark("rough", 2).quick(), warmup=10).run(ONE_THREAD)
    assert float(results["warp_steps_per_s"]) > 0.0 and results["warp_lost"] == 0


# ---------------------------------------------------------------------- the curve


def measured(num_envs: int, speed: float, launch: str = "graphs") -> str:
    parameters = {"task": "anymal_c_flat", "recipe": "fast", "num_envs": num_envs, "launch": launch}
    results = {"samples_per_s": speed}
    return json.dumps({"benchmark": "GpuTrainBenchmark", "parameters": parameters, "results": results})


def test_knee_is_where_more_robots_hardly_help() -> None:
    assert knee({1024: 1.0, 4096: 3.0, 16384: 9.1, 65536: 10.0}) == 16384
    assert knee({65536: 8.0, 1024: 10.0}) == 1024


def test_curves_are_read_and_drawn(tmp_path: Path) -> None:
    lines = [measured(1024, 9.0), measured(4096, 2.0), measured(1024, 1.0), measured(1024, 0.5, "eager")]
    lines.append(json.dumps({"benchmark": "TransferBenchmark", "parameters": {}, "results": {}}))
    assert read_curves(lines) == {
        "GpuTrainBenchmark": {
            "anymal_c_flat, fast, graphs": {1024: 1.0, 4096: 2.0},
            "anymal_c_flat, fast, eager": {1024: 0.5},
        }
    }
    source, png = tmp_path / "gpu.jsonl", tmp_path / "plots" / "gpu.png"
    source.write_text("\n".join(lines))
    draw(source, png)
    assert png.stat().st_size > 1000
    source.write_text(lines[-1])
    draw(source, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


# ---------------------------------------------------------------------- on a GPU


@needs_gpu
def test_gpu_kernels_are_counted() -> None:
    x = torch.zeros(64, device="cuda")
    found = launches(lambda: [x.add_(1.0) for _ in range(5)], x.device)
    assert found.count == 5 and sum(found.seconds.values()) > 0.0


@needs_gpu
def test_gpu_replays_what_was_captured() -> None:
    x, generator = torch.zeros(4, device="cuda"), torch.Generator("cuda")
    replay: Callable[[], object] = capture(lambda: x.uniform_(generator=generator), x.device, generator)
    replay()
    first = x.clone()
    replay()
    assert not torch.equal(first, x)


@needs_gpu
@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in ("warp", "compile")])
def test_gpu_parts_run(section: str) -> None:
    declared = next(benchmark for benchmark in GPU if benchmark.section == section)
    assert declared.quick().run(Options(threads=1, device="cuda"))


def test_trainers_may_launch_every_kernel() -> None:
    trainer, env = make_trainer(default_config("anymal_c_flat"), 4, ONE_THREAD, graphs=False)
    assert isinstance(trainer, Trainer) and trainer.env is env
