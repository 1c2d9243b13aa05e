"""The code keeps to the plan in tests/architecture.py, and docs/architecture.md shows that plan."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture import FIGURE, PAGE, ROOMS, ROOT, figure


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the rooms by its dotted name."""
    files = (file for room in ROOMS for file in (root / room).rglob("*.py"))
    names = {".".join(file.relative_to(root).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imported(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that a file imports anywhere: at its top, in a function, or for types only."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name`: a module of the package, or a name in it
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{file}: imports are absolute"
            continue
        yield from (name for name in names if name in known)


def arrows(known: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> modules that it imports."""
    return {name: set(imported(file, known)) - {name} for name, file in known.items()}


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that the table does not allow."""
    return [
        f"{name} -> {to}"
        for name, targets in graph.items()
        for to in sorted(targets)
        if (room := name.split(".")[0]) != (other := to.split(".")[0])
        and other not in ROOMS[room].imports.split()
    ]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a ring; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_folder_with_code_is_a_room() -> None:
    folders = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")} - {"tests"}
    assert folders == set(ROOMS)


def test_a_room_may_import_only_rooms_below_it() -> None:
    order = list(ROOMS)
    for name, room in ROOMS.items():
        for other in room.imports.split():
            assert order.index(other) > order.index(name), f"{name} -> {other}"


def test_imports_point_down_and_never_in_circles() -> None:
    graph = arrows(modules())
    assert len(graph) > 100
    assert not upward(graph)
    assert not circle(graph)


def test_every_allowed_import_is_used() -> None:
    graph = arrows(modules())
    used = {(name.split(".")[0], to.split(".")[0]) for name, targets in graph.items() for to in targets}
    allowed = {(name, other) for name, room in ROOMS.items() for other in room.imports.split()}
    assert allowed <= used


@pytest.mark.parametrize(
    "source",
    ["import envs.two", "from envs import two", "from envs.two import x", "def f():\n    import envs.two"],
)
def test_what_the_check_would_find(source: str, tmp_path: Path) -> None:
    for name, text in {"robots/one": source, "envs/two": "from robots.one import y"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.py").write_text(text + "\n")
    graph = arrows(modules(tmp_path))
    assert upward(graph) == ["robots.one -> envs.two"]
    assert set(circle(graph)) == {"robots.one", "envs.two"}


def test_every_script_is_a_short_command() -> None:
    for file in (ROOT / "scripts").glob("[!_]*.py"):
        text = file.read_text()
        assert "def main(" in text and 'if __name__ == "__main__":' in text, file.name
        assert len(text.splitlines()) <= 150, f"{file.name} is long: what it uses lives elsewhere"


def test_no_module_is_long() -> None:
    long = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert not {name: lines for name, lines in long.items() if lines > 450}


def test_the_page_shows_this_plan() -> None:
    assert FIGURE.read_text() == figure(), "python -m tests.architecture draws the figure anew"
    assert "(figures/architecture.svg)" in PAGE.read_text()


def test_files_that_the_page_names_are_there() -> None:
    named = re.findall(r"`([a-z_]+/[\w/.-]+)`", PAGE.read_text())
    assert len(named) > 20
    missing = [path for path in named if "<" not in path and not (ROOT / path).exists()]
    assert not missing
