"""NVRTC, the CUDA driver and a GPU, as far as `physics.batched.cuda` needs them, on the host."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from native import compiler
from physics.batched import cuda
from physics.batched.cuda import CudaStepper, cuda_source
from physics.batched.engine import BatchedEngine
from physics.batched.stages import StepCode

_MAIN = """
extern "C" const char* launch_step(unsigned blocks, unsigned threads, int order, void** parameters) {
  return emulation::run(blocks, threads, order, [=] { step(*(Arrays*)parameters[0], *(Solver*)parameters[1]); });
}
extern "C" const char* launch_place(unsigned blocks, unsigned threads, int order, void** parameters) {
  return emulation::run(blocks, threads, order, [=] { place(*(Arrays*)parameters[0]); });
}
"""


def generated(engine: BatchedEngine) -> str:
    """C of an engine's robot on its ground."""
    ground, friction = engine.ground, engine._dry_friction
    return StepCode(engine.robot_model, engine._sphere_group, engine._sphere_foot, ground, friction).source()


def host_source(source: str) -> str:
    """A CUDA program as C++; every use of an engine's arrays is reported to the emulation."""
    constants, program = source.split("\n", 2)[:2], source.split("\n", 2)[2]
    for plain, reported in (
        ("load(const float* p) { return", "load(const float* p) { emulation::use(p, false); return"),
        ("store(float* p, V v) {", "store(float* p, V v) { emulation::use(p, true);"),
    ):
        assert program.count(plain) == 1
        program = program.replace(plain, reported)
    header = (Path(__file__).parent / "cuda_emulation.h").read_text()
    return "\n".join([*constants, header, program, _MAIN])


class Driver:
    """`cuda.bindings.driver` with a host in place of a GPU. A module's image is C++ source."""

    order = 0
    """Order in which threads run, see `run_warp`."""
    launches = 0

    class CUstream(int):
        """A stream's handle."""

    @staticmethod
    def cuModuleLoadData(image: bytes) -> tuple[int, ctypes.CDLL]:
        return 0, compiler.build(image.decode())

    @staticmethod
    def cuModuleGetFunction(module: ctypes.CDLL, name: bytes) -> tuple[int, object]:
        function = getattr(module, f"launch_{name.decode()}")
        function.restype = ctypes.c_char_p
        return 0, function

    @classmethod
    def cuLaunchKernel(cls, function, *arguments) -> tuple[object]:
        """Grid, block, bytes of shared memory, stream, address of the parameters' addresses, extra."""
        grid, block, (shared, stream, parameters, extra) = arguments[:3], arguments[3:6], arguments[6:]
        assert (
            grid[1:] == block[1:] == (1, 1) and not shared and not extra and isinstance(stream, cls.CUstream)
        )
        cls.launches += 1
        message = function(grid[0], block[0], cls.order, ctypes.c_void_p(parameters))
        return (SimpleNamespace(name=message.decode()) if message else 0,)


def use_host(patch: pytest.MonkeyPatch) -> None:
    """Let `physics.batched.cuda` and torch's part in it run here."""
    patch.setattr(cuda, "_packages", lambda: (Driver, None))
    patch.setattr(cuda, "build", lambda source, architecture: host_source(source).encode())
    patch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    patch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    patch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    patch.setattr(Driver, "order", 0)
    patch.setattr(Driver, "launches", 0)


def move_to_host(engine: BatchedEngine, threads: int) -> BatchedEngine:
    """Let an engine of the CPU step by the emulated kernel, with a number of threads a robot."""
    engine._stepper = CudaStepper(generated(engine), threads, engine._arrays, engine.ground)
    return engine


__all__ = ["Driver", "cuda_source", "generated", "host_source", "move_to_host", "use_host"]
