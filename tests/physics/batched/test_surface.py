"""Spheres against height fields: nearest points, normals, frames and the second slot of `surface`, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.batched import surface
from physics.batched.surface import COARSE, cells_reached, coarse_heights, height_field
from physics.scene import _add_ground
from terrains import HeightField

Array = np.ndarray


@pytest.fixture(scope="module", autouse=True)
def no_bound() -> Iterator[None]:
    """Contacts as deep as they are: geometry, not what the solver makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surface, "DEEPEST", np.inf)
        yield


@dataclass
class Slot:
    """What the surface says of one contact slot of P spheres."""

    dist: Array
    """[P]."""
    frame: Array
    """[P, 3, 3], rows: normal and two tangents."""

    @property
    def normal(self) -> Array:
        """[P, 3]."""
        return self.frame[:, 0]

    @property
    def touches(self) -> Array:
        """[P]."""
        return self.dist < 0


def touch(ground: HeightField, centres: Array, radius: float, dtype=torch.float64) -> list[Slot]:
    """Both slots of spheres with centres [P, 3]."""
    slots = height_field(ground)(list(torch.tensor(centres.T.copy(), dtype=dtype)), radius)
    return [
        Slot(dist.numpy(), torch.stack([torch.stack(row) for row in frame]).numpy().transpose(2, 0, 1))
        for dist, frame in slots
    ]


def triangles(ground: HeightField) -> Array:
    """All triangles, counter-clockwise seen from above, [T, 3 vertices, 3]."""
    i, j = np.array([*np.ndindex(ground.heights[1:, 1:].shape)]).T

    def vertex(i: Array, j: Array) -> Array:
        x, y = ground.origin[0] + i * ground.cell, ground.origin[1] + j * ground.cell
        return np.stack((x, y, ground.heights[i, j].astype(float)), 1)

    lower = np.stack((vertex(i, j), vertex(i + 1, j), vertex(i + 1, j + 1)), 1)
    upper = np.stack((vertex(i, j), vertex(i + 1, j + 1), vertex(i, j + 1)), 1)
    return np.concatenate((lower, upper))


def nearest_points(points: Array, faces: Array) -> tuple[Array, Array]:
    """Nearest point of every triangle [P, T, 3], and whether it lies inside the triangle [P, T].

    By the region of the triangle's plane that the point falls into (Ericson, Real-Time Collision Detection,
    2004, section 5.1.5).
    """
    p = points[:, None]
    a, b, c = (faces[None, :, k] for k in range(3))
    ab, ac = b - a, c - a

    def dot(x: Array, y: Array) -> Array:
        return (x * y).sum(-1)

    d1, d2, d3, d4, d5, d6 = (dot(edge, p - corner) for corner in (a, b, c) for edge in (ab, ac))
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    regions = [
        (d1 <= 0) & (d2 <= 0),
        (d3 >= 0) & (d4 <= d3),
        (d6 >= 0) & (d5 <= d6),
        (vc <= 0) & (d1 >= 0) & (d3 <= 0),
        (vb <= 0) & (d2 >= 0) & (d6 <= 0),
        (va <= 0) & (d4 >= d3) & (d5 >= d6),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [
            a + 0 * p,
            b + 0 * p,
            c + 0 * p,
            a + (d1 / (d1 - d3))[..., None] * ab,
            a + (d2 / (d2 - d6))[..., None] * ac,
            b + ((d4 - d3) / ((d4 - d3) + (d5 - d6)))[..., None] * (c - b),
        ]
        inside = a + (vb / (va + vb + vc))[..., None] * ab + (vc / (va + vb + vc))[..., None] * ac
    return np.select([r[..., None] for r in regions], found, inside), ~np.any(regions, 0)


def normals_of(faces: Array) -> Array:
    """Upward unit normals, [T, 3]."""
    n = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def nearest(points: Array, ground: HeightField) -> tuple[Array, Array]:
    """Distance [P] to the surface, and its nearest point [P, 3]."""
    found, _ = nearest_points(points, triangles(ground))
    distances = np.linalg.norm(points[:, None] - found, axis=2)
    best = distances.argmin(1)
    return distances[np.arange(len(points)), best], found[np.arange(len(points)), best]


def rough(seed: int, cell: float, amplitude: float, least: int = 8) -> HeightField:
    """Independent heights on a map that shows swapped axes and a forgotten origin."""
    random = np.random.default_rng(seed)
    shape = least + random.permutation([0, 3])
    return HeightField(random.uniform(-amplitude, amplitude, shape), cell, tuple(random.uniform(-9, 9, 2)))


def blocks(seed: int, cell: float, rise: float) -> HeightField:
    """Squares of 2 x 2 cells at two heights; the sides of the upper ones are one cell wide."""
    random = np.random.default_rng(seed)
    heights = (rise * random.integers(0, 2, (4, 5))).repeat(3, 0).repeat(3, 1)
    return HeightField(heights, cell, (2.0, -1.0))


def flat(slope_x: float, slope_y: float, cell: float = 0.05) -> HeightField:
    """A plane of 24 x 19 cells whose corner is at the origin."""
    x, y = cell * np.indices((25, 20))
    return HeightField(slope_x * x + slope_y * y, cell, (0.0, 0.0))


def around(ground: HeightField, random: np.random.Generator, count: int, low: float, high: float) -> Array:
    """Points from `low` to `high` above the ground, many exactly above vertices, edges and diagonals, [P, 3]."""
    size = np.array(ground.heights.shape) - 1
    at = random.uniform(0, size, (count, 2))
    whole = at.round()
    kind = random.integers(0, 6, count)
    at[:, 0] = np.where(np.isin(kind, [1, 3]), whole[:, 0], at[:, 0])
    at[:, 1] = np.where(np.isin(kind, [2, 3]), whole[:, 1], at[:, 1])
    corner = np.floor(at)
    at = np.where((kind == 4)[:, None], corner + (at - corner)[:, :1], at)
    points = np.array(ground.origin) + ground.cell * at
    height = ground.height_at(points) + random.uniform(low, high, count)
    return np.column_stack((points, height))


def away_from_far_border(ground: HeightField, points: Array, reach: float) -> Array:
    """Points whose spheres do not reach the last row and column of vertices."""
    last = np.array(ground.origin) + ground.cell * (np.array(ground.heights.shape) - 1)
    return points[(points[:, :2] < last - reach).all(1)]


maps = st.tuples(st.integers(0, 10**6), st.sampled_from([0.05, 0.1]), st.sampled_from([0.0, 0.01, 0.05, 0.2]))
radii = st.one_of(st.floats(0.02, 0.12), st.sampled_from([0.03, 0.05, 0.1]))


# ---------------------------------------------------------------------- the nearest point


@given(maps, radii)
@settings(max_examples=40, deadline=None)
def test_the_first_slot_is_the_nearest_point(terrain: tuple[int, float, float], radius: float) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    points = away_from_far_border(ground, around(ground, random, 150, 0.0, 2 * radius), radius)
    slot, _ = touch(ground, points, radius)
    distance, nearest_point = nearest(points, ground)
    reached = distance < radius
    assert (slot.touches == reached)[np.abs(distance - radius) > 1e-9].all()
    off = reached & (distance > 1e-5)  # a centre on the surface, to a micrometre, is pushed straight up
    np.testing.assert_allclose(slot.dist[off], (distance - radius)[off], atol=1e-9)
    np.testing.assert_allclose(slot.dist[reached], (distance - radius)[reached], atol=2e-6)
    clear = reached & (distance > 1e-3)
    outward = (points - nearest_point)[clear] / distance[clear, None]
    # where two points are equally near, either normal is right
    right = np.abs(slot.normal[clear] - outward).max(1) < 1e-6
    other = (points[clear] - distance[clear, None] * slot.normal[clear])[~right]
    np.testing.assert_allclose(nearest(other, ground)[0], 0.0, atol=1e-8)


@given(maps, radii, st.booleans())
@settings(max_examples=30, deadline=None)
def test_frames_are_orthonormal_and_right_handed(
    terrain: tuple[int, float, float], radius: float, single: bool
) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    points = around(ground, random, 300, -radius, 2 * radius)
    for slot in touch(ground, points, radius, torch.float32 if single else torch.float64):
        assert np.isfinite(slot.dist).all()
        unit = np.einsum("pij,pkj->pik", slot.frame, slot.frame)[slot.touches]
        tolerance = 1e-5 if single else 1e-7
        np.testing.assert_allclose(unit, np.broadcast_to(np.eye(3), unit.shape), atol=tolerance)
        assert (np.linalg.det(slot.frame[slot.touches]) > 0).all()


def ball(ground: HeightField, radius: float) -> mujoco.MjModel:
    """A sphere above a height field, in MuJoCo."""
    spec = mujoco.MjSpec.from_string(f"""<mujoco><option ccd_tolerance="1e-12" ccd_iterations="200"/>
        <worldbody><body><freejoint/><geom size="{radius}" priority="1" condim="3"/></body></worldbody></mujoco>""")
    _add_ground(spec, ground, visuals=False)
    return spec.compile()


@pytest.mark.parametrize("cell", [0.05, 0.1])
def test_contacts_are_among_those_of_mujoco(cell: float) -> None:
    ground, random, radius = rough(5, cell, 0.1), np.random.default_rng(5), 0.03
    model = ball(ground, radius)
    data = mujoco.MjData(model)
    points = away_from_far_border(ground, around(ground, random, 400, 0.2 * radius, radius), radius)
    points += random.normal(0, 1e-3, points.shape)
    slots = touch(ground, points, radius)
    compared = [0, 0]
    for n, point in enumerate(points):
        data.qpos[:3] = point
        mujoco.mj_forward(model, data)
        assert bool(data.ncon) == bool(slots[0].touches[n]) or abs(slots[0].dist[n]) < 1e-6
        frames = data.contact.frame.reshape(-1, 3, 3)
        for k, slot in enumerate(slots):
            # MuJoCo's normals of a sphere that two triangles share an edge under may lean to one of them
            same = np.abs(frames[:, 0] - slot.normal[n]).max(1, initial=0) < 1e-5
            if not slot.touches[n] or not same.any():
                continue
            compared[k] += 1
            assert np.abs(data.contact.dist[same] - slot.dist[n]).min() < 1e-6
            np.testing.assert_allclose(frames[same][0], slot.frame[n], atol=1e-4)
    assert compared[0] > 0.9 * slots[0].touches.sum() and compared[1] > 0.9 * slots[1].touches.sum()


# ---------------------------------------------------------------------- the second slot


def inner_points(points: Array, ground: HeightField, margin: float) -> tuple[Array, Array]:
    """Distance of the faces' planes from points in front of them whose perpendicular ends within the face, else inf.

    [P, T]; and normals [T, 3]. `margin` is how far from its edges, in parts of the face.
    """
    faces = triangles(ground)
    normals, corner = normals_of(faces), faces[:, 0]
    sides = np.stack((faces[:, 1] - corner, faces[:, 2] - corner, normals), 2)
    u, v, above = np.moveaxis(np.einsum("tij,ptj->pti", np.linalg.inv(sides), points[:, None] - corner), 2, 0)
    inside = (u > margin) & (v > margin) & (u + v < 1 - margin) & (above > 0)
    return np.where(inside, above, np.inf), normals


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.1]), st.sampled_from([0.1, 0.2]), radii)
@settings(max_examples=30, deadline=None)
def test_the_second_slot_is_the_nearest_face_with_another_normal(
    seed: int, cell: float, rise: float, radius: float
) -> None:
    ground, random = blocks(seed, cell, rise), np.random.default_rng(seed)
    points = away_from_far_border(ground, around(ground, random, 150, 1e-4, 1.5 * radius), radius)
    first, second = touch(ground, points, radius)

    def expect(margin: float) -> Array:
        distances, normals = inner_points(points, ground, margin)
        differs = np.einsum("pk,tk->pt", first.normal, normals) < 0.985
        return np.where(differs, distances, np.inf).min(1) - radius

    expected = expect(0.0)
    on_edge = expect(1e-5) != expect(-1e-5)
    # of two points that are equally near, or nearly so, either may come first
    clear = (np.abs(expected - first.dist) > 1e-6) & ~on_edge
    touches = expected < -1e-9
    assert (second.touches == touches)[clear & (np.abs(expected) > 1e-9)].all()
    np.testing.assert_allclose(second.dist[clear & touches], expected[clear & touches], atol=1e-9)


@given(maps, radii)
@settings(max_examples=30, deadline=None)
def test_the_second_slot_is_a_face_in_front_and_farther(
    terrain: tuple[int, float, float], radius: float
) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    points = away_from_far_border(ground, around(ground, random, 150, 1e-4, 1.5 * radius), radius)
    first, second = touch(ground, points, radius)
    has = second.touches
    distances, normals = inner_points(points[has], ground, -1e-5)
    alike = np.einsum("pk,tk->pt", second.normal[has], normals) > 1 - 1e-9
    assert (np.where(alike, np.abs(distances - radius - second.dist[has, None]), 1.0).min(1) < 1e-9).all()
    assert (second.dist[has] >= first.dist[has] - 1e-12).all()
    assert ((first.normal * second.normal).sum(1)[has] < 0.985).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("slope", [(0.0, 0.0), (0.3, 0.0), (0.0, -1.7), (0.4, -0.7), (-2.0, 2.0), (3.0, 3.0)])
@pytest.mark.parametrize("radius", [0.02, 0.03, 0.12])
def test_a_plane_of_many_triangles_is_touched_once(slope, dtype, radius: float) -> None:
    ground, random = flat(*slope), np.random.default_rng(1)
    points = around(ground, random, 600, -radius, 1.5 * radius)
    points = away_from_far_border(ground, points, 3 * radius)  # feet of perpendiculars too
    points = points[(points[:, :2] > 3 * radius).all(1)]
    first, second = touch(ground, points, radius, dtype)
    assert not second.touches.any() and first.touches.any()
    normal = np.array([-slope[0], -slope[1], 1.0]) / np.linalg.norm([*slope, 1.0])
    distance = points @ normal - radius
    tolerance = 1e-7 if dtype == torch.float64 else 2e-6  # heights are float32
    reached = (distance < -tolerance) & (distance > -2 * radius)
    assert reached.sum() > 30
    np.testing.assert_allclose(first.dist[reached], distance[reached], atol=tolerance)
    assert not first.touches[distance > tolerance].any()
    clear = reached & (np.abs(distance + radius) > 1e-3)
    np.testing.assert_allclose(first.normal[clear] - normal, 0, atol=1e-5 if dtype == torch.float64 else 2e-3)


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.1]), radii)
@settings(max_examples=20, deadline=None)
def test_a_convex_hill_is_touched_once(seed: int, cell: float, radius: float) -> None:
    random = np.random.default_rng(seed)
    shape = 8 + random.permutation([0, 3])
    # slopes fall along both axes, from steep ascent to steep descent; cells are planar
    x, y = (np.cumsum(np.r_[0, -np.sort(-random.uniform(-2, 2, n))])[: n - 1] for n in shape)
    ground = HeightField(cell * (x[:, None] + y), cell, (-1.0, 3.0))
    points = around(ground, random, 200, 1e-6, 1.5 * radius)
    first, second = touch(ground, points, radius)
    assert first.touches.any() and not second.touches.any()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("rise", [0.1, 0.2])
@pytest.mark.parametrize("cell", [0.05, 0.1])
def test_a_sphere_in_the_corner_of_a_step_touches_tread_and_riser(turned, rise: float, cell: float) -> None:
    heights = np.zeros((9, 8))
    heights[5:] = rise  # the riser is the cell from x = 4 cells
    ground = HeightField(heights.T if turned else heights, cell, (0.0, 0.0))
    radius, depth = 0.03, 1e-3
    length = np.hypot(rise, cell)
    riser = np.array([-rise, 0.0, cell]) / length
    # as deep in the riser as in the tread: x from (x - 4 cell, z) . riser = radius - depth
    z = radius - depth
    x = 4 * cell + (z - riser[2] * z) / riser[0]
    for y in (2.5 * cell, 3 * cell, 3.3 * cell):
        centres = np.array(
            [[x, y, z + 2e-4], [x - 2e-4, y, z], [x - 2e-3, y, z], [x + 1e-3, y, radius + 1e-3]]
        )
        first, second = touch(ground, centres[:, [1, 0, 2]] if turned else centres, radius)
        swap = [1, 0, 2] if turned else [0, 1, 2]
        up = np.array([0.0, 0.0, 1.0])
        np.testing.assert_allclose(first.normal[:, swap], [riser, up, up, riser], atol=1e-7)
        np.testing.assert_allclose(second.normal[:3][:, swap], [up, riser, riser], atol=1e-7)
        np.testing.assert_array_equal(second.touches, [True, True, 2e-3 * -riser[0] < depth, False])
        np.testing.assert_allclose(second.dist[:2], [2e-4 - depth, -2e-4 * riser[0] - depth], atol=1e-7)


def test_the_edge_of_a_step_is_touched_once() -> None:
    heights = np.zeros((9, 8))
    heights[5:] = 0.2
    ground, radius = HeightField(heights, 0.05, (0.0, 0.0)), 0.03
    angles = np.radians(np.arange(1, 180))
    for distance in (0.005, 0.02, 0.029):
        around_edge = np.stack(
            (0.25 + distance * np.cos(angles), 0.16 + 0 * angles, 0.2 + distance * np.sin(angles))
        )
        centres = around_edge.T[around_edge[2] > ground.height_at(around_edge[:2].T)]
        first, second = touch(ground, centres, radius)
        assert first.touches.all() and not second.touches.any()
        round_it = (centres[:, 0] < 0.25) & (first.normal[:, 0] > -0.9)
        np.testing.assert_allclose(first.dist[round_it], distance - radius, atol=5e-9)  # 0.2 is float32


def test_a_thin_wall_pushes_from_one_side_only() -> None:
    heights = np.zeros((9, 8))
    heights[4] = 0.2  # its sides are 28 degrees apart
    ground, radius = HeightField(heights, 0.05, (0.0, 0.0)), 0.03
    normal = np.array([-0.2, 0.0, 0.05]) / np.hypot(0.2, 0.05)
    along = np.array([np.linspace(0.16, 0.199, 40), np.full(40, 0.17), 4 * np.linspace(0.01, 0.049, 40)]).T
    for distance in (0.001, 0.01, 0.029):
        first, second = touch(ground, along + distance * normal, radius)
        np.testing.assert_allclose(first.normal, np.tile(normal, (40, 1)), atol=1e-6)
        assert not (second.touches & (second.normal[:, 2] < 0.99)).any()


# ---------------------------------------------------------------------- below the surface, at and beyond the border


@given(maps, radii)
@settings(max_examples=40, deadline=None)
def test_a_centre_below_the_surface_is_pushed_out_the_shortest_way(
    terrain: tuple[int, float, float], radius: float
) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    points = away_from_far_border(ground, around(ground, random, 200, -3 * radius, -1e-4), radius)
    points = points[(points[:, :2] > np.array(ground.origin) + radius).all(1)]
    first, second = touch(ground, points, radius)
    assert not second.touches.any() and (first.dist <= -radius).all() and (first.normal[:, 2] > 0).all()
    distance, nearest_point = nearest(points, ground)
    reached = distance < radius
    np.testing.assert_allclose(first.dist[reached], -(distance + radius)[reached], atol=1e-9)
    out = points[reached] - (first.dist + radius)[reached, None] * first.normal[reached]
    np.testing.assert_allclose(nearest(out, ground)[0], 0.0, atol=1e-9)


@given(maps, radii)
@settings(max_examples=20, deadline=None)
def test_a_centre_on_the_surface_is_pushed_up(terrain: tuple[int, float, float], radius: float) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    vertices = np.array([*np.ndindex(ground.heights.shape)])[: -ground.heights.shape[1]]
    vertices = vertices[vertices[:, 1] < ground.heights.shape[1] - 1]
    at = np.array(ground.origin) + ground.cell * vertices
    centres = np.column_stack((at, ground.heights[tuple(vertices.T)].astype(float)))
    centres = np.concatenate((centres, away_from_far_border(ground, around(ground, random, 100, 0, 0), 0)))
    first, _ = touch(ground, centres, radius)
    np.testing.assert_allclose(first.dist, -radius, atol=2e-6)
    assert (first.normal[:, 2] > 0).all()


@given(maps, radii, st.booleans())
@settings(max_examples=20, deadline=None)
def test_nothing_is_touched_outside_the_map(
    terrain: tuple[int, float, float], radius: float, single: bool
) -> None:
    ground, random = rough(*terrain), np.random.default_rng(terrain[0])
    size = ground.cell * (np.array(ground.heights.shape) - 1)
    at = random.uniform(-3, 3, (300, 2)) + size / 2
    at[:20] *= 1e4
    outside = (np.maximum(-at, at - size) > 1.001 * radius).any(1)
    points = np.column_stack((at + ground.origin, random.uniform(-0.5, 0.5, 300)))[outside]
    for slot in touch(ground, points, radius, torch.float32 if single else torch.float64):
        assert np.isfinite(slot.dist).all() and np.isfinite(slot.frame).all() and not slot.touches.any()


def test_a_lost_robot_has_no_effect_on_others() -> None:
    ground = rough(3, 0.05, 0.05)
    points = around(ground, np.random.default_rng(3), 40, 0, 0.03)
    lost = points.copy()
    lost[::3], lost[1, 0], lost[4, 2] = np.nan, np.inf, -np.inf
    rest = np.isfinite(lost).all(1)
    for slot, expected in zip(touch(ground, lost, 0.03), touch(ground, points, 0.03), strict=True):
        np.testing.assert_array_equal(slot.dist[rest], expected.dist[rest])
        np.testing.assert_array_equal(slot.frame[rest], expected.frame[rest])


# ---------------------------------------------------------------------- what spares work


@given(maps, radii, st.floats(0.2, 1.0), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_coarse_map_bounds_every_contact(
    terrain: tuple[int, float, float], radius: float, share: float, steep: bool
) -> None:
    seed, cell, amplitude = terrain
    ground = blocks(seed, cell, 0.2) if steep else rough(seed, cell, amplitude)
    random = np.random.default_rng(seed)
    coarse = coarse_heights(ground, radius).numpy()
    assert coarse.shape == tuple(-(-(n - 1) // COARSE) for n in ground.heights.shape)
    own = share * radius  # the map is made for the largest of all spheres
    points = around(ground, random, 200, -own, 2 * own)
    size = ground.cell * (np.array(ground.heights.shape) - 1)
    points[::4, :2] = np.array(ground.origin) + random.uniform(-radius, size + radius, (50, 2))
    touches = nearest(points, ground)[0] < own
    sunk = points[:, 2] < ground.height_at(points[:, :2])
    for shift in (0.0, 1e-6, -1e-6):  # single precision may look into the neighbouring cell
        at = np.floor((points[:, :2] + shift - ground.origin) / (COARSE * ground.cell)).astype(int)
        bound = coarse[tuple(np.clip(at, 0, np.array(coarse.shape) - 1).T)]
        assert (points[:, 2] - own < bound)[touches | sunk].all()


def test_the_coarse_map_is_no_higher_than_needed() -> None:
    heights = np.zeros((41, 31))
    heights[20, 14] = 1.0
    coarse = coarse_heights(HeightField(heights, 0.05, (0, 0)), 0.07)
    # vertices within 0.07 m and one more cell of each 2 x 2 cells
    assert coarse.shape == (20, 15) and coarse.unique().tolist() == [0.0, 1.0]
    rows, columns = coarse.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 11, 5, 8)


@given(st.floats(-3, 3), st.floats(0.005, 0.3), st.sampled_from([0.05, 0.1, 2.0]))
def test_cells_reached_cover_a_sphere(x: float, radius: float, cell: float) -> None:
    first = np.floor((x - radius) / cell)
    last = first + cells_reached(radius, cell)
    assert first * cell <= x - radius + 1e-12 and last * cell > x + radius
