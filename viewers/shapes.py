"""Triangles of MuJoCo's shapes, so that a whole robot is drawn at once."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy import ndarray

_SHAPE = mujoco.mjtGeom
_GROUPS = 3
"""Geoms of groups from this one on are collision shapes."""
_ROUND = (_SHAPE.mjGEOM_SPHERE, _SHAPE.mjGEOM_CAPSULE, _SHAPE.mjGEOM_CYLINDER, _SHAPE.mjGEOM_ELLIPSOID)


@dataclass
class Triangles:
    """K triangles, counter-clockwise from outside."""

    points: ndarray
    """m, [K, 3, 3]: corner, then x y z."""
    normals: ndarray
    """Unit vectors at the corners, [K, 3, 3]."""

    def __len__(self) -> int:
        return len(self.points)

    def moved(self, place: ndarray, turn: ndarray) -> Triangles:
        """Turned by a matrix [3, 3], then moved by a vector [3]."""
        return Triangles(self.points @ turn.T + place, self.normals @ turn.T)


def shown_geoms(model: mujoco.MjModel) -> list[int]:
    """The robot's geoms that are drawn: none that is invisible, and only groups 0 to 2 if there are any there.

    That is what MuJoCo's viewer shows.
    """
    seen = [g for g in range(model.ngeom) if model.geom_bodyid[g] and geom_rgba(model, g)[3] > 0.0]
    return [g for g in seen if model.geom_group[g] < _GROUPS] or seen


def geom_rgba(model: mujoco.MjModel, geom: int) -> ndarray:
    """Red, green, blue and opacity of a geom, 0 to 1, [4]: its own, or its material's if it has none of its own."""
    own, material = model.geom_rgba[geom], model.geom_matid[geom]
    plain = np.allclose(own, (0.5, 0.5, 0.5, 1.0))  # MuJoCo's default
    return np.asarray(model.mat_rgba[material] if material >= 0 and plain else own)


def geom_triangles(model: mujoco.MjModel, geom: int, slices: int) -> Triangles | None:
    """A geom in its body's frame; None for one that is no solid.

    Args:
        model: whose geom.
        geom: its index.
        slices: sides of a circle.
    """
    kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom]
    if kind == _SHAPE.mjGEOM_BOX:
        made = _box(size)
    elif kind == _SHAPE.mjGEOM_MESH:
        made = _mesh(model, int(model.geom_dataid[geom]))
    elif kind in _ROUND:
        made = _round(kind, size, slices)
    else:
        return None
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    return made.moved(model.geom_pos[geom], turn.reshape(3, 3))


def tube(line: ndarray, radii: ndarray, sides: int) -> ndarray:
    """A tube around a line [P, 3] that does not point upwards, of radii [P]: points and normals, [2, K, 3, 3]."""
    along = np.gradient(line, axis=0) + 1e-9 * (line[-1] - line[0])
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.cross([0.0, 0.0, 1.0], along)
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    turn = np.linspace(0.0, -2.0 * np.pi, sides + 1)[:, None]
    ring = np.cos(turn) * side[:, None] + np.sin(turn) * np.cross(along, side)[:, None]
    return np.stack((_strips(line[:, None] + radii[:, None, None] * ring), _strips(ring)))


def _box(half: ndarray) -> Triangles:
    points, normals = [], []
    for axis in range(3):
        a, b = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        for sign in (1.0, -1.0):
            normal = sign * np.eye(3)[axis]
            corners = [normal + u * a + sign * v * b for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            points += [[corners[0], corners[1], corners[2]], [corners[0], corners[2], corners[3]]]
            normals += [[normal] * 3] * 2
    return Triangles(np.array(points) * half, np.array(normals))


def _mesh(model: mujoco.MjModel, mesh: int) -> Triangles:
    def part(values: ndarray, index: ndarray, start: ndarray) -> ndarray:
        first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        return values[index[first : first + count] + int(start[mesh])].astype(float)

    return Triangles(
        part(model.mesh_vert, model.mesh_face, model.mesh_vertadr),
        part(model.mesh_normal, model.mesh_facenormal, model.mesh_normaladr),
    )


def _round(kind: mujoco.mjtGeom, size: ndarray, slices: int) -> Triangles:
    """A sphere, capsule, cylinder or ellipsoid: an outline of (radius, height) turned around z."""
    scale = size if kind == _SHAPE.mjGEOM_ELLIPSOID else np.ones(3)
    radius = 1.0 if kind == _SHAPE.mjGEOM_ELLIPSOID else size[0]
    half = size[1] if kind in (_SHAPE.mjGEOM_CAPSULE, _SHAPE.mjGEOM_CYLINDER) else 0.0
    if kind == _SHAPE.mjGEOM_CYLINDER:
        outline = np.array(
            [[0, half], [radius, half], [radius, half], [radius, -half], [radius, -half], [0, -half]]
        )
        slopes = np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, -1], [0, -1]], float)
    else:
        stacks = max(2, slices // 2 // 2 * 2)
        angles = np.linspace(np.pi / 2, -np.pi / 2, stacks + 1)
        slopes = np.stack((np.cos(angles), np.sin(angles)), -1)
        if half:  # the equator twice, with the cylinder between
            slopes = np.insert(slopes, stacks // 2, slopes[stacks // 2], axis=0)
        outline = radius * slopes
        outline[:, 1] += half * np.where(np.arange(len(outline)) < len(outline) / 2, 1.0, -1.0)
    turn = np.linspace(0.0, 2.0 * np.pi, slices + 1)
    ring = np.stack((np.cos(turn), np.sin(turn)), -1)
    points = (
        np.concatenate((outline[:, None, :1] * ring, outline[:, None, 1:] + 0 * ring[..., :1]), -1) * scale
    )
    normals = (
        np.concatenate((slopes[:, None, :1] * ring, slopes[:, None, 1:] + 0 * ring[..., :1]), -1) / scale
    )
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    made = Triangles(_strips(points), _strips(normals))
    sides = made.points[:, [1, 2, 0]] - made.points
    some = (np.linalg.norm(sides, axis=-1) > 1e-9).all(1)  # at the poles every second has no area
    return Triangles(made.points[some], made.normals[some])


def _strips(grid: ndarray) -> ndarray:
    """Two triangles for each mesh of a net [rows, columns, 3], [K, 3, 3]."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    return np.stack((np.stack((a, b, c), 2), np.stack((a, c, d), 2)), 2).reshape(-1, 3, 3)
