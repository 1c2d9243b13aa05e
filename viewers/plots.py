"""A page of plots of a recording: velocities, joints, torques and the gait."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from viewers.recording import Recording

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart by colour-blind eyes too."""
STYLE: Any = {
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "legend.fontsize": 8,
    "legend.frameon": False,
}


def plot_recording(recording: Recording, path: Path, title: str = "") -> None:
    """Draw a recording; joints, torques and gait are the first robot's.

    Args:
        recording: what to draw.
        path: PNG file to make; its folder is made too.
        title: heading.
    """
    limbs = joint_groups(recording.joint_names)
    rows = max(len(joints) for joints in limbs.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(16, 7.5 + 1.9 * rows), layout="constrained")
        figure.suptitle(title, fontsize=13)
        heights = (2.2, 1.75 * rows, 2.2, 1.6)
        parts: Any = figure.subfigures(4, 1, height_ratios=heights, hspace=0.03)
        _velocities(recording, parts[0].subplots(1, 3, sharex=True))
        _joints(recording, limbs, parts[1].subplots(rows, len(limbs), sharex=True, squeeze=False))
        _torques(
            recording, limbs, parts[2].subplots(1, len(limbs), sharex=True, sharey=True, squeeze=False)[0]
        )
        _gait(recording, parts[3].subplots())
        figure.savefig(path, dpi=90)
        plt.close(figure)


def joint_groups(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Limb -> its joints' indices; joints that follow one another with one prefix (`LF_HAA`) are a limb."""
    groups: dict[str, list[int]] = {}
    for prefix, indices in groupby(range(len(names)), key=lambda i: names[i].split("_")[0]):
        groups.setdefault(prefix, []).extend(indices)
    return groups


def _velocities(recording: Recording, axes: np.ndarray) -> None:
    labels = ("forward velocity, m/s", "sideways velocity, m/s", "yaw rate, rad/s")
    measured, time = recording.velocity, recording.time
    for k, (axis, label) in enumerate(zip(axes, labels, strict=True)):
        axis.plot(time, measured[..., k], color=COLOURS[0], alpha=0.2, linewidth=0.7)
        axis.plot(time, measured[..., k].mean(1), color=COLOURS[0], label="measured, mean of the robots")
        axis.plot(time, recording.command[:, k], "k--", linewidth=1.2, label="command")
        limit = 1.25 * max(1.0, np.abs(recording.command[:, k]).max())
        axis.set_ylim(-limit, limit)
        axis.set_title(label)
        _mark_falls(recording, axis)
    axes[0].legend(loc="lower left")


def _joints(recording: Recording, limbs: dict[str, list[int]], axes: np.ndarray) -> None:
    time = recording.time
    for column, joints in enumerate(limbs.values()):
        for row, axis in enumerate(axes[:, column]):
            if row >= len(joints):
                axis.set_visible(False)
                continue
            joint = joints[row]
            axis.plot(time, recording.joint_target[:, 0, joint], color=COLOURS[1], linewidth=0.7)
            axis.plot(time, recording.joint_pos[:, 0, joint], color=COLOURS[0], linewidth=1.0)
            axis.set_title(f"{recording.joint_names[joint]}, rad")
            _mark_falls(recording, axis, robot=0)
    axes[0, 0].legend(axes[0, 0].lines[:2], ("target", "position"), loc="upper right", ncols=2)


def _torques(recording: Recording, limbs: dict[str, list[int]], axes: np.ndarray) -> None:
    for axis, (limb, joints) in zip(axes, limbs.items(), strict=True):
        for colour, joint in zip(COLOURS * len(joints), joints, strict=False):
            torque, limit = recording.joint_torque[:, 0, joint], recording.effort_limits[joint]
            name = recording.joint_names[joint].removeprefix(f"{limb}_")
            axis.plot(recording.time, torque, color=colour, linewidth=0.8, label=name)
            axis.axhline(limit, color="k", linestyle=":", linewidth=1.0)
            axis.axhline(-limit, color="k", linestyle=":", linewidth=1.0)
        axis.set_title(f"{limb} torques, N m (dotted: limits)")
        axis.legend(loc="upper right", ncols=len(joints))
        limits = recording.effort_limits.max()
        axis.set_ylim(-1.5 * limits, 1.5 * limits)


def _gait(recording: Recording, axis: Axes) -> None:
    feet = recording.robot.feet
    for row in range(len(feet)):
        spans = contact_spans(recording.foot_contact[:, 0, row], recording.step_dt)
        axis.broken_barh(spans, (len(feet) - 1 - row - 0.35, 0.7), color=COLOURS[row % len(COLOURS)])
        axis.axhline(len(feet) - 1 - row, color="k", linewidth=0.3, alpha=0.4)
    axis.set_yticks(range(len(feet)), reversed(feet))
    axis.set_xlim(0.0, recording.time[-1])
    axis.set_xlabel("time, s")
    duty = 100 * recording.foot_contact.mean()
    axis.set_title(f"feet on the ground (all robots: {duty:.0f} % of the time)")
    _mark_falls(recording, axis, robot=0)


def contact_spans(down: np.ndarray, step_dt: float) -> list[tuple[float, float]]:
    """(start, duration) in seconds of each stance, from one foot's contacts, bool [T]."""
    edges = np.diff(np.concatenate(([0], down.astype(int), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(start * step_dt, (end - start) * step_dt) for start, end in zip(starts, ends, strict=True)]


def _mark_falls(recording: Recording, axis: Axes, robot: int | None = None) -> None:
    fell = recording.fell.any(axis=1) if robot is None else recording.fell[:, robot]
    for time in recording.time[fell]:
        axis.axvline(time, color="#b00020", linewidth=0.8, alpha=0.6)
