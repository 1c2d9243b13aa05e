"""Newton's method on MuJoCo's primal problem, for a mass matrix that is a block arrow.

minimise over a:  (a - a0)^T M (a - a0) / 2 + sum of the rows' costs, M a0 = tau (MuJoCo's documentation,
Computation, "Primal problem"). A limb couples to the base only, and a contact to one limb and the base, so the
Hessian has one small block per limb and a 6 x 6 block for the base: limbs are eliminated one by one, the base
is solved, and limbs follow by back-substitution.
"""

from __future__ import annotations

from physics.batched.algebra import Matrix, add, axpy, cross, dot, scale, sub, sym_matvec
from physics.batched.constraints import joint_force, joint_slope
from physics.batched.records import BaseSystem, Factor, Inertial, Limb
from physics.batched.scalars import Scalar, Vec, rsqrt


def sym_times(lower: Matrix, x: Vec) -> Vec:
    """Product of a symmetric matrix, given by its lower triangle, and a vector."""
    k = len(x)
    return [dot([lower[max(i, j)][min(i, j)] for j in range(k)], x) for i in range(k)]


def limb_system(limb: Limb, base_acc: Vec, joint_acc: Vec) -> tuple[Matrix, list[Vec], Vec, BaseSystem]:
    """Newton system of a limb without contacts, and what it adds to the base's.

    Args:
        limb: the limb.
        base_acc: present acceleration of the base, [6].
        joint_acc: of the joints, [k].

    Returns:
        Hessian (lower triangle), coupling to the base [k][6], gradient [k], the base's share.
    """
    block = [list(row) for row in limb.mass]
    gradient = sub(sym_times(limb.mass, joint_acc), limb.tau)
    for j, rows in enumerate(limb.rows):
        force, weight = joint_force(rows, joint_acc[j])
        gradient[j] = gradient[j] + dot(limb.force[j], base_acc) - force
        block[j][j] = block[j][j] + weight
    push = [dot([column[i] for column in limb.force], joint_acc) for i in range(6)]
    return block, [list(column) for column in limb.force], gradient, BaseSystem([0.0] * 21, push)


def factorise(block: Matrix, coupling: list[Vec], gradient: Vec) -> Factor:
    """Cholesky factor of a limb's block, and L^-1 times coupling and gradient."""
    k = len(block)
    lower: Matrix = [list(row[:-1]) for row in block]
    inverse: Vec = []
    y, z = [list(column) for column in coupling], list(gradient)
    for i in range(k):
        for j in range(i):
            entry = block[i][j]
            for t in range(j):
                entry = entry - lower[i][t] * lower[j][t]
            lower[i][j] = entry * inverse[j]
        pivot = block[i][i]
        for t in range(i):
            pivot = pivot - lower[i][t] * lower[i][t]
            y[i] = axpy(-lower[i][t], y[t], y[i])
            z[i] = z[i] - lower[i][t] * z[t]
        inverse.append(rsqrt(pivot))
        y[i], z[i] = scale(inverse[i], y[i]), z[i] * inverse[i]
    return Factor(lower, inverse, y, z)


def eliminate(factor: Factor) -> BaseSystem:
    """What remains of a limb in the base's system: minus Y^T Y and minus Y^T z (Schur complement)."""
    columns = [[row[i] for row in factor.coupling] for i in range(6)]
    hessian = [-dot(columns[i], columns[j]) for i in range(6) for j in range(i, 6)]
    return BaseSystem(hessian, [-dot(column, factor.residual) for column in columns])


def back_substitute(factor: Factor, base_step: Vec) -> Vec:
    """Newton step of a limb's joints, given the base's."""
    k = len(factor.inverse)
    x = [-(z + dot(y, base_step)) for y, z in zip(factor.coupling, factor.residual, strict=True)]
    for i in reversed(range(k)):
        for t in range(i + 1, k):
            x[i] = x[i] - factor.lower[t][i] * x[t]
        x[i] = x[i] * factor.inverse[i]
    return x


def base_mass_upper(inertial: Inertial, mass: Scalar) -> Vec:
    """The base's block of the mass matrix: upper triangle, row by row."""
    xx, yy, zz, xy, xz, yz = inertial.inertia
    hx, hy, hz = inertial.moment
    return [
        *(xx, xy, xz, 0.0, -hz, hy),
        *(yy, yz, hz, 0.0, -hx),
        *(zz, -hy, hx, 0.0),
        *(mass, 0.0, 0.0),
        *(mass, 0.0),
        mass,
    ]


def base_mass_times(inertial: Inertial, mass: Scalar, acc: Vec) -> Vec:
    """The base's block of the mass matrix times an acceleration [6]."""
    angular, linear = acc[:3], acc[3:]
    h = inertial.moment
    return add(sym_matvec(inertial.inertia, angular), cross(h, linear)) + add(
        scale(mass, linear), cross(angular, h)
    )


def solve_base(upper: Vec, right: Vec) -> Vec:
    """x with S x = right, for a symmetric positive definite 6 x 6 matrix given by its upper triangle."""
    block = [[upper[6 * j - j * (j - 1) // 2 + i - j] for j in range(i + 1)] for i in range(6)]
    factor = factorise(block, [[] for _ in range(6)], right)
    x = list(factor.residual)
    for i in reversed(range(6)):
        for t in range(i + 1, 6):
            x[i] = x[i] - factor.lower[t][i] * x[t]
        x[i] = x[i] * factor.inverse[i]
    return x


def base_step(inertial: Inertial, mass: Scalar, acc: Vec, system: BaseSystem) -> tuple[Vec, Vec]:
    """Newton step of the base, and its share of the slope and curvature of the quadratic part.

    Args:
        inertial: of the whole robot.
        mass: of the whole robot.
        acc: present acceleration of the base, [6].
        system: sum of what limbs and contacts add.
    """
    bias = inertial.bias_torque + inertial.bias_force
    own = add(base_mass_times(inertial, mass, acc), bias)
    step = solve_base(
        add(base_mass_upper(inertial, mass), system.hessian), scale(-1.0, add(own, system.gradient))
    )
    return step, [dot(step, own), dot(step, base_mass_times(inertial, mass, step))]


def limb_slope(limb: Limb, base_acc: Vec, joint_acc: Vec, base_change: Vec, joint_change: Vec) -> Vec:
    """A limb's share of slope and curvature of the quadratic part along a step."""
    by_base = [dot(column, base_acc) for column in limb.force]
    by_change = [dot(column, base_change) for column in limb.force]
    residual = sub(add(sym_times(limb.mass, joint_acc), by_base), limb.tau)
    slope = dot(joint_change, residual) + dot(by_change, joint_acc)
    curvature = dot(joint_change, sym_times(limb.mass, joint_change)) + 2.0 * dot(by_change, joint_change)
    return [slope, curvature]


def limb_rows_slope(limb: Limb, joint_acc: Vec, joint_change: Vec, step: Scalar) -> Vec:
    """Slope and curvature of the joints' constraint rows along a step."""
    total: Vec = [0.0, 0.0]
    for rows, acc, change in zip(limb.rows, joint_acc, joint_change, strict=True):
        total = add(total, joint_slope(rows, acc, change, step))
    return total
