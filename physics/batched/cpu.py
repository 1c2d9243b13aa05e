"""Calls the compiled code of the CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from physics.batched.eager import Solver
from terrains.ground import Ground, HeightField

_POINTERS = (
    "base",
    "joint_pos",
    "joint_vel",
    "base_acc",
    "joint_acc",
    "base_inputs",
    "joint_inputs",
    "targets",
    "previous",
    "switch_substep",
    "friction",
    "weight",
    "torque",
    "sphere_force",
    "foot_pos",
    "foot_vel",
    "iterations",
    "gradient",
    "bad",
    "heights",
    "coarse",
)


class Arrays(ctypes.Structure):
    """`Arrays` of native/driver.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("stride", ctypes.c_long),
        *((name, ctypes.c_int) for name in ("num_joints", "nx", "ny", "coarse_nx", "coarse_ny")),
        *((name, ctypes.c_float) for name in ("x0", "y0")),
    ]


class _Solver(ctypes.Structure):
    """`Solver` of native/driver.h."""

    _fields_ = [
        ("substeps", ctypes.c_int),
        ("iterations", ctypes.c_int),
        *((name, ctypes.c_float) for name in ("relative", "noise", "absolute")),
    ]


def bind(arrays: dict[str, Tensor], ground: Ground) -> Arrays:
    """Pointers to an engine's arrays (float32 [rows, stride]), and where its height field lies."""
    bound = Arrays(**{name: array.data_ptr() for name, array in arrays.items()})
    bound.stride = arrays["base"].shape[1]
    bound.num_joints = arrays["joint_pos"].shape[0]
    if isinstance(ground, HeightField):
        bound.nx, bound.ny = arrays["heights"].shape
        bound.coarse_nx, bound.coarse_ny = arrays["coarse"].shape
        bound.x0, bound.y0 = ground.origin
    return bound


class CpuStepper:
    """The compiled step, bound to an engine's arrays."""

    def __init__(self, library: ctypes.CDLL, arrays: dict[str, Tensor], ground: Ground):
        """Bind; the arrays are float32 [rows, stride] and must outlive this object."""
        self._library, self._keep = library, arrays
        self._arrays = bind(arrays, ground)
        self._blocks = self._arrays.stride // library.lanes()
        self._previous, self._switch = self._arrays.previous, self._arrays.switch_substep

    def __call__(self, substeps: int, solver: Solver, num_threads: int, delayed: bool) -> None:
        """Advance all robots; with 0 substeps only foot positions and velocities are computed."""
        self._arrays.previous = self._previous if delayed else None
        self._arrays.switch_substep = self._switch if delayed else None
        call = _Solver(substeps, solver.iterations, solver.relative, solver.noise, solver.absolute)
        threads = min(num_threads, self._blocks)
        self._library.step(
            ctypes.byref(self._arrays), ctypes.byref(call), ctypes.c_long(self._blocks), ctypes.c_int(threads)
        )
