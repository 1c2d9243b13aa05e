"""Constraint rows: contacts with a friction pyramid, joint limits and dry friction of joints.

MuJoCo's model (its documentation, chapter Computation): a row has a residual r = J a - aref, a weight
D = 1 / R and costs D r^2 / 2 where it is active. The reference acceleration is
aref = -b J v - k imp(dist) dist, and R = (1 - imp) / imp x an estimate of J M^-1 J^T from invweight0.
"""

from __future__ import annotations

from dataclasses import dataclass

from physics.batched.algebra import (
    Matrix,
    add,
    axpy,
    congruence,
    cross,
    dot,
    matvec,
    scale,
    sub,
    sym_rows,
)
from physics.batched.records import (
    Base,
    BaseSystem,
    Contact,
    JointRows,
    Joints,
    Link,
    SphereConstants,
    SphereInputs,
)
from physics.batched.scalars import Scalar, Vec, minimum, reciprocal, select


@dataclass(frozen=True)
class SoftConstants:
    """How soft a joint's limit or dry friction is (from solref and solimp)."""

    stiffness: float
    damping: float
    imp_start: float
    imp_end: float
    imp_width: float
    imp_middle: float


def impedance(dist: Scalar, start: Scalar, end: Scalar, width: Scalar, middle: Scalar, power: int) -> Scalar:
    """MuJoCo's solimp: from `start` at the surface to `end` at depth `width`, a sigmoid of integer power."""
    x = minimum(abs(dist) * reciprocal(width), 1.0)
    if power == 1:
        return start + x * (end - start)
    rise, fall = x, 1.0 - x
    for _ in range(power - 1):
        rise, fall = rise * x, fall * (1.0 - x)
    middle_scale = reciprocal(middle)
    rest_scale = reciprocal(1.0 - middle)
    up, down = 1.0, 1.0
    for _ in range(power - 1):
        up, down = up * middle_scale, down * rest_scale
    y = select(x < middle, rise * up, 1.0 - fall * down)
    return start + y * (end - start)


def make_contact(
    base: Base,
    chain: list[Link],
    joints: Joints,
    centre: Vec,
    dist: Scalar,
    frame: Matrix,
    sphere: SphereConstants,
    inputs: SphereInputs,
    power: int,
) -> Contact:
    """Contact of a sphere with the ground.

    Args:
        base: state of the base.
        chain: links of the limb, none for a sphere on the base.
        joints: their state.
        centre: of the sphere, relative to the base's origin.
        dist: between the surfaces, negative in contact, m.
        frame: normal away from the ground and two tangents.
        sphere: constants.
        inputs: friction and weight.
        power: of the impedance.
    """
    # MuJoCo puts the contact point halfway between the surfaces.
    point = axpy(-(sphere.radius + 0.5 * dist), frame[0], centre)
    jacobian = [
        scale(moves, cross(link.axis, sub(point, link.pos)))
        for link, moves in zip(chain, sphere.on, strict=True)
    ]
    velocity = add(base.lin_vel, cross(base.ang_vel, point))
    for column, speed in zip(jacobian, joints.vel, strict=True):
        velocity = axpy(speed, column, velocity)
    imp = impedance(dist, sphere.imp_start, sphere.imp_end, sphere.imp_width, sphere.imp_middle, power)
    ref = scale(sphere.damping, matvec(frame, velocity))
    ref[0] = ref[0] + sphere.stiffness * imp * dist
    weight = select(dist < 0.0, inputs.weight * imp * reciprocal(1.0 - imp), 0.0)
    return Contact(point, jacobian, frame, ref, weight, inputs.friction)


def contact_rows(contact: Contact, base_acc: Vec, joint_acc: Vec) -> Vec:
    """J a of a contact's three rows.

    Args:
        contact: the contact.
        base_acc: angular and linear acceleration of the base, [6].
        joint_acc: [k].
    """
    acc = add(base_acc[3:], cross(base_acc[:3], contact.point))
    for column, a in zip(contact.jacobian, joint_acc, strict=True):
        acc = axpy(a, column, acc)
    return matvec(contact.frame, acc)


def edges(rows: Vec, friction: Scalar) -> Vec:
    """Residuals (or their changes) of the pyramid's four edges from those of its three rows."""
    normal, first, second = rows
    a, b = friction * first, friction * second
    return [normal + a, normal - a, normal + b, normal - b]


def active_weights(residuals: Vec, weight: Scalar) -> Vec:
    """Weights of one-sided rows: D where the residual is negative, else 0."""
    return [select(r < 0.0, weight, 0.0) for r in residuals]


def contact_force(contact: Contact, residual: Vec) -> Vec:
    """Force of the ground on the sphere, world axes."""
    rows = edges(residual, contact.friction)
    f = [-(d * r) for d, r in zip(active_weights(rows, contact.weight), rows, strict=True)]
    normal = (f[0] + f[1]) + (f[2] + f[3])
    local = [normal, contact.friction * (f[0] - f[1]), contact.friction * (f[2] - f[3])]
    return [dot(local, [axis[i] for axis in contact.frame]) for i in range(3)]


def contact_hessian(contact: Contact, residual: Vec) -> Vec:
    """Second derivative of the cost by the acceleration of the contact point, symmetric 3 x 3, world axes."""
    mu = contact.friction
    d = active_weights(edges(residual, mu), contact.weight)
    first, second, square = d[0] + d[1], d[2] + d[3], mu * mu
    # over normal, first and second tangent; the tangents do not couple
    local = [first + second, square * first, square * second, mu * (d[0] - d[1]), mu * (d[2] - d[3]), 0.0]
    return congruence(contact.frame, local)


def add_contact(
    contact: Contact, residual: Vec, block: Matrix, coupling: list[Vec], gradient: Vec
) -> BaseSystem:
    """Add a contact to a limb's Newton system; returns what it adds to the base's.

    Args:
        contact: the contact.
        residual: of its rows, [3].
        block: lower triangle of the limb's Hessian, changed.
        coupling: of limb and base, [k][6], changed.
        gradient: of the limb, [k], changed.
    """
    hessian, force = contact_hessian(contact, residual), contact_force(contact, residual)
    point = contact.point
    for j, column in enumerate(contact.jacobian):
        g = matvec(sym_rows(hessian), column)
        coupling[j] = add(coupling[j], cross(point, g) + g)
        gradient[j] = gradient[j] - dot(column, force)
        for i in range(j + 1):
            block[j][i] = block[j][i] + dot(contact.jacobian[i], g)
    # base block: [p]x G [p]x^T, [p]x G, G
    columns = [cross(point, row) for row in sym_rows(hessian)]  # of [p]x G
    lever = [[columns[c][r] for c in range(3)] for r in range(3)]
    angular = [cross(point, row) for row in lever]
    upper = []
    for i in range(3):
        upper += angular[i][i:] + lever[i]
    for i in range(3):
        upper += sym_rows(hessian)[i][i:]
    return BaseSystem(upper, scale(-1.0, cross(point, force) + force))


def contact_slope(contact: Contact, residual: Vec, change: Vec, step: Scalar) -> Vec:
    """First and second derivative of a contact's cost along a search direction.

    Args:
        contact: the contact.
        residual: of its rows at step 0.
        change: of the rows by a unit step.
        step: where.
    """
    speed = edges(change, contact.friction)
    at = edges(axpy(step, change, residual), contact.friction)
    weighted = [d * v for d, v in zip(active_weights(at, contact.weight), speed, strict=True)]
    return [dot(weighted, at), dot(weighted, speed)]


def joint_rows(
    pos: Scalar,
    vel: Scalar,
    low: Scalar,
    high: Scalar,
    invweight: Scalar,
    friction_loss: Scalar,
    limit: SoftConstants | None,
    friction: SoftConstants | None,
    power: int,
) -> JointRows:
    """Constraint rows of a joint; a kind that is None leaves no work.

    Args:
        pos: rad.
        vel: rad/s.
        low: lower limit.
        high: upper limit.
        invweight: dof_invweight0.
        friction_loss: N m.
        limit: softness of the limits.
        friction: softness of dry friction.
        power: of the impedance.
    """
    rows = JointRows(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if limit:
        to_low, to_high = pos - low, high - pos
        dist = minimum(to_low, to_high)
        rows.limit_sign = select(to_low < to_high, 0.0 * pos + 1.0, 0.0 * pos - 1.0)
        imp = impedance(dist, limit.imp_start, limit.imp_end, limit.imp_width, limit.imp_middle, power)
        rows.limit_ref = limit.damping * (rows.limit_sign * vel) + limit.stiffness * imp * dist
        weight = imp * reciprocal((1.0 - imp) * invweight)
        rows.limit_weight = select(dist < 0.0, weight, 0.0)
    if friction:
        rows.friction_ref = friction.damping * vel
        rows.friction_weight = friction.imp_start / (1.0 - friction.imp_start) * reciprocal(invweight)
        rows.friction_loss = friction_loss
    return rows


def joint_force(rows: JointRows, acc: Scalar) -> tuple[Scalar, Scalar]:
    """Torque of a joint's constraint rows and their second derivative, at an acceleration of the joint."""
    residual = rows.limit_sign * acc + rows.limit_ref
    weight = select(residual < 0.0, rows.limit_weight, 0.0) if _present(rows.limit_weight) else 0.0
    force = -(rows.limit_sign * (weight * residual))
    if _present(rows.friction_weight):
        # quadratic up to the loss, then linear: the force saturates
        wanted = -rows.friction_weight * (acc + rows.friction_ref)
        inside = abs(wanted) < rows.friction_loss
        side = select(wanted < 0.0, -rows.friction_loss, rows.friction_loss)
        force = force + select(inside, wanted, side)
        weight = weight + select(inside, rows.friction_weight, 0.0)
    return force, weight


def joint_slope(rows: JointRows, acc: Scalar, change: Scalar, step: Scalar) -> Vec:
    """First and second derivative of the cost of a joint's rows along a search direction."""
    force, weight = joint_force(rows, acc + step * change)
    return [-(force * change), weight * change * change]


def _present(weight: Scalar) -> bool:
    return not (isinstance(weight, float) and weight == 0.0)
