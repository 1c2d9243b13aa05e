"""The policies that come with the repository are what their figures say."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from algorithms.export import ExportCheck, sample_observations
from deploy.added import Added
from deploy.episodes import drive_all
from envs.legged_env import LeggedEnv
from evaluation.walking import evaluation_config
from runs.config import load_config, parse
from runs.export import describe
from runs.folders import POLICIES, RunFlags, load_policy, open_flags
from terrains.ground import Plane

NAMES = sorted(path.parent.name for path in POLICIES.glob("*/config.yaml"))


def test_there_are_policies() -> None:
    assert {"anymal_c_flat", "anymal_c_rough", "cassie_flat"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_opens_and_its_command_makes_its_configuration(name: str) -> None:
    run = open_flags(RunFlags(policy=name))
    figures = json.loads((POLICIES / name / "figures.json").read_text())
    assert run.content["iteration"] == figures["iteration"] and run.cfg.task == figures["task"]
    weights = run.content["policy"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    told = parse(shlex.split(figures["train"])[2:])
    cfg = load_config(POLICIES / name / "config.yaml")
    for env in (told.env, cfg.env):
        env.rewards = {name: term for name, term in env.rewards.items() if term.weight}
    assert told.env == cfg.env and told.agent == cfg.agent
    assert (told.num_envs, told.max_iterations, told.seed) == (cfg.num_envs, cfg.max_iterations, cfg.seed)
    nominal = figures["evaluation"]["nominal"]
    assert nominal["lin_vel_error"] < 0.15 or name.endswith("_rough")


@pytest.mark.parametrize("name", NAMES)
def test_the_export_that_comes_along_is_what_an_export_would_write(name: str) -> None:
    """If it is not: `python scripts/ship.py --refresh`."""
    folder: Path = POLICIES / name / "exported"
    facts = json.loads((folder / "policy.json").read_text())
    run = open_flags(RunFlags(policy=name))
    env = LeggedEnv(run.cfg.env, 1, "mujoco", "cpu", num_threads=1, ground=Plane())
    golden = {key: torch.tensor(facts["golden"][key]) for key in ("observation", "action")}
    today = describe(run, env, ExportCheck(facts["max_difference"], **golden))
    assert json.loads(json.dumps(today)) == facts
    policy = load_policy(run, env)
    session = onnxruntime.InferenceSession(str(folder / "policy.onnx"))
    obs = torch.cat((golden["observation"][None], sample_observations(policy, 64, seed=5)))
    (actions,) = session.run(["actions"], {"obs": obs.numpy()})
    with torch.no_grad():
        expected = policy.mean(obs).numpy()
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(expected[0], golden["action"], rtol=1e-5, atol=1e-5)


ADDED = Added(joint_damping=(0.0, 1.0), friction_loss=(0.0, 0.3), armature=(0.0, 0.02))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a1_flat", "go1_flat", "go2_flat"])
def test_small_robots_bear_drives_with_more_friction_and_inertia(name: str) -> None:
    robot = open_flags(RunFlags(policy=name)).cfg.env.robot
    episodes = drive_all(
        POLICIES / name / "exported", robot.mjcf_path, 32, 10.0, seed=1, processes=2, added=ADDED
    )
    assert episodes.fell.sum() <= 1


@pytest.mark.parametrize("name", ["a1_flat", "go1_flat", "go2_flat"])
def test_small_robots_do_what_they_are_told_most(name: str) -> None:
    """From the stance in which a robot stands up: straight ahead, backwards, sideways, turning, standing."""
    run = open_flags(RunFlags(policy=name))
    cfg = evaluation_config(run.cfg.env, 6.0)
    cfg.init.joint_scale, cfg.init.base_velocity = (1.0, 1.0), 0.0
    told = torch.tensor(
        [[0.5, 0, 0], [0.75, 0, 0], [1.0, 0, 0], [-0.75, 0, 0], [0, 0.5, 0], [0, 0, 0.75], [0, 0, 0]]
    )
    env = LeggedEnv(cfg, len(told), "batched", num_threads=1)
    env.reset(seed=1)
    policy, obs = load_policy(run, env), env.set_commands(told)
    did, down, steps = torch.zeros(len(told), 3), torch.zeros(len(told), 4), 300
    for step in range(steps):
        with torch.no_grad():
            obs, _, terminated, _, _ = env.step(policy.mean(obs["policy"]))
        assert not terminated.any()
        if step >= steps // 3:
            did[:, :2] += env.state.base_lin_vel[:, :2] / (steps - steps // 3)
            did[:, 2] += env.state.base_ang_vel[:, 2] / (steps - steps // 3)
            down += env.state.feet_down / (steps - steps // 3)
    assert (did - told).abs().max() < 0.2
    assert (did[-1].abs() < 0.05).all() and (down[-1] > 0.5).all()
    walking = down[:4]
    assert walking.min() > 0.3 and walking.max() < 0.75, "every foot carries, and every foot swings"
