"""Height fields: their surface against hand-made and random maps, and what a wrong one is told.

`tests/physics/test_scene.py` compares the same surface with MuJoCo's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from terrains import HeightField

heights = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=5),
    elements=st.floats(-5, 5, width=32),
)
fields = st.builds(HeightField, heights, st.floats(0.05, 2), st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
fraction = st.tuples(st.floats(0, 1), st.floats(0, 1))


def on_triangles(ground: HeightField, x: float, y: float) -> float:
    """The same surface the long way, from coordinates in cells: find the triangle that holds the point."""
    i, j = (min(int(v), n - 2) for v, n in zip((x, y), ground.heights.shape, strict=True))
    best = (-np.inf, 0.0)
    for corner in [(i + 1, j), (i, j + 1)]:
        vertices = [(i, j), corner, (i + 1, j + 1)]
        weights = np.linalg.solve(np.vstack((np.transpose(vertices), np.ones(3))), [x, y, 1])
        best = max(
            best, (weights.min(), sum(w * ground.heights[v] for w, v in zip(weights, vertices, strict=True)))
        )
    return best[1]


@given(fields, fraction)
@settings(deadline=None)
def test_height_is_that_of_the_triangle_below(ground: HeightField, at: tuple[float, float]) -> None:
    x, y = (f * (n - 1) for f, n in zip(at, ground.heights.shape, strict=True))
    point = np.array(ground.origin) + ground.cell * np.array([x, y])
    assert ground.height_at(point) == pytest.approx(on_triangles(ground, x, y), abs=1e-5)


@given(fields)
@settings(deadline=None)
def test_vertices_lie_where_cell_and_origin_say(ground: HeightField) -> None:
    points = np.array(ground.origin) + ground.cell * np.array([*np.ndindex(ground.heights.shape)])
    np.testing.assert_allclose(ground.height_at(points), ground.heights.ravel(), atol=1e-5)


@given(fields, fraction, st.integers(-1, 1), st.integers(-1, 1))
@settings(deadline=None)
def test_outside_is_the_nearest_point_of_the_border(
    ground: HeightField, at: tuple[float, float], side_x: int, side_y: int
) -> None:
    size = ground.cell * (np.array(ground.heights.shape) - 1)
    inside = np.array([0.0, 0.5, 1.0])[[side_x + 1, side_y + 1]] * size
    outside = inside + 100 * np.array(at) * [side_x, side_y]
    a, b = ground.height_at(np.stack((inside, outside)) + ground.origin)
    assert a == pytest.approx(b, abs=1e-5)


def test_the_diagonal_joins_the_lowest_and_the_highest_corner() -> None:
    middle = np.array([0.5, 0.5])
    assert HeightField(np.array([[1, 0], [0, 1]]), 1.0, (0, 0)).height_at(middle) == 1.0
    assert HeightField(np.array([[0, 1], [1, 0]]), 1.0, (0, 0)).height_at(middle) == 0.0


def test_a_flat_field_is_flat_to_the_last_bit() -> None:
    ground = HeightField.centred(np.full((4, 7), 0.37), 0.3)
    points = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    assert (ground.height_at(points) == torch.tensor(0.37)).all()


def test_centred() -> None:
    ground = HeightField.centred(np.zeros((5, 3)), 0.5)
    assert ground.origin == (-1.0, -0.5)


def by_the_rule(heights: np.ndarray, i: int, j: int, most: float) -> np.ndarray:
    """Corners of a cell, [2, 2]: the higher of two along x and then along y lowered where they differ by more."""
    c = heights[i : i + 2, j : j + 2].copy()
    for pairs in ([((0, 0), (1, 0)), ((0, 1), (1, 1))], [((0, 0), (0, 1)), ((1, 0), (1, 1))]):
        for a, b in pairs:
            if abs(c[a] - c[b]) > np.float32(most):
                c[a] = c[b] = min(c[a], c[b])
    return c


@given(heights, st.sampled_from([0.0, 0.3, 0.75, 5.0]), fraction)
@settings(deadline=None)
def test_steep_cells_stay_at_their_lower_side(
    h: np.ndarray, threshold: float, at: tuple[float, float]
) -> None:
    ground = HeightField(h, 0.5, (1.0, -2.0), threshold)
    most = threshold * 0.5 or np.inf
    expected = np.array(
        [[by_the_rule(h, i, j, most) for j in range(h.shape[1] - 1)] for i in range(len(h) - 1)]
    )
    np.testing.assert_array_equal(ground.corners, expected)
    plain = HeightField(h, 0.5, (1.0, -2.0))
    assert ground.has_walls == bool((ground.corners != plain.corners).any()) and not plain.has_walls
    # a cell alone is a plain field of its own corners
    (i, j), size = (
        [min(int(f * (n - 1)), n - 2) for f, n in zip(at, h.shape, strict=True)],
        np.array(h.shape) - 1,
    )
    point = np.array(at) * size
    alone = HeightField(ground.corners[i, j], 0.5, (1.0 + 0.5 * i, -2.0 + 0.5 * j))
    place = np.array([1.0, -2.0]) + 0.5 * point
    # on a line between two cells rounding decides which of them it is
    if (np.abs(point - np.round(point)) > 1e-6).all():
        assert ground.height_at(place) == pytest.approx(alone.height_at(place), abs=1e-5)


def test_a_riser_is_a_wall_at_the_high_vertices() -> None:
    heights = np.zeros((5, 4))
    heights[2:] = 0.2
    ground = HeightField(heights, 0.1, (0.0, 0.0), 0.75)
    x = np.array([0.11, 0.15, 0.1999, 0.2001, 0.3])
    np.testing.assert_allclose(ground.height_at(np.column_stack((x, 0 * x + 0.13))), [0, 0, 0, 0.2, 0.2])
    assert not HeightField(0.35 * heights, 0.1, (0.0, 0.0), 0.75).has_walls  # 0.07 m in 0.1 m


@pytest.mark.parametrize("threshold", [-0.1, np.nan, np.inf])
def test_a_threshold_that_is_no_slope_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="slope_threshold must not be negative"):
        HeightField(np.zeros((2, 2)), 0.1, (0, 0), threshold)


def test_arrays_and_tensors_keep_shape_and_type() -> None:
    ground = HeightField(np.arange(12.0).reshape(3, 4), 0.5, (-1.0, 2.0))
    points = np.random.default_rng(2).uniform(-2, 4, (5, 6, 2))
    points.setflags(write=False)
    reference = ground.height_at(points)
    assert isinstance(reference, np.ndarray) and reference.shape == (5, 6) and reference.dtype == np.float64
    for dtype in (torch.float64, torch.float32):
        result = ground.height_at(torch.tensor(points, dtype=dtype))
        assert isinstance(result, torch.Tensor) and result.dtype == dtype
        np.testing.assert_allclose(result.numpy(), reference, atol=1e-5)


def test_a_robot_with_nan_gets_nan_and_its_neighbours_do_not() -> None:
    ground = HeightField(np.ones((3, 3)), 1.0, (0, 0))
    points = torch.tensor([[1.0, 1.0], [torch.nan, 1.0], [1.0, torch.nan], [torch.inf, -torch.inf]])
    np.testing.assert_array_equal(ground.height_at(points).numpy(), [1.0, np.nan, np.nan, 1.0])


def test_heights_are_a_private_copy() -> None:
    mine = np.zeros((2, 3))
    ground = HeightField(mine, 1.0, (0, 0))
    mine[:] = 1.0
    assert ground.heights.dtype == np.float32 and not ground.heights.any()
    with pytest.raises(ValueError, match="read-only"):
        ground.heights[0, 0] = 1.0


@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1), (2, 2, 2), (0, 0)])
def test_a_map_without_a_cell_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 2 x 2 vertices, not \["):
        HeightField(np.zeros(shape), 0.1, (0, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_heights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="heights must be finite"):
        HeightField(np.full((2, 2), value), 0.1, (0, 0))


@pytest.mark.parametrize("cell", [0.0, -0.1, np.nan, np.inf])
def test_a_cell_without_a_size_is_refused(cell: float) -> None:
    with pytest.raises(ValueError, match="cell must be a positive length in m"):
        HeightField(np.zeros((2, 2)), cell, (0, 0))


@pytest.mark.parametrize("origin", [(0.0,), (0.0, 0.0, 0.0), (0.0, np.nan), 0.0])
def test_an_origin_that_is_not_a_point_is_refused(origin: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="origin must be two finite numbers"):
        HeightField(np.zeros((2, 2)), 0.1, origin)
