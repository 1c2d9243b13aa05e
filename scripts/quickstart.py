"""What `make train` runs: train the quick-start task, evaluate it, draw curves, record a video."""

from __future__ import annotations

import json
import subprocess
import sys
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
    if status := _run("train.py", "--log_dir", flags.log_dir, *device, *train_flags):
        return status
    folder = trained_since(start, Path(flags.log_dir))
    if not folder:
        return 0  # --check
    where = ["--load_run", str(folder), *device]
    if status := _run("evaluate.py", *where, "--num_envs", str(flags.eval_envs)):
        return status
    curves = folder / "plots" / "training.png"
    plot_training(folder / "progress.csv", curves)
    if status := _run("play.py", *where, "--num_envs", "4", "--seconds", "10"):
        return status
    print(f"\nall done in {span(time.time() - start)}")
    figures = json.loads((folder / "evaluation.json").read_text())["nominal"]
    how = f"{figures['robots']} robots for {figures['seconds']:g} s, the best checkpoint:"
    cfg = load_config(folder / "config.yaml")
    print_lines("verdict", [how, *judge(figures, get_task(cfg.task).targets)])
    print_lines("curves", [str(curves)])
    print_lines("figures", [str(folder / "evaluation.json")])
    print_lines("video", [str(path) for path in (folder / "videos").glob("*.mp4")])
    python = sys.executable.removeprefix(f"{Path.cwd()}/")  # the one that has everything, unlike a shell's
    steps = next_steps(cfg, folder, figures, cfg.max_iterations)
    print_lines("next", [step.replace("  python ", f"  {python} ") for step in steps])
    return 0


def trained_since(start: float, logs: Path) -> Path | None:
    """The run folder that the newest checkpoint lies in, None if none was written since `start`, s."""
    newest = max(logs.glob("*/*/model_*.pt"), key=lambda path: path.stat().st_mtime, default=None)
    return newest.parent if newest and newest.stat().st_mtime >= start else None


def _run(script: str, *flags: str) -> int:
    print(f"\n$ python scripts/{script} {' '.join(flags)}", flush=True)
    child = subprocess.Popen([sys.executable, str(ROOT / "scripts" / script), *flags])
    try:
        return child.wait()
    except (
        KeyboardInterrupt
    ):  # the command had it too, and a training saves before it ends; another ends both
        return child.wait() or 130


if __name__ == "__main__":
    command(main)
