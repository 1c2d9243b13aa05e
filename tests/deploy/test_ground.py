"""Uneven ground in plain MuJoCo lies where its heights say, and its boxes are the ground of training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from deploy import ground as sim2sim_ground
from deploy import robot as sim2sim_robot
from deploy.ground import Field, file_course
from deploy.robot import Robot
from scripts.sim2sim import shape_course
from terrains.ground import HeightField
from terrains.shapes import make_tile
from tests.deploy.common import MJCF, bumps


def test_ground_lies_where_the_heights_say(rough: Path) -> None:
    """Rays from above meet MuJoCo's ground at the heights of the map's vertices: x and y are not swapped."""
    facts, _ = sim2sim_robot.load_policy(rough)
    robot = Robot(facts, MJCF, Field(bumps(), 0.1))
    mujoco.mj_forward(robot.model, robot.data)
    for i, j in ((3, 2), (55, 5), (50, 36), (10, 30)):
        above = np.array([(i - 30) * 0.1, (j - 20) * 0.1, 5.0])
        geom = np.zeros(1, dtype=np.int32)
        distance = mujoco.mj_ray(
            robot.model, robot.data, above, np.array([0.0, 0.0, -1.0]), None, 1, -1, geom
        )
        assert 5.0 - distance == pytest.approx(bumps()[i, j], abs=1e-3)


def blocks() -> np.ndarray:
    """Level ground of seven blocks of three heights that overlap, m, [30, 20]."""
    heights, rng = np.zeros((30, 20)), np.random.default_rng(0)
    for _ in range(7):
        i, j = rng.integers((24, 14))
        heights[i : i + 6, j : j + 6] = 0.1 * rng.integers(-1, 3)
    return heights


def on_boxes(heights: np.ndarray, spheres: Iterable[tuple[float, float]] = ()) -> mujoco.MjModel:
    """Ground of cells of 0.1 m on boxes, and balls with a radius of 3 cm, 5 cm above it, at these x and y."""
    spec, field = mujoco.MjSpec(), Field(heights, 0.1, boxes=True)
    field.add_to(spec)
    for x, y in spheres:
        top = field.look_up(np.array([x]), np.array([y]), "bilinear")[0]
        ball = spec.worldbody.add_body(pos=[x, y, top + 0.08])
        ball.add_freejoint()
        ball.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.03, 0, 0])
    return spec.compile()


def test_boxes_are_the_ground_of_training() -> None:
    model, training = on_boxes(blocks()), HeightField.centred(blocks(), 0.1, 0.75)
    field = Field(blocks(), 0.1, boxes=True)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    geom = np.zeros(1, dtype=np.int32)
    for i, j in np.ndindex(29, 19):
        for side in (0.001, 0.099):
            x, y = (i - 14.5) * 0.1 + side, (j - 9.5) * 0.1 + 0.1 - side
            above, down = np.array([x, y, 5.0]), np.array([0.0, 0.0, -1.0])
            height = 5.0 - mujoco.mj_ray(model, data, above, down, None, 1, -1, geom)
            assert height == pytest.approx(training.height_at(np.array([x, y])), abs=1e-7)
            for rule in ("minimum", "bilinear"):
                assert height == pytest.approx(field.look_up(np.array([x]), np.array([y]), rule)[0], abs=1e-9)


def test_balls_rest_on_the_treads_of_box_stairs() -> None:
    """Treads are 0.3 m wide: a ball rests 4 cm beyond each riser, another 4 cm before it."""
    tile, step = make_tile("stairs_up", 0.5, 8.0, 0.1, np.random.default_rng(0)), 0.14
    near_edges = [(x + side, 0.0) for x in (1.55, 1.85, 2.15) for side in (-0.04, 0.04)]
    model = on_boxes(tile, near_edges)
    data = mujoco.MjData(model)
    for _ in range(500):
        mujoco.mj_step(model, data)
    heights = data.geom_xpos[model.ngeom - 6 :, 2] - tile.min() - 0.03
    np.testing.assert_allclose(heights, step * np.array([0, 1, 1, 2, 2, 3]), atol=2e-3)


def test_stairs_take_a_few_boxes() -> None:
    """One for each side of a step that robots climb outwards, one for each step of a pyramid."""
    rng = np.random.default_rng(0)
    up, down = (make_tile(name, 0.5, 8.0, 0.1, rng) for name in ("stairs_up", "stairs_down"))
    steps = len(np.unique(up.round(6))) - 1
    # the last step up, at the tile's edge, is one vertex wide: no cell is as high
    assert on_boxes(up).ngeom == 4 * (steps - 1) + 1 and on_boxes(down).ngeom == steps + 1


@pytest.mark.parametrize("shape", sim2sim_ground.LEVEL)
def test_every_level_shape_stands_on_boxes(shape: str) -> None:
    assert on_boxes(make_tile(shape, 0.5, 8.0, 0.1, np.random.default_rng(0))).ngeom > 1


def test_robot_stands_on_boxes_as_on_a_plane(rough: Path) -> None:
    facts, _ = sim2sim_robot.load_policy(rough)
    course = shape_course("stairs_down", 0.8, facts["terrain"], seed=1)
    (x, y, top), settled = course.starts[1], []
    for field, start in ((None, (0.0, 0.0, 0.0)), (replace(course.field, boxes=True), (x, y, top))):
        robot = Robot(facts, MJCF, field)
        robot.reset(np.random.default_rng(0), np.array(start), 0.3)
        assert not any(robot.step(np.zeros(12))[0] for _ in range(50))
        settled.append(robot.base_pos[2] - start[2])
    assert top > 0.5 and settled[0] == pytest.approx(settled[1], abs=1e-4)


def test_file_course_starts_in_the_middle(tmp_path: Path) -> None:
    np.save(tmp_path / "hill.npy", bumps())
    course = file_course(tmp_path / "hill.npy", 0.1)
    np.testing.assert_allclose(course.starts, [[0.0, 0.0, bumps()[20:40, 10:30].max()]], atol=1e-9)
    middle = course.field.look_up(np.array([0.0]), np.array([0.0]), "bilinear")
    np.testing.assert_allclose(middle, bumps()[30, 20])
