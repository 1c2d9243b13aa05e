"""The second simulator is drawn as what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.added import NOTHING
from deploy.episodes import watch_first
from deploy.ground import Course, Field
from deploy.robot import load_policy
from deploy.steered import Steered
from robots import ANYMAL_C
from terrains.ground import HeightField, Plane
from viewers.second import Notes, SecondSimulation, ground_of
from viewers.web.settings import Settings

TRAINED = Path(__file__).resolve().parents[2] / "policies" / "anymal_c_flat" / "exported"
MJCF = ANYMAL_C.mjcf_path


def test_robots_are_drawn_where_they_are_and_apart() -> None:
    walkers = Steered(TRAINED, MJCF, count=2)
    simulation = SecondSimulation(walkers, MJCF, "plane", Settings("", robots=2))
    simulation.command((0.5, 0.0, 0.0), 1)
    for _ in range(5):
        simulation.step()
    assert simulation.measure(1).command[0] == 0.5 and simulation.measure(0).command[0] == 0.0
    positions, _ = simulation.poses(1.0)
    np.testing.assert_allclose(positions[0, 1], walkers.robots[0].base_pos)
    assert np.linalg.norm(positions[0, 1] - positions[1, 1]) > 1.0
    qpos = simulation.qpos(0.5)
    assert qpos.shape == (2, simulation.scene().nq)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1.0)


def test_a_course_is_drawn_as_it_is_stood_on() -> None:
    heights = np.zeros((20, 20))
    heights[10:] = 0.3
    facts, _ = load_policy(TRAINED)
    ramp, stairs = (
        ground_of(Course(Field(heights, 0.1, boxes), np.zeros((1, 3))), facts) for boxes in (False, True)
    )
    assert isinstance(ramp, HeightField) and isinstance(stairs, HeightField)
    middle = np.array([[0.0, 0.0]])
    assert 0.1 < ramp.height_at(middle)[0] < 0.2 and stairs.height_at(middle)[0] == 0.0
    assert isinstance(ground_of(None, facts), Plane)


def test_a_recording_is_the_first_measured_episode() -> None:
    facts, _ = load_policy(TRAINED)
    notes = Notes(facts, MJCF, None)
    assert not watch_first(TRAINED, MJCF, None, 0.0, 1.0, 1, NOTHING, notes)
    recording = notes.recording()
    command = np.random.default_rng(1).uniform(-1.0, 1.0, 3)
    assert (recording.num_steps, recording.num_robots, recording.joint_pos.shape[2]) == (50, 1, 12)
    np.testing.assert_array_equal(recording.command, np.tile(command, (50, 1)))
    moved = np.diff(recording.base_pos[-2:, 0], axis=0)[0] / recording.step_dt
    assert np.linalg.norm(moved[:2]) > 0.2 and recording.foot_contact.any()
