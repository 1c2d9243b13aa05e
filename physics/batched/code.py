"""Records in arrays, and structs of C that hold a robot's traced stages and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from physics.batched.records import flatten, unflatten
from physics.batched.tracer import Function, Traced, literal


class Layout:
    """Where a record's scalars lie in an array; constants take no place."""

    def __init__(self, record: Any):
        """From a traced record, or from a template whose scalars are all 0.0 (then all are stored)."""
        self.template = record
        self._fixed = [None if isinstance(x, Traced) else x for x in flatten(record)]
        if all(x == 0.0 for x in self._fixed):
            self._fixed = [None] * len(self._fixed)
        self.size = self._fixed.count(None)

    def store(self, record: Any) -> list[Any]:
        """The scalars of a record that are stored."""
        return [x for x, fixed in zip(flatten(record), self._fixed, strict=True) if fixed is None]

    def load(self, function: Function, name: str) -> Any:
        """The record read from an input array of a stage."""
        stored = iter(function.input(name, self.size))
        return unflatten(self.template, (next(stored) if x is None else x for x in self._fixed))


class Code:
    """C of a struct: its stages as static functions, its sizes as constants."""

    def __init__(self, name: str, qualifiers: str = "STAGE"):
        self.name, self.qualifiers = name, qualifiers
        self.sizes: dict[str, int] = {}
        self.stages: list[Function] = []
        self.extra = ""
        """More C for the struct."""
        self._tables: list[str] = []
        self._rows: list[str] = []

    def stage(self, name: str) -> Function:
        """A new stage."""
        self.stages.append(Function(name))
        return self.stages[-1]

    def table(self, name: str, values: np.ndarray) -> None:
        """A constant array with one row per limb or sphere; `name(i)` is row i."""
        kind = "int" if values.dtype.kind == "i" else "float"
        values = values if values.size else np.zeros((len(values), 1))
        rows = ["{" + ", ".join(str(x) if kind == "int" else literal(x) for x in row) + "}" for row in values]
        array = f"{self.name}_{name}_table"
        size = f"[{values.shape[0]}][{values.shape[1]}]"
        self._tables.append(f"TABLE {kind} {array}{size} = {{{', '.join(rows)}}};\n")
        self._rows.append(f"INLINE const {kind}* {name}(int i) {{ return {array}[i]; }}\n")

    def source(self) -> str:
        """The C of tables and struct."""
        sizes = [f"static constexpr int {name} = {value};\n" for name, value in self.sizes.items()]
        body = (
            "".join(sizes + self._rows + [stage.source(self.qualifiers) for stage in self.stages])
            + self.extra
        )
        return "".join(self._tables) + f"struct {self.name} {{\n{body}}};\n"
