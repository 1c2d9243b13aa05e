"""A series-elastic joint drive, and logs of it: something to fit actuator networks to without a robot.

A motor with gears drives a joint through a spring. The drive controls the joint's position by PD, which asks for a
torque, and the spring's torque by its deflection:

    asked    = clip(stiffness (target(t - delay) - q) - damping q', +-max_torque)
    motor    = asked + torque_gain (asked - spring) - deflection_damping (r' - q'),
               within +-max_torque and the line stall_torque (+-1 - r' / no_load_speed)
    spring   = spring_stiffness (r - q) + spring_damping (r' - q')
    rotor_inertia r'' = motor - spring - coulomb tanh(r' / 0.02) - viscous r'
    load inertia  q'' = spring + load

r and q are the angles of rotor (behind the gears) and joint. Torque in the logs is the spring's, which is what acts
on the joint. Values are of the order of a drive for a 50 kg robot; they are chosen, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("sweep", "steps", "random", "walking", "sines")
"""Excitations: sweeps of frequency, random steps, a new target every 20 ms, gaits with stance, sums of sines."""


@dataclass
class DriveModel:
    """Constants of the drive, at the joint."""

    stiffness: float = 80.0
    """Position gain, N m/rad."""
    damping: float = 2.0
    """Velocity gain, N m s/rad."""
    max_torque: float = 80.0
    """Limit of the asked torque and of the current, N m."""
    delay: float = 0.004
    """Time from sending a target to its use, s."""
    torque_gain: float = 4.0
    deflection_damping: float = 20.0
    """N m s/rad."""
    stall_torque: float = 150.0
    """N m."""
    no_load_speed: float = 15.0
    """rad/s."""
    spring_stiffness: float = 600.0
    """N m/rad."""
    spring_damping: float = 2.0
    """N m s/rad."""
    rotor_inertia: float = 0.1
    """kg m^2, times the gear ratio squared."""
    coulomb: float = 3.0
    """Dry friction, N m."""
    viscous: float = 0.5
    """N m s/rad."""


@dataclass
class DriveLogs:
    """Recordings of S drives at T moments; the three quantities belong to the same moment."""

    values: Tensor
    """Target sent to the drive - joint angle (rad), joint velocity (rad/s), torque on the joint (N m), [3, S, T]."""
    timestep: float = 0.005
    """Time between two samples, s."""

    @property
    def inputs(self) -> Tensor:
        """Position error and velocity, [2, S, T]."""
        return self.values[:2]

    @property
    def torque(self) -> Tensor:
        """N m, [S, T]."""
        return self.values[2]


def simulate(
    kind: str,
    num_drives: int,
    seconds: float,
    seed: int,
    drive: DriveModel | None = None,
    timestep: float = 0.005,
    substeps: int = 20,
) -> DriveLogs:
    """Logs of drives under one kind of excitation, each with a load of its own that moves it as well.

    Args:
        kind: one of `KINDS`.
        num_drives: number of drives S.
        seconds: length of the recordings.
        seed: of targets and loads.
        drive: its constants.
        timestep: time between samples, s.
        substeps: steps of integration (semi-implicit Euler) per sample.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown excitation {kind!r}; choose from {', '.join(KINDS)}")
    drive, random = drive or DriveModel(), torch.Generator().manual_seed(seed)
    samples, dt = round(seconds / timestep), timestep / substeps
    target = _targets(kind, num_drives, samples, timestep, random)
    load = _Load(kind, num_drives, samples, timestep, random)
    late = round(drive.delay / dt)
    q = target[:, 0].clone()
    rotor, speed, rotor_speed = q.clone(), torch.zeros_like(q), torch.zeros_like(q)
    logs = torch.zeros(3, num_drives, samples)
    for step in range(samples * substeps):
        sample = step // substeps
        spring = drive.spring_stiffness * (rotor - q) + drive.spring_damping * (rotor_speed - speed)
        if step % substeps == 0:
            logs[:, :, sample] = torch.stack((target[:, sample] - q, speed, spring))
        aim = target[:, max(step - late, 0) // substeps]
        asked = drive.stiffness * (aim - q) - drive.damping * speed
        asked = asked.clamp(-drive.max_torque, drive.max_torque)
        motor = (
            asked + drive.torque_gain * (asked - spring) - drive.deflection_damping * (rotor_speed - speed)
        )
        back = rotor_speed * (drive.stall_torque / drive.no_load_speed)
        motor = motor.clamp(-drive.stall_torque - back, drive.stall_torque - back)
        motor = motor.clamp(-drive.max_torque, drive.max_torque)
        friction = drive.coulomb * torch.tanh(rotor_speed / 0.02) + drive.viscous * rotor_speed
        rotor_speed = rotor_speed + dt / drive.rotor_inertia * (motor - spring - friction)
        rotor = rotor + dt * rotor_speed
        speed = speed + dt / load.inertia * (spring + load.torque(sample, q, speed))
        q = q + dt * speed
    return DriveLogs(logs, timestep)


class _Load:
    """What hangs on the joints: inertia, weight, outside torques, and now and then a hold that moves."""

    def __init__(self, kind: str, drives: int, samples: int, timestep: float, random: torch.Generator):
        self.inertia = 0.04 * 40.0 ** _uniform((drives,), random, 0.0, 1.0)
        """0.04 to 1.6 kg m^2: a shank in the air, to the body above a standing leg."""
        self._weight = _uniform((drives,), random, -20.0, 20.0)
        self._pushes = 8.0 * _held(drives, samples, 0.3, timestep, random)
        time = torch.arange(samples) * timestep
        rate, phase = (_uniform((drives, 1), random, *bounds) for bounds in ((0.8, 2.5), (0.0, 1.0)))
        stance = (rate * time + phase) % 1.0 < (0.6 if kind == "walking" else 0.3)
        amplitude = _uniform((drives, 1), random, 0.0, 0.4)
        self._held = stance * _uniform((drives, 1), random, 0.0, 800.0)  # N m/rad
        self._place = amplitude * torch.sin(2 * torch.pi * (rate * time + phase))

    def torque(self, sample: int, q: Tensor, speed: Tensor) -> Tensor:
        hold = self._held[:, sample]
        torque = self._weight * torch.cos(q) + self._pushes[:, sample]
        return torque + hold * (self._place[:, sample] - q - 0.03 * speed)


def _targets(kind: str, drives: int, samples: int, timestep: float, random: torch.Generator) -> Tensor:
    """Angles sent to the drives, rad, [S, T]."""
    time = torch.arange(samples) * timestep
    column = (drives, 1)
    amplitude = 0.05 * 16.0 ** _uniform(column, random, 0.0, 1.0)
    if kind == "sweep":
        low, high = _uniform(column, random, 0.2, 1.0), _uniform(column, random, 3.0, 12.0)
        turns = time * (low + 0.5 * (high - low) * time / time[-1])
        return amplitude * torch.sin(2 * torch.pi * turns)
    if kind == "steps":
        return amplitude * _held(drives, samples, 0.25, timestep, random)
    if kind == "random":
        return 0.6 * amplitude * _held(drives, samples, 0.02, timestep, random)
    rates = _uniform((drives, 1, 3), random, 0.3, 5.0)
    if kind == "walking":
        rates = _uniform((drives, 1, 1), random, 0.8, 2.5) * torch.tensor([1.0, 2.0, 3.0])
    phases = _uniform((drives, 1, 3), random, 0.0, 2 * torch.pi)
    shares = _uniform((drives, 1, 3), random, 0.1, 0.6)
    moment = time
    if kind == "walking":  # a policy's targets: held for 20 ms, and never quite the same
        moment = torch.floor(time / 0.02) * 0.02
    motion = (shares * torch.sin(2 * torch.pi * rates * moment[None, :, None] + phases)).sum(2)
    noise = 0.1 * _held(drives, samples, 0.02, timestep, random) if kind == "walking" else 0.0
    return amplitude * (motion + noise)


def _held(drives: int, samples: int, seconds: float, timestep: float, random: torch.Generator) -> Tensor:
    """Normal numbers [S, T], new ones after `seconds` on average (exactly, if that is a policy step)."""
    every = max(round(seconds / timestep), 1)
    values = torch.randn(drives, samples, generator=random)
    if every <= 4:
        return values.repeat_interleave(every, 1)[:, :samples]
    change = torch.rand(drives, samples, generator=random) < 1.0 / every
    last = torch.where(change, torch.arange(samples), 0).cummax(1).values
    return values.gather(1, last)


def _uniform(shape: tuple[int, ...], random: torch.Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)
