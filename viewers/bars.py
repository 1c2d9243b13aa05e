"""A picture of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

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
        results: condition -> figures of `envs.evaluation.Evaluation` as a dictionary.
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
