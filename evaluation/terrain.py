"""The paper's success test: can a policy cross a kind of terrain of a given difficulty?

Robots start near the centre of a tile, with level ground around it, in a random direction, and are told to walk
forward at 0.75 m/s, keeping their heading. Success: further than 4 m from the start within 20 s without a fall
(Rudin et al. 2021, section 4.2). Nominal friction and mass, no observation noise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from envs.config import EnvConfig
from envs.frames import yaw_of
from envs.legged_env import LeggedEnv
from evaluation.walking import evaluation_config
from native.launch import repeat
from robots.config import nearest
from terrains.grid import Terrain, TerrainConfig, lay_out
from terrains.shapes import make_tile

SPEED = 0.75
"""Forward command, m/s."""
DISTANCE = 4.0
"""To be further than this from the start is a success, m."""
SECONDS = 20.0
"""Time for it, s."""


@dataclass(frozen=True)
class Axis:
    """How the difficulty of a kind of terrain is varied."""

    label: str
    """Quantity and unit."""
    values: tuple[float, ...]
    difficulty: Callable[[float], float]
    """Value -> difficulty of the shape with `parameters`."""
    parameters: dict[str, Any] = field(default_factory=dict)


def _linear(label: str, values: tuple[float, ...], name: str, least: float = 0.0) -> Axis:
    """The shape's parameter `name` goes from `least` to the last value."""
    most = values[-1]
    parameter = (least, most) if least else most
    return Axis(label, values, lambda value: (value - least) / (most - least), {name: parameter})


_DEGREES = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
_SLOPE = Axis(
    "slope, degrees",
    _DEGREES,
    lambda value: math.tan(math.radians(value)) / math.tan(math.radians(_DEGREES[-1])),
    {"gradient": math.tan(math.radians(_DEGREES[-1]))},
)
_ROUGH = Axis(
    "height, +-m", (0.02, 0.04, 0.06, 0.08, 0.1), lambda value: value / 0.1, {"amplitude": 0.1, "least": 0.0}
)
_STEP = _linear("step, m", (0.05, 0.1, 0.15, 0.2, 0.25), "height", 0.05)

AXES: dict[str, Axis] = {
    "slope_up": _SLOPE,
    "slope_down": _SLOPE,
    "random_rough": _ROUGH,
    "stairs_up": _STEP,
    "stairs_down": _STEP,
    "obstacles": _linear("height, m", (0.05, 0.1, 0.15, 0.2, 0.25), "height", 0.05),
    "stepping_stones": Axis("difficulty", (0.0, 0.25, 0.5, 0.75), lambda v: v),
    "gap": _linear("width, m", (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), "width"),
    "pit": _linear("depth, m", (0.05, 0.1, 0.2, 0.3), "depth"),
    "waves": _linear("height, +-m", (0.05, 0.1, 0.15, 0.2), "amplitude"),
}  # fmt: skip
"""What is tested of each shape."""
PAPER = ("slope_up", "slope_down", "random_rough", "stairs_up", "stairs_down", "obstacles")
"""The shapes of the paper's map."""


@dataclass
class Cell:
    """Result on one shape at one value."""

    shape: str
    value: float
    robots: int
    success: float
    """Share of robots."""
    low: float
    """Lower end of the 95 % confidence interval (Wilson 1927)."""
    high: float
    falls: float
    """Share of robots that fell before they got there."""
    time: float
    """Mean time to get there, s; NaN if none did."""


def check_shapes(shapes: tuple[str, ...]) -> None:
    """ValueError with one sentence for a kind of terrain without a test, or for none at all."""
    known = list(AXES)
    if not shapes:
        raise ValueError(f"no terrain to test; choose from {', '.join(known)}")
    for name in shapes:
        if name not in AXES:
            raise ValueError(
                f"no success test for terrain {name!r}; choose from {', '.join(known)}.{nearest(name, known)}"
            )


def make_map(cfg: TerrainConfig, shapes: tuple[str, ...], tiles: int, seed: int) -> Terrain:
    """A map with a row per value and `tiles` columns per shape, each tile alone on level ground.

    Raises:
        ValueError: a shape without a test.
    """
    check_shapes(shapes)
    rows = max(len(AXES[name].values) for name in shapes)

    def tile(level: int, column: int, name: str) -> ndarray:
        axis = AXES[name]
        value = axis.values[min(level, len(axis.values) - 1)]
        # the last of the key tells these tiles from any that were trained on
        rng = np.random.default_rng((seed, level, column, 1))
        return make_tile(name, axis.difficulty(value), cfg.tile_size, cfg.cell, rng, axis.parameters)

    cfg = copy.deepcopy(cfg)
    cfg.tile_size = 2.0 * DISTANCE  # the test is the same whatever the task trained on
    cfg.spacing = cfg.border = 6.0
    return lay_out(cfg, np.arange(rows), [name for name in shapes for _ in range(tiles)], tile)


def success_test(
    cfg: EnvConfig,
    make_act: Callable[[LeggedEnv], Callable[[Tensor], Tensor]],
    shapes: tuple[str, ...] = PAPER,
    robots: int = 200,
    tiles: int = 4,
    seed: int = 1,
    engine: str = "auto",
    device: str = "cpu",
    num_threads: int = 0,
) -> list[Cell]:
    """Run the test.

    Args:
        cfg: the task that a policy was trained on; a copy is changed.
        make_act: environment -> deterministic policy, observations [N, O] -> actions [N, A].
        shapes: what to test.
        robots: per shape and value.
        tiles: different tiles per shape and value.
        seed: of tiles and starts.
        engine: physics engine.
        device: where the tensors live.
        num_threads: threads of a CPU engine.

    Returns:
        One result for every shape and value.
    """
    cfg = evaluation_config(copy.deepcopy(cfg), SECONDS)
    cfg.curriculum.strategy = "fixed"
    cfg.commands.heading = True
    cfg.commands.ang_vel_yaw = (-1.0, 1.0)
    cfg.init.yaw = math.pi
    cfg.init.base_position = 0.25
    terrain = make_map(cfg.terrain, shapes, tiles, seed)
    cells = [(name, value) for name in shapes for value in AXES[name].values]
    n = len(cells) * robots
    env = LeggedEnv(cfg, n, engine, device, num_threads, seed, terrain=terrain)
    cell = torch.arange(n) // robots
    level = torch.tensor([AXES[name].values.index(value) for name, value in cells])[cell]
    column = torch.tensor([shapes.index(name) * tiles for name, _ in cells])[cell]
    assert env.course is not None
    env.course.assign(level.to(env.device), (column + torch.arange(n) % tiles).to(env.device))
    reached, fell = _walk(env, make_act(env))
    return [
        _result(name, value, reached[i * robots : (i + 1) * robots], fell[i * robots : (i + 1) * robots])
        for i, (name, value) in enumerate(cells)
    ]


@torch.no_grad()
def _walk(env: LeggedEnv, act: Callable[[Tensor], Tensor]) -> tuple[ndarray, ndarray]:
    """Time at which each robot got there (infinite if it did not), s, and whether it fell before, [N] each."""
    env.reset()
    start = env.engine.base_pos[:, :2].clone()
    env.heading_target.copy_(yaw_of(env.engine.base_quat))
    env.set_commands(torch.tensor([SPEED, 0.0, 0.0], device=env.device).expand(env.num_envs, 3))
    reached = torch.full((env.num_envs,), math.inf, device=env.device)
    fell = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    time = torch.zeros((), device=env.device)

    def step() -> None:
        time.add_(env.step_dt)
        _, _, terminated, _, _ = env.step(act(env.get_observations()["policy"]))
        waiting = ~fell & torch.isinf(reached)
        fell.logical_or_(waiting & terminated)
        away = (env.engine.base_pos[:, :2] - start).norm(dim=1) > DISTANCE
        reached.copy_(torch.where(waiting & ~terminated & away, time, reached))

    repeat(step, round(SECONDS / env.step_dt), env.device, env.generator)
    return reached.cpu().numpy(), fell.cpu().numpy()


def _result(shape: str, value: float, reached: ndarray, fell: ndarray) -> Cell:
    there = np.isfinite(reached)
    low, high = wilson(int(there.sum()), len(there))
    time = float(reached[there].mean()) if there.any() else math.nan
    return Cell(shape, value, len(there), float(there.mean()), low, high, float(fell.mean()), time)


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927)."""
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    return max(0.0, middle - half), min(1.0, middle + half)
