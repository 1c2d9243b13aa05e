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
        self._rot = torch.from_numpy(rot.reshape(3, 3).copy()).to(device)
        self._unit_inertia = torch.from_numpy(inertia).to(device)
        own_mass = torch.tensor([model.body_mass[base]], device=device)
        own = self._base_block(own_mass, torch.tensor(model.body_ipos[base : base + 1], device=device))[0]
        mass[6:, 6:] -= np.diag(model.dof_armature[6:])
        self._rest = torch.from_numpy(mass).to(device)
        self._rest[:6, :6] -= own
        self._jacobians = torch.from_numpy(jacobians).to(device)
        self._on_base = [i for i, body in enumerate(bodies) if body == base]

    def _base_block(self, mass: Tensor, com: Tensor) -> Tensor:
        """Mass matrix [n, 6, 6] of the base alone in MuJoCo's coordinates (linear world, angular base frame)."""
        n, skew = len(mass), _skew(com)
        block = torch.zeros(n, 6, 6, dtype=torch.float64, device=mass.device)
        m = mass.view(n, 1, 1)
        block[:, :3, :3] = m * torch.eye(3, dtype=torch.float64, device=mass.device)
        block[:, :3, 3:] = -m * (self._rot @ skew)
        block[:, 3:, :3] = block[:, :3, 3:].transpose(1, 2)
        block[:, 3:, 3:] = m * (self._unit_inertia - skew @ skew)
        return block

    def __call__(self, base_mass: Tensor, base_com: Tensor, armature: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the bodies [n, B] and of the joints [n, A].

        Args:
            base_mass: kg, float64, [n].
            base_com: m, [n, 3].
            armature: kg m^2, [n, A].
        """
        mass = self._rest.repeat(len(base_mass), 1, 1)
        mass[:, :6, :6] += self._base_block(base_mass, base_com)
        mass[:, 6:, 6:] += torch.diag_embed(armature)
        inverse = torch.linalg.inv_ex(mass).inverse  # inv itself would make a GPU wait to check for errors
        jacobians = self._jacobians.repeat(len(base_mass), 1, 1, 1)
        for i in self._on_base:
            jacobians[:, i, :, 3:6] = -(self._rot @ _skew(base_com))
        bodies = ((jacobians @ inverse.unsqueeze(1)) * jacobians).sum((2, 3)) / 3.0
        return bodies, inverse.diagonal(dim1=1, dim2=2)[:, 6:]


def _skew(v: Tensor) -> Tensor:
    """[v]x of vectors [n, 3]."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).view(-1, 3, 3)
