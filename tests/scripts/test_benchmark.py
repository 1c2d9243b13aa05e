"""Benchmarks: what they compare is comparable, and the command records and prints them."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from benchmarks import running
from benchmarks.common import EnvGait, NotInstalled, Options, Results, Watch, interleave, ratio
from benchmarks.gpu_rivals import GpuUpdateBenchmark, TransferBenchmark
from benchmarks.learning import CountedEnv, LearningBenchmark, Point, compare, final_reward
from benchmarks.physics import StepErrorBenchmark, WallsBenchmark
from benchmarks.running import BenchmarkConfig, json_path, results_folder, select
from benchmarks.stepping import EngineBenchmark, EnvBenchmark, paired_step, walking_env
from benchmarks.suites import BENCHMARKS, SLOW, SUITES
from benchmarks.training import TrainBenchmark
from benchmarks.updating import (
    UpdateBenchmark,
    copy_weights,
    fill_ours,
    fill_rsl_rl,
    make_ours,
    make_rsl_rl,
    synthesise,
)
from envs.tasks import get_task
from runs.machine import describe_machine
from scripts import benchmark as command

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = Options(threads=1)


def benchmark(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "--num_threads", "1", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


# ---------------------------------------------------------------------- measuring


def test_calls_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def call(name: str, duration: float) -> float:
        order.append(name)
        return duration * len(order)

    times = interleave({"a": lambda: call("a", 1.0), "b": lambda: call("b", 10.0)}, rounds=2)
    assert order == ["a", "b"] * 3
    assert times == {"a": [3.0, 5.0], "b": [40.0, 60.0]}


def test_ratios_are_taken_within_rounds() -> None:
    # a disturbance of the third round doubles both durations and leaves the ratio alone
    assert ratio([1.0, 2.0, 6.0], [2.0, 2.0, 12.0])["ratio"] == 0.5
    assert ratio([3.0], [2.0]) == {"ratio": 1.5, "ratio_low": 1.5, "ratio_high": 1.5}


def test_gait_keeps_robots_on_their_feet() -> None:
    env, gait = walking_env(16, 0, ONE_THREAD)
    env.episode_length.zero_()
    lifted = torch.zeros(16, 4)
    falls = 0
    for _ in range(60):
        _, _, terminated, _, _ = env.step(gait.actions())
        falls += int(terminated.sum())
        lifted += ~env.state.foot_contact
    assert falls <= 3
    assert (lifted > 0).float().mean() > 0.9  # and lifts them


def test_bare_engine_and_environment_start_from_one_state() -> None:
    """Measuring the pair leaves the environment exactly where its step alone would."""
    (env, gait), (plain, same_gait) = (walking_env(4, 3, ONE_THREAD) for _ in range(2))
    physics = Watch(env.engine, "step")
    ends: list[torch.Tensor] = []

    def step(*args: torch.Tensor, **kwargs: int) -> None:
        method(*args, **kwargs)
        ends.append(env.engine.joint_pos.clone())

    method, physics.method = physics.method, step
    for _ in range(5):
        whole, bare = paired_step(env, physics, gait)
        plain.step(same_gait.actions())
        assert whole > 0.0 and bare > 0.0
        assert torch.equal(*ends[-2:])  # the bare engine did what it did within the environment
        assert torch.equal(env.get_observations()["policy"], plain.get_observations()["policy"])
        assert torch.equal(env.engine.contact_force, plain.engine.contact_force)


# ---------------------------------------------------------------------- updates


@pytest.mark.parametrize("clip_value", [True, False])
def test_both_updates_do_the_same_work(clip_value: bool) -> None:
    """From equal weights and samples, with one mini-batch and no clipping of gradients: equal new weights."""
    policy = PolicyConfig(actor_hidden=(16, 8), critic_hidden=(16, 8))
    ppo = PPOConfig(4, 3, 1, clip_value=clip_value, schedule="fixed", max_grad_norm=1e9)
    agent = LearnerConfig(policy, ppo)
    ours, rollout = make_ours(agent, 32)
    theirs = make_rsl_rl(agent, 32)
    copy_weights(ours.policy, theirs)

    def parameters() -> list[tuple[torch.Tensor, torch.Tensor]]:
        pairs = [(ours.policy.log_std, theirs.actor.distribution.log_std_param)]
        for mine, other in ((ours.policy.actor, theirs.actor), (ours.policy.critic, theirs.critic)):
            pairs += zip(mine.plain().parameters(), other.mlp.parameters(), strict=True)
        return [(a.detach(), b.detach().clone()) for a, b in pairs]

    before = parameters()
    samples = synthesise(ours.policy, 4, 32)
    fill_ours(rollout, samples)
    fill_rsl_rl(theirs, samples)
    losses = ours.update(rollout, torch.Generator())
    their_losses = theirs.update()
    assert float(losses["surrogate"]) == pytest.approx(their_losses["surrogate"], abs=1e-5)
    assert float(losses["value_function"]) == pytest.approx(their_losses["value"], rel=1e-4)
    for (mine, other), (_, start) in zip(parameters(), before, strict=True):
        # of the change as a whole: Adam divides a gradient by itself, and where it is nearly zero rounding is left
        assert torch.linalg.vector_norm(mine - other) < 0.003 * torch.linalg.vector_norm(other - start)


# ---------------------------------------------------------------------- learning


def test_counter_counts_returns_of_whole_episodes() -> None:
    env_cfg = get_task("anymal_c_flat").recipe("reference").env()
    env_cfg.episode_length = 0.1  # five steps
    env_cfg.init.random_first_episode = False
    env_cfg.fatal_contact_force = 1e9
    env = CountedEnv(env_cfg, 4, num_threads=1)
    env.reset(seed=1)
    rewards = []
    for _ in range(10):
        rewards.append(env.step(torch.zeros(4, 12))[1].clone())
    curve = env.curve("ours", 7, num_steps=5)
    total = torch.stack(rewards)
    assert [point.samples for point in curve] == [20, 40]
    assert [point.episodes for point in curve] == [4, 4]
    assert [point.mean_episode_length for point in curve] == [5.0, 5.0]
    for point, part in zip(curve, total.split(5), strict=True):
        assert point.mean_reward == pytest.approx(float(part.sum(0).mean()), rel=1e-5, abs=1e-7)
        assert point.step_reward == pytest.approx(float(part.mean()), rel=1e-5, abs=1e-7)
    env.reset(seed=1)
    env.step(torch.zeros(4, 12))
    assert math.isnan(env.curve("ours", 7, num_steps=1)[0].mean_reward)


def point(samples: int, episodes: int, mean_reward: float) -> Point:
    return Point("ours", 1, samples, episodes, mean_reward, 1.0, 0.0)


def test_final_reward_is_that_of_the_last_tenth() -> None:
    points = [point(10 * i, 1, 1.0) for i in range(1, 10)] + [point(95, 1, 4.0), point(100, 3, 8.0)]
    assert final_reward(points) == pytest.approx(7.0)
    with pytest.raises(ValueError, match="more --samples"):
        final_reward([point(50, 0, math.nan), point(100, 0, math.nan)])
    assert final_reward([point(30, 2, 9.0), point(50, 1, 1.0), point(100, 0, math.nan)]) == 1.0


def test_verdict_allows_one_pooled_standard_deviation() -> None:
    verdict = compare([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])
    assert verdict["pooled_std"] == pytest.approx(1.0)
    assert verdict["not_below"]
    assert not compare([1.0, 2.0, 3.0], [2.5, 3.5, 4.5])["not_below"]
    assert compare([9.0, 9.0], [1.0, 1.0])["not_below"]


def test_learning_writes_curves_of_both_learners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = LearningBenchmark().quick().run(Options(threads=1, folder=tmp_path))
    assert {"ours_mean", "rsl_rl_mean", "pooled_std", "not_below"} <= set(results)
    assert "below rsl_rl by more than one pooled standard deviation" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "learning.csv").open()))
    assert {(row["learner"], row["seed"]) for row in rows} == {
        (learner, seed) for learner in ("ours", "rsl_rl") for seed in "12"
    }
    assert [row["samples"] for row in rows[:3]] == ["1536", "3072", "4608"]
    assert (tmp_path / "learning.png").stat().st_size > 1000


# ---------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("declared", "figures"),
    [
        (StepErrorBenchmark("rough", 16, rounds=1, warmup=3), {"median", "p99", "worst"}),
        (WallsBenchmark(16, rounds=1, warmup=1), {"walls_steps_per_s", "slopes_steps_per_s", "of_slopes"}),
        (EngineBenchmark(4, steps=2, warmup=1), {"physics_steps_per_s", "env_steps_per_s"}),
        (EnvBenchmark(4, rounds=2, warmup=1), {"ratio", "env_steps_per_s", "engine_env_steps_per_s"}),
        (UpdateBenchmark(4, (8, 8), rounds=2), {"ratio", "ours_s", "rsl_rl_s"}),
        (TrainBenchmark(4, iterations=1), {"samples_per_s", "physics", "terms", "inference", "update"}),
    ],
)
def test_benchmarks_run(
    declared: StepErrorBenchmark
    | WallsBenchmark
    | EngineBenchmark
    | EnvBenchmark
    | UpdateBenchmark
    | TrainBenchmark,
    figures: set[str],
) -> None:
    results = declared.run(ONE_THREAD)
    assert figures <= set(results)
    assert all(float(results[name]) > 0.0 for name in figures)
    if isinstance(declared, TrainBenchmark):
        shares = (float(results[name]) for name in ("physics", "terms", "inference", "update"))
        assert sum(shares) == pytest.approx(1.0)


def test_declared_benchmarks_are_those_the_project_quotes() -> None:
    assert SUITES == ("physics", "engine", "env", "update", "train", "terrain", "learning", "gpu")
    updates = [b for b in BENCHMARKS if isinstance(b, UpdateBenchmark)]
    assert {b.samples for b in updates} == {24_576, 98_304}
    assert {b.hidden for b in updates} == {(128, 64, 32), (512, 256, 128)}
    for kind in (EngineBenchmark, EnvBenchmark):
        assert [b.num_envs for b in BENCHMARKS if isinstance(b, kind)] == [1024, 4096]
    trained = [(b.task, b.num_envs) for b in BENCHMARKS if isinstance(b, TrainBenchmark)]
    assert trained == [(task, n) for task in ("anymal_c_flat", "anymal_c_rough") for n in (1024, 4096)]
    (learning,) = (b for b in BENCHMARKS if isinstance(b, LearningBenchmark))
    assert (learning.samples, learning.num_envs, len(learning.seeds)) == (2_500_000, 512, 3)


def test_slow_suites_run_only_by_name() -> None:
    assert {b.suite for b in select(BenchmarkConfig())} == set(SUITES) - set(SLOW)
    (learning,) = select(BenchmarkConfig(suite="learning", samples=1000))
    assert isinstance(learning, LearningBenchmark) and learning.samples == 1000


def test_quick_results_do_not_mix_with_real_ones(tmp_path: Path) -> None:
    assert json_path(BenchmarkConfig(), "env") == Path("logs/benchmarks/env.jsonl"), "not a tracked file"
    assert json_path(BenchmarkConfig(quick=True), "env") is None
    assert ROOT not in results_folder(BenchmarkConfig(quick=True)).parents
    given = BenchmarkConfig(quick=True, json=str(tmp_path / "a.jsonl"))
    assert json_path(given, "env") == tmp_path / "a.jsonl" and results_folder(given) == tmp_path


def test_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cpu"] and machine["cores"] >= 1
    assert machine["torch"] == torch.__version__


def test_command_prints_a_table_and_appends_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    result = benchmark("--suite", "env", "--quick", "--json", str(path))
    assert result.returncode == 0, result.stderr
    assert "ratio" in result.stdout and "num envs" in result.stdout
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["parameters"]["num_envs"] for line in lines] == [32, 128]
    for line in lines:
        assert line["suite"] == "env" and line["quick"] and line["threads"] == 1
        assert 0.0 < line["results"]["ratio"] < 1.5
        assert {"cpu", "cores", "torch", "mujoco", "commit"} <= set(line["machine"])


@dataclass(frozen=True)
class Part:
    """A part of the suite gpu that fails, or is not there, or works."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "physics"
    num_envs: int
    error: type[Exception] | None = None

    def quick(self) -> Part:
        """Nothing is smaller."""
        return self

    def run(self, options: Options) -> Results:
        """Fail or not."""
        if self.error:
            raise self.error("out of memory")
        return {"device": options.device}


def run_parts(parts: list[Part], path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command's status with these parts."""
    monkeypatch.setattr(running, "BENCHMARKS", parts)
    flags = ["--suite", "gpu", "--quick", "--device", "cpu", "--json", str(path), "--num_threads", "1"]
    monkeypatch.setattr("sys.argv", ["benchmark.py", *flags])
    return command.main()


def test_a_part_that_fails_does_not_lose_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu.jsonl"
    assert run_parts([Part(1, RuntimeError), Part(2)], path, monkeypatch) == 1
    assert [json.loads(line)["parameters"]["num_envs"] for line in path.read_text().splitlines()] == [2]
    assert "RuntimeError: out of memory" in capsys.readouterr().out
    assert run_parts([Part(1, NotInstalled), Part(2)], path, monkeypatch) == 0, "nothing is wrong"


def test_parts_of_the_gpu_suite_are_chosen(tmp_path: Path) -> None:
    chosen = select(BenchmarkConfig(suite="gpu", only=("update", "transfer")))
    assert [type(b) for b in chosen] == [GpuUpdateBenchmark, TransferBenchmark]
    path = tmp_path / "gpu.jsonl"
    flags = ("--suite", "gpu", "--only", "physics", "update", "--quick", "--device", "cpu")
    result = benchmark(*flags, "--json", str(path))
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["benchmark"] for line in lines} == {"GpuPhysicsBenchmark", "GpuUpdateBenchmark"}
    assert path.with_suffix(".png").stat().st_size > 1000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_suite_says_that_it_needs_one() -> None:
    result = benchmark("--suite", "gpu")
    assert result.returncode == 2 and "needs an NVIDIA GPU" in result.stderr
    assert result.stderr.count("\n") == 1


def test_bad_values_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="no part 'phsics'.* Did you mean physics"):
        select(BenchmarkConfig(suite="gpu", only=("phsics",)))
    with pytest.raises(ValueError, match="give --suite gpu"):
        select(BenchmarkConfig(only=("physics",)))
    with pytest.raises(ValueError, match="unknown suite 'udpate'"):
        select(BenchmarkConfig(suite="udpate"))
    with pytest.raises(ValueError, match="--num_threads must not be negative"):
        select(BenchmarkConfig(num_threads=-1))
    with pytest.raises(ValueError, match="--samples must be at least 1"):
        select(BenchmarkConfig(samples=0))


def test_command_refuses_with_one_sentence() -> None:
    result = benchmark("--suite", "udpate")
    assert result.returncode == 2
    assert "Did you mean update?" in result.stderr and "Traceback" not in result.stderr


def test_gait_is_repeatable() -> None:
    env, _ = walking_env(3, 0, ONE_THREAD)
    first, second = EnvGait(env), EnvGait(env)
    assert all(torch.equal(first.actions(), second.actions()) for _ in range(3))
