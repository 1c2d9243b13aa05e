"""Uneven ground for plain MuJoCo: grids of heights, how they are stood on and seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

BASE = 0.3  # thickness of the ground below its lowest point, m
BORDER = 6.0  # level ground around each tile, m
PLAIN = (
    mujoco.MjSpec()
)  # has MuJoCo's own defaults: a model's are for its drives and geoms, not for the ground
TILES = 4  # of a shape, different where it is random
LEVEL = ("stairs_up", "stairs_down", "obstacles", "stepping_stones", "gap", "pit")
"""Shapes that boxes can be built of."""


@dataclass(frozen=True)
class Field:
    """Ground as a grid of heights, the middle of the grid at world x = y = 0."""

    heights: np.ndarray
    """World z of the vertices, m, [nx, ny]: rows go along x, columns along y."""
    cell: float
    """Spacing of the vertices, m."""
    boxes: bool = False
    """Stand it on boxes with vertical risers instead of MuJoCo's height field."""

    def look_up(self, x: np.ndarray, y: np.ndarray, rule: str) -> np.ndarray:
        """Heights at world x and y, m, [P] each; beyond the grid those of its border.

        Args:
            x: m, [P].
            y: m, [P].
            rule: minimum (lowest of the vertex below the point and the next along x and y) or bilinear.
        """
        last = np.array(self.heights.shape)[:, None] - 1
        place = np.clip(np.stack((x, y)) / self.cell + 0.5 * last, 0.0, last)
        (i, j), (r, t) = place.astype(int), place % 1.0
        if self.boxes:  # level in each cell
            return _lowest(self.heights)[np.minimum(i, last[0] - 1), np.minimum(j, last[1] - 1)]
        right, up = np.minimum(i + 1, last[0]), np.minimum(j + 1, last[1])
        here, along_x, along_y = self.heights[i, j], self.heights[right, j], self.heights[i, up]
        if rule == "minimum":
            return np.minimum(here, np.minimum(along_x, along_y))
        low, high = here + r * (along_x - here), along_y + r * (self.heights[right, up] - along_y)
        return low + t * (high - low)

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the ground to a scene.

        Of boxes, each cell between four vertices is level at the lowest of them: a riser stands at the higher
        vertices, where it stood in training.

        Raises:
            ValueError: boxes for ground that is not level in pieces.
        """
        if self.boxes:
            self._add_boxes(spec)
            return
        nx, ny = self.heights.shape  # MuJoCo's rows go along y, its columns along x
        low, high = float(self.heights.min()), float(self.heights.max())
        spec.add_hfield(
            name="sim2sim",
            nrow=ny,
            ncol=nx,
            userdata=self.heights.T.ravel(),
            size=[0.5 * self.cell * (nx - 1), 0.5 * self.cell * (ny - 1), high - low or 1.0, BASE],
        )
        spec.worldbody.add_geom(
            PLAIN.default, type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="sim2sim", pos=[0.0, 0.0, low]
        )

    def _add_boxes(self, spec: mujoco.MjSpec) -> None:
        heights = np.round(self.heights, 6)
        level = level_share(heights)
        if level < 0.5:
            raise ValueError(
                f"--ground boxes needs level ground with edges, such as {', '.join(LEVEL)}; of this one's vertices "
                f"next to others of another height {level:.0%} are level: stand it on --ground heightfield"
            )
        heights, bottom = _lowest(heights), heights.min() - BASE
        for rectangle in rectangles(heights):
            runs = np.array([(run.start, run.stop) for run in rectangle])
            x, y = (runs - 0.5 * np.array(heights.shape)[:, None]) * self.cell
            ends = np.array([x, y, (bottom, heights[rectangle].min())])
            spec.worldbody.add_geom(
                PLAIN.default,
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=ends.mean(1),
                size=0.5 * (ends[:, 1] - ends[:, 0]),
            )


def _lowest(heights: np.ndarray) -> np.ndarray:
    """Lowest vertex of each cell, [nx - 1, ny - 1]."""
    rows = np.minimum(heights[1:], heights[:-1])
    return np.minimum(rows[:, 1:], rows[:, :-1])


def level_share(heights: np.ndarray) -> float:
    """Share of the vertices at an edge that belong to a level square of four; 1 without edges.

    Args:
        heights: m, [nx, ny].
    """
    first = heights[:-1, :-1]
    level = (heights[1:, :-1] == first) & (heights[:-1, 1:] == first) & (heights[1:, 1:] == first)
    edge = _corners(~level)
    return float(_corners(level)[edge].mean()) if edge.any() else 1.0


def _corners(squares: np.ndarray) -> np.ndarray:
    """Vertices [nx, ny] of the squares (bool, [nx - 1, ny - 1]) between them."""
    around = np.pad(squares, 1)
    return around[1:, 1:] | around[1:, :-1] | around[:-1, 1:] | around[:-1, :-1]


def rectangles(heights: np.ndarray) -> list[tuple[slice, slice]]:
    """Few rectangles of cells (rows, columns) that, each filled up to its lowest height, give the whole ground.

    One reaches under higher ground as far as it can: there are fewer, and no seam lies in a tread but at the turns of
    stairs.

    Args:
        heights: m, [nx, ny], equal where they are meant to be.
    """
    found, todo = [], np.ones(heights.shape, dtype=bool)
    for i, j in np.ndindex(heights.shape):
        if todo[i, j]:
            solid = heights >= heights[i, j]
            columns = _run(solid[i], j)
            rows = _run(np.all(solid[:, columns], axis=1), i)
            todo[rows, columns] &= heights[rows, columns] > heights[i, j]
            found.append((rows, columns))
    return found


def _run(solid: np.ndarray, k: int) -> slice:
    """The longest run of True (bool, [n]) around index k."""
    gaps = np.flatnonzero(~solid)
    return slice(gaps[gaps < k].max(initial=-1) + 1, gaps[gaps > k].min(initial=len(solid)))


@dataclass(frozen=True)
class Course:
    """Ground and where robots start on it."""

    field: Field
    starts: np.ndarray
    """World x, y and height of the ground, m, [K, 3]."""


def file_course(path: Path, cell: float) -> Course:
    """The heights in an NPY file (m, [nx, ny]) with level ground at height 0 around.

    Raises:
        ValueError: the file cannot be read or is no such array.
    """
    try:
        heights = np.load(path, allow_pickle=False)
        valid = heights.ndim == 2 and min(heights.shape) >= 2 and bool(np.isfinite(heights).all())
    except Exception as error:  # numpy raises many kinds
        raise ValueError(f"--heights {path} cannot be read ({' '.join(str(error).split())})") from error
    if not valid:
        raise ValueError(f"--heights {path} is not an array [nx, ny] of finite heights")
    return lay_out([heights.astype(float)], cell)


def lay_out(tiles: list[np.ndarray], cell: float) -> Course:
    """Tiles [nx, ny] of one size side by side along x, each with its border; robots start in their middles."""
    edge = round(BORDER / cell)
    heights = np.concatenate([np.pad(tile, edge) for tile in tiles])
    rows, near = heights.shape[0] // len(tiles), max(1, round(1.0 / cell))
    starts = []
    for i, tile in enumerate(tiles):
        x = ((i + 0.5) * rows - 0.5 * heights.shape[0]) * cell
        middle_x, middle_y = (count // 2 for count in tile.shape)
        # the highest point of the middle 2 m x 2 m: no foot starts inside the ground
        top = tile[max(0, middle_x - near) : middle_x + near, max(0, middle_y - near) : middle_y + near].max()
        starts.append((x, 0.0, top))
    return Course(Field(heights, cell), np.array(starts))
