"""What `make train` runs: train the quick-start task, evaluate it, draw curves, record a video."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.runs import command, find_run
from viewers.curves import plot_training


def main() -> int:
    """Run the commands one after another; flags not known here go to scripts/train.py."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--task", default="anymal_c_flat")
    parser.add_argument("--log_dir", default="logs")
    parser.add_argument("--eval_envs", type=int, default=512, help="robots of the evaluation")
    flags, train_flags = parser.parse_known_args()
    where = ["--task", flags.task, "--log_dir", flags.log_dir]
    start = time.perf_counter()
    if status := _run("train.py", *where, *train_flags):
        return status
    folder = find_run(Path(flags.log_dir) / flags.task)
    where += ["--load_run", str(folder)]
    if status := _run("evaluate.py", *where, "--num_envs", str(flags.eval_envs)):
        return status
    curves = folder / "plots" / "training.png"
    plot_training(folder / "progress.csv", curves)
    if status := _run("play.py", *where, "--num_envs", "4", "--seconds", "10"):
        return status
    print(f"\nall done in {(time.perf_counter() - start) / 60:.1f} min")
    print(f"curves   {curves}")
    print(f"figures  {folder / 'evaluation.json'}")
    print(f"video    {', '.join(map(str, (folder / 'videos').glob('*.mp4')))}")
    print(f"play it  .venv/bin/python scripts/play.py --load_run {folder}")
    return 0


def _run(script: str, *flags: str) -> int:
    print(f"\n$ python scripts/{script} {' '.join(flags)}", flush=True)
    return subprocess.run([sys.executable, str(ROOT / "scripts" / script), *flags]).returncode


if __name__ == "__main__":
    command(main)
