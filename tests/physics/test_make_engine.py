"""Which engine `--engine` gives, and the sentence about it."""

from __future__ import annotations

import copy
from pathlib import Path

import mujoco
import pytest

from native import compiler
from physics import BatchedEngine, MujocoEngine, make_engine
from robots import ANYMAL_C, RobotConfig
from terrains import Plane


@pytest.fixture
def odd_robot(tmp_path: Path) -> RobotConfig:
    """ANYmal with a foot that is not a sphere."""
    spec = mujoco.MjSpec.from_file(str(ANYMAL_C.mjcf_path))
    foot = spec.geom("LF_FOOT")
    foot.type, foot.size = mujoco.mjtGeom.mjGEOM_BOX, [0.02, 0.03, 0.02]
    spec.compile()
    path = tmp_path / "robot.xml"
    path.write_text(spec.to_xml())
    robot = copy.copy(ANYMAL_C)
    robot.mjcf = str(path)
    return robot


def make(name: str, robot: RobotConfig = ANYMAL_C, device: str = "cpu"):
    return make_engine(name, robot, Plane(), 2, 0.005, device, 1)


def test_auto_takes_the_fastest() -> None:
    engine, why = make("auto")
    assert isinstance(engine, BatchedEngine) and why.startswith("batched (the fastest")


@pytest.mark.parametrize(("name", "kind"), [("batched", BatchedEngine), ("mujoco", MujocoEngine)])
def test_a_name_gives_its_engine(name: str, kind: type) -> None:
    engine, why = make(name)
    assert isinstance(engine, kind) and why == f"{name} (as asked)"


def test_auto_falls_back_on_mujoco_and_says_why(odd_robot: RobotConfig) -> None:
    engine, why = make("auto", odd_robot)
    assert isinstance(engine, MujocoEngine)
    assert why.startswith("mujoco (not batched: geom 'LF_FOOT' touches the ground and is not a sphere")
    with pytest.raises(ValueError, match="'LF_FOOT'.*use --engine mujoco"):
        make("batched", odd_robot)


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    compiler.find_compiler.cache_clear()
    try:
        engine, why = make("auto")
        with pytest.raises(ValueError, match="no C\\+\\+ compiler found"):
            make("batched")
    finally:
        compiler.find_compiler.cache_clear()
    assert isinstance(engine, MujocoEngine) and "no C++ compiler found" in why


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown engine 'mujco'.*Did you mean mujoco"):
        make("mujco")
    with pytest.raises(ValueError, match="'mujoco' runs on the CPU only"):
        make("mujoco", device="cuda")
    with pytest.raises(ValueError, match="cpu or cuda, not on 'tpu'"):
        make("auto", device="tpu")
