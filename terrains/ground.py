"""The ground as every engine, sensor and viewer sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Points = TypeVar("Points", np.ndarray, Tensor)


@dataclass(frozen=True)
class Plane:
    """An infinite horizontal plane at z = 0."""


@dataclass(frozen=True, eq=False)
class HeightField:
    """A grid of heights, shared by all robots; there is nothing to stand on beyond its border.

    Every cell is two triangles, split along the diagonal from vertex `[i, j]` to `[i + 1, j + 1]`, as in MuJoCo.
    With a `slope_threshold`, a cell that rises more steeply than that stays at its lower side, and a vertical wall
    stands where it meets the higher vertices (legged_gym moves the lower vertices there, to the same effect).

    Raises:
        ValueError: a field that is not a map, or has no size.
    """

    heights: np.ndarray
    """World z of the vertices, float32 `[nx, ny]`, m; rows go along x, columns along y. Copied, read-only."""
    cell: float
    """Spacing of the vertices along x and y, m."""
    origin: tuple[float, float]
    """World x and y of vertex `heights[0, 0]`, m."""
    slope_threshold: float = 0.0
    """Rise over run between neighbouring vertices beyond which a cell's higher corners are lowered; 0: none are."""
    _on_device: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        heights = np.array(self.heights, np.float32, order="C")
        if heights.ndim != 2 or min(heights.shape) < 2:
            raise ValueError(
                f"heights must be [nx, ny] with at least 2 x 2 vertices, not {list(heights.shape)}"
            )
        if not np.isfinite(heights).all():
            raise ValueError("heights must be finite")
        if not 0 < self.cell < np.inf:
            raise ValueError(f"cell must be a positive length in m, not {self.cell}")
        if np.shape(self.origin) != (2,) or not np.isfinite(self.origin).all():
            raise ValueError(f"origin must be two finite numbers (x, y) in m, not {self.origin}")
        if not 0 <= self.slope_threshold < np.inf:
            raise ValueError(f"slope_threshold must not be negative, and finite, not {self.slope_threshold}")
        heights.setflags(write=False)
        object.__setattr__(self, "heights", heights)

    @classmethod
    def centred(cls, heights: np.ndarray, cell: float, slope_threshold: float = 0.0) -> HeightField:
        """A field with the middle of its map at x = y = 0; arguments as above."""
        nx, ny = np.shape(heights)[:2]
        return cls(heights, cell, (-cell * (nx - 1) / 2, -cell * (ny - 1) / 2), slope_threshold)

    @property
    def max_rise(self) -> float:
        """Greatest difference in height along a side of a cell, m; infinite without a threshold."""
        return self.slope_threshold * self.cell or np.inf

    @cached_property
    def corners(self) -> np.ndarray:
        """World z of each cell's own corners, float32 `[nx - 1, ny - 1, 2, 2]`, m, read-only.

        Those of neighbouring cells differ where a wall stands between them. Along x and then along y, the higher of
        two corners that differ by more than `max_rise` is lowered to the other.
        """
        h = self.heights
        corners = np.stack((h[:-1, :-1], h[:-1, 1:], h[1:, :-1], h[1:, 1:]), -1).reshape(
            *h[1:, 1:].shape, 2, 2
        )
        for axis in (2, 3):
            steep = np.abs(np.diff(corners, axis=axis)) > np.float32(self.max_rise)
            corners = np.where(steep, corners.min(axis, keepdims=True), corners)
        corners.setflags(write=False)
        return corners

    def corners_on(self, device: torch.device) -> Tensor:
        """`corners` as a tensor that is kept on a device."""
        if device not in self._on_device:
            self._on_device[device] = torch.tensor(self.corners, device=device)
        return self._on_device[device]

    @cached_property
    def has_walls(self) -> bool:
        """Whether any cell has a corner lowered."""
        steepest = max(float(np.abs(np.diff(self.heights, axis=axis)).max()) for axis in (0, 1))
        return steepest > float(np.float32(self.max_rise))

    def height_at(self, points: Points) -> Points:
        """World z of the ground, on MuJoCo's triangles.

        Args:
            points: world x and y, `[..., 2]`, m, a NumPy array or a tensor on any device. A point outside the
                map is taken to the nearest point of its border; one that is not a number has the height NaN. One
                exactly on the line between two cells lies in that of the larger x and y.

        Returns:
            Heights `[...]`, m, in the floating-point type of `points`.
        """
        if isinstance(points, np.ndarray):
            return self.height_at(torch.from_numpy(points.copy())).numpy()
        corners = self.corners_on(points.device)
        nx, ny = self.heights.shape
        x = ((points[..., 0] - self.origin[0]) / self.cell).clamp(0, nx - 1)
        y = ((points[..., 1] - self.origin[1]) / self.cell).clamp(0, ny - 1)
        # the last vertex belongs to the last cell; NaN turns into some integer, which must be an index too
        i, j = x.long().clamp(0, nx - 2), y.long().clamp(0, ny - 2)
        x, y = x - i, y - j
        # from the cell's first vertex along an edge to the triangle's middle one, then to the opposite vertex
        right = x > y
        first, last = corners[i, j, 0, 0], corners[i, j, 1, 1]
        middle = corners[i, j, right.long(), (~right).long()]
        height = first + torch.maximum(x, y) * (middle - first) + torch.minimum(x, y) * (last - middle)
        return height.to(x.dtype)


Ground = Plane | HeightField
"""Every kind of ground an engine may be given."""
