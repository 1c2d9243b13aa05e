"""What a run says of episodes where none ended."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from runs.progress import ProgressLog
from viewers.curves import read_progress

TIMES = {"Perf/collection_time": 1.0, "Perf/learning_time": 1.0, "Perf/train_time": 2.0}
ALWAYS = {"Perf/total_fps": 1000.0, "Train/mean_reward": 1.0, "Train/mean_episode_length": 5.0} | TIMES


def test_where_no_episode_ended_there_is_a_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = {"Episode/finished": 3.0, "Episode/fall_rate": 0.25, "Episode/length": 40.0}
    none = {"Episode/finished": 0.0, "Episode/fall_rate": 0.0, "Episode/length": 0.0}
    with ProgressLog(tmp_path, 30, 0) as log:
        for iteration in range(1, 31):
            log.write(iteration, ALWAYS | (ended if iteration == 5 else none))
    lines = capsys.readouterr().out.splitlines()
    assert "falls nan %" in lines[0] and "falls 25 %" in lines[1] and "falls 25 %" in lines[-1]
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert (
        rows[4]["Episode/length"] == "40" and rows[5]["Episode/length"] == rows[5]["Episode/fall_rate"] == ""
    )
    assert rows[5]["Episode/finished"] == "0"
    column = read_progress(tmp_path / "progress.csv")["Episode/length"]
    assert math.isnan(column[0]) and column[4] == 40.0


def test_a_log_begins_with_its_header_whatever_was_there(tmp_path: Path) -> None:
    for before in ("", "\n", "\niteration,Perf/total_fps\n1,10\n"):
        (tmp_path / "progress.csv").write_text(before)
        with ProgressLog(tmp_path, 30, 1) as log:
            log.write(2, ALWAYS)
        assert (tmp_path / "progress.csv").read_text().startswith("iteration,Perf/total_fps")
        assert read_progress(tmp_path / "progress.csv")["iteration"].tolist()[-1] == 2.0


@pytest.mark.parametrize(("columns", "length"), [("80", False), ("140", True)])
def test_a_line_fits_a_terminal(
    columns: str,
    length: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    numbers = {"Train/lin_vel_error": 0.4321, "Curriculum/level": 3.21, "Episode/fall_rate": 0.5}
    with ProgressLog(tmp_path, 1000, 0) as log:
        for iteration in (1, 990):
            log.write(iteration, ALWAYS | numbers)
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= int(columns) and ("length" in line) == length
        assert all(word in line for word in ("reward 1.00", "error 0.43", "falls 50 %", "level 3.2", "ETA"))
