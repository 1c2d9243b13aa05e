"""Plots are drawn from recordings and from training logs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from viewers.curves import evaluated, plot_training, read_progress
from viewers.plots import contact_spans, joint_groups, plot_recording
from viewers.recording import Recording

PNG = b"\x89PNG\r\n\x1a\n"


def test_plot_recording(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "plots" / "play.png"
    plot_recording(recording, path, "title")
    assert path.read_bytes()[:8] == PNG


def test_joint_groups_follow_names(recording: Recording) -> None:
    groups = joint_groups(recording.joint_names)
    assert list(groups) == ["LF", "RF", "LH", "RH"]
    assert groups["RF"] == [3, 4, 5]
    assert joint_groups(("a_hip", "a_knee", "b_hip")) == {"a": [0, 1], "b": [2]}


def test_contact_spans() -> None:
    down = np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)
    expected = [(0.0, 0.2), (0.4, 0.1), (0.6, 0.1)]
    np.testing.assert_allclose(contact_spans(down, 0.1), expected)
    assert contact_spans(np.zeros(3, dtype=bool), 0.1) == []


def write_progress(path: Path, names: list[str], rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["iteration", *names])
        for i in range(rows):
            writer.writerow([i + 1, *(0.1 * i if i % 7 else "nan" for _ in names)])


ALL = ["Train/mean_reward", "Train/lin_vel_error", "Train/ang_vel_error", "Episode/fall_rate"]
EVALUATED = ["Eval/lin_vel_error", "Eval/falls"]
CLOCKS = ["Perf/samples", "Perf/train_time"]


@pytest.mark.parametrize(
    "names", [ALL + CLOCKS, ALL + EVALUATED + CLOCKS, ["Train/mean_reward", *CLOCKS], ALL]
)
@pytest.mark.parametrize("rows", [1, 100])
def test_plot_training(tmp_path: Path, names: list[str], rows: int) -> None:
    write_progress(tmp_path / "progress.csv", names, rows)
    plot_training(tmp_path / "progress.csv", tmp_path / "plots" / "training.png")
    assert (tmp_path / "plots" / "training.png").read_bytes()[:8] == PNG


def test_repeated_evaluations_count_once() -> None:
    columns = {
        "Eval/a": np.array([np.nan, 1, 1, 1, 2, 2]),
        "Eval/b": np.array([np.nan, 3, 3, 4, 4, 4]),
        "Train/c": np.arange(6.0),
    }
    assert evaluated(columns).tolist() == [False, True, False, True, True, False]


def test_bad_progress_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    with pytest.raises(ValueError, match="does not exist"):
        read_progress(path)
    write_progress(path, ALL, 0)
    with pytest.raises(ValueError, match="no rows"):
        read_progress(path)
    write_progress(path, ["Loss/kl"], 3)
    with pytest.raises(ValueError, match="none of the columns"):
        plot_training(path, tmp_path / "a.png")
