"""A task and a robot of the user's own, in a folder of theirs, through all commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robots import GO2
from tests.envs.test_plugins import HOPPER, write

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--num_envs", "16", "--max_iterations", "2", "--num_threads", "1", "--agent.eval_envs", "0"]


@pytest.mark.slow
def test_a_plugin_goes_through_all_commands(tmp_path: Path) -> None:
    def call(command: str, *flags: str, status: int = 0) -> str:
        line = [sys.executable, str(ROOT / "scripts" / f"{command}.py"), *flags]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    write(
        tmp_path / "own" / "kennel" / "__init__.py",
        HOPPER.replace('name="hopper"', 'name="hopper", mjcf="d.xml"'),
    )
    write(tmp_path / "own" / "kennel" / "d.xml", GO2.mjcf_path.read_text())
    plugin = "--plugin", "own/kennel"
    said = call("train", "--list", *plugin)
    holds = "task hop; robot hopper; kind of terrain ridges; curriculum lazy"
    assert f"plugin kennel ({tmp_path}/own/kennel)\n    {holds}" in said
    assert "own/kennell'. Did you mean kennel?" in call("train", "--plugin", "own/kennell", status=2)
    call("train", *plugin, "--task", "hop", *SMALL, "--notes", "over ridges")
    (run,) = (tmp_path / "logs" / "hop").iterdir()
    assert yaml.safe_load((run / "run.yaml").read_text())["plugins"][0]["from"] == f"{tmp_path}/own/kennel"
    assert "notes: over ridges" in (run / "config.yaml").read_text()

    # it changes, and goes; the run has its own
    with (tmp_path / "own" / "kennel" / "__init__.py").open("a") as file:
        file.write("# more\n")
    said = call("train", "--resume", "--more_iterations", "1", "--logger", "none")
    assert said.count("own/kennel has changed since the run began") == 1
    (tmp_path / "own").rename(tmp_path / "elsewhere")
    few = "--robots", "2", "--num_threads", "1"
    assert "standing=" in call("evaluate", "--task", "hop", "--commands", *few)
    played = call(
        "play", "--no-video", "--no-plots", "--num_envs", "2", "--seconds", "0.2", "--shape", "ridges"
    )
    assert "falls=" in played
    assert json.loads((run / "exported" / "policy.json").read_text())["mjcf"] == f"{run}/plugins/kennel/d.xml"
    drive = "--episodes", "1", "--seconds", "2", "--threads", "1"
    assert "d.xml" in call("sim2sim", "--policy", str(run / "exported"), *drive)

    plan = {"task": "hop", "plugin": "elsewhere/kennel", "seeds": [1], "variants": {"a": {}}}
    write(tmp_path / "plan.yaml", yaml.safe_dump(plan | {"common": {"num_envs": 16, "max_iterations": 1}}))
    assert "a_seed1 trained" in call(
        "experiment", "--experiment", "plan.yaml", "--no-evaluate", "--jobs", "1"
    )
