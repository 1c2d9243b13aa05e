"""The rooms of the house, from the roof down, and what each may import: a room may only import rooms below it.

`python -m tests.architecture` writes the figure of docs/architecture.md anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"


class Room(NamedTuple):
    """A top-level folder."""

    what: str
    """What lives there."""
    imports: str
    """Rooms that it may import."""


ROOMS = {
    "scripts": Room(
        "commands, one a file",
        "benchmarks studies runs deploy viewers evaluation envs algorithms physics terrains robots",
    ),
    "benchmarks": Room(
        "how fast it is",
        "runs viewers evaluation envs algorithms physics terrains robots native",
    ),
    "studies": Room(
        "experiments: variants x seeds", "runs viewers evaluation algorithms physics terrains robots"
    ),
    "runs": Room(
        "a run: configuration, folder, training, export",
        "viewers evaluation envs algorithms physics terrains robots native",
    ),
    "interop": Room("other people's programs on our environments", "viewers envs robots"),
    "viewers": Room("pictures and tables", "evaluation envs physics terrains robots"),
    "evaluation": Room("how good a policy is", "envs terrains robots native"),
    "envs": Room("what a robot is asked to do", "physics terrains robots native"),
    "algorithms": Room("how a policy learns", "native"),
    "physics": Room("how bodies move", "terrains robots native"),
    "terrains": Room("the ground and its curriculum", "robots native"),
    "robots": Room("MJCF and drive facts", ""),
    "native": Room("compiler, CUDA graphs", ""),
    "deploy": Room("exported policies in plain MuJoCo", ""),
}


def figure() -> str:
    """The table as a Mermaid chart; an arrow that follows from others is left out."""
    below: dict[str, set[str]] = {}
    for name in reversed(ROOMS):
        direct = ROOMS[name].imports.split()
        below[name] = set(direct).union(*(below[room] for room in direct))
    lines = [f'    {name}["<b>{name}/</b><br>{room.what}"]' for name, room in ROOMS.items()]
    for name, room in ROOMS.items():
        direct = room.imports.split()
        lines += [f"    {name} --> {to}" for to in direct if not any(to in below[other] for other in direct)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def redrawn(page: str) -> str:
    """The page with the figure of today's table."""
    return re.sub(r"```mermaid.*?```", lambda _: figure(), page, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(redrawn(PAGE.read_text()))
