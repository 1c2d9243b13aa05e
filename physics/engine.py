"""What an environment may ask of a physics engine.

Every engine steps `num_envs` copies of one `mujoco.MjModel` (N robots, A actuated joints, F feet, C contact
groups) and owns float32 tensors on its device that are refreshed in place at the end of every call: keep a
reference once, read it for ever.

Positions, velocities and foot kinematics belong to the end of the last substep; contact forces and joint
torques to its start, because that is where MuJoCo evaluates them (on every engine).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from robots.config import match

JOINT_PARAMS = ("stiffness", "damping", "effort_limit", "joint_damping", "armature", "friction_loss")
"""Per-robot parameters with a value per joint, in the order in which generated code stores them."""
PARAMS = ("friction", "base_mass", "base_com", *JOINT_PARAMS)
"""All per-robot parameters."""


def check_params(names: Iterable[str]) -> None:
    """ValueError for a name that is not a per-robot parameter."""
    for name in names:
        if name not in PARAMS:
            raise ValueError(f"engine parameter {name!r} is unknown; choose from {', '.join(PARAMS)}")


class Engine(Protocol):
    """N robots of one kind on one ground, stepped together."""

    num_envs: int
    device: torch.device
    timestep: float
    """Physics time step, s."""
    joint_names: tuple[str, ...]
    """Names of the A actuated joints, in the MJCF's order, which is the order of every [N, A] tensor."""
    contact_groups: tuple[str, ...]
    """Names of the C contact groups, in the order of `contact_force`."""
    joint_pos_limits: Tensor
    """Lower and upper joint limits, rad, [A, 2]; infinite where a joint has none."""
    base_mass: Tensor
    """Mass of each robot's base link, kg, [N]."""
    total_mass: Tensor
    """Mass of each robot, kg, [N]."""
    nominal: dict[str, Tensor]
    """Gravity [3] and the parameters but friction (which is a geom's) as the model has them: [], [3] or [A]."""

    base_pos: Tensor
    """Position of the base frame in the world, m, [N, 3]."""
    base_quat: Tensor
    """Rotation from base to world, w x y z, [N, 4]."""
    base_lin_vel: Tensor
    """Velocity of the base frame's origin, world frame, m/s, [N, 3]."""
    base_ang_vel: Tensor
    """Angular velocity, base frame, rad/s, [N, 3]."""
    joint_pos: Tensor
    """rad, [N, A]."""
    joint_vel: Tensor
    """rad/s, [N, A]."""
    joint_torque: Tensor
    """Torque of the actuators after clipping, N m, [N, A]."""
    foot_pos: Tensor
    """Centres of the foot geoms, world frame, m, [N, F, 3]."""
    foot_vel: Tensor
    """Velocities of the same points, world frame, m/s, [N, F, 3]."""
    sphere_pos: Tensor
    """Centres of the spheres that may touch the ground, P in all (corners, of geoms of other shapes), world frame, m,
    [N, P, 3]: of the robots that `write_state` set last, where it put them."""
    sphere_radius: Tensor
    """Radius of each, m, [P]."""
    contact_force: Tensor
    """Force of the ground on each contact group, world frame, N, [N, C, 3]; a standing foot reads +z."""
    bad: Tensor
    """True where a robot's numbers stopped being finite; cleared by `write_state`, bool, [N]."""
    base_wrench: Tensor
    """Input: force (N) and torque (N m) on the base's centre of mass, world frame, [N, 6]."""
    gravity: Tensor
    """Input: gravity of each robot, world frame, m/s^2, [N, 3]."""

    def step(
        self,
        targets: Tensor,
        num_substeps: int,
        previous_targets: Tensor | None = None,
        switch_substep: Tensor | None = None,
    ) -> None:
        """Advance all robots.

        Args:
            targets: joint angles (rad; position actuation) or torques (N m; torque actuation), [N, A].
            num_substeps: number of physics steps.
            previous_targets: targets in force until a robot's switch, [N, A].
            switch_substep: first substep at which a robot uses the new targets, int, [N].
        """

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
        """Set the state of the robots in `mask` (bool, [N]); other rows of the arguments are ignored.

        Shapes and frames are those of the attributes. Forces, torques, warm start and `bad` of these robots
        are cleared and their foot kinematics recomputed. Of other robots in `pushed` (bool, [N]), if given, only the
        base's velocity is set: the same as `set_base_velocity`, in one call.
        """

    def raise_base(self, height: Tensor) -> None:
        """Move each robot up, m, [N], its feet included; 0 leaves it where it is."""

    def set_base_velocity(self, mask: Tensor, base_lin_vel: Tensor, base_ang_vel: Tensor) -> None:
        """Set the base's velocity (world, m/s, [N, 3]; base frame, rad/s, [N, 3]) of the robots in `mask`."""

    def set_params(self, mask: Tensor, **params: Tensor) -> None:
        """Set parameters of the robots in `mask`; derived constants follow.

        Keywords, each with a row per robot: `friction` [N] (coefficient at the contact itself: robot geoms
        have priority), `base_mass` [N] (kg; inertia scales along), `base_com` [N, 3] (m, base frame),
        `stiffness`, `damping`, `effort_limit`, `joint_damping`, `armature`, `friction_loss` [N, A].

        Raises:
            ValueError: a keyword that is not a parameter.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that shapes the future, warm starts and per-robot parameters included (copies)."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue exactly where `state_dict` was taken."""


def per_joint(patterns: dict[str, float], engine: Engine) -> Tensor:
    """Value of each joint's first pattern, [A]; ValueError for a joint without one."""
    return torch.tensor([match(patterns, name) for name in engine.joint_names], device=engine.device)
