"""Vectors, symmetric matrices and quaternions over abstract scalars.

Vectors are lists of three, 3 x 3 matrices lists of rows, symmetric 3 x 3 matrices [xx, yy, zz, xy, xz, yz].
Spatial vectors are [angular, linear], six numbers about the base's origin in world axes: one frame for the
whole robot, so nothing is ever transformed (Featherstone, Rigid Body Dynamics Algorithms, 2008, chapter 2).
"""

from __future__ import annotations

from physics.batched.scalars import Scalar, Vec, rsqrt

Matrix = list[Vec]


def add(a: Vec, b: Vec) -> Vec:
    """a + b."""
    return [x + y for x, y in zip(a, b, strict=True)]


def sub(a: Vec, b: Vec) -> Vec:
    """a - b."""
    return [x - y for x, y in zip(a, b, strict=True)]


def scale(s: Scalar, a: Vec) -> Vec:
    """s a."""
    return [s * x for x in a]


def axpy(s: Scalar, a: Vec, b: Vec) -> Vec:
    """s a + b."""
    return [s * x + y for x, y in zip(a, b, strict=True)]


def dot(a: Vec, b: Vec) -> Scalar:
    """a . b."""
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + x * y
    return total


def cross(a: Vec, b: Vec) -> Vec:
    """a x b."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def matvec(m: Matrix, v: Vec) -> Vec:
    """m v."""
    return [dot(row, v) for row in m]


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """a b."""
    columns = transpose(b)
    return [[dot(row, column) for column in columns] for row in a]


def transpose(m: Matrix) -> Matrix:
    """m^T."""
    return [list(column) for column in zip(*m, strict=True)]


def sym_matvec(s: Vec, v: Vec) -> Vec:
    """s v for symmetric s."""
    return matvec(sym_rows(s), v)


def sym_rows(s: Vec) -> Matrix:
    """Rows of symmetric s."""
    xx, yy, zz, xy, xz, yz = s
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def rotate_sym(r: Matrix, s: Vec) -> Vec:
    """r s r^T for symmetric s."""
    half = [sym_matvec(s, row) for row in r]  # rows of r s
    pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    return [dot(half[i], r[j]) for i, j in pairs]


def congruence(rows: Matrix, s: Vec) -> Vec:
    """rows^T s rows for symmetric s."""
    return rotate_sym(transpose(rows), s)


def axis_rotation(axis: Vec, c: Scalar, s: Scalar) -> Matrix:
    """Rotation about a unit axis by an angle with cosine c and sine s (Rodrigues).

    The diagonal is written c (1 - a a) + a a, so that constant axes along x, y or z leave no work.
    """
    x, y, z = axis
    v = 1.0 - c
    diagonal = [c * (1.0 - a * a) + a * a for a in axis]
    xy, xz, yz = (x * y) * v, (x * z) * v, (y * z) * v
    return [
        [diagonal[0], xy - z * s, xz + y * s],
        [xy + z * s, diagonal[1], yz - x * s],
        [xz - y * s, yz + x * s, diagonal[2]],
    ]


def quat_matrix(q: Vec) -> Matrix:
    """Rotation matrix of a unit quaternion w x y z."""
    w, x, y, z = q
    return [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]


def quat_normalise(q: Vec) -> Vec:
    """q / |q|."""
    return scale(rsqrt(dot(q, q)), q)


def quat_rotate_by(q: Vec, rotation: Vec) -> Vec:
    """exp(rotation / 2) q, normalised: turn q by a world rotation vector.

    Sine and cosine of the half angle by their series: a step turns by far less than a radian (at 1 rad the
    error is below 1e-7; the sine's series has one term more than the cosine's).
    """
    half = scale(0.5, rotation)
    n = dot(half, half)
    c = 1.0 - n * (1 / 2 - n * (1 / 24 - n * (1 / 720 - n * (1 / 40320 - n * (1 / 3628800)))))
    s = 1.0 - n * (1 / 6 - n * (1 / 120 - n * (1 / 5040 - n * (1 / 362880 - n * (1 / 39916800)))))
    x, y, z = scale(s, half)
    a, b, d, e = q
    return quat_normalise(
        [
            c * a - x * b - y * d - z * e,
            c * b + x * a + y * e - z * d,
            c * d + y * a + z * b - x * e,
            c * e + z * a + x * d - y * b,
        ]
    )


def tangents(n: Vec, upright: Scalar) -> tuple[Vec, Vec]:
    """Two tangents of the unit vector n, as MuJoCo's `mju_makeFrame` chooses them.

    A friction pyramid is not the same in every direction, so the choice matters.

    Args:
        n: unit vector.
        upright: 1 where |n_y| < 0.5, else 0: the first tangent starts from y, else from z.
    """
    start = [0.0, upright, 1.0 - upright]
    first = axpy(-dot(n, start), n, start)
    first = scale(rsqrt(dot(first, first)), first)
    return first, cross(n, first)
