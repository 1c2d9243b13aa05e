"""Tasks: one module per task family; a module's `TASKS` are found by themselves.

Those of your own may be anywhere, see envs/plugins.py.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym

from envs import plugins
from envs.plugins import Plugin
from envs.recipes import Recipe, Task, for_gpu
from robots.config import modules, nearest

__all__ = [
    "Plugin",
    "Recipe",
    "Task",
    "all_tasks",
    "for_gpu",
    "get_task",
    "load_plugin",
    "register_gymnasium_envs",
]


def _discover() -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for module in modules(__name__, __path__):
        for task in getattr(module, "TASKS", ()):
            tasks[task.name] = task
    return tasks


def all_tasks() -> dict[str, Task]:
    """Every task by name, those of installed plugins included."""
    global _tasks
    if not _tasks:
        _tasks = _discover()
    plugins.load_installed(_tasks)
    return _tasks


_tasks: dict[str, Task] = {}


def get_task(name: str) -> Task:
    """A task by name; hyphens count as underscores, a robot's name is its rough task. ValueError with the nearest."""
    tasks = all_tasks()
    key = name.replace("-", "_")
    key = f"{key}_rough" if key not in tasks and f"{key}_rough" in tasks else key
    if key not in tasks:
        known = list(tasks)
        robots = [task.removesuffix("_rough") for task in known if task.endswith("_rough")]
        near = nearest(key, known) or nearest(key, robots)
        raise ValueError(f"unknown task {name!r}; choose from {', '.join(known)}.{near}")
    return tasks[key]


def load_plugin(path: str | Path) -> Plugin:
    """Take in tasks, robots, kinds of terrain and curricula of your own; `gymnasium.make` knows the tasks then.

    Args:
        path: a Python file, or a folder that is a package. Loaded again after a change, it takes the place of the
            earlier one.

    Raises:
        ValueError: one sentence that says what is wrong with it.
    """
    plugin = plugins.load(Path(path), all_tasks())
    register_gymnasium_envs()
    return plugin


def register_gymnasium_envs() -> None:
    """Make every task known to gymnasium; calling it twice does no harm.

    What makes the environments is named, not imported: it draws pictures, which no task needs.
    """
    for task in all_tasks().values():
        if task.gym_id not in gym.registry:
            gym.register(
                task.gym_id,
                entry_point="interop.gymnasium_envs:SingleEnv",
                vector_entry_point="interop.gymnasium_envs:make_vector",
                kwargs={"task": task.name},
            )
