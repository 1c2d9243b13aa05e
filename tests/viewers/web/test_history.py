"""The run folder, read while it is written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from viewers.web.history import MOST_POINTS, History

HEAD = "iteration,Perf/total_fps,Perf/train_time,Train/mean_reward,Episode/fall_rate,Other\n"


def test_rows_appear_when_they_are_whole(tmp_path: Path) -> None:
    history, path = History(tmp_path, 10), tmp_path / "progress.csv"
    assert not history.read() and math.isnan(history.progress().seconds_left)
    path.write_text(HEAD + "1,1000,2.0,0.5,,9\n2,1000,4.0,0.")
    assert history.read()
    assert history.progress().iteration == 1
    with path.open("a") as file:
        file.write("75,0.25,9\n")
    assert history.read() and not history.read()
    iterations, reward = history.curve("reward")
    assert iterations.tolist() == [1, 2] and reward.tolist() == [0.5, 0.75]
    _, falls = history.curve("falls %")
    assert math.isnan(falls[0]) and falls[1] == 25.0
    assert np.isnan(history.curve("mean level")[1]).all(), "a column that is not there"
    progress = history.progress()
    assert (progress.iteration, progress.samples_per_second, progress.seconds_left) == (2, 1000, 16.0)


def test_a_table_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """As a run does that goes on from an earlier checkpoint."""
    history, path = History(tmp_path, 10), tmp_path / "progress.csv"
    path.write_text(HEAD + "".join(f"{i},1,{i},{i},,\n" for i in range(1, 6)))
    history.read()
    other = tmp_path / "other"
    other.write_text(HEAD + "1,1,1,7,,\n")
    other.replace(path)
    history.read()
    assert history.curve("reward")[1].tolist() == [7.0]


def test_a_long_run_has_a_curve_of_few_points(tmp_path: Path) -> None:
    rows = "".join(f"{i},1,{i},{i / 5000},,\n" for i in range(1, 5001))
    (tmp_path / "progress.csv").write_text(HEAD + rows)
    history = History(tmp_path, 5000)
    history.read()
    iterations, reward = history.curve("reward")
    assert len(iterations) <= MOST_POINTS and iterations[-1] == 5000
    assert np.abs(reward - iterations / 5000).max() < 0.01


def test_levels_are_the_newest(tmp_path: Path) -> None:
    cells = ((10, 0, 8), (10, 1, 0), (20, 0, 3), (20, 1, 5))
    rows = [f"{i},stairs_up,{level},{robots},0.5" for i, level, robots in cells]
    (tmp_path / "curriculum.csv").write_text("\n".join(["iteration,shape,level,robots,success", *rows, ""]))
    history = History(tmp_path, 20)
    history.read()
    assert history.levels() == {"stairs_up": [(3, 0.5), (5, 0.5)]}
