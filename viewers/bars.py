"""Pictures of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from evaluation.terrain import AXES, Cell
from viewers.plots import COLOURS, STYLE

PANELS = (
    ("lin_vel_error", "velocity error, m/s"),
    ("ang_vel_error", "yaw rate error, rad/s"),
    ("falls", "falls, share"),
    ("cost_of_transport", "cost of transport"),
    ("foot_slip", "foot slip, m/s"),
)


def plot_evaluation(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars for each condition (`nominal`, `pushed`, ...), and the gait of each foot.

    Args:
        results: condition -> figures of `evaluation.walking.Evaluation` as a dictionary.
        path: PNG to write.
    """
    figure, axes = plt.subplots(1, len(PANELS) + 1, figsize=(15, 3), constrained_layout=True)
    names = list(results)
    colours = [f"C{i}" for i in range(len(names))]
    for axis, (key, title) in zip(axes, PANELS, strict=False):
        bars = axis.bar(names, [results[name][key] for name in names], color=colours)
        axis.bar_label(bars, fmt="%.3f", fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.margins(y=0.15)
    gait = axes[-1]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        feet = range(len(results[name]["duty_factor"]))
        gait.bar([foot + i * width for foot in feet], results[name]["duty_factor"], width, color=colours[i])
    gait.set_title("duty factor of each foot", fontsize=9)
    gait.set_ylim(0, 1)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_success(cells: list[Cell], path: Path, title: str = "") -> None:
    """Success over difficulty, a panel for each kind of terrain, with 95 % confidence intervals.

    Args:
        cells: what `success_test` returned.
        path: PNG to write.
        title: heading.
    """
    shapes = list(dict.fromkeys(cell.shape for cell in cells))
    columns = min(len(shapes), 4)
    rows = -(-len(shapes) // columns)
    with plt.rc_context(STYLE):
        size = (3.2 * columns, 2.6 * rows + 0.3)
        figure, axes = plt.subplots(
            rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes.flat, shapes, strict=False):
            mine = [cell for cell in cells if cell.shape == name]
            values, success = np.array([c.value for c in mine]), np.array([c.success for c in mine])
            errors = np.abs(np.array([(c.low, c.high) for c in mine]).T - success)
            axis.errorbar(values, success, errors, fmt="o-", color=COLOURS[0], capsize=3, label="success")
            axis.plot(values, [c.falls for c in mine], "x--", color=COLOURS[1], label="falls")
            axis.set_title(name.replace("_", " "))
            axis.set_xlabel(AXES[name].label)
            axis.set_ylim(-0.03, 1.03)
        for axis in axes.flat[len(shapes) :]:
            axis.axis("off")
        axes[0, 0].legend()
        figure.suptitle(title)
        figure.savefig(path, dpi=110)
        plt.close(figure)
