"""A new project's files, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from envs import all_tasks, get_task, load_plugin, plugins
from runs.projects import new_project

ROOT = Path(__file__).resolve().parents[2]


def test_a_new_project_is_whole_and_nothing_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "swift_dog"
    assert all(file.is_file() for file in new_project(folder, "a1"))
    assert not [file for file in folder.rglob("*.*") if "@" in file.read_text()]
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "swift-dog"
    assert project["project"]["entry-points"]["trot.plugins"] == {"swift_dog": "swift_dog"}
    assert "trot train --task swift_dog" in (folder / "README.md").read_text()
    plugin = load_plugin(folder / "swift_dog")
    cfg = get_task("swift_dog").recipe("fast").env()
    assert cfg.robot.name == "a1" and cfg.rewards["quiet_feet"].params == {"fast": 1.0}
    plugins.unload(plugin, all_tasks())
    with pytest.raises(ValueError, match="swift_dog exists"):
        new_project(folder, "a1")


@pytest.mark.parametrize(
    ("name", "robot", "sentence"),
    [
        ("Swift-Dog", "go2", "small letters, digits and _, such as my_dog, not 'Swift-Dog'"),
        ("class", "go2", "small letters"),
        ("go2_flat", "go2", "is a task's name already"),
        ("go2", "go2", "is a task's name already"),
        ("envs", "go2", "is a Python module's name already"),
        ("colorsys", "go2", "is a Python module's name already"),
        ("swift_dog", "go22", "no robot 'go22' to begin with; .* Did you mean go2"),
    ],
)
def test_names_that_cannot_be(name: str, robot: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        new_project(tmp_path / name, robot)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_installed_it_is_found_passes_its_own_test_and_trains(tmp_path: Path) -> None:
    def call(*args: str | Path, cwd: Path = tmp_path) -> str:
        done = subprocess.run([str(arg) for arg in args], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # an environment in which something may be installed, with all that this one has
    call(sys.executable, "-m", "venv", "--without-pip", "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (site / "all.pth").write_text(
        "\n".join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))])
    )
    trot = python, ROOT / "scripts" / "trot.py"
    assert "swift_dog/pyproject.toml" in call(*trot, "new-project", "swift_dog", "--robot", "go2")
    folder = tmp_path / "swift_dog"
    call(python, "-m", "pip", "install", "-q", "-e", ".", "--no-deps", "--no-build-isolation", cwd=folder)
    assert "2 passed" in call(python, "-m", "pytest", "-q", cwd=folder)
    assert "plugin swift_dog (swift-dog 0.1.0)\n    task swift_dog\n" in call(*trot, "list")
    flags = "--num_envs", "16", "--max_iterations", "2", "--num_threads", "1", "--agent.eval_envs", "0"
    call(*trot, "train", "--task", "swift_dog", *flags)
    assert "falls=" in call(*trot, "play", "--no-video", "--no-plots", "--num_envs", "2", "--seconds", "0.2")
    call(python, "-m", "pip", "uninstall", "-q", "-y", "swift-dog")
    gone = subprocess.run(
        [*trot, "export", "--load_run", *tmp_path.glob("logs/*/*")], cwd=tmp_path, capture_output=True
    )
    assert (
        gone.returncode == 2
        and b"came from the package swift-dog 0.1.0, which is not installed" in gone.stderr
    )
