"""Compiles the generated code for a GPU with NVRTC and calls it there.

The code that runs is that of the CPU with other scalars: a robot is a thread, or one thread a limb (see
native/cuda.h). NVRTC and the driver are reached through NVIDIA's own Python packages: cuda-bindings, which finds the
NVRTC that came with torch. Bindings and NVRTC of CUDA 12 and 13 go together in any combination.
"""

from __future__ import annotations

import ctypes
import functools
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
        count = torch.cuda.device_count()
        devices = (
            "one CUDA device, cuda:0" if count == 1 else f"{count} CUDA devices, cuda:0 to cuda:{count - 1}"
        )
        raise NoCuda(f"device {name!r} was asked for, but torch finds {devices}")
    return torch.device("cuda", index)


def check_compiler(device: torch.device) -> None:
    """NoCuda with one sentence if code for a CUDA device cannot be compiled here, or its driver refuses it."""
    if reason := _obstacle(device):
        raise NoCuda(reason)


@functools.cache
def _obstacle(device: torch.device) -> str:
    """What keeps an empty kernel from being compiled and loaded (0.1 s), empty if nothing does."""
    try:
        torch.cuda.synchronize(device)  # where nothing was done before, this makes the driver's context
        code, _ = compile_cuda('extern "C" __global__ void step() {}', architecture_of(device))
        load(code, device, "step")
    except NoCuda as error:
        return str(error)
    return ""


def architecture_of(device: torch.device) -> str:
    """NVRTC's name of a CUDA device's architecture, like sm_90."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def load(code: bytes, device: torch.device, *names: str) -> list[Any]:
    """Kernels of machine code by name, on a CUDA device; NoCuda if the driver refuses it."""
    driver, nvrtc = _packages()
    with torch.cuda.device(device):
        error, module = driver.cuModuleLoadData(code)
        if error:
            known, version = _value(driver.cuDriverGetVersion()), _value(nvrtc.nvrtcVersion())
            raise NoCuda(
                f"the GPU's driver, which knows CUDA {known // 1000}.{known % 1000 // 10}, refuses code of NVRTC "
                f"{'.'.join(map(str, version))} ({error.name}): update the driver, or install torch and NVRTC "
                "for its CUDA"
            )
        return [_value(driver.cuModuleGetFunction(module, name.encode())) for name in names]


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
    try:
        folder = cache_folder()
        kept = folder / f"batched_{hashlib.sha256(key.encode()).hexdigest()[:24]}.cubin"
        if not kept.exists():
            code, _ = compile_cuda(source, architecture)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:  # complete or not at all
                out = Path(scratch) / "step.cubin"
                out.write_bytes(code)
                os.replace(out, kept)
        return kept.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        raise NoCuda(f"cannot keep compiled code ({error}): set TROT_CACHE to a folder for it") from error


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
        code = build(cuda_source(generated, threads), architecture_of(self._device))
        self._step, self._place = load(code, self._device, "step", "place")

    def __call__(
        self, substeps: int, solver: Solver, num_threads: int, delayed: bool = False, placed: bool = False
    ) -> None:
        """See `CpuStepper`; `num_threads` has no meaning here."""
        self._arguments.set(substeps, solver, delayed, placed)
        stream = self._driver.CUstream(torch.cuda.current_stream(self._device).cuda_stream)
        with torch.cuda.device(self._device):
            grid, block = (self._blocks, 1, 1), (BLOCK, 1, 1)
            arguments = ctypes.addressof(self._pointers)
            kernel = self._step if substeps else self._place
            _value(self._driver.cuLaunchKernel(kernel, *grid, *block, 0, stream, arguments, 0))


def _packages() -> tuple[Any, Any]:
    """NVIDIA's bindings of the driver and of NVRTC; NoCuda names the package that is missing."""
    why = "engine 'batched' compiles for the GPU with NVIDIA's packages, and"
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError as error:
        raise NoCuda(f"{why} cuda-bindings is missing: pip install cuda-bindings") from error
    try:
        _value(nvrtc.nvrtcVersion())
    except RuntimeError as error:  # no library that it finds
        suffix = "-cu12" if (torch.version.cuda or "").startswith("12.") else ""
        raise NoCuda(f"{why} NVRTC is missing: pip install nvidia-cuda-nvrtc{suffix}") from error
    return driver, nvrtc


def _value(result: tuple) -> Any:
    """What a call of NVIDIA's bindings returned; RuntimeError if it failed."""
    error, *values = result
    if error:
        raise RuntimeError(f"CUDA fails: {error.name}")
    return values[0] if len(values) == 1 else tuple(values)
