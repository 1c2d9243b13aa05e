"""Begin a project of your own: `python scripts/new_project.py my_dog --robot go2` writes a small package."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

from runs.command import command, typed
from runs.flags import parse_flags
from runs.projects import new_project


@dataclass
class Flags:
    """Write a package with a task of its own, that Trot finds once it is installed."""

    name: tyro.conf.Positional[str] = ""
    """Name of package and task, or a path that ends in it; the folder must not exist."""
    robot: str = "go2"
    """Robot to begin with."""


def main() -> int:
    """Write it; returns the exit status."""
    flags = parse_flags(Flags())
    if not flags.name:
        raise ValueError(f"give the project a name: {typed('new_project')} my_dog")
    path = Path(flags.name)
    for file in new_project(path, flags.robot):
        print(file)
    print(f"next: cd {path} && pip install -e . --no-deps --no-build-isolation")
    print(f"then: trot train --task {path.name}")
    return 0


if __name__ == "__main__":
    command(main)
