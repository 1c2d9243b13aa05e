"""What the compiled step is called with, the same on every target."""

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
    "chosen",
    "fresh",
    "sphere_pos",
)
_PLACED = ("chosen", "sphere_pos")
_OPTIONAL = ("previous", "switch_substep", *_PLACED)
"""Null where they do not count."""


class _Arrays(ctypes.Structure):
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


class Arguments:
    """Two structs that lie where they are: pointers to an engine's arrays, and what one call does."""

    def __init__(self, arrays: dict[str, Tensor], ground: Ground):
        """Bind; the arrays are float32 [rows, stride], and are kept alive."""
        self._keep = arrays
        self.arrays = _Arrays(**{name: array.data_ptr() for name, array in arrays.items()})
        """Pointers, and where the height field lies."""
        self.arrays.stride = arrays["base"].shape[1]
        self.arrays.num_joints = arrays["joint_pos"].shape[0]
        if isinstance(ground, HeightField):
            self.arrays.nx, self.arrays.ny = arrays["heights"].shape
            self.arrays.coarse_nx, self.arrays.coarse_ny = arrays["coarse"].shape
            self.arrays.x0, self.arrays.y0 = ground.origin
        self.solver = _Solver()
        """Number of substeps and tolerances."""
        self._optional = {name: getattr(self.arrays, name) for name in _OPTIONAL}

    def set(self, substeps: int, solver: Solver, delayed: bool, placed: bool) -> None:
        """For the next call.

        Args:
            substeps: physics steps.
            solver: tolerances.
            delayed: previous targets are in force until a robot's switch.
            placed: put the chosen robots into their fresh states first, and do nothing with the others.
        """
        for name, pointer in self._optional.items():
            setattr(self.arrays, name, pointer if (placed if name in _PLACED else delayed) else None)
        self.solver.substeps, self.solver.iterations = substeps, solver.iterations
        self.solver.relative, self.solver.noise = solver.relative, solver.noise
        self.solver.absolute = solver.absolute
