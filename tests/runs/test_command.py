"""What every command does with interruptions and with files that cannot be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runs.command import check_output, command
from runs.flags import parse_flags
from scripts import evaluate


def test_ctrl_c_is_one_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])
    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 130 and capsys.readouterr().err == "train.py: stopped\n"


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
