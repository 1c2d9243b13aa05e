"""scripts/quickstart.py: commands one after another, about the run that was trained."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from scripts import quickstart


def test_ctrl_c_waits_for_what_a_command_still_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = tmp_path / "saved"
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "slow.py").write_text(
        f"import pathlib, sys, time; time.sleep(1.5); pathlib.Path({str(saved)!r}).touch(); sys.exit(7)"
    )
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ctrl_c = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    ctrl_c.start()
    try:
        assert quickstart._run("slow.py") == 7 and saved.is_file()
    except KeyboardInterrupt:
        pytest.fail("the command was not waited for")
    finally:
        ctrl_c.join()
        signal.signal(signal.SIGINT, before)
