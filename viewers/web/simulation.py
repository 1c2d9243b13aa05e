"""Robots that walk as a policy says: what the viewer in the browser shows and disturbs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from envs.config import EnvConfig
from envs.frames import yaw_of
from envs.legged_env import LeggedEnv
from evaluation.walking import evaluation_config
from physics.scene import build_scene
from terrains.ground import HeightField, Plane
from terrains.scan import HeightScan
from viewers.lanes import spread_starts
from viewers.recording import CONTACT_FORCE
from viewers.shown import Looked, Measured, blend, spread
from viewers.web.scene import body_poses
from viewers.web.settings import PLANE, Settings

_ROOM = 12.0
"""Level ground around a tile, m."""
_LONG = 3590.0
"""Length of an episode, s: an hour is the longest there is."""


@dataclass
class Player:
    """A policy that acts in an environment made for it."""

    act: Callable[[Tensor], Tensor]
    """Observations [N, O] -> actions [N, A]; its `reset(mask)`, if any, is told whose episodes ended."""
    value: Callable[[Tensor], Tensor] | None
    """The critic: its observations [N, C] -> values [N]; None if it cannot be asked for one moment alone."""


@dataclass
class Policy:
    """A trained policy, not yet in an environment."""

    cfg: EnvConfig
    """The task that it was trained on."""
    load: Callable[[LeggedEnv], Player]
    """Load it for an environment; ValueError if it does not fit."""

    def simulate(self, settings: Settings, device: str, num_threads: int, seed: int) -> Simulation:
        """See `Simulation`."""
        return Simulation(settings, self, device, num_threads, seed)


class Simulation:
    """N robots on one ground; all methods belong to one thread."""

    def __init__(self, settings: Settings, policy: Policy, device: str, num_threads: int, seed: int):
        """Build and reset it.

        Args:
            settings: how many robots on what, and how they differ from the model.
            policy: what they walk by.
            device: where tensors live.
            num_threads: threads of a CPU engine.
            seed: of starts.

        Raises:
            ValueError: settings that the task cannot have.
        """
        cfg = evaluation_config(copy.deepcopy(policy.cfg), _LONG)
        terrain = None
        if settings.terrain == PLANE:
            cfg.terrain.type = "plane"
            cfg.init.base_position = 0.0  # they are drawn side by side
        else:
            cfg.terrain.type, cfg.terrain.border = "tile", _ROOM
            cfg.init.base_position, cfg.init.yaw = 0.05, 0.05  # apart from one another, in lanes
            where = settings.terrain, settings.difficulty, cfg.terrain
            terrain = spread_starts(*where, settings.robots, cfg.robot.init_height)
        self.env = env = LeggedEnv(cfg, settings.robots, "auto", device, num_threads, seed, terrain=terrain)
        self.model = build_scene(cfg.robot, Plane(), visuals=True)
        self.ground, self.joint_names, self.step_dt = env.ground, env.joint_names, env.step_dt
        self.robot_name, self.feet, self.height = cfg.robot.name, cfg.robot.feet, cfg.robot.init_height
        self.place = PLANE if settings.terrain == PLANE else f"{settings.terrain} {settings.difficulty:g}"
        self.weight = float(env.engine.total_mass.mean() * env.engine.nominal["gravity"].norm())
        self._player = policy.load(env)
        self._seed = seed
        self._scan = HeightScan(cfg.scan, env.ground, env.device, num_threads)
        self.commands = torch.zeros(settings.robots, 3, device=env.device)
        """vx, vy (m/s) and yaw rate (rad/s) of each robot, [N, 3]."""
        flat = not isinstance(env.ground, HeightField)
        self.offsets = (1.0 if flat else 0.0) * spread(settings.robots, self.height)
        """What is added to positions where every robot has a world of its own, m, [N, 3]."""
        self.time = 0.0
        self._values = torch.full((settings.robots,), math.nan, device=env.device)
        self._before: Looked
        self._now: Looked
        self.set_body(settings)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """All robots start anew."""
        self.env.reset(seed=self._seed)
        self._forget(None)
        self.set_body(self._body)
        self._now = self._before = self._look()

    @torch.no_grad()
    def set_body(self, settings: Settings) -> None:
        """Friction and payload, at once."""
        self._body = settings
        env = self.env
        everyone = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        env.randomised["friction"].fill_(settings.friction)
        env.randomised["added_base_mass"].fill_(settings.payload)
        env.engine.set_params(
            everyone,
            friction=env.randomised["friction"],
            base_mass=env.engine.nominal["base_mass"] + env.randomised["added_base_mass"],
        )

    @torch.no_grad()
    def step(self) -> None:
        """One policy step of all robots."""
        env, player = self.env, self._player
        obs = env.set_commands(self.commands)
        actions = player.act(obs["policy"])
        if player.value is not None:
            self._values = player.value(obs["critic"])
        _, _, terminated, truncated, _ = env.step(actions)
        self.time += env.step_dt
        done = terminated | truncated
        self._forget(done)
        self._before, self._now = self._now, self._look()
        over = done.cpu().numpy()
        for before, now in zip(self._before, self._now, strict=True):
            before[over] = now[over]  # nobody flies from where it fell to its new start

    def _forget(self, mask: Tensor | None) -> None:
        forget = getattr(self._player.act, "reset", lambda mask=None: None)
        forget(mask)

    def _look(self) -> Looked:
        engine = self.env.engine
        base_pos, base_quat, joint_pos = (
            tensor.cpu().double().numpy() for tensor in (engine.base_pos, engine.base_quat, engine.joint_pos)
        )
        base_pos = base_pos + self.offsets
        bodies = body_poses(self.model, base_pos, base_quat, joint_pos)
        return *bodies, np.concatenate((base_pos, base_quat, joint_pos), axis=1)

    def scene(self) -> mujoco.MjModel:
        """See `Shown`."""
        return build_scene(self.env.cfg.robot, self.ground, visuals=True)

    def poses(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Bodies between the last two steps, `share` of the way from one to the other, as `body_poses` has them."""
        return blend(self._before, self._now, share)[:2]

    def qpos(self, share: float) -> np.ndarray:
        """The same as MuJoCo's positions, [N, nq]."""
        return blend(self._before, self._now, share)[2]

    def command(self, command: tuple[float, float, float], robot: int | None = None) -> None:
        """Give a command (vx, vy in m/s, yaw rate in rad/s) to one robot, or to all."""
        self.commands[slice(None) if robot is None else robot] = torch.tensor(
            command, device=self.commands.device
        )

    @torch.no_grad()
    def push(self, robots: list[int], velocity: tuple[float, float]) -> None:
        """Add a horizontal velocity (world frame, m/s) to the bases of some robots."""
        engine = self.env.engine
        mask = torch.zeros(self.env.num_envs, dtype=torch.bool, device=self.env.device)
        mask[robots] = True
        linear = engine.base_lin_vel.clone()
        linear[:, :2] += torch.tensor(velocity, device=linear.device)
        engine.set_base_velocity(mask, linear, engine.base_ang_vel.clone())

    def heading(self, robot: int) -> float:
        """Yaw of a robot, rad."""
        return float(yaw_of(self.env.engine.base_quat)[robot])

    def measure(self, robot: int) -> Measured:
        """What a robot does now."""
        env, state = self.env, self.env.state
        force = env.engine.contact_force[robot, state.feet, 2]
        velocity = torch.cat((state.base_lin_vel[robot, :2], state.base_ang_vel[robot, 2:]))
        return Measured(
            time=self.time,
            command=self.commands[robot].cpu().numpy().copy(),
            velocity=velocity.cpu().numpy().copy(),
            contact=(force > CONTACT_FORCE).cpu().numpy().copy(),
            effort=(env.engine.joint_torque[robot] / env.effort_limits).cpu().numpy().copy(),
            value=float(self._values[robot]),
        )

    def scan_points(self, robot: int) -> np.ndarray:
        """Points of the ground where a robot with a height scan looks, world frame, m, [P, 3]."""
        engine = self.env.engine
        yaw, points = yaw_of(engine.base_quat), self._scan.points
        heights = torch.zeros(self.env.num_envs, points.shape[1], device=engine.device)
        self._scan(engine.base_pos, yaw, torch.ones_like(yaw, dtype=torch.bool), heights)
        cos, sin = yaw[robot].cos(), yaw[robot].sin()
        forward, left = points
        x, y = cos * forward - sin * left, sin * forward + cos * left
        at = torch.stack((engine.base_pos[robot, 0] + x, engine.base_pos[robot, 1] + y, heights[robot]), -1)
        return at.cpu().numpy() + self.offsets[robot]

    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """Feet of all robots (world frame, m) and the forces of the ground on them (N), [N, F, 3] each."""
        engine, feet = self.env.engine, self.env.state.feet
        where = engine.foot_pos.cpu().numpy() + self.offsets[:, None]
        return where, engine.contact_force[:, feet].cpu().numpy().copy()
