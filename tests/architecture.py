"""The rooms of the house, from the roof down, and what each may import: a room may only import rooms below it.

`python -m tests.architecture` draws the figure of docs/architecture.md anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
FIGURE = ROOT / "docs" / "figures" / "architecture.svg"


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
    "interop": Room("other people's programs on our environments", "viewers envs robots"),
    "runs": Room(
        "a run: configuration, folder, training, export",
        "viewers evaluation envs algorithms physics terrains robots native",
    ),
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


def arrows() -> dict[str, list[str]]:
    """Room -> rooms that it may import, without what follows from others."""
    below: dict[str, set[str]] = {}
    for name in reversed(ROOMS):
        direct = ROOMS[name].imports.split()
        below[name] = set(direct).union(*(below[room] for room in direct))
    return {
        name: [to for to in direct if not any(to in below[other] for other in direct)]
        for name, direct in ((name, room.imports.split()) for name, room in ROOMS.items())
    }


def rows(to: dict[str, list[str]]) -> list[list[str]]:
    """Rooms from the roof down: each as deep as what imports it lets it be; one that nothing imports, low."""
    depth: dict[str, int] = {}
    for name in ROOMS:
        above = [depth[other] + 1 for other in depth if name in to[other]]
        depth[name] = max(above, default=0)
    imported = {other for targets in to.values() for other in targets}
    for name in list(ROOMS)[1:]:
        if name not in imported:
            depth[name] = min(depth[other] for other in to[name]) - 1
    return [[name for name in ROOMS if depth[name] == level] for level in range(max(depth.values()) + 1)]


WIDTH, HEIGHT, ACROSS, DOWN = 300, 44, 320, 72  # of a room, and from one to the next


def figure() -> str:
    """The table as an SVG chart."""
    to = arrows()
    levels = rows(to)
    width, height = max(map(len, levels)) * ACROSS, len(levels) * DOWN
    place = {
        name: (round((width - len(level) * ACROSS) / 2 + (i + 0.5) * ACROSS), row * DOWN + HEIGHT // 2 + 4)
        for row, level in enumerate(levels)
        for i, name in enumerate(level)
    }
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" text-anchor="middle" role="img">',
        "<title>Which folder may import which</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#455a64"/></marker>',
    ]
    for name, targets in to.items():
        for (x, y), (u, v) in ((place[name], place[other]) for other in targets):
            ends = f'x1="{x}" y1="{y + HEIGHT // 2}" x2="{u}" y2="{v - HEIGHT // 2 - 1}"'
            svg.append(f'<line {ends} stroke="#455a64" stroke-width="1.5" marker-end="url(#tip)"/>')
    for name, (x, y) in place.items():
        box = f'x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="6"'
        svg.append(f'<rect {box} fill="#eceff1" stroke="#455a64"/>')
        svg.append(f'<text x="{x}" y="{y - 3}" font-size="15" font-weight="bold">{name}/</text>')
        svg.append(f'<text x="{x}" y="{y + 14}" font-size="12.5" fill="#37474f">{ROOMS[name].what}</text>')
    return "\n".join([*svg, "</svg>", ""])


if __name__ == "__main__":
    FIGURE.write_text(figure())
