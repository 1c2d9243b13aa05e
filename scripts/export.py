"""Export a policy for use outside of this project: `python scripts/export.py --load_run RUN`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

from algorithms.export import ONNX, TORCHSCRIPT
from envs.legged_env import LeggedEnv
from runs.command import command, set_threads, typed
from runs.export import JSON, export_run
from runs.flags import parse_flags
from runs.folders import RunFlags, open_flags
from terrains.ground import Plane


@dataclass
class Flags(RunFlags):
    """Export a policy as TorchScript, ONNX and a JSON file with all that driving a robot with it takes."""

    output: str = ""
    """Folder for the files; empty for `exported` in the run folder."""


def main() -> int:
    """Export; returns the exit status."""
    flags = parse_flags(Flags())
    set_threads(1)
    run = open_flags(flags)
    env = LeggedEnv(run.cfg.env, 1, "mujoco", "cpu", num_threads=1, ground=Plane())
    folder = export_run(run, env, Path(flags.output) if flags.output else run.output / "exported")
    difference = json.loads((folder / JSON).read_text())["max_difference"]
    print(f"run    {run.folder.name}, {run.checkpoint_path.name}")
    print(f"files  {', '.join(str(folder / name) for name in (TORCHSCRIPT, ONNX, JSON))}")
    print(f"check  {typed('sim2sim')} --policy {folder}")
    print(f"max_difference={difference:.2g}")
    return 0


if __name__ == "__main__":
    command(main)
