"""Runs are found wherever they lie, and go on as they were."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms import checkpoint
from runs.config import default_config, load_config, save_config
from runs.folders import (
    POLICIES,
    Run,
    RunFlags,
    find_run,
    load_checkpoint,
    locked,
    open_flags,
    output_name,
    report,
)
from runs.resume import move_checkpoint, resume_config
from scripts import train


def make_run(folder: Path, task: str, learner: str = "trot") -> Path:
    """A run with one checkpoint, of a policy without weights."""
    folder.mkdir(parents=True)
    cfg = default_config(task)
    cfg.learner = learner  # type: ignore[assignment]
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": task}, "policy": {}, "iteration": 4, "train_time": 1.0}
    checkpoint.save(folder / "model_4.pt", content)
    return folder


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Runs of three experiments, and a folder that is none."""
    make_run(tmp_path / "anymal_c_flat" / "2030-01-01_00-00-00", "anymal_c_flat")
    make_run(tmp_path / "go2_rough" / "2030-01-02_00-00-00", "go2_rough")
    make_run(tmp_path / "mine" / "2030-01-03_00-00-00", "go2_flat")
    make_run(tmp_path / "go2_flat_rsl_rl" / "2030-01-04_00-00-00", "go2_flat", "rsl_rl")
    (tmp_path / "anymal_c_flat" / "2030-01-05_00-00-00").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ({}, "mine/2030-01-03_00-00-00"),
        ({"task": "go2"}, "go2_rough/2030-01-02_00-00-00"),
        ({"task": "go2_flat"}, "mine/2030-01-03_00-00-00"),
        ({"experiment_name": "anymal_c_flat"}, "anymal_c_flat/2030-01-01_00-00-00"),
        ({"load_run": "2030-01-02_00-00-00"}, "go2_rough/2030-01-02_00-00-00"),
    ],
)
def test_runs_of_any_task_are_found(logs: Path, flags: dict[str, Any], found: str) -> None:
    assert find_run(RunFlags(log_dir=str(logs), **flags)) == logs / found


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"task": "a1"}, "no trained run of a1_rough"),
        (
            {"load_run": "2030-01-02_00-00-01"},
            "no run '2030-01-02_00-00-01'.*Did you mean 2030-01-02_00-00-00",
        ),
        ({"load_run": "2030-01-02_00-00-00", "task": "a1"}, "trains go2_rough, not a1_rough"),
        ({"load_run": "{logs}/mine"}, "mine is no run folder: it has no config.yaml"),
    ],
)
def test_what_is_not_there_is_one_sentence(logs: Path, flags: dict[str, Any], sentence: str) -> None:
    given: dict[str, Any] = {name: value.format(logs=logs) for name, value in flags.items()}
    with pytest.raises(ValueError, match=sentence):
        find_run(RunFlags(log_dir=str(logs), **given))


def test_a_name_that_two_runs_have_is_not_guessed(logs: Path) -> None:
    twin = make_run(logs / "other" / "2030-01-02_00-00-00", "go2_flat")
    with pytest.raises(ValueError, match=r"could be .*; give one of these paths"):
        find_run(RunFlags(log_dir=str(logs), load_run=twin.name))
    assert find_run(RunFlags(log_dir=str(logs), load_run=twin.name, task="go2_flat")) == twin
    assert find_run(RunFlags(log_dir=str(logs), load_run=str(twin))) == twin


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("--env.clean-critic", "env.clean_critic"),
        ("--env.robot.stiffness.* 90", "env.robot.stiffness"),
        ("--learner rsl_rl", "learner"),
        ("--run_name other", "run_name"),
        ("--recipe reference", "recipe"),
    ],
)
def test_resume_refuses_every_change(
    logs: Path, flags: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["train.py", "--resume", "--log_dir", str(logs), *shlex.split(flags)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(ValueError, match=rf"{name}.* cannot change"):
        train.main()


def test_a_run_of_rsl_rl_is_not_resumed(logs: Path) -> None:
    with pytest.raises(ValueError, match="--resume continues runs of --learner trot only"):
        resume_config(logs / "go2_flat_rsl_rl" / "2030-01-04_00-00-00")


def test_resume_applies_or_accepts_the_rest(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = logs / "mine" / "2030-01-03_00-00-00"
    line = (
        "train.py --resume --task go2_flat --env.no-clean-critic --headless --max-iterations 9 --checkpoint 4"
    )
    monkeypatch.setattr(sys, "argv", [*line.split(), "--log_dir", str(logs), "--sim_device", "cuda:0"])
    cfg = resume_config(folder)
    assert (cfg.max_iterations, cfg.device, cfg.log_dir) == (9, "cuda:0", "logs")
    assert cfg.env == load_config(folder / "config.yaml").env and not cfg.resume


@pytest.mark.parametrize("name", ["anymal_c_rough", "cassie_flat"])
def test_a_saved_configuration_is_no_change(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume"])
    shutil.copy(POLICIES / name / "config.yaml", tmp_path)
    assert resume_config(tmp_path) == load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("saved", "flags", "device"),
    [
        ("auto", "", "auto"),
        ("cpu", "", "cpu"),
        ("cuda:1", "", "auto"),  # such a GPU is not here
        ("cuda:1", "--device cpu", "cpu"),
        ("cpu", "--device auto", "auto"),
    ],
)
def test_a_run_goes_on_where_there_is_no_gpu(
    saved: str, flags: str, device: str, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = logs / "mine" / "2030-01-03_00-00-00"
    save_config(replace(load_config(folder / "config.yaml"), device=saved), folder / "config.yaml")
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", *flags.split()])
    assert resume_config(folder).device == device
    assert open_flags(RunFlags(load_run=str(folder))).cfg.device == "auto"


def test_a_checkpoint_moves_to_another_kind_of_device() -> None:
    def content(generator: torch.Tensor) -> dict[str, Any]:
        optimizer = {"param_groups": [{"capturable": True}]}
        ppo, env = {"optimizer": optimizer}, {"generator": generator.clone()}
        return {"iteration": 7, "ppo": ppo, "env": env, "generator": generator}

    gpu = content(torch.zeros(16, dtype=torch.uint8))
    assert move_checkpoint(gpu, "cpu", seed=1)
    assert not gpu["ppo"]["optimizer"]["param_groups"][0]["capturable"]
    assert torch.equal(gpu["generator"], torch.Generator().manual_seed(8).get_state())
    assert torch.equal(gpu["env"]["generator"], gpu["generator"])
    own = torch.Generator().manual_seed(3).get_state()
    cpu = content(own)
    assert not move_checkpoint(cpu, "cpu", seed=1) and cpu["generator"] is own
    with pytest.raises(ValueError, match="weights alone"):
        move_checkpoint({"policy": {}}, "cpu", seed=1)


def test_two_programs_do_not_train_in_one_folder(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", "--log_dir", str(logs)])
    with (
        locked(logs / "mine" / "2030-01-03_00-00-00"),
        pytest.raises(ValueError, match="another program is at work in"),
    ):
        train.main()


def test_beside_a_damaged_checkpoint_the_newest_readable_is_named(logs: Path) -> None:
    folder = logs / "mine" / "2030-01-03_00-00-00"
    content = (folder / "model_4.pt").read_bytes()
    for iteration in (6, 8):
        (folder / f"model_{iteration}.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model_8.pt is damaged.*can be read: --checkpoint 4$"):
        load_checkpoint(folder / "model_8.pt", "go2_flat", "cpu")
    torch.save([1], folder / "model_4.pt")
    with pytest.raises(ValueError, match=r"model_8.pt is damaged[^;]*$"):
        load_checkpoint(folder / "model_8.pt", "go2_flat", "cpu")


def test_what_can_be_chosen_fits_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--list"])
    assert train.main() == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 120
    for name in ("go2_rough", "reference", "anymal_c_arm,", "stepping_stones", "linear", "cassie_flat"):
        assert name in text


def test_what_is_made_of_a_shipped_policy_lies_in_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_flags(RunFlags(policy="go2_flat"))
    assert run.output.resolve() == tmp_path / "logs" / "policies" / "go2_flat" and run.output.is_dir()
    there = open_flags(RunFlags(policy="go2_flat", log_dir="elsewhere"))
    assert there.output.resolve() == tmp_path / "elsewhere" / "policies" / "go2_flat"
    own = Run(tmp_path, run.cfg, run.checkpoint_path, run.content)
    assert own.output == tmp_path


def test_what_is_measured_otherwise_stands_beside() -> None:
    assert output_name("terrain") == "terrain" and output_name("exported", 50) == "exported_model_50"
    assert output_name("terrain", engine="mujoco", cell=0.05) == "terrain_mujoco_cell0.05"
    two = ("stairs_up", "gap")
    assert output_name("terrain", 0, shapes=two) == output_name("terrain", 0, shapes=two[::-1])
    assert output_name("terrain", 0, shapes=two) == "terrain_model_0_gap_stairs_up"
    assert output_name("commands", shapes=two) == "commands", "which have no kinds of terrain"


def test_figures_are_json_also_where_they_are_no_numbers(tmp_path: Path) -> None:
    run = Run(tmp_path, default_config("go2_flat"), tmp_path / "model_4.pt", {"iteration": 4})
    text = report(run, {"cells": [{"time": math.nan, "success": 0.5}]}, ends=(0.0, math.inf))

    def refused(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(text, parse_constant=refused)
    assert content["cells"] == [{"time": None, "success": 0.5}] and content["ends"] == [0.0, None]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content.pop("policy"), "lacks policy"),
        (lambda content: content.pop("metadata"), "lacks metadata"),
        (lambda content: next(iter(content["policy"].values())).fill_(math.nan), "not finite numbers"),
    ],
)
def test_a_checkpoint_without_what_it_takes_is_refused(
    change: Callable[[dict[str, Any]], Any], sentence: str, tmp_path: Path
) -> None:
    content = checkpoint.load(POLICIES / "go2_flat" / "model_best.pt")
    change(content)
    checkpoint.save(tmp_path / "model_1.pt", content)
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(tmp_path / "model_1.pt", "go2_flat", "cpu")


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray((POLICIES / "go2_flat" / "model_best.pt").read_bytes())
    for place in range(len(data) // 4, len(data) * 3 // 4, len(data) // 40):  # of the weights
        data[place] ^= 1
        (tmp_path / "model_1.pt").write_bytes(data)
        with pytest.raises(ValueError, match="damaged"):
            load_checkpoint(tmp_path / "model_1.pt", "go2_flat", "cpu")
        data[place] ^= 1


def test_the_newest_run_is_the_last_at_work_whatever_it_is_called(logs: Path) -> None:
    renamed = logs / "anymal_c_flat" / "zzz_best_run"
    (logs / "anymal_c_flat" / "2030-01-01_00-00-00").rename(renamed)
    os.utime(renamed / "model_4.pt", (1.0, 1.0))
    newest = logs / "mine" / "2030-01-03_00-00-00"
    os.utime(newest / "model_4.pt", (4e9, 4e9))
    for name in ("", "-1"):
        assert find_run(RunFlags(log_dir=str(logs), load_run=name)) == newest
    os.utime(renamed / "model_4.pt", (5e9, 5e9))
    assert find_run(RunFlags(log_dir=str(logs))) == renamed
