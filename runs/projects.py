"""A new project: a small package with a task of its own, which Trot finds once it is installed."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from envs.tasks import all_tasks
from robots.config import nearest

TEMPLATES = Path(__file__).parent / "templates"


def new_project(path: Path, robot: str) -> list[Path]:
    """Write a project's files; returns them.

    Args:
        path: its folder, which is made; the last part names package and task.
        robot: the robot, whose task on flat ground is what the new one is based on.

    Raises:
        ValueError: a name that cannot be a package's or is taken, a folder that exists, or a robot without a task.
    """
    name, tasks = path.name, all_tasks()
    robots = [task.removesuffix("_flat") for task in tasks if task.endswith("_flat")]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(
            f"a project's name must be small letters, digits and _, such as my_dog, not {name!r}"
        )
    if path.exists():
        raise ValueError(f"{path} exists; give another name")
    if name in tasks or f"{name}_rough" in tasks:
        raise ValueError(f"{name!r} is a task's name already; give another one")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name):
        raise ValueError(f"{name!r} is a Python module's name already; give another one")
    if robot not in robots:
        raise ValueError(
            f"no robot {robot!r} to begin with; choose from {', '.join(robots)}.{nearest(robot, robots)}"
        )
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {"@NAME@": name, "@DIST@": name.strip("_").replace("_", "-"), "@ROBOT@": robot, "@GYM@": title}
    files = {
        path / "pyproject.toml": "pyproject.toml.txt",
        path / "README.md": "README.md.txt",
        path / name / "__init__.py": "init.py.txt",
        path / name / "task.py": "task.py.txt",
        path / "tests" / "conftest.py": "conftest.py.txt",
        path / "tests" / "test_task.py": "test_task.py.txt",
    }
    for file, template in files.items():
        text = (TEMPLATES / template).read_text()
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        except OSError as error:
            raise ValueError(f"{file} cannot be written ({error.strerror})") from error
    return list(files)
