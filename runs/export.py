"""A run's policy for use outside of this project: networks, and a JSON file with all that driving a robot takes."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from algorithms.export import (
    HIDDEN,
    INPUT,
    NEXT_HIDDEN,
    ONNX,
    OUTPUT,
    TORCHSCRIPT,
    ExportCheck,
    export_policy,
)
from envs.config import CommandConfig, ObservationTerm
from envs.legged_env import LeggedEnv
from envs.observations import height_scan
from physics.mjcf import load_mjcf
from physics.scene import contact_geoms
from robots.config import RobotConfig, match, matching
from runs.assumptions import assumptions
from runs.folders import Run, load_policy
from terrains.scan import SCAN_LEVEL, SCAN_LIMIT, ScanConfig

FORMAT = "trot-policy-1"
JSON = "policy.json"


def export_run(
    run: Run, env: LeggedEnv, folder: Path, files: tuple[str, ...] = (TORCHSCRIPT, ONNX, JSON)
) -> Path:
    """Write `policy.pt`, `policy.onnx` and `policy.json` of a run; returns the folder.

    All files are made and checked elsewhere first, so an export that fails leaves what was there.

    Args:
        run: the run.
        env: an environment of the run's task; it is only looked at.
        folder: where the files go; made if it is missing.
        files: those of the three that are kept.

    Raises:
        ValueError: the folder cannot be made, an observation term cannot be described, or a file does not act
            like the trained policy.
    """
    cfg = run.cfg.env
    if cfg.actuator in ("torque", "velocity"):
        raise ValueError(
            f"a policy for env.actuator {cfg.actuator} cannot be exported: policy.json describes joint targets"
        )
    policy = load_policy(run, env).to("cpu")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"folder {folder} cannot be made ({error.strerror})") from error
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        staging = Path(name)
        check = export_policy(policy, staging, cfg.clip_observations, cfg.control.clip_actions)
        (staging / JSON).write_text(_to_text(describe(run, env, check)))
        for file in files:
            os.replace(staging / file, folder / file)
    return folder


def describe(run: Run, env: LeggedEnv, check: ExportCheck) -> dict[str, Any]:
    """Everything that a program needs to drive the robot with the exported policy, as plain values."""
    cfg, metadata, memory = run.cfg.env, run.content["metadata"], ""
    robot, joints = cfg.robot, env.joint_names
    if run.cfg.agent.policy.recurrent != "none":
        memory = (
            f" The policy has a memory: '{HIDDEN}' [batch, S] is zeros at the start of an episode, then the last "
            f"'{NEXT_HIDDEN}'; the TorchScript module keeps it by itself until its reset() is called."
        )

    def per_joint(patterns: dict[str, float]) -> list[float]:
        return [float(match(patterns, joint)) for joint in joints]

    return {
        "format": FORMAT,
        "description": (
            f"Input '{INPUT}' [batch, {env.num_obs}]: the scaled observation, each value times its scale, "
            f"neither clipped nor normalised: the graph does that. Output '{OUTPUT}' "
            f"[batch, {env.num_actions}]: the action, clipped, in the order of joint_names. Joint target = "
            "default_joint_pos + action_scale * action, held for `decimation` physics steps; drive torque = "
            "stiffness * (target - position) - damping * velocity, limited to +-effort_limit, at every "
            "physics step. The previous action in the observation is the last output, zeros at the start."
            + memory
        ),
        "units": "SI: m, s, rad, N m, kg; stiffness N m/rad, damping N m s/rad, policy_rate Hz.",
        "robot": robot.name,
        "mjcf": robot.mjcf,  # in robots/, or an absolute path
        "joint_names": list(joints),
        "default_joint_pos": per_joint(robot.default_joint_pos),
        "stiffness": per_joint(robot.stiffness),
        "damping": per_joint(robot.damping),
        "effort_limit": per_joint(robot.effort_limit),
        "action_scale": cfg.control.action_scale,
        "clip_actions": cfg.control.clip_actions,
        "clip_observations": cfg.clip_observations,
        "timestep": cfg.sim.timestep,
        "decimation": cfg.sim.decimation,
        "policy_rate": round(1.0 / cfg.step_dt, 6),
        "observation_frame": (
            "The terms stand side by side in this order. Vectors are in the base frame (x forward, y left, "
            "z up); linear velocity is that of the base frame's origin; joint values follow joint_names; "
            "`scale` has one factor per column."
        ),
        "observations": [
            _observation(name, cfg.observations[name], columns, cfg.scan)
            for name, columns in env.obs_layout.items()
        ],
        "commands": {
            "description": (
                "Of the `command` term: vx, vy (m/s) and yaw rate (rad/s), base frame. To keep a heading, command "
                "the yaw rate heading_gain * (heading wanted - heading), between its `low` and `high`. These bound "
                "the commands of the training (where a curriculum widened them, at most that far)."
            ),
            "heading_gain": cfg.commands.heading_gain,
            **_command_bounds(cfg.commands),
        },
        "terrain": {
            "description": "Grid of heights for tests: tiles and their vertices as in training, parameters by shape.",
            "tile_size": cfg.terrain.tile_size,
            "cell": cfg.terrain.cell,
            "slope_threshold": cfg.terrain.slope_threshold,
            "parameters": cfg.terrain.parameters,
        },
        "init_height": robot.init_height,
        "reset": {
            "description": (
                "Base level at init_height, joints at rest at default_joint_pos times uniform joint_scale, within "
                "assumed.joint_pos_limits; linear (world frame) and angular (base frame) velocity uniform in "
                "+-base_velocity, horizontal position in +-base_position. On uneven ground the base is moved "
                "vertically until the robot is as far above it, where it is nearest to it, as on level ground."
            ),
            "joint_scale": list(cfg.init.joint_scale),
            "base_velocity": cfg.init.base_velocity,
            "base_position": cfg.init.base_position,
        },
        "fall": {
            "description": "The net contact force on the geoms of one of these groups exceeds `force`.",
            "geoms": _fatal_geoms(robot),
            "force": cfg.fatal_contact_force,
        },
        "feet": list(robot.feet),
        "assumed": assumptions(cfg, joints),
        "training": {
            "run": run.folder.name,
            "task": run.cfg.task,
            "recipe": metadata.get("recipe", run.cfg.recipe),
            "checkpoint": run.checkpoint_path.name,
            "iteration": run.content["iteration"],
            "engine": metadata.get("engine", ""),
            "seed": metadata.get("seed", run.cfg.seed),
        },
        "max_difference": check.max_difference,
        "golden": {
            "description": "The trained policy gives `action` for `observation` at the start of an episode.",
            "observation": check.observation.tolist(),
            "action": check.action.tolist(),
        },
    }


def _command_bounds(cfg: CommandConfig) -> dict[str, list[float]]:
    """Of vx, vy (m/s) and yaw rate (rad/s)."""
    (slow, fast), limit = cfg.lin_vel_x, cfg.max_lin_vel_x
    if cfg.curriculum:
        slow, fast = -limit if slow < 0.0 else slow, limit if fast > 0.0 else fast
    ranges = (slow, fast), cfg.lin_vel_y, cfg.ang_vel_yaw
    return {end: [float(each[i]) for each in ranges] for i, end in enumerate(("low", "high"))}


def _to_text(description: dict[str, Any]) -> str:
    """JSON with every list of plain values on one line."""
    text = json.dumps(description, indent=1, allow_nan=False)
    return re.sub(r"\[\n[^][{}]*\]", lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


def _observation(name: str, term: ObservationTerm, columns: int, scan: ScanConfig) -> dict[str, Any]:
    """Layout of one term; its meaning is the first line of its function's docstring, without the shape."""
    function, doc = getattr(term.func, "__name__", ""), (term.func.__doc__ or "").strip()
    if not function.isidentifier() or not doc:
        raise ValueError(
            f"observation {name!r} cannot be exported: its function needs a name and a docstring that says what it is"
        )
    scale = term.scale * (columns if len(term.scale) == 1 else 1)
    return {
        "name": name,
        "function": function,
        "description": doc.split("\n")[0].split(", [N")[0],
        "columns": columns,
        "scale": [float(factor) for factor in scale],
        **(_scan(scan) if term.func is height_scan else {}),
    }


def _scan(scan: ScanConfig) -> dict[str, Any]:
    """What makes the values of a height scan; delay and dropout belong to the training, as noise does."""
    x, y = ([round(value, 6) for value in axis] for axis in scan.points().tolist())
    vertices = {
        "minimum": "the lowest of the vertices (i, j), (i + 1, j) and (i, j + 1)",
        "bilinear": "interpolated between the vertices (i, j) to (i + 1, j + 1)",
    }
    return {
        "meaning": (
            "One value for each point: base z - offset - ground z at the point, within clip (m, before the scale). "
            "Points are forward (x) and left (y) of the base, m, turned with its heading alone, not its roll and "
            "pitch. The ground is a grid of heights, spaced by terrain.cell along world x and y; a point between "
            f"the vertices (i, j) and (i + 1, j + 1) reads {vertices[scan.lookup]}. Level ground is z = 0. Of two "
            "neighbours that rise more steeply than terrain.slope_threshold (0: none) the lower counts for both, "
            "along x and then along y: there stands a vertical wall."
        ),
        "points": {"x": x, "y": y},
        "offset": SCAN_LEVEL,
        "clip": [-SCAN_LIMIT, SCAN_LIMIT],
        "lookup": scan.lookup,
    }


def _fatal_geoms(robot: RobotConfig) -> dict[str, list[str]]:
    """Contact group -> names of its geoms, for the groups that end an episode."""
    geoms = [geom.name for geom in load_mjcf(robot)[0].geoms if geom.contype]
    groups = contact_geoms(robot, geoms)
    return {group: groups[group] for group in matching(robot.fatal_contacts, list(groups))}
