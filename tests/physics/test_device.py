"""What `--device` means: the GPU where there is one that can be used, and one sentence where it cannot."""

from __future__ import annotations

import contextlib
import copy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mujoco
import pytest
import torch

from physics import choose_device, device
from physics.batched import cuda
from physics.batched.cuda import NoCuda
from robots import ANYMAL_C, RobotConfig

GPU = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU that the engine compiles for, as far as `choose_device` asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: GPU)
    monkeypatch.setattr(device, "check_compiler", lambda device: None)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "DRIVER", tmp_path / "version")


@pytest.mark.usefixtures("gpu")
def test_auto_is_the_gpu() -> None:
    assert choose_device("auto", robot=ANYMAL_C) == ("cuda", GPU)
    assert choose_device("cuda:0") == ("cuda:0", GPU)
    assert choose_device("cpu") == ("cpu", "as asked")
    assert choose_device("auto", "mujoco") == ("cpu", "engine mujoco runs there")


@pytest.mark.usefixtures("gpu")
def test_processes_of_torchrun_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_device("auto") == choose_device("cuda") == ("cuda:3", GPU)
    assert choose_device("cpu") == ("cpu", "as asked")
    with pytest.raises(ValueError, match="--device cuda:0 is one GPU for 4 processes; give auto or cuda"):
        choose_device("cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    with pytest.raises(
        ValueError, match="5 processes need a GPU each, this machine has 4: give torchrun a smaller"
    ):
        choose_device("auto")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert choose_device("cuda:2") == ("cuda:2", GPU)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu() -> None:
    assert choose_device("auto") == ("cpu", "no CUDA device")
    with pytest.raises(
        ValueError, match="'cuda' was asked for, but torch finds no CUDA device here; use --device cpu"
    ):
        choose_device("cuda")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("version", "words"), [(None, "built without CUDA"), ("13.0", "too old for torch's CUDA 13.0")]
)
def test_a_gpu_that_torch_does_not_find_is_spoken_of(
    version: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.DRIVER.write_text("")
    monkeypatch.setattr(torch.version, "cuda", version)
    chosen, why = choose_device("auto")
    assert chosen == "cpu" and "NVIDIA's driver is there" in why and words in why


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_nothing_compiles_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> None:
        raise NoCuda("NVRTC is missing: pip install nvidia-cuda-nvrtc")

    monkeypatch.setattr(device, "check_compiler", fail)
    assert choose_device("auto") == (
        "cpu",
        f"{GPU} is not used: NVRTC is missing: pip install nvidia-cuda-nvrtc",
    )
    with pytest.raises(ValueError, match="^NVRTC is missing"):
        choose_device("cuda")


@pytest.mark.usefixtures("gpu")
def test_a_robot_that_only_mujoco_computes_runs_on_the_cpu(tmp_path: Path) -> None:
    spec = mujoco.MjSpec.from_file(str(ANYMAL_C.mjcf_path))
    foot = spec.geom("LF_FOOT")
    foot.type, foot.size = mujoco.mjtGeom.mjGEOM_BOX, [0.02, 0.03, 0.02]
    spec.compile()
    robot: RobotConfig = copy.copy(ANYMAL_C)
    robot.mjcf = str(tmp_path / "robot.xml")
    Path(robot.mjcf).write_text(spec.to_xml())
    chosen, why = choose_device("auto", robot=robot)
    assert chosen == "cpu" and "'LF_FOOT'" in why
    with pytest.raises(ValueError, match="'LF_FOOT'"):
        choose_device("cuda", robot=robot)


@pytest.mark.usefixtures("gpu")
def test_names_of_no_device_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gpu", "cuda:x", "cuda:-1", "cpu:", "mps", ""):
        with pytest.raises(ValueError, match="unknown device .*; choose auto, cpu, cuda or cuda:N"):
            choose_device(name)
    with pytest.raises(ValueError, match="'cuda:3' was asked for, but torch finds one CUDA device, cuda:0$"):
        choose_device("cuda:3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="finds 2 CUDA devices, cuda:0 to cuda:1$"):
        choose_device("cuda:3")


# ---------------------------------------------------------------------- the compiler and the driver


class Library:
    """NVIDIA's bindings, as far as an empty kernel needs them."""

    def __init__(self, **results: Any):
        self._results = results

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._results[name]


def bindings(monkeypatch: pytest.MonkeyPatch, driver: Any, nvrtc: Any) -> None:
    module = ModuleType("cuda.bindings")
    module.driver, module.nvrtc = driver, nvrtc  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.bindings", module)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(NoCuda, match="cuda-bindings is missing: pip install cuda-bindings$"):
        cuda._packages()

    def not_found() -> None:
        raise RuntimeError("No such file: libnvrtc.so.13,\nlibnvrtc.so.12")

    bindings(monkeypatch, None, SimpleNamespace(nvrtcVersion=not_found))
    for version, package in (("13.0", "nvidia-cuda-nvrtc"), ("12.6", "nvidia-cuda-nvrtc-cu12")):
        monkeypatch.setattr(torch.version, "cuda", version)
        with pytest.raises(NoCuda, match=f"NVRTC is missing: pip install {package}$"):
            cuda._packages()


def test_a_driver_older_than_the_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = SimpleNamespace(name="CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
    driver = Library(cuModuleLoadData=(refusal, None), cuDriverGetVersion=(0, 12080))
    bindings(monkeypatch, driver, Library(nvrtcVersion=(0, 13, 5)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(cuda, "compile_cuda", lambda source, architecture: (b"", ""))
    with pytest.raises(
        NoCuda, match=r"knows CUDA 12\.8, refuses code of NVRTC 13\.5 .*update the driver"
    ) as error:
        cuda.check_compiler(torch.device("cuda", 7))
    assert "\n" not in str(error.value)
