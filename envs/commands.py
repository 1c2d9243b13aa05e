"""What the robots are told to do: velocity commands, drawn anew from time to time."""

from __future__ import annotations

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.config import CommandConfig
from envs.draws import Uniform
from envs.frames import yaw_of
from terrains.curriculum import CommandCurriculum


class Commands:
    """Commands of N robots."""

    def __init__(self, cfg: CommandConfig, step_dt: float, episode_steps: int, buffers: Buffers):
        """Prepare; nothing is commanded yet.

        Args:
            cfg: ranges and options.
            step_dt: duration of a policy step, s.
            episode_steps: policy steps of a whole episode.
            buffers: where their memory lies.
        """
        self.cfg = cfg
        self.period = round(cfg.resampling_time / step_dt)
        """Policy steps between new commands."""
        self.command = buffers.make("command", 3)
        """vx, vy (m/s) and yaw rate (rad/s), base frame, [N, 3]."""
        self.heading_target = buffers.make("heading_target")
        """Where to head to, world frame, rad, [N]."""
        self.draws = 3 + cfg.heading + bool(cfg.single_axis_share)
        """Random numbers that a robot needs in a step."""
        ranges = torch.tensor((cfg.lin_vel_x, cfg.lin_vel_y, cfg.ang_vel_yaw), device=buffers.device)
        self._low, self._width = ranges[:, 0].clone(), ranges[:, 1] - ranges[:, 0]
        self._axes = torch.arange(3.0, device=buffers.device)
        self.single: Tensor | None = None
        """Robots told to move along one axis, or to stand, whatever their heading, bool [N]; None: there are none."""
        if cfg.heading and cfg.single_axis_share:
            self.single = buffers.make("single_axis", dtype=torch.bool)
        self.curriculum: CommandCurriculum | None = None
        if cfg.curriculum:
            self.curriculum = CommandCurriculum(
                cfg.lin_vel_x, cfg.max_lin_vel_x, episode_steps, buffers.device
            )
            buffers.add("command_curriculum", self.curriculum.buffers)

    def draw(self, mask: Tensor, uniform: Uniform) -> None:
        """New commands for the robots in `mask`, bool [N]."""
        cfg, low, width = self.cfg, self._low, self._width
        if self.curriculum:
            slowest, fastest = self.curriculum.range.split(1)
            low, width = torch.cat((slowest, low[1:])), torch.cat((fastest - slowest, width[1:]))
        sample = uniform((0.0, 1.0), 3) * width + low
        if cfg.single_axis_share:  # a fourth of the share for each axis, and for none
            kind = (uniform((0.0, 4.0 / cfg.single_axis_share))).unsqueeze(1)
            sample = sample * ((kind >= 4.0) | (kind.floor() == self._axes))
            if self.single is not None:
                self.single.copy_(torch.where(mask, kind.squeeze(1) < 4.0, self.single))
        moving = sample[:, :2].norm(dim=1, keepdim=True) > cfg.min_speed
        sample = torch.cat((sample[:, :2] * moving, sample[:, 2:]), 1)
        self.command.copy_(torch.where(mask.unsqueeze(1), sample, self.command))
        if cfg.heading:
            target = uniform((-torch.pi, torch.pi))
            self.heading_target.copy_(torch.where(mask, target, self.heading_target))

    def follow_heading(self, base_quat: Tensor) -> None:
        """Command the yaw rate that turns robots towards their heading; base to world, [N, 4]."""
        if self.cfg.heading:
            error = self.heading_target - yaw_of(base_quat)
            error = torch.atan2(torch.sin(error), torch.cos(error))
            rate = (self.cfg.heading_gain * error).clamp(*self.cfg.ang_vel_yaw)
            if self.single is not None:
                rate = torch.where(self.single, self.command[:, 2], rate)
            self.command[:, 2] = rate
