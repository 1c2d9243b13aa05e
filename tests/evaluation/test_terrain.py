"""The success test: tiles of the difficulty it says, and robots known to arrive, fall or stand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from envs.frames import yaw_of
from evaluation import terrain as terrain_test
from evaluation.terrain import AXES, Axis, check_shapes, make_map, success_test, wilson
from terrains.grid import Terrain, TerrainConfig
from terrains.shapes import make_tile
from tests.envs.common import reference, rugged

CFG = TerrainConfig()


def tile_of(terrain: Terrain, level: int, column: int) -> np.ndarray:
    """Heights of one tile of a test map, [80, 80]."""
    i, j = 60 + 140 * level, 60 + 140 * column
    return terrain.ground.heights[i : i + 80, j : j + 80].astype(np.float64)


@pytest.fixture(scope="module")
def paper() -> Terrain:
    """Two tiles of each shape that is tested by a quantity."""
    return make_map(CFG, ("slope_up", "stairs_up", "stairs_down", "random_rough", "pit"), 2, seed=3)


def outwards(terrain: Terrain, level: int, column: int) -> np.ndarray:
    """Heights from a tile's centre along x."""
    return tile_of(terrain, level, column)[40:, 40]


def test_a_slope_of_20_degrees_is_one(paper: Terrain) -> None:
    for level, degrees in enumerate(AXES["slope_up"].values):
        gradients = np.diff(outwards(paper, level, 1)) / CFG.cell
        assert gradients.max() == pytest.approx(math.tan(math.radians(degrees)), abs=1e-4)
    assert AXES["slope_up"].values[4] == 20.0


def test_steps_have_the_height_they_are_tested_at(paper: Terrain) -> None:
    for level, step in enumerate(AXES["stairs_up"].values):
        for column, sign in ((2, 1.0), (4, -1.0)):
            rises = np.diff(outwards(paper, level, column))
            assert np.allclose(rises[np.abs(rises) > 1e-4], sign * step, atol=1e-4)
            assert (np.abs(rises) > 1e-4).sum() >= 7
    assert AXES["stairs_up"].values[3] == 0.2


def test_other_quantities_are_what_they_say(paper: Terrain) -> None:
    for level, value in enumerate(AXES["random_rough"].values):
        rough = tile_of(paper, level, 6)
        assert 0.8 * value < np.abs(rough).max() <= value + 1e-6
    for level, value in enumerate(AXES["pit"].values):
        assert tile_of(paper, level, 8)[40, 40] == pytest.approx(-value)
    # a row below the last value of a shape repeats it
    assert np.array_equal(tile_of(paper, 6, 8), tile_of(paper, 3, 8))


def test_every_value_of_every_shape_can_be_made() -> None:
    for name, axis in AXES.items():
        tiles = [
            make_tile(name, axis.difficulty(v), 8.0, 0.1, np.random.default_rng(0), axis.parameters)
            for v in axis.values
        ]
        spans = [np.ptp(tile) for tile in tiles]
        assert list(axis.values) == sorted(axis.values)
        if name not in ("gap", "stepping_stones"):
            assert spans == sorted(spans) and spans[0] < spans[-1], name


def test_tiles_stand_alone(paper: Terrain) -> None:
    heights = paper.ground.heights
    assert not heights[:60].any() and not heights[-60:].any() and not heights[:, :60].any()
    assert not heights[140:200].any() and not heights[:, 140:200].any(), "6 m between tiles"
    assert paper.origins.shape == (7, 10, 3) and paper.shapes[0] == "slope_up"


def test_tiles_are_random_and_none_of_training() -> None:
    test = make_map(CFG, ("random_rough",), 2, seed=CFG.seed)
    axis = AXES["random_rough"]
    trained = {
        make_tile(
            "random_rough", axis.difficulty(value), 8.0, 0.1, np.random.default_rng(key), axis.parameters
        )
        .astype(np.float32)
        .tobytes()
        for value in axis.values
        for key in itertools.product((CFG.seed,), range(10), range(20))
        if key[2] < 2
    }
    tested = [
        tile_of(test, level, column).astype(np.float32).tobytes() for level in range(5) for column in range(2)
    ]
    assert len(set(tested)) == 10 and not trained & set(tested)
    again, other = make_map(CFG, ("random_rough",), 2, CFG.seed), make_map(CFG, ("random_rough",), 2, 9)
    assert np.array_equal(again.ground.heights, test.ground.heights)
    assert not np.array_equal(other.ground.heights, test.ground.heights)


def puppeteer(env: LeggedEnv) -> Callable[[Tensor], Tensor]:
    """Moves robots by hand, by the value that they are tested at."""
    course, n, dt = env.course, env.num_envs, env.step_dt
    assert course is not None
    level, steps = course.level.clone(), 0
    start = heading = torch.empty(0)
    walks, falls_at, speed = level != 2, torch.tensor([10**6, 20, 10**6, 20, 350])[level], 0.75

    def act(obs: Tensor) -> Tensor:
        nonlocal start, heading, steps
        if steps == 0:
            start = env.engine.base_pos.clone()
            heading = yaw_of(env.engine.base_quat)
            assert torch.allclose(env.command, torch.tensor([speed, 0.0, 0.0]).expand(n, 3))
        ahead = torch.stack((heading.cos(), heading.sin(), torch.zeros(n)), 1) * walks.unsqueeze(1)
        pos = start + ahead * speed * dt * steps
        quat, zero = torch.zeros(n, 4), torch.zeros(n, 3)
        quat[:, 0], quat[:, 3] = (0.5 * heading).cos(), (0.5 * heading).sin()
        # on its back a little lower in each of some steps, until it touches the ground when forces are read
        since = steps - falls_at
        over = (since >= 0) & (since < 8)
        quat[over] = torch.tensor([0.0, 1.0, 0.0, 0.0])
        pos[over, 2] = (0.137 - 0.002 * since[over]).float()
        # level 1 stays where it fell; level 3 gets up and walks all the way
        stay = (level == 1) & (since >= 8)
        angles = env.default_joint_pos.expand(n, -1)
        env.engine.write_state(~stay, pos, quat, ahead * speed, zero, angles, torch.zeros_like(angles))
        steps += 1
        return torch.zeros(n, env.num_actions)

    return act


def test_robots_that_walk_fall_or_stand_get_what_they_deserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        AXES, "flat", Axis("what the robot does", (0.0, 1.0, 2.0, 3.0, 4.0), lambda value: 0.0)
    )
    monkeypatch.setattr(terrain_test, "SECONDS", 7.5)
    task = reference()
    before = repr(task)
    cells = success_test(task, puppeteer, ("flat",), robots=4, tiles=2, num_threads=1)
    assert repr(task) == before, "the task of the run stays as it was"
    walks, falls, stands, gets_up, falls_later = cells
    for cell in (walks, falls_later):
        assert (cell.success, cell.falls, cell.high) == (1.0, 0.0, 1.0)
        assert cell.time == pytest.approx(4.0 / 0.75, abs=0.03)
    for cell in (falls, gets_up):
        assert (cell.success, cell.falls) == (0.0, 1.0) and math.isnan(cell.time)
    assert (stands.success, stands.falls) == (0.0, 0.0) and math.isnan(stands.time)
    assert [cell.value for cell in cells] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert all(cell.robots == 4 and cell.shape == "flat" for cell in cells)


def test_robots_stand_on_the_tiles_that_they_are_counted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terrain_test, "SECONDS", 0.04)
    seen: list[LeggedEnv] = []

    def make_act(env: LeggedEnv) -> Callable[[Tensor], Tensor]:
        seen.append(env)
        return lambda obs: torch.zeros(env.num_envs, env.num_actions)

    cells = success_test(rugged(), make_act, ("stairs_up", "pit"), robots=6, tiles=2, num_threads=1)
    (env,) = seen
    course = env.course
    assert course is not None and len(cells) == 5 + 4
    shape, level = course.shape.view(-1, 6), course.level.view(-1, 6)
    assert [(course.terrain.shapes[shape[i, 0]], int(level[i, 0])) for i in range(9)] == [
        (cell.shape, AXES[cell.shape].values.index(cell.value)) for cell in cells
    ]
    assert (shape == shape[:, :1]).all() and (level == level[:, :1]).all()
    assert (course.column.view(-1, 6).sort(1).values.unique_consecutive(dim=1).diff() <= 1).all()
    assert course.column.unique().tolist() == [0, 1, 2, 3], "every tile is used"
    away = env.engine.base_pos - course.origins()
    assert away[:, :2].abs().max() < 0.3 and (away[:, 2] - 0.6).abs().max() < 0.1
    assert yaw_of(env.engine.base_quat).std() > 1.0, "in all directions"
    assert (
        not env.cfg.noise.enabled
        and (env.randomised["friction"] == 1.0).all()
        and not env.randomised["added_base_mass"].any()
    )


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_intervals_are_the_tabled_ones(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_terrain_without_a_test_is_refused() -> None:
    with pytest.raises(ValueError, match="'stairs_upp'; choose from slope_up, .* Did you mean stairs_up"):
        check_shapes(("slope_up", "stairs_upp"))
    with pytest.raises(ValueError, match="no terrain to test; choose from"):
        check_shapes(())
    with pytest.raises(ValueError, match="no success test for terrain 'flat'"):
        success_test(reference(), puppeteer, ("flat",))
