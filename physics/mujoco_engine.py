"""MuJoCo's C engine on a thread pool (`mujoco.batch`): the reference, and what `batched` refuses."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from mujoco.batch import MODEL_FIELDS, Batch
from torch import Tensor

from physics.engine import check_params
from physics.kinematics import PointKinematics, geom_centres, touching_points
from physics.scene import Actuation, build_scene, joint_pos_limits, nominal_params, robot_base
from robots.config import RobotConfig
from terrains.ground import Ground

_FIRST_BAD = int(mujoco.mjtWarning.mjWARN_BADQPOS)  # the kinds from here on mean numbers that are not finite


class MujocoEngine:
    """`physics.engine.Engine` on MuJoCo C; see there for shapes, units and frames.

    MuJoCo's float64 state is wrapped once and copied to float32 after each call. Robots do not depend on one
    another or on the number of threads: each gives the bits of a plain `mj_step` loop.
    """

    def __init__(
        self,
        robot: RobotConfig,
        ground: Ground,
        num_envs: int,
        timestep: float = 0.005,
        actuation: Actuation = "position",
        num_threads: int = 0,
    ):
        """Compile the scene and stand every robot at the origin.

        Args:
            robot: the robot.
            ground: what it stands on.
            num_envs: number of robots N.
            timestep: physics time step, s.
            actuation: what `step` is given.
            num_threads: threads of the pool, 0 for one per core.
        """
        self.model = model = build_scene(robot, ground, timestep, actuation)
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.timestep = timestep
        self.actuation = actuation
        self.joint_names = tuple(model.joint(i).name for i in range(1, model.njnt))
        self.contact_groups = tuple(robot.contact_groups)

        self._batch = Batch(model, num_envs, num_threads)
        bind = self._batch.bind
        self._state = torch.from_numpy(self._batch.state)
        self._qpos = torch.from_numpy(bind("qpos"))
        self._qvel = torch.from_numpy(bind("qvel"))
        self._ctrl = torch.from_numpy(bind("ctrl"))
        self._warmstart = torch.from_numpy(bind("qacc_warmstart"))
        self._warnings = self._batch.warning  # (last info, count) of each kind
        self._torque = bind("actuator_force")
        self._sensors = bind("sensordata").reshape(num_envs, model.nsensor, 3)
        self._base = robot_base(model)
        self._wrench = torch.from_numpy(bind("xfrc_applied"))[:, self._base]

        # float32 mirrors of the state; the public tensors are views of these
        num_joints, num_groups = model.nu, len(self.contact_groups)
        self._qpos32 = torch.zeros(num_envs, model.nq)
        self._qvel32 = torch.zeros(num_envs, model.nv)
        self.base_pos, self.base_quat = self._qpos32[:, :3], self._qpos32[:, 3:7]
        self.joint_pos = self._qpos32[:, 7:]
        self.base_lin_vel, self.base_ang_vel = self._qvel32[:, :3], self._qvel32[:, 3:6]
        self.joint_vel = self._qvel32[:, 6:]
        self.joint_torque = torch.zeros(num_envs, num_joints)
        self.contact_force = torch.zeros(num_envs, num_groups, 3)
        self.foot_pos = torch.zeros(num_envs, len(robot.feet), 3)
        self.foot_vel = torch.zeros(num_envs, len(robot.feet), 3)
        self.bad = torch.zeros(num_envs, dtype=torch.bool)
        self.base_wrench = torch.zeros(num_envs, 6)
        self.gravity = torch.tensor(model.opt.gravity, dtype=torch.float32).repeat(num_envs, 1)
        self._gravity64: Tensor | None = None
        self.joint_pos_limits = joint_pos_limits(model)
        self.nominal = nominal_params(model, self.device)
        self.base_mass = torch.full((num_envs,), float(model.body_mass[self._base]))
        self.total_mass = torch.full((num_envs,), float(model.body_mass.sum()))

        feet = geom_centres(model, robot.feet)
        self._feet = PointKinematics(model, feet, self._base, self.device)
        points, reach = touching_points(model)
        self._points = PointKinematics(model, points, self._base, self.device)
        self.sphere_pos, self.sphere_radius = torch.zeros(num_envs, len(points), 3), torch.tensor(reach)
        self._collision_geoms = np.flatnonzero(model.geom_contype)
        # Sensors stand in the order of their groups: first sensor of each group, for a segmented sum.
        groups = [int(model.sensor(i).name.split("/")[1]) for i in range(model.nsensor)]
        self._group_starts = [groups.index(group) for group in range(len(self.contact_groups))]
        self._refresh_state()

    def step(
        self,
        targets: Tensor,
        num_substeps: int,
        previous_targets: Tensor | None = None,
        switch_substep: Tensor | None = None,
    ) -> None:
        """See `Engine.step`."""
        self._write_inputs()
        if previous_targets is None or switch_substep is None:
            self._ctrl.copy_(targets)
            self._advance(num_substeps)
        else:
            for substep in range(num_substeps):
                switched = (switch_substep <= substep).unsqueeze(1)
                self._ctrl.copy_(torch.where(switched, targets, previous_targets))
                self._advance(1)
        self._refresh_state()
        np.copyto(self.joint_torque.numpy(), self._torque, casting="same_kind")
        # MuJoCo reports the force of the robot on the ground.
        np.negative(
            np.add.reduceat(self._sensors, self._group_starts, axis=1),
            out=self.contact_force.numpy(),
            casting="same_kind",
        )
        # MuJoCo counts non-finite (or huge) positions, velocities, accelerations and controls at the start of
        # each substep; the last one's result is looked at here. A sum is finite if every term is.
        self.bad |= torch.from_numpy(self._warnings[:, _FIRST_BAD:, 1].any(1))
        self.bad |= ~torch.isfinite(self._qpos32.sum(1) + self._qvel32.sum(1))
        self._warnings[:] = 0

    def _advance(self, num_substeps: int) -> None:
        # A robot with NaN is flagged in `bad`; MuJoCo would also print it and write a log file.
        config = mujoco.MjLogConfig.get()
        quiet = mujoco.MjLogConfig.get()
        quiet.logto_console = quiet.logto_file = False
        quiet.set()
        try:
            self._batch.step(nstep=num_substeps)
        finally:
            config.set()

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
        if pushed is not None:
            self.set_base_velocity(pushed, base_lin_vel, base_ang_vel)
        rows = mask.nonzero().squeeze(1)
        if not len(rows):
            return
        self._qpos[rows] = torch.cat((base_pos, base_quat, joint_pos), 1)[rows].double()
        self._qvel[rows] = torch.cat((base_lin_vel, base_ang_vel, joint_vel), 1)[rows].double()
        self._warmstart[rows] = 0.0
        self.joint_torque[rows] = 0.0
        self.contact_force[rows] = 0.0
        self.bad[rows] = False
        self._refresh_state()
        self.sphere_pos[rows], _ = self._points(
            self.base_pos[rows],
            self.base_quat[rows],
            self.base_lin_vel[rows],
            self.base_ang_vel[rows],
            self.joint_pos[rows],
            self.joint_vel[rows],
        )

    def raise_base(self, height: Tensor) -> None:
        """See `Engine.raise_base`."""
        if height.any():
            self._qpos[:, 2] += height
            self._refresh_state()

    def set_base_velocity(self, mask: Tensor, base_lin_vel: Tensor, base_ang_vel: Tensor) -> None:
        """See `Engine.set_base_velocity`."""
        rows = mask.nonzero().squeeze(1)
        if len(rows):
            self._qvel[rows, :6] = torch.cat((base_lin_vel, base_ang_vel), 1)[rows].double()
            self._refresh_state()

    def set_params(self, mask: Tensor, **params: Tensor) -> None:
        """See `Engine.set_params`."""
        check_params(params)
        rows = mask.nonzero().squeeze(1).numpy()
        for name, value in params.items():
            if len(rows):
                self._set_param(name, rows, value.double().numpy()[rows])
        if len(rows) and not {"base_mass", "base_com", "armature"}.isdisjoint(params):
            self._batch.set_const(rows)

    def _set_param(self, name: str, rows: np.ndarray, value: np.ndarray) -> None:
        expand = self._batch.expand
        if name == "friction":
            expand("geom_friction")[rows[:, None], self._collision_geoms, 0] = value[:, None]
        elif name == "base_mass":
            mass, inertia = expand("body_mass"), expand("body_inertia")
            inertia[rows, self._base] = (
                self.model.body_inertia[self._base] * (value / self.model.body_mass[self._base])[:, None]
            )
            mass[rows, self._base] = value
            self.base_mass.copy_(torch.from_numpy(mass[:, self._base]))
            self.total_mass.copy_(torch.from_numpy(mass.sum(1)))
        elif name == "base_com":
            expand("body_ipos")[rows, self._base] = value
        elif name == "stiffness":
            expand("actuator_gainprm")[rows, :, 0] = value
            expand("actuator_biasprm")[rows, :, 1] = -value
        elif name == "damping":
            expand("actuator_biasprm")[rows, :, 2] = -value
        elif name == "effort_limit":
            expand("actuator_forcerange")[rows] = np.stack((-value, value), -1)
        else:
            field = {
                "joint_damping": "dof_damping",
                "armature": "dof_armature",
                "friction_loss": "dof_frictionloss",
            }
            expand(field[name])[rows, 6:] = value

    def state_dict(self) -> dict[str, Tensor]:
        """See `Engine.state_dict`."""
        state = {
            name: getattr(self, name).clone()
            for name in (
                "joint_torque",
                "contact_force",
                "bad",
                "base_wrench",
                "gravity",
                "base_mass",
                "total_mass",
            )
        }
        state["state"] = self._state.clone()
        for name in self._expanded():
            state[f"param/{name}"] = torch.from_numpy(self._batch.expand(name)).clone()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Engine.load_state_dict`; ValueError where shapes do not fit this scene."""
        saved = list(state["state"].shape) if "state" in state else "another engine's"
        if saved != list(self._state.shape):
            raise ValueError(
                f"the saved physics state is {saved}, this scene needs "
                f"{list(self._state.shape)}: robot, engine and num_envs must be those of the saved run"
            )
        self._state.copy_(state["state"])
        # parameters that this engine gave robots of their own, but the saved one did not
        for name in self._expanded():
            if f"param/{name}" not in state:
                owner, field = (self.model.opt, name[4:]) if name.startswith("opt.") else (self.model, name)
                own = self._batch.expand(name)
                own[...] = getattr(owner, field)[: own.shape[1]]  # bvh_aabb has no rows for meshes
        self._gravity64 = None  # taken up again by the first step that needs it
        for key, value in state.items():
            if key.startswith("param/"):
                self._batch.expand(key.removeprefix("param/"))[...] = value.numpy()
            elif key != "state":
                getattr(self, key).copy_(value)
        self._refresh_state()

    def _expanded(self) -> list[str]:
        return sorted(name for name in MODEL_FIELDS if self._batch.expanded(name) is not None)

    def _write_inputs(self) -> None:
        self._wrench.copy_(self.base_wrench)
        if self._gravity64 is not None:
            self._gravity64.copy_(self.gravity)
        elif not torch.equal(self.gravity, self.gravity[:1].expand_as(self.gravity)) or not torch.equal(
            self.gravity[0], torch.tensor(self.model.opt.gravity, dtype=torch.float32)
        ):
            # Per-robot gravity costs a copy per robot and step, so it is switched on by first use.
            self._gravity64 = torch.from_numpy(self._batch.expand("opt.gravity"))
            self._gravity64.copy_(self.gravity)

    def _refresh_state(self) -> None:
        self._qpos32.copy_(self._qpos)
        self._qvel32.copy_(self._qvel)
        foot_pos, foot_vel = self._feet(
            self.base_pos,
            self.base_quat,
            self.base_lin_vel,
            self.base_ang_vel,
            self.joint_pos,
            self.joint_vel,
        )
        self.foot_pos.copy_(foot_pos)
        self.foot_vel.copy_(foot_vel)
