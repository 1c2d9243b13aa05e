"""A map as a mesh for pictures: few large faces, vertical walls, and a texture that shows heights and edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from terrains.ground import HeightField

LOW, MIDDLE, HIGH = (0.33, 0.45, 0.52), (0.62, 0.69, 0.68), (0.90, 0.86, 0.76)
"""Colours of the lowest ground, of level 0 and of the highest."""
_FLOOR = (0.70, 0.74, 0.76)
_REACH = 150.0
"""Level ground goes on around the map so far, m."""
_REGION = 8.0
"""Side of a neighbourhood, m."""
_LARGE = 200_000
"""A map of more vertices has a coarser texture."""
_OVERLAP = 1e-3
"""Faces reach so far under their neighbours, m: no light shines through seams."""


@dataclass
class GroundMesh:
    """Triangles of the ground, and where each corner lies on the texture."""

    points: ndarray
    """m, [K, 3, 3]."""
    normals: ndarray
    """[K, 3, 3]."""
    places: ndarray
    """World x and y whose colour a corner has, m, [K, 3, 2]."""


def texture_places(mesh: GroundMesh, ground: HeightField) -> ndarray:
    """Where on `ground_texture` corners lie, along its columns, then its rows, 0 to 1, [K, 3, 2]."""
    size = ground.cell * (np.array(ground.heights.shape) - 1)
    return ((mesh.places - np.array(ground.origin)) / size)[..., ::-1]


def plane_mesh() -> GroundMesh:
    """Level ground to the horizon; its texture repeats every 2 m."""
    flat = _REACH * np.array([[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]])
    points = _quads(np.append(flat, np.zeros((1, 4, 1)), -1))
    return GroundMesh(points, np.broadcast_to([0.0, 0.0, 1.0], points.shape), 0.5 * points[..., :2])


def plane_texture() -> ndarray:
    """2 m x 2 m of a checkered floor, uint8 [256, 256, 3]."""
    dark = np.kron([[0, 1], [1, 0]], np.ones((128, 128)))[..., None]
    return (255 * (np.array(_FLOOR) * (1.0 - 0.07 * dark))).astype(np.uint8)


def ground_mesh(ground: HeightField) -> GroundMesh:
    """Tops and walls of a map and the level ground around it."""
    parts = [_tops(ground), _walls(ground, 0), _walls(ground, 1), _surroundings(ground)]
    points, places = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    middle = points.mean(1)  # those of one neighbourhood after one another, so that others can be left out
    order = np.lexsort((middle[:, 1] // _REGION, middle[:, 0] // _REGION))
    points, places = points[order], places[order]
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return GroundMesh(points, np.repeat(normals[:, None], 3, axis=1), places)


def _quads(corners: ndarray) -> ndarray:
    """Triangles [2 K, 3, k] of quadrilaterals [K, 4, k], counter-clockwise, split as `HeightField` splits cells."""
    return np.stack((corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]), 1).reshape(-1, 3, corners.shape[-1])


def _rectangles(key: ndarray) -> ndarray:
    """Rectangles of equal keys (int, [n, m]; negative: of its own) that cover a grid: [K, 4] of i0, i1, j0, j1."""
    n, m = key.shape
    new = np.ones((n, m), bool)
    new[:, 1:] = (key[:, 1:] != key[:, :-1]) | (key[:, 1:] < 0)
    rows, starts = np.nonzero(new)
    ends = np.append(starts[1:], m)
    ends[np.append(rows[1:] != rows[:-1], True)] = m
    keys = key[rows, starts]
    order = np.lexsort((rows, ends, starts, keys))
    rows, starts, ends, keys = rows[order], starts[order], ends[order], keys[order]
    same = (np.diff(rows) == 1) & (np.diff(starts) == 0) & (np.diff(ends) == 0) & (np.diff(keys) == 0)
    first = np.append(True, ~(same & (keys[1:] >= 0)))
    last = np.append(first[1:], True)
    return np.stack((rows[first], rows[last] + 1, starts[first], ends[first]), -1)


def _keys(facts: ndarray) -> ndarray:
    """A number from 0 on for each place [..., k], the same where facts agree to 0.1 mm."""
    key = np.zeros(facts.shape[:-1], np.int64)
    for k in range(facts.shape[-1]):
        key = key * 1_000_003 + np.round(1e4 * facts[..., k].astype(float)).astype(np.int64)
    return key & (2**62 - 1)


def _tops(ground: HeightField) -> tuple[ndarray, ndarray]:
    """Cells, those in one plane together."""
    c = ground.corners.astype(float)
    z, dx, dy = c[..., 0, 0], c[..., 1, 0] - c[..., 0, 0], c[..., 0, 1] - c[..., 0, 0]
    plane = np.abs(c[..., 1, 1] - z - dx - dy) < 1e-5
    i, j = np.indices(z.shape)
    key = _keys(np.stack((dx, dy, z - i * dx - j * dy), -1))
    rectangles = _rectangles(np.where(plane, key, -1))
    i0, i1, j0, j1 = rectangles.T
    # their corners in steps of a cell, counter-clockwise from the lowest x and y
    x, y = np.stack((i0, i1, i1, i0), -1), np.stack((j0, j0, j1, j1), -1)
    cells = x - np.array([0, 1, 1, 0]), y - np.array([0, 0, 1, 1])
    height = c[cells[0], cells[1], np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])]
    at = np.stack((x, y), -1) * ground.cell + np.array(ground.origin)
    at += _OVERLAP * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = np.concatenate((at, height[..., None]), -1)
    return _quads(corners), _quads(at)


def _walls(ground: HeightField, axis: int) -> tuple[ndarray, ndarray]:
    """Walls across an axis (0: x), those of equal heights in a line together."""
    c = ground.corners if axis == 0 else ground.corners.transpose(1, 0, 3, 2)
    before, after = c[:-1, :, 1], c[1:, :, 0]  # [lines, cells, 2 ends]
    there = np.abs(before - after).max(-1) > 1e-6
    level = (np.abs(before[..., 0] - before[..., 1]) < 1e-5) & (np.abs(after[..., 0] - after[..., 1]) < 1e-5)
    line = np.broadcast_to(
        np.arange(len(there))[:, None, None], (*there.shape, 1)
    )  # walls in others are apart
    key = _keys(np.concatenate((before, after, line), -1))
    found = _rectangles(np.where(level & there, key, -1))
    found = found[there[found[:, 0], found[:, 2]]]
    line, j0, j1 = found[:, 0], found[:, 2], found[:, 3]
    ends = [(before[line, j0, 0], after[line, j0, 0]), (before[line, j1 - 1, 1], after[line, j1 - 1, 1])]
    falls = sum(a - b for a, b in ends) > 0  # the wall looks along the axis
    cross = (line + 1) * ground.cell + ground.origin[axis]
    foot = cross + np.where(falls, 0.6, -0.6) * ground.cell  # not where the texture is darkest
    corners = []
    for j, (a, b) in zip((j0, j1), ends, strict=True):
        along = j * ground.cell + ground.origin[1 - axis]
        for z in (np.minimum(a, b) - _OVERLAP, np.maximum(a, b)):
            corners.append(np.stack((cross, along, z, foot, along), -1))
    quads = np.stack([corners[i] for i in (0, 2, 3, 1)], 1).reshape(-1, 4, 5)
    flip = falls if axis == 1 else ~falls
    quads[flip] = quads[flip][:, ::-1]
    if axis == 1:
        quads = quads[..., [1, 0, 2, 4, 3]]
    made = _quads(quads)
    return made[..., :3], made[..., 3:]


def _surroundings(ground: HeightField) -> tuple[ndarray, ndarray]:
    """Level ground from the map's border to the horizon, as low as the lowest of the border."""
    h = ground.heights
    low = np.array(ground.origin)
    high = low + ground.cell * (np.array(h.shape) - 1)
    z = min(h[0].min(), h[-1].min(), h[:, 0].min(), h[:, -1].min())
    x, y = (np.array([low[k] - _REACH, low[k], high[k], high[k] + _REACH]) for k in (0, 1))
    quads = []
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                flat = ((x[i], y[j]), (x[i + 1], y[j]), (x[i + 1], y[j + 1]), (x[i], y[j + 1]))
                quads.append([(*at, z) for at in flat])
    points = _quads(np.array(quads))
    inset = 0.5 * ground.cell
    return points, np.clip(points[..., :2], low + inset, high - inset)


def ground_texture(ground: HeightField) -> ndarray:
    """Colours of a map from above, uint8 [k * (nx - 1), k * (ny - 1), 3]: lighter edges, darker feet of steps."""
    scale = 4 if ground.heights.size < _LARGE else 2
    tops = ground.corners.mean((2, 3))
    height = np.kron(tops, np.ones((scale, scale), np.float32))
    texel = ground.cell / scale
    limit = max(float(np.abs(tops).max()), 0.2)
    share = np.clip(height / limit, -1.0, 1.0)[..., None]
    low, middle, high = (np.array(colour, np.float32) for colour in (LOW, MIDDLE, HIGH))
    colour = middle + np.where(share < 0, share * (middle - low), share * (high - middle))
    # what stands out of its surroundings gets more light than what lies between others
    shade = np.zeros_like(height)
    for radius, strength, depth in ((0.05, 0.16, 0.06), (0.25, 0.20, 0.20)):
        stands_out = (height - _blur(height, max(1, round(radius / texel)))) / depth
        shade += strength * np.clip(stands_out, -1.0, 1.0)
    colour = np.asarray(colour * (1.0 + shade)[..., None])
    for axis in (0, 1):  # a line each metre tells distances
        at = (np.arange(height.shape[axis]) + 0.5) * texel + ground.origin[axis]
        line = np.flatnonzero(np.abs(at - np.round(at)) < 0.6 * texel)
        index: tuple = (line,) if axis == 0 else (slice(None), line)
        colour[index] *= 0.94
    return (255 * np.clip(colour, 0.0, 1.0)).astype(np.uint8)


def _blur(values: ndarray, radius: int) -> ndarray:
    """Mean over a square of 2 radius + 1 texels, twice."""
    for _ in range(2):
        for axis in (0, 1):
            pad = [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]
            total = np.cumsum(
                np.moveaxis(np.pad(values, pad, mode="edge"), axis, 0), axis=0, dtype=np.float64
            )
            mean = (total[2 * radius + 1 :] - total[: -2 * radius - 1]) / (2 * radius + 1)
            values = np.moveaxis(mean, 0, axis).astype(np.float32)
    return values
