"""Processes beside a training, which goes first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
NICENESS = 19
"""Of the processes: they get what time training leaves."""


def start_aside(
    code: str,
    arguments: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    errors: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start Python with one thread, without a GPU, of the lowest priority; a Ctrl-C does not reach it.

    Args:
        code: what it does.
        arguments: its `sys.argv[1:]`.
        pass_fds: open files that it inherits.
        errors: where its stderr goes.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    alone = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        # -P: modules of the current folder are not ours, whatever they are called
        [sys.executable, "-P", "-c", f"import os; os.nice({NICENESS}); {code}", *arguments],
        env=os.environ | alone,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        process_group=0,  # no session of its own: Linux would weigh the two sessions, not the processes in them
    )
