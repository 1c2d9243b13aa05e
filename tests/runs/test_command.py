"""What every command does with interruptions and with files that cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runs.command import check_output, command
from runs.flags import parse_flags
from scripts import evaluate

ROOT = Path(__file__).resolve().parents[2]


def test_ctrl_c_is_one_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 130 and capsys.readouterr().err == "train.py: stopped\n"


@pytest.mark.parametrize(("file", "status"), [("scripts/train.py", 130), ("tests/train.py", 1)])
def test_ctrl_c_during_imports_cannot_be_swallowed(file: str, status: int) -> None:
    program = (
        f"import signal, sys; sys.modules['__main__'].__file__ = {str(ROOT / file)!r}\n"
        "import runs.interrupt\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: pass\n"
        "runs.interrupt.begin()\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: sys.exit(1)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == status
    assert result.stderr == ("stopped\n" if status == 130 else "")


def test_outputs_are_tried_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; give a file"):
        check_output(tmp_path, "--json")
    with pytest.raises(ValueError, match="the folder does not exist"):
        check_output(tmp_path / "no" / "x.json", "--json")
    check_output(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    (tmp_path / "old.json").write_text("kept")
    check_output(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "kept"
    with pytest.raises(ValueError, match="cannot be written"):
        check_output(Path("/proc/x.json"))


@pytest.mark.parametrize("flags", ["--limit nan 1 1", "--seconds inf", "--segment -inf"])
def test_no_flag_may_be_nan_or_infinite(flags: str) -> None:
    with pytest.raises(ValueError, match=f"{flags.split()[0]} must be finite"):
        parse_flags(evaluate.Flags(), flags.split())
