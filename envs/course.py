"""Where the robots of an environment are on its map, how far they get, and which level comes next."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.rewards import ang_vel_error, lin_vel_error
from envs.state import RobotState
from envs.step_log import StepLog
from terrains.curriculum import CurriculumConfig, Episodes, make_curriculum
from terrains.grid import Terrain

NEAR = (0.25, 0.3)
"""A robot tracks its command if its velocity and yaw rate are this near, m/s and rad/s."""
EDGE = 1.0
"""A robot that comes this near to the end of the map has left it, m."""
ROOM = 0.5
"""Robots must be able to walk as far from wherever they start, m."""


class Course:
    """N robots on a map: a column each for good, a level that the curriculum changes after each episode."""

    def __init__(
        self,
        cfg: CurriculumConfig,
        terrain: Terrain,
        time_limit: float,
        buffers: Buffers,
        spread: float = 0.0,
    ):
        """Spread robots evenly over the columns.

        Args:
            cfg: the curriculum.
            terrain: the map.
            time_limit: length of a whole episode, s.
            buffers: where the robots' records and the curriculum's memory lie.
            spread: robots start up to so far from the middles of their tiles along x and y, m.

        Raises:
            ValueError: an unknown strategy, a value out of range, or a map that robots leave as soon as they move.
        """
        self.terrain, self.time_limit = terrain, time_limit
        num_envs, device = buffers.num_envs, buffers.device
        levels, columns = terrain.origins.shape[:2]
        names = terrain.shapes
        self.curriculum = make_curriculum(cfg, levels, len(names), device)
        self._origins = torch.tensor(terrain.origins, dtype=torch.float32, device=device)
        self._shape_of_column = torch.tensor(
            [names.index(name) for name in terrain.column_shapes], device=device
        )
        self.level = buffers.make("terrain_level", dtype=torch.int64)
        """Row of the map on which each robot's episode began."""
        self.column = buffers.make("terrain_column", dtype=torch.int64)
        self.column.copy_(torch.arange(num_envs, device=device) * columns // num_envs)
        self._asked, self._followed = buffers.make("path_asked"), buffers.make("path_followed")
        self._tracked, self._time = buffers.make("time_tracked"), buffers.make("time_alive")
        buffers.add("curriculum", self.curriculum.buffers)
        low_x, low_y = terrain.ground.origin
        nx, ny = terrain.ground.heights.shape
        corner = torch.tensor([low_x, low_y], device=device)
        size = torch.tensor([nx - 1, ny - 1], device=device) * terrain.ground.cell
        self._low, self._high = corner + EDGE, corner + size - EDGE
        starts = self._origins[..., :2]
        room = torch.minimum(starts - self._low, self._high - starts).min().item() - spread
        if room < ROOM:
            x, y = size.tolist()
            raise ValueError(
                f"the map of {x:g} x {y:g} m is too small: robots that start up to {spread:g} m "
                f"(env.init.base_position) from the middle of their tile need {ROOM - room:.2g} m more on each side; "
                "raise env.terrain.border or tile_size, or give a larger file"
            )

    @property
    def shape(self) -> Tensor:
        """Shape of each robot's tile, index into `terrain.shapes`, int64 [N]."""
        return self._shape_of_column[self.column]

    def draw_levels(self, random: Tensor) -> None:
        """First levels of all robots, from numbers in [0, 1), [N]."""
        self.level.copy_(self.curriculum.first_levels(random))

    def assign(self, level: Tensor, column: Tensor) -> None:
        """Put robots on given tiles from their next reset on; int64, [N] each."""
        self.level.copy_(level)
        self.column.copy_(column)

    def origins(self) -> Tensor:
        """Where robots start: centres of their tiles, world frame, m, [N, 3]."""
        return self._origins[self.level, self.column]

    def has_left(self, base_pos: Tensor) -> Tensor:
        """Robots at the end of the map, bool, [N]."""
        place = base_pos[:, :2]
        return ((place < self._low) | (place > self._high)).any(1)

    def begin(self, mask: Tensor) -> None:
        """New episodes for the robots in `mask`."""
        for total in (self._asked, self._followed, self._tracked, self._time):
            total.masked_fill_(mask, 0.0)

    def track(self, state: RobotState) -> None:
        """Add a step to each robot's record."""
        wanted, velocity = state.command[:, :2], state.base_lin_vel[:, :2]
        speed = wanted.norm(dim=1)
        along = (wanted * velocity).sum(1) / speed.clamp(min=1e-6)
        near = (lin_vel_error(state) < NEAR[0]) & (ang_vel_error(state) < NEAR[1])
        self._asked += speed * state.step_dt
        self._followed += torch.minimum(along, speed) * state.step_dt
        self._tracked += near * state.step_dt
        self._time += state.step_dt

    def finish(self, done: Tensor, fell: Tensor, left: Tensor, state: RobotState, random: Tensor) -> Tensor:
        """Give robots whose episode ended their next level; returns which succeeded, bool, [N].

        Args:
            done: episodes that end, bool, [N].
            fell: robots that fell, bool, [N].
            left: robots that left the map, bool, [N].
            state: robots at the end of the episode, before their reset.
            random: numbers in [0, 1), [N].
        """
        episodes = Episodes(
            level=self.level,
            shape=self.shape,
            distance=(state.base_pos - self.origins())[:, :2].norm(dim=1),
            asked=self._asked,
            followed=self._followed,
            tracked=self._tracked / self._time.clamp(min=1e-6),
            last_speed=state.command[:, :2].norm(dim=1),
            time=self._time,
            limit=self.time_limit,
            tile_size=self.terrain.tile_size,
            fell=fell,
            left=left,
            slow=self.curriculum.cfg.slow,
        )
        succeeded = episodes.succeeded()
        self.curriculum.record(episodes, done, succeeded)
        level = self.curriculum.next_levels(episodes, done, random)
        self.level.copy_(torch.where(done, level, self.level))
        return succeeded

    def log(self, log: StepLog, succeeded: Tensor, left: Tensor) -> None:
        """How the episodes that end ended, and mean level, of all robots and of those on each shape."""
        log.episodes("Episode/success", succeeded.float())
        log.episodes("Episode/left_map", left.float())
        level, shape = self.level.float(), self.shape
        log.robots("Curriculum/level", level)
        for i, name in enumerate(self.terrain.shapes):
            here = (shape == i).float()
            log.among(f"Curriculum/level_{name}", level, here, here.sum().clamp(min=1.0))

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Robots on each level and shape, and the share of recent episodes there that succeeded; [levels, shapes].

        The share is NaN where no episode ended yet. Reads the device: not for use within a step.
        """
        curriculum = self.curriculum
        count = np.zeros((curriculum.levels, curriculum.shapes), dtype=np.int64)
        np.add.at(count, (self.level.cpu().numpy(), self.shape.cpu().numpy()), 1)
        rate = curriculum.success_rate().view(count.shape).cpu().numpy()
        return count, rate
