"""Compiles the generated code for a GPU with NVRTC and calls it there.

The code that runs is that of the CPU with other scalars: a robot is a thread, or one thread a limb (see
native/cuda.h). NVRTC and the driver are reached through NVIDIA's own Python packages, the extra `gpu`.

Not yet run on a GPU: it is compiled for several architectures, and tests run the kernel on emulated threads.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from native import cache_folder
from physics.batched.arguments import Arguments
from physics.batched.cpu import NATIVE
from physics.batched.eager import Solver
from physics.batched.model import RobotModel
from terrains.ground import Ground

BLOCK = 64
"""Threads of a block. Registers admit 8 warps on a multiprocessor; small blocks spread few robots over all."""
OPTIONS = ("--std=c++17", "--device-as-default-execution-space", "--disable-warnings")
"""Of NVRTC; NaN and infinity keep their meaning. Before CUDA 13 lambdas are the host's without the second."""


class NoCuda(RuntimeError):
    """No CUDA device, or not what it takes to compile for it."""


def find_device(name: str) -> torch.device:
    """A torch device, a CUDA device with its number; NoCuda if there is no such CUDA device."""
    device = torch.device(name)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise NoCuda(f"device {name!r} was asked for, but torch finds no CUDA device here; use --device cpu")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise NoCuda(
            f"device {name!r} was asked for, but this machine has {torch.cuda.device_count()} of them"
        )
    return torch.device("cuda", index)


def limb_threads(model: RobotModel) -> int:
    """Threads of a robot: one a limb where all share their code and fill a warp evenly, else one."""
    limbs = len(model.groups[0].joints)
    return limbs if len(model.groups) == 1 and limbs in (2, 4, 8) else 1


def cuda_source(generated: str, threads: int) -> str:
    """The whole CUDA program from a robot's generated code, for a number of threads a robot."""
    cuda, driver, main = ((NATIVE / name).read_text() for name in ("cuda.h", "driver.h", "cuda_main.h"))
    return f"#define LIMB_THREADS {threads}\n#define BLOCK {BLOCK}\n" + cuda + generated + driver + main


def build(source: str, architecture: str) -> bytes:
    """Compile CUDA source to machine code (a cubin) of an architecture like sm_90, or take it from the cache.

    Raises:
        NoCuda: NVIDIA's packages are missing, or NVRTC fails.
    """
    _, nvrtc = _packages()
    version = _value(nvrtc.nvrtcVersion())
    key = "\0".join([source, architecture, *OPTIONS, str(version)])
    folder = cache_folder()
    kept = folder / f"batched_{hashlib.sha256(key.encode()).hexdigest()[:24]}.cubin"
    try:
        if not kept.exists():
            code, _ = compile_cuda(source, architecture)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:  # complete or not at all
                out = Path(scratch) / "step.cubin"
                out.write_bytes(code)
                os.replace(out, kept)
        return kept.read_bytes()
    except OSError as error:
        raise NoCuda(f"cannot keep compiled code in {folder}: {error}") from error


def compile_cuda(source: str, architecture: str, *options: str) -> tuple[bytes, str]:
    """Machine code and log of NVRTC; NoCuda if it fails."""
    _, nvrtc = _packages()
    program = _value(nvrtc.nvrtcCreateProgram(source.encode(), b"step.cu", 0, [], []))
    try:
        arguments = [x.encode() for x in (f"--gpu-architecture={architecture}", *OPTIONS, *options)]
        (failed,) = nvrtc.nvrtcCompileProgram(program, len(arguments), arguments)
        log = b" " * _value(nvrtc.nvrtcGetProgramLogSize(program))
        _value(nvrtc.nvrtcGetProgramLog(program, log))
        text = log.decode(errors="replace").strip("\0 ")
        if failed:
            message = next((x for x in text.splitlines() if "error" in x), failed.name)
            raise NoCuda(f"NVRTC fails for {architecture}: {message}")
        code = b" " * _value(nvrtc.nvrtcGetCUBINSize(program))
        _value(nvrtc.nvrtcGetCUBIN(program, code))
        return code, text
    finally:
        nvrtc.nvrtcDestroyProgram(program)


class CudaStepper:
    """The compiled step on a GPU, bound to an engine's arrays there.

    A call puts one kernel into torch's current stream: it neither waits nor allocates, so that it can be part
    of a CUDA graph.
    """

    def __init__(self, generated: str, threads: int, arrays: dict[str, Tensor], ground: Ground):
        """Compile and bind.

        Args:
            generated: C of the robot.
            threads: threads of a robot, see `limb_threads`.
            arrays: float32 [rows, stride], all on one device.
            ground: what the robots stand on.

        Raises:
            NoCuda: NVIDIA's packages are missing or do not fit the driver.
        """
        self._driver, _ = _packages()
        self._device = arrays["base"].device
        self._arguments = call = Arguments(arrays, ground)
        self._blocks = -(-arrays["base"].shape[1] * threads // BLOCK)
        # cuLaunchKernel copies what these point to
        self._pointers = (ctypes.c_void_p * 2)(ctypes.addressof(call.arrays), ctypes.addressof(call.solver))
        major, minor = torch.cuda.get_device_capability(self._device)
        code = build(cuda_source(generated, threads), f"sm_{major}{minor}")
        with torch.cuda.device(self._device):
            error, module = self._driver.cuModuleLoadData(code)
            if error:
                raise NoCuda(
                    f"the GPU's driver refuses NVRTC's code ({error.name}): the CUDA version of cuda-bindings "
                    f"and NVRTC must not be newer than the driver's, which nvidia-smi prints"
                )
            self._kernel = _value(self._driver.cuModuleGetFunction(module, b"step"))

    def __call__(self, substeps: int, solver: Solver, num_threads: int, delayed: bool) -> None:
        """See `CpuStepper`; `num_threads` has no meaning here."""
        self._arguments.set(substeps, solver, delayed)
        stream = self._driver.CUstream(torch.cuda.current_stream(self._device).cuda_stream)
        with torch.cuda.device(self._device):
            grid, block = (self._blocks, 1, 1), (BLOCK, 1, 1)
            arguments = ctypes.addressof(self._pointers)
            _value(self._driver.cuLaunchKernel(self._kernel, *grid, *block, 0, stream, arguments, 0))


def _packages() -> tuple[Any, Any]:
    """NVIDIA's bindings of the driver and of NVRTC."""
    try:
        from cuda.bindings import driver, nvrtc

        _value(nvrtc.nvrtcVersion())
    except (ImportError, RuntimeError) as error:  # no package, or no library that it finds
        raise NoCuda(
            "engine 'batched' compiles for the GPU with NVIDIA's packages cuda-bindings and nvidia-cuda-nvrtc, "
            "and one of them is missing: pip install -e '.[gpu]'"
        ) from error
    return driver, nvrtc


def _value(result: tuple) -> Any:
    """What a call of NVIDIA's bindings returned; RuntimeError if it failed."""
    error, *values = result
    if error:
        raise RuntimeError(f"CUDA fails: {error.name}")
    return values[0] if len(values) == 1 else tuple(values)
