"""Every command imports this first: Ctrl-C ends it in a word, also while libraries are still being imported.

Some libraries swallow a KeyboardInterrupt that reaches them in the middle of their import, and then fail on their own
half-imported modules. So until a command's work begins Ctrl-C does not raise, it ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType


def begin() -> None:
    """All is imported: from now on Ctrl-C raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _starts_a_command() -> bool:
    """Rather than a test, a notebook, or a process of a command's own, which imports the command's file too."""
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or "").absolute()
    return program.parent == Path(__file__).absolute().parent.parent / "scripts" or program.name == "trot"


sys.excepthook = _say
if _starts_a_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
