"""Episodes of an exported policy in plain MuJoCo: following random commands, or crossing a terrain."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from deploy.added import NOTHING, Added
from deploy.ground import Course
from deploy.robot import Robot, load_policy, quiet

SEGMENT = 5.0  # s between commands
SPEED = 0.75  # m/s, forward over a terrain
DISTANCE = 4.0  # m from the start, beyond which it is crossed
SPREAD = 0.25  # m, half width of the starts

Record = TypeVar("Record", "Episodes", "Walks")
Watch = Callable[[Robot], None]
"""Looks at a robot after each of its steps, a fall's too."""


@dataclass
class Episodes:
    """What E episodes of T policy steps gave."""

    lin_error: np.ndarray
    """|v_xy* - v_xy|, m/s, [E, T]; |v_xy*| from a fall on."""
    ang_error: np.ndarray
    """|w_z* - w_z|, rad/s, [E, T]; |w_z*| from a fall on."""
    fell: np.ndarray
    """bool, [E]."""
    work: np.ndarray
    """Sum of |torque x joint velocity| x time until a fall, J, [E]."""
    path: np.ndarray
    """Horizontal path of the base until a fall, m, [E]."""


def sample_commands(episodes: int, seconds: float, seed: int) -> np.ndarray:
    """Commands (vx, vy in m/s, yaw rate in rad/s), uniform in +-1, [episodes, segments, 3]."""
    segments = max(1, math.ceil(seconds / SEGMENT - 1e-9))
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (episodes, segments, 3))


def drive(
    folder: Path,
    mjcf: Path,
    seconds: float,
    added: Added,
    commands: np.ndarray,
    seeds: list[list[int]],
    watch: Watch | None = None,
) -> Episodes:
    """Run one episode for each row of commands [E, segments, 3], its start and joints drawn from its seed."""
    facts, act = load_policy(folder)
    robot = Robot(facts, mjcf, added=added)
    steps, per_segment = round(seconds / robot.dt), round(SEGMENT / robot.dt)
    by_step = np.repeat(commands, per_segment, axis=1)[:, :steps]
    lin_error, ang_error = np.linalg.norm(by_step[..., :2], axis=2), np.abs(by_step[..., 2])
    fell = np.zeros(len(commands), dtype=bool)
    work, path = np.zeros(len(commands)), np.zeros(len(commands))
    with quiet():
        for i, seed in enumerate(seeds):
            act.reset()
            robot.vary(_of_joints(seed))
            robot.reset(np.random.default_rng(seed))
            for step, command in enumerate(by_step[i]):
                robot.command = command
                fell[i], energy, distance = robot.step(act(robot.observe()))
                if watch:
                    watch(robot)
                if fell[i]:
                    break
                velocity = robot.rotation.T @ robot.base_lin_vel
                lin_error[i, step] = np.linalg.norm(command[:2] - velocity[:2])
                ang_error[i, step] = abs(command[2] - robot.base_ang_vel[2])
                work[i] += energy
                path[i] += distance
    return Episodes(lin_error, ang_error, fell, work, path)


@dataclass
class Walks:
    """What E robots did that were told to walk forward, until they got far enough, fell or ran out of time."""

    time: np.ndarray
    """When they got there, s, [E]; infinite if they did not."""
    fell: np.ndarray
    """bool, [E]."""
    lin_error: np.ndarray
    """Mean |v_xy* - v_xy|, m/s, [E]."""
    work: np.ndarray
    """Sum of |torque x joint velocity| x time, J, [E]."""
    path: np.ndarray
    """Horizontal path of the base, m, [E]."""


def walk(
    folder: Path,
    mjcf: Path,
    course: Course,
    contact_time: float,
    seconds: float,
    added: Added,
    starts: np.ndarray,
    seeds: list[list[int]],
    watch: Watch | None = None,
) -> Walks:
    """The success test of Rudin et al. 2021 (section 4.2), one robot for each of `starts`.

    Robots start near there in a random direction and are told to keep it at 0.75 m/s. They succeed if they get
    further than 4 m within the time without falling.

    Args:
        folder: exported files.
        mjcf: the robot.
        course: the ground.
        contact_time: time constant of contacts, s; 0 for the MJCF's own.
        seconds: time limit, s.
        added: to the joints.
        starts: world frame, z of the ground, m, [E, 3].
        seeds: of each robot's start and joints.
        watch: looks at the robot after each step.
    """
    facts, act = load_policy(folder)
    robot = Robot(facts, mjcf, course.field, contact_time, added)
    count, gain = len(starts), facts["commands"]["heading_gain"]
    walks = Walks(np.full(count, math.inf), np.zeros(count, dtype=bool), *np.zeros((3, count)))
    with quiet():
        for i, seed in enumerate(seeds):
            act.reset()
            robot.vary(_of_joints(seed))
            rng = np.random.default_rng(seed)
            heading = rng.uniform(-math.pi, math.pi)
            robot.reset(rng, starts[i] + [*rng.uniform(-SPREAD, SPREAD, 2), 0.0], heading)
            start, errors = robot.base_pos[:2].copy(), []
            for step in range(round(seconds / robot.dt)):
                off = math.remainder(heading - robot.yaw, 2.0 * math.pi)
                robot.command = np.array([SPEED, 0.0, np.clip(gain * off, -1.0, 1.0)])
                walks.fell[i], energy, distance = robot.step(act(robot.observe()))
                if watch:
                    watch(robot)
                if walks.fell[i]:
                    break
                velocity = robot.rotation.T @ robot.base_lin_vel
                errors.append(np.linalg.norm(robot.command[:2] - velocity[:2]))
                walks.work[i] += energy
                walks.path[i] += distance
                if np.linalg.norm(robot.base_pos[:2] - start) > DISTANCE:
                    walks.time[i] = (step + 1) * robot.dt
                    break
            walks.lin_error[i] = np.mean(errors) if errors else SPEED
    return walks


def _of_joints(seed: list[int]) -> np.random.Generator:
    """A generator apart, so that starts are the same whatever is added to the joints."""
    return np.random.default_rng([*seed, 1])


def drive_all(
    folder: Path,
    mjcf: Path,
    episodes: int,
    seconds: float,
    seed: int,
    processes: int,
    added: Added = NOTHING,
) -> Episodes:
    """All episodes, spread over processes; figures do not depend on their number."""
    commands = sample_commands(episodes, seconds, seed)
    return _spread(partial(drive, folder, mjcf, seconds, added), commands, seed, processes)


def walk_all(
    folder: Path,
    mjcf: Path,
    course: Course,
    contact_time: float,
    robots: int,
    seconds: float,
    seed: int,
    processes: int,
    added: Added = NOTHING,
) -> Walks:
    """All walks, spread over processes; robots are dealt out to the course's starts."""
    starts = course.starts[np.arange(robots) % len(course.starts)]
    return _spread(partial(walk, folder, mjcf, course, contact_time, seconds, added), starts, seed, processes)


def watch_first(
    folder: Path,
    mjcf: Path,
    course: Course | None,
    contact_time: float,
    seconds: float,
    seed: int,
    added: Added,
    watch: Watch,
) -> bool:
    """Run the first of the episodes that `drive_all`, or on a course `walk_all`, runs; whether the robot fell."""
    if course is None:
        commands = sample_commands(1, seconds, seed)
        return bool(drive(folder, mjcf, seconds, added, commands, [[seed, 0]], watch).fell[0])
    starts = course.starts[:1]
    return bool(walk(folder, mjcf, course, contact_time, seconds, added, starts, [[seed, 0]], watch).fell[0])


def _spread(
    run: Callable[[np.ndarray, list[list[int]]], Record], rows: np.ndarray, seed: int, processes: int
) -> Record:
    """Give each row an episode with a seed of its own; the records of all processes, joined."""
    seeds = [[seed, i] for i in range(len(rows))]
    if processes == 1:
        return run(rows, seeds)
    parts = [part for part in np.array_split(np.arange(len(rows)), 2 * processes) if len(part)]
    # spawn: a forked copy of onnxruntime's or MuJoCo's threads may hang
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        try:
            futures = [pool.submit(run, rows[part], [seeds[i] for i in part]) for part in parts]
            records = [future.result() for future in futures]
        except KeyboardInterrupt:  # or the pool would drive to the end all that has begun
            for process in active_children():
                process.terminate()
            raise
    joined = {name: np.concatenate([getattr(each, name) for each in records]) for name in vars(records[0])}
    return type(records[0])(**joined)
