"""Compiled functions, and MuJoCo's view of the states that the batched engine is compared in."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from native import SIMD, compiler
from physics import BatchedEngine
from physics.batched.eager import EXACT, Inputs, Report, Solver, State, plane, step
from physics.batched.model import Sphere, read_model
from physics.batched.records import Base, BaseInputs, Joints, LimbInputs, SphereInputs
from physics.batched.scalars import Vec
from physics.batched.tracer import Function


def _runs_here(instruction_set: str) -> bool:
    return instruction_set != "avx2" or "avx2" in compiler.cpu_features()


INSTRUCTION_SETS = tuple(name for name in compiler.INSTRUCTION_SETS if _runs_here(name))
"""Those that this machine executes."""


def compiled(
    compute: Callable[..., Vec], num_inputs: int, instruction_set: str = "native"
) -> Callable[[Tensor], Tensor]:
    """A function of scalars, traced and compiled: rows [num_inputs, n] to rows [outputs, n], n a multiple of 16."""
    f = Function("compute")
    results = compute(*f.input("x", num_inputs))
    f.output("y", results)
    rows = len(results)
    source = f"""
{SIMD.read_text()}
{f.source()}
extern "C" void run(const float* in, float* out, int n) {{
  for (int i = 0; i < n; i += LANES) {{
    V x[{num_inputs}], y[{rows}];
    for (int row = 0; row < {num_inputs}; ++row) x[row] = load(in + row * n + i);
    compute(x, y);
    for (int row = 0; row < {rows}; ++row) store(out + row * n + i, y[row]);
  }}
}}
"""
    library = compiler.build(source, instruction_set)

    def run(x: Tensor) -> Tensor:
        x, out = x.float().contiguous(), torch.zeros(rows, x.shape[1])
        assert x.shape[0] == num_inputs and x.shape[1] % 16 == 0
        library.run(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(out.data_ptr()), ctypes.c_int(x.shape[1]))
        return out

    return run


@dataclass
class Cases:
    """N states of a robot in MuJoCo's coordinates, and what one `mj_step` makes of each."""

    model: mujoco.MjModel
    qpos: np.ndarray
    qvel: np.ndarray
    warmstart: np.ndarray
    ctrl: np.ndarray
    wrench: np.ndarray
    """On the base's centre of mass, [N, 6]."""
    next_qpos: np.ndarray
    next_qvel: np.ndarray
    torque: np.ndarray
    """Of the actuators, [N, A]."""
    forces: np.ndarray
    """Of the ground on each geom, world, [N, ngeom, 3]."""
    contacts: np.ndarray
    """Number of contacts, [N]."""

    def error(self, qvel: np.ndarray) -> np.ndarray:
        """Largest error of a velocity relative to the largest change of one, [N]."""
        change = np.abs(self.next_qvel - self.qvel).max(1)
        return np.abs(qvel - self.next_qvel).max(1) / change


def take_cases(
    model: mujoco.MjModel,
    count: int,
    seed: int = 0,
    stance: np.ndarray | None = None,
    heights: Sequence[float] = (0.6, 0.5, 0.3, 0.12),
    steps: int = 60,
    spread: float = 0.5,
    speed: float = 3.0,
    push: float = 0.0,
    shove: float = 0.0,
    single_precision: bool = False,
) -> Cases:
    """Robots at rest or in any motion, upright or not, in the air or anywhere on the ground.

    Args:
        model: the scene; it should be solved to a small tolerance.
        count: number of states N.
        seed: of the random numbers.
        stance: joint angles that states and targets scatter around, [A].
        heights: of the base at the start.
        steps: robots move freely for up to as many.
        spread: of targets (position drives: rad; motors: times 60 N m).
        speed: largest of three scales of velocity.
        push: scale of wrenches on the base, N.
        shove: scale of a velocity that the base is given of a sudden, m/s: the warm start is of no use then.
        single_precision: the states are float32 numbers.
    """
    loud, quiet = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    quiet.logto_console = quiet.logto_file = False  # of robots that shake themselves to pieces
    quiet.set()
    random, data, rows = np.random.default_rng(seed), mujoco.MjData(model), []
    joints, base = model.nq - 7, int(model.jnt_bodyid[0])
    stance = np.zeros(joints) if stance is None else stance
    motors = not model.actuator_biastype.any()
    for _ in range(count):
        mujoco.mj_resetData(model, data)
        data.qpos[:2], data.qpos[2] = random.normal(size=2), random.choice(heights)
        data.qpos[3:7] = random.normal(size=4) * random.choice([0.05, 0.3, 2.0]) + [1, 0, 0, 0]
        data.qpos[7:] = stance + 0.3 * random.normal(size=joints)
        data.qvel[:] = random.normal(size=model.nv) * random.choice([0.03, 0.3, 1.0]) * speed
        target = spread * random.normal(size=joints)
        data.ctrl[:] = 60.0 * target if motors else stance + target
        data.xfrc_applied[base] = push * random.normal(size=6) * [1, 1, 1, 0.2, 0.2, 0.2]
        mujoco.mj_normalizeQuat(model, data.qpos)
        for _ in range(random.integers(0, steps + 1)):
            mujoco.mj_step(model, data)
        data.qvel[:6] += shove * random.normal(size=6)
        before = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl, data.xfrc_applied[base])
        if single_precision:
            for array in before:
                array[:] = array.astype(np.float32)
        row = [array.copy() for array in before]
        mujoco.mj_step(model, data)
        after = (data.qpos, data.qvel, data.actuator_force, geom_forces(model, data), np.array(data.ncon))
        rows.append(row + [array.copy() for array in after])
    loud.set()
    return Cases(model, *(np.array(column) for column in zip(*rows, strict=True)))


def geom_forces(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Force of the ground on each geom, world frame, N, [ngeom, 3]."""
    total, wrench = np.zeros((model.ngeom, 3)), np.zeros(6)
    for k, contact in enumerate(data.contact[: data.ncon]):
        mujoco.mj_contactForce(model, data, k, wrench)
        # a contact's x axis, and a positive normal force, point from its first geom to its second
        force = contact.frame.reshape(3, 3).T @ wrench[:3]
        total[contact.geom[1]] += force
        total[contact.geom[0]] -= force
    return total


def rotations(quats: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions, [N, 3, 3]."""
    found = np.zeros((len(quats), 9))
    for row, quat in zip(found, quats, strict=True):
        mujoco.mju_quat2Mat(row, quat / np.linalg.norm(quat))
    return found.reshape(-1, 3, 3)


class EagerRobot:
    """The eager step on MuJoCo's arrays."""

    def __init__(self, model: mujoco.MjModel, dtype: torch.dtype = torch.float64):
        self.model, self.robot, self.dtype = model, read_model(model), dtype

    def vectors(self, rows: np.ndarray) -> Vec:
        """A list of tensors [N] from [N, k]."""
        return list(torch.tensor(np.ascontiguousarray(rows.T), dtype=self.dtype))

    def of_joints(self, rows: np.ndarray) -> list[Vec]:
        """A list of tensors [L, N] for each group from [N, A]."""
        return [
            [
                torch.tensor(np.ascontiguousarray(rows[:, column].T), dtype=self.dtype)
                for column in group.joints.T
            ]
            for group in self.robot.groups
        ]

    def state(self, cases: Cases) -> State:
        """Where the cases start; quaternions are normalised, as MuJoCo does before it uses them."""
        quat = cases.qpos[:, 3:7] / np.linalg.norm(cases.qpos[:, 3:7], axis=1, keepdims=True)
        turn = rotations(quat)
        world = np.einsum("nij,nj->ni", turn, cases.qvel[:, 3:6])
        acc = np.einsum("nij,nj->ni", turn, cases.warmstart[:, 3:6])
        motion = zip(self.of_joints(cases.qpos[:, 7:]), self.of_joints(cases.qvel[:, 6:]), strict=True)
        return State(
            Base(*(self.vectors(x) for x in (cases.qpos[:, :3], quat, cases.qvel[:, :3], world))),
            [Joints(pos, vel) for pos, vel in motion],
            self.vectors(acc) + self.vectors(cases.warmstart[:, :3]),
            self.of_joints(cases.warmstart[:, 6:]),
        )

    def inputs(self, cases: Cases) -> Inputs:
        """What the model gives every robot, and the cases' targets and wrenches."""
        model, base = self.model, self.robot.base_body
        one = torch.ones(len(cases.qpos), dtype=self.dtype)

        def same(values: np.ndarray) -> Vec:
            return [one * float(x) for x in values]

        own = BaseInputs(
            one * float(model.body_mass[base]),
            same(model.body_ipos[base]),
            same(model.opt.gravity),
            self.vectors(cases.wrench[:, :3]),
            self.vectors(cases.wrench[:, 3:]),
        )
        per_joint = (
            -model.actuator_biasprm[:, 1],
            -model.actuator_biasprm[:, 2],
            model.actuator_forcerange[:, 1],
            model.dof_damping[6:],
            model.dof_armature[6:],
            model.dof_frictionloss[6:],
            model.dof_invweight0[6:],
        )
        columns = [self.of_joints(np.tile(values, (len(cases.qpos), 1))) for values in per_joint]
        limbs = [LimbInputs(*group) for group in zip(self.of_joints(cases.ctrl), *columns, strict=True)]
        spheres = [
            [self._spheres([limb[s] for limb in group.spheres]) for s in range(group.shape[2])]
            for group in self.robot.groups
        ]
        on_base = [self._spheres([s]) for s in self.robot.base_spheres]
        return Inputs(own, limbs, spheres, [SphereInputs(s.friction[0], s.weight[0]) for s in on_base])

    def _spheres(self, spheres: list[Sphere]) -> SphereInputs:
        friction = [max(self.model.geom_friction[s.geom, 0], s.friction_floor) for s in spheres]
        inverse_weight = [self.model.body_invweight0[s.body, 0] for s in spheres]
        mu, w = (torch.tensor(x, dtype=self.dtype).unsqueeze(1) for x in (friction, inverse_weight))
        # MuJoCo's D of an edge of the pyramid, without impedance
        return SphereInputs(mu, 1.0 / (2.0 * mu * mu * (1.0 + mu * mu) * w))

    def step(self, cases: Cases, solver: Solver = EXACT) -> tuple[np.ndarray, np.ndarray, Report]:
        """One step of all cases: MuJoCo's qpos and qvel, and what the step found."""
        surface = plane(self.robot.ground_height)
        state, report = step(self.robot, self.state(cases), self.inputs(cases), surface, solver)
        return *self.arrays(state), report

    def arrays(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """MuJoCo's qpos and qvel of a state."""
        pos, quat, lin_vel, ang_vel = (torch.stack(x, 1).numpy() for x in vars(state.base).values())
        body = np.einsum("nji,nj->ni", rotations(quat), ang_vel)
        joint_pos = self.by_joint([joints.pos for joints in state.joints])
        joint_vel = self.by_joint([joints.vel for joints in state.joints])
        return np.hstack((pos, quat, joint_pos)), np.hstack((lin_vel, body, joint_vel))

    def by_joint(self, groups: list[Vec]) -> np.ndarray:
        """[N, A] from a list of tensors [L, N] for each group."""
        rows = np.zeros((self.robot.num_joints, groups[0][0].shape[1]))
        for group, columns in zip(self.robot.groups, groups, strict=True):
            for j, column in enumerate(columns):
                rows[group.joints[:, j]] = column
        return rows.T

    def by_geom(self, report: Report) -> np.ndarray:
        """Force of the ground on each geom, [N, ngeom, 3]."""
        found = np.zeros((self.model.ngeom, 3, len(report.iterations)))
        for group, forces in zip(self.robot.groups, report.sphere_force, strict=True):
            for s, force in enumerate(forces):
                for limb, geoms in enumerate(group.spheres):
                    found[geoms[s].geom] = torch.stack(force)[:, limb]
        for sphere, force in zip(self.robot.base_spheres, report.base_sphere_force, strict=True):
            found[sphere.geom] = torch.stack(force)
        return found.transpose(2, 0, 1)


STANCE = np.array([0.0, 0.4, -0.8] * 2 + [0.0, -0.4, 0.8] * 2)
"""ANYmal's nominal joint angles."""


def load(engine: BatchedEngine, cases: Cases, warm: bool = True) -> None:
    """Put robots where the cases start, with MuJoCo's warm start or none."""

    def tensor(rows: np.ndarray) -> Tensor:
        return torch.tensor(rows, dtype=torch.float32)

    qpos, qvel = tensor(cases.qpos), tensor(cases.qvel)
    engine.write_state(
        torch.ones(engine.num_envs, dtype=torch.bool),
        *(qpos[:, :3], qpos[:, 3:7], qvel[:, :3], qvel[:, 3:6], qpos[:, 7:], qvel[:, 6:]),
    )
    engine.base_wrench.copy_(tensor(cases.wrench))
    if warm:
        state = engine.state_dict()
        turn, acc = rotations(cases.qpos[:, 3:7]), cases.warmstart
        world = np.einsum("nij,nj->ni", turn, acc[:, 3:6])
        state["base_acc"] = tensor(np.hstack((world, acc[:, :3]))).T
        state["joint_acc"] = tensor(acc[:, 6:]).T
        engine.load_state_dict(state)


def engine_step(engine: BatchedEngine, cases: Cases, warm: bool = True) -> np.ndarray:
    """One step of all cases: MuJoCo's qvel."""
    load(engine, cases, warm)
    engine.step(torch.tensor(cases.ctrl, dtype=torch.float32), 1)
    return torch.cat((engine.base_lin_vel, engine.base_ang_vel, engine.joint_vel), 1).double().numpy()
