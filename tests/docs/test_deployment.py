"""The programs of docs/deployment.md are the files in docs/deployment/, and drive robots as they were trained."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnxruntime
import pytest
import torch

from algorithms import PolicyConfig, checkpoint
from algorithms.trainer import make_policy
from deploy.robot import Robot, load_policy
from robots.go2 import GO2
from runs.config import default_config, save_config
from runs.export import export_run
from runs.folders import POLICIES, open_run
from tests.architecture import ROOT
from tests.deploy.common import nominal_env

PAGE, SOURCES = ROOT / "docs" / "deployment.md", ROOT / "docs" / "deployment"
GO2_FLAT = POLICIES / "go2_flat" / "exported"
SENSORS = ("quat", "gyro", "velocity", "command", "joint_pos", "joint_vel")


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("deployment_example", SOURCES / "deploy.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Policy = _example().Policy


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export of a small random policy with a memory."""
    folder, cfg = tmp_path_factory.mktemp("run"), default_config("anymal_c_flat")
    cfg.agent.policy = PolicyConfig((8,), (8,), recurrent="lstm", recurrent_hidden=8)
    torch.manual_seed(0)
    env = nominal_env()
    save_config(cfg, folder / "config.yaml")
    weights = make_policy(env, cfg.agent).state_dict()
    checkpoint.save(
        folder / "model_1.pt", {"metadata": {"task": cfg.task}, "iteration": 1, "policy": weights}
    )
    return export_run(open_run(load_run=str(folder)), env, folder / "exported")


def exports(remembering: Path) -> list[Path]:
    """One without a memory, and one with."""
    return [GO2_FLAT, remembering]


def shuffled(folder: Path) -> list[str]:
    """The policy's joints as another robot's computer might list them."""
    names = json.loads((folder / "policy.json").read_text())["joint_names"]
    return [names[i] for i in np.random.default_rng(5).permutation(len(names))]


def sensor_values(joints: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=3) for name in SENSORS}
    quat = rng.normal(size=4)
    return values | {
        "quat": quat / np.linalg.norm(quat),
        "joint_pos": rng.normal(size=joints),
        "joint_vel": rng.normal(size=joints),
    }


@pytest.mark.parametrize(
    ("file", "language", "most"), [("deploy.py", "python", 40), ("deploy.cpp", "cpp", 80)]
)
def test_the_page_prints_the_programs(file: str, language: str, most: int) -> None:
    text = (SOURCES / file).read_text()
    assert re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL) == [text]
    assert text.count("\n") <= most and max(map(len, text.splitlines())) <= 118


def test_the_page_names_files_that_are_there() -> None:
    named = re.findall(r"\]\(([\w/.-]+)\)", PAGE.read_text())
    assert named and all((PAGE.parent / path).exists() for path in named)


def test_python_gives_the_golden_action(remembering: Path) -> None:
    for folder in exports(remembering):
        policy = Policy(folder, shuffled(folder))
        golden = policy.facts["golden"]
        for _ in range(2):
            np.testing.assert_allclose(policy.act(golden["observation"]), golden["action"], atol=1e-5)
            policy.start()


def test_python_observes_and_aims_as_the_robot_in_mujoco(remembering: Path) -> None:
    """Whatever the order of the robot's joints: the observation's order, scales and frames are the trained ones."""
    for folder in exports(remembering):
        facts, act = load_policy(folder)
        robot, joints = Robot(facts, ROOT / "robots" / facts["mjcf"]), shuffled(folder)
        policy, order = Policy(folder, joints), [facts["joint_names"].index(name) for name in joints]
        for step in range(5):
            values = sensor_values(len(joints), step)
            action = robot.action
            robot.place(
                np.array([0.0, 0.0, 1.0, *values["quat"]]),
                np.zeros(6),
                values["joint_pos"][np.argsort(order)],
                values["joint_vel"][np.argsort(order)],
            )
            robot.base_lin_vel[:] = robot.rotation @ values["velocity"]
            robot.base_ang_vel[:] = values["gyro"]
            robot.command, robot.action = values["command"], action
            robot.action = act(robot.observe())
            expected = robot.default + facts["action_scale"] * robot.action
            np.testing.assert_allclose(policy.targets(**values), expected[order], atol=1e-5)


def test_python_walks_a_go2_in_plain_mujoco() -> None:
    """Drives that get torques at 1 kHz, and a policy that acts at its own rate, for 3 s."""
    facts = json.loads((GO2_FLAT / "policy.json").read_text())
    spec = mujoco.MjSpec.from_file(str(GO2.mjcf_path))
    spec.option.timestep = 0.001
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05])
    joints = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE][::-1]
    for joint in joints:
        spec.add_actuator(target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT).set_to_motor()
    model = spec.compile()
    data = mujoco.MjData(model)
    pos, vel = (
        [int(address[model.joint(joint).id]) for joint in joints]
        for address in (model.jnt_qposadr, model.jnt_dofadr)
    )
    policy = Policy(GO2_FLAT, joints)
    data.qpos[2], data.qpos[pos] = 0.34, policy.default
    lowest, every = 1.0, round(1000 / facts["policy_rate"])
    command, followed = np.array([0.75, 0.3, 0.3]), []
    for step in range(3000):
        if step % every == 0:
            upright = np.zeros(9)
            mujoco.mju_quat2Mat(upright, data.qpos[3:7])
            velocity = upright.reshape(3, 3).T @ data.qvel[:3]
            followed.append([*velocity[:2], data.qvel[5]])
            targets = policy.targets(
                quat=data.qpos[3:7],
                gyro=data.qvel[3:6],
                velocity=velocity,
                command=command,
                joint_pos=data.qpos[pos],
                joint_vel=data.qvel[vel],
            )
        data.ctrl[:] = policy.torques(targets, data.qpos[pos], data.qvel[vel])
        mujoco.mj_step(model, data)
        lowest = min(lowest, data.qpos[2], 0.3 * upright[8])
    assert lowest > 0.2  # neither near the ground nor leaning by more than 48 degrees
    np.testing.assert_allclose(np.mean(followed[50:], axis=0), command, atol=0.1)


DRIVER = """#define main example
#include "deploy.cpp"
#undef main
// Sensor values from standard input -> targets and torques, a line for each step.
int main(int count, char** words) {
  Policy policy(words[1], {words + 2, words + count});
  size_t joints = policy.order.size();
  auto read = [](size_t size) { Values values(size); for (float& x : values) std::cin >> x; return values; };
  while (true) {
    Values quat = read(4), gyro = read(3), velocity = read(3), command = read(3);
    Values pos = read(joints), vel = read(joints);
    if (!std::cin) return 0;
    Values targets = policy.targets(quat, gyro, velocity, command, pos, vel);
    for (const Values& row : {targets, policy.torques(targets, pos, vel)}) for (float x : row) std::cout << x << " ";
    std::cout << "\\n";
  }
}
"""


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of the compiler; where there is no libonnxruntime but that of the Python package, it is taken."""
    folders = [Path(root) / "include" for root in ("/usr", "/usr/local")]
    headers = [each for folder in folders for each in folder.glob("**/onnxruntime_cxx_api.h")]
    if (
        not shutil.which("g++")
        or not headers
        or not any((x / "nlohmann/json.hpp").is_file() for x in folders)
    ):
        pytest.skip("needs g++, nlohmann/json.hpp and ONNX Runtime's C++ headers")
    include = f"-I{headers[0].parent}"
    if "libonnxruntime.so " in subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout:
        return [include, "-lonnxruntime"]
    package = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"), None)
    if package is None:
        pytest.skip("needs libonnxruntime")
    folder = tmp_path_factory.mktemp("lib")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(package)
    return [include, f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime"]


def build(source: Path, program: Path, flags: list[str]) -> None:
    """As the page says, with all warnings as errors."""
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-return-type", f"-I{SOURCES}"]
    command = ["g++", "-std=c++17", "-O1", *strict, str(source), *flags, "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_cpp_gives_the_golden_action(flags: list[str], remembering: Path, tmp_path: Path) -> None:
    (line,) = re.findall(r"^g\+\+ .*deploy.cpp.*$", PAGE.read_text(), re.MULTILINE)
    assert {"-std=c++17", "-lonnxruntime"} <= set(shlex.split(line))
    build(SOURCES / "deploy.cpp", tmp_path / "deploy", flags)
    for folder in exports(remembering):
        words = [str(tmp_path / "deploy"), str(folder), *shuffled(folder)]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert float(out.removeprefix("golden action missed by ")) < 1e-5
    assert subprocess.run([str(tmp_path / "deploy")], capture_output=True).returncode == 2
    unknown = subprocess.run([*words[:2], *words[3:]], capture_output=True, text=True)
    assert unknown.returncode and f"no joint {words[2]}" in unknown.stderr


@pytest.mark.slow
def test_cpp_drives_as_python_does(flags: list[str], remembering: Path, tmp_path: Path) -> None:
    (tmp_path / "driver.cpp").write_text(DRIVER)
    build(tmp_path / "driver.cpp", tmp_path / "driver", flags)
    for folder in exports(remembering):
        joints = shuffled(folder)
        steps = [sensor_values(len(joints), seed) for seed in range(5)]
        lines = [" ".join(repr(float(x)) for name in SENSORS for x in step[name]) for step in steps]
        words = [str(tmp_path / "driver"), str(folder), *joints]
        out = subprocess.run(words, input="\n".join(lines), capture_output=True, text=True, check=True).stdout
        found = np.array([line.split() for line in out.splitlines()], float)
        policy, expected = Policy(folder, joints), []
        for step in steps:
            targets = policy.targets(**step)
            torques = policy.torques(targets, step["joint_pos"], step["joint_vel"])
            expected.append([*targets, *torques])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
