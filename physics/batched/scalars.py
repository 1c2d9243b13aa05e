"""The numbers that the physics is written over.

A scalar is a Python float (a constant), a torch tensor (eager execution, one element per robot) or a
`tracer.Traced` (a value of generated code). Floats take part in every operation; constants 0 and 1 vanish from
traced code, which specialises it to a robot. Conditions are comparisons of scalars.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch

Scalar: TypeAlias = Any
"""Python float, tensor or traced value."""
Vec: TypeAlias = list[Scalar]
"""Coordinates of a vector."""


def _apply(name: str, x: Scalar) -> Scalar:
    return getattr(math, name)(x) if isinstance(x, (int, float)) else getattr(x, name)()


def sin(x: Scalar) -> Scalar:
    """Sine."""
    return _apply("sin", x)


def cos(x: Scalar) -> Scalar:
    """Cosine."""
    return _apply("cos", x)


def floor(x: Scalar) -> Scalar:
    """Largest integer not above x."""
    return _apply("floor", x)


def rsqrt(x: Scalar) -> Scalar:
    """1 / sqrt(x)."""
    return 1.0 / math.sqrt(x) if isinstance(x, (int, float)) else x.rsqrt()


def reciprocal(x: Scalar) -> Scalar:
    """1 / x."""
    return 1.0 / x if isinstance(x, (int, float)) else x.reciprocal()


def minimum(a: Scalar, b: Scalar) -> Scalar:
    """The smaller of two."""
    return select(a < b, a, b)


def maximum(a: Scalar, b: Scalar) -> Scalar:
    """The larger of two."""
    return select(a > b, a, b)


def clamp(x: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """x, but not below `low` nor above `high`; NaN stays NaN, so that a robot that lost its numbers is seen."""
    return select(x < low, low, select(x > high, high, x))


def select(condition: Any, a: Scalar, b: Scalar) -> Scalar:
    """a where the condition holds, else b."""
    if isinstance(condition, bool):
        return a if condition else b
    if isinstance(condition, torch.Tensor):
        if isinstance(a, float) and isinstance(b, float):
            raise TypeError("select between two constants: write it with arithmetic on a scalar")
        return torch.where(condition, a, b)
    return condition.select(a, b)
