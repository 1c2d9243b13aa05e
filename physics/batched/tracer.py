"""Turns functions over abstract scalars into straight-line C.

Calling a function with `Traced` arguments records its operations; what the outputs need is written as one C
function whose arguments are arrays of V. V is a SIMD vector of robots in C++ and a float in CUDA C; M is the
result of a comparison of two V. The header of each target defines both, and vsin, vcos, vfloor, vrsqrt,
vrecip, vabs, vsel and splat (a float to a V).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from physics.batched.scalars import Scalar

COMMUTATIVE = ("+", "*", "&", "|")


class Traced:
    """A value of the generated code: an input, or an operation on other values."""

    __slots__ = ("args", "is_condition", "op", "order", "trace")

    def __init__(self, trace: Trace, order: int, op: str, args: tuple, is_condition: bool):
        self.trace, self.order, self.op, self.args, self.is_condition = trace, order, op, args, is_condition

    def __add__(self, other: Scalar) -> Scalar:
        if _is(other, 0.0):
            return self
        return self.trace.node("+", self, other)

    __radd__ = __add__

    def __sub__(self, other: Scalar) -> Scalar:
        if _is(other, 0.0):
            return self
        if other is self:
            return 0.0
        return self.trace.node("-", self, other)

    def __rsub__(self, other: float) -> Scalar:
        return -self if _is(other, 0.0) else self.trace.node("-", other, self)

    def __mul__(self, other: Scalar) -> Scalar:
        if _is(other, 0.0):
            return 0.0
        if _is(other, 1.0):
            return self
        if _is(other, -1.0):
            return -self
        return self.trace.node("*", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Scalar) -> Scalar:
        return self * (1.0 / other if isinstance(other, (int, float)) else other.reciprocal())

    def __neg__(self) -> Scalar:
        return self.args[0] if self.op == "neg" else self.trace.node("neg", self)

    def __abs__(self) -> Traced:
        return self.trace.node("vabs", self)

    def __lt__(self, other: Scalar) -> Traced:
        return self.trace.node("<", self, other, is_condition=True)

    def __gt__(self, other: Scalar) -> Traced:
        return self.trace.node(">", self, other, is_condition=True)

    def __and__(self, other: Traced) -> Traced:
        return self.trace.node("&", self, other, is_condition=True)

    def __or__(self, other: Traced) -> Traced:
        return self.trace.node("|", self, other, is_condition=True)

    def __bool__(self) -> bool:
        raise TypeError("generated code has no branches: use select() instead of if")

    def select(self, a: Scalar, b: Scalar) -> Scalar:
        """a where this condition holds, else b."""
        return a if a is b else self.trace.node("vsel", self, a, b)

    def sin(self) -> Traced:
        """Sine."""
        return self.trace.node("vsin", self)

    def cos(self) -> Traced:
        """Cosine."""
        return self.trace.node("vcos", self)

    def floor(self) -> Traced:
        """Largest integer not above."""
        return self.trace.node("vfloor", self)

    def rsqrt(self) -> Traced:
        """1 / square root."""
        return self.trace.node("vrsqrt", self)

    def reciprocal(self) -> Traced:
        """1 / x."""
        return self.trace.node("vrecip", self)


def _is(value: Scalar, constant: float) -> bool:
    return isinstance(value, (int, float)) and value == constant


def literal(value: float) -> str:
    """A C float constant; ValueError for NaN."""
    if math.isnan(value):
        raise ValueError("a constant of the robot is not a number")
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{float(value)!r}f"


class Trace:
    """The operations of one function, each kept once (common subexpressions are one node)."""

    def __init__(self) -> None:
        self.nodes: list[Traced] = []
        self._known: dict[tuple, Traced] = {}

    def node(self, op: str, *args: Any, is_condition: bool = False) -> Traced:
        """The value of an operation; the same object for the same operation on the same values."""
        keys = [a.order if isinstance(a, Traced) else float(a) for a in args]
        if op in COMMUTATIVE:
            order = sorted(range(len(args)), key=lambda i: (not isinstance(args[i], Traced), keys[i]))
            args, keys = tuple(args[i] for i in order), [keys[i] for i in order]
        # an order is an int, a constant a float: 1 (a node) and 1.0 (a constant) must differ as keys
        key = (op, *((type(k) is int, k) for k in keys))
        if key not in self._known:
            self._known[key] = Traced(self, len(self.nodes), op, args, is_condition)
            self.nodes.append(self._known[key])
        return self._known[key]

    def used(self, outputs: Sequence[Scalar]) -> list[Traced]:
        """The nodes that the outputs need, in the order in which they were made."""
        needed, stack = set(), [v for v in outputs if isinstance(v, Traced)]
        while stack:
            value = stack.pop()
            if value.order not in needed:
                needed.add(value.order)
                stack += [a for a in value.args if isinstance(a, Traced)]
        return [node for node in self.nodes if node.order in needed]


class Function:
    """A C function in the making: declare inputs, compute with them, declare outputs, ask for `source`."""

    def __init__(self, name: str):
        self.name = name
        self.trace = Trace()
        self._parameters: list[str] = []
        self._outputs: list[tuple[str, list[Scalar], bool]] = []

    def input(self, name: str, size: int) -> list[Traced]:
        """An array of V."""
        self._parameters.append(f"const V* __restrict {name}")
        return [self.trace.node(f"{name}[{i}]") for i in range(size)]

    def constants(self, name: str, size: int) -> list[Traced]:
        """An array of float: constants that differ between limbs or spheres that share the code."""
        self._parameters.append(f"const float* __restrict {name}")
        return [self.trace.node(f"splat({name}[{i}])") for i in range(size)]

    def output(self, name: str, values: Sequence[Scalar], accumulate: bool = False) -> None:
        """An array of V that is written, or added to."""
        self._parameters.append(f"V* __restrict {name}")
        self._outputs.append((name, list(values), accumulate))

    @property
    def operations(self) -> int:
        """Number of operations."""
        return sum(bool(node.args) for node in self.trace.used(self._values()))

    def _values(self) -> list[Scalar]:
        return [value for _, values, _ in self._outputs for value in values]

    def source(self, qualifiers: str = "STAGE") -> str:
        """The C function."""
        names: dict[int, str] = {}

        def text(value: Scalar) -> str:
            return names[value.order] if isinstance(value, Traced) else f"splat({literal(value)})"

        lines = []
        for node in self.trace.used(self._values()):
            if not node.args:
                names[node.order] = node.op
                continue
            names[node.order] = f"t{node.order}"
            args = [text(a) for a in node.args]
            if node.op == "neg":
                expression = f"-{args[0]}"
            elif len(node.op) == 1:
                expression = f"{args[0]} {node.op} {args[1]}"
            else:
                expression = f"{node.op}({', '.join(args)})"
            lines.append(f"const {'M' if node.is_condition else 'V'} t{node.order} = {expression};")
        for name, values, accumulate in self._outputs:
            for i, value in enumerate(values):
                if not (accumulate and _is(value, 0.0)):
                    lines.append(f"{name}[{i}] {'+=' if accumulate else '='} {text(value)};")
        body = "\n".join(f"  {line}" for line in lines)
        return f"{qualifiers} void {self.name}({', '.join(self._parameters)}) {{\n{body}\n}}\n"
