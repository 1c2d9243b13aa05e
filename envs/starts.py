"""The states that robots begin their episodes in: drawn, and set down on whatever ground lies under them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from envs.config import InitConfig
from envs.draws import Uniform
from envs.state import RobotState
from physics import Engine
from terrains.ground import HeightField
from terrains.scan import HeightScan, ScanConfig

Start = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""States as `Engine.write_state` takes them."""


def draw_starts(
    cfg: InitConfig, height: float, origins: Tensor | None, state: RobotState, uniform: Uniform
) -> Start:
    """States at rest but for the base's velocities; the base level at its height, whatever the ground.

    Args:
        cfg: what is drawn.
        height: of the base above its origin, m.
        origins: where robots start, world frame, m, [N, 3]; None for the world's origin.
        state: facts about the robots.
        uniform: draws.
    """
    joint_pos = state.default_joint_pos * uniform(cfg.joint_scale, len(state.default_joint_pos))
    joint_pos = joint_pos.clamp(*state.joint_pos_limits.unbind(1))
    place = uniform((-cfg.base_position, cfg.base_position), 2)
    zero = torch.zeros_like(place[:, :1])
    base_pos = torch.cat((place, zero + height), 1)
    if origins is not None:
        base_pos = base_pos + origins
    base_quat = torch.cat((zero + 1.0, zero, zero, zero), 1)
    if cfg.yaw:
        half = 0.5 * uniform((-cfg.yaw, cfg.yaw), 1)
        base_quat = torch.cat((half.cos(), zero, zero, half.sin()), 1)
    velocity = uniform((-cfg.base_velocity, cfg.base_velocity), 6)
    if cfg.nominal_share:
        nominal = uniform((0.0, 1.0), 1) < cfg.nominal_share
        joint_pos = torch.where(nominal, state.default_joint_pos, joint_pos)
        velocity = velocity.masked_fill(nominal, 0.0)
    linear, angular = velocity.split(3, dim=1)
    return base_pos, base_quat, linear, angular, joint_pos, torch.zeros_like(joint_pos)


class Footing:
    """Sets N robots down on a map."""

    def __init__(self, height: float, ground: HeightField, engine: Engine, num_threads: int):
        """Prepare.

        Args:
            height: of the base above level ground, m.
            ground: the map.
            engine: the robots.
            num_threads: threads on a CPU, 0 for torch's.
        """
        self.height, self._radius = height, engine.sphere_radius
        count = len(self._radius)
        half = math.sqrt(0.5)
        # corners of a square, 1 from its middle
        corners = ScanConfig((-half, half), (-half, half), 2.0 * half, "bilinear")
        self.scan = HeightScan(corners, ground, engine.device, num_threads or torch.get_num_threads())
        self._ground = torch.zeros(engine.num_envs * count, len(self.scan.points[0]), device=engine.device)
        self._around = torch.zeros(engine.num_envs, count, 4, device=engine.device)
        self._around[..., 2] = self._radius

    def set_down(self, engine: Engine, mask: Tensor) -> None:
        """Raise or lower the robots in `mask`, bool [N], which `write_state` has just set.

        They end as far above the ground, where they are nearest to it, as in the same pose on level ground.
        """
        self._around[..., :2] = engine.sphere_pos[..., :2]
        each = mask.repeat_interleave(self._around.shape[1])
        self.scan.look(self._around.flatten(0, 1), each, self._ground)
        low = engine.sphere_pos[..., 2] - self._radius
        base, ground = engine.base_pos[:, 2], self._ground.amax(1).view_as(low)
        on_level_ground = self.height + (low.amin(1) - base)
        engine.raise_base(torch.where(mask, on_level_ground - (low - ground).amin(1), 0.0))
