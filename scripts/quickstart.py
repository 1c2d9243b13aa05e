"""What `make train` runs: train the quick-start task, evaluate it, draw curves, record a video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import runs.interrupt  # noqa: F401 # isort: skip

from envs.tasks import get_task
from runs.command import command
from runs.config import load_config
from runs.estimate import span
from runs.flags import peek
from runs.folders import NOTE, with_nan
from runs.verdict import judge, next_steps, print_lines
from viewers.curves import plot_training


@dataclass
class Flags:
    """Flags of the quick start; all others are scripts/train.py's."""

    log_dir: str = "logs"
    """Folder of all experiments."""
    eval_envs: int = 512
    """Robots of the evaluation."""
    device: str = "auto"
    """Of all commands, see scripts/train.py."""


def main() -> int:
    """Run the commands one after another; flags not known here go to scripts/train.py."""
    flags, train_flags = peek(Flags())
    start = time.time()
    device = ["--device", flags.device]
    with tempfile.TemporaryDirectory() as place:
        note = Path(place, "run_folder")
        line = "--log_dir", flags.log_dir, *device, *train_flags
        if status := _run("train.py", *line, **{NOTE: str(note)}):
            return status
        if not note.is_file():
            return 0  # --check, or nothing to do
        folder = Path(note.read_text())
    where = ["--load_run", str(folder), *device]
    if status := _run("evaluate.py", *where, "--num_envs", str(flags.eval_envs)):
        return status
    curves = folder / "plots" / "training.png"
    if (progress := folder / "progress.csv").is_file():  # rsl_rl writes none
        plot_training(progress, curves)
    if status := _run("play.py", *where, "--num_envs", "4", "--seconds", "10"):
        return status
    print(f"\nall done in {span(time.time() - start)}")
    measured = json.loads((folder / "evaluation.json").read_text(), object_hook=with_nan)
    figures = measured["nominal"]
    how = f"{figures['robots']} robots for {figures['seconds']:g} s, {measured['checkpoint']}:"
    cfg = load_config(folder / "config.yaml")
    print_lines("verdict", [how, *judge(figures, get_task(cfg.task).targets)])
    if progress.is_file():
        print_lines("curves", [str(curves)])
    print_lines("figures", [str(folder / "evaluation.json")])
    print_lines("video", [str(path) for path in (folder / "videos").glob("*.mp4")])
    python = sys.executable.removeprefix(f"{Path.cwd()}/")  # the one that has everything, unlike a shell's
    steps = next_steps(cfg, folder, figures, cfg.max_iterations)
    print_lines("next", [step.replace("  python ", f"  {python} ") for step in steps])
    return 0


def _run(script: str, *flags: str, **environment: str) -> int:
    print(f"\n$ python scripts/{script} {' '.join(flags)}", flush=True)
    line = [sys.executable, str(ROOT / "scripts" / script), *flags]
    child = subprocess.Popen(line, env=os.environ | environment)
    try:
        return child.wait()
    except KeyboardInterrupt:  # it had that too, and a training saves first; a second one ends both
        return child.wait() or 130


if __name__ == "__main__":
    command(main)
