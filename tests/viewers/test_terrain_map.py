"""Pictures of maps, of levels over time, and of the success test."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from evaluation.terrain import Cell
from terrains.grid import Terrain, TerrainConfig, build_terrain, single_terrain
from viewers import terrain_map
from viewers.bars import plot_success
from viewers.terrain_map import draw_levels, draw_map


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    """Three levels of three shapes."""
    proportions = {"stairs_up": 0.5, "pit": 0.25, "slope_down": 0.25}
    return build_terrain(TerrainConfig(proportions=proportions, levels=3, columns=4, border=2.0))


def picture(terrain: Terrain, path: Path, positions: np.ndarray | None = None) -> np.ndarray:
    draw_map(terrain, path, positions, "a map")
    return imread(path)


def black(image: np.ndarray) -> np.ndarray:
    """Places of dark pixels."""
    return np.argwhere(image[..., :3].max(-1) < 0.3)


def test_the_map_shows_where_robots_are(terrain: Terrain, tmp_path: Path) -> None:
    empty = picture(terrain, tmp_path / "plots" / "map.png")
    assert empty.std() > 0.05 and np.array_equal(empty, picture(terrain, tmp_path / "map.png"))
    near, far = (
        picture(terrain, tmp_path / "map.png", np.tile(place, (400, 1)) + spread)
        for spread in [np.random.default_rng(0).uniform(-1.0, 1.0, (400, 2))]
        for place in ([4.0, 4.0], [20.0, 28.0])
    )
    # levels go up the picture, columns to the right
    drawn = [np.argwhere(np.abs(image - empty).max(-1) > 0.2).mean(0) for image in (near, far)]
    assert drawn[0][0] > drawn[1][0] + 50 and drawn[0][1] < drawn[1][1] - 50


def test_other_maps_look_different(terrain: Terrain, tmp_path: Path) -> None:
    other = build_terrain(TerrainConfig(proportions={"obstacles": 1.0}, levels=3, columns=4, border=2.0))
    one, two = picture(terrain, tmp_path / "1.png"), picture(other, tmp_path / "2.png")
    assert one.shape != two.shape or not np.array_equal(one, two)
    draw_map(single_terrain("stairs_up", 0.5), tmp_path / "3.png")
    draw_map(single_terrain("flat", 0.5), tmp_path / "4.png", np.zeros((1, 2)))


def write_rows(path: Path, rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["iteration", "shape", "level", "robots", "success"], *rows])


def test_levels_over_time(tmp_path: Path) -> None:
    table, path = tmp_path / "curriculum.csv", tmp_path / "plots" / "levels.png"
    images = []
    for level in (0, 2):
        rows = [
            [iteration, shape, i, 8 * (i == level), "nan" if i != level else 0.5]
            for iteration in (10, 20, 25)
            for shape in ("stairs_up", "pit")
            for i in range(3)
        ]
        write_rows(table, rows)
        draw_levels(table, path)
        images.append(imread(path))
    assert images[0].shape == images[1].shape and not np.array_equal(images[0], images[1])
    write_rows(table, [[10, "pit", 0, 0, "nan"]])
    draw_levels(table, path)


def test_levels_are_drawn_in_whole_iterations_and_success_where_robots_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(terrain_map.plt, "close", figures.append)
    # level 0 was left by all robots but one
    write_rows(
        tmp_path / "c.csv", [[10, "pit", 0, 1, 0.9], [10, "pit", 1, 299, 0.4], [10, "pit", 2, 100, 0.5]]
    )
    draw_levels(tmp_path / "c.csv", tmp_path / "levels.png")
    (figure,) = figures
    share, success = (axes.images[0] for axes in figure.axes[:2])
    assert share.get_clim() == (0.0, 299 / 400), "no share is beyond the scale"
    assert np.ma.getmaskarray(success.get_array()).ravel().tolist() == [True, False, False]
    low, high = figure.axes[1].get_xlim()
    assert [tick for tick in figure.axes[1].get_xticks() if low <= tick <= high] == [10]


def test_no_rows_is_one_sentence(tmp_path: Path) -> None:
    write_rows(tmp_path / "curriculum.csv", [])
    with pytest.raises(ValueError, match="curriculum.csv has no rows yet"):
        draw_levels(tmp_path / "curriculum.csv", tmp_path / "levels.png")


@pytest.mark.parametrize("shapes", [("pit",), ("slope_up", "stairs_up", "stairs_down", "gap", "waves")])
def test_success_over_difficulty(shapes: tuple[str, ...], tmp_path: Path) -> None:
    images = []
    for share in (0.0, 0.9):
        cells = [
            Cell(name, value, 10, share, max(0.0, share - 0.2), min(1.0, share + 0.2), 1.0 - share, 6.0)
            for name in shapes
            for value in (0.1, 0.2)
        ]
        plot_success(cells, tmp_path / "success.png", "a run")
        images.append(imread(tmp_path / "success.png"))
    assert images[0].shape == images[1].shape and np.abs(images[0] - images[1]).max() > 0.5
