"""Plain MuJoCo sees and drives the robot as the environment does, and refuses bad input with one sentence."""

from __future__ import annotations

import ast
import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms import Actor, PolicyConfig, checkpoint
from algorithms.trainer import make_policy
from envs.legged_env import LeggedEnv
from robots import ANYMAL_C
from scripts import sim2sim
from scripts.config import default_config, save_config
from scripts.export import export_run
from scripts.runs import load_policy, open_run
from scripts.sim2sim import Robot, main

MJCF = ANYMAL_C.mjcf_path


@pytest.fixture(scope="module")
def env() -> LeggedEnv:
    """One nominal robot that keeps its first command."""
    cfg = default_config("anymal_c_flat").env
    cfg.noise.enabled = False
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.randomisation.push_interval = 0.0
    return LeggedEnv(cfg, 1, "mujoco", num_threads=1)


@pytest.fixture(scope="module")
def run_folder(env: LeggedEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a small random policy that moves its legs, and its export."""
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    folder = tmp_path_factory.mktemp("run")
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(folder / "model_1.pt", content)
    export_run(open_run(load_run=str(folder)), env, folder / "exported")
    return folder


@pytest.fixture
def exported(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(run_folder / "exported", tmp_path / "exported"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change `policy.json`."""
    facts = json.loads((folder / "policy.json").read_text())
    change(facts)
    (folder / "policy.json").write_text(json.dumps(facts))


def edit_mjcf(path: Path, change: Callable[[ElementTree.Element], None]) -> Path:
    """A changed copy of the robot's MJCF."""
    tree = ElementTree.parse(MJCF)
    change(tree.getroot())
    tree.write(path)
    return path


def base_of(root: ElementTree.Element) -> ElementTree.Element:
    base = root.find("worldbody/body")
    assert base is not None
    return base


def reverse_legs(root: ElementTree.Element) -> None:
    base = base_of(root)
    legs = base.findall("body")
    for leg in legs:
        base.remove(leg)
    base.extend(reversed(legs))


def test_needs_nothing_of_the_project() -> None:
    tree = ast.parse(Path(sim2sim.__file__).read_text())
    roots = {
        alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    roots |= {str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not roots & {"algorithms", "envs", "physics", "robots", "scripts", "terrains", "viewers", "torch"}


def test_first_steps_agree_with_the_environment(env: LeggedEnv, run_folder: Path) -> None:
    facts, act = sim2sim.load_policy(run_folder / "exported")
    policy = load_policy(open_run(load_run=str(run_folder)), env)
    robot = Robot(facts, MJCF)
    obs = env.reset(seed=3)[0]["policy"]
    engine = env.engine
    pose = torch.cat((engine.base_pos, engine.base_quat), 1)[0].double().numpy()
    velocity = torch.cat((engine.base_lin_vel, engine.base_ang_vel), 1)[0].double().numpy()
    robot.place(pose, velocity, engine.joint_pos[0].double().numpy(), engine.joint_vel[0].double().numpy())
    robot.command = env.command[0].double().numpy()
    for _ in range(10):  # the feet touch the ground after about five
        np.testing.assert_allclose(robot.observe(), obs[0], atol=1e-4)
        with torch.no_grad():
            step = env.step(policy.mean(obs))
        obs = step[0]["policy"]
        fell, work, _ = robot.step(act(robot.observe()))
        assert not fell and work > 0.0
    assert engine.contact_force[0, :4, 2].sum() > 1.0


def test_fall_is_seen_as_the_environment_sees_it(env: LeggedEnv, run_folder: Path) -> None:
    """A robot dropped on its side: base or hips hit the ground at the same policy step in both."""
    facts, _ = sim2sim.load_policy(run_folder / "exported")
    robot = Robot(facts, MJCF)
    env.reset(seed=3)
    pose = torch.tensor([0.0, 0.0, 0.4, 0.7071, 0.7071, 0.0, 0.0])
    joints = env.default_joint_pos.unsqueeze(0)
    still = torch.zeros(1, 3)
    env.engine.write_state(
        torch.ones(1, dtype=torch.bool), pose[None, :3], pose[None, 3:], still, still, joints, 0.0 * joints
    )
    robot.place(pose.numpy(), np.zeros(6), joints[0].double().numpy(), np.zeros(12))
    for _ in range(50):
        terminated = bool(env.step(torch.zeros(1, 12))[2][0])
        fell, _, _ = robot.step(np.zeros(12))
        assert fell == terminated
        if fell:
            return
    pytest.fail("the robot never fell")


def test_joint_order_of_the_model_does_not_matter(run_folder: Path, tmp_path: Path) -> None:
    facts, act = sim2sim.load_policy(run_folder / "exported")
    other = Robot(facts, edit_mjcf(tmp_path / "reversed.xml", reverse_legs))
    robot = Robot(facts, MJCF)
    assert other.model.joint(1).name != robot.model.joint(1).name
    for each in (robot, other):
        each.reset(np.random.default_rng(0))
        each.command = np.array([0.5, 0.1, -0.2])
    for _ in range(15):
        np.testing.assert_allclose(other.observe(), robot.observe(), atol=1e-6)
        for each in (robot, other):
            each.step(act(each.observe()))


def test_command_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--policy", str(run_folder / "exported"), "--episodes", "3", "--seconds", "2", "--threads", "1"]
    assert main([*args, "--json", str(tmp_path / "figures.json")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    line = {key: float(value) for key, value in (pair.split("=") for pair in last.split())}
    report = json.loads((tmp_path / "figures.json").read_text())
    assert {"lin_vel_error", "ang_vel_error", "falls", "cost_of_transport"} <= line.keys()
    for name, value in line.items():
        low, high = report["intervals"][name]
        assert report[name] == pytest.approx(value, abs=1e-4) and low <= report[name] <= high
    assert report["training"]["iteration"] == 1


def test_processes_do_not_change_the_figures(run_folder: Path) -> None:
    one, two = (sim2sim.drive_all(run_folder / "exported", MJCF, 3, 2.0, 1, n) for n in (1, 2))
    assert np.array_equal(one.lin_error, two.lin_error) and np.array_equal(one.work, two.work)


def test_a_policy_with_a_memory_is_driven_episode_by_episode(env: LeggedEnv, tmp_path: Path) -> None:
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy = PolicyConfig((8,), (8,), recurrent="lstm", recurrent_hidden=8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, tmp_path / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(tmp_path / "model_1.pt", content)
    folder = export_run(open_run(load_run=str(tmp_path)), env, tmp_path / "exported")
    assert "'hidden' [batch, S]" in json.loads((folder / "policy.json").read_text())["description"]
    _, act = sim2sim.load_policy(folder)
    actor, obs = Actor(policy), torch.randn(5, 48)
    for _ in range(2):
        for x in obs:
            np.testing.assert_allclose(act(x.numpy()), actor(x[None])[0], atol=1e-5)
        act.reset()
        actor.reset()
    # the second of two equal episodes is the first
    commands = np.repeat(sim2sim.sample_commands(1, 2.0, 1), 2, axis=0)
    episodes = sim2sim.drive(folder, MJCF, 2.0, commands, [[1, 0], [1, 0]])
    assert np.array_equal(episodes.lin_error[0], episodes.lin_error[1])


def test_figures_of_known_episodes() -> None:
    """Ten episodes of 10 s, two commands each; nine off by 0.1 m/s after a bad first second, one fell."""
    dt, steps = 0.1, 100
    lin = np.full((10, steps), 0.1)
    lin[:, np.arange(steps) % 50 < 10] = 0.6
    lin[9] = 0.8
    fell = np.arange(10) == 9
    episodes = sim2sim.Episodes(lin, 0.5 * lin, fell, np.full(10, 60.0), np.full(10, 2.0))
    found = sim2sim.figures(episodes, dt, weight=100.0)
    assert found["lin_vel_error"].value == pytest.approx(0.9 * (0.8 * 0.1 + 0.2 * 0.6) + 0.08)
    assert found["lin_vel_error_settled"].value == pytest.approx(0.9 * 0.1 + 0.08)
    assert found["ang_vel_error_p95"].value == pytest.approx(0.4)
    assert found["cost_of_transport"].value == pytest.approx(0.3)
    falls = found["falls"]  # Wilson's interval for 1 of 10
    assert (falls.value, falls.low, falls.high) == pytest.approx((0.1, 0.0179, 0.4042), abs=1e-3)
    lin_error = found["lin_vel_error"]
    assert lin_error.low < lin_error.value < lin_error.high


def test_commands_are_those_of_the_evaluation() -> None:
    expected = np.random.default_rng(4).uniform(-1.0, 1.0, (3, 4, 3))
    assert np.array_equal(sim2sim.sample_commands(3, 20.0, 4), expected)


def test_after_a_fall_the_command_is_the_error(exported: Path) -> None:
    edit(exported, lambda facts: facts.update(effort_limit=[1e-3] * 12))  # collapses
    commands = sim2sim.sample_commands(1, 2.0, 1)
    episodes = sim2sim.drive(exported, MJCF, 2.0, commands, [[1, 0]])
    assert episodes.fell[0]
    np.testing.assert_allclose(episodes.lin_error[0, -1], np.linalg.norm(commands[0, 0, :2]))
    np.testing.assert_allclose(episodes.ang_error[0, -1], abs(commands[0, 0, 2]))


def spoil_json(folder: Path) -> None:
    (folder / "policy.json").write_text('{"format": "trot-pol')


def spoil_onnx(folder: Path) -> None:
    path = folder / "policy.onnx"
    path.write_bytes(path.read_bytes()[:200])


def rename(facts: dict[str, Any]) -> None:
    facts["observations"][0]["function"] = "height_scan"


SPOILED = [
    (shutil.rmtree, "is not a folder"),
    (lambda folder: (folder / "policy.json").unlink(), "has no policy.json"),
    (lambda folder: (folder / "policy.onnx").unlink(), "has no policy.onnx"),
    (spoil_json, "policy.json is damaged"),
    (spoil_onnx, "policy.onnx is damaged"),
    (lambda folder: (folder / "policy.json").write_text("[]"), "its format is not trot-policy-1"),
    (lambda folder: edit(folder, lambda facts: facts.pop("stiffness")), "it lacks 'stiffness'"),
    (lambda folder: edit(folder, lambda facts: facts["damping"].pop()), "damping must be 12 finite numbers"),
    (lambda folder: edit(folder, lambda facts: facts.update(timestep=0)), "timestep must be greater than 0"),
    (lambda folder: edit(folder, rename), "observation 'height_scan' is unknown"),
    (
        lambda folder: edit(folder, lambda f: f["golden"]["action"].reverse()),
        "does not give the golden action",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), SPOILED, ids=[sentence for _, sentence in SPOILED])
def test_spoiled_export_is_one_sentence(
    spoil: Callable[[Path], Any], sentence: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(exported)
    assert main(["--policy", str(exported)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.startswith("sim2sim.py: ") and error.count("\n") == 1


def remove_joint(root: ElementTree.Element) -> None:
    leg = base_of(root).find("body")
    assert leg is not None
    joint = leg.find("joint")
    assert joint is not None and joint.get("name") == "LF_HAA"
    leg.remove(joint)


def remove_geom(root: ElementTree.Element) -> None:
    base = base_of(root)
    base.remove(next(geom for geom in base.findall("geom") if geom.get("name") == "base_3"))


def fix_base(root: ElementTree.Element) -> None:
    base = base_of(root)
    joint = base.find("freejoint")
    assert joint is not None
    base.remove(joint)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (remove_joint, "has no hinge joint LF_HAA for this policy"),
        (remove_geom, "has no geom base_3 for this policy"),
        (fix_base, "has no free joint"),
        (lambda root: root.append(ElementTree.Element("nonsense")), "is not a valid MJCF file"),
    ],
)
def test_unfit_model_is_one_sentence(
    change: Callable[[ElementTree.Element], None],
    sentence: str,
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = edit_mjcf(tmp_path / "model.xml", change)
    assert main(["--policy", str(run_folder / "exported"), "--model", str(model)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--model", "/nowhere.xml"], "model /nowhere.xml does not exist"),
        (["--episodes", "0"], "--episodes must be at least 1"),
        (["--seconds", "nan"], "--seconds must be at least 2"),
        (["--json", "/nowhere/x.json"], "the folder does not exist"),
        (["--epsiodes", "3"], "unrecognized arguments: --epsiodes"),
    ],
)
def test_bad_flags_are_one_sentence(
    args: list[str], sentence: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--policy", str(run_folder / "exported"), *args]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
