"""What every command does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from algorithms.trainer import NonFiniteError
from runs.memory import is_out_of_memory


def typed(command: str) -> str:
    """How a user types another command, the way that this one was typed."""
    if sys.argv[0].startswith("trot "):
        return f"trot {command.replace('_', '-')}"
    return f"python scripts/{command}.py"


def set_threads(num_threads: int) -> int:
    """Give torch and the physics the same number of threads, 0 for one per core; returns it.

    Processes that torchrun started on this machine share the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    count = num_threads or max(share, 1)
    torch.set_num_threads(count)
    return count


def command(main: Callable[[], int | None]) -> None:
    """Run a command: bad input, a failed file, lasting non-finite numbers or no memory left end in one sentence.

    The exit status is then 2.
    """
    try:
        sys.exit(main() or 0)
    except (ValueError, OSError, NonFiniteError) as error:
        sentence = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sentence = "out of memory; give fewer robots"
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(2)
