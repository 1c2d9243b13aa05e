"""What disturbs the robots: sudden velocities and forces for a while."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.config import RandomisationConfig
from envs.randomisation import Uniform
from physics import Engine


class Pushes:
    """Pushes of N robots, each at a time of its own."""

    def __init__(self, cfg: RandomisationConfig, step_dt: float, buffers: Buffers, uniform: Uniform):
        """Prepare.

        Args:
            cfg: strength and times.
            step_dt: duration of a policy step, s.
            buffers: where their memory lies.
            uniform: the source of random numbers.
        """
        self.cfg, self._uniform = cfg, uniform
        self._interval = round(cfg.push_interval / step_dt)
        self._force_interval = round(cfg.push_force_interval / step_dt)
        self._force_duration = round(cfg.push_force_duration / step_dt)
        self.countdown = buffers.make("push_countdown", dtype=torch.int64)
        self.force_countdown = buffers.make("force_countdown", dtype=torch.int64)
        self.force = buffers.make("pushing_force", 2)
        self._with_force = cfg.push_force > 0.0 and cfg.push_force_interval > 0.0

    def start(self, engine: Engine) -> None:
        """Spread the robots' first pushes over an interval."""
        self._start(self.countdown, self._interval)
        if self._with_force:
            self._start(self.force_countdown, self._force_interval)
            engine.base_wrench.zero_()

    def end(self, mask: Tensor) -> None:
        """Forces on the robots in `mask` end with their episode; bool, [N]."""
        self.force.masked_fill_(mask.unsqueeze(1), 0.0)

    def step(self, engine: Engine) -> None:
        """Push robots whose time has come."""
        cfg = self.cfg
        if cfg.push_interval > 0.0 and (cfg.push_velocity > 0.0 or cfg.push_ang_vel > 0.0):
            self._push_velocity(engine, self._count(self.countdown, self._interval))
        if self._with_force:
            due = self._count(self.force_countdown, self._force_interval).unsqueeze(1)
            direction = self._uniform((-math.pi, math.pi))
            force = cfg.push_force * torch.stack((direction.cos(), direction.sin()), dim=1)
            self.force.copy_(torch.where(due, force, self.force))
            going_on = self.force_countdown > self._force_interval - self._force_duration
            engine.base_wrench[:, :2] = torch.where(going_on.unsqueeze(1), self.force, 0.0)

    def _push_velocity(self, engine: Engine, mask: Tensor) -> None:
        """Set base velocities: horizontal ones, and rates where asked for."""
        cfg = self.cfg
        linear, angular = engine.base_lin_vel, engine.base_ang_vel
        if cfg.push_velocity > 0.0:
            horizontal = self._uniform((-cfg.push_velocity, cfg.push_velocity), 2)
            linear = torch.cat((horizontal, linear[:, 2:]), dim=1)
        if cfg.push_ang_vel > 0.0:
            angular = self._uniform((-cfg.push_ang_vel, cfg.push_ang_vel), 3)
        engine.set_base_velocity(mask, linear, angular)

    def _start(self, countdown: Tensor, interval: int) -> None:
        countdown.copy_(self._uniform((1.0, float(interval + 1))).long())

    def _count(self, countdown: Tensor, interval: int) -> Tensor:
        """Another step; returns whose time has come, bool [N], and starts their next interval."""
        countdown -= 1
        due = countdown <= 0
        countdown.masked_fill_(due, interval)
        return due
