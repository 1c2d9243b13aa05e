"""What disturbs the robots: sudden velocities and forces for a while."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.draws import Uniform
from envs.randomisation import RandomisationConfig
from physics import Engine


class Pushes:
    """Pushes of N robots, each at a time of its own."""

    def __init__(self, cfg: RandomisationConfig, step_dt: float, buffers: Buffers):
        """Prepare.

        Args:
            cfg: strength and times.
            step_dt: duration of a policy step, s.
            buffers: where their memory lies.
        """
        self.cfg = cfg
        self._interval = round(cfg.push_interval / step_dt)
        self._force_interval = round(cfg.push_force_interval / step_dt)
        self._force_duration = round(cfg.push_force_duration / step_dt)
        self.countdown = buffers.make("push_countdown", dtype=torch.int64)
        self.force_countdown = buffers.make("force_countdown", dtype=torch.int64)
        self.force = buffers.make("pushing_force", 2)
        self.with_force = cfg.push_force > 0.0 and cfg.push_force_interval > 0.0
        """Whether there are forces."""
        self.with_velocity = cfg.push_interval > 0.0 and (cfg.push_velocity > 0.0 or cfg.push_ang_vel > 0.0)
        """Whether there are sudden velocities."""
        columns = 2 * (cfg.push_velocity > 0.0) + 3 * (cfg.push_ang_vel > 0.0)
        self.draws = (columns if self.with_velocity else 0) + self.with_force
        """Random numbers that a robot needs in a step."""

    def start(self, engine: Engine, uniform: Uniform) -> None:
        """Spread the robots' first pushes over an interval."""
        self._start(self.countdown, self._interval, uniform)
        if self.with_force:
            self._start(self.force_countdown, self._force_interval, uniform)
            engine.base_wrench.zero_()

    def end(self, mask: Tensor) -> None:
        """Forces on the robots in `mask` end with their episode; bool, [N]."""
        self.force.masked_fill_(mask.unsqueeze(1), 0.0)

    def velocities(self, linear: Tensor, angular: Tensor, uniform: Uniform) -> tuple[Tensor, Tensor, Tensor]:
        """Another step of the sudden ones.

        Args:
            linear: base velocities, world frame, m/s, [N, 3].
            angular: rates, base frame, rad/s, [N, 3].
            uniform: random numbers.

        Returns:
            robots whose time has come, bool [N]; the given velocities and rates, [N, 3] each, theirs changed: the
            horizontal ones, and rates where asked for.
        """
        cfg, due = self.cfg, self._count(self.countdown, self._interval)
        if cfg.push_velocity > 0.0:
            horizontal = uniform((-cfg.push_velocity, cfg.push_velocity), 2)
            linear = torch.where(due.unsqueeze(1), torch.cat((horizontal, linear[:, 2:]), dim=1), linear)
        if cfg.push_ang_vel > 0.0:
            rates = uniform((-cfg.push_ang_vel, cfg.push_ang_vel), 3)
            angular = torch.where(due.unsqueeze(1), rates, angular)
        return due, linear, angular

    def forces(self, uniform: Uniform) -> Tensor:
        """Another step of the lasting ones; returns the horizontal forces that act now, N, [N, 2]."""
        cfg = self.cfg
        due = self._count(self.force_countdown, self._force_interval).unsqueeze(1)
        direction = uniform((-math.pi, math.pi))
        force = cfg.push_force * torch.stack((direction.cos(), direction.sin()), dim=1)
        self.force.copy_(torch.where(due, force, self.force))
        going_on = self.force_countdown > self._force_interval - self._force_duration
        return torch.where(going_on.unsqueeze(1), self.force, 0.0)

    @staticmethod
    def _start(countdown: Tensor, interval: int, uniform: Uniform) -> None:
        countdown.copy_(uniform((1.0, float(interval + 1))).long())

    @staticmethod
    def _count(countdown: Tensor, interval: int) -> Tensor:
        """Another step; returns whose time has come, bool [N], and starts their next interval."""
        countdown -= 1
        due = countdown <= 0
        countdown.masked_fill_(due, interval)
        return due
