"""Constants that follow from a robot's masses: MuJoCo's `body_invweight0` and `dof_invweight0`.

MuJoCo estimates how easily a body or joint is moved by J M^-1 J^T in the model's reference pose; constraints
are regularised by it (`mj_setConst`).
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor


class InverseWeights:
    """Both for any number of robots that differ in base mass, base centre of mass and armature."""

    def __init__(self, model: mujoco.MjModel, base: int, bodies: list[int], device: torch.device):
        """Evaluate the reference pose.

        Args:
            model: the scene.
            base: body of the free joint.
            bodies: bodies whose translational weight is asked for.
            device: where they are computed.
        """
        data = mujoco.MjData(model)
        data.qpos[:] = model.qpos0
        mujoco.mj_fwdPosition(model, data)
        mass = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, mass)
        jacobians = np.zeros((len(bodies), 3, model.nv))
        for jacobian, body in zip(jacobians, bodies, strict=True):
            mujoco.mj_jacBodyCom(model, data, jacobian, None, body)
        rot = np.zeros(9)
        mujoco.mju_quat2Mat(rot, data.qpos[3:7])
        unit = np.zeros(9)
        mujoco.mju_quat2Mat(unit, model.body_iquat[base])
        axes = unit.reshape(3, 3)
        inertia = axes @ np.diag(model.body_inertia[base]) @ axes.T / model.body_mass[base]
        self._basis = torch.from_numpy(_base_basis(rot.reshape(3, 3), inertia)).to(device)
        own_com = torch.tensor(model.body_ipos[base : base + 1], device=device)
        mass[6:, 6:] -= np.diag(model.dof_armature[6:])
        self._rest = torch.from_numpy(mass).to(device)
        self._rest[:6, :6] -= model.body_mass[base] * self._base_block(own_com)[0]
        self._jacobians = torch.from_numpy(jacobians).to(device)
        self._on_base = [i for i, body in enumerate(bodies) if body == base]

    def _base_block(self, com: Tensor) -> Tensor:
        """Mass matrix [n, 6, 6] of the base alone, per kg, in MuJoCo's coordinates (linear world, angular base)."""
        squares = com.unsqueeze(2) * com.unsqueeze(1)
        terms = torch.cat((torch.ones_like(com[:, :1]), com, squares.flatten(1)), dim=1)
        return (terms @ self._basis).view(-1, 6, 6)

    def __call__(self, base_mass: Tensor, base_com: Tensor, armature: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the bodies [n, B] and of the joints [n, A].

        Args:
            base_mass: kg, float64, [n].
            base_com: m, [n, 3].
            armature: kg m^2, [n, A].
        """
        mass = self._rest.repeat(len(base_mass), 1, 1)
        base = self._base_block(base_com)
        mass[:, :6, :6] += base_mass.view(-1, 1, 1) * base
        mass.diagonal(dim1=1, dim2=2)[:, 6:] += armature
        # LAPACK's on a CPU; on a GPU torch's own cannot be part of a CUDA graph
        inverse = torch.linalg.inv_ex(mass).inverse if mass.device.type == "cpu" else inverted(mass)
        jacobians = self._jacobians.repeat(len(base_mass), 1, 1, 1)
        for i in self._on_base:
            jacobians[:, i, :, 3:6] = base[:, :3, 3:]
        bodies = ((jacobians @ inverse.unsqueeze(1)) * jacobians).sum((2, 3)) / 3.0
        return bodies, inverse.diagonal(dim1=1, dim2=2)[:, 6:]


def inverted(matrix: Tensor) -> Tensor:
    """Inverses of positive definite matrices [n, k, k], by a sweep of each pivot (Goodnight 1979)."""
    for i in range(matrix.shape[-1]):
        at = slice(i, i + 1)
        pivot, row, column = matrix[:, at, at], matrix[:, at], matrix[:, :, at]
        matrix = matrix - column * row / pivot
        matrix[:, at], matrix[:, :, at] = row / pivot, -column / pivot
        matrix[:, at, at] = 1.0 / pivot
    return matrix


def _base_basis(rot: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    """What 1, c and c c^T of the centre of mass c contribute to a body's mass matrix per kg, [1 + 3 + 9, 36].

    [[1, -R [c]x], [(-R [c]x)^T, I - [c]x [c]x]] with its rotation R to the world and inertia I per kg about c.
    """
    basis = np.zeros((13, 6, 6))
    basis[0, :3, :3], basis[0, 3:, 3:] = np.eye(3), inertia
    for i, axis in enumerate(np.eye(3)):
        basis[1 + i, :3, 3:] = -rot @ np.cross(axis, np.eye(3)).T
        basis[1 + i, 3:, :3] = basis[1 + i, :3, 3:].T
    basis[4:, 3:, 3:] = -np.eye(9).reshape(9, 3, 3)  # -[c]x [c]x = |c|^2 - c c^T
    basis[[4, 8, 12], 3:, 3:] += np.eye(3)
    return basis.reshape(13, 36)
