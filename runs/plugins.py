"""Plugins of a run: named by flags, kept in its folder as they were, and loaded from there again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envs.plugins import LOADED, ROBOT, digest, files
from envs.tasks import load_plugin
from robots import ROBOTS
from robots.config import RobotConfig

FLAG = "--plugin"
VARIABLE = "TROT_PLUGINS"
"""Environment variable with further plugins, separated as in PATH."""
KEPT = "plugins"
"""Folder of a run where its plugins are kept."""
LARGEST = 100e6
"""Bytes of a plugin that a run keeps: a robot's meshes go in, a data set does not."""


def together(args: Sequence[str]) -> list[str]:
    """A command line with every plugin that it names behind one flag, at its end: the flag may be repeated."""
    paths, rest = of_line(args), _split(args)[1]
    return [*rest, FLAG, *paths] if paths else list(rest)


def of_line(args: Sequence[str]) -> list[str]:
    """The plugins that a command line names, as they are typed."""
    return _split(args)[0]


def _absolute(paths: Sequence[str]) -> tuple[str, ...]:
    """Absolute paths, and those that the environment names, each once."""
    further = [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    found = (Path(os.path.abspath(Path(path).expanduser())) for path in [*paths, *further])
    return tuple(dict.fromkeys(str(path.parent if path.name == "__init__.py" else path) for path in found))


def _split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Plugins that a command line names, and the rest of it."""
    paths: list[str] = []
    rest: list[str] = []
    follows = False
    for arg in args:
        flag, equals, value = arg.partition("=")
        if flag == FLAG:
            follows = not equals
            paths += [value] if equals else []
        elif follows and not arg.startswith("-") and not equals:
            paths.append(arg)
        else:
            follows = False
            rest.append(arg)
    if FLAG in args and not paths:
        raise ValueError(f"{FLAG} needs a Python file or a package's folder")
    return paths, rest


def load_named(paths: Sequence[str], of_run: Sequence[str] = ()) -> None:
    """Load plugins by their paths, but those that a run has brought: as it has them, so they stay."""
    brought = {Path(path).stem for path in of_run}
    for path in paths:
        if Path(path).stem not in brought:
            load_plugin(path)


def load_more(paths: Sequence[str], of_run: Sequence[str] = ()) -> tuple[str, ...]:
    """Load what flags and the environment name, see `load_named`; returns the absolute paths."""
    found = _absolute(paths)
    for i, path in enumerate(found):
        for other in found[:i]:
            if Path(other).stem == Path(path).stem:
                raise ValueError(f"plugins {other} and {path} have the same name; rename one of them")
    load_named(found, of_run)
    return found


def check_keepable(paths: Sequence[str]) -> None:
    """ValueError for a loaded plugin that a run cannot keep: too large, or a file that needs others beside it."""
    for plugin in [each for each in LOADED.values() if str(each.source) in paths and each.source.is_file()]:
        for robot in plugin.holds.get(ROBOT, ()):
            mjcf = ROBOTS[robot].mjcf_path.resolve()
            if mjcf.is_relative_to(plugin.source.resolve().parent):
                raise ValueError(
                    f"plugin {plugin.source} needs {mjcf.name}, which a run would not keep: make a folder of both, "
                    f"with an __init__.py"
                )
    for path in paths:
        size = sum(file.stat().st_size for file in files(Path(path)))
        if size > LARGEST:
            raise ValueError(
                f"plugin {path} holds {size / 1e6:.0f} MB, and a run keeps a copy: leave at most "
                f"{LARGEST / 1e6:.0f} MB in its folder"
            )


def keep(folder: Path, paths: Sequence[str]) -> None:
    """Copy plugins into a run's folder, whole or not at all; what is kept there stays."""
    for path in map(Path, paths):
        copy = folder / KEPT / path.name
        if copy.exists() or not path.exists():
            continue
        staged = copy.with_name(f".{path.name}.{os.getpid()}")
        for file in files(path):
            target = staged / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        os.replace(staged, copy)


def load_kept(folder: Path, paths: Sequence[str]) -> None:
    """Load a run's plugins as they were when it began; where it keeps none, from where they were."""
    for path in paths:
        load_plugin(kept(folder, path))


def kept(folder: Path, path: str) -> Path:
    """A run's own copy of a plugin; the plugin where there is none."""
    copy = (folder / KEPT / Path(path).name).absolute()
    return copy if copy.exists() else Path(path)


def differing(folder: Path, paths: Sequence[str]) -> list[str]:
    """Plugins that are not as the run keeps them; those that are gone do not count."""
    return [
        path for path in paths if Path(path).exists() and digest(Path(path)) != digest(kept(folder, path))
    ]


def say_differing(folder: Path, paths: Sequence[str]) -> None:
    """Say on stderr, once for all processes, which plugins have changed since a run began."""
    for path in differing(folder, paths) if os.environ.get("RANK", "0") == "0" else ():
        print(
            f"warning: {path} has changed since the run began; it goes on with its own copy, {kept(folder, path)}",
            file=sys.stderr,
        )


def follow(robot: dict[str, Any], folder: Path, paths: Sequence[str]) -> None:
    """Let a saved robot's files that lie in a plugin's folder be those that the run keeps."""
    for path in paths:
        copy = kept(folder, path)
        for name in ("mjcf", "actuator_net"):
            file = Path(robot.get(name) or "")
            if file.is_relative_to(path) and file != Path(path):
                robot[name] = str(copy / file.relative_to(path))


def hand_on(
    run: Path, paths: Sequence[str], robot: RobotConfig, to: Path
) -> tuple[tuple[str, ...], RobotConfig]:
    """Copy a run's plugins to a policy that comes with the repository.

    Args:
        run: the run's folder.
        paths: its plugins.
        robot: its robot, whose files may lie in them.
        to: folder of the policy; plugins that it has are replaced.

    Returns:
        paths of the copies, relative to the repository, and the robot with such paths.
    """
    shutil.rmtree(to / KEPT, ignore_errors=True)
    robot, new = replace(robot), []
    for path in paths:
        copy = kept(run, path)
        keep(to, [str(copy)])
        new.append(f"{to.parent.name}/{to.name}/{KEPT}/{copy.name}")
        for name in ("mjcf", "actuator_net"):
            file = Path(getattr(robot, name))
            if copy.is_dir() and file.is_relative_to(copy):
                setattr(robot, name, f"{new[-1]}/{file.relative_to(copy)}")
    return tuple(new), robot
