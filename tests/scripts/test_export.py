"""The export command writes three files that agree with the run and with one another."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from algorithms import checkpoint
from algorithms.trainer import make_policy
from envs.config import ObservationTerm
from envs.legged_env import LeggedEnv
from envs.state import RobotState
from runs.command import command
from runs.config import default_config, save_config
from runs.export import _command_bounds, _observation, export_run
from runs.folders import load_policy, open_run
from scripts import export

FILES = ["policy.json", "policy.onnx", "policy.pt"]


@pytest.fixture(scope="module")
def env() -> LeggedEnv:
    return LeggedEnv(default_config("anymal_c_flat").env, 1, "mujoco", num_threads=1)


@pytest.fixture(scope="module")
def logs(env: LeggedEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of experiments with one run: a small random policy after 7 iterations."""
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    cfg.agent.policy.normalise_obs = True
    cfg.agent.policy.symmetry = "equivariant"
    cfg.env.control.action_scale = 0.25
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    metadata = {"task": cfg.task, "recipe": cfg.recipe, "engine": "mujoco (as asked)", "seed": 5}
    folder = tmp_path_factory.mktemp("logs") / "anymal_c_flat" / "first"
    folder.mkdir(parents=True)
    save_config(cfg, folder / "config.yaml")
    checkpoint.save(
        folder / "model_7.pt", {"metadata": metadata, "iteration": 7, "policy": policy.state_dict()}
    )
    return folder.parent.parent


def run_main(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """Exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["scripts/export.py", *args])
    monkeypatch.setattr(export, "set_threads", lambda threads: threads)
    with pytest.raises(SystemExit) as ended:
        command(export.main)
    return int(ended.value.code or 0)


def description(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "policy.json").read_text())


def test_command_writes_into_the_run_folder(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "--log_dir", str(logs), "--checkpoint", "7") == 0
    folder = logs / "anymal_c_flat" / "first" / "exported"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert capsys.readouterr().out.splitlines()[-1].startswith("max_difference=")


def test_golden_pair_reproduces(logs: Path, env: LeggedEnv, tmp_path: Path) -> None:
    run = open_run(log_dir=str(logs))
    golden = description(export_run(run, env, tmp_path / "out"))["golden"]
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "policy.onnx"))
    observation = np.array([golden["observation"]], dtype=np.float32)
    (action,) = session.run(["actions"], {"obs": observation})
    np.testing.assert_allclose(action[0], golden["action"], atol=1e-5)
    trained = load_policy(run, env).mean(torch.from_numpy(observation))[0].detach()
    np.testing.assert_allclose(trained, golden["action"], atol=1e-5)


def test_json_says_how_to_drive_the_robot(logs: Path, env: LeggedEnv, tmp_path: Path) -> None:
    facts = description(export_run(open_run(log_dir=str(logs)), env, tmp_path))
    assert facts["joint_names"] == list(env.joint_names)
    assert facts["default_joint_pos"] == pytest.approx(env.default_joint_pos.tolist())
    assert (facts["stiffness"], facts["damping"], facts["effort_limit"]) == (
        [80.0] * 12,
        [2.0] * 12,
        [80.0] * 12,
    )
    assert (facts["timestep"], facts["decimation"], facts["policy_rate"]) == (0.005, 4, 50.0)
    assert facts["action_scale"] == 0.25  # the run's, not the task's
    assert {term["name"]: term["columns"] for term in facts["observations"]} == env.obs_layout
    scales = [factor for term in facts["observations"] for factor in term["scale"]]
    assert scales == pytest.approx(env.obs_scale.tolist())
    assert facts["mjcf"] == "anymal_c.xml"
    assert (facts["terrain"]["tile_size"], facts["terrain"]["cell"]) == (8.0, 0.1)
    commands = facts["commands"]
    assert commands["heading_gain"] == 0.5
    assert (commands["low"], commands["high"]) == ([-1.2, -1.2, -1.5], [1.2, 1.2, 1.5])
    fatal = [f"base_{i}" for i in range(8)] + [f"{leg}_HIP_0" for leg in ("LF", "RF", "LH", "RH")]
    assert facts["fall"]["geoms"] == {"base": fatal} and facts["fall"]["force"] == 1.0
    nominal, assumed = env.engine.nominal, facts["assumed"]
    assert assumed["armature"] == pytest.approx(nominal["armature"].tolist())
    assert assumed["bodies"][0]["mass"] == pytest.approx(nominal["base_mass"].item())
    training = facts["training"]
    assert (training["run"], training["task"], training["iteration"]) == ("first", "anymal_c_flat", 7)
    assert (training["engine"], training["seed"]) == ("mujoco (as asked)", 5)


def test_commands_that_a_curriculum_or_a_heading_makes_are_bounded() -> None:
    cfg = default_config("anymal_c_flat").env.commands
    cfg.lin_vel_x, cfg.curriculum, cfg.heading = (0.0, 1.0), True, True
    cfg.ang_vel_yaw = (-1.0, 1.0)  # limits a heading's yaw rate too
    assert _command_bounds(cfg) == {"low": [0.0, -1.2, -1.0], "high": [2.0, 1.2, 1.0]}
    cfg.ang_vel_yaw = (-0.3, 0.5)
    assert _command_bounds(cfg) == {"low": [0.0, -1.2, -0.3], "high": [2.0, 1.2, 0.5]}


def test_json_describes_the_height_scan() -> None:
    cfg = default_config("anymal_c_rough").env
    cfg.scan.spacing, cfg.scan.lookup = 0.2, "bilinear"
    term = _observation("height_scan", cfg.observations["height_scan"], 54, cfg.scan)
    assert (term["function"], term["columns"], term["scale"]) == ("height_scan", 54, [5.0] * 54)
    expected = cfg.scan.points().numpy()
    np.testing.assert_allclose([term["points"]["x"], term["points"]["y"]], expected, atol=1e-6)
    assert (term["offset"], term["clip"], term["lookup"]) == (0.5, [-1.0, 1.0], "bilinear")


def test_term_without_a_description_is_refused() -> None:
    cfg = default_config("anymal_c_flat").env
    for func in (lambda state: state.base_pos, functools.partial(foot_heights, scale=2.0)):
        term = ObservationTerm(func, (1.0,), 0.0, "vector")
        with pytest.raises(
            ValueError, match="observation 'mine' cannot be exported: its function needs a name"
        ):
            _observation("mine", term, 3, cfg.scan)


def foot_heights(state: RobotState, scale: float) -> torch.Tensor:
    """Heights of the feet, m, [N, F]."""
    return scale * state.foot_pos[..., 2]


def test_failed_export_leaves_the_old_files(
    logs: Path, env: LeggedEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(log_dir=str(logs))
    export_run(run, env, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == FILES
    run.content["policy"]["actor.layers.0.bias"][0] = float("nan")
    with pytest.raises(ValueError, match="differs from the trained policy by nan"):
        export_run(run, env, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bad_input_is_one_sentence(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for args, sentence in (
        (("--load_run", "frist"), "no run 'frist' in"),
        (("--checkpoint", "8"), "has no checkpoint 8; it has 7"),
        (("--output", str(tmp_path / "file")), "cannot be made"),
        (("--ouput", "x"), "unknown flag --ouput. Did you mean --output"),
    ):
        assert run_main(monkeypatch, "--log_dir", str(logs), *args) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.startswith("export.py: ") and error.count("\n") == 1


def test_a_policy_that_commands_torques_is_refused(logs: Path, env: LeggedEnv, tmp_path: Path) -> None:
    run = open_run(log_dir=str(logs))
    run.cfg.env.actuator = "torque"
    with pytest.raises(ValueError, match="env.actuator torque cannot be exported"):
        export_run(run, env, tmp_path / "out")
    assert not (tmp_path / "out").exists()
