"""scripts/quickstart.py: commands one after another, about the run that was trained."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from algorithms import checkpoint
from runs.config import default_config, save_config
from runs.folders import NOTE, tell
from scripts import quickstart

BAD = {"lin_vel_error": 0.9, "ang_vel_error": 0.9, "falls": 0.5, "robots": 8, "seconds": 20.0}


def make_run(folder: Path, learner: Any = "trot") -> Path:
    """What the quick start looks at of a trained run."""
    folder.mkdir(parents=True)
    save_config(replace(default_config("go2_flat"), learner=learner), folder / "config.yaml")
    checkpoint.save(folder / "model_4.pt", {"iteration": 4})
    return folder


def start(monkeypatch: pytest.MonkeyPatch, flags: str, *results: int | Path) -> list[tuple[str, ...]]:
    """Run the quick start; each command gives its result, and one that gives a folder has trained there.

    Returns:
        the commands, and at last ("status", that of the quick start).
    """
    calls: list[tuple[str, ...]] = []

    def run(*line: str, **environment: str) -> int:
        result = results[len(calls)]
        calls.append(line)
        if isinstance(result, int):
            return result
        with monkeypatch.context() as patch:
            patch.setenv(NOTE, environment[NOTE])
            tell(result)
        return 0

    monkeypatch.setattr(quickstart, "_run", run)
    monkeypatch.setattr(sys, "argv", ["scripts/quickstart.py", *flags.split()])
    status = quickstart.main()
    return [*calls, ("status", str(status))]


def test_it_follows_the_run_that_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = make_run(tmp_path / "new" / "deep" / "2029-01-01_00-00-00")
    make_run(tmp_path / "go2_flat" / "2029-01-01_00-00-01")  # beside it, and newer
    flags = "--task go2_flat --experiment_name new/deep"
    calls = start(monkeypatch, f"{flags} --device cpu --log-dir {tmp_path}", trained, 1)
    assert calls[0] == ("train.py", "--log_dir", str(tmp_path), "--device", "cpu", *flags.split())
    assert calls[1][:5] == ("evaluate.py", "--load_run", str(trained), "--device", "cpu")
    assert calls[2:] == [("status", "1")], "a command that fails ends it"


def test_it_ends_where_nothing_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "go2_flat" / "2029-01-01_00-00-01")  # somebody else's, just now
    assert start(monkeypatch, f"--check --log-dir {tmp_path}", 0)[1:] == [("status", "0")]


def test_a_run_of_rsl_rl_has_no_curves_and_no_more_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = make_run(tmp_path / "go2_flat_rsl_rl" / "2029-01-01_00-00-00", "rsl_rl")
    (trained / "evaluation.json").write_text(json.dumps({"checkpoint": "model_4.pt", "nominal": BAD}))
    assert start(monkeypatch, f"--log-dir {tmp_path}", trained, 0, 0)[3:] == [("status", "0")]
    out = capsys.readouterr().out
    assert "model_4.pt:" in out and "not yet" in out and "curves" not in out and "--resume" not in out


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
