"""Small engines and the states that tests put robots into."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from physics import BatchedEngine, MujocoEngine
from physics.scene import Actuation
from robots import ANYMAL_C
from robots.config import match
from terrains import Plane

AnyEngine = MujocoEngine | BatchedEngine
G = 9.81
LIVE = (
    "base_pos",
    "base_quat",
    "base_lin_vel",
    "base_ang_vel",
    "joint_pos",
    "joint_vel",
    "joint_torque",
    "foot_pos",
    "foot_vel",
    "contact_force",
    "bad",
)
"""The tensors that an engine refreshes at the end of every call."""


def make(
    num_envs: int = 4,
    actuation: Actuation = "position",
    num_threads: int = 1,
    engine_class: type[AnyEngine] = MujocoEngine,
) -> AnyEngine:
    """ANYmal C on a plane."""
    return engine_class(ANYMAL_C, Plane(), num_envs, actuation=actuation, num_threads=num_threads)


def mujoco_engine(num_envs: int = 4, actuation: Actuation = "position", num_threads: int = 1) -> MujocoEngine:
    """The same on MuJoCo's own engine, for what only that has."""
    return MujocoEngine(ANYMAL_C, Plane(), num_envs, actuation=actuation, num_threads=num_threads)


def everyone(engine: AnyEngine) -> Tensor:
    """A mask of all robots, [N]."""
    return torch.ones(engine.num_envs, dtype=torch.bool)


def only(engine: AnyEngine, *rows: int) -> Tensor:
    """A mask of some robots, [N]."""
    mask = torch.zeros(engine.num_envs, dtype=torch.bool)
    mask[list(rows)] = True
    return mask


def stance(engine: AnyEngine) -> Tensor:
    """Nominal joint angles, [N, A]."""
    angles = torch.tensor([match(ANYMAL_C.default_joint_pos, name) for name in engine.joint_names])
    return angles.repeat(engine.num_envs, 1)


def place(engine: AnyEngine, mask: Tensor | None = None, height: float = 0.6) -> None:
    """Put robots level and at rest, in the nominal stance, `height` above the ground."""
    n = engine.num_envs
    pos, quat = torch.zeros(n, 3), torch.zeros(n, 4)
    pos[:, 2], quat[:, 0] = height, 1.0
    zero, angles = torch.zeros(n, 3), stance(engine)
    mask = everyone(engine) if mask is None else mask
    engine.write_state(mask, pos, quat, zero, zero, angles, torch.zeros_like(angles))


def scatter(engine: AnyEngine, seed: int, height: float = 0.6) -> None:
    """Put every robot into a random state: tilted, moving, joints anywhere near the stance."""
    n, random = engine.num_envs, torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=random)

    pos = 0.05 * noise(3)
    pos[:, 2] += height
    quat = 0.15 * noise(4)
    quat[:, 0] = 1.0
    angles = stance(engine)
    engine.write_state(
        everyone(engine),
        pos,
        quat / quat.norm(dim=1, keepdim=True),
        0.5 * noise(3),
        noise(3),
        angles + 0.2 * noise(12),
        noise(12),
    )


def random_targets(engine: AnyEngine, steps: int, seed: int, spread: float = 0.5) -> Tensor:
    """Joint targets around the stance, rad, [steps, N, A]."""
    noise = torch.randn(steps, engine.num_envs, 12, generator=torch.Generator().manual_seed(seed))
    return stance(engine) + spread * noise


def live(engine: AnyEngine) -> dict[str, Tensor]:
    """Copies of all live tensors."""
    return {name: getattr(engine, name).clone() for name in LIVE}


def exact(engine: MujocoEngine) -> np.ndarray:
    """MuJoCo's float64 integration state of every robot: time, positions, velocities, warm starts, inputs."""
    return engine.state_dict()["state"].numpy().copy()


def integration_state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """The same, of one plain MuJoCo simulation."""
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    row = np.zeros(mujoco.mj_stateSize(model, spec))
    mujoco.mj_getState(model, data, row, spec)
    return row


def plain(engine: AnyEngine, models: list[mujoco.MjModel] | None = None) -> list[mujoco.MjData]:
    """A plain MuJoCo simulation of each robot, starting from the engine's state (MuJoCo's: its exact one)."""
    copies = []
    for i in range(engine.num_envs):
        model = engine.model if models is None else models[i]
        data = mujoco.MjData(model)
        if isinstance(engine, MujocoEngine):
            mujoco.mj_setState(model, data, exact(engine)[i], mujoco.mjtState.mjSTATE_INTEGRATION)
        else:
            data.qpos[:] = torch.cat((engine.base_pos[i], engine.base_quat[i], engine.joint_pos[i]))
            data.qvel[:] = torch.cat((engine.base_lin_vel[i], engine.base_ang_vel[i], engine.joint_vel[i]))
            data.xfrc_applied[1] = engine.base_wrench[i]
        copies.append(data)
    return copies


def memory(engine: AnyEngine) -> dict[str, Tensor]:
    """Copies of all that `state_dict` holds, one row per robot."""
    state = engine.state_dict()
    if isinstance(engine, MujocoEngine):
        return state
    return {name: tensor.movedim(-1, 0) for name, tensor in state.items()}


def ground_force(model: mujoco.MjModel, data: mujoco.MjData, geoms: tuple[str, ...]) -> np.ndarray:
    """Force of the ground on some geoms, summed over MuJoCo's contact list, world frame, N, [3]."""
    ids, total, wrench = {model.geom(name).id for name in geoms}, np.zeros(3), np.zeros(6)
    for k, contact in enumerate(data.contact[: data.ncon]):
        mujoco.mj_contactForce(model, data, k, wrench)
        # a contact's x axis, and a positive normal force, point from its first geom to its second
        force = contact.frame.reshape(3, 3).T @ wrench[:3]
        total += force * ((contact.geom[1] in ids) - (contact.geom[0] in ids))
    return total


def momentum(engine: AnyEngine) -> tuple[np.ndarray, np.ndarray]:
    """Linear and angular momentum about the centre of mass, [N, 3] each, with MuJoCo's own sums."""
    linear, angular = [], []
    model = engine.model
    for data in plain(engine):
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_subtreeVel(model, data)
        linear.append(data.subtree_linvel[0] * model.body_subtreemass[0])
        angular.append(data.subtree_angmom[0].copy())
    return np.array(linear), np.array(angular)
