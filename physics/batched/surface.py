"""A sphere against a height field of triangles and vertical walls.

Every cell has two triangles, split from its corner (0, 0) to (1, 1) as in MuJoCo's hfield; where the corners of two
cells differ (see `HeightField.corners`) a wall stands between them. Over all cells that the sphere reaches the
nearest point of the surface makes one contact; a second one is made by the nearest inner point of another face with
another normal (a wall beside a tread). Points on edges and corners of faces are nearest only where the surface is
convex, so a plane of many triangles makes one contact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physics.batched.algebra import Matrix, dot, scale, tangents
from physics.batched.scalars import Scalar, Vec, clamp, maximum, minimum, reciprocal, rsqrt, select
from terrains.ground import HeightField

FAR = 1e9
"""Square of the distance of a candidate that is none, m^2."""
SAME = 0.97
"""Two normals are taken for one where the square of the cosine between them exceeds this (10 degrees)."""
DEEPEST = 0.03
"""Contacts are no deeper than this, m.

A contact pushes out at a speed in proportion to its depth: a robot that begins 0.4 m below the surface would leave it
like a shot. In MuJoCo, too, its contacts are shallow there: a height field pushes a sphere out sideways, past half a
cell at most.
"""
COARSE = 2
"""Cells along the side of a cell of the coarse map of greatest heights."""


@dataclass
class Candidate:
    """A point of the surface."""

    square: Scalar
    """Squared distance to the sphere's centre."""
    diff: Vec
    """From the point to the centre."""


@dataclass
class Nearest:
    """What is known of the surface after some cells."""

    any: Candidate
    """Nearest point."""
    face: Candidate
    """Nearest inner point of a face that the centre is in front of."""
    other: Candidate
    """The same of a face with a normal different from `face`."""
    below: Scalar
    """1 if the centre lies below the surface, else 0."""
    walls: Vec
    """From the nearest inner point of a wall across x, and of one across y, to the centre; empty without walls."""


def nothing(like: Scalar, walls: bool) -> Nearest:
    """Before the first cell; `walls`: there are some."""
    zero = 0.0 * like

    def none() -> Candidate:
        return Candidate(zero + FAR, [zero, zero, zero + 1.0])

    return Nearest(none(), none(), none(), zero, [zero + math.sqrt(FAR)] * 2 if walls else [])


def lower_corners(heights: Vec, max_rise: float) -> Vec:
    """`HeightField.corners` of a cell from the heights of its vertices; order as in `visit_cell`."""
    h00, h10, h01, h11 = heights
    h00, h10 = _lower(h00, h10, max_rise)
    h01, h11 = _lower(h01, h11, max_rise)
    h00, h01 = _lower(h00, h01, max_rise)
    h10, h11 = _lower(h10, h11, max_rise)
    return [h00, h10, h01, h11]


def _lower(a: Scalar, b: Scalar, max_rise: float) -> Vec:
    rise = b - a
    return [select(rise < -max_rise, b, a), select(rise > max_rise, a, b)]


def visit_cell(p: Vec, heights: Vec, cell: float, walls: bool, nearest: Nearest) -> Nearest:
    """Take in the two triangles and three of the edges of a cell; neighbours have its other two edges.

    Args:
        p: centre of the sphere relative to the cell's corner (x and y) and to world height 0.
        heights: at the corners (0, 0), (1, 0), (0, 1), (1, 1).
        cell: side, m.
        walls: of the edges take the diagonal alone; `visit_border` is called for the others.
        nearest: so far.
    """
    x, y, z = p
    h00, h10, h01, h11 = heights
    first, last = -1e-6 * cell, cell + 1e-6 * cell  # what lies exactly between two cells belongs to both
    lower = (h10 - h00) / cell, (h11 - h10) / cell
    upper = (h11 - h01) / cell, (h01 - h00) / cell
    sunk = []
    for (slope_x, slope_y), (more, less) in zip((lower, upper), ((0, 1), (1, 0)), strict=True):
        above = z - (h00 + slope_x * x + slope_y * y)
        sunk.append(select(above < 0.0, 1.0 + 0.0 * z, 0.0 * z))
        k = above * reciprocal(1.0 + (slope_x * slope_x + slope_y * slope_y))
        foot = x + slope_x * k, y + slope_y * k  # of the perpendicular
        inside = (foot[more] < last) & (foot[more] > foot[less]) & (foot[less] > first)
        found = Candidate(select(inside, above * k, FAR + 0.0 * z), [-(slope_x * k), -(slope_y * k), k])
        nearest.any = _choose(found.square < nearest.any.square, found, nearest.any)
        # a face met from behind is the far side of a ridge, and would pull the sphere through
        _take_face(Candidate(select(above > 0.0, found.square, FAR + 0.0 * z), found.diff), nearest)
    here = (x > first) & (x < last) & (y > first) & (y < last)
    nearest.below = select(here, select(x > y, *sunk), nearest.below)
    edges = (1.0, 0.0, h10 - h00), (0.0, 1.0, h01 - h00), (1.0, 1.0, h11 - h00)
    for along_x, along_y, rise in edges[2:] if walls else edges:
        dx, dy = along_x * cell, along_y * cell
        t = (x * dx + y * dy + (z - h00) * rise) * reciprocal((dx * dx + dy * dy) + rise * rise)
        t = clamp(t, 0.0, 1.0)
        diff = [x - t * dx, y - t * dy, (z - h00) - t * rise]
        edge = Candidate(dot(diff, diff), diff)
        nearest.any = _choose(edge.square < nearest.any.square, edge, nearest.any)
    return nearest


def visit_border(p: Vec, near: Vec, far: Vec, axis: int, cell: float, nearest: Nearest) -> Nearest:
    """Take in the edge between two cells, or the wall where their heights differ there.

    Where a wall changes sides along the border, the point found is on it, but not always the nearest.

    Args:
        p: centre of the sphere relative to the border's first vertex (x and y) and to world height 0.
        near: height of the cell before the border at its first and last vertex.
        far: that of the cell beyond it, along `axis`.
        axis: across the border: 0 or 1, x or y.
        cell: side, m.
        nearest: so far.
    """
    across, along, z = p[axis], p[1 - axis], p[2]

    def ends(t: Scalar) -> tuple[Scalar, Scalar]:
        """Heights of both cells at a part of the border."""
        return near[0] + t * (near[1] - near[0]), far[0] + t * (far[1] - far[0])

    t = along / cell
    a, b = ends(t)
    up = near[0] + near[1] < far[0] + far[1]  # the cell beyond is the higher one
    above, below = z - select(up, b, a), z - select(up, a, b)  # the upper edge; the lower edge
    outside = select(above > 0.0, above, minimum(below, 0.0))
    far_rise, near_rise = far[1] - far[0], near[1] - near[0]
    rise = select(above > 0.0, select(up, far_rise, near_rise), select(up, near_rise, far_rise))
    t = clamp(t + outside * rise * reciprocal(cell * cell + rise * rise), 0.0, 1.0)
    a, b = ends(t)
    low, high = select(a < b, a, b), select(a < b, b, a)
    diff: Vec = [across, along - t * cell, z - clamp(z, low, high)]
    if axis == 1:
        diff = [diff[1], diff[0], diff[2]]
    found = Candidate(dot(diff, diff), diff)
    nearest.any = _choose(found.square < nearest.any.square, found, nearest.any)
    # a wall that is met from behind would pull the sphere through, see `visit_cell`
    before = (t > 0.0) & (t < 1.0) & (low < z) & (z < high) & (select(a < b, across, -across) < 0.0)
    closer = before & (abs(across) < abs(nearest.walls[axis]))
    nearest.walls[axis] = select(closer, across, nearest.walls[axis])
    return nearest


def touch_points(nearest: Nearest, radius: Scalar) -> list[tuple[Scalar, Matrix]]:
    """Distance and frame of the two contact slots, when all cells are visited."""
    for axis, across in enumerate(nearest.walls):
        _take_face(Candidate(across * across, [0.0, across, 0.0] if axis else [across, 0.0, 0.0]), nearest)
    slots = [_slot(nearest.any, nearest.below, radius)]
    second = _choose(_differ(nearest.any, nearest.face), nearest.face, nearest.other)
    dist, frame = _slot(second, nearest.below, radius)
    distinct = _differ(nearest.any, second) & (second.square < 0.5 * FAR) & (nearest.below < 0.5)
    return [*slots, (select(distinct, dist, 1.0 + 0.0 * dist), frame)]


def _choose(condition, a: Candidate, b: Candidate) -> Candidate:
    diff = [select(condition, x, y) for x, y in zip(a.diff, b.diff, strict=True)]
    return Candidate(select(condition, a.square, b.square), diff)


def _take_face(found: Candidate, nearest: Nearest) -> None:
    """Take in the inner point of a face."""
    closer = found.square < nearest.face.square
    farther = _choose(closer, nearest.face, found)
    take = _differ(found, nearest.face) & (farther.square < nearest.other.square)
    nearest.other = _choose(take, farther, nearest.other)
    nearest.face = _choose(closer, found, nearest.face)


def _differ(a: Candidate, b: Candidate):
    """Whether two candidates' normals differ."""
    product = dot(a.diff, b.diff)
    return product * abs(product) < SAME * (dot(a.diff, a.diff) * dot(b.diff, b.diff))


def _slot(found: Candidate, below: Scalar, radius: Scalar) -> tuple[Scalar, Matrix]:
    side = 1.0 - 2.0 * below
    square = dot(found.diff, found.diff)
    on_surface = square < 1e-12
    inverse = side * rsqrt(square + 1e-20)
    up = [0.0, 0.0, 1.0]
    normal = [select(on_surface, u + 0.0 * x, x) for u, x in zip(up, scale(inverse, found.diff), strict=True)]
    upright = select(abs(normal[1]) < 0.5, 1.0 + 0.0 * square, 0.0 * square)
    dist = select(on_surface, 0.0 * square, square * inverse) - radius
    dist = maximum(dist, -DEEPEST)
    return dist, [normal, *tangents(normal, upright)]


def cells_reached(radius: float, cell: float) -> int:
    """How many cells along one axis a sphere can reach."""
    return math.floor(2.0 * radius / cell) + 2


def coarse_heights(ground: HeightField, radius: float) -> Tensor:
    """Upper bound of the heights that a sphere of up to this radius reaches, by coarse cell of its centre.

    A coarse cell is COARSE x COARSE cells; float32, [ceil((nx - 1) / COARSE), ceil((ny - 1) / COARSE)].
    """
    tops = torch.from_numpy(ground.corners.max((2, 3)))[None]
    reach = math.ceil(radius / ground.cell) + 1
    window = COARSE + 2 * reach
    sizes = [-(-n // COARSE) for n in tops.shape[1:]]
    pad = [reach, window, reach, window]
    padded = torch.nn.functional.pad(tops, pad, value=-math.inf)
    return torch.nn.functional.max_pool2d(padded, window, COARSE)[0, : sizes[0], : sizes[1]].contiguous()


def height_field(ground: HeightField):
    """The surface of `eager`: all cells around each sphere, on torch tensors."""

    def surface(centre: Vec, radius: Scalar) -> list[tuple[Scalar, Matrix]]:
        cell, count = ground.cell, cells_reached(float(torch.as_tensor(radius).max()), ground.cell)
        corners = ground.corners_on(centre[0].device).to(centre[0])
        x, y = centre[0] - ground.origin[0], centre[1] - ground.origin[1]
        first = [
            ((c - radius) / cell).floor().nan_to_num(0.0).clamp(0, size - count)
            for c, size in zip((x, y), corners.shape, strict=False)
        ]
        nearest = nothing(x, ground.has_walls)
        cells = [(i, j) for i in range(count) for j in range(count)]
        own, place = {}, {}
        for i, j in cells:
            h = corners[first[0].long() + i, first[1].long() + j]
            own[i, j] = [h[..., a, b] for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))]
            place[i, j] = [x - (first[0] + i) * cell, y - (first[1] + j) * cell, centre[2]]
            nearest = visit_cell(place[i, j], own[i, j], cell, ground.has_walls, nearest)
        for i, j in cells if ground.has_walls else []:
            if i:
                nearest = visit_border(place[i, j], own[i - 1, j][1::2], own[i, j][::2], 0, cell, nearest)
            if j:
                nearest = visit_border(place[i, j], own[i, j - 1][2:], own[i, j][:2], 1, cell, nearest)
        return touch_points(nearest, radius)

    return surface
