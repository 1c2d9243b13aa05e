"""Positions and velocities of feet and other points from joint angles, for all robots at once.

MuJoCo's own body positions lag one substep behind the joint angles after a step; these do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import mujoco
import numpy as np
import torch
from torch import Tensor


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of unit quaternions [N, 4] (w x y z)."""
    w, x, y, z = quat.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


Points = list[tuple[int, np.ndarray]]
"""Body, and place in its frame, m, [3]."""


def geom_centres(model: mujoco.MjModel, geoms: Iterable[str]) -> Points:
    """Centres of geoms."""
    return [(int(model.geom(name).bodyid[0]), model.geom(name).pos) for name in geoms]


def touching_points(model: mujoco.MjModel) -> tuple[Points, list[float]]:
    """Where a robot may touch the ground first, and how far around each point, m.

    Centres of spheres, ends of capsules, corners of a box around geoms of other shapes.
    """
    points: Points = []
    reach: list[float] = []
    for geom in np.flatnonzero(model.geom_contype):
        body, kind, size = int(model.geom_bodyid[geom]), model.geom_type[geom], model.geom_size[geom]
        if not body:  # the world
            continue
        radius, local = float(size[0]), np.zeros((1, 3))
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            local = np.array([[0, 0, -size[1]], [0, 0, size[1]]])
        elif kind != mujoco.mjtGeom.mjGEOM_SPHERE:
            middle, half = model.geom_aabb[geom].reshape(2, 3)
            radius, local = 0.0, middle + half * np.array(list(product((-1, 1), repeat=3)))
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        points += [(body, model.geom_pos[geom] + turn.reshape(3, 3) @ at) for at in local]
        reach += [radius] * len(local)
    return points, reach


@dataclass
class _Hinge:
    """A step of a chain: from a link's frame, by a constant transform, and a turn around an axis."""

    joint: int
    """Column of the angle; one past the last for a fixed link."""
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    anchor: np.ndarray = field(default_factory=lambda: np.zeros(3))
    axis: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))


def _chain(model: mujoco.MjModel, body: int, base: int) -> list[_Hinge]:
    """The steps from body `base` to `body`; ValueError for a joint that is no hinge."""
    chain: list[_Hinge] = []
    while body != base:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.body_quat[body])
        place = {"offset": model.body_pos[body], "turn": turn.reshape(3, 3)}
        first = model.body_jntadr[body]
        steps: list[_Hinge] = []
        for joint in range(first, first + model.body_jntnum[body]):
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
                raise ValueError(
                    f"joint {model.joint(joint).name!r} is no hinge, as all between base and feet must be"
                )
            turned = {"anchor": model.jnt_pos[joint], "axis": model.jnt_axis[joint]}
            steps.append(_Hinge(model.jnt_qposadr[joint] - 7, **turned, **({} if steps else place)))
        chain = (steps or [_Hinge(model.nq - 7, **place)]) + chain
        body = model.body_parentid[body]
    return chain


class PointKinematics:
    """Forward kinematics of points on chains of hinges, with fixed links and several hinges a link.

    With rotation R of a link, joint axis a (link frame) and angle q from its reference, the link turns by Rodrigues'
    formula R (I + sin q [a]x + (1 - cos q) [a]x^2); the point's velocity is the sum of (axis x lever) dq/dt
    (Featherstone, Rigid Body Dynamics Algorithms, 2008, section 2).
    """

    def __init__(self, model: mujoco.MjModel, points: Points, base: int, device: torch.device):
        """Read the chains from body `base` to each point's; ValueError for a joint that is no hinge."""
        chains = [_chain(model, body, base) for body, _ in points]
        depth = max(map(len, chains), default=0)
        chains = [chain + [_Hinge(model.nq - 7)] * (depth - len(chain)) for chain in chains]
        joints = [[chain[k].joint for chain in chains] for k in range(depth)]
        self._joint = torch.tensor(joints, dtype=torch.int64, device=device).view(depth, len(points))
        self._reference = torch.tensor(model.qpos0[7:], dtype=torch.float32, device=device)

        def stack(name: str) -> Tensor:
            data = np.array([[getattr(chain[k], name) for chain in chains] for k in range(depth)])
            return torch.tensor(data, dtype=torch.float32, device=device)

        self._offset, self._turn, self._anchor, axis = map(stack, ("offset", "turn", "anchor", "axis"))
        self._axis = axis.unsqueeze(-1)
        zero = torch.zeros_like(axis[..., 0])
        x, y, z = axis.unbind(-1)
        self._skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).view(depth, len(points), 3, 3)
        self._skew2 = self._skew @ self._skew
        at = np.array([pos for _, pos in points]).reshape(-1, 3)
        self._point = torch.tensor(at, dtype=torch.float32, device=device)

    def __call__(
        self,
        base_pos: Tensor,
        base_quat: Tensor,
        base_lin_vel: Tensor,
        base_ang_vel: Tensor,
        joint_pos: Tensor,
        joint_vel: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Positions and velocities of the points, world frame, both [N, F, 3]; inputs as in `Engine`."""
        depth, num_feet = self._joint.shape
        num_envs = len(joint_pos)
        still = torch.zeros_like(joint_pos[:, :1])  # of fixed links
        angle = torch.cat((joint_pos - self._reference, still), 1).T[self._joint]  # [K, F, N]
        rate = torch.cat((joint_vel, still), 1).T[self._joint]
        sin, versine = torch.sin(angle)[..., None, None], (1 - torch.cos(angle))[..., None, None]
        pos = torch.zeros(num_feet, num_envs, 3, device=joint_pos.device)
        rot = torch.eye(3, device=joint_pos.device).expand(num_feet, num_envs, 3, 3)

        def times(matrix: Tensor, constant: Tensor) -> Tensor:  # [F, N, 3, 3] x [F, 3, m], one product a foot
            flat = matrix.reshape(num_feet, num_envs * 3, 3)
            return (flat @ constant).view(num_feet, num_envs, 3, -1)

        axes, anchors = [], []
        for k in range(depth):
            pos = pos + times(rot, self._offset[k].unsqueeze(-1)).squeeze(-1)
            rot = times(rot, self._turn[k])
            axes.append(times(rot, self._axis[k]).squeeze(-1))
            anchor = pos + times(rot, self._anchor[k].unsqueeze(-1)).squeeze(-1)
            rot = rot + sin[k] * times(rot, self._skew[k]) + versine[k] * times(rot, self._skew2[k])
            pos = anchor - times(rot, self._anchor[k].unsqueeze(-1)).squeeze(-1)
            anchors.append(anchor)
        pos = pos + times(rot, self._point.unsqueeze(-1)).squeeze(-1)
        vel = torch.linalg.cross(base_ang_vel.expand_as(pos), pos)
        for axis, anchor, speed in zip(axes, anchors, rate, strict=True):
            vel = vel + torch.linalg.cross(axis, pos - anchor) * speed.unsqueeze(-1)
        to_world = quat_to_matrix(base_quat).transpose(1, 2)
        world_pos = pos.transpose(0, 1) @ to_world + base_pos.unsqueeze(1)
        world_vel = vel.transpose(0, 1) @ to_world + base_lin_vel.unsqueeze(1)
        return world_pos, world_vel
