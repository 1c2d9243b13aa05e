"""Calls the compiled code of the CPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

from torch import Tensor

from native import SIMD
from physics.batched.arguments import Arguments
from physics.batched.eager import Solver
from terrains.ground import Ground

NATIVE = Path(__file__).parent / "native"
"""The hand-written parts of the compiled programs."""


def cpu_source(generated: str) -> str:
    """The whole C++ program from a robot's generated code."""
    driver, main = ((NATIVE / name).read_text() for name in ("driver.h", "cpu_main.h"))
    return SIMD.read_text() + generated + driver + main


class CpuStepper:
    """The compiled step, bound to an engine's arrays."""

    def __init__(self, library: ctypes.CDLL, arrays: dict[str, Tensor], ground: Ground):
        """Bind; the arrays are float32 [rows, stride]."""
        self._library, self._arguments = library, Arguments(arrays, ground)
        self._blocks = arrays["base"].shape[1] // library.lanes()

    def __call__(
        self, substeps: int, solver: Solver, num_threads: int, delayed: bool = False, placed: bool = False
    ) -> None:
        """Advance all robots, see `Arguments.set`; 0 substeps only compute positions and velocities of feet."""
        call = self._arguments
        call.set(substeps, solver, delayed, placed)
        threads = min(num_threads, self._blocks)
        self._library.step(
            ctypes.byref(call.arrays),
            ctypes.byref(call.solver),
            ctypes.c_long(self._blocks),
            ctypes.c_int(threads),
        )
