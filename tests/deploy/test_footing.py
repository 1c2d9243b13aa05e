"""Robots in plain MuJoCo begin their episodes on the ground, as in training."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from deploy import robot as sim2sim_robot
from deploy.ground import Field
from deploy.robot import Robot
from envs.legged_env import LeggedEnv
from envs.starts import Footing
from terrains.ground import HeightField
from tests.deploy.common import MJCF


def stairs(boxes: bool) -> Field:
    """Steps of 0.2 m, every 0.3 m along x."""
    heights = np.repeat(0.2 * (np.arange(121) // 3 % 12), 121).reshape(121, 121).astype(np.float32)
    return Field(heights, 0.1, boxes)


@pytest.mark.parametrize("boxes", [True, False])
def test_robots_begin_on_the_ground(boxes: bool, run_folder: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(run_folder / "exported")
    robot = Robot(facts, MJCF, stairs(boxes))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        robot.reset(rng, np.array([*rng.uniform(-2.0, 2.0, 2), 7.0]), rng.uniform(-3.0, 3.0))
        mujoco.mj_forward(robot.model, robot.data)
        assert robot.data.contact.dist.min(initial=0.0) > -0.012
        robot.base_pos[2] -= 0.25
        mujoco.mj_forward(robot.model, robot.data)
        assert robot.data.ncon


def test_the_environment_sets_robots_down_at_the_same_height(env: LeggedEnv, run_folder: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(run_folder / "exported")
    field = stairs(boxes=False)
    robot, ground = Robot(facts, MJCF, field), HeightField.centred(field.heights, field.cell)
    trained = Footing(env.cfg.robot.init_height, ground, env.engine, 1)
    everyone = torch.ones(1, dtype=torch.bool)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        robot.reset(rng, np.array([*rng.uniform(-2.0, 2.0, 2), 0.0]), rng.uniform(-3.0, 3.0))
        state = [
            torch.tensor(x.copy()).float()[None] for x in (robot.base_pos, robot.base_quat, robot.joint_pos)
        ]
        height = state[0][0, 2].item()
        state[0][:, 2] = 9.0
        still = torch.zeros(1, 3)
        pos, quat, joints = state
        env.engine.write_state(everyone, pos, quat, still, still, joints, 0.0 * joints)
        trained.set_down(env.engine, everyone)
        assert env.engine.base_pos[0, 2] == pytest.approx(height, abs=2e-5)
