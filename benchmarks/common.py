"""What every benchmark uses: options, timing, and a gait that keeps robots on their feet."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from envs.legged_env import LeggedEnv
from native.launch import WARM_UP, Graphs

TASK = "anymal_c_flat"
CAPTURED = WARM_UP + 1
"""Calls after which a GPU replays a graph: it launches two kernel by kernel, and captures the third."""
Results = dict[str, float | int | bool | str]


@dataclass(frozen=True)
class Options:
    """What the command line says about all benchmarks of a run."""

    threads: int = 2
    """Threads of torch and of the physics."""
    engine: str = "auto"
    """Physics engine."""
    device: str = "cpu"
    """Where the tensors live."""
    folder: Path = Path("logs/benchmarks")
    """Where curves and plots go."""


class NotInstalled(RuntimeError):
    """A package that is only compared with is missing."""


def wait() -> None:
    """Wait until a GPU that is in use has done its work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(call: Callable[[], Any]) -> float:
    """Duration of a call and of the work that it gave a GPU, s."""
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def capture(call: Callable[[], Any], device: torch.device, *generators: torch.Generator) -> Callable[[], Any]:
    """A call as one CUDA graph, so that its time is the GPU's and not that of launching; on a CPU just the call.

    Args:
        call: what to capture.
        device: where it computes.
        generators: on the device, that it draws from.

    Raises:
        RuntimeError: it cannot be captured.
    """
    graphs = Graphs(device, generators)
    replay = graphs(call)
    if graphs.on:
        for _ in range(CAPTURED):
            replay()
        if not replay.captured:
            raise RuntimeError("it cannot be captured in a CUDA graph")
    return replay


def interleave(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Durations of calls that are made in turn, A B A B ..., so that a disturbance meets all of them.

    Args:
        calls: name -> a call that returns its own duration, s; what it prepares first is not counted.
        rounds: rounds that count; one more comes first, to warm up.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            times[name].append(call())
    return {name: values[1:] for name, values in times.items()}


def ratio(numerators: list[float], denominators: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratio of durations of the same round."""
    ratios = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
    low, middle, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return {"ratio": middle, "ratio_low": low, "ratio_high": high}


class Watch:
    """Stands in for a method of one object: adds up its time and keeps the arguments of each call."""

    def __init__(self, owner: object, name: str):
        """Replace `owner.name`."""
        self.method = getattr(owner, name)
        self.seconds = 0.0
        """Time spent in the method since `clear`, s."""
        self.calls: list[tuple[tuple, dict[str, Any]]] = []
        """Positional and keyword arguments of each call since `clear`."""
        setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        self.calls.append((args, kwargs))
        wait()
        start = time.perf_counter()
        result = self.method(*args, **kwargs)
        wait()
        self.seconds += time.perf_counter() - start
        return result

    def clear(self) -> None:
        """Forget all calls."""
        self.seconds = 0.0
        self.calls.clear()


class Gait:
    """Random actions that look like walking to the physics: an open-loop trot on the spot, with noise.

    A leg is lifted by bending its joints further than in the nominal stance. Diagonal legs (the first and the
    last, the second and the third of a quadruped) move together; every robot has its own phase. Few robots
    fall within seconds, so that contacts are those of walking and not of lying on the ground.
    """

    FREQUENCY = 2.0
    """Steps of one leg, 1/s."""
    DEPTH = 0.5
    """Largest additional bend, as a share of the nominal joint angle."""
    NOISE = 0.1
    """Standard deviation of the noise of a joint target, rad."""

    def __init__(self, num_envs: int, stance: Tensor, step_dt: float, seed: int = 0):
        """Draw the robots' phases.

        Args:
            num_envs: number of robots N.
            stance: nominal joint angles, rad, [A].
            step_dt: time between two targets, s.
            seed: of phases and noise.
        """
        self.stance, self.step_dt, self.step = stance, step_dt, 0
        self.generator = torch.Generator(stance.device)
        self.generator.manual_seed(seed)
        phase = torch.rand(num_envs, 1, generator=self.generator, device=stance.device)
        leg = torch.arange(len(stance), device=stance.device) * 4 // len(stance)
        self._phase = phase + 0.5 * ((leg == 1) | (leg == 2))

    def targets(self) -> Tensor:
        """Joint targets of the next policy step, rad, [N, A]."""
        turns = self.FREQUENCY * self.step_dt * self.step + self._phase
        lift = torch.sin(2.0 * math.pi * turns).clamp(min=0.0) * self.DEPTH
        noise = torch.randn(lift.shape, generator=self.generator, device=lift.device) * self.NOISE
        self.step += 1
        return self.stance * (1.0 + lift) + noise


class EnvGait(Gait):
    """The same as actions of an environment."""

    def __init__(self, env: LeggedEnv):
        """For all robots of an environment."""
        super().__init__(env.num_envs, env.default_joint_pos, env.step_dt)
        self.scale = env.cfg.control.action_scale

    def actions(self) -> Tensor:
        """Actions of the next policy step, [N, A]."""
        return (self.targets() - self.stance) / self.scale
