"""The height scan: heights of the ground at points around each robot."""

from __future__ import annotations

import ctypes
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from native import NoCompiler, build
from terrains.ground import Ground, HeightField

SCAN_LEVEL = 0.5
"""The scan's zero lies this far below the base, m (Rudin et al. 2021, code)."""
SCAN_LIMIT = 1.0
"""Largest magnitude of a value of the scan, m."""


@dataclass
class ScanConfig:
    """A rectangle of points in the yaw frame of the base (Rudin et al. 2021: 17 x 11)."""

    x: tuple[float, float] = (-0.8, 0.8)
    """First and last point forward of the base, m."""
    y: tuple[float, float] = (-0.5, 0.5)
    """First and last point to its left, m."""
    spacing: float = 0.1
    """Between points, m."""
    lookup: Literal["minimum", "bilinear"] = "minimum"
    """minimum: of three corners of the point's cell, as in the reference code; or bilinear interpolation of all four.
    They are the cell's own corners: a wall is seen where it stands."""
    delay: float = 0.0
    """Age of what the robot sees, s, rounded to policy steps."""
    dropout: float = 0.0
    """Share of points that are not seen in a step; they read as level ground under the robot."""

    def validate(self) -> None:
        """Check ranges; ValueError with one sentence."""
        if not self.spacing > 0.0:
            raise ValueError(f"env.scan.spacing must be greater than 0, not {self.spacing}")
        for name, (low, high) in (("x", self.x), ("y", self.y)):
            if not low <= high:
                raise ValueError(
                    f"env.scan.{name} must be a range LOW HIGH with LOW <= HIGH, not {low} {high}"
                )
            steps = (high - low) / self.spacing
            if not abs(steps - round(steps)) < 1e-3:  # else the points would not lie as far left as right
                raise ValueError(
                    f"env.scan.{name} must be a whole number of spacings ({self.spacing} m) long, not {low} {high}"
                )
        if abs(self.y[0] + self.y[1]) > 1e-6:
            raise ValueError(f"env.scan.y must reach as far left as right, not {self.y[0]} {self.y[1]}")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"env.scan.dropout must lie in 0 to 1, not {self.dropout}")
        if not self.delay >= 0.0:
            raise ValueError(f"env.scan.delay must not be negative, not {self.delay}")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of points along x and y."""
        (x0, x1), (y0, y1) = self.x, self.y
        return round((x1 - x0) / self.spacing) + 1, round((y1 - y0) / self.spacing) + 1

    def points(self) -> Tensor:
        """Forward and left of the base, m, [2, P]; the left coordinate changes fastest."""
        nx, ny = self.shape
        x = self.x[0] + self.spacing * torch.arange(nx)
        y = self.y[0] + self.spacing * torch.arange(ny)
        return torch.stack(torch.meshgrid(x, y, indexing="ij")).flatten(1)


class _Map(ctypes.Structure):
    """`Map` of native/scan.cpp."""

    _fields_ = [
        ("heights", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("nx", "ny")),
        *((name, ctypes.c_float) for name in ("x", "y", "per_cell")),
        ("max_rise", ctypes.c_float),
        ("reach", ctypes.c_int),
    ]


class HeightScan:
    """Looks heights up for all robots at once, by compiled code on a CPU."""

    def __init__(self, cfg: ScanConfig, ground: Ground, device: torch.device, num_threads: int = 1):
        """Prepare the look-up of `cfg.points()` on `ground`; a plane has height 0 everywhere."""
        self.cfg, self.ground, self.num_threads = cfg, ground, num_threads
        self.points = cfg.points().to(device)
        """[2, P], m."""
        self._library: ctypes.CDLL | None = None
        if isinstance(ground, HeightField):
            heights = ground.heights.copy()
            if cfg.lookup == "minimum":  # the lowest of three corners, at the first of them
                # beside walls the reference's raw vertices give the same, unless the fourth alone is low
                heights[:-1, -1] = np.minimum(heights[:-1, -1], heights[1:, -1])
                heights[-1, :-1] = np.minimum(heights[-1, :-1], heights[-1, 1:])
                heights[:-1, :-1] = ground.corners.reshape(*ground.corners.shape[:2], 4)[..., :3].min(2)
            else:
                ground.corners_on(device)  # made now: not within a step
            self._heights = torch.from_numpy(heights).to(device)
            nx, ny = heights.shape
            reach = math.ceil(self.points.norm(dim=0).max().item() / ground.cell)
            self._map = _Map(
                self._heights.data_ptr(), nx, ny, *ground.origin, 1.0 / ground.cell, ground.max_rise, reach
            )
            if device.type == "cpu":
                with suppress(NoCompiler):  # torch does it then, more slowly
                    self._library = build((Path(__file__).parent / "native/scan.cpp").read_text())

    def __call__(self, base_pos: Tensor, yaw: Tensor, mask: Tensor, out: Tensor) -> None:
        """Write the world z of the ground under the points, m, into the rows of `out` that are in `mask`.

        Args:
            base_pos: world frame, m, [N, 3]; points beyond the map are taken to its border.
            yaw: heading, rad, [N].
            mask: bool, [N].
            out: contiguous, [N, P].
        """
        self.look(torch.stack((base_pos[:, 0], base_pos[:, 1], yaw.cos(), yaw.sin()), dim=1), mask, out)

    def look(self, pose: Tensor, mask: Tensor, out: Tensor) -> None:
        """The same for world x and y (m), cosine and sine of the heading, [N, 4]; these two times a scale stretch the
        points' pattern.
        """
        if not isinstance(self.ground, HeightField):
            return
        if self._library is None:
            out.copy_(torch.where(mask.unsqueeze(1), self._look_up(pose, self.ground), out))
            return
        self._library.scan_heights(
            ctypes.byref(self._map),
            ctypes.c_void_p(pose.data_ptr()),
            ctypes.c_void_p(self.points.data_ptr()),
            ctypes.c_void_p(mask.data_ptr()),
            ctypes.c_void_p(out.data_ptr()),
            ctypes.c_long(len(pose)),
            self.points.shape[1],
            self.cfg.lookup == "bilinear",
            self.num_threads,
        )

    def _look_up(self, pose: Tensor, ground: HeightField) -> Tensor:
        """What native/scan.cpp does, [N, P]."""
        x, y, cos, sin = (column.unsqueeze(1) for column in pose.unbind(1))
        forward, left = self.points
        nx, ny = self._heights.shape
        u = (x - ground.origin[0] + cos * forward - sin * left) / ground.cell
        v = (y - ground.origin[1] + sin * forward + cos * left) / ground.cell
        u, v = u.nan_to_num().clamp(0, nx - 1), v.nan_to_num().clamp(0, ny - 1)
        h = self._heights
        if self.cfg.lookup == "minimum":
            return h[u.long(), v.long()]
        i, j = u.long().clamp(0, nx - 2), v.long().clamp(0, ny - 2)
        r, t = u - i, v - j
        h00, h01, h10, h11 = ground.corners_on(h.device)[i, j].flatten(-2).unbind(-1)
        low, high = h00 + r * (h10 - h00), h01 + r * (h11 - h01)
        return low * (1.0 - t) + high * t
