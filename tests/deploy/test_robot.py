"""Plain MuJoCo sees and drives the robot as the environment does."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy import robot as sim2sim_robot
from deploy.ground import Field
from deploy.robot import Robot
from envs.legged_env import LeggedEnv
from robots.go2 import GO2
from runs.folders import POLICIES, load_policy, open_run
from tests.deploy.common import MJCF, base_of, bumps, edit_mjcf, export_rough, put, rough_env


def test_first_steps_agree_with_the_environment(env: LeggedEnv, run_folder: Path) -> None:
    facts, act = sim2sim_robot.load_policy(run_folder / "exported")
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
    facts, _ = sim2sim_robot.load_policy(run_folder / "exported")
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


def reverse_legs(root: ElementTree.Element) -> None:
    base = base_of(root)
    legs = base.findall("body")
    for leg in legs:
        base.remove(leg)
    base.extend(reversed(legs))


def test_joint_order_of_the_model_does_not_matter(run_folder: Path, tmp_path: Path) -> None:
    facts, act = sim2sim_robot.load_policy(run_folder / "exported")
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


@pytest.mark.parametrize("lookup", ["minimum", "bilinear"])
def test_observation_on_bumps_is_the_environments(lookup: str, tmp_path: Path) -> None:
    env = rough_env(lookup)
    facts, _ = sim2sim_robot.load_policy(export_rough(env, tmp_path))
    robot = Robot(facts, MJCF, Field(bumps(), 0.1))
    tilt, scans = 0.0, []
    for seed in range(6):
        obs = env.reset(seed=seed)[0]["policy"]
        for _ in range(8):
            put(robot, env)
            np.testing.assert_allclose(robot.observe(), obs[0], atol=1e-5)
            tilt = max(tilt, 1.0 - robot.rotation[2, 2])
            scans.append(robot.observe()[48:])
            obs = env.step(torch.randn(1, 12))[0]["policy"]
    assert tilt > 0.001 and np.ptp(scans, axis=1).min() > 0.2  # metres x 5: the ground is seen uneven


def test_first_steps_on_bumps_agree_with_the_environment(rough: Path) -> None:
    facts, act = sim2sim_robot.load_policy(rough)
    env = rough_env("minimum")
    robot = Robot(facts, MJCF, Field(bumps(), 0.1), 2 * facts["timestep"])
    obs = env.reset(seed=3)[0]["policy"]
    put(robot, env)
    touched = 0.0  # N
    for _ in range(10):
        np.testing.assert_allclose(robot.observe()[:48], obs[0, :48], atol=1e-4)
        action = act(robot.observe())
        obs = env.step(torch.from_numpy(action)[None])[0]["policy"]
        robot.step(action)
        touched = max(touched, env.engine.contact_force[0, :4, 2].sum().item())
    assert touched > 1.0


def test_scan_of_a_plane_is_the_height_of_the_base(rough: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(rough)
    robot = Robot(facts, MJCF)
    robot.reset(np.random.default_rng(0))
    np.testing.assert_allclose(robot.observe()[48:], 5.0 * 0.1)  # 0.6 m - 0.5 m, scale 5


def test_start_angles_are_clamped_to_the_limits_as_in_training() -> None:
    """Half of a Go2's calf angle, -0.75 rad, is beyond its joint's limit."""
    facts, _ = sim2sim_robot.load_policy(POLICIES / "go2_flat" / "exported")
    older = {name: value for name, value in facts.items() if name != "assumed"}
    starts: list[list[np.ndarray]] = []
    for each in (facts, older):
        robot, rng = Robot(each, GO2.mjcf_path), np.random.default_rng(0)
        starts.append([])
        for _ in range(50):
            robot.reset(rng)
            starts[-1].append(robot.joint_pos[2::3].copy())  # calves
    now, before = np.array(starts)
    assert before.max() > -0.8 and now.max() == -0.83776
    assert np.array_equal(now, np.minimum(before, -0.83776))
