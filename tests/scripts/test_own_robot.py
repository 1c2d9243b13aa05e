"""A robot of the user's own, from anywhere on the disk, through the commands: trained, exported, driven."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.physics.zoo import write_zoo

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--num_envs", "8", "--max_iterations", "2", "--num_threads", "1", "--agent.eval_envs", "0"]
CHECK = ["--task", "go2_flat", *SMALL, "--check"]


def call(command: str, *flags: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "scripts" / f"{command}.py"), *flags]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["batched", "mujoco"])
def test_a_published_robot_is_trained_exported_and_driven(engine: str, tmp_path: Path) -> None:
    robot = write_zoo(tmp_path)
    own = ["--task", "go2_flat", *SMALL, "--engine", engine, "--env.robot.mjcf", robot.mjcf]
    trained = call("train", *own, "--log_dir", str(tmp_path / "logs"))
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr.count("its MJCF is read with changes") == 1
    (run,) = (tmp_path / "logs" / "go2_flat").iterdir()
    exported = call("export", "--load_run", str(run))
    assert exported.returncode == 0, exported.stderr
    facts = json.loads((run / "exported" / "policy.json").read_text())
    assert facts["mjcf"] == robot.mjcf and "base_0" in facts["fall"]["geoms"]["base"]
    drive = ["--policy", str(run / "exported"), "--episodes", "2", "--seconds", "2", "--threads", "1"]
    driven = call("sim2sim", *drive)
    assert driven.returncode == 0, driven.stderr
    assert "zoo.xml" in driven.stdout and "lin_vel_error=" in driven.stdout
    # a table stands in the file's world
    crossed = call("sim2sim", *drive, "--terrain", "stairs_up")
    assert crossed.returncode == 0, crossed.stderr
    moved = Path(robot.mjcf).rename(tmp_path / "moved.xml")
    lost = call("sim2sim", *drive)
    assert (
        lost.returncode == 2 and "give another with --model" in lost.stderr and lost.stderr.count("\n") == 1
    )
    assert call("sim2sim", *drive, "--model", str(moved)).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "flags", "sentence"),
    [
        ("batched", "--env.robot.init-height 0.05", "init_height 0.05 puts the feet 0.27 m into the ground"),
        ("mujoco", "--env.robot.init-height 2", "init_height 2 leaves the feet 1.7 m above the ground"),
        ("batched", "--env.robot.default-joint-pos.F._thigh_joint 45", "did you mean 0.785 (45 degrees)?"),
        ("batched", "--env.robot.feet FL_foott FR_foot RL_foot RR_foot", "Did you mean FL_foot"),
        ("mujoco", "--env.robot.feet FL_foott FR_foot RL_foot RR_foot", "Did you mean FL_foot"),
        ("mujoco", "--env.robot.effort-limit.* 0", "effort_limit of FL_hip_joint is 0 and must be greater than 0"),
        ("auto", "--env.robot.effort-limit.* 1", "effort_limit of FL_hip_joint is 1 N m, and the stance takes"),
    ],
)  # fmt: skip
def test_check_refuses_a_robot_that_could_not_stand(
    engine: str, flags: str, sentence: str, tmp_path: Path
) -> None:
    result = call("train", *CHECK, "--engine", engine, *flags.split(), "--log_dir", str(tmp_path))
    assert result.returncode == 2 and sentence in result.stderr
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("train.py: robot go2: ")


@pytest.mark.slow
def test_check_tells_what_is_odd_and_goes_on(tmp_path: Path) -> None:
    result = call("train", *CHECK, "--env.robot.stiffness.*", "5", "--log_dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "robot go2: stiffness 5 of FL_hip_joint holds the stance's" in result.stderr
    assert "expected" in result.stdout
