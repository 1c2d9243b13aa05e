"""An installed copy has every file that its code reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_sources_that_are_not_python_are_packaged() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [name.rstrip("*") for name in setuptools["packages"]["find"]["include"]]
    packaged = {
        path
        for folder, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for path in (ROOT / folder).glob(pattern)
    }
    read = {
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".cpp", ".h", ".xml", ".pt", ".onnx")
        or path.parent.name == "templates"
        or (folder == "policies" and path.name in ("config.yaml", "figures.json", "policy.json"))
    }
    assert read == packaged and any(path.name == "scan.cpp" for path in read)
