"""Robots are found by themselves, and a file that is wrong is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import robots

DOG = "from dataclasses import replace\nfrom robots.a1 import A1\nDOG = replace(A1, name='dog')\n"


def test_a_robots_file_is_found_and_a_bad_one_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(robots.__file__).parent, tmp_path / "robots")
    (folder / "dog.py").write_text(DOG)

    def run() -> subprocess.CompletedProcess[str]:
        line = "from robots import DOG, ROBOTS; assert ROBOTS['dog'] is DOG"
        return subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True)

    assert run().returncode == 0
    (folder / "cat.py").write_text("CAT = Robot()\n")
    assert run().stderr == "robots/cat.py cannot be imported (NameError: name 'Robot' is not defined)\n"
    (folder / "cat.py").write_text(DOG)
    assert "another file has a robot named 'dog'" in run().stderr and "Traceback" not in run().stderr
