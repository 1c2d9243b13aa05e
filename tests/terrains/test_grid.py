"""The map: tiles where they belong, the same from the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from terrains.grid import (
    Terrain,
    TerrainConfig,
    build_terrain,
    lay_out,
    load_terrain,
    make_terrain,
    single_terrain,
)
from terrains.shapes import SHAPES

SMALL = TerrainConfig(
    proportions={"pit": 0.5, "stairs_down": 0.25, "flat": 0.25}, levels=3, columns=4, border=2.0
)


def height(terrain: Terrain, x: float, y: float) -> float:
    return float(terrain.ground.height_at(np.array([x, y])))


def test_tiles_lie_where_their_level_and_column_say() -> None:
    terrain = build_terrain(SMALL)
    assert terrain.column_shapes == ["pit", "pit", "stairs_down", "flat"]
    assert terrain.shapes == ["pit", "stairs_down", "flat"]
    assert terrain.ground.heights.shape == (3 * 80 + 40, 4 * 80 + 40), "asymmetric: x along levels"
    for level in range(3):
        for column, name in enumerate(terrain.column_shapes):
            x, y, z = terrain.origins[level, column]
            assert (x, y) == (8.0 * level + 4.0, 8.0 * column + 4.0)
            assert height(terrain, x, y) == pytest.approx(z, abs=1e-5), "robots start on the ground"
            if name == "pit":
                assert z == pytest.approx(-level / 3)
    assert height(terrain, -1.0, 12.0) == 0.0 and height(terrain, 25.0, 33.0) == 0.0


def test_the_seed_makes_the_map_and_a_tile_does_not_depend_on_the_others() -> None:
    cfg = TerrainConfig(proportions={"obstacles": 1.0}, levels=2, columns=2)
    one, same = build_terrain(cfg), build_terrain(cfg)
    assert np.array_equal(one.ground.heights, same.ground.heights)
    other = build_terrain(dataclasses.replace(cfg, seed=2))
    assert not np.array_equal(one.ground.heights, other.ground.heights)
    more = build_terrain(dataclasses.replace(cfg, columns=3))
    columns = slice(50, 50 + 160)
    assert np.array_equal(one.ground.heights[50:130, columns], more.ground.heights[50:130, columns])


def test_columns_follow_the_proportions() -> None:
    shapes = TerrainConfig().column_shapes()
    counts = {name: shapes.count(name) for name in shapes}
    assert counts == {
        "slope_up": 1, "slope_down": 1, "rough_slope_up": 1, "rough_slope_down": 1, "stairs_up": 7,
        "stairs_down": 5, "obstacles": 4,
    }  # fmt: skip


def test_a_new_shape_can_be_given_a_share_and_changes_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TerrainConfig()
    monkeypatch.setitem(SHAPES, "mine", lambda difficulty, size, cell, rng: np.zeros((80, 80)))
    after = TerrainConfig()
    assert after.proportions == before.proportions | {"mine": 0.0}
    assert after.column_shapes() == before.column_shapes()
    assert TerrainConfig(proportions={"mine": 0.5, "flat": 0.5}, columns=2).column_shapes() == [
        "mine",
        "flat",
    ]


def test_one_tile_with_a_border() -> None:
    terrain = single_terrain("stairs_up", 1.0, SMALL)
    assert terrain.origins.shape == (1, 1, 3)
    assert height(terrain, 4.0, 4.0) == pytest.approx(terrain.origins[0, 0, 2], abs=1e-6)
    assert terrain.origins[0, 0, 2] < -1.0 and height(terrain, -1.0, 4.0) == 0.0


def test_heights_from_files(tmp_path: Path) -> None:
    heights = np.random.default_rng(0).uniform(0.0, 0.3, (40, 60))
    np.save(tmp_path / "map.npy", heights)
    terrain = load_terrain(tmp_path / "map.npy", SMALL)
    assert np.allclose(terrain.ground.heights[20:60, 20:80], heights)
    assert terrain.column_shapes == ["map"]

    from matplotlib.image import imsave

    imsave(tmp_path / "map.png", heights / 0.3, cmap="gray", vmin=0.0, vmax=1.0)
    terrain = load_terrain(tmp_path / "map.png", SMALL, scale=0.3)
    assert np.allclose(terrain.ground.heights[20:60, 20:80], heights, atol=0.3 / 100)


def test_bad_files_get_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "map.npy").write_bytes(b"nothing")
    np.save(tmp_path / "nan.npy", np.full((4, 4), np.nan))
    np.save(tmp_path / "line.npy", np.zeros(4))
    for name in ("map.npy", "missing.npy", "map.txt"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            load_terrain(tmp_path / name)
    for name in ("nan.npy", "line.npy"):
        with pytest.raises(ValueError, match="not an array .* of finite heights"):
            load_terrain(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proportions": {"flat": 0.5}}, "sum to 1, but they sum to 0.5"),
        ({"proportions": {}}, "sum to 1"),
        ({"proportions": {"flot": 1.0}}, "unknown terrain shape 'flot'.*Did you mean flat"),
        ({"levels": 0}, "terrain.levels must be at least 1"),
        ({"slope_threshold": -0.1}, "terrain.slope_threshold must not be negative"),
        ({"slope_threshold": float("nan")}, "terrain.slope_threshold must not be negative"),
        ({"columns": 0}, "terrain.columns must be at least 1"),
        ({"tile_size": -1.0}, "terrain.tile_size"),
        ({"tile_size": 2.0}, "platform of 4.0 m fills the tile of 2.0 m"),
        ({"cell": 0.0}, "terrain.cell"),
        ({"border": -1.0}, "terrain.border"),
        ({"parameters": {"pit": {"width": 1.0}}}, "'pit' has no parameter 'width'"),
    ],
)
def test_bad_configurations_get_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_terrain(dataclasses.replace(SMALL, **change))


def test_spacing_is_level_ground_between_tiles() -> None:
    cfg = dataclasses.replace(SMALL, spacing=1.5)
    near, far = build_terrain(SMALL), build_terrain(cfg)
    assert far.ground.heights.shape == (3 * 80 + 2 * 15 + 40, 4 * 80 + 3 * 15 + 40)
    for level in range(3):
        for column in range(4):
            x, y, z = far.origins[level, column]
            assert (x, y) == pytest.approx((9.5 * level + 4.0, 9.5 * column + 4.0))
            assert z == near.origins[level, column, 2]
            i, j, k, m = 20 + 80 * level, 20 + 80 * column, 20 + 95 * level, 20 + 95 * column
            tile = near.ground.heights[i : i + 80, j : j + 80]
            assert np.array_equal(far.ground.heights[k : k + 80, m : m + 80], tile)
    assert not far.ground.heights[100:115].any() and not far.ground.heights[:, 100:115].any()


def test_every_tile_is_made_for_its_place() -> None:
    names = ["a", "b", "a"]
    calls = []

    def tile(level: int, column: int, name: str) -> np.ndarray:
        calls.append((level, column, name))
        return np.full((80, 80), 10.0 * level + column)

    terrain = lay_out(SMALL, np.array([0.2, 0.7]), names, tile)
    assert calls == [(i, j, names[j]) for i in range(2) for j in range(3)]
    assert terrain.origins[..., 2].tolist() == [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]]
    assert terrain.difficulties.tolist() == [0.2, 0.7] and terrain.shapes == ["a", "b"]
    x, y, z = terrain.origins[1, 2]
    assert height(terrain, x, y) == z and height(terrain, x - 3.9, y + 3.9) == z


def test_the_configuration_chooses_the_ground(tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.full((30, 50), 0.25))
    assert make_terrain(TerrainConfig()) is None
    tiles = make_terrain(dataclasses.replace(SMALL, type="tiles"))
    assert tiles is not None and tiles.origins.shape == (3, 4, 3)
    tile = make_terrain(TerrainConfig(type="tile", shape="pit", difficulty=0.5, border=1.0))
    assert tile is not None and tile.column_shapes == ["pit"] and tile.origins[0, 0, 2] == -0.5
    file = make_terrain(
        TerrainConfig(type="file", file=str(tmp_path / "map.npy"), file_scale=2.0, border=1.0)
    )
    assert file is not None and file.origins[0, 0].tolist() == pytest.approx([1.5, 2.5, 0.5])
    with pytest.raises(ValueError, match="'pitt'.*Did you mean pit"):
        make_terrain(TerrainConfig(type="tile", shape="pitt"))
    with pytest.raises(ValueError, match="cannot be read"):
        make_terrain(TerrainConfig(type="file"))


def test_all_maps_have_walls_unless_they_are_switched_off(tmp_path: Path) -> None:
    np.save(tmp_path / "steps.npy", 0.2 * (np.indices((30, 30)).sum(0) // 10))
    file = str(tmp_path / "steps.npy")
    for cfg in (
        dataclasses.replace(SMALL, type="tiles"),
        dataclasses.replace(SMALL, type="tile"),
        dataclasses.replace(SMALL, type="file", file=file),
    ):
        made = [make_terrain(dataclasses.replace(cfg, slope_threshold=t)) for t in (0.0, 0.75, 20.0)]
        assert [terrain.ground.has_walls for terrain in made if terrain] == [False, True, False]
        standard = make_terrain(cfg)
        assert standard is not None and standard.ground.slope_threshold == 0.75


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"parameters": {"stairs_upp": {}}}, "unknown terrain shape 'stairs_upp'.*Did you mean stairs_up"),
        ({"parameters": {"stairs_up": {"hight": 0.1}}}, "no parameter 'hight'.*Did you mean height"),
        ({"proportions": {"stairs_upp": 1.0}}, "unknown terrain shape 'stairs_upp'"),
        ({"shape": "stair"}, "unknown terrain shape 'stair'"),
    ],
)
def test_misspelled_names_are_refused_before_anything_is_built(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TerrainConfig(**change).validate()
