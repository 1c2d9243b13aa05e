"""Starts beside and behind one another on one tile, so that robots in a picture are apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy import ndarray

from terrains.grid import Terrain
from terrains.ground import HeightField

_BESIDE, _BEHIND = 2.0, 2.7
"""Distance of lanes and of rows, in heights of a robot's base."""
_LANES = 3
_UNEVEN, _DEEP = 0.7, 0.4
"""A start with ground that differs by more, or lies lower than the tile's middle and its surroundings by more, is no
place for a robot; in heights of its base."""
_EDGE = 1.6
"""Starts are at least so far from the map's border, m; an environment ends episodes near it."""


def spread_starts(terrain: Terrain, count: int, height: float) -> Terrain:
    """The same tile with a start for each robot, as if each had a tile of its own; all are to walk along x.

    The first row is in the middle of the tile, others follow behind it where a robot can stand.

    Args:
        terrain: one tile.
        count: robots.
        height: of a robot's base, m.
    """
    (middle,) = terrain.origins.reshape(-1, 3)
    spots: list[ndarray] = []
    rows = np.arange(0.0, -60.0 * height, -_BEHIND * height)
    for side in range(1 + count // _LANES):  # more lanes further out where the rows are full
        lanes = (np.arange(_LANES) - _LANES // 2) * _BESIDE * height
        lanes = lanes + np.sign(lanes) * side * (_LANES // 2) * _BESIDE * height
        for row in rows:
            for lane in lanes if side == 0 else lanes[lanes != 0]:
                spot = middle[:2] + (row, lane)
                if _fits(terrain.ground, spot, float(middle[2]), height):
                    spots.append(np.append(spot, terrain.ground.height_at(spot[None])))
        if len(spots) >= count:
            break
    spots = spots or [middle]
    starts = np.array([spots[i % len(spots)] for i in range(count)])
    return replace(terrain, origins=starts[None], column_shapes=terrain.column_shapes[:1] * count)


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


def _fits(ground: HeightField, spot: ndarray, middle: float, height: float) -> bool:
    """Whether a robot can stand there."""
    low = np.array(ground.origin)
    high = low + ground.cell * (np.array(ground.heights.shape) - 1)
    if ((spot < low + _EDGE) | (spot > high - _EDGE)).any():
        return False
    around = height * np.stack(np.meshgrid(np.linspace(-0.9, 0.9, 9), np.linspace(-0.6, 0.6, 7)), -1)
    under = ground.height_at(spot + around.reshape(-1, 2))
    outside = float(ground.heights[0, 0])
    even = float(under.max() - under.min()) < _UNEVEN * height
    return even and float(under.min()) > min(middle, outside) - _DEEP * height
