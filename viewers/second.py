"""The second simulator on the page, in the window and in a video: what `deploy/` drives, drawn like everything else.

Nothing here knows `deploy/`: the command hands its robots over.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from physics.scene import build_scene
from robots.config import RobotConfig
from terrains.ground import Ground, HeightField, Plane
from viewers import native
from viewers.anyhow import film_anyhow
from viewers.recording import CONTACT_FORCE, Recording
from viewers.scenes import walk
from viewers.shown import Looked, Measured, blend, spread
from viewers.web.serving import serve
from viewers.web.settings import PLANE, Settings

MOST_ROBOTS = 16
"""They are computed one after another."""
SIZE = (1280, 720)
"""Of a video, pixels."""
_THRESHOLD = 0.75
"""Slope from which boxes have walls, where an older export does not say."""


def robot_config(facts: dict[str, Any], mjcf: Path) -> RobotConfig:
    """What drawing must know of a robot, from `policy.json` and its MJCF."""
    joints = [re.escape(name) for name in facts["joint_names"]]
    feet = tuple(facts.get("feet", ()))
    return RobotConfig(
        name=facts.get("robot", mjcf.stem),
        mjcf=str(mjcf.resolve()),
        init_height=facts["init_height"],
        default_joint_pos=dict(zip(joints, facts["default_joint_pos"], strict=True)) | {".*": 0.0},
        stiffness=dict(zip(joints, facts["stiffness"], strict=True)) | {".*": 0.0},
        damping=dict(zip(joints, facts["damping"], strict=True)) | {".*": 0.0},
        effort_limit=dict(zip(joints, facts["effort_limit"], strict=True)) | {".*": 1.0},
        velocity_limit={".*": 100.0},
        feet=feet,
        contact_groups={foot: (re.escape(foot),) for foot in feet},
        penalised_contacts=(),
        fatal_contacts=(),
    )


def ground_of(course: Any, facts: dict[str, Any]) -> Ground:
    """A course of `deploy.ground` to draw; its boxes' risers are walls. A plane for None."""
    if course is None:
        return Plane()
    field = course.field
    threshold = facts["terrain"].get("slope_threshold", _THRESHOLD) if field.boxes else 0.0
    return HeightField.centred(field.heights, field.cell, threshold)


Build = Callable[[str, float, int, int], tuple[Any, Path]]
"""Shape of terrain (empty for what it began with), its difficulty, number of robots and seed -> a
`deploy.steered.Steered` and its MJCF; ValueError if it cannot be had."""


@dataclass
class SecondPolicy:
    """An exported policy, not yet in a simulation."""

    build: Build
    """What makes its robots."""
    plane: str
    """What the place is called where no shape is chosen."""

    def simulate(self, settings: Settings, device: str, num_threads: int, seed: int) -> SecondSimulation:
        """Robots that walk by it, on the CPU, one after another."""
        if settings.robots > MOST_ROBOTS:
            raise ValueError(f"the second simulator shows 1 to {MOST_ROBOTS} robots, not {settings.robots}")
        shape = "" if settings.terrain == PLANE else settings.terrain
        walkers, mjcf = self.build(shape, settings.difficulty, settings.robots, seed)
        place = f"{shape} {settings.difficulty:g}" if shape else self.plane
        return SecondSimulation(walkers, mjcf, place, settings)


class SecondSimulation:
    """Robots of `deploy.steered` as viewers ask for them, see `viewers.shown.Shown`."""

    def __init__(self, walkers: Any, mjcf: Path, place: str, settings: Settings):
        """Take them over.

        Args:
            walkers: the `deploy.steered.Steered`.
            mjcf: the robot's.
            place: what they walk on, in words.
            settings: friction and payload.
        """
        facts = walkers.facts
        self._walkers, self._robot = walkers, robot_config(facts, mjcf)
        self.model = walkers.model
        self.ground, self.place = ground_of(walkers.course, facts), f"{place}, plain MuJoCo"
        self.robot_name, self.feet, self.height = self._robot.name, self._robot.feet, self._robot.init_height
        self.joint_names, self.step_dt = tuple(facts["joint_names"]), walkers.dt
        self.weight = walkers.robots[0].weight
        self._limits = np.array(facts["effort_limit"])
        self.offsets = np.zeros((len(walkers.robots), 3))
        if not isinstance(self.ground, HeightField):
            self.offsets = spread(len(walkers.robots), self.height)
        self.set_body(settings)
        self._before = self._now = self._look()

    @property
    def time(self) -> float:
        """Simulated, s."""
        return float(self._walkers.time)

    def scene(self) -> mujoco.MjModel:
        """See `Shown`."""
        return build_scene(self._robot, self.ground, visuals=True)

    def reset(self) -> None:
        """All robots start anew."""
        self._walkers.reset()
        self._before = self._now = self._look()

    def step(self) -> None:
        """One policy step of all robots."""
        ended = self._walkers.step()
        self._before, self._now = self._now, self._look()
        for before, now in zip(self._before, self._now, strict=True):
            before[ended] = now[ended]  # nobody flies from where it fell to its new start

    def _look(self) -> Looked:
        data = [robot.data for robot in self._walkers.robots]
        positions = np.array([each.xpos for each in data]) + self.offsets[:, None]
        qpos = np.array([each.qpos for each in data])
        qpos[:, :3] += self.offsets
        return positions, np.array([each.xquat for each in data]), qpos

    def poses(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """See `Shown`."""
        return blend(self._before, self._now, share)[:2]

    def qpos(self, share: float) -> np.ndarray:
        """See `Shown`."""
        return blend(self._before, self._now, share)[2]

    def command(self, command: tuple[float, float, float], robot: int | None = None) -> None:
        """See `Shown`."""
        self._walkers.commands[slice(None) if robot is None else robot] = command

    def set_body(self, settings: Settings) -> None:
        """Friction and payload, at once."""
        self._walkers.set_body(settings.friction, settings.payload)

    def push(self, robots: list[int], velocity: tuple[float, float]) -> None:
        """See `Shown`."""
        for robot in robots:
            self._walkers.push(robot, velocity)

    def heading(self, robot: int) -> float:
        """Yaw of a robot, rad."""
        return float(self._walkers.robots[robot].yaw)

    def measure(self, robot: int) -> Measured:
        """What a robot does now."""
        walkers = self._walkers
        return Measured(
            time=self.time,
            command=walkers.commands[robot].copy(),
            velocity=walkers.velocity(robot),
            contact=walkers.feet(robot)[1][:, 2] > CONTACT_FORCE,
            effort=walkers.robots[robot].data.actuator_force / self._limits,
            value=math.nan,  # an export has no critic
        )

    def scan_points(self, robot: int) -> np.ndarray:
        """Points of the ground that the policy of a robot sees, world frame, m, [P, 3]."""
        return np.asarray(self._walkers.scan_points(robot)) + self.offsets[robot]

    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Shown`."""
        found = [self._walkers.feet(i) for i in range(len(self.offsets))]
        return np.array([where for where, _ in found]) + self.offsets[:, None], np.array(
            [f for _, f in found]
        )


class Notes:
    """What a video needs of an episode, taken down after each of its steps."""

    def __init__(self, facts: dict[str, Any], mjcf: Path, course: Any):
        """Nothing yet; arguments as above."""
        self._facts, self._robot, self._ground = facts, robot_config(facts, mjcf), ground_of(course, facts)
        self._steps: list[dict[str, np.ndarray]] = []

    def __call__(self, robot: Any) -> None:
        """Look at a `deploy.robot.Robot`; what is not finite any more cannot be drawn."""
        model, data = robot.model, robot.data
        if not np.isfinite(data.qpos).all():
            return
        hinges = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE)
        driven = [
            int(np.flatnonzero(hinges == model.joint(name).id)[0]) for name in self._facts["joint_names"]
        ]
        target, torque = np.zeros((2, len(hinges)))
        target[driven], torque[driven] = data.ctrl, data.actuator_force
        self._names = tuple(model.joint(i).name for i in hinges)
        self._limits = np.ones(len(hinges))
        self._limits[driven] = self._facts["effort_limit"]
        self._steps.append(
            {
                "command": robot.command.copy(),
                "base_pos": robot.base_pos.copy(),
                "base_quat": robot.base_quat.copy(),
                "base_lin_vel": robot.rotation.T @ robot.base_lin_vel,
                "base_ang_vel": robot.base_ang_vel.copy(),
                "joint_pos": data.qpos[model.jnt_qposadr[hinges]],
                "joint_target": target,
                "joint_torque": torque,
                "foot_contact": np.isin(
                    [model.geom(foot).id for foot in self._robot.feet], data.contact.geom
                ),
            }
        )

    def recording(self) -> Recording:
        """All steps of one robot; ValueError if there were none."""
        if not self._steps:
            raise ValueError("--video: the robot's state is not finite from the first step on")
        stacked = {name: np.stack([step[name] for step in self._steps]) for name in self._steps[0]}
        command = stacked.pop("command")
        return Recording(
            robot=self._robot,
            joint_names=self._names,
            step_dt=self._facts["timestep"] * self._facts["decimation"],
            effort_limits=self._limits,
            command=command,
            ground=self._ground,
            fell=np.zeros((len(command), 1), dtype=bool),  # the episode ends with a fall
            **{name: value[:, None] for name, value in stacked.items()},
        )


def film_notes(notes: Notes, title: str, path: Path) -> None:
    """Write the video of an episode, with words that begin with a title."""
    recording = notes.recording()
    film_anyhow([[walk(recording, title)]], recording, path, SIZE, 25.0)


def show_second(flags: argparse.Namespace, builds: Mapping[str, Build], first: str) -> None:
    """Show robots in the browser or in MuJoCo's window, as `flags.viewer` says, until Ctrl-C or for some seconds.

    Args:
        flags: of the command, see `deploy.flags`.
        builds: policies that can be chosen.
        first: the one to begin with.
    """
    plane = flags.heights.name if flags.heights else PLANE
    policies = {name: partial(SecondPolicy, build, plane) for name, build in builds.items()}
    settings = Settings(first, flags.terrain or PLANE, flags.difficulty or 0.0, 1)
    if flags.viewer == "native":
        native.check_display()
        native.show(policies[first]().simulate(settings, "cpu", 1, flags.seed), seconds=flags.seconds)
        return
    host, port = flags.host or "127.0.0.1", 8080 if flags.port is None else flags.port
    serve(settings, policies, host, port, flags.seconds, seed=flags.seed)
