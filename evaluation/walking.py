"""How well a policy follows commands, and how it walks: figures with a fixed definition.

Every robot gets a list of commands, a new one every `segment` seconds. All steps count, and again without
the first second after each new command. After a fall the rest of a robot's episode counts with |command| as
error. Duty factors, touchdowns and slip are taken while a command asks for more than 0.2 m/s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.config import EnvConfig, RandomisationConfig
from envs.legged_env import LeggedEnv
from native.launch import repeat

MOVING = 0.2  # m/s
SETTLING = 1.0  # s


@dataclass
class Evaluation:
    """Figures of one evaluation; plain numbers, ready for JSON."""

    lin_vel_error: float
    """Mean |v_xy* - v_xy|, m/s."""
    lin_vel_error_p95: float
    lin_vel_error_settled: float
    ang_vel_error: float
    """Mean |w_z* - w_z|, rad/s."""
    ang_vel_error_p95: float
    ang_vel_error_settled: float
    falls: float
    """Share of robots that fell."""
    cost_of_transport: float
    """Mechanical work (absolute joint power) per weight and distance."""
    foot_slip: float
    """Mean horizontal speed of feet on the ground, m/s."""
    air_time: float
    """Mean length of a swing, s."""
    duty_factor: list[float]
    """Share of time each foot is down, in the robot's order of feet."""
    touchdowns: list[float]
    """Touchdowns per second of each foot."""
    collisions: float
    """Share of steps with a knee or shank (any penalised body) on the ground."""
    robots: int
    seconds: float

    @property
    def score(self) -> float:
        """One number to rank checkpoints by, smaller is better: tracking errors plus the share of falls."""
        return self.lin_vel_error + self.ang_vel_error + self.falls

    @property
    def score_error(self) -> float:
        """What chance does to `score`: the standard error of `falls`, as if one robot more had fallen and one more
        had not (no fall among few robots is no proof that none will)."""
        falls = (self.falls * self.robots + 1.0) / (self.robots + 2.0)
        return math.sqrt(falls * (1.0 - falls) / self.robots)


def evaluation_config(cfg: EnvConfig, seconds: float, push: bool = False) -> EnvConfig:
    """Change a task for evaluation; returns the same object.

    Friction 1.0 and otherwise the robot as it is modelled, with its drives' delay and what its height scan misses;
    no other differences between robots, no observation noise, no pushes unless asked (+-1 m/s every 10 s); reset
    noise stays on. On a map, robots start on all levels alike, and no farther than 1 m from a tile's middle in x and
    y, so that policies are compared from the same ground whatever they were trained from.
    """
    cfg.curriculum.strategy = "uniform"
    cfg.noise.enabled = False
    cfg.randomisation = RandomisationConfig(
        friction=(1.0, 1.0),
        added_base_mass=(0.0, 0.0),
        push_interval=10.0 if push else 0.0,
        push_velocity=1.0,
    )
    cfg.init.random_first_episode = False
    cfg.init.base_position = min(cfg.init.base_position, 1.0)
    # commands are imposed and episodes ended from outside
    cfg.commands.resampling_time = cfg.episode_length = seconds + 1.0
    cfg.commands.heading = False
    return cfg


def sample_commands(
    num_envs: int, seconds: float, segment: float, limit: tuple[float, float, float], seed: int
) -> Tensor:
    """Commands [segments, N, 3], uniform in +- limit (m/s, m/s, rad/s).

    Drawn robot by robot from numpy's default generator, so that fewer robots get the same first commands and
    other programs can repeat them.
    """
    segments = max(1, int(np.ceil(seconds / segment - 1e-9)))
    sample = np.random.default_rng(seed).uniform(-1.0, 1.0, (num_envs, segments, 3)) * np.array(limit)
    return torch.tensor(sample.transpose(1, 0, 2).copy(), dtype=torch.float32)


@torch.no_grad()
def evaluate(
    env: LeggedEnv,
    act: Callable[[Tensor], Tensor],
    seconds: float = 20.0,
    segment: float = 5.0,
    limit: tuple[float, float, float] = (1.0, 1.0, 1.0),
    seed: int = 1,
) -> Evaluation:
    """Drive every robot of an environment made from `evaluation_config`.

    Args:
        env: the environment; it is reset.
        act: deterministic policy, observations [N, O] -> actions [N, A]; if it has a method `reset(mask)`, that
            is told whose episodes ended (bool, [N]; nothing for everyone's).
        seconds: length of the evaluation, s.
        segment: time between commands, s.
        limit: largest command, m/s, m/s, rad/s.
        seed: seed of commands and of the reset.
    """
    n, dt, device = env.num_envs, env.step_dt, env.device
    commands = sample_commands(n, seconds, segment, limit, seed).to(device)
    steps, per_segment = round(seconds / dt), round(segment / dt)
    env.reset(seed=seed)
    forget = getattr(act, "reset", lambda mask=None: None)
    forget()
    lin_errors, ang_errors = torch.zeros(steps, n, device=device), torch.zeros(steps, n, device=device)
    alive = torch.ones(n, device=device)
    feet = len(env.cfg.robot.feet)
    down, landings, swings, slip = (torch.zeros(feet, device=device) for _ in range(4))
    air = torch.zeros(n, feet, device=device)
    work, distance = torch.zeros(n, device=device), torch.zeros(n, device=device)
    moving_steps, alive_steps, collisions, stance = (torch.zeros((), device=device) for _ in range(4))
    at = torch.zeros(1, dtype=torch.int64, device=device)

    def step() -> None:
        command = commands.index_select(0, at // per_segment).squeeze(0)
        obs = env.set_commands(command)  # in every step: a robot that left the map drew another one
        obs, _, terminated, truncated, _ = env.step(act(obs["policy"]))
        forget(terminated | truncated)
        alive.mul_(~terminated)
        state = env.state
        error = torch.where(
            alive.unsqueeze(1) > 0, command[:, :2] - state.base_lin_vel[:, :2], command[:, :2]
        )
        lin_errors.index_copy_(0, at, error.norm(dim=1).unsqueeze(0))
        turning = (command[:, 2] - alive * state.base_ang_vel[:, 2]).abs()
        ang_errors.index_copy_(0, at, turning.unsqueeze(0))

        contact = state.foot_contact.float()
        moving = alive * (command[:, :2].norm(dim=1) > MOVING)
        landed = state.first_contact.float() * moving.unsqueeze(1)
        air.add_(dt)
        down.add_(moving @ contact)
        landings.add_(landed.sum(0))
        swings.add_((landed * air).sum(0))
        air.mul_(1.0 - contact)
        # without the contact filter, which counts a foot as down for a step after it left
        loaded = (state.contact_force[:, state.feet, 2] > 1.0) * moving.unsqueeze(1)
        slip.add_((state.foot_vel[..., :2].norm(dim=-1) * loaded).sum(0))
        stance.add_(loaded.sum())
        moving_steps.add_(moving.sum())
        alive_steps.add_(alive.sum())
        touching = state.contact_force[:, state.penalised].square().sum(-1) > 0.01
        collisions.add_((touching.any(1) * alive).sum())
        work.add_(alive * (state.joint_torque * state.joint_vel).abs().sum(1) * dt)
        distance.add_(alive * state.base_lin_vel[:, :2].norm(dim=1) * dt)
        at.add_(1)

    repeat(step, steps, device, env.generator)
    settled = torch.arange(steps) % per_segment >= round(SETTLING / dt)
    settled |= not settled.any()  # commands shorter than the settling time: nothing to leave out
    weight = env.engine.total_mass * 9.81
    moving_time = moving_steps.clamp(min=1.0)
    return Evaluation(
        lin_vel_error=lin_errors.mean().item(),
        lin_vel_error_p95=_percentile(lin_errors, 0.95),
        lin_vel_error_settled=lin_errors[settled].mean().item(),
        ang_vel_error=ang_errors.mean().item(),
        ang_vel_error_p95=_percentile(ang_errors, 0.95),
        ang_vel_error_settled=ang_errors[settled].mean().item(),
        falls=1.0 - alive.mean().item(),
        cost_of_transport=(work.sum() / (weight * distance).sum().clamp(min=1e-6)).item(),
        foot_slip=(slip.sum() / stance.clamp(min=1.0)).item(),
        air_time=(swings.sum() / landings.sum().clamp(min=1.0)).item(),
        duty_factor=(down / moving_time).tolist(),
        touchdowns=(landings / (moving_time * dt)).tolist(),
        collisions=(collisions / alive_steps.clamp(min=1.0)).item(),
        robots=n,
        seconds=seconds,
    )


def _percentile(values: Tensor, q: float) -> float:
    return float(np.quantile(values.cpu().numpy(), q))
