"""Ground with vertical walls in parts that MuJoCo knows: boxes, small height fields, a large one for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrains.ground import HeightField

_DEPTH = 0.3
"""What must not be seen of the large field lies so far below the lowest point of the ground, m."""

Rectangle = tuple[slice, slice]
"""Cells along x and along y."""


@dataclass
class Parts:
    """Solids that, together, have the surface of the ground."""

    boxes: list[tuple[Rectangle, float]]
    """Level ground: cells that a box covers, and the height of its top, m."""
    patches: list[tuple[int, int]]
    """Cells that slope beside a wall: each is a height field of its own."""
    field: np.ndarray
    """Heights of the large field's vertices, m, [nx, ny]; below all boxes and patches where those are."""


def split(ground: HeightField) -> Parts:
    """Take level and sloping cells beside walls out of the height field, which can have no walls."""
    corners, (nx, ny) = ground.corners, ground.heights.shape
    low, high = np.full((nx, ny), np.inf, np.float32), np.full((nx, ny), -np.inf, np.float32)
    for a, b in np.ndindex(2, 2):  # at each vertex, over the cells around it
        at = low[a : nx - 1 + a, b : ny - 1 + b], high[a : nx - 1 + a, b : ny - 1 + b]
        np.minimum(at[0], corners[..., a, b], out=at[0])
        np.maximum(at[1], corners[..., a, b], out=at[1])
    beside = _any_corner(low < high)
    lowest = corners.min((2, 3))
    level = lowest == corners.max((2, 3))
    boxes, boxed = _cover(lowest, level, beside & level)
    patches = beside & ~level
    kept = _any_cell(~boxed & ~patches)  # by these vertices the large field has cells
    field = np.where(kept, low, lowest.min() - _DEPTH)
    return Parts(boxes, list(zip(*np.nonzero(patches), strict=True)), field)


def _cover(
    lowest: np.ndarray, level: np.ndarray, todo: np.ndarray
) -> tuple[list[tuple[Rectangle, float]], np.ndarray]:
    """Few rectangles over the cells `todo`, and all cells whose ground they are, bool.

    One reaches under higher ground as far as it can: there are fewer, and no seam lies in a tread but at the turns of
    stairs.
    """
    boxes, boxed = [], np.zeros_like(level)
    for i, j in zip(*np.nonzero(todo), strict=True):
        if boxed[i, j]:
            continue
        height = lowest[i, j]
        columns = _run(lowest[i] >= height, j)
        first = last = i
        while first > 0 and (lowest[first - 1, columns] >= height).all():
            first -= 1
        while last + 1 < len(lowest) and (lowest[last + 1, columns] >= height).all():
            last += 1
        where = slice(first, last + 1), columns
        boxed[where] |= level[where] & (lowest[where] == height)
        boxes.append((where, float(height)))
    return boxes, boxed


def _run(solid: np.ndarray, k: int) -> slice:
    """The longest run of True (bool, [n]) around index k."""
    gaps = np.flatnonzero(~solid)
    return slice(gaps[gaps < k].max(initial=-1) + 1, gaps[gaps > k].min(initial=len(solid)))


def _any_corner(vertices: np.ndarray) -> np.ndarray:
    """Cells that have one of these vertices."""
    return vertices[1:, 1:] | vertices[1:, :-1] | vertices[:-1, 1:] | vertices[:-1, :-1]


def _any_cell(cells: np.ndarray) -> np.ndarray:
    """Vertices that one of these cells has."""
    return _any_corner(np.pad(cells, 1))
