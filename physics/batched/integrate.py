"""From accelerations to the next state: MuJoCo's implicitfast, then semi-implicit Euler."""

from __future__ import annotations

from physics.batched.algebra import add, axpy, quat_rotate_by, scale
from physics.batched.newton import base_mass_upper, factorise, solve_base
from physics.batched.records import Base, BaseSystem, Factor, Inertial, Joints, Limb
from physics.batched.scalars import Scalar, Vec


def implicit_factor(limb: Limb, joint_acc: Vec) -> Factor:
    """Limb's part of (M + h D) da = -h D a.

    implicitfast solves (M + h D) a' = M a with D the damping of drives and joints (MuJoCo's documentation,
    Computation, "Numerical integration"); a' = a + da has a small right side, which keeps float32 exact.
    """
    block = [list(row) for row in limb.mass]
    for j, damping in enumerate(limb.implicit):
        block[j][j] = block[j][j] + damping
    gradient = [damping * a for damping, a in zip(limb.implicit, joint_acc, strict=True)]
    return factorise(block, limb.force, gradient)


def implicit_base(inertial: Inertial, mass: Scalar, system: BaseSystem) -> Vec:
    """Base's part of the same, [6]; `system` is the sum of the limbs' `eliminate`."""
    return solve_base(add(base_mass_upper(inertial, mass), system.hessian), scale(-1.0, system.gradient))


def move_base(base: Base, acc: Vec, timestep: float) -> Base:
    """Velocity first, then position with the new velocity. `acc` is [6], world axes."""
    ang_vel = axpy(timestep, acc[:3], base.ang_vel)
    lin_vel = axpy(timestep, acc[3:], base.lin_vel)
    return Base(
        axpy(timestep, lin_vel, base.pos),
        quat_rotate_by(base.quat, scale(timestep, ang_vel)),
        lin_vel,
        ang_vel,
    )


def move_joints(joints: Joints, acc: Vec, timestep: float) -> Joints:
    """The same for joints."""
    vel = axpy(timestep, acc, joints.vel)
    return Joints(axpy(timestep, vel, joints.pos), vel)
