"""What every command does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from algorithms.trainer import NonFiniteError
from runs import interrupt
from runs.memory import is_out_of_memory


def typed(command: str) -> str:
    """How a user types another command, the way that this one was typed."""
    if sys.argv[0].startswith("trot "):
        return f"trot {command.replace('_', '-')}"
    script = Path(sys.argv[0]).with_name(f"{command}.py")
    return f"python {script if script.parent.name == 'scripts' else Path('scripts', script.name)}"


def set_threads(num_threads: int) -> int:
    """Give torch and the physics the same number of threads, 0 for one per core; returns it.

    Processes that torchrun started on this machine share the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    count = num_threads or max(share, 1)
    torch.set_num_threads(count)
    return count


def check_output(path: Path, flag: str = "") -> None:
    """ValueError, before any work, for a file that could not be written after it.

    Args:
        path: the file; what it holds stays.
        flag: what the sentence begins with.
    """
    where = f"{flag} {path}".strip()
    if path.is_dir():
        raise ValueError(f"{where} is a folder; give a file")
    if not path.resolve().parent.is_dir():
        raise ValueError(f"{where}: the folder does not exist")
    new = not path.exists()
    try:
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as error:
        raise ValueError(f"{where} cannot be written ({error.strerror})") from error


def command(main: Callable[[], int | None]) -> None:
    """Run a command: bad input, a failed file, lasting non-finite numbers or no memory left end in one sentence.

    The exit status is then 2; it is 130 after Ctrl-C.
    """
    try:
        interrupt.begin()
        sys.exit(main() or 0)
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # what read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, OSError, NonFiniteError) as error:
        sentence = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sentence = "out of memory; give fewer robots"
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(2)
