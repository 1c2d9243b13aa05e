"""Benchmarks of terrain, drives and randomisation: they run, and compare what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from benchmarks.common import Options
from benchmarks.stepping import walking_env
from benchmarks.suites import BENCHMARKS, Benchmark
from benchmarks.terrain import (
    Change,
    ChangeBenchmark,
    MapBenchmark,
    RoughBenchmark,
    ScanBenchmark,
    all_levels,
    rough_and_plane,
    with_and_without,
)
from benchmarks.training import RecurrentBenchmark, TrainBenchmark, make_trainer
from envs.randomisation import RANDOMISED, differing

ONE_THREAD = Options(threads=1)
SHARES = {"minimum_ratio", "minimum_ratio_high", "bilinear_ratio", "bilinear_ratio_low"}


@pytest.mark.parametrize(
    ("declared", "figures"),
    [
        (MapBenchmark(rounds=1), {"map_s", "map_s_low", "map_s_high"}),
        (ScanBenchmark("batched", 2, num_envs=4, warmup=1), {"step_s"} | SHARES),
        (ScanBenchmark("mujoco", 2, num_envs=4, warmup=1), {"step_s"} | SHARES),
        (RoughBenchmark(4, rounds=1), {"ratio", "iteration_s", "plain_iteration_s"}),
        (ChangeBenchmark("net", 4, rounds=2, warmup=1), {"ratio", "ratio_low", "ratio_high"}),
        (ChangeBenchmark("all_redrawn", 4, rounds=2, warmup=1), {"ratio", "step_s", "plain_step_s"}),
        (RecurrentBenchmark("gru", 4, rounds=1), {"ratio", "iteration_s", "plain_iteration_s"}),
        (TrainBenchmark(4, iterations=1, task="anymal_c_rough"), {"samples_per_s", "terms", "update"}),
    ],
)
def test_benchmarks_run(declared: Benchmark, figures: set[str]) -> None:
    results = declared.run(ONE_THREAD)
    assert figures <= set(results)
    assert all(float(results[name]) > 0.0 for name in figures)


def test_declared_benchmarks_measure_what_is_promised() -> None:
    suite = [b for b in BENCHMARKS if b.suite == "terrain"]
    assert [(b.engine, b.num_envs) for b in suite if isinstance(b, ScanBenchmark)] == [
        ("batched", 4096),
        ("mujoco", 4096),
    ]
    assert {b.change for b in suite if isinstance(b, ChangeBenchmark)} == set(get_args(Change))
    assert [b.num_envs for b in suite if isinstance(b, RoughBenchmark)] == [1024, 4096]
    assert [b for b in suite if isinstance(b, MapBenchmark)]


def test_robots_stand_on_all_levels_of_the_map() -> None:
    env, _ = walking_env(200, 0, ONE_THREAD, all_levels().env)
    assert env.course is not None
    assert set(env.course.level.tolist()) == set(range(10))


def test_rough_and_plane_differ_in_nothing_but_the_ground() -> None:
    rough, plane = rough_and_plane()
    assert rough.agent == plane.agent
    assert replace(rough.env, terrain=plane.env.terrain) == plane.env
    trainers = [make_trainer(cfg, 4, ONE_THREAD) for cfg in (rough, plane)]
    (on_map, env), (on_plane, plane_env) = trainers
    assert env.course is not None and plane_env.course is None
    assert env.obs_layout == plane_env.obs_layout and env.obs_layout["height_scan"] == 187
    shapes = [[p.shape for p in trainer.policy.parameters()] for trainer in (on_map, on_plane)]
    assert shapes[0] == shapes[1]
    obs = torch.stack([plane_env.step(torch.zeros(4, 12))[0]["policy"][:, -187:] for _ in range(2)])
    assert (obs.std(dim=(0, 1)) > 0.0).all()  # with noise, as on the map


@pytest.mark.parametrize("change", get_args(Change))
def test_only_the_change_differs(change: Change) -> None:
    changed, plain = with_and_without(change)
    if change == "net":
        assert (changed.actuator, plain.actuator) == ("net", "pd")
        assert replace(changed, actuator="pd") == plain
        return
    assert changed.randomisation.redraw == "reset"
    assert replace(changed, randomisation=plain.randomisation) == plain
    assert differing(plain.randomisation) == []
    drawn = differing(changed.randomisation)
    assert drawn == (list(RANDOMISED) if change == "all_redrawn" else ["friction", "added_base_mass"])
