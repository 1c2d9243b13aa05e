"""What a run was made by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envs import all_tasks, load_plugin, plugins
from runs.config import RunConfig, save_config
from runs.machine import commit
from runs.record import origin_of, read_record, write_record
from tests.envs.test_plugins import HOPPER, write


def git(folder: Path, *args: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *args], check=True, capture_output=True)


def test_commits_are_those_of_the_repository_that_has_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own" / "hopping.py", HOPPER)
    assert commit(path.parent) == {}
    git(path.parent, "init")
    assert commit(path.parent) == {}, "nothing in it is the repository's"
    git(path.parent, "add", "hopping.py")
    git(path.parent, "commit", "-m", "begin")
    assert len(commit(path.parent)["commit"]) == 40 and not commit(path.parent)["changed"]
    assert commit(write(tmp_path / "own" / "venv" / "x.py", "").parent) == {}
    write(path, HOPPER + "# more\n")
    assert commit(path.parent)["changed"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(path.parent) == {}, "no git here"


def test_a_record_begins_once_and_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = load_plugin(write(tmp_path / "own" / "hopping.py", HOPPER))
    monkeypatch.setattr(sys, "argv", ["trot train", "--notes", "a first try"])
    save_config(RunConfig(notes="a first try"), tmp_path / "config.yaml")
    write_record(tmp_path, "cpu", [str(plugin.source)], "a first try")
    first = read_record(tmp_path)
    assert first["command"] == "'trot train' --notes 'a first try'" and "resumed" not in first
    assert {"cpu", "cores", "torch", "mujoco"} <= set(first["machine"]) and "load" not in first["machine"]
    (own,) = first["plugins"]
    assert (
        own["from"] == str(plugin.source)
        and own["sha256"] == plugin.digest
        and own["holds"]["task"] == ["hop"]
    )
    monkeypatch.setattr(sys, "argv", ["trot", "train", "--resume"])
    write_record(tmp_path, "cpu", [], "a first try", 20)
    write_record(tmp_path, "cpu", [], "with more wind", 40)
    record = read_record(tmp_path)
    one, two = record.pop("resumed")
    assert record == first
    assert one["iteration"] == 20 and one["command"] == "trot train --resume" and "notes" not in one
    assert two["notes"] == "with more wind"
    assert origin_of(tmp_path, "hop") == f"; it came from {plugin.source}" and not origin_of(tmp_path, "walk")
    (tmp_path / "run.yaml").write_text("- [")
    assert read_record(tmp_path) == {}
    plugins.unload(plugin, all_tasks())
