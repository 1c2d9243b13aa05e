"""What leaves the house takes nothing of it along."""

from __future__ import annotations

import ast
from pathlib import Path

import deploy
from tests.architecture import ROOMS

FILES = sorted(Path(str(deploy.__file__)).parent.rglob("*.py"))


def test_needs_nothing_of_the_project() -> None:
    """Nor torch, at the top or in a function."""
    modules = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file}: imports are absolute"
                modules.add(str(node.module))
    assert len(FILES) > 5
    roots = {name.split(".")[0] for name in modules}
    assert "mujoco" in roots
    assert not roots & ((set(ROOMS) | {"policies", "tests", "torch"}) - {"deploy"})
