"""Many tiles in one map: a row per difficulty, a column per kind of terrain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from terrains.ground import HeightField
from terrains.shapes import SHAPES, all_parameters, check_parameters, make_tile, parameters_of

MOST_VERTICES = 100_000_000
"""Of a map: 0.4 GB of heights, 80 times the default map."""


@dataclass
class TerrainConfig:
    """The ground: a plane, a map of tiles (Rudin et al. 2021, section 3.2 and its code), one tile, or a file."""

    type: Literal["plane", "tiles", "tile", "file"] = "plane"
    """What the ground is."""
    shape: str = "stairs_up"
    """tile: its shape."""
    difficulty: float = 0.5
    """tile: its difficulty, 0 to 1."""
    file: str = ""
    """file: heights, NPY (m) or greyscale PNG."""
    file_scale: float = 1.0
    """file: factor on its heights; of a PNG, the height of white, m."""
    proportions: dict[str, float] = field(
        default_factory=lambda: {
            "slope_up": 0.05,
            "slope_down": 0.05,
            "rough_slope_up": 0.05,
            "rough_slope_down": 0.05,
            "stairs_up": 0.35,
            "stairs_down": 0.25,
            "obstacles": 0.2,
        }
    )
    """Shape -> share of the columns; they sum to 1. Shapes that are not named get none."""
    parameters: dict[str, dict[str, Any]] = field(default_factory=all_parameters)
    """Shape -> its parameters; what is left out is the shape's own."""
    levels: int = 10
    """Rows; row i has difficulty i / levels."""
    columns: int = 20
    """Columns."""
    tile_size: float = 8.0
    """Side of a tile, m."""
    cell: float = 0.1
    """Spacing of the vertices, m."""
    spacing: float = 0.0
    """Level ground between neighbouring tiles, m."""
    border: float = 5.0
    """Level ground around the tiles, m."""
    slope_threshold: float = 0.75
    """Rise over run between neighbouring vertices beyond which ground is a vertical wall (legged_gym's); 0: none."""
    seed: int = 1
    """Of everything random in the shapes."""

    def __post_init__(self) -> None:
        """Name every shape, so that each is a flag."""
        self.proportions = self.proportions | {s: 0.0 for s in SHAPES if s not in self.proportions}

    def validate(self) -> None:
        """Check ranges; ValueError with one sentence."""
        for name, value in (("levels", self.levels), ("columns", self.columns)):
            if value < 1:
                raise ValueError(f"terrain.{name} must be at least 1, not {value}")
        for name, length in (("tile_size", self.tile_size), ("cell", self.cell)):
            if not 0.0 < length < np.inf:
                raise ValueError(f"terrain.{name} must be a positive length, not {length}")
        for name in ("border", "spacing", "slope_threshold"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"terrain.{name} must not be negative, not {getattr(self, name)}")
        for name in (self.shape, *self.proportions):
            parameters_of(name)
        for name, parameters in self.parameters.items():
            check_parameters(name, parameters)
        side = self.tile_size / self.cell
        tiles = 1 if self.type == "tile" else self.levels * self.columns
        if self.type in ("tile", "tiles") and tiles * side**2 > MOST_VERTICES:
            raise ValueError(
                f"terrain: {tiles:,} tiles of {side:,.0f} x {side:,.0f} cells make a map of more than "
                f"{MOST_VERTICES:,} vertices; take fewer levels or columns, smaller tiles or larger cells"
            )
        shares = self.proportions.values()
        if not shares or min(shares) < 0.0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(
                f"terrain.proportions must be shares that sum to 1, but they sum to {sum(shares):g}"
            )

    def column_shapes(self) -> list[str]:
        """Shape of each column: as many as its share, in the order of `proportions`."""
        names, ends = list(self.proportions), np.cumsum(list(self.proportions.values()))
        middles = (np.arange(self.columns) + 0.5) / self.columns
        return [names[min(int(np.searchsorted(ends, m)), len(names) - 1)] for m in middles]


@dataclass(frozen=True)
class Terrain:
    """A map and what is known about its tiles."""

    ground: HeightField
    """Level, column 0, 0 begins at world x = y = 0; x goes along levels, y along columns."""
    origins: ndarray
    """Where robots start: the tiles' centres, at the height of the central 2 m x 2 m's top, [levels, columns, 3]."""
    column_shapes: list[str]
    """Shape of each column."""
    tile_size: float
    """Side of a tile, m."""
    difficulties: ndarray
    """Difficulty of each level, [levels]."""

    @property
    def shapes(self) -> list[str]:
        """The shapes there are, each once, in the order of their columns."""
        return list(dict.fromkeys(self.column_shapes))


def make_terrain(cfg: TerrainConfig) -> Terrain | None:
    """The configured map, None for a plane; ValueError as the functions below."""
    if cfg.type == "plane":
        return None
    if cfg.type == "tile":
        return single_terrain(cfg.shape, cfg.difficulty, cfg)
    return load_terrain(Path(cfg.file), cfg, cfg.file_scale) if cfg.type == "file" else build_terrain(cfg)


def build_terrain(cfg: TerrainConfig) -> Terrain:
    """Make all tiles and lay them out; the same configuration gives the same map.

    Raises:
        ValueError: a value out of range, an unknown shape or parameter.
    """
    cfg.validate()
    difficulties = np.arange(cfg.levels) / cfg.levels
    return lay_out(cfg, difficulties, cfg.column_shapes(), _maker(cfg, difficulties))


def row_of_tiles(name: str, difficulty: float, cfg: TerrainConfig, count: int) -> Terrain:
    """Several tiles of one shape side by side, the first as in `single_terrain`; ValueError as `build_terrain`."""
    difficulties = np.array([difficulty])
    return lay_out(cfg, difficulties, [name] * count, _maker(cfg, difficulties))


def _maker(cfg: TerrainConfig, difficulties: ndarray) -> Callable[[int, int, str], ndarray]:
    """(level, column, shape) -> heights of a tile."""

    def tile(level: int, column: int, name: str) -> ndarray:
        # a generator of its own: a tile does not depend on how many others there are
        rng = np.random.default_rng((cfg.seed, level, column))
        parameters = cfg.parameters.get(name)
        return make_tile(name, float(difficulties[level]), cfg.tile_size, cfg.cell, rng, parameters)

    return tile


def lay_out(
    cfg: TerrainConfig, difficulties: ndarray, names: list[str], tile: Callable[[int, int, str], ndarray]
) -> Terrain:
    """Lay tiles in rows and columns.

    Args:
        cfg: sizes.
        difficulties: of each level, [levels].
        names: what each column holds.
        tile: (level, column, name of the column) -> heights of a tile.
    """
    n, edge, gap = (round(length / cfg.cell) for length in (cfg.tile_size, cfg.border, cfg.spacing))
    heights = np.zeros([count * (n + gap) - gap + 2 * edge for count in (len(difficulties), len(names))])
    origins = np.zeros((len(difficulties), len(names), 3))
    for level in range(len(difficulties)):
        for column, name in enumerate(names):
            made = tile(level, column, name)
            i, j = level * (n + gap), column * (n + gap)
            heights[edge + i : edge + i + n, edge + j : edge + j + n] = made
            centre = ((i + 0.5 * n) * cfg.cell, (j + 0.5 * n) * cfg.cell)
            origins[level, column] = (*centre, _top(made, cfg.cell))
    return Terrain(_ground(heights, edge, cfg), origins, names, cfg.tile_size, difficulties)


def single_terrain(name: str, difficulty: float, cfg: TerrainConfig | None = None) -> Terrain:
    """One tile of one shape with the border of `cfg` around it; ValueError as `build_terrain`."""
    cfg = cfg or TerrainConfig()
    return _one_tile(_maker(cfg, np.array([difficulty]))(0, 0, name), cfg, name, difficulty)


def load_terrain(path: Path, cfg: TerrainConfig | None = None, scale: float = 1.0) -> Terrain:
    """A height array from a file as one tile.

    Args:
        path: NPY with metres [nx, ny], or a greyscale PNG.
        cfg: cell and border.
        scale: heights are multiplied by it; of a PNG, the height of white, m.

    Raises:
        ValueError: a file that cannot be read, or is not a map of finite heights.
    """
    cfg = cfg or TerrainConfig()
    try:
        if path.suffix.lower() == ".npy":
            heights = np.load(path, allow_pickle=False)
        elif path.suffix.lower() == ".png":
            from matplotlib.image import imread

            heights = imread(path)
            heights = heights[..., :3].mean(-1) if heights.ndim == 3 else heights
        else:
            raise ValueError("neither .npy nor .png")
    except Exception as error:  # every reader fails in its own way
        raise ValueError(f"terrain file {path} cannot be read ({error})") from error
    heights = np.asarray(heights)
    if heights.ndim != 2 or min(heights.shape) < 2 or not np.isfinite(heights).all():
        raise ValueError(f"terrain file {path} is not an array [nx, ny] of finite heights")
    return _one_tile(scale * heights.astype(np.float64), cfg, path.stem)


def _one_tile(tile: ndarray, cfg: TerrainConfig, name: str, difficulty: float = 0.0) -> Terrain:
    edge, cell = round(cfg.border / cfg.cell), cfg.cell
    heights = np.pad(tile, edge)
    origin = [[[tile.shape[0] * cell / 2.0, tile.shape[1] * cell / 2.0, _top(tile, cell)]]]
    size = max(tile.shape) * cell
    return Terrain(_ground(heights, edge, cfg), np.array(origin), [name], size, np.array([difficulty]))


def _top(tile: ndarray, cell: float) -> float:
    """Highest point of the central 2 m x 2 m."""
    near = max(1, round(1.0 / cell))
    i, j = (size // 2 for size in tile.shape)
    return float(tile[max(0, i - near) : i + near, max(0, j - near) : j + near].max())


def _ground(heights: ndarray, edge: int, cfg: TerrainConfig) -> HeightField:
    """The map, `edge` vertices of border around it, with the first tile's corner at x = y = 0."""
    # vertices lie in the middle of their cells, so that tiles of a whole number of cells fit side by side
    start = -edge * cfg.cell + 0.5 * cfg.cell
    return HeightField(heights.astype(np.float32), cfg.cell, (start, start), cfg.slope_threshold)
