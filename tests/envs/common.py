"""Small environments, and an engine in between that a test can listen to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from envs import EnvConfig, LeggedEnv, get_task
from envs import observations as obs
from envs.config import ObservationTerm
from terrains import TerrainConfig


def reference() -> EnvConfig:
    """The flat task with the published values."""
    return get_task("anymal_c_flat").recipe("reference").env()


def calm() -> EnvConfig:
    """The same without noise, pushes, differences between robots, and random first episodes."""
    cfg = reference()
    cfg.noise.enabled = False
    cfg.randomisation.push_interval = 0.0
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.init.random_first_episode = False
    return cfg


def lively() -> EnvConfig:
    """Everything that can happen happens within thirty steps: pushes, new commands, time-outs, falls."""
    cfg = reference()
    cfg.commands.resampling_time = 0.1
    cfg.commands.heading = True
    cfg.randomisation.push_interval = 0.2
    cfg.episode_length = 0.4
    return cfg


def varied() -> EnvConfig:
    """The same, and everything that can be randomised is, anew in each episode."""
    cfg = lively()
    random = cfg.randomisation
    random.redraw = "reset"
    random.base_com_shift = (0.05, 0.03, 0.02)
    random.stiffness_factor = random.damping_factor = random.armature_factor = (0.8, 1.3)
    random.added_joint_damping, random.added_friction_loss = (0.0, 0.2), (0.1, 0.5)
    random.encoder_offset, random.gravity_tilt = 0.03, 0.05
    random.push_ang_vel = 0.5
    random.push_force, random.push_force_duration, random.push_force_interval = 80.0, 0.06, 0.2
    return cfg


def rugged() -> EnvConfig:
    """All that on a map of tiles, which robots see late and with holes, under the curriculum with most memory."""
    cfg = varied()
    cfg.terrain = TerrainConfig(
        type="tiles",
        proportions={"stairs_up": 0.5, "obstacles": 0.25, "random_rough": 0.25},
        levels=3,
        columns=4,
        tile_size=4.0,
        border=3.0,
    )
    cfg.curriculum.strategy = "progress"
    cfg.scan.delay, cfg.scan.dropout = 0.06, 0.1
    cfg.observations["height_scan"] = ObservationTerm(obs.height_scan, (5.0,), 0.1, "scan")
    return cfg


def make(
    cfg: EnvConfig,
    num_envs: int = 8,
    seed: int = 1,
    num_threads: int = 1,
    engine: str = "auto",
    device: str = "cpu",
) -> LeggedEnv:
    """An environment after its reset."""
    env = LeggedEnv(cfg, num_envs, engine, device, num_threads, seed)
    env.reset()
    return env


def random_actions(env: LeggedEnv, steps: int, seed: int = 0, spread: float = 0.5) -> Tensor:
    """Actions [steps, N, A]."""
    random = torch.Generator().manual_seed(seed)
    return spread * torch.randn(steps, env.num_envs, env.num_actions, generator=random)


def to_base(quat: Tensor, vector: Tensor) -> np.ndarray:
    """World vectors [N, 3] in the frames of quaternions [N, 4], by MuJoCo's rotation matrices, float64."""
    matrix, rows = np.zeros(9), []
    for q, v in zip(quat.double().numpy(), vector.double().numpy(), strict=True):
        mujoco.mju_quat2Mat(matrix, q)
        rows.append(matrix.reshape(3, 3).T @ v)
    return np.array(rows)


def expected_obs(env: LeggedEnv) -> np.ndarray:
    """The flat task's observation without noise, from the engine's tensors and the published scales."""
    engine = env.engine
    down = torch.tensor([0.0, 0.0, -1.0]).expand(env.num_envs, 3)
    columns = (
        to_base(engine.base_quat, engine.base_lin_vel) * 2.0,
        engine.base_ang_vel * 0.25,
        to_base(engine.base_quat, down),
        env.command * torch.tensor([2.0, 2.0, 0.25]),
        engine.joint_pos - torch.tensor([0.0, 0.4, -0.8] * 2 + [0.0, -0.4, 0.8] * 2),
        engine.joint_vel * 0.05,
        env.action,
    )
    return np.concatenate([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


class Listener:
    """Stands for an engine: passes everything on, and calls `hook(name, arguments)` before a method."""

    def __init__(self, engine: Any, hook: Callable[[str, tuple], None]):
        self._engine, self._hook = engine, hook

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if not callable(attribute):
            return attribute

        def method(*args: Any, **kwargs: Any) -> Any:
            self._hook(name, args)
            return attribute(*args, **kwargs)

        return method


def overturn(env: LeggedEnv, *rows: int) -> None:
    """Lay robots on their backs, at rest, so that the next step ends their episodes as falls."""
    engine, n = env.engine, env.num_envs
    mask = torch.zeros(n, dtype=torch.bool)
    mask[list(rows)] = True
    pos, quat = engine.base_pos.clone(), torch.zeros(n, 4)
    pos[:, 2], quat[:, 1] = 0.125, 1.0
    zero = torch.zeros(n, 3)
    angles = env.default_joint_pos.expand(n, -1)
    engine.write_state(mask, pos, quat, zero, zero, angles, torch.zeros_like(angles))
