"""What is added to the joints acts on them, is drawn for each episode and changes no start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.added import NOTHING, Added, as_range
from deploy.episodes import drive, sample_commands
from deploy.robot import Robot, load_policy
from tests.deploy.common import MJCF


def swing(facts: dict, added: Added) -> np.ndarray:
    """Joint speeds of a robot in the air after a policy step towards other targets, rad/s, [A]."""
    robot = Robot(facts, MJCF, added=added)
    robot.vary(np.random.default_rng(0))
    robot.place(np.array([0, 0, 5.0, 1, 0, 0, 0]), np.zeros(6), robot.default, np.zeros(12))
    robot.step(np.full(12, 0.2))
    return np.abs(robot.joint_vel)


@pytest.mark.parametrize("name", ["joint_damping", "friction_loss", "armature"])
def test_each_slows_the_joints(name: str, run_folder: Path) -> None:
    facts, _ = load_policy(run_folder / "exported")
    free, slowed = (swing(facts, added) for added in (NOTHING, Added(**{name: (2.0, 2.0)})))
    assert slowed.mean() < 0.8 * free.mean()


def test_ranges_are_drawn_anew_and_added_to_the_models_own(run_folder: Path) -> None:
    facts, _ = load_policy(run_folder / "exported")
    robot = Robot(facts, MJCF, added=Added(friction_loss=(0.1, 0.3), armature=(0.01, 0.01)))
    own, invweight = robot.model.dof_armature.copy(), robot.model.dof_invweight0.copy()
    rng, drawn = np.random.default_rng(0), []
    for _ in range(20):
        robot.vary(rng)
        assert np.ptp(robot.model.dof_frictionloss[6:]) == 0.0  # all joints alike
        drawn.append(robot.model.dof_frictionloss[6])
        np.testing.assert_allclose(robot.model.dof_armature[6:], own[6:] + 0.01)
        assert not robot.model.dof_frictionloss[:6].any()
    assert 0.1 <= min(drawn) < 0.15 and 0.25 < max(drawn) <= 0.3
    assert (robot.model.dof_invweight0[6:] < invweight[6:]).all()  # MuJoCo's constants follow


def test_episodes_begin_alike_whatever_is_added(run_folder: Path) -> None:
    commands, seeds = sample_commands(2, 2.0, 1), [[1, 0], [1, 1]]
    runs = [
        drive(run_folder / "exported", MJCF, 2.0, added, commands, seeds)
        for added in (NOTHING, Added(joint_damping=(0.0, 0.01)), Added(joint_damping=(0.0, 0.01)))
    ]
    np.testing.assert_allclose(runs[0].lin_error[:, 0], runs[1].lin_error[:, 0], atol=2e-3)
    assert not np.array_equal(runs[0].lin_error, runs[1].lin_error)
    assert np.array_equal(runs[1].lin_error, runs[2].lin_error)


def test_what_is_added_is_said() -> None:
    assert str(NOTHING) == ""
    said = str(Added(joint_damping=(0.0, 1.0), armature=(0.02, 0.02)))
    assert said == "joint_damping 0 to 1 N m s/rad, armature 0.02 kg m^2"


def test_one_value_or_a_range() -> None:
    assert as_range("x", None) == (0.0, 0.0)
    assert as_range("x", [0.5]) == (0.5, 0.5)
    assert as_range("x", [0.0, 1.0]) == (0.0, 1.0)
    for bad in ([-1.0], [1.0, 0.5], [float("nan")], [0.0, float("inf")], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="--x must be one value or a range LOW HIGH"):
            as_range("x", bad)
