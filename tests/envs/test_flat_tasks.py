"""Flat tasks of all robots: what differs from ANYmal C's is what the reference method says, and they run."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from algorithms.config import LearnerConfig, PolicyConfig
from envs import EnvConfig, LeggedEnv, all_tasks, get_task
from envs.tasks.adapted import STD_RANGE, robot_tasks
from robots import ROBOTS
from tests.envs.common import random_actions

FLAT = [f"{robot}_flat" for robot in ROBOTS]


def config(task: str, recipe: str) -> EnvConfig:
    return get_task(task).recipe(recipe).env()


def differences(task: str, recipe: str) -> dict[str, Any]:
    """Dotted field -> value, where a task differs from ANYmal C's."""
    found: dict[str, Any] = {}

    def compare(path: str, one: Any, other: Any) -> None:
        if dataclasses.is_dataclass(one) and path != "robot":
            one, other = vars(one), vars(other)
        if isinstance(one, dict):
            assert one.keys() <= other.keys()
            for key in other:
                compare(f"{path}.{key}".lstrip("."), one.get(key), other[key])
        elif one != other:
            found[path] = other

    compare("", config("anymal_c_flat", recipe), config(task, recipe))
    robot = found.pop("robot", ROBOTS["anymal_c"])
    assert f"{robot.name}_flat" == task and robot == ROBOTS[robot.name]
    return found


def test_every_robot_has_a_flat_task() -> None:
    assert set(FLAT) <= set(all_tasks())
    assert get_task("cassie_flat").gym_id == "Trot/CassieFlat-v0"
    assert get_task("anymal_c_arm_flat").gym_id == "Trot/AnymalCArmFlat-v0"


@pytest.mark.parametrize("recipe", ["fast", "reference"])
@pytest.mark.parametrize("task", ["anymal_c_flat", "anymal_b_flat", "anymal_c_arm_flat"])
def test_nothing_but_the_robot_differs_between_anymals(task: str, recipe: str) -> None:
    assert differences(task, recipe) == {}


@pytest.mark.parametrize("task", ["a1_flat", "go1_flat", "go2_flat"])
def test_published_differences_of_unitrees(task: str) -> None:
    assert differences(task, "reference") == {
        "control.action_scale": 0.25,
        "randomisation.added_base_mass": (0.0, 0.0),
        "rewards.torques.weight": -2e-4,
        "rewards.dof_pos_limits.weight": -10.0,
        "rewards.base_height.params.target": 0.25,
    }
    # an action is half as many radians: twice the noise, and the same penalty for it
    found = differences(task, "fast")
    assert found.pop("rewards.action_rate.weight") == -0.01 / 4
    assert found == differences(task, "reference") | {
        "commands.single_axis_share": 0.3,
        "init.nominal_share": 0.2,
        "drive.delay": (0.0, 0.01),
        "noise.clean_share": 0.0,
        "randomisation.added_joint_damping": (0.0, 1.0),
        "randomisation.added_friction_loss": (0.0, 0.3),
        "randomisation.stiffness_factor": (0.9, 1.1),
        "randomisation.damping_factor": (0.9, 1.1),
        "randomisation.armature_factor": (0.8, 2.5),
        "rewards.torques.weight": -1e-4,
        "rewards.trot.weight": 0.5,
        "rewards.stand_still.weight": -0.5,
        "rewards.stand_still.params.max_turn": 0.1,
        "rewards.feet_air_time.params.min_turn": 0.1,
    }
    assert get_task(task).recipe("fast").agent["policy"]["init_std"] == 2.0


def test_published_differences_of_cassie() -> None:
    assert differences("cassie_flat", "reference") == {
        "scan.x": (-0.5, 0.5),
        "init.joint_scale": (0.8, 1.2),  # not published: else it begins in the ground, or high above it
        "randomisation.added_base_mass": (0.0, 0.0),
        "only_positive_rewards": False,
        "rewards.tracking_ang_vel.weight": 1.0,
        "rewards.lin_vel_z.weight": -0.5,
        "rewards.ang_vel_xy.weight": 0.0,
        "rewards.torques.weight": -5e-6,
        "rewards.dof_acc.weight": -2e-7,
        "rewards.collision.weight": 0.0,
        "rewards.feet_air_time.weight": 5.0,
        "rewards.no_fly.weight": 0.25,
        "rewards.dof_pos_limits.weight": -1.0,
        "rewards.dof_pos_limits.params.soft_limit": 0.95,
        "rewards.termination.weight": -200.0,
        "rewards.base_height.params.target": 0.85,
        "rewards.feet_contact_forces.params.max_force": 300.0,
    }


def test_fast_values_of_anymal_c() -> None:
    cfg, recipe = config("anymal_c_flat", "fast"), get_task("anymal_c_flat").recipe("fast")
    assert {name: term.weight for name, term in cfg.rewards.items() if term.weight} == {
        "tracking_lin_vel": 2.0,
        "tracking_ang_vel": 1.0,
        "tracking_lin_vel_fine": 0.5,
        "tracking_ang_vel_fine": 0.25,
        "lin_vel_z": -1.0,
        "ang_vel_xy": -0.02,
        "orientation": -2.5,
        "torques": -1e-5,
        "dof_acc": -1e-7,
        "action_rate": -0.01,
        "collision": -0.5,
        "feet_air_time": 5.0,
        "feet_slip": -0.2,
        "termination": -15.0,
    }
    assert cfg.rewards["tracking_lin_vel"].params == cfg.rewards["tracking_ang_vel"].params == {"sigma": 0.25}
    fine = cfg.rewards["tracking_lin_vel_fine"].params, cfg.rewards["tracking_ang_vel_fine"].params
    assert fine == ({"sigma": 0.02}, {"sigma": 0.02})
    assert cfg.rewards["feet_air_time"].params == {"target": 0.25} and not cfg.only_positive_rewards
    assert cfg.commands.resampling_time == 2.5
    assert cfg.commands.lin_vel_x == cfg.commands.lin_vel_y == (-1.2, 1.2)
    assert cfg.noise.clean_share == 0.2
    assert (recipe.num_envs, recipe.max_iterations) == (512, 2000)
    assert recipe.agent == {
        "policy": {"symmetry": "equivariant", "init_std": 1.0},
        "ppo": {
            "desired_kl": 0.02,
            "kl_half_life": 2000,
            "entropy_coef": 0.003,
            "entropy_half_life": 400,
            "num_steps": 12,
        },
        "save_interval": 100,
        "average_decay": 0.97,
    }


@pytest.mark.parametrize("task", FLAT)
def test_a_flat_task_runs(task: str) -> None:
    env = LeggedEnv(config(task, "fast"), 64, "mujoco", num_threads=1)
    env.reset()
    low, high = env.state.joint_pos_limits.T
    start = env.engine.joint_pos
    assert ((start >= low) & (start <= high)).all(), "joints must start within their limits"
    assert start.std(0).max() > 0.1
    falls = torch.zeros(64, dtype=torch.bool)
    for actions in random_actions(env, 25, spread=0.3):
        obs, reward, terminated, _, info = env.step(actions)
        falls |= terminated
        assert obs["policy"].isfinite().all() and reward.isfinite().all()
        assert info["log"]["Episode/non_finite"] == 0
    # a second of noise around the stance makes a biped fall at most
    assert falls.float().mean() < (0.9 if task == "cassie_flat" else 0.2)
    assert obs["policy"].shape == (64, 48)


@pytest.mark.parametrize("name", list(all_tasks()))
def test_a_task_of_ones_own_may_change_its_robot(name: str) -> None:
    before = {other: copy.deepcopy(get_task(other).recipe("fast").env()) for other in all_tasks()}
    robot = get_task(name).recipe("fast").env().robot
    robot.stiffness[".*"] = robot.damping[".*"] = 1e3
    robot.name = "mine"
    assert {other: get_task(other).recipe("fast").env() for other in before} == before


def test_a_robot_with_small_actions_explores_as_much() -> None:
    assert PolicyConfig.std_range == STD_RANGE

    def adapt(cfg: EnvConfig) -> EnvConfig:
        cfg.control.action_scale = 0.1
        return cfg

    for task in robot_tasks("mouse", "Mouse", adapt):
        agent = LearnerConfig()
        policy = task.recipe("fast").agent["policy"]
        agent.policy = PolicyConfig(**policy)
        agent.validate()
        assert policy["init_std"] == policy["std_range"][1] == 5.0
