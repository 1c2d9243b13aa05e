"""MuJoCo's physics for legged robots on SIMD lanes or a GPU: `physics.engine.Engine` on generated code."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from native import build
from native.launch import fused
from physics.batched.cpu import CpuStepper, cpu_source
from physics.batched.cuda import CudaStepper, find_device, limb_threads
from physics.batched.derived import InverseWeights
from physics.batched.eager import Solver
from physics.batched.model import RobotModel, read_model
from physics.batched.stages import StepCode
from physics.batched.support import UnsupportedModel
from physics.batched.surface import cells_reached, coarse_heights
from physics.engine import JOINT_PARAMS, check_params
from physics.scene import Actuation, build_scene, joint_pos_limits, nominal_params
from robots.config import RobotConfig
from terrains.ground import Ground, HeightField

MIN_FRICTION = 1e-5
"""MuJoCo's mjMINMU."""


class BatchedEngine:
    """`physics.engine.Engine` on this project's own solver of MuJoCo's contact problem.

    All numbers lie in arrays [rows, robots]; the public tensors are transposed views of them. The last robots
    of a padded array float without gravity and are never seen.
    """

    def __init__(
        self,
        robot: RobotConfig,
        ground: Ground,
        num_envs: int,
        timestep: float = 0.005,
        actuation: Actuation = "position",
        num_threads: int = 0,
        instruction_set: str = "native",
        solver: Solver | None = None,
        device: str = "cpu",
    ):
        """Read the scene, compile its code (or load it) and stand every robot at the origin.

        Args:
            robot: the robot.
            ground: what it stands on.
            num_envs: number of robots N.
            timestep: physics time step, s.
            actuation: what `step` is given.
            num_threads: threads, 0 for one per core.
            instruction_set: one of `compiler.INSTRUCTION_SETS`.
            solver: tolerances of Newton's method.
            device: cpu, cuda or cuda:N.

        Raises:
            UnsupportedModel: the scene holds something that this engine does not compute.
            NoCompiler: there is no working C++ compiler.
            NoCuda: there is no such CUDA device, or no packages to compile for it.
        """
        # only robots are read from MuJoCo's scene, which would take long over walls
        plain = replace(ground, slope_threshold=0.0) if isinstance(ground, HeightField) else ground
        self.model = model = build_scene(robot, plain, timestep, actuation)
        self.robot_model: RobotModel = read_model(model)
        self.solver = solver or Solver()
        self.ground = ground
        if isinstance(ground, HeightField):
            self._check_size(ground)
        self.num_envs = num_envs
        self.device = find_device(device)
        self.timestep = timestep
        self.actuation = actuation
        self.num_threads = num_threads or len(os.sched_getaffinity(0))
        self.joint_names = tuple(model.joint(i).name for i in range(1, model.njnt))
        self.contact_groups = tuple(robot.contact_groups)
        self._instruction_set = instruction_set
        self._sphere_group, self._sphere_foot = self._label_spheres(robot)
        self._bodies = sorted({s.body for s in self.robot_model.spheres})
        spheres = self.robot_model.spheres
        self._sphere_body = torch.tensor(
            [self._bodies.index(s.body) for s in spheres], dtype=torch.int64, device=self.device
        )
        floors = [max(s.friction_floor, MIN_FRICTION) for s in spheres]
        self._everyone = torch.arange(num_envs, device=self.device)
        self._friction_floor = torch.tensor(floors, device=self.device).unsqueeze(1)
        self._inverse_weights = InverseWeights(model, self.robot_model.base_body, self._bodies, self.device)
        self._allocate(len(robot.feet))
        self._compile(dry_friction=bool(model.dof_frictionloss.any()))
        self._stand()

    # ------------------------------------------------------------------ construction

    def _check_size(self, ground: HeightField) -> None:
        need = 1 + max(cells_reached(s.constants.radius, ground.cell) for s in self.robot_model.spheres)
        if min(ground.heights.shape) < need:
            raise UnsupportedModel(
                f"the height field of {' x '.join(map(str, ground.heights.shape))} vertices is smaller than the "
                f"{need} x {need} that the robot's largest sphere covers"
            )

    def _label_spheres(self, robot: RobotConfig) -> tuple[list[int], list[int]]:
        """Contact group and foot of each sphere, -1 for none."""
        model = self.model
        sensors = (model.sensor(i).name.split("/", 2) for i in range(model.nsensor))
        group_of = {geom: int(group) for _, group, geom in sensors}
        names = [model.geom(s.geom).name for s in self.robot_model.spheres]
        missing = [foot for foot in robot.feet if foot not in names]
        if missing:
            raise ValueError(f"foot {missing[0]!r} is not a sphere that touches the ground")
        groups = [group_of.get(n, -1) for n in names]
        return groups, [robot.feet.index(n) if n in robot.feet else -1 for n in names]

    def _compile(self, dry_friction: bool) -> None:
        code = StepCode(
            self.robot_model,
            self._sphere_group,
            self._sphere_foot,
            self.ground,
            dry_friction,
        )
        self._dry_friction = dry_friction
        self._stepper: CpuStepper | CudaStepper
        if self.device.type == "cuda":
            threads = limb_threads(self.robot_model)
            self._stepper = CudaStepper(code.source(), threads, self._arrays, self.ground)
        else:
            library = build(cpu_source(code.source()), self._instruction_set)
            self._stepper = CpuStepper(library, self._arrays, self.ground)

    def _allocate(self, num_feet: int) -> None:
        n, joints, groups = self.num_envs, len(self.joint_names), len(self.contact_groups)
        spheres = len(self.robot_model.spheres)
        lanes = 16
        stride = (n + lanes - 1) // lanes * lanes
        sizes = {
            "base": 13,
            "joint_pos": joints,
            "joint_vel": joints,
            "base_acc": 6,
            "joint_acc": joints,
            "base_inputs": 13,
            "joint_inputs": 7 * joints,
            "targets": joints,
            "previous": joints,
            "switch_substep": 1,
            "friction": spheres,
            "weight": spheres,
            "torque": joints,
            "sphere_force": 3 * groups,
            "foot_pos": 3 * num_feet,
            "foot_vel": 3 * num_feet,
            "iterations": 1,
            "gradient": 1,
            "bad": 1,
        }
        device = self.device
        self._arrays = {name: torch.zeros(rows, stride, device=device) for name, rows in sizes.items()}
        self._own = {name: array[:, :n] for name, array in self._arrays.items()}
        own = self._own
        self.base_pos, self.base_quat = own["base"][:3].T, own["base"][3:7].T
        self.base_lin_vel, self.base_ang_vel = own["base"][7:10].T, own["base"][10:].T
        self.joint_pos, self.joint_vel, self.joint_torque = (
            own["joint_pos"].T, own["joint_vel"].T, own["torque"].T,
        )  # fmt: skip
        self.contact_force = own["sphere_force"].unflatten(0, (groups, 3)).permute(2, 0, 1)
        self.foot_pos = own["foot_pos"].unflatten(0, (num_feet, 3)).permute(2, 0, 1)
        self.foot_vel = own["foot_vel"].unflatten(0, (num_feet, 3)).permute(2, 0, 1)
        self.base_mass = own["base_inputs"][0]
        self.gravity, self.base_wrench = own["base_inputs"][4:7].T, own["base_inputs"][7:].T
        self.solver_iterations, self.solver_gradient = own["iterations"][0], own["gradient"][0]
        self._fresh = torch.zeros(13 + 2 * joints, stride, device=device)
        self._chosen = torch.zeros(1, stride, device=device)
        sphere_pos = torch.zeros(3 * spheres, stride, device=device)
        self._arrays |= {"fresh": self._fresh, "chosen": self._chosen, "sphere_pos": sphere_pos}
        self.sphere_pos = sphere_pos[:, :n].unflatten(0, (spheres, 3)).permute(2, 0, 1)
        radii = [float(s.constants.radius) for s in self.robot_model.spheres]
        self.sphere_radius = torch.tensor(radii, device=device)
        self.bad = torch.zeros(n, dtype=torch.bool, device=device)
        self.total_mass = torch.zeros(n, device=device)
        if isinstance(self.ground, HeightField):
            radius = max(s.constants.radius for s in self.robot_model.spheres)
            self._arrays["heights"] = torch.from_numpy(self.ground.heights.copy()).to(device)
            self._arrays["coarse"] = coarse_heights(self.ground, radius).to(device)
        self._joint_inputs = own["joint_inputs"].unflatten(0, (7, joints))

    def _stand(self) -> None:
        """Everything as the model has it."""
        model, base = self.model, self.robot_model.base_body
        self.joint_pos_limits = joint_pos_limits(model).to(self.device)
        self.nominal = nominal_params(model, self.device)
        self._arrays["base"][3] = 1.0
        inputs = self._arrays["base_inputs"]
        inputs[0] = model.body_mass[base]
        inputs[1:4].copy_(torch.tensor(model.body_ipos[base]).unsqueeze(1))
        self.gravity.copy_(torch.tensor(model.opt.gravity))
        gains = -model.actuator_biasprm
        values = (
            gains[:, 1],
            gains[:, 2],
            model.actuator_forcerange[:, 1],
            model.dof_damping[6:],
            model.dof_armature[6:],
            model.dof_frictionloss[6:],
            model.dof_invweight0[6:],
        )
        joints = len(self.joint_names)
        self._arrays["joint_inputs"].copy_(torch.tensor(np.concatenate(values)).unsqueeze(1))
        self._arrays["joint_pos"].copy_(torch.tensor(model.qpos0[7 : 7 + joints]).unsqueeze(1))
        spheres = self.robot_model.spheres
        friction = np.array([max(model.geom_friction[s.geom, 0], s.friction_floor) for s in spheres])
        weight = np.array([model.body_invweight0[s.body, 0] for s in spheres])
        self._arrays["friction"].copy_(torch.tensor(friction).unsqueeze(1))
        self._arrays["weight"].copy_(
            _contact_weight(torch.tensor(friction), torch.tensor(weight)).unsqueeze(1)
        )
        self.total_mass.fill_(float(model.body_mass.sum()))
        self._refresh_feet()

    # ------------------------------------------------------------------ interface

    def compile(self, backend: str = "inductor") -> None:
        """Let torch.compile make few kernels of what is done around the step's own code."""
        self._stage = fused(self._stage, backend)  # type: ignore[method-assign]

    def step(
        self,
        targets: Tensor,
        num_substeps: int,
        previous_targets: Tensor | None = None,
        switch_substep: Tensor | None = None,
    ) -> None:
        """See `Engine.step`."""
        own, delayed = self._own, previous_targets is not None and switch_substep is not None
        own["targets"].copy_(targets.T)
        if previous_targets is not None and switch_substep is not None:
            own["previous"].copy_(previous_targets.T)
            own["switch_substep"].copy_(switch_substep)
        self._stepper(num_substeps, self.solver, self.num_threads, delayed)
        torch.gt(own["bad"][0], 0.0, out=self.bad)

    def write_state(
        self,
        mask: Tensor,
        base_pos: Tensor,
        base_quat: Tensor,
        base_lin_vel: Tensor,
        base_ang_vel: Tensor,
        joint_pos: Tensor,
        joint_vel: Tensor,
        pushed: Tensor | None = None,
    ) -> None:
        """See `Engine.write_state`."""
        state = base_pos, base_quat, base_lin_vel, base_ang_vel, joint_pos, joint_vel
        self._stage(mask, state, pushed)
        self._stepper(0, self.solver, self.num_threads, placed=True)

    def _stage(self, mask: Tensor, state: tuple[Tensor, ...], pushed: Tensor | None) -> None:
        """Lay down what robots in `mask` begin with, and the velocities of those in `pushed`."""
        pos, quat, *others = state
        n, unit = self.num_envs, torch.nn.functional.normalize(quat, dim=1)
        self._fresh[:, :n].copy_(torch.cat((pos, unit, *others), 1).T)
        self._chosen[0, :n].copy_(torch.where(mask, 2.0, 0.0 if pushed is None else pushed.float()))
        self.bad.masked_fill_(mask, False)

    def raise_base(self, height: Tensor) -> None:
        """See `Engine.raise_base`."""
        self.base_pos[:, 2] += height
        self.foot_pos[..., 2] += height.unsqueeze(1)

    def set_base_velocity(self, mask: Tensor, base_lin_vel: Tensor, base_ang_vel: Tensor) -> None:
        """See `Engine.set_base_velocity`."""
        n = self.num_envs
        self._fresh[7:13, :n].copy_(torch.cat((base_lin_vel, base_ang_vel), 1).T)
        self._chosen[0, :n].copy_(mask)
        self._stepper(0, self.solver, self.num_threads, placed=True)

    def set_params(self, mask: Tensor, **params: Tensor) -> None:
        """See `Engine.set_params`."""
        check_params(params)
        rows = self._everyone
        if self.device.type == "cpu":  # a GPU would stop to learn how many there are; it takes all
            rows = mask.nonzero().squeeze(1)
            if not len(rows):
                return
        chosen, own, inputs = mask[rows], self._own, self._own["base_inputs"]

        def write(array: Tensor, value: Tensor) -> None:
            array[:, rows] = torch.where(chosen, value, array[:, rows])

        new = {name: value[rows].movedim(0, -1) for name, value in params.items()}
        if "base_mass" in new:
            self.total_mass += torch.where(mask, params["base_mass"] - self.base_mass, 0.0)
            write(inputs[:1], new["base_mass"])
        if "base_com" in new:
            write(inputs[1:4], new["base_com"])
        for i, name in enumerate(JOINT_PARAMS):
            if name in new:
                write(self._joint_inputs[i], new[name])
        if "friction" in new:
            write(own["friction"], torch.maximum(new["friction"], self._friction_floor))
        if not {"base_mass", "base_com", "armature", "friction"}.isdisjoint(params):
            bodies, joints = self._inverse_weights(
                inputs[0, rows].double(),
                inputs[1:4, rows].T.double(),
                self._joint_inputs[JOINT_PARAMS.index("armature")][:, rows].T.double(),
            )
            weight = _contact_weight(own["friction"][:, rows].double(), bodies.T[self._sphere_body])
            write(self._joint_inputs[6], joints.T.float())
            write(own["weight"], weight.float())
        # dry friction costs time, so code for it is made only when it is first asked for
        if "friction_loss" in params and not self._dry_friction:
            self._compile(dry_friction=True)

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine.state_dict`."""
        state = {name: array.clone() for name, array in self._own.items()}
        return state | {"total_mass": self.total_mass.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_state_dict`; ValueError where it was not saved by this engine and scene."""
        expected = {name: tuple(array.shape) for name, array in self._own.items()}
        if any(name not in state or tuple(state[name].shape) != shape for name, shape in expected.items()):
            raise ValueError(
                "the saved physics state does not fit this scene: robot, engine and num_envs must be those "
                "of the saved run"
            )
        for name, array in self._own.items():
            array.copy_(state[name])
        self.total_mass.copy_(state["total_mass"])
        torch.gt(self._own["bad"][0], 0.0, out=self.bad)
        if not self._dry_friction and self._joint_inputs[JOINT_PARAMS.index("friction_loss")].any():
            self._compile(dry_friction=True)

    def _refresh_feet(self) -> None:
        self._stepper(0, self.solver, self.num_threads)


def _contact_weight(friction: Tensor, inverse_weight: Tensor) -> Tensor:
    """MuJoCo's D of a pyramid's edge, without impedance: the same for all four edges (`mj_makeImpedance`)."""
    square = friction * friction
    return 1.0 / (2.0 * square * (1.0 + square) * inverse_weight)
