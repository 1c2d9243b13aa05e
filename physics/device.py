"""What `--device` means on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from physics.batched.cuda import NoCuda, check_compiler, find_device
from physics.batched.model import read_model
from physics.batched.support import UnsupportedModel
from physics.scene import build_scene
from robots.config import RobotConfig, nearest
from terrains.ground import Plane

DEVICES = ("auto", "cpu", "cuda")
"""Names that `--device` accepts, beside cuda:N."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Exists where NVIDIA's driver is loaded."""


def choose_device(name: str, engine: str = "auto", robot: RobotConfig | None = None) -> tuple[str, str]:
    """The device that a name means here, and why.

    `auto` is the GPU where torch sees one and engine `batched` compiles for it, else the CPU. Processes that torchrun
    started on this machine take a GPU each.

    Args:
        name: auto, cpu, cuda or cuda:N.
        engine: physics engine, see `physics.ENGINES`.
        robot: a robot that the engine must be able to compute on a GPU.

    Returns:
        cpu, cuda or cuda:N; the GPU's name, or why it is the CPU.

    Raises:
        ValueError: one sentence for an unknown name, or a device that was asked for and cannot be used.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(
            f"unknown device {name!r}; choose auto, cpu, cuda or cuda:N.{nearest(name, list(DEVICES))}"
        )
    if name == "cpu":
        return "cpu", "as asked"
    if name == "auto" and engine == "mujoco":
        return "cpu", "engine mujoco runs there"
    if name == "auto" and not torch.cuda.is_available():
        return "cpu", _why_no_cuda()
    wanted = _own_gpu(name)
    try:
        device = find_device(wanted)
        check_compiler(device)
        if robot is not None and engine != "mujoco":
            read_model(build_scene(robot, Plane(), 0.005, "position"))
    except (NoCuda, UnsupportedModel) as error:
        if name == "auto":
            return "cpu", f"{torch.cuda.get_device_name()} is not used: {error}"
        raise ValueError(str(error)) from error
    return wanted, torch.cuda.get_device_name(device)


def _own_gpu(name: str) -> str:
    """What a name of a GPU means to this process; ValueError where those of torchrun cannot have one each."""
    local_rank, processes = os.environ.get("LOCAL_RANK"), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if local_rank is None:
        return "cuda" if name == "auto" else name
    if ":" in name and processes > 1:
        raise ValueError(f"--device {name} is one GPU for {processes} processes; give auto or cuda")
    if processes > max(torch.cuda.device_count(), 1):
        raise ValueError(
            f"{processes} processes need a GPU each, this machine has {torch.cuda.device_count()}: give torchrun "
            "a smaller --nproc_per_node, or --device cpu"
        )
    return name if ":" in name else f"cuda:{local_rank}"


def _why_no_cuda() -> str:
    """Why torch finds no CUDA device, with what helps where the machine seems to have one."""
    if not DRIVER.exists():
        return "no CUDA device"
    if torch.version.cuda is None:
        return f"NVIDIA's driver is there, but torch {torch.__version__} is built without CUDA: install one with it"
    return (
        f"NVIDIA's driver is there, but torch finds no CUDA device: CUDA_VISIBLE_DEVICES hides it, or the driver "
        f"is too old for torch's CUDA {torch.version.cuda}"
    )
