"""Learning curves from a run's `progress.csv`."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from viewers.plots import COLOURS, STYLE

CURVES = (
    ("mean reward", {"Train/mean_reward": "mean reward of an episode"}),
    (
        "velocity error",
        {
            "Train/lin_vel_error": "linear velocity, m/s",
            "Train/ang_vel_error": "yaw rate, rad/s",
            "Eval/lin_vel_error": "linear velocity, evaluated",
            "Eval/ang_vel_error": "yaw rate, evaluated",
        },
    ),
    (
        "falls",
        {
            "Episode/fall_rate": "share of episodes that ended in a fall",
            "Eval/falls": "share of evaluated episodes",
        },
    ),
)
"""Panel -> column of the file -> label."""


def read_progress(path: Path) -> dict[str, np.ndarray]:
    """Columns of `progress.csv`, float [iterations]; ValueError with one sentence if it has none."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(line for line in file if line.strip()))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    if not rows:
        raise ValueError(f"{path} has no rows yet")
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0] if name}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def plot_training(csv_path: Path, png_path: Path) -> None:
    """Draw the learning curves against samples and training time; columns that are missing are left out.

    Raises:
        ValueError: nothing to draw.
    """
    columns = read_progress(csv_path)
    across = {
        "samples, million": columns.get("Perf/samples", columns["iteration"] * np.nan) / 1e6,
        "training time, min": columns.get("Perf/train_time", columns["iteration"] * np.nan) / 60.0,
    }
    panels = [(title, lines) for title, lines in CURVES if any(name in columns for name in lines)]
    if not panels:
        raise ValueError(f"{csv_path} has none of the columns that are drawn")
    png_path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(panels), 2, figsize=(10, 2.4 * len(panels)), sharex="col", sharey="row", squeeze=False
        )
        for row, (title, lines) in zip(axes, panels, strict=True):
            for axis, x in zip(row, across.values(), strict=True):
                for colour, (name, label) in zip(COLOURS, lines.items(), strict=False):
                    if name in columns and name.startswith("Eval/"):
                        now = evaluated(columns)
                        axis.plot(x[now], columns[name][now], "o-", color=colour, markersize=4, label=label)
                    elif name in columns:
                        _curve(axis, x, columns[name], colour, label)
                axis.set_title(title)
                if title != "mean reward":
                    axis.set_ylim(bottom=0.0)
            row[0].legend(loc="best")
        for axis, label in zip(axes[-1], across, strict=True):
            axis.set_xlabel(label)
        figure.tight_layout()
        figure.savefig(png_path, dpi=100)
        plt.close(figure)


def evaluated(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Iterations with a new evaluation, bool [iterations]: its figures are repeated until the next one."""
    figures = np.stack([column for name, column in columns.items() if name.startswith("Eval/")])
    before = np.concatenate((np.full_like(figures[:, :1], np.nan), figures[:, :-1]), axis=1)
    return (np.isfinite(figures) & (figures != before)).any(axis=0)


def _curve(axis: plt.Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str) -> None:
    """A faint line of the values and a strong one of their running mean."""
    known = np.isfinite(y) & np.isfinite(x)
    x, y = x[known], y[known]
    axis.plot(x, y, color=colour, alpha=0.3, linewidth=0.8)
    window = max(1, len(y) // 30)
    if len(y) and window > 1:
        kernel = np.ones(window)
        mean = np.convolve(y, kernel, "same") / np.convolve(np.ones_like(y), kernel, "same")
        axis.plot(x, mean, color=colour, linewidth=1.6, label=label)
    else:
        axis.plot(x, y, ".-", color=colour, markersize=3, linewidth=1.0, label=label)
