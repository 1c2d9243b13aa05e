"""The height scan: points where they belong, heights by the book, and compiled code that is really used."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from native import NoCompiler
from native.compiler import find_compiler
from terrains.ground import HeightField, Plane
from terrains.scan import HeightScan, ScanConfig

GROUND = HeightField(np.random.default_rng(0).uniform(-1.0, 1.0, (37, 53)), 0.1, (-1.3, 0.7))
"""3.6 m x 5.2 m, not symmetric in anything."""
WALLS = dataclasses.replace(GROUND, slope_threshold=8.0)
"""Half of its sides are walls."""
CPU = torch.device("cpu")
LOOKUPS = ("minimum", "bilinear")


def look(
    scan: HeightScan, pos: Tensor, yaw: Tensor, mask: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    out = torch.zeros(len(pos), scan.points.shape[1]) if out is None else out
    scan(pos, yaw, torch.ones(len(pos), dtype=torch.bool) if mask is None else mask, out)
    return out


def poses(n: int, reach: float = 1.0) -> tuple[Tensor, Tensor]:
    """Robots all over the map, and with a `reach` above 1 beyond it."""
    random = torch.Generator().manual_seed(n)
    middle, half = torch.tensor([0.5, 3.3, 0.6]), torch.tensor([1.8, 2.6, 0.0])
    unit = torch.rand(n, 3, generator=random) * 2.0 - 1.0
    return middle + reach * half * unit, 7.0 * torch.rand(n, generator=random) - 3.5


def in_cells(scan: HeightScan, pos: Tensor, yaw: Tensor) -> np.ndarray:
    """Where the points lie on the map, in cells from its first vertex, float64, [2, N, P]."""
    (forward, left), angle = scan.points.double().numpy(), yaw.double().numpy()[:, None]
    x = pos[:, :1].double().numpy() + np.cos(angle) * forward - np.sin(angle) * left
    y = pos[:, 1:2].double().numpy() + np.sin(angle) * forward + np.cos(angle) * left
    return np.stack((x - GROUND.origin[0], y - GROUND.origin[1])) / GROUND.cell


def test_the_reference_looks_at_17_times_11_points() -> None:
    cfg = ScanConfig()
    assert cfg.shape == (17, 11)
    x, y = cfg.points()
    assert torch.allclose(torch.stack((x[:2], y[:2])), torch.tensor([[-0.8, -0.8], [-0.5, -0.4]]))
    assert torch.allclose(torch.stack((x[-1], y[-1])), torch.tensor([0.8, 0.5]))


def test_the_library_is_compiled_where_there_is_a_compiler() -> None:
    try:
        find_compiler()
    except NoCompiler:
        pytest.skip("no compiler here")
    assert HeightScan(ScanConfig(), GROUND, CPU)._library is not None


@pytest.mark.parametrize("ground", [GROUND, WALLS])
@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_code_and_torch_agree(
    lookup: Literal["minimum", "bilinear"], threads: int, ground: HeightField
) -> None:
    scan = HeightScan(ScanConfig(lookup=lookup), ground, CPU, threads)
    pos, yaw = poses(100, reach=1.5)
    fast = look(scan, pos, yaw)
    scan._library = None
    slow = look(scan, pos, yaw)
    if lookup == "bilinear" and ground is GROUND:
        assert torch.allclose(fast, slow, atol=1e-4)
    else:  # a point on the line between two cells may be rounded into either
        fraction = in_cells(scan, pos, yaw) % 1.0
        clear = torch.from_numpy(((fraction > 1e-3) & (fraction < 1.0 - 1e-3)).all(0))
        assert clear.float().mean() > 0.99
        assert torch.allclose(fast[clear], slow[clear], atol=1e-4 if lookup == "bilinear" else 0.0)
    assert slow.std() > 0.1


def test_bilinear_weighs_four_vertices_by_the_opposite_areas() -> None:
    scan = HeightScan(ScanConfig(lookup="bilinear"), GROUND, CPU)
    pos, yaw = poses(40, reach=0.4)
    u, v = in_cells(scan, pos, yaw)
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    r, t, h = u - i, v - j, GROUND.heights.astype(np.float64)
    expected = h[i, j] * (1 - r) * (1 - t) + h[i + 1, j] * r * (1 - t)
    expected += h[i, j + 1] * (1 - r) * t + h[i + 1, j + 1] * r * t
    np.testing.assert_allclose(look(scan, pos, yaw), expected, atol=1e-4)


def test_minimum_is_the_lowest_of_three_vertices() -> None:
    scan = HeightScan(ScanConfig(), GROUND, CPU)
    pos, yaw = poses(40, reach=0.4)
    u, v = in_cells(scan, pos, yaw)
    i, j, h = np.floor(u).astype(int), np.floor(v).astype(int), GROUND.heights
    expected = np.minimum(np.minimum(h[i, j], h[i + 1, j]), h[i, j + 1])
    clear = (np.minimum(u % 1.0, v % 1.0) > 1e-3) & (np.maximum(u % 1.0, v % 1.0) < 1.0 - 1e-3)
    assert np.array_equal(look(scan, pos, yaw).numpy()[clear], expected[clear])


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_blocks_are_seen_where_they_stand(lookup: Literal["minimum", "bilinear"], compiled: bool) -> None:
    heights = (0.2 * np.random.default_rng(1).integers(0, 3, (9, 13))).repeat(4, 0).repeat(4, 1)
    ground = HeightField(heights, 0.1, GROUND.origin, 0.75)
    scan = HeightScan(ScanConfig(lookup=lookup), ground, CPU)
    if not compiled:
        scan._library = None
    pos, yaw = poses(60, reach=0.4)
    cells = in_cells(scan, pos, yaw)
    expected = ground.height_at(np.moveaxis(cells, 0, -1) * 0.1 + ground.origin)
    clear = (np.abs(cells - cells.round()) > 1e-3).all(0)
    np.testing.assert_allclose(look(scan, pos, yaw).numpy()[clear], expected[clear], atol=1e-6)


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_no_height_is_seen_that_is_not_within_a_cell(lookup: Literal["minimum", "bilinear"]) -> None:
    scan = HeightScan(ScanConfig(lookup=lookup), WALLS, CPU)
    pos, yaw = poses(60, reach=0.4)
    i, j = np.floor(in_cells(scan, pos, yaw)).astype(int)
    corners = WALLS.corners[i, j].reshape(*i.shape, 4)
    clear = (np.abs(in_cells(scan, pos, yaw) % 1.0 - 0.5) < 0.499).all(0)
    seen = look(scan, pos, yaw).numpy()
    assert ((seen > corners.min(-1) - 1e-5) & (seen < corners.max(-1) + 1e-5))[clear].all()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_beyond_the_map_is_its_border(lookup: Literal["minimum", "bilinear"], compiled: bool) -> None:
    scan = HeightScan(ScanConfig(lookup=lookup), GROUND, CPU)
    if not compiled:
        scan._library = None
    far, inf, nan = 1e4, float("inf"), float("nan")
    pos = torch.tensor([[-far, -far, 0], [far, far, 0], [-far, far, 0], [inf, -inf, 0], [nan, nan, 0]])
    heights, h = look(scan, pos, torch.zeros(5)), GROUND.heights
    corners = [h[0, 0], h[-1, -1], h[0, -1], h[-1, 0], h[0, 0]]
    if lookup == "minimum":
        corners = [min(h[0, 0], h[0, 1], h[1, 0]), h[-1, -1], min(h[0, -1], h[1, -1])]
        corners += [min(h[-1, 0], h[-1, 1]), corners[0]]
    assert torch.equal(heights, torch.tensor(np.array(corners)).unsqueeze(1).expand(5, 187))
    # a heading that is not a number takes nothing from the other robots, and reads something finite
    yaw = torch.tensor([0.3, nan])
    pair = look(scan, torch.tensor([[0.5, 3.0, 0.0]] * 2), yaw)
    assert torch.equal(pair[:1], look(scan, torch.tensor([[0.5, 3.0, 0.0]]), yaw[:1]))
    assert torch.isfinite(pair).all()


def test_points_turn_with_the_robot() -> None:
    # on a slope that rises along x, what is ahead is higher for a robot that looks along x, and level along y
    x, _ = np.meshgrid(np.arange(60) * 0.1, np.arange(70) * 0.1, indexing="ij")
    scan = HeightScan(ScanConfig(lookup="bilinear"), HeightField(0.5 * x, 0.1, (0.0, 0.0)), CPU)
    pos = torch.tensor([3.0, 3.0, 0.6]).expand(4, 3)
    heights = look(scan, pos, torch.tensor([0.0, torch.pi / 2, torch.pi, -torch.pi / 2]))
    forward, left = scan.points
    for row, along in zip(heights, (forward, -left, -forward, left), strict=True):
        assert torch.allclose(row, 1.5 + 0.5 * along, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_rows_outside_the_mask_are_left_alone(compiled: bool) -> None:
    scan = HeightScan(ScanConfig(), GROUND, CPU)
    if not compiled:
        scan._library = None
    pos, yaw = poses(9)
    mask = torch.tensor([True, False, False, True, True, False, True, False, False])
    out = look(scan, pos, yaw, mask, torch.full((9, 187), 7.0))
    assert (out[~mask] == 7.0).all() and torch.equal(out[mask], look(scan, pos, yaw)[mask])


def test_a_plane_is_at_zero() -> None:
    assert not look(HeightScan(ScanConfig(), Plane(), CPU), *poses(3)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": 0.0}, "env.scan.spacing must be greater than 0"),
        ({"x": (0.5, -0.5)}, "env.scan.x must be a range LOW HIGH"),
        ({"y": (-0.5, 0.6)}, "as far left as right"),
        (
            {"y": (-0.5, 0.5), "x": (-0.6, 0.6), "spacing": 0.3},
            "env.scan.y must be a whole number of spacings",
        ),
        ({"dropout": 1.5}, "env.scan.dropout must lie in 0 to 1"),
        ({"delay": -0.1}, "env.scan.delay must not be negative"),
        ({"delay": float("nan")}, "env.scan.delay must not be negative"),
    ],
)
def test_bad_scans_get_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ScanConfig(), **change).validate()
