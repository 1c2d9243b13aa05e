"""Tasks, robots, kinds of terrain and curricula from files and packages that lie elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
import torch

from envs import all_tasks, get_task, load_plugin, plugins
from envs.legged_env import LeggedEnv
from robots import GO2, ROBOTS
from terrains.curriculum import STRATEGIES
from terrains.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
from dataclasses import replace
import numpy as np
from envs.config import RewardTerm
from envs.tasks import Recipe, Task, get_task
from robots import GO2, RobotConfig
from terrains.curriculum import Curriculum, strategy
from terrains.shapes import shape
"""
HOPPER = (
    HEAD
    + """
HOPPER = replace(GO2, name="hopper", init_height=0.39)

@shape
def ridges(difficulty, size, cell, rng, height=0.2):
    n = round(size / cell)
    return np.zeros((n, n)) + height * difficulty * (np.arange(n) % 2)

@strategy
class Lazy(Curriculum):
    def next_levels(self, episodes, done, random):
        return episodes.level

def torques(state):
    return state.base_lin_vel[:, 2].square()

def env():
    cfg = get_task("go2_rough").recipe("").env()
    cfg.robot = HOPPER
    cfg.rewards["mine"] = RewardTerm(torques, -0.5)
    cfg.terrain.proportions = {"ridges": 0.5, "flat": 0.5}
    cfg.terrain.levels, cfg.terrain.columns, cfg.curriculum.strategy = 2, 2, "lazy"
    return cfg

TASKS = (Task("hop", {"fast": Recipe(env, num_envs=16)}, "Mine/Hop-v0"),)
"""
)


def names() -> list[list[str]]:
    return [list(registry) for registry in (all_tasks(), ROBOTS, SHAPES, STRATEGIES, gym.registry)]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """No test leaves a plugin behind."""
    before = names()
    yield
    for plugin in list(plugins.LOADED.values()):
        plugins.unload(plugin, all_tasks())
    assert names() == before


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_all_that_a_file_holds_is_used(tmp_path: Path) -> None:
    plugin = load_plugin(write(tmp_path / "hopping.py", HOPPER))
    kinds = "task", "robot", "kind of terrain", "curriculum"
    assert plugin.holds == dict(zip(kinds, (["hop"], ["hopper"], ["ridges"], ["lazy"]), strict=True))
    env = LeggedEnv(get_task("hop").recipe("").env(), 4, num_threads=1)
    env.reset(seed=1)
    env.step(torch.zeros(4, 12))
    assert env.course and env.course.terrain.shapes == ["ridges", "flat"]
    assert type(env.course.curriculum).__name__ == "Lazy"
    made = gym.make("Mine/Hop-v0")
    assert made.observation_space.shape
    made.close()


def test_a_changed_file_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    path = write(tmp_path / "hopping.py", HOPPER)
    assert load_plugin(path) is load_plugin(str(path))
    write(path, HOPPER.replace("-0.5)", "-0.25)").replace('"hop"', '"hopp"'))
    load_plugin(path)
    assert get_task("hopp").recipe("").env().rewards["mine"].weight == -0.25
    assert "hop" not in all_tasks()


def test_a_package_is_read_whole_and_its_robot_lies_in_it(tmp_path: Path) -> None:
    write(tmp_path / "kennel" / "dog.xml", GO2.mjcf_path.read_text())
    write(tmp_path / "kennel" / "dog.py", HEAD + 'DOG = replace(GO2, name="dog", mjcf="dog.xml")\n')
    write(tmp_path / "kennel" / "test_dog.py", "raise AssertionError('is no part of it')\n")
    task = """
from kennel.dog import DOG
def env():
    cfg = get_task("go2_flat").recipe("").env()
    cfg.robot = DOG
    return cfg
TASKS = (Task("dog_flat", {"fast": Recipe(env)}, "Mine/Dog-v0"),)
"""
    write(tmp_path / "kennel" / "walk.py", HEAD + task)
    plugin = load_plugin(write(tmp_path / "kennel" / "__init__.py", "").parent)
    assert plugin.holds == {"robot": ["dog"], "task": ["dog_flat"]}
    assert get_task("dog_flat").recipe("").env().robot.mjcf_path == tmp_path / "kennel" / "dog.xml"
    assert GO2.mjcf == "go2.xml"


TASK = 'Task("own", {"fast": Recipe(lambda: None)}, "Mine/Own-v0")'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "holds nothing"),
        ("x = Robot()", r"\(line 10 of own.py\) cannot be imported \(NameError: name 'Robot'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import helpers", "plugin of several files is a folder with an __init__.py"),
        ("def broken(:", "SyntaxError"),
        (f"TASKS = ({TASK})", "TASKS must be a tuple of tasks, not Task; mind the comma"),
        ("TASKS = ('own',)", "TASKS must hold tasks .*, not str"),
        (f"TASKS = ({TASK.replace('own', 'my-own')},)", "letters, digits and _, not 'my-own'"),
        (f"TASKS = ({TASK.replace('Recipe(lambda: None)', 'dict')},)", "must map names to envs.tasks.Recipe"),
        (f"TASKS = ({TASK.replace('Mine/Own-v0', 'what? ever')},)", "must look like Mine/own-v0"),
        (f"TASKS = ({TASK.replace('Mine/Own', 'Trot/Go2Flat')},)", "'Trot/Go2Flat-v0' is that of task go2_flat"),
        (f"TASKS = ({TASK.replace('own', 'go2_flat')},)", "there is a task 'go2_flat' already"),
        ('MINE = replace(GO2, name="a1")', "there is a robot 'a1' already"),
        ("@shape\ndef gap(difficulty, size, cell, rng): pass", "there is a kind of terrain 'gap' already"),
        ("@shape\ndef own(difficulty, size): pass", "'own' must take difficulty, size, cell and rng"),
        ("@shape\nclass own: pass", "'own' must be a function, not type"),
        ("@strategy\nclass Fair(Curriculum): pass", "there is a curriculum 'fair' already"),
        ("@strategy\nclass Own: pass", "must be a class derived from"),
        ("@strategy\nclass Own(Curriculum): pass", "needs a method next_levels"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_of_it_stays(text: str, sentence: str, tmp_path: Path) -> None:
    write(tmp_path / "helpers.py", "")
    path, before = write(tmp_path / "own.py", f"{HEAD}\n{text}\n"), names()
    with pytest.raises(ValueError, match=sentence) as caught:
        load_plugin(path)
    assert "own" in str(caught.value) and "\n" not in str(caught.value)
    assert names() == before and "own" not in sys.modules


def test_paths_that_are_no_plugins(tmp_path: Path) -> None:
    write(tmp_path / "walking.py", "")
    write(tmp_path / "project" / "inner" / "__init__.py", "")
    for name, sentence in {
        "walkin.py": "Did you mean walking.py",
        "project": r"no package. Did you mean .*project.inner\?",
        "my-own.py": "letters, digits and _ alone",
        "robots.py": "there is a module 'robots' already",
        "this.py": "Python's own library",
        "notes.txt": "must be a Python file",
    }.items():
        if sentence[0] != "D":
            write(tmp_path / name, "") if "." in name else None
        with pytest.raises(ValueError, match=sentence):
            load_plugin(tmp_path / name)
    with pytest.raises(ValueError, match=r"no plugin .*native\.py'\.$"):  # a package of this project is none
        load_plugin(Path(__file__).parents[2] / "native.py")


def install(site: Path, name: str, text: str) -> None:
    """As pip would."""
    write(site / name / "__init__.py", "")
    write(site / name / "task.py", HEAD + text)
    write(site / f"{name}-0.3.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
    write(site / f"{name}-0.3.dist-info" / "entry_points.txt", f"[trot.plugins]\n{name} = {name}\n")


OWN = "TASKS = (" + TASK.replace("lambda: None", "get_task('go2_flat').recipe('').env") + ",)"


def test_installed_packages_are_found_and_a_broken_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "own_dog", OWN)
    install(tmp_path, "bad_dog", "raise KeyError('bone')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_waiting", None)
    assert get_task("own").recipe("").env().robot == GO2
    error = capsys.readouterr().err
    assert "plugin bad_dog of bad_dog 0.3 is left out" in error and "(line 9 of task.py)" in error
    assert error.count("\n") == 1
    assert str(plugins.LOADED["own_dog"]) == "plugin own_dog (own_dog 0.3)"
    all_tasks()
    assert not capsys.readouterr().err, "it is said once"
    # a package may name several modules
    write(
        tmp_path / "own_dog" / "other.py",
        HEAD + OWN.replace('"own"', '"other"').replace("Mine/Own", "Mine/Other"),
    )
    points = tmp_path / "own_dog-0.3.dist-info" / "entry_points.txt"
    points.write_text("[trot.plugins]\na = own_dog.task\nb = own_dog.other\n")
    plugins.unload(plugins.LOADED["own_dog"], all_tasks())
    monkeypatch.setattr(plugins, "_waiting", None)
    assert {"own", "other"} <= set(all_tasks())
    # the same package by its path, in a newer version, takes its place
    write(tmp_path / "new" / "own_dog" / "__init__.py", HEAD + OWN.replace('"own"', '"newer"'))
    load_plugin(tmp_path / "new" / "own_dog")
    assert "newer" in all_tasks() and "own" not in all_tasks()


@pytest.mark.slow
def test_an_installed_package_may_be_imported_before_ours(tmp_path: Path) -> None:
    """As its own tests do: its import leads to ours, which looks for plugins."""
    install(tmp_path, "own_dog", OWN)
    line = "import own_dog.task, envs; print(envs.get_task('own').gym_id)"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True
    )
    assert done.stdout == b"Mine/Own-v0\n" and not done.stderr
