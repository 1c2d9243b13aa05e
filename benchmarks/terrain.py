"""What terrain, drives and randomisation cost: a map, the height scan, a training iteration, an environment step."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, get_args

import torch

from benchmarks.common import TASK, EnvGait, Options, Results, Watch, interleave, ratio, seconds
from benchmarks.stepping import walking_env
from benchmarks.training import compare_iterations
from envs.config import EnvConfig
from envs.frames import yaw_of
from envs.legged_env import LeggedEnv
from envs.tasks import get_task
from runs.config import RunConfig, default_config
from terrains.grid import make_terrain
from terrains.scan import HeightScan

ROUGH = "anymal_c_rough"
Lookup = Literal["minimum", "bilinear"]
Change = Literal["net", "redrawn", "all_redrawn"]


def all_levels() -> RunConfig:
    """The rough task's default with robots on every level from the start, where they get to in training."""
    cfg = default_config(ROUGH)
    cfg.env.curriculum.max_initial_level = cfg.env.terrain.levels - 1
    return cfg


@dataclass(frozen=True)
class MapBenchmark:
    """Assembling the map of the rough task, with all its tiles."""

    suite: ClassVar[str] = "terrain"
    rounds: int = 5
    """Timed assemblies."""

    def quick(self) -> MapBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, rounds=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        cfg = default_config(ROUGH).env.terrain
        times = interleave({"map": lambda: seconds(lambda: make_terrain(cfg))}, self.rounds)["map"]
        return {
            "tiles": cfg.levels * cfg.columns,
            "map_s": statistics.median(times),
            "map_s_low": min(times),
            "map_s_high": max(times),
        }


@dataclass(frozen=True)
class ScanBenchmark:
    """Looking up the heights around every robot once, as a share of a policy step of the bare engine.

    Robots trot on all levels of the rough task's map, and are looked at where the timed step left them. An
    environment looks once more at robots that it has reset, which are few.
    """

    suite: ClassVar[str] = "terrain"
    engine: Literal["batched", "mujoco"]
    """Physics engine."""
    rounds: int
    """Timed policy steps, and look-ups of each kind."""
    num_envs: int = 4096
    """Robots."""
    warmup: int = 25
    """Policy steps before."""

    def quick(self) -> ScanBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=3, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        cfg = all_levels().env
        device = "cpu" if self.engine == "mujoco" else options.device
        options = replace(options, engine=self.engine, device=device)
        env, gait = walking_env(self.num_envs, self.warmup, options, cfg)
        physics = Watch(env.engine, "step")
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=env.device)
        out = torch.zeros(self.num_envs, cfg.scan.shape[0] * cfg.scan.shape[1], device=env.device)

        def step() -> float:
            physics.clear()
            env.step(gait.actions())
            return physics.seconds

        def look(scan: HeightScan) -> None:
            scan(env.engine.base_pos, yaw_of(env.engine.base_quat), everyone, out)

        calls: dict[str, Callable[[], float]] = {"step": step}
        for lookup in get_args(Lookup):
            scan = HeightScan(replace(cfg.scan, lookup=lookup), env.ground, env.device, options.threads)
            calls[lookup] = partial(seconds, partial(look, scan))
        times = interleave(calls, self.rounds)
        results: Results = {"points": out.shape[1], "step_s": statistics.median(times["step"])}
        for lookup in get_args(Lookup):
            share = ratio(times[lookup], times["step"])
            results |= {f"{lookup}_{name}": value for name, value in share.items()}
        return results


def rough_and_plane() -> tuple[RunConfig, RunConfig]:
    """The rough task, and the same on a plane."""
    rough, plane = all_levels(), all_levels()
    plane.env.terrain.type = "plane"
    return rough, plane


@dataclass(frozen=True)
class RoughBenchmark:
    """A training iteration of the rough task on its map against one on a plane.

    Observations, networks and hyper-parameters are the same: on a plane, too, the height scan is 187 columns of
    the observation, with their noise. But there all heights are 0 and none is looked up, so that the ratio holds
    the cost of the scan as well as that of contacts with a height field and of the curriculum.
    """

    suite: ClassVar[str] = "terrain"
    num_envs: int
    """Robots."""
    rounds: int
    """Timed iterations of each."""

    def quick(self) -> RoughBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=1)

    def run(self, options: Options) -> Results:
        """Measure."""
        rough, plane = rough_and_plane()
        return compare_iterations(rough, plane, self.num_envs, self.rounds, options)


def with_and_without(change: Change) -> tuple[EnvConfig, EnvConfig]:
    """The flat task with a change, and without it."""
    cfg = get_task(TASK).recipe("reference").env()
    if change == "net":
        return replace(cfg, actuator="net"), cfg
    drawn = replace(cfg.randomisation, redraw="reset")
    none = replace(cfg.randomisation, friction=(1.0, 1.0), added_base_mass=(0.0, 0.0))
    if change == "all_redrawn":
        drawn = replace(
            drawn,
            base_com_shift=(0.05, 0.05, 0.05),
            stiffness_factor=(0.9, 1.1),
            damping_factor=(0.9, 1.1),
            armature_factor=(0.9, 1.1),
            added_joint_damping=(0.0, 0.1),
            added_friction_loss=(0.0, 0.1),
            encoder_offset=0.02,
            gravity_tilt=0.02,
        )
    return replace(cfg, randomisation=drawn), replace(cfg, randomisation=none)


@dataclass(frozen=True)
class ChangeBenchmark:
    """A step of the environment with a change against one without, of robots that trot on a plane.

    net: drives that are a network, not PD. redrawn: the task's own randomisation (friction, mass), drawn anew at
    every reset, and all_redrawn: every quantity that can be randomised is, both against equal robots.
    """

    suite: ClassVar[str] = "terrain"
    change: Change
    """What is changed."""
    num_envs: int = 4096
    """Robots."""
    rounds: int = 40
    """Timed steps of each."""
    warmup: int = 25
    """Policy steps before."""

    def quick(self) -> ChangeBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 64, rounds=3, warmup=5)

    def run(self, options: Options) -> Results:
        """Measure."""
        changed, plain = (
            walking_env(self.num_envs, self.warmup, options, cfg) for cfg in with_and_without(self.change)
        )

        def step(env: LeggedEnv, gait: EnvGait) -> float:
            actions = gait.actions()
            return seconds(lambda: env.step(actions))

        times = interleave({"changed": partial(step, *changed), "plain": partial(step, *plain)}, self.rounds)
        return {
            "engine": changed[0].engine_choice.split()[0],
            "step_s": statistics.median(times["changed"]),
            "plain_step_s": statistics.median(times["plain"]),
            **ratio(times["changed"], times["plain"]),
        }
