"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import mujoco
import torch


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """CPU model, cores, load average of the last minute, versions and git commit; of a GPU name, driver and CUDA."""
    gpu = {}
    if torch.device(device).type == "cuda":
        gpu = {
            "gpu": torch.cuda.get_device_name(device),
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split(
                "\n"
            )[0],
            "cuda": torch.version.cuda,
        }
    return gpu | {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "mujoco": mujoco.__version__,
        "commit": _commit(),
    }


CROWDED = 0.2
"""Share of the time that threads may wait for a core before it is said."""


class Crowd:
    """Other programs on the cores of this one, from now on."""

    def __init__(self, threads: int):
        """Begin to look.

        Args:
            threads: those of this program that want a core all the time.
        """
        self.threads, self._began, self._waited = threads, time.perf_counter(), waited()

    def sentence(self) -> str:
        """What to say where threads waited for their cores; empty where they did not, or nobody knows."""
        passed = (time.perf_counter() - self._began) * self.threads
        share = (waited() - self._waited) / passed if passed else 0.0
        if share < CROWDED:
            return ""
        fewer = self.threads - 1
        advice = f": --num_threads {fewer} may be faster" if fewer else ""
        return f"other programs keep this one's threads waiting for {share:.0%} of the time{advice}"


def waited() -> float:
    """How long the threads of this process were ready and had no core, s, all added up; 0 where it is not known.

    Linux counts it in the second field of /proc/<pid>/task/<tid>/schedstat, in ns.
    """
    total = 0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, IndexError, ValueError):  # a thread that has just ended
            total += int(task.read_text().split()[1])
    return total * 1e-9


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Short hash of the commit, with + where tracked files differ from it; empty outside a repository."""
    found = commit(Path(__file__).parent)
    return found["commit"][:12] + "+" * found["changed"] if found else ""


def commit(folder: Path) -> dict[str, Any]:
    """Commit of the repository that has a folder's files, and whether they differ from it; empty without one."""
    git = ("git", "-C", str(folder))
    if not _output(*git, "ls-files", "."):  # a package in an environment is not its project's
        return {}
    changed = _output(*git, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _output(*git, "rev-parse", "HEAD"), "changed": bool(changed)}


def _output(*args: str) -> str:
    """What a program prints, empty where it fails."""
    try:
        return subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
