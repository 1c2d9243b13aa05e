"""Shapes are what their names say, at every difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from terrains.shapes import SHAPES, make_tile

SIZE, CELL = 8.0, 0.1


def tile(name: str, difficulty: float, seed: int = 0, **parameters: object) -> np.ndarray:
    return make_tile(name, difficulty, SIZE, CELL, np.random.default_rng(seed), parameters)


def centre(heights: np.ndarray) -> np.ndarray:
    """The central 2 m x 2 m."""
    return heights[30:50, 30:50]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("difficulty", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("cell", [0.05, 0.1])
def test_a_tile_is_finite_and_made_from_its_seed(name: str, difficulty: float, cell: float) -> None:
    one, two = (make_tile(name, difficulty, SIZE, cell, np.random.default_rng(3)) for _ in range(2))
    assert one.shape == (round(SIZE / cell),) * 2 and np.isfinite(one).all()
    assert np.array_equal(one, two)


@pytest.mark.parametrize("name", [n for n in SHAPES if n not in ("flat", "random_rough")])
def test_difficulty_makes_it_harder(name: str) -> None:
    assert np.ptp(tile(name, 1.0)) >= np.ptp(tile(name, 0.2))
    roughness = [np.abs(np.diff(tile(name, d), axis=0)).mean() for d in (0.1, 1.0)]
    assert roughness[1] > roughness[0]


@pytest.mark.parametrize(
    "name", ["slope_up", "slope_down", "stairs_up", "stairs_down", "obstacles", "gap", "pit"]
)
def test_robots_start_on_a_level_platform(name: str) -> None:
    assert np.ptp(centre(tile(name, 1.0))) == 0.0


@pytest.mark.parametrize("name", ["slope_up", "slope_down", "stairs_up", "stairs_down"])
def test_tiles_meet_at_height_zero(name: str) -> None:
    heights = tile(name, 0.7)
    edge = np.concatenate((heights[0], heights[-1], heights[:, 0], heights[:, -1]))
    assert not edge.any()
    assert np.sign(centre(heights)[0, 0]) == (-1 if name.endswith("up") else 1), "up: out of a hollow"


def test_slopes_have_their_gradient() -> None:
    steepest = np.abs(np.diff(tile("slope_up", 0.5), axis=0)).max() / CELL
    assert steepest == pytest.approx(0.4 * 0.5)
    assert np.array_equal(tile("slope_down", 0.5), -tile("slope_up", 0.5))


@pytest.mark.parametrize(("difficulty", "height"), [(0.0, 0.05), (0.5, 0.14), (1.0, 0.23)])
def test_stairs_have_steps_of_one_height_and_three_cells(difficulty: float, height: float) -> None:
    profile = tile("stairs_up", difficulty)[40:, 40]
    rises = np.diff(profile)
    assert np.allclose(rises[rises > 0], height)
    assert set(np.diff(np.flatnonzero(rises))) == {3}


def test_roughness_stays_within_its_amplitude() -> None:
    heights = tile("random_rough", 1.0)
    assert 0.04 < np.abs(heights).max() <= 0.05 + 1e-9
    assert np.abs(tile("random_rough", 0.0, least=0.2)).max() <= 0.01 + 1e-9
    coarse = tile("random_rough", 1.0, spacing=1.0)
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.5 * np.abs(np.diff(heights, axis=0)).mean()


def test_obstacles_have_the_difficultys_height_and_half_of_it() -> None:
    levels = set(np.round(np.unique(tile("obstacles", 0.5, seed=1)), 6))
    assert levels <= {0.0, 0.15, 0.075, -0.15, -0.075} and len(levels) > 3


def test_gap_and_pit() -> None:
    gap, pit = tile("gap", 0.5), tile("pit", 0.5)
    assert set(np.unique(gap)) == {-1.0, 0.0}
    assert np.count_nonzero(gap[40]) == 2 * 5
    assert set(np.unique(pit)) == {-0.5, 0.0} and centre(pit).max() == -0.5


def test_stepping_stones_shrink() -> None:
    on_stones = [np.mean(tile("stepping_stones", d) == 0.0) for d in (0.0, 0.9)]
    assert 0.4 < on_stones[1] < on_stones[0] < 1.0


def test_bad_values_get_one_sentence() -> None:
    with pytest.raises(ValueError, match="unknown terrain shape 'stair_up'.*Did you mean stairs_up"):
        tile("stair_up", 0.5)
    with pytest.raises(ValueError, match="difficulty must lie in 0 to 1, not 1.5"):
        tile("flat", 1.5)
    with pytest.raises(ValueError, match="'pit' has no parameter 'depht'; it has depth, platform"):
        tile("pit", 0.5, depht=1.0)
    with pytest.raises(ValueError, match="platform of 9.0 m fills the tile of 8.0 m"):
        tile("pit", 0.5, platform=9.0)
    with pytest.raises(ValueError, match="no cells"):
        make_tile("flat", 0.5, 0.1, 0.1, np.random.default_rng(0))
    for parameter, value in (("spacing", 0.0), ("amplitude", -0.1)):
        with pytest.raises(
            ValueError, match=f"'random_rough' cannot be made with {parameter} {value} at difficulty"
        ):
            make_tile("random_rough", 0.5, 8.0, 0.1, np.random.default_rng(0), {parameter: value})


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros((3, 4)), r"'mine' must return heights \[80, 80\], not \[3, 4\]"),
        (None, r"'mine' must return heights \[80, 80\], not \[\]"),
        (np.full((80, 80), np.inf), "'mine' returns heights that are not finite at difficulty 0.5"),
    ],
)
def test_a_shape_that_returns_something_else_is_named(
    returned: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHAPES, "mine", lambda difficulty, size, cell, rng: returned)
    with pytest.raises(ValueError, match=message):
        tile("mine", 0.5)
