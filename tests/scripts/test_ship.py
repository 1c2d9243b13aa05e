"""A shipped policy acts like the run it came from, says how it was made, and is found by name."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from algorithms import checkpoint
from envs.legged_env import LeggedEnv
from runs import folders as runs
from runs.config import parse
from runs.folders import RunFlags, load_policy, open_flags
from scripts import ship
from scripts.train import main as train

TINY = "--num_envs 8 --max_iterations 2 --num_threads 1 --agent.eval_envs 0 --agent.save_interval 1"


def run_main(main: Callable[[], int], *argv: str) -> int:
    """A command as from the shell, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(argv))
        return main()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("logs")
    args = (
        f"--task go2_flat --log_dir {logs} {TINY} --env.episode_length 3 --env.commands.lin_vel_x -0.5 0.75"
    )
    assert run_main(train, "train.py", *args.split()) == 0
    (folder,) = (logs / "go2_flat").iterdir()
    (folder / "evaluation.json").write_text(
        json.dumps({"checkpoint": "model_2.pt", "nominal": {"falls": 0.5}})
    )
    return folder


def test_a_shipped_policy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runs, ship):
        monkeypatch.setattr(module, "POLICIES", tmp_path)
    assert run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "mine") == 0
    made, shipped = open_flags(RunFlags(load_run=str(run))), open_flags(RunFlags(policy="mine"))
    env = LeggedEnv(made.cfg.env, 4, num_threads=1)
    obs = torch.randn(4, env.num_obs)
    assert torch.equal(load_policy(made, env).mean(obs), load_policy(shipped, env).mean(obs))
    assert shipped.checkpoint_path.stat().st_size < 0.5 * made.checkpoint_path.stat().st_size
    assert "env" not in checkpoint.load(shipped.checkpoint_path)
    figures = json.loads((tmp_path / "mine" / "figures.json").read_text())
    assert figures["evaluation"]["nominal"] == {"falls": 0.5} and figures["samples"] == 2 * 8 * 12
    files = sorted(path.name for path in (tmp_path / "mine" / "exported").iterdir())
    assert files == ["policy.json", "policy.onnx"]
    again = parse(shlex.split(figures["train"])[2:])
    assert "--env.commands.lin_vel_x -0.5 0.75" in figures["train"]
    assert again.env == made.cfg.env and again.agent == made.cfg.agent
    assert (again.task, again.num_envs, again.seed) == ("go2_flat", 8, 1)


def test_refusals(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runs, ship):
        monkeypatch.setattr(module, "POLICIES", tmp_path)
    assert run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "mine") == 0
    with pytest.raises(ValueError, match="exists; give another"):
        run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "mine")
    with pytest.raises(ValueError, match="it has mine. Did you mean mine"):
        open_flags(RunFlags(policy="mina"))
    with pytest.raises(ValueError, match="exclude each other"):
        open_flags(RunFlags(policy="mine", load_run=str(run)))
    (run / "terrain.json").write_text(json.dumps({"checkpoint": "model_1.pt"}))
    with pytest.raises(ValueError, match=r"about model_1.pt, not model_2.pt"):
        run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "other")
    (run / "terrain.json").unlink()


def contents(folder: Path) -> dict[Path, bytes]:
    """All files of a folder, hidden ones too."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_cannot_be_shipped_leaves_all_as_it_was(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (runs, ship):
        monkeypatch.setattr(module, "POLICIES", tmp_path)
    assert run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "mine") == 0
    (tmp_path / "mine" / "old").write_text("")
    before = contents(tmp_path)
    again = "ship.py", "--load_run", str(run), "--name", "mine", "--overwrite"
    (run / "commands.json").write_text(json.dumps({"checkpoint": "model_1.pt"}))
    with pytest.raises(ValueError, match=r"about model_1.pt, not model_2.pt"):
        run_main(ship.main, *again)
    assert contents(tmp_path) == before
    (run / "commands.json").unlink()
    content = {"metadata": {"task": "go2_flat", "learner": "rsl_rl"}, "iteration": 2}
    policy = checkpoint.load(run / "model_2.pt")["policy"]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "load_checkpoint", lambda *args: content | {"policy": policy})
        with pytest.raises(ValueError, match="model_2.pt cannot be shipped: it lacks train_time"):
            run_main(ship.main, "ship.py", "--load_run", str(run), "--name", "other")
    with pytest.raises(ValueError, match="--policy needs --refresh"):
        run_main(ship.main, "ship.py", "--policy", "mine", "--name", "mine", "--overwrite")
    assert contents(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert run_main(ship.main, *again) == 0
    assert not (tmp_path / "mine" / "old").exists()


def test_a_named_checkpoint_is_shipped_with_its_own_figures(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (runs, ship):
        monkeypatch.setattr(module, "POLICIES", tmp_path)
    path = run / "terrain_mujoco_model_1.json"
    path.write_text(json.dumps({"checkpoint": "model_1.pt", "cells": []}))
    assert run_main(ship.main, "ship.py", "--load_run", str(run), "--checkpoint", "1", "--name", "mine") == 0
    path.unlink()
    figures = json.loads((tmp_path / "mine" / "figures.json").read_text())
    assert figures["checkpoint"] == "model_1.pt" and "evaluation" not in figures
    assert figures["terrain_mujoco"] == {"checkpoint": "model_1.pt", "cells": []}


def test_exports_are_written_anew(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runs, ship):
        monkeypatch.setattr(module, "POLICIES", tmp_path)
    for name in ("mine", "yours"):
        assert run_main(ship.main, "ship.py", "--load_run", str(run), "--name", name) == 0
    exports = [tmp_path / name / "exported" / "policy.json" for name in ("mine", "yours")]
    fresh = [path.read_text() for path in exports]
    for path in exports:
        path.write_text("stale")
    assert run_main(ship.main, "ship.py", "--refresh", "--policy", "yours") == 0
    assert [path.read_text() for path in exports] == ["stale", fresh[1]]
    assert run_main(ship.main, "ship.py", "--refresh") == 0
    assert [path.read_text() for path in exports] == fresh
    assert not (tmp_path / "mine" / "exported" / "policy.pt").exists()
