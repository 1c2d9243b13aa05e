"""Memory is predicted before anything long starts, and running out of it is one sentence that names what fits."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.legged_env import LeggedEnv
from runs import memory
from runs.command import command
from runs.config import RunConfig, default_config, overlay
from runs.memory import bytes_per_robot, check_memory, explained, is_out_of_memory, largest_fit, predict
from scripts import train
from tests.gpu import needs_gpu


def config(task: str = "anymal_c_flat", recipe: str = "", **changes: Any) -> RunConfig:
    return overlay(default_config(task, recipe), changes)


# kB that a robot took from 1,024 to 4,096 of them, on a CPU, in rollouts of 24 steps
@pytest.mark.parametrize(
    ("task", "recipe", "engine", "measured"),
    [
        ("anymal_c_flat", "fast", "batched", 63),
        ("anymal_c_flat", "fast", "mujoco", 45),
        ("anymal_c_rough", "fast", "batched", 143),
        ("anymal_c_rough", "fast", "mujoco", 150),
        ("anymal_c_rough", "reference", "batched", 119),
        ("anymal_c_rough", "reference", "mujoco", 122),
    ],
)
def test_the_prediction_is_what_was_measured(task: str, recipe: str, engine: str, measured: int) -> None:
    cfg = config(task, recipe, engine=engine, agent={"ppo": {"num_steps": 24}})
    predicted = sum(bytes_per_robot(cfg, "cpu").values()) / 1000
    assert 0.9 < predicted / measured < 1.15


@pytest.mark.parametrize("task", ["anymal_c_rough", "cassie_flat"])
@pytest.mark.parametrize("group", ["both", "critic"])
def test_columns_are_those_of_the_environment(task: str, group: str) -> None:
    cfg = config(task, env={"observations": {"base_lin_vel": {"group": group}}}).env
    if cfg.terrain.type != "plane":
        cfg.terrain.type = "tile"
    env, joints = LeggedEnv(cfg, 2, "mujoco", num_threads=1), memory.joint_names(cfg)
    assert joints == env.joint_names
    assert memory.columns(cfg, "policy", joints) == env.num_obs
    assert memory.columns(cfg, "critic", joints) == env.num_critic_obs


def test_more_of_anything_takes_more() -> None:
    for device in ("cpu", "cuda"):
        plain = predict(config(), device)
        for changes in (
            {"num_envs": 8192},
            {"agent": {"ppo": {"num_steps": 200}}},
            {"agent": {"policy": {"critic_hidden": (2048, 2048)}}},
            {"agent": {"policy": {"recurrent": "lstm", "recurrent_hidden": 512}}},
            {"agent": {"policy": {"symmetry": "augmentation"}, "ppo": {"num_steps": 200}}},
        ):
            assert predict(config(**changes), device) > plain
    few, many = (
        sum(bytes_per_robot(config(agent={"ppo": {"num_mini_batches": k}}), "cuda").values()) for k in (8, 1)
    )
    assert few < many


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 2 * 2**30)
    cfg = config(num_envs=100_000)
    for device, where in (("cpu", "this machine has 2.0 GiB"), ("cuda", "the GPU has free 2.0 GiB")):
        with pytest.raises(
            ValueError, match=rf"--num_envs 100000 needs about .* GiB, {where}: at most"
        ) as error:
            check_memory(cfg, device)
        fit = int(re.findall(r"(\d+) robots fit", str(error.value))[0])
        check_memory(overlay(cfg, {"num_envs": fit}), device)
        with pytest.raises(ValueError, match="robots fit"):
            check_memory(overlay(cfg, {"num_envs": fit + 1}), device)
    assert largest_fit(cfg, "cpu", 0.0) == 0


def test_a_gpus_memory_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    assert memory.available("cuda:0") == 4 * 2**30
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 2 * 2**30)
    assert memory.report(config(), "cuda:0").startswith("1.00 GiB on the GPU, 2.00 reserved (predicted ")


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "memory.max")
    whole = memory.available("cpu")
    for text, expected in (("max\n", whole), ("1000000\n", 1_000_000)):
        memory.CGROUP.write_text(text)
        assert memory.available("cpu") == expected


def test_every_way_to_run_out_is_known() -> None:
    for error in (MemoryError(), torch.cuda.OutOfMemoryError("x"), RuntimeError("CUDA error: out of memory")):
        assert is_out_of_memory(error)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not fit")) and not is_out_of_memory(
        ValueError("memory")
    )
    with pytest.raises(RuntimeError, match="shapes"), explained(config(), "cpu"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried"), MemoryError()])
def test_running_out_while_training_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any) -> LeggedEnv:
        raise error

    monkeypatch.setattr(train, "LeggedEnv", fail)
    monkeypatch.setattr(sys, "argv", ["train.py", "--num_envs", "600", "--device", "cpu", "--check"])
    with pytest.raises(SystemExit) as end:
        command(train.main)
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "train.py: out of memory on cpu with --num_envs 600: about 300 robots would fit\n"
    )


def test_running_out_anywhere_else_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    with pytest.raises(SystemExit) as end:
        command(fail)
    assert end.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


@needs_gpu
@pytest.mark.parametrize(("task", "recipe"), [("anymal_c_flat", "fast"), ("anymal_c_rough", "reference")])
def test_the_prediction_holds_on_a_gpu(task: str, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--task", task, "--recipe", recipe, "--num_envs", "16384", "--agent.eval_envs", "0"]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags, "--device", "cuda", "--check"])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert train.main() == 0
    predicted = predict(config(task, recipe, num_envs=16384), "cuda")
    assert torch.cuda.max_memory_reserved() < predicted < 6 * torch.cuda.max_memory_allocated()
