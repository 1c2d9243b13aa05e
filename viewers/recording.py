"""What robots did in one play-back: recorded first, so that video and plots can look ahead and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from envs.legged_env import LeggedEnv
from robots.config import RobotConfig
from terrains.ground import Ground, HeightField, Plane

CONTACT_FORCE = 1.0
"""A foot that pushes harder than this counts as down, N."""


@dataclass
class Recording:
    """T policy steps of N robots (A joints, F feet) that were given the same commands."""

    robot: RobotConfig
    joint_names: tuple[str, ...]
    step_dt: float
    """Duration of a policy step, s."""
    effort_limits: np.ndarray
    """N m, [A]."""
    command: np.ndarray
    """vx, vy (m/s) and yaw rate (rad/s) in force during each step, base frame, [T, 3]."""
    base_pos: np.ndarray
    """World frame, m, at the end of each step, [T, N, 3]."""
    base_quat: np.ndarray
    """Base to world, w x y z, [T, N, 4]."""
    base_lin_vel: np.ndarray
    """Base frame, m/s, [T, N, 3]."""
    base_ang_vel: np.ndarray
    """Base frame, rad/s, [T, N, 3]."""
    joint_pos: np.ndarray
    """rad, [T, N, A]."""
    joint_target: np.ndarray
    """What the policy asked for, rad, [T, N, A]."""
    joint_torque: np.ndarray
    """N m, at the last substep, [T, N, A]."""
    foot_contact: np.ndarray
    """Foot is down, bool, [T, N, F]."""
    fell: np.ndarray
    """Robot fell in this step; what is recorded of it is its new start, bool, [T, N]."""
    ground: Ground = field(default_factory=Plane)
    """What the robots walk on."""

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.command)

    @property
    def num_robots(self) -> int:
        """N."""
        return self.base_pos.shape[1]

    @property
    def time(self) -> np.ndarray:
        """End of each step, s, [T]."""
        return self.step_dt * np.arange(1, self.num_steps + 1)

    @property
    def velocity(self) -> np.ndarray:
        """Measured vx, vy (m/s) and yaw rate (rad/s), base frame, as commanded, [T, N, 3]."""
        return np.concatenate((self.base_lin_vel[..., :2], self.base_ang_vel[..., 2:]), axis=-1)

    def tracking_error(self) -> tuple[float, float]:
        """Mean distance to the commanded horizontal velocity (m/s) and yaw rate (rad/s)."""
        error = self.velocity - self.command[:, None]
        return float(np.linalg.norm(error[..., :2], axis=-1).mean()), float(np.abs(error[..., 2]).mean())


@torch.no_grad()
def record(env: LeggedEnv, policy: Callable[[Tensor], Tensor], commands: Tensor, seed: int) -> Recording:
    """Play a policy under given commands.

    Args:
        env: the environment, reset here; it must not resample commands or end episodes by itself.
        policy: observations [N, O] -> actions [N, A]; its method `reset(mask)`, if it has one, is told whose
            episodes ended (bool, [N]; nothing for everyone's).
        commands: vx, vy (m/s) and yaw rate (rad/s) of each step, for all robots, [T, 3].
        seed: seed of the starting states and pushes.
    """
    env.reset(seed=seed)
    forget = getattr(policy, "reset", lambda mask=None: None)
    forget()
    steps: list[dict[str, np.ndarray]] = []
    for command in commands.to(env.device):
        actions = policy(env.set_commands(command)["policy"])
        _, _, terminated, truncated, _ = env.step(actions)
        forget(terminated | truncated)
        steps.append(look(env) | {"fell": terminated.cpu().numpy().copy()})
    stacked = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
    return make_recording(env, commands.cpu().numpy(), stacked)


def look(env: LeggedEnv) -> dict[str, np.ndarray]:
    """Copies of what a `Recording` holds of each robot, as it is now, [N, ...]; whether it fell is left out."""
    engine, state = env.engine, env.state
    now = {
        "base_pos": engine.base_pos,
        "base_quat": engine.base_quat,
        "base_lin_vel": state.base_lin_vel,
        "base_ang_vel": state.base_ang_vel,
        "joint_pos": engine.joint_pos,
        "joint_target": env.default_joint_pos + env.cfg.control.action_scale * env.action,
        "joint_torque": engine.joint_torque,
        "foot_contact": engine.contact_force[:, state.feet, 2] > CONTACT_FORCE,
    }
    return {name: tensor.cpu().numpy().copy() for name, tensor in now.items()}


def make_recording(env: LeggedEnv, command: np.ndarray, steps: dict[str, np.ndarray]) -> Recording:
    """A recording of steps [T, N, ...], as `look` names them, under commands [T, 3]."""
    return Recording(
        robot=env.cfg.robot,
        joint_names=env.joint_names,
        step_dt=env.step_dt,
        effort_limits=env.effort_limits.cpu().numpy(),
        command=command,
        ground=env.ground,
        **steps,
    )


def formation(recording: Recording) -> np.ndarray:
    """Base positions in one world, m, [T, N, 3]: on a map as they are, else spread over a grid.

    Every robot of an environment without a map starts at the origin of its own world. One that fell goes on where
    it fell, on a map at its new start.
    """
    if isinstance(recording.ground, HeightField):
        return recording.base_pos
    spacing = 2.6 * recording.robot.init_height
    columns = ceil(sqrt(recording.num_robots))
    index = np.arange(recording.num_robots)
    slots = np.stack((-(index // columns), -(index % columns), 0 * index), axis=-1).astype(float)
    slots -= slots.mean(axis=0)
    jumps = np.diff(recording.base_pos, axis=0, prepend=recording.base_pos[:1])
    jumps[~recording.fell] = 0.0
    jumps[..., 2] = 0.0
    return recording.base_pos + spacing * slots - np.cumsum(jumps, axis=0)


@dataclass
class Camera:
    """One view; forward is (cos azimuth, sin azimuth) on the ground, tilted up by elevation (degrees)."""

    lookat: np.ndarray
    """Point in the middle of the picture, world frame, m, [3]."""
    distance: float
    """From that point, m."""
    azimuth: float = 215.0
    """The robots' fronts and left sides are seen when they head along x."""
    elevation: float = -20.0

    def axes(self) -> np.ndarray:
        """Right, up and forward, unit vectors, [3, 3]."""
        azimuth, elevation = np.radians((self.azimuth, self.elevation))
        forward = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        return np.stack((right, np.cross(right, forward), forward))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How far in front of the camera points [..., 3] lie, m."""
        return (points - self.lookat) @ self.axes()[2] + self.distance

    def sees(self, points: np.ndarray, margin: float | np.ndarray, aspect: float = 16 / 9) -> np.ndarray:
        """Whether points [..., 3] are in the picture, or less than `margin` (m; one, or one of each) outside."""
        right, up, forward = np.moveaxis((points - self.lookat) @ self.axes().T, -1, 0)
        half = np.maximum(forward + self.distance, 0.0) * np.tan(np.radians(FIELD_OF_VIEW / 2))
        inside = (np.abs(right) < aspect * half + margin) & (np.abs(up) < half + margin)
        return inside & (forward + self.distance > -margin)


FIELD_OF_VIEW = 36.0
"""Vertical, degrees."""


def follow(recording: Recording, positions: np.ndarray) -> list[Camera]:
    """A camera for each step that moves smoothly with the group.

    Args:
        recording: what is filmed.
        positions: where its robots are, from `formation`, m, [T, N, 3].
    """
    height = recording.robot.init_height
    centre = positions.mean(axis=1)
    radius = np.linalg.norm((positions - centre[:, None])[..., :2], axis=-1).max(axis=1) + 1.2 * height
    sigma = 0.6 / recording.step_dt
    centre, radius = smooth(centre, sigma), smooth(radius[:, None], 2.0 * sigma)[:, 0]
    if isinstance(recording.ground, HeightField):
        centre[:, 2] -= 0.15 * height  # the base's mean height, up and down with the ground
    else:
        centre[:, 2] = 0.75 * height
    # the group is wider than high on the screen, so its radius may fill more than the vertical field of view
    distances = 2.0 * height + 0.62 * radius / np.tan(np.radians(FIELD_OF_VIEW / 2))
    return [Camera(lookat, distance) for lookat, distance in zip(centre, distances, strict=True)]


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average over time of values [T, k]; sigma in steps."""
    reach = int(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=-1)


def frame_steps(recording: Recording, fps: float) -> np.ndarray:
    """Step shown in each frame of a video, int, [frames]."""
    count = max(1, round(recording.num_steps * recording.step_dt * fps))
    steps = np.round(np.arange(count) / (fps * recording.step_dt)).astype(int)
    return np.minimum(steps, recording.num_steps - 1)


def caption(recording: Recording, step: int) -> str:
    """The command in force, in words and numbers."""
    vx, vy, yaw = recording.command[step]
    return f"command  vx {vx:+.2f}  vy {vy:+.2f} m/s  yaw {yaw:+.2f} rad/s"
