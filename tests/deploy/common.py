"""Small policies and their exports, and an uneven map."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from algorithms import checkpoint
from algorithms.trainer import make_policy
from deploy.robot import Robot
from envs.legged_env import LeggedEnv
from robots import ANYMAL_C
from runs.config import default_config, save_config
from runs.export import export_run
from runs.folders import open_run
from terrains.ground import HeightField

MJCF = ANYMAL_C.mjcf_path


def nominal_env() -> LeggedEnv:
    """One nominal robot that keeps its first command."""
    cfg = default_config("anymal_c_flat").env
    cfg.noise.enabled = False
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.randomisation.push_interval = 0.0
    return LeggedEnv(cfg, 1, "mujoco", num_threads=1)


def export_flat(env: LeggedEnv, folder: Path) -> None:
    """Make the folder a run with a small random policy that moves its legs, and its export."""
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(folder / "model_1.pt", content)
    export_run(open_run(load_run=str(folder)), env, folder / "exported")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change `policy.json`."""
    facts = json.loads((folder / "policy.json").read_text())
    change(facts)
    (folder / "policy.json").write_text(json.dumps(facts))


def edit_mjcf(path: Path, change: Callable[[ElementTree.Element], None]) -> Path:
    """A changed copy of the robot's MJCF."""
    root = ElementTree.fromstring(mujoco.MjSpec.from_file(str(MJCF)).to_xml())  # without includes
    change(root)
    ElementTree.ElementTree(root).write(path)
    return path


def base_of(root: ElementTree.Element) -> ElementTree.Element:
    base = root.find("worldbody/body")
    assert base is not None
    return base


def bumps() -> np.ndarray:
    """An uneven map that looks different from every side, m, [61, 41]."""
    x, y = np.meshgrid(np.arange(61), np.arange(41), indexing="ij")
    return np.random.default_rng(0).uniform(0.0, 0.05, (61, 41)) + 0.004 * x - 0.002 * y + 0.2 * (x > 40)


def rough_env(lookup: str) -> LeggedEnv:
    """One nominal robot on the bumps that keeps its first command."""
    cfg = default_config("anymal_c_rough").env
    cfg.noise.enabled = False
    cfg.randomisation.friction = (1.0, 1.0)
    cfg.randomisation.added_base_mass = (0.0, 0.0)
    cfg.randomisation.push_interval = 0.0
    cfg.commands.heading = False
    cfg.init.yaw = np.pi
    cfg.scan.lookup = lookup  # type: ignore[assignment]
    return LeggedEnv(cfg, 1, "mujoco", num_threads=1, ground=HeightField.centred(bumps(), 0.1))


def export_rough(env: LeggedEnv, folder: Path) -> Path:
    """Export of a small random policy; returns its folder."""
    cfg = default_config("anymal_c_rough")
    cfg.env = env.cfg
    cfg.agent.policy.actor_hidden = cfg.agent.policy.critic_hidden = (16, 8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, folder / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(folder / "model_1.pt", content)
    return export_run(open_run(load_run=str(folder)), env, folder / "exported")


def put(robot: Robot, env: LeggedEnv) -> None:
    """Bring the robot into the environment's state."""
    engine = env.engine
    pose = torch.cat((engine.base_pos, engine.base_quat), 1)[0].double().numpy()
    velocity = torch.cat((engine.base_lin_vel, engine.base_ang_vel), 1)[0].double().numpy()
    robot.place(pose, velocity, engine.joint_pos[0].double().numpy(), engine.joint_vel[0].double().numpy())
    robot.command, robot.action = env.command[0].double().numpy(), env.action[0].double().numpy()
