"""Pictures of an experiment: variants side by side, with intervals over their seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy import ndarray

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.commands import CommandResult
from evaluation.terrain import AXES, Cell
from viewers.curves import evaluated
from viewers.plots import COLOURS, STYLE

Columns = dict[str, ndarray]
"""One run's `progress.csv`: column -> values, [iterations]."""
STUDENT = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % points of Student's t with 2, 3, ... degrees of freedom."""
LINES = ("-", "--", ":", "-.")


def over_seeds(values: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Mean over seeds and its 95 % confidence interval by Student's t; below three seeds, least and most.

    Args:
        values: [seeds, ...], NaN where a seed has none.

    Returns:
        mean, lower and upper end, [...].
    """
    known = np.isfinite(values)
    n = known.sum(0)
    filled = np.where(known, values, 0.0)
    mean = np.where(n > 0, filled.sum(0) / np.maximum(n, 1), np.nan)
    squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
    degrees = np.maximum(n - 1, 2)
    table = np.array(STUDENT)[np.minimum(degrees - 2, len(STUDENT) - 1)]
    quantile = np.where(degrees > len(STUDENT) + 1, 1.96 + 2.65 / degrees, table)
    half = quantile * np.sqrt(squares / degrees / np.maximum(n, 1))
    least = np.where(n > 0, np.where(known, values, np.inf).min(0), np.nan)
    most = np.where(n > 0, np.where(known, values, -np.inf).max(0), np.nan)
    few = n < 3
    return mean, np.where(few, least, mean - half), np.where(few, most, mean + half)


def smooth(values: ndarray, window: int) -> ndarray:
    """Running mean over `window` neighbours, NaN left out."""
    known = np.isfinite(values)
    kernel = np.ones(min(window, max(1, len(values))))
    count = np.convolve(known, kernel, "same")
    return np.where(
        count > 0, np.convolve(np.where(known, values, 0.0), kernel, "same") / np.maximum(count, 1), np.nan
    )


def plot_curves(variants: dict[str, list[Columns]], panels: dict[str, str], path: Path, title: str) -> None:
    """Columns over samples: mean over a variant's seeds and a band, see `over_seeds`.

    Columns of evaluations are drawn where there is a new one, others as running means over a thirtieth of the
    iterations. Seeds are compared over the iterations that all of them have done.

    Args:
        variants: name -> its runs.
        panels: column -> heading; columns that no run has are left out.
        path: PNG to write.
        title: heading of all.
    """
    panels = {
        name: text for name, text in panels.items() if any(name in c for v in variants.values() for c in v)
    }
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(panels), 3)
        for axis, (name, heading) in zip(axes, panels.items(), strict=False):
            for i, (variant, runs) in enumerate(variants.items()):
                runs = [run for run in runs if name in run]
                if not runs:
                    continue
                length = min(len(run[name]) for run in runs)
                x = runs[0]["Perf/samples"][:length] / 1e6
                values = np.stack([run[name][:length] for run in runs])
                if name.startswith("Eval/"):
                    new = np.any([evaluated(run)[:length] for run in runs], axis=0)
                    x, values = x[new], values[:, new]
                else:
                    values = np.stack([smooth(row, max(1, length // 30)) for row in values])
                mean, low, high = over_seeds(values)
                marker = "o" if name.startswith("Eval/") else ""
                axis.plot(x, mean, marker=marker, markersize=3, label=variant, **_look(i))
                axis.fill_between(x, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
            axis.set_title(heading)
            axis.set_xlabel("samples, million")
            _keep_share(axis, heading)
        _finish(figure, axes, path, title)


def plot_success(variants: dict[str, list[Cell]], path: Path, title: str) -> None:
    """Success over difficulty, a panel for each kind of terrain, with the cells' 95 % intervals."""
    shapes = list(dict.fromkeys(cell.shape for cells in variants.values() for cell in cells))
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(shapes), 3)
        for axis, shape in zip(axes, shapes, strict=False):
            for i, (variant, cells) in enumerate(variants.items()):
                mine = [cell for cell in cells if cell.shape == shape]
                x, y = [cell.value for cell in mine], np.array([cell.success for cell in mine])
                ends = np.array([(cell.low, cell.high) for cell in mine]).reshape(-1, 2)
                axis.errorbar(
                    x, y, np.abs(ends.T - y), marker="o", markersize=3, capsize=2, label=variant, **_look(i)
                )
            axis.set_title(shape.replace("_", " "))
            axis.set_xlabel(AXES[shape].label)
            axis.set_ylim(-0.03, 1.03)
        _finish(figure, axes, path, title)


def plot_commands(variants: dict[str, list[CommandResult]], path: Path, title: str) -> None:
    """Share followed of each class of commands, and falls, with their intervals."""
    classes = list(dict.fromkeys(result.name for results in variants.values() for result in results))
    panels = (
        ("followed", "low", "high", "followed, share"),
        ("falls", "falls_low", "falls_high", "falls, share"),
    )
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(panels), 2)
        for axis, (name, low, high, heading) in zip(axes, panels, strict=False):
            for i, (variant, results) in enumerate(variants.items()):
                by_name = {result.name: result for result in results}
                x = np.arange(len(classes)) + 0.7 * ((i + 0.5) / len(variants) - 0.5)
                rows = [
                    [getattr(by_name[c], k) if c in by_name else np.nan for k in (name, low, high)]
                    for c in classes
                ]
                y, below, above = np.array(rows).T
                axis.errorbar(
                    x,
                    y,
                    np.maximum((y - below, above - y), 0.0),
                    fmt="o",
                    markersize=4,
                    capsize=2,
                    label=variant,
                    color=COLOURS[i % len(COLOURS)],
                )
            axis.set_xticks(range(len(classes)), [c.replace("_", "\n") for c in classes])
            axis.set_title(heading)
            axis.margins(y=0.1)
        _finish(figure, axes, path, title)


def plot_batch(
    robots: dict[str, int],
    figures: dict[str, dict[str, ndarray]],
    steps: dict[str, int],
    path: Path,
    title: str,
) -> None:
    """Final figures over the number of robots, the steps of each robot written beside.

    Args:
        robots: variant -> number of robots.
        figures: heading -> variant -> values of its seeds, [seeds].
        steps: variant -> steps between updates.
        path: PNG to write.
        title: heading of all.
    """
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(figures), 3)
        for axis, (heading, by_variant) in zip(axes, figures.items(), strict=False):
            order = sorted(by_variant, key=lambda variant: robots[variant])
            x = [robots[variant] for variant in order]
            mean, low, high = np.array([over_seeds(by_variant[variant]) for variant in order]).T
            axis.errorbar(
                x, mean, np.maximum((mean - low, high - mean), 0.0), fmt="o-", color=COLOURS[0], capsize=3
            )
            for variant, y in zip(order, mean, strict=True):
                if np.isfinite(y):
                    axis.annotate(
                        f"{steps[variant]} steps", (robots[variant], y), (3, 5), textcoords="offset points"
                    )
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [f"{count:,}" for count in x])
            axis.set_xlabel("robots")
            axis.set_title(heading)
            _keep_share(axis, heading)
        _finish(figure, axes, path, title, legend=False)


def _keep_share(axis: Axes, heading: str) -> None:
    """An axis of shares ends at none and all, wherever an interval by Student's t ends."""
    if "share" in heading:
        bottom, top = axis.get_ylim()
        axis.set_ylim(max(bottom, -0.03), min(top, 1.03))


def _look(i: int) -> dict[str, Any]:
    """Colour and line of the i-th variant."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": LINES[i // len(COLOURS) % len(LINES)],
    }


def _panels(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    columns = min(max(count, 1), columns)
    rows = max(1, -(-count // columns))
    size = (4.2 * columns, 2.7 * rows + 0.6)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat)


def _finish(figure: Figure, axes: list[Axes], path: Path, title: str, legend: bool = True) -> None:
    if legend:
        pairs = [axis.get_legend_handles_labels() for axis in axes]
        known = {
            label: handle for handles, labels in pairs for handle, label in zip(handles, labels, strict=True)
        }
        if known:
            figure.legend(list(known.values()), list(known), loc="outside lower center", ncols=6)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
