"""Plugins: tasks, robots, kinds of terrain and curricula that lie outside of this repository.

A plugin is a Python file or a package, named by its path or found because it is installed (entry point
`trot.plugins`). What it holds is found as in the modules here: `TASKS`, robots (`RobotConfig`), functions with
`@shape` and classes with `@strategy`; rewards and observations come with the tasks that name them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym

from envs.recipes import Recipe, Task
from robots import ROBOTS
from robots.config import RobotConfig, nearest
from terrains.curriculum import STRATEGIES, Curriculum
from terrains.shapes import SHAPES

GROUP = "trot.plugins"
"""Entry points of installed packages whose values are modules to load."""
TASK, ROBOT, SHAPE, STRATEGY = "task", "robot", "kind of terrain", "curriculum"
"""What a plugin may hold."""


@dataclass
class Plugin:
    """A plugin that is loaded."""

    name: str
    """Name of its module: that of the file or folder, or what the entry point says."""
    source: Path
    """The file, or the package's folder."""
    package: str = ""
    """Name and version of the installed package; empty where it was named by its path."""
    digest: str = ""
    """Of its files, see `digest`; empty for an installed one."""
    holds: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> names of what it brought."""

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.package or self.source})"


LOADED: dict[str, Plugin] = {}
"""Every plugin by its module's name."""
_waiting: list[EntryPoint] | None = None  # None: nobody has looked yet
_busy = False  # one is being loaded; its imports may ask for tasks


def load(path: Path, tasks: dict[str, Task]) -> Plugin:
    """Load a file or a package by its path; nothing happens if it is loaded as it is.

    Args:
        path: the file or the package's folder.
        tasks: all tasks by name; the plugin's are added.

    Raises:
        ValueError: one sentence that says what is wrong with it; nothing of it stays.
    """
    source = _checked(path)
    name, new = source.stem, digest(source)
    if name in LOADED and LOADED[name].digest == new:
        return LOADED[name]
    for old in [plugin for plugin in LOADED.values() if plugin.name.split(".")[0] == name]:
        unload(old, tasks)
        _forget(name)  # of an installed package its modules alone are plugins
    other = sys.modules.get(name)
    if other or name in sys.stdlib_module_names:
        where = getattr(other, "__file__", None) or "Python's own library"
        raise ValueError(f"plugin {source}: there is a module {name!r} already ({where}); rename the plugin")
    return _take_in(Plugin(name, source, digest=new), partial(_import, name, source), tasks)


def load_installed(tasks: dict[str, Task]) -> None:
    """Load the plugins of installed packages, once; a broken one is named on stderr and left out."""
    global _waiting
    if _busy:
        return
    if _waiting is None:
        _waiting = sorted(entry_points(group=GROUP))
    late = [entry for entry in _waiting if _being_imported(entry.module)]
    ready, _waiting = [entry for entry in _waiting if entry not in late], late
    for entry in ready:
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
        named = {plugin.name.split(".")[0] for plugin in LOADED.values() if not plugin.package}
        if entry.module.split(".")[0] in named:
            continue  # the same package was named by its path
        try:
            found = importlib.util.find_spec(entry.module)
            if not found or not found.origin:
                raise ValueError(f"there is no module {entry.module!r}")
            file = Path(found.origin)
            plugin = Plugin(entry.module, file.parent if found.submodule_search_locations else file, package)
            _take_in(plugin, partial(_import_installed, entry.module), tasks)
        except Exception as error:
            print(f"plugin {entry.name} of {package} is left out: {error}", file=sys.stderr)


def unload(plugin: Plugin, tasks: dict[str, Task]) -> None:
    """Forget a plugin, so that it may be loaded anew."""
    for name in plugin.holds.get(TASK, ()):
        gym.registry.pop(tasks[name].gym_id, None)
    for kind, registry in _registries(tasks).items():
        for name in plugin.holds.get(kind, ()):
            registry.pop(name, None)
    _forget(plugin.name)
    LOADED.pop(plugin.name, None)


def files(source: Path) -> Iterator[Path]:
    """A plugin's files in order: the file, or all of the package's but hidden ones and Python's caches."""
    if source.is_file():
        yield source
        return
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and not any(part[0] == "." or part == "__pycache__" for part in parts):
            yield path


def digest(source: Path) -> str:
    """SHA-256 of a plugin's files: their contents and, of a package, their names."""
    whole = hashlib.sha256()
    for path in files(source):
        if path != source:
            whole.update(f"{path.relative_to(source)}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _checked(path: Path) -> Path:
    """The absolute path of a plugin; ValueError for what is none."""
    source = Path(os.path.abspath(path.expanduser()))
    if source.name == "__init__.py":
        source = source.parent
    if not source.exists():
        there = [found.name for found in source.parent.glob("*.py")]
        if source.parent != Path(__file__).parent.parent:  # the packages there are this project's
            there += [found.parent.name for found in source.parent.glob("*/__init__.py")]
        raise ValueError(f"no plugin {str(path)!r}.{nearest(source.name, there)}")
    if source.is_dir() and not (source / "__init__.py").is_file():
        inside = [str(path / found.parent.name) for found in sorted(source.glob("*/__init__.py"))]
        near = f" Did you mean {' or '.join(inside[:3])}?" if inside else ""
        raise ValueError(f"plugin {str(path)!r} is a folder without an __init__.py, so no package.{near}")
    if source.is_file() and source.suffix != ".py":
        raise ValueError(f"plugin {str(path)!r} must be a Python file (.py) or a package's folder")
    if not source.stem.isidentifier():
        raise ValueError(f"plugin {str(path)!r} needs the name of a module: letters, digits and _ alone")
    return source


def _registries(tasks: dict[str, Task]) -> dict[str, dict[str, Any]]:
    return {TASK: tasks, ROBOT: ROBOTS, SHAPE: SHAPES, STRATEGY: STRATEGIES}


def _take_in(plugin: Plugin, read: Callable[[], list[ModuleType]], tasks: dict[str, Task]) -> Plugin:
    """Import a plugin and enter what it holds, or leave everything as it was; ValueError with one sentence."""
    global _busy
    registries = _registries(tasks)
    before = {kind: dict(registry) for kind, registry in registries.items()}
    _busy = True
    try:
        modules = _read(plugin, read)
        _enter(plugin, modules, registries, before)
    except BaseException:
        for kind, registry in registries.items():
            registry.clear()
            registry.update(before[kind])
        _forget(plugin.name)
        raise
    finally:
        _busy = False
    LOADED[plugin.name] = plugin
    return plugin


def _read(plugin: Plugin, read: Callable[[], list[ModuleType]]) -> list[ModuleType]:
    """Import its modules; ValueError with the line that fails."""
    try:
        return read()
    except (Exception, SystemExit) as error:
        frames = reversed(traceback.extract_tb(error.__traceback__))
        inside = (at for at in frames if Path(at.filename).is_relative_to(plugin.source))
        line = next((f" (line {at.lineno} of {Path(at.filename).name})" for at in inside), "")
        advice = ""
        if isinstance(error, ModuleNotFoundError) and (plugin.source.parent / f"{error.name}.py").is_file():
            advice = (
                f"; a plugin of several files is a folder with an __init__.py, and imports {plugin.name}.*"
            )
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"plugin {plugin.source}{line} cannot be imported ({reason}){advice}") from error


def _import(name: str, source: Path) -> list[ModuleType]:
    """The modules of a file or of a package, under its own name wherever it lies."""
    is_package = source.is_dir()
    file = source / "__init__.py" if is_package else source
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(source)] if is_package else None
    )
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _package_modules(module)


def _import_installed(name: str) -> list[ModuleType]:
    return _package_modules(importlib.import_module(name))


def _package_modules(module: ModuleType) -> list[ModuleType]:
    """A module, and those that lie directly in it, but tests and names with a leading underscore."""
    inner = [
        importlib.import_module(found.name)
        for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
        if not re.match(r"_|tests?$|test_|conftest$|setup$", found.name.rpartition(".")[2])
    ]
    return [module, *inner]


def _forget(name: str) -> None:
    """Take a module and those in it out of Python's memory."""
    for known in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[known]


def _being_imported(name: str) -> bool:
    """Whether the import of a module, or of one in its package, has led here."""
    top = name.split(".")[0]
    begun = [module for key, module in list(sys.modules.items()) if key.split(".")[0] == top]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in begun)


def _enter(
    plugin: Plugin,
    modules: list[ModuleType],
    registries: dict[str, dict[str, Any]],
    before: dict[str, dict[str, Any]],
) -> None:
    """Put what modules hold where it is looked for; ValueError for wrong kinds and for names that are taken."""
    tasks, robots = registries[TASK], registries[ROBOT]
    for module in modules:
        for task in _tasks_of(module, plugin):
            taken = [other.name for other in tasks.values() if other.gym_id == task.gym_id]
            if taken and taken != [task.name]:
                raise ValueError(f"{plugin}: gym_id {task.gym_id!r} is that of task {taken[0]}")
            _add(plugin, TASK, task.name, task, tasks)
        for value in list(vars(module).values()):
            if isinstance(value, RobotConfig):
                _add(plugin, ROBOT, value.name, value, robots)
    for kind, check in ((SHAPE, _check_shape), (STRATEGY, _check_strategy)):
        for name, value in registries[kind].items():
            if before[kind].get(name, value) is not value:
                raise ValueError(f"{plugin}: there is a {kind} {name!r} already; give it another name")
            own = str(getattr(value, "__module__", "")).split(".")[0] == plugin.name.split(".")[0]
            if name not in before[kind] or own:
                if wrong := check(value):
                    raise ValueError(f"{plugin}: {kind} {name!r} {wrong}")
                plugin.holds.setdefault(kind, []).append(name)
    for name in plugin.holds.get(ROBOT, ()):
        _locate(robots[name], plugin.source if plugin.source.is_dir() else plugin.source.parent)
    if not plugin.holds:
        raise ValueError(
            f"{plugin} holds nothing: it needs TASKS, a RobotConfig, a function with @shape or a class with @strategy"
        )


def _add(plugin: Plugin, kind: str, name: str, value: Any, registry: dict[str, Any]) -> None:
    """Enter a value under its name; one that was imported from elsewhere is there already. ValueError if not that."""
    if name not in registry:
        registry[name] = value
        plugin.holds.setdefault(kind, []).append(name)
    elif registry[name] is not value:
        raise ValueError(f"{plugin}: there is a {kind} {name!r} already; give it another name")


def _tasks_of(module: ModuleType, plugin: Plugin) -> tuple[Task, ...]:
    """A module's `TASKS`; ValueError where they are anything but tasks."""
    tasks = getattr(module, "TASKS", ())
    if not isinstance(tasks, (tuple, list)):
        raise ValueError(
            f"{plugin}: TASKS must be a tuple of tasks, not {type(tasks).__name__}; mind the comma"
        )
    for task in tasks:
        if not isinstance(task, Task):
            raise ValueError(f"{plugin}: TASKS must hold tasks (envs.tasks.Task), not {type(task).__name__}")
        if not isinstance(task.name, str) or not re.fullmatch(r"\w+", task.name):
            raise ValueError(f"{plugin}: a task's name must be letters, digits and _, not {task.name!r}")
        recipes = task.recipes
        if not isinstance(recipes, dict) or not all(isinstance(each, Recipe) for each in recipes.values()):
            raise ValueError(f"{plugin}: recipes of task {task.name} must map names to envs.tasks.Recipe")
        if not recipes:
            raise ValueError(f"{plugin}: task {task.name} has no recipe")
        try:
            gym.envs.registration.parse_env_id(task.gym_id)
        except (gym.error.Error, TypeError) as error:
            raise ValueError(
                f"{plugin}: gym_id {task.gym_id!r} of task {task.name} must look like Mine/{task.name}-v0"
            ) from error
    return tuple(tasks)


def _check_shape(value: Any) -> str:
    """What is wrong with a kind of terrain, if anything."""
    if not inspect.isroutine(value):
        return f"must be a function, not {type(value).__name__}"
    parameters = list(inspect.signature(value).parameters.values())
    if len(parameters) < 4 or any(each.default is each.empty for each in parameters[4:]):
        return "must take difficulty, size, cell and rng, and then only parameters that have defaults"
    return ""


def _check_strategy(value: Any) -> str:
    """What is wrong with a curriculum, if anything."""
    if not isinstance(value, type) or not issubclass(value, Curriculum):
        return "must be a class derived from terrains.curriculum.Curriculum"
    return "" if value.next_levels is not Curriculum.next_levels else "needs a method next_levels"


def _locate(robot: RobotConfig, folder: Path) -> None:
    """Make paths of files beside a plugin absolute: robots/ is elsewhere."""
    for name in ("mjcf", "actuator_net"):
        value = getattr(robot, name)
        if value and (folder / value).is_file():
            setattr(robot, name, str(folder / value))
