"""Starts beside and behind one another on one tile, so that robots in a picture are apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy import ndarray

from terrains.grid import Terrain, TerrainConfig, row_of_tiles, single_terrain
from terrains.ground import HeightField

_BESIDE, _BEHIND = 2.0, 2.7
"""Distance of lanes and of rows, in heights of a robot's base."""
_LANES = 3
_UNEVEN, _HIGHER = 0.7, 0.4
"""A start with ground that differs by more, or is so much higher or lower than the tile's middle, is no place for a
robot; in heights of its base."""


def spread_starts(shape: str, difficulty: float, cfg: TerrainConfig, count: int, height: float) -> Terrain:
    """Tiles of one kind side by side, with a start for each robot, as if each had a tile of its own.

    Robots are to walk along x. On each tile the first row is in its middle, others follow behind it where the ground
    is as high; there are as many tiles as that takes.

    Args:
        shape: of the tiles.
        difficulty: likewise.
        cfg: sizes, and the level ground around.
        count: robots.
        height: of a robot's base, m.

    Raises:
        ValueError: see `terrains.grid.single_terrain`.
    """
    one = single_terrain(shape, difficulty, cfg)
    middle = one.origins[0, 0]
    rows = -_BEHIND * height * np.arange(int(0.5 * cfg.tile_size / (_BEHIND * height)) + 1)
    lanes = _BESIDE * height * (np.arange(_LANES) - _LANES // 2)
    shifts = [np.array([row, lane, 0.0]) for row in rows for lane in lanes]
    shifts = [shift for shift in shifts if _fits(one.ground, middle + shift, height)] or [np.zeros(3)]
    tiles = -(-count // len(shifts))
    terrain = row_of_tiles(shape, difficulty, cfg, tiles) if tiles > 1 else one
    order = sorted(range(tiles), key=lambda i: abs(2 * i - (tiles - 1)))  # those in the middle first
    starts = np.array([terrain.origins[0, i] + shift for i in order for shift in shifts][:count])
    starts[:, 2] = terrain.ground.height_at(starts[:, :2].copy())
    return replace(terrain, origins=starts[None], column_shapes=[shape] * count)


def pair_starts(terrain: Terrain, count: int, height: float) -> Terrain:
    """The same map with a start for each robot, as if each had a tile of its own: two on each tile around its middle.

    Args:
        terrain: tiles of several levels and shapes.
        count: robots.
        height: of a robot's base, m.
    """
    origins = np.repeat(terrain.origins, 2, axis=1)
    origins[:, ::2, 1] -= 1.2 * height
    origins[:, 1::2, 1] += 1.2 * height
    shapes = [name for name in terrain.column_shapes for _ in range(2)]
    # the middle between two kinds of ground shows more than that of one
    changes = [i for i in range(2, len(shapes), 2) if shapes[i] != shapes[i - 1]] or [len(shapes) // 2]
    column = min(changes, key=lambda i: abs(i - len(shapes) // 2))
    place = terrain.origins[len(origins) // 2, min(column, len(shapes) - 1) // 2, :2]
    far = np.linalg.norm(terrain.origins[..., :2] - place, axis=-1).repeat(2, axis=1)
    order = np.resize(np.argsort(far, axis=None, kind="stable"), count)
    levels, columns = np.unravel_index(order, far.shape)
    taken = [shapes[i] for i in columns]
    return replace(terrain, origins=origins[None, levels, columns], column_shapes=taken)


def _fits(ground: HeightField, spot: ndarray, height: float) -> bool:
    """Whether a robot can stand at a place [3], m."""
    around = height * np.stack(np.meshgrid(np.linspace(-0.9, 0.9, 9), np.linspace(-0.6, 0.6, 7)), -1)
    under = ground.height_at(spot[:2] + around.reshape(-1, 2))
    even = float(under.max() - under.min()) < _UNEVEN * height
    return even and abs(float(under.mean() - spot[2])) < _HIGHER * height
