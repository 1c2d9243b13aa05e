"""What the GPU is compared with: rsl_rl's update, MuJoCo Warp, and a rollout that passes through host memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import ClassVar, Literal, cast

import mujoco
import torch
from torch import Tensor

from benchmarks.common import NotInstalled, Options, Results, capture, ratio, seconds, wait
from benchmarks.gpu import TINY, GpuPhysicsBenchmark
from benchmarks.physics import Robots, make_ground
from benchmarks.training import make_trainer, warm_up
from benchmarks.updating import compare_updates
from physics import Engine, build_scene
from robots import ANYMAL_C
from runs.config import default_config
from terrains import Ground, HeightField


@dataclass(frozen=True)
class GpuUpdateBenchmark:
    """Time of a whole PPO update, ours beside rsl_rl's: same samples, same initial weights."""

    suite: ClassVar[str] = "gpu"
    compiled: bool = False
    """Ours is fused by torch.compile."""
    num_envs: int = 4096
    """Robots, with 24 steps each."""
    hidden: tuple[int, ...] = (512, 256, 128)
    """Hidden layers of actor and critic."""
    rounds: int = 9
    """Timed updates of each."""

    @property
    def section(self) -> str:
        """Compiling takes long, so it is asked for by itself."""
        return "compile" if self.compiled else "update"

    def quick(self) -> GpuUpdateBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, hidden=(32, 32), rounds=2)

    def run(self, options: Options) -> Results:
        """Measure."""
        return {"samples": 24 * self.num_envs} | compare_updates(
            self.num_envs, 24, self.hidden, self.rounds, options, self.compiled
        )


@dataclass(frozen=True)
class TransferBenchmark:
    """A rollout's way through host memory, as a simulator on the CPU needs, against staying on the device.

    host: the whole buffer to pinned host memory and back; device: to other memory of the device and back; stepwise:
    actions out and observations in, at every step of the rollout.
    """

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "transfer"
    task: str = "anymal_c_rough"
    recipe: str = "reference"
    num_envs: int = 4096
    """Robots."""
    rounds: int = 9
    """Timed copies of each kind."""

    def quick(self) -> TransferBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=TINY, rounds=2)

    def run(self, options: Options) -> Results:
        """Measure."""
        cfg = default_config(self.task, self.recipe)
        trainer, env = make_trainer(cfg, self.num_envs, options)
        warm_up(trainer)
        iteration = statistics.median(seconds(trainer.iterate) for _ in range(3))
        rollout, pin = trainer.rollout, env.device.type == "cuda"
        buffers = {x.data_ptr(): x for x in vars(rollout).values() if isinstance(x, Tensor) and x.numel()}
        tensors = list(buffers.values())

        def to_host(tensors: list[Tensor]) -> list[Tensor]:
            return [torch.empty(x.shape, dtype=x.dtype, pin_memory=pin) for x in tensors]

        def there_and_back(tensors: list[Tensor], copies: list[Tensor]) -> None:
            for out, back in zip(tensors, copies, strict=True):
                back.copy_(out, non_blocking=True)
                out.copy_(back, non_blocking=True)

        def stepwise() -> None:
            for t in range(rollout.num_steps):
                actions.copy_(rollout.actions[t], non_blocking=True)
                wait()  # the simulator needs them now
                rollout.obs[t].copy_(obs, non_blocking=True)

        host, device = to_host(tensors), [torch.empty_like(x) for x in tensors]
        actions, obs = to_host([rollout.actions[0], rollout.obs[0]])
        stay = capture(lambda: there_and_back(tensors, device), env.device)
        there_and_back(tensors, host)
        times = {
            "host": [seconds(lambda: there_and_back(tensors, host)) for _ in range(self.rounds)],
            "device": [seconds(stay) for _ in range(self.rounds)],
            "stepwise": [seconds(stepwise) for _ in range(self.rounds)],
        }
        medians = {f"{name}_s": statistics.median(values) for name, values in times.items()}
        return {
            "mib": sum(x.nbytes for x in tensors) / 2**20,
            **medians,
            **ratio(times["host"], times["device"]),
            "iteration_s": iteration,
            "host_of_iteration": medians["host_s"] / iteration,
        }


class WarpEngine:
    """As much of an engine as `Robots` needs, on MuJoCo Warp."""

    def __init__(self, ground: Ground, num_envs: int, device: str):
        """Compile; NotInstalled without the package."""
        try:
            warp = import_module("warp")
            warp.config.quiet = True
            mujoco_warp = import_module("mujoco_warp")
        except ImportError as error:
            raise NotInstalled(f"{error}: pip install mujoco-warp") from error
        self.num_envs, self.device, self.timestep = num_envs, torch.device(device), 0.005
        scene = build_scene(ANYMAL_C, ground, self.timestep)
        self.joint_names = tuple(scene.joint(i).name for i in range(1, scene.njnt))
        flags = mujoco.mjtDisableBit
        scene.opt.disableflags &= ~(flags.mjDSBL_AUTORESET | flags.mjDSBL_MIDPHASE)  # it knows neither
        scene.opt.iterations, scene.opt.ls_iterations = 10, 20
        start = mujoco.MjData(scene)
        start.qpos[2] = 3.0  # its first contacts would not fit on rough ground
        mujoco.mj_forward(scene, start)
        contacts = 80 if isinstance(ground, HeightField) else 40  # of a robot, at most
        with warp.ScopedDevice(device):
            model = mujoco_warp.put_model(scene)
            data = mujoco_warp.put_data(scene, start, nworld=num_envs, nconmax=contacts, njmax=4 * contacts)
        self._qpos, self._qvel, self._ctrl = map(warp.to_torch, (data.qpos, data.qvel, data.ctrl))
        self._iterations = warp.to_torch(data.solver_niter)
        self.base_quat, self.joint_pos = self._qpos[:, 3:7], self._qpos[:, 7:]

        def four() -> None:
            for _ in range(4):
                mujoco_warp.step(model, data)

        self._four: Callable[[], None] = four
        if self.device.type == "cuda":
            with warp.ScopedDevice(device):
                four()  # compiles
                with warp.ScopedCapture() as captured:
                    four()
            self._four = partial(warp.capture_launch, captured.graph)

    def step(self, targets: Tensor, num_substeps: int) -> None:
        """Four substeps, whatever is asked for."""
        self._ctrl.copy_(targets)
        wait()  # it has a stream of its own
        self._four()
        wait()

    def write_state(self, mask: Tensor, *state: Tensor) -> None:
        """See `Engine.write_state`."""
        pos, quat, lin_vel, ang_vel, joint_pos, joint_vel = state
        for own, new in (
            (self._qpos, torch.cat((pos, quat, joint_pos), 1)),
            (self._qvel, torch.cat((lin_vel, ang_vel, joint_vel), 1)),
        ):
            own.copy_(torch.where(mask.unsqueeze(1), new, own))
        wait()

    def figures(self) -> Results:
        """How hard the last step was to solve, and robots that were lost."""
        return {
            "warp_solver_iterations": float(self._iterations.float().mean()),
            "warp_lost": int((~self._qpos.isfinite().all(1)).sum()),
        }


@dataclass(frozen=True)
class WarpBenchmark:
    """Physics steps per second of MuJoCo Warp beside the batched engine: same model, ground and targets."""

    suite: ClassVar[str] = "gpu"
    section: ClassVar[str] = "warp"
    ground: Literal["plane", "rough", "steps"]
    num_envs: int
    """Robots."""
    rounds: int = 10
    """Timed policy steps."""
    warmup: int = 40
    """Policy steps before."""

    def quick(self) -> WarpBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=2, rounds=1, warmup=1)

    def run(self, options: Options) -> Results:
        """Measure; NotInstalled without MuJoCo Warp."""
        ground, made = make_ground(self.ground), list[WarpEngine]()
        setup = seconds(lambda: made.append(WarpEngine(ground, self.num_envs, options.device)))
        (engine,) = made
        robots = Robots(cast(Engine, engine), ground, "trot")
        for _ in range(self.warmup):
            robots.step()
        rate = 4 * self.num_envs / statistics.median(robots.step() for _ in range(self.rounds))
        figures = engine.figures()
        own = GpuPhysicsBenchmark(self.ground, self.num_envs, self.rounds, self.warmup).run(options)
        ours = float(own["physics_steps_per_s"])
        return {
            "ratio": ours / rate,
            "warp_steps_per_s": rate,
            "batched_steps_per_s": ours,
            "warp_setup_s": setup,
            **figures,
        }
