"""The batched engine beside MuJoCo C: physics steps per second on the same ground, robots and targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import TASK, Gait, Options, Results, interleave, ratio, seconds
from envs.tasks import get_task
from physics import BatchedEngine, Engine, MujocoEngine
from robots.config import match
from terrains import Ground, HeightField, Plane

CELL = 0.1
"""Side of a height field's cells, m."""
SIZE = 40.0
"""Side of the height field, m; robots are spread over its inner part."""


def make_ground(kind: str) -> Ground:
    """plane; rough: heights of 0 to 60 mm at random; steps: a chequerboard of 100 mm steps; walls: with walls."""
    if kind == "plane":
        return Plane()
    cells = round(SIZE / CELL)
    x, y = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    heights = 0.1 * ((x // 4 + y // 5) % 2)
    if kind == "rough":
        heights = np.random.default_rng(0).uniform(0.0, 0.06, (cells, cells))
    return HeightField.centred(heights.astype(np.float32), CELL, 0.75 if kind == "walls" else 0.0)


class Robots:
    """Robots on an engine that are given targets, and stood up again when they fall."""

    def __init__(self, engine: Engine, ground: Ground, targets: str):
        """Spread them over the ground."""
        robot = get_task(TASK).recipe("reference").env().robot
        n, device, random = engine.num_envs, engine.device, torch.Generator().manual_seed(0)
        self.engine, self.random_targets = engine, targets == "random"
        stance = [match(robot.default_joint_pos, name) for name in engine.joint_names]
        self.stance = torch.tensor(stance, device=device)
        self.gait = Gait(n, self.stance, step_dt=4 * engine.timestep)
        self.random = random
        pos = torch.zeros(n, 3)
        if isinstance(ground, HeightField):
            pos[:, :2] = (torch.rand(n, 2, generator=random) - 0.5) * 0.8 * SIZE
            pos[:, 2] = torch.as_tensor(ground.height_at(pos[:, :2].numpy()))
        pos[:, 2] += robot.init_height
        self.pos = pos.to(device)
        self.place(torch.ones(n, dtype=torch.bool, device=device))

    def place(self, mask: Tensor) -> None:
        """Stand robots up where they began."""
        n = self.engine.num_envs
        still = torch.zeros_like(self.pos)
        quat = torch.tensor([1.0, 0.0, 0.0, 0.0], device=still.device).expand(n, 4)
        stance = self.stance.expand(n, -1)
        self.engine.write_state(mask, self.pos, quat, still, still, stance, torch.zeros_like(stance))

    def step(self) -> float:
        """One policy step of four substeps; returns its duration, s."""
        if self.random_targets:
            noise = torch.randn(self.engine.joint_pos.shape, generator=self.random)
            targets = self.stance + 0.5 * noise.to(self.stance.device)
        else:
            targets = self.gait.targets()
        duration = seconds(lambda: self.engine.step(targets, 4))
        self.stand_up()
        return duration

    def stand_up(self) -> None:
        """Place those that are tilted by more than 60 degrees."""
        self.place(self.engine.base_quat[:, 1:3].square().sum(1) > 0.25)


@dataclass(frozen=True)
class PhysicsBenchmark:
    """Physics steps per second, batched and mujoco in turn; mujoco always on the CPU."""

    suite: ClassVar[str] = "physics"
    ground: Literal["plane", "rough", "steps"]
    targets: Literal["trot", "random"] = "trot"
    """Joint targets like a walking policy's, or noise of 0.5 rad around the stance (many robots then lie)."""
    instruction_set: str = "native"
    """Of the batched engine."""
    num_envs: int = 4096
    """Robots."""
    rounds: int = 15
    """Timed policy steps of each engine."""
    warmup: int = 40
    """Policy steps before."""

    def quick(self) -> PhysicsBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=3, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        robot, ground = get_task(TASK).recipe("reference").env().robot, make_ground(self.ground)
        n, threads = self.num_envs, options.threads

        def batched(on: Ground) -> Engine:
            return BatchedEngine(
                robot,
                on,
                n,
                num_threads=threads,
                instruction_set=self.instruction_set,
                device=options.device,
            )

        grounds: dict[str, tuple[Engine, Ground]] = {
            "batched": (batched(ground), ground),
            "mujoco": (MujocoEngine(robot, ground, n, num_threads=threads), ground),
        }
        if self.ground != "plane":
            grounds["plane"] = (batched(Plane()), Plane())
        robots = {name: Robots(*pair, self.targets) for name, pair in grounds.items()}
        for crowd in robots.values():
            for _ in range(self.warmup):
                crowd.step()
        calls: dict[str, Callable[[], float]] = {name: crowd.step for name, crowd in robots.items()}
        times = interleave(calls, self.rounds)
        results: Results = {
            f"{name}_steps_per_s": 4 * n / statistics.median(values) for name, values in times.items()
        }
        if "plane" in times:
            results["of_plane"] = ratio(times["plane"], times["batched"])["ratio"]
        else:
            results |= {"plane_steps_per_s": results["batched_steps_per_s"], "of_plane": 1.0}
        return results | ratio(times["mujoco"], times["batched"])


@dataclass(frozen=True)
class WallsBenchmark:
    """Physics steps per second of the batched engine on steps with vertical sides, and with slopes for sides."""

    suite: ClassVar[str] = "physics"
    num_envs: int = 4096
    """Robots."""
    rounds: int = 15
    """Timed policy steps on each ground."""
    warmup: int = 40
    """Policy steps before."""

    def quick(self) -> WallsBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=3, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        robot = get_task(TASK).recipe("reference").env().robot
        crowds = {}
        for name, ground in (("walls", make_ground("walls")), ("slopes", make_ground("steps"))):
            engine = BatchedEngine(
                robot, ground, self.num_envs, num_threads=options.threads, device=options.device
            )
            crowds[name] = Robots(engine, ground, "trot")
            for _ in range(self.warmup):
                crowds[name].step()
        times = interleave({name: crowd.step for name, crowd in crowds.items()}, self.rounds)
        results: Results = {
            f"{name}_steps_per_s": 4 * self.num_envs / statistics.median(values)
            for name, values in times.items()
        }
        return results | {"of_slopes": ratio(times["slopes"], times["walls"])["ratio"]}


@dataclass(frozen=True)
class StepErrorBenchmark:
    """Difference between a physics step of the batched engine and MuJoCo's from the same states of trotting robots.

    Largest difference of a velocity relative to the largest change of one. On uneven ground MuJoCo makes a contact
    with every triangle that a sphere overlaps, the batched engine at most two in all.
    """

    suite: ClassVar[str] = "physics"
    ground: Literal["plane", "rough", "steps", "walls"]
    num_envs: int = 512
    """Robots."""
    rounds: int = 8
    """States of each, two policy steps apart."""
    warmup: int = 40
    """Policy steps before."""

    def quick(self) -> StepErrorBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 16, rounds=1, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        robot, ground = get_task(TASK).recipe("reference").env().robot, make_ground(self.ground)
        theirs = MujocoEngine(robot, ground, self.num_envs, num_threads=options.threads)
        ours = BatchedEngine(robot, ground, self.num_envs, num_threads=options.threads)
        crowd, everyone = Robots(theirs, ground, "trot"), torch.ones(self.num_envs, dtype=torch.bool)
        for _ in range(self.warmup):
            crowd.step()
        errors = []
        for _ in range(self.rounds):
            crowd.step()
            crowd.step()
            names = ("base_pos", "base_quat", "base_lin_vel", "base_ang_vel", "joint_pos", "joint_vel")
            state, targets = [getattr(theirs, name).clone() for name in names], crowd.gait.targets()
            before, after = torch.cat(state[2:4] + state[5:], 1), []
            for engine in (ours, theirs):
                engine.write_state(everyone, *state)
                engine.step(targets, 1)
                velocities = (engine.base_lin_vel, engine.base_ang_vel, engine.joint_vel)
                after.append(torch.cat(velocities, 1))
            errors.append((after[0] - after[1]).abs().amax(1) / (after[1] - before).abs().amax(1))
        error = torch.cat(errors)
        return {
            "median": error.median().item(),
            "p99": error.quantile(0.99).item(),
            "worst": error.max().item(),
        }
