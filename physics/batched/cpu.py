"""Calls the compiled code of the CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from physics.batched.arguments import Arguments
from physics.batched.eager import Solver
from terrains.ground import Ground


class CpuStepper:
    """The compiled step, bound to an engine's arrays."""

    def __init__(self, library: ctypes.CDLL, arrays: dict[str, Tensor], ground: Ground):
        """Bind; the arrays are float32 [rows, stride]."""
        self._library, self._arguments = library, Arguments(arrays, ground)
        self._blocks = arrays["base"].shape[1] // library.lanes()

    def __call__(self, substeps: int, solver: Solver, num_threads: int, delayed: bool) -> None:
        """Advance all robots; with 0 substeps only foot positions and velocities are computed."""
        call = self._arguments
        call.set(substeps, solver, delayed)
        threads = min(num_threads, self._blocks)
        self._library.step(
            ctypes.byref(call.arrays),
            ctypes.byref(call.solver),
            ctypes.c_long(self._blocks),
            ctypes.c_int(threads),
        )
