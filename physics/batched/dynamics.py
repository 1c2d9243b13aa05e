"""Kinematics and dynamics of one limb and of the base, in world axes about the base's origin.

Recursive Newton-Euler and composite rigid bodies (Featherstone 2008, chapters 5 and 6) without frame changes:
the base's linear velocity is left out (a moving frame without acceleration sees the same forces) and its
acceleration is minus gravity.
"""

from __future__ import annotations

from physics.batched.algebra import (
    Matrix,
    add,
    axis_rotation,
    axpy,
    cross,
    dot,
    matmul,
    matvec,
    quat_matrix,
    rotate_sym,
    scale,
    sub,
    sym_matvec,
)
from physics.batched.records import (
    Base,
    BaseConstants,
    BaseInputs,
    Inertial,
    Joints,
    Limb,
    LimbInputs,
    Link,
    LinkConstants,
)
from physics.batched.scalars import Scalar, Vec, clamp, cos, select, sin


def base_rotation(base: Base) -> Matrix:
    """Base to world."""
    return quat_matrix(base.quat)


def links(rot: Matrix, joint_pos: Vec, constants: list[LinkConstants]) -> list[Link]:
    """Forward kinematics of a limb.

    Args:
        rot: rotation of the base.
        joint_pos: [k], rad.
        constants: of each link.
    """
    chain: list[Link] = []
    pos: Vec = [0.0, 0.0, 0.0]
    for angle, link in zip(joint_pos, constants, strict=True):
        pos = add(pos, matvec(rot, link.offset))
        turned = angle - link.ref
        at_zero = matmul(rot, link.turn)
        rot = matmul(at_zero, axis_rotation(link.axis, cos(turned), sin(turned)))
        chain.append(Link(rot, pos, matvec(at_zero, link.axis)))
    return chain


def rigid_body(rot: Matrix, pos: Vec, mass: Scalar, com: Vec, inertia: Vec) -> tuple[Vec, Vec]:
    """First moment (m c) and inertia about the base's origin of a body.

    Args:
        rot: body to world.
        pos: of its frame.
        mass: kg.
        com: in its frame.
        inertia: about its centre of mass, in its frame, symmetric.
    """
    c = add(pos, matvec(rot, com))
    h = scale(mass, c)
    xx, yy, zz, xy, xz, yz = rotate_sym(rot, inertia)
    # parallel axes: I + m (c.c 1 - c c^T)
    x2, y2, z2 = h[0] * c[0], h[1] * c[1], h[2] * c[2]
    about_origin = [
        xx + (y2 + z2),
        yy + (x2 + z2),
        zz + (x2 + y2),
        xy - h[0] * c[1],
        xz - h[0] * c[2],
        yz - h[1] * c[2],
    ]
    return h, about_origin


def newton_euler(mass: Scalar, h: Vec, inertia: Vec, w: Vec, v: Vec, alpha: Vec, a: Vec) -> tuple[Vec, Vec]:
    """Torque and force that move a body (Featherstone 2008, equation 5.20: I a + v x* I v).

    Args:
        mass: kg.
        h: mass times centre of mass.
        inertia: about the origin.
        w: angular velocity.
        v: velocity of the body's point at the origin.
        alpha: angular acceleration.
        a: acceleration of the body's point at the origin.
    """
    linear = add(scale(mass, v), cross(w, h))
    angular = add(sym_matvec(inertia, w), cross(h, v))
    force = add(add(scale(mass, a), cross(alpha, h)), cross(w, linear))
    torque = add(add(sym_matvec(inertia, alpha), cross(h, a)), add(cross(w, angular), cross(v, linear)))
    return torque, force


def base_inertial(base: Base, rot: Matrix, inputs: BaseInputs, constants: BaseConstants) -> Inertial:
    """Inertia and bias force of the base and what is fixed to it, outside forces taken off."""
    unit = scale(inputs.mass, constants.unit_inertia)
    mass, (h, inertia) = inputs.mass, rigid_body(rot, [0.0] * 3, inputs.mass, inputs.com, unit)
    if constants.fixed_mass:
        fixed = constants.fixed_mass, constants.fixed_com, constants.fixed_inertia
        more_h, more_inertia = rigid_body(rot, [0.0] * 3, *fixed)
        mass, h, inertia = mass + constants.fixed_mass, add(h, more_h), add(inertia, more_inertia)
    still, rest = [0.0] * 3, scale(-1.0, inputs.gravity)
    torque, force = newton_euler(mass, h, inertia, base.ang_vel, still, still, rest)
    lever = matvec(rot, inputs.com)
    outside = add(inputs.torque, cross(lever, inputs.force))
    return Inertial(inertia, h, sub(torque, outside), sub(force, inputs.force))


def limb_dynamics(
    base: Base,
    gravity: Vec,
    chain: list[Link],
    joints: Joints,
    inputs: LimbInputs,
    constants: list[LinkConstants],
    timestep: float,
    torque_mode: bool,
    joint_rows,
) -> tuple[Limb, Inertial]:
    """Mass matrix, bias, actuators and joint constraints of a limb; and what it adds to the base's.

    Args:
        base: state of the base.
        gravity: m/s^2.
        chain: where the links are.
        joints: state of the joints.
        inputs: gains and targets.
        constants: of each link.
        timestep: s.
        torque_mode: targets are torques, not angles.
        joint_rows: makes the constraint rows of a joint, see `constraints.joint_rows`.
    """
    k = len(chain)
    w, v = base.ang_vel, [0.0] * 3
    alpha, a = [0.0] * 3, scale(-1.0, gravity)
    axes = [(link.axis, cross(link.pos, link.axis)) for link in chain]  # motion of each joint at unit speed
    moments, inertias, wrenches, masses = [], [], [], []
    for link, (angular, linear), speed, own in zip(chain, axes, joints.vel, constants, strict=True):
        turn, shift = scale(speed, angular), scale(speed, linear)
        # velocity-product acceleration: motion of the parent x motion of the joint
        alpha = add(alpha, cross(w, turn))
        a = add(a, add(cross(w, shift), cross(v, turn)))
        w, v = add(w, turn), add(v, shift)
        h, inertia = rigid_body(link.rot, link.pos, own.mass, own.com, own.inertia)
        wrenches.append(newton_euler(own.mass, h, inertia, w, v, alpha, a))
        moments.append(h)
        inertias.append(inertia)
        masses.append(own.mass)
    for j in reversed(range(k - 1)):  # everything beyond a joint moves with it
        masses[j] = masses[j] + masses[j + 1]
        moments[j] = add(moments[j], moments[j + 1])
        inertias[j] = add(inertias[j], inertias[j + 1])
        wrenches[j] = tuple(add(x, y) for x, y in zip(wrenches[j], wrenches[j + 1], strict=True))  # type: ignore

    force, tau, implicit, torque, rows = [], [], [], [], []
    for j, (angular, linear) in enumerate(axes):
        force.append(
            add(sym_matvec(inertias[j], angular), cross(moments[j], linear))
            + add(scale(masses[j], linear), cross(angular, moments[j]))
        )
        pos, vel = joints.pos[j], joints.vel[j]
        drive, damping = actuator(j, pos, vel, inputs, torque_mode)
        passive = -inputs.joint_damping[j] * vel - constants[j].spring * (pos - constants[j].spring_ref)
        bias = dot(angular, wrenches[j][0]) + dot(linear, wrenches[j][1])
        torque.append(drive)
        tau.append(drive + passive - bias)
        implicit.append(timestep * (damping + inputs.joint_damping[j]))
        rows.append(joint_rows(j, pos, vel, inputs))
    mass = [[dot(axes[i][0] + axes[i][1], force[j]) for i in range(j + 1)] for j in range(k)]
    for j in range(k):
        mass[j][j] = mass[j][j] + inputs.armature[j]
    inertial = Inertial(inertias[0], moments[0], wrenches[0][0], wrenches[0][1])
    return Limb(force, mass, tau, implicit, torque, rows), inertial


def actuator(
    j: int, pos: Scalar, vel: Scalar, inputs: LimbInputs, torque_mode: bool
) -> tuple[Scalar, Scalar]:
    """Torque of a joint's drive, and its damping as far as MuJoCo's implicitfast sees it.

    An actuator at its force limit has no derivative (MuJoCo, `mjd_actuator_vel`).
    """
    limit = inputs.effort[j]
    if torque_mode:
        return clamp(inputs.target[j], -limit, limit), 0.0
    wanted = inputs.stiffness[j] * (inputs.target[j] - pos) - inputs.damping[j] * vel
    return clamp(wanted, -limit, limit), select(abs(wanted) < limit, inputs.damping[j], 0.0)


def point_motion(
    base: Base, chain: list[Link], joints: Joints, link: Link, pos: Vec, on: Vec
) -> tuple[Vec, Vec]:
    """World position and velocity of a point fixed to a link.

    Args:
        base: state of the base.
        chain: where the links are.
        joints: state of the joints.
        link: the link.
        pos: the point in the link.
        on: 1 for each joint that moves the link, else 0.
    """
    r = add(link.pos, matvec(link.rot, pos))
    velocity = add(base.lin_vel, cross(base.ang_vel, r))
    for mover, speed, moves in zip(chain, joints.vel, on, strict=True):
        velocity = axpy(speed * moves, cross(mover.axis, sub(r, mover.pos)), velocity)
    return add(base.pos, r), velocity
