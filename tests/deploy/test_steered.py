"""Robots that are steered: told, pushed, weighed down, and started anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.ground import Course, Field
from deploy.steered import Steered
from tests.deploy.common import MJCF, bumps

TRAINED = Path(__file__).resolve().parents[2] / "policies" / "anymal_c_flat" / "exported"


def test_it_goes_where_it_is_told_and_a_reset_repeats_it() -> None:
    walkers = Steered(TRAINED, MJCF, count=2)
    walkers.commands[0] = 0.6, 0.0, 0.0

    def walk() -> list[np.ndarray]:
        for _ in range(100):
            assert not walkers.step().any()
        return [robot.data.qpos.copy() for robot in walkers.robots]

    first = walk()
    assert first[0][0] > 0.7 and abs(first[1][0]) < 0.2
    np.testing.assert_allclose(walkers.velocity(0), [0.6, 0.0, 0.0], atol=0.25)
    walkers.reset()
    np.testing.assert_array_equal(first[0], walk()[0])


def test_push_and_payload_at_once() -> None:
    walkers = Steered(TRAINED, MJCF)
    for _ in range(50):
        walkers.step()
    before = walkers.robots[0].base_lin_vel.copy()
    pose = walkers.robots[0].data.qpos.copy()
    walkers.push(0, (0.0, -1.0))
    np.testing.assert_allclose(walkers.robots[0].base_lin_vel - before, [0.0, -1.0, 0.0])
    walkers.set_body(friction=0.3, payload=8.0)
    np.testing.assert_array_equal(walkers.robots[0].data.qpos, pose)
    for _ in range(100):
        walkers.step()
    pressing = []
    for _ in range(50):
        walkers.step()
        pressing.append(walkers.feet(0)[1][:, 2].sum())
    assert abs(np.mean(pressing) / (walkers.robots[0].weight + 8.0 * 9.81) - 1.0) < 0.1


def test_who_leaves_the_ground_starts_anew(rough: Path) -> None:
    course = Course(Field(bumps(), 0.1), np.array([[0.0, 0.0, 0.3]]))
    walkers = Steered(rough, MJCF, course, 0.01)
    assert walkers.scan_points(0).shape[1] == 3 and len(walkers.scan_points(0)) > 10
    walkers.robots[0].base_pos[0] = 3.1
    assert walkers.step()[0] and abs(walkers.robots[0].base_pos[0]) < 0.1
