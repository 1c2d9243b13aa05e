"""Shapes of terrain: functions of a difficulty that return heights.

A shape is `shape(difficulty, size, cell, rng, **parameters) -> heights`: difficulty in 0 to 1, side of the tile and
of its cells in metres, a random generator; heights are float64 [n, n] with n = round(size / cell), metres, row index
x, column y. Ranges are the reference method's (Rudin et al. 2021, and its code) unless said otherwise. A new shape
is one function with `@shape`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from robots.config import nearest

Shape = Callable[..., ndarray]
SHAPES: dict[str, Shape] = {}
"""Every shape by its name."""
PLATFORM = 3.0
"""Side of the flat square in a tile's centre, m."""


def shape(function: Shape) -> Shape:
    """Register a shape under its name."""
    SHAPES[function.__name__] = function
    return function


def turned_over(function: Shape, name: str) -> Shape:
    """A shape's heights with their sign changed, and its parameters: what rises from the platform falls from it."""

    @wraps(function)
    def turned(*args: Any, **parameters: Any) -> ndarray:
        return -function(*args, **parameters)

    turned.__name__ = name
    return turned


def _axes(size: float, cell: float) -> tuple[ndarray, ndarray]:
    """x and y of the vertices from the tile's centre, m, [n, n] each."""
    n = round(size / cell)
    x = (np.arange(n) - (n - 1) / 2.0) * cell
    return np.meshgrid(x, x, indexing="ij")


def _ring(size: float, cell: float) -> ndarray:
    """Distance from the centre in the maximum norm: square rings, m."""
    x, y = _axes(size, cell)
    return np.maximum(abs(x), abs(y))


def _seated(heights: ndarray) -> ndarray:
    """The same with its edge at height 0, where all tiles meet."""
    return heights - heights[0, 0]


def _blend(size: float, cell: float, platform: float, width: float) -> ndarray:
    """0 on the platform, 1 further than `width` from it."""
    return np.clip((_ring(size, cell) - platform / 2.0) / max(width, cell), 0.0, 1.0)


@shape
def flat(difficulty: float, size: float, cell: float, rng: Generator) -> ndarray:
    """Level ground."""
    return np.zeros_like(_ring(size, cell))


@shape
def slope_up(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    gradient: float = 0.4,
    platform: float = PLATFORM,
) -> ndarray:
    """A pyramid turned over: robots start at the bottom; gradient at difficulty 1."""
    return _seated(gradient * difficulty * np.maximum(_ring(size, cell) - platform / 2.0, 0.0))


slope_down = shape(turned_over(slope_up, "slope_down"))


@shape
def random_rough(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    amplitude: float = 0.05,
    least: float = 1.0,
    step: float = 0.005,
    spacing: float = 0.2,
) -> ndarray:
    """Random heights in +-amplitude, in multiples of `step`, drawn every `spacing` and interpolated.

    Args:
        difficulty: 0 to 1.
        size: side of the tile, m.
        cell: side of a cell, m.
        rng: random generator.
        amplitude: at difficulty 1, m.
        least: share of it at difficulty 0 (1: the reference, whose roughness is always the same).
        step: m.
        spacing: m.
    """
    x, y = _axes(size, cell)
    knots = int(np.ceil(size / spacing)) + 1
    height = amplitude * (least + (1.0 - least) * difficulty)
    drawn = np.round(rng.uniform(-height, height, (knots, knots)) / step) * step
    u, v = (x + size / 2.0) / spacing, (y + size / 2.0) / spacing
    i, j = (np.clip(a.astype(int), 0, knots - 2) for a in (u, v))
    s, t = u - i, v - j
    low = drawn[i, j] * (1.0 - s) + drawn[i + 1, j] * s
    high = drawn[i, j + 1] * (1.0 - s) + drawn[i + 1, j + 1] * s
    return low * (1.0 - t) + high * t


def _rough(slope: Shape, name: str) -> Shape:
    """A slope with random roughness."""

    def rough_slope(
        difficulty: float,
        size: float,
        cell: float,
        rng: Generator,
        gradient: float = 0.4,
        amplitude: float = 0.05,
    ) -> ndarray:
        rough = random_rough(difficulty, size, cell, rng, amplitude)
        return slope(difficulty, size, cell, rng, gradient) + rough

    rough_slope.__name__ = name
    return rough_slope


rough_slope_up = shape(_rough(slope_up, "rough_slope_up"))
rough_slope_down = shape(_rough(slope_down, "rough_slope_down"))


@shape
def stairs_up(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    height: tuple[float, float] = (0.05, 0.23),
    width: float = 0.31,
    platform: float = PLATFORM,
) -> ndarray:
    """Square stairs that robots climb outwards from the platform at the bottom.

    Args:
        difficulty: 0 to 1.
        size: side of the tile, m.
        cell: side of a cell, m; steps are whole numbers of cells wide.
        rng: unused.
        height: of a step at difficulty 0 and 1, m.
        width: of a step, m.
        platform: side of the flat square in the centre, m.
    """
    low, high = height
    tread = max(1, round(width / cell)) * cell
    steps = np.ceil((_ring(size, cell) - platform / 2.0) / tread - 1e-9)
    return _seated((low + (high - low) * difficulty) * np.maximum(steps, 0.0))


stairs_down = shape(turned_over(stairs_up, "stairs_down"))


@shape
def obstacles(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    height: tuple[float, float] = (0.05, 0.25),
    sides: tuple[float, float] = (1.0, 2.0),
    count: int = 20,
    platform: float = PLATFORM,
) -> ndarray:
    """Boxes and pits with sides of `sides`, of the full or half of the difficulty's height, at random places."""
    x, y = _axes(size, cell)
    top = height[0] + (height[1] - height[0]) * difficulty
    heights = np.zeros_like(x)
    for _ in range(count):
        half = rng.uniform(*sides, 2) / 2.0
        centre = rng.uniform(-size / 2.0, size / 2.0, 2)
        box = (abs(x - centre[0]) < half[0]) & (abs(y - centre[1]) < half[1])
        heights[box] = rng.choice((-top, -top / 2.0, top / 2.0, top))
    return np.where(_ring(size, cell) <= platform / 2.0, 0.0, heights)


@shape
def stepping_stones(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    side: float = 1.5,
    gap: tuple[float, float] = (0.05, 0.1),
    depth: float = 1.0,
    platform: float = 4.0,
) -> ndarray:
    """Square stones of side x (1.05 - difficulty) over a hole.

    Args:
        difficulty: 0 to 1.
        size: side of the tile, m.
        cell: side of a cell, m; gaps are at least one cell.
        rng: shifts the rows of stones.
        side: of a stone, m.
        gap: between stones at difficulty 0 and 1, m.
        depth: of the hole, m.
        platform: side of the flat square in the centre, m.
    """
    x, y = _axes(size, cell)
    stone = max(cell, side * (1.05 - difficulty))
    pitch = stone + max(cell, gap[0] + (gap[1] - gap[0]) * difficulty)
    row = np.floor((x + size / 2.0) / pitch).astype(int)
    shift = rng.uniform(0.0, pitch, row.max() + 1)[row]
    on_stone = ((x + size / 2.0) % pitch < stone) & ((y + size / 2.0 + shift) % pitch < stone)
    return np.where(on_stone | (_ring(size, cell) <= platform / 2.0), 0.0, -depth)


@shape
def gap(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    width: float = 1.0,
    depth: float = 1.0,
    platform: float = PLATFORM,
) -> ndarray:
    """A ditch around the platform, `width` x difficulty wide."""
    ring = _ring(size, cell) - platform / 2.0
    return np.where((ring > 0.0) & (ring <= width * difficulty), -depth, 0.0)


@shape
def pit(
    difficulty: float, size: float, cell: float, rng: Generator, depth: float = 1.0, platform: float = 4.0
) -> ndarray:
    """A square hole, `depth` x difficulty deep, that robots start in and climb out of."""
    return np.where(_ring(size, cell) <= platform / 2.0, -depth * difficulty, 0.0)


@shape
def waves(
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    amplitude: float = 0.15,
    length: float = 2.0,
    platform: float = 1.0,
) -> ndarray:
    """Sine waves along x and y with peaks of amplitude x difficulty."""
    x, y = _axes(size, cell)
    phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    wave = np.sin(2.0 * np.pi * x / length + phase[0]) + np.sin(2.0 * np.pi * y / length + phase[1])
    return 0.5 * amplitude * difficulty * wave * _blend(size, cell, platform, 0.5)


def parameters_of(name: str) -> dict[str, Any]:
    """Parameter of a shape -> its default; ValueError with the nearest names for a shape that does not exist."""
    if name not in SHAPES:
        raise ValueError(
            f"unknown terrain shape {name!r}; choose from {', '.join(SHAPES)}.{nearest(name, list(SHAPES))}"
        )
    return {p.name: p.default for p in list(signature(SHAPES[name]).parameters.values())[4:]}


def all_parameters() -> dict[str, dict[str, Any]]:
    """Shape -> its parameters and their defaults, of those that have any."""
    return {name: own for name in SHAPES if (own := parameters_of(name))}


def check_parameters(name: str, parameters: dict[str, Any]) -> None:
    """ValueError with the nearest names for a shape or a parameter of it that does not exist."""
    defaults = parameters_of(name)
    for parameter in parameters:
        if parameter not in defaults:
            raise ValueError(
                f"shape {name!r} has no parameter {parameter!r}; it has {', '.join(defaults) or 'none'}."
                f"{nearest(parameter, list(defaults))}"
            )


def make_tile(
    name: str,
    difficulty: float,
    size: float,
    cell: float,
    rng: Generator,
    parameters: dict[str, Any] | None = None,
) -> ndarray:
    """Heights of one tile, [n, n].

    Raises:
        ValueError: unknown shape or parameter, difficulty or sizes out of range, a platform that fills the tile, or
            a shape that returns anything but finite heights [n, n].
    """
    defaults = parameters_of(name)
    if not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"difficulty must lie in 0 to 1, not {difficulty}")
    if size <= 0.0 or cell <= 0.0 or round(size / cell) < 2:
        raise ValueError(f"a tile of {size} m has no cells of {cell} m")
    parameters = parameters or {}
    check_parameters(name, parameters)
    platform = (defaults | parameters).get("platform", 0.0)
    if platform >= size:
        raise ValueError(f"the platform of {platform} m fills the tile of {size} m")
    try:
        heights = np.asarray(SHAPES[name](difficulty, size, cell, rng, **parameters), np.float64)
    except (ArithmeticError, ValueError) as error:
        given = ", ".join(f"{key} {value}" for key, value in parameters.items()) or "its own parameters"
        raise ValueError(
            f"shape {name!r} cannot be made with {given} at difficulty {difficulty:g}: {error}"
        ) from error
    n = round(size / cell)
    if heights.shape != (n, n):
        raise ValueError(f"shape {name!r} must return heights [{n}, {n}], not {list(heights.shape)}")
    if not np.isfinite(heights).all():
        raise ValueError(f"shape {name!r} returns heights that are not finite at difficulty {difficulty:g}")
    return heights
