"""Pictures of a map, and of where robots are on it over time."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
from numpy import ndarray

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LightSource
from matplotlib.ticker import MaxNLocator

from terrains.grid import Terrain
from viewers.plots import STYLE

FEW = 0.01
"""Share of a shape's robots below which a level's success is not drawn."""


def draw_map(terrain: Terrain, path: Path, positions: ndarray | None = None, title: str = "") -> None:
    """The whole map from above, coloured by height and shaded, levels and shapes labelled.

    Args:
        terrain: the map.
        path: PNG to write; its folder is made too.
        positions: world x and y of robots, m, [N, 2]; drawn as dots.
        title: heading.
    """
    ground = terrain.ground
    nx, ny = ground.heights.shape
    (x, y), cell = ground.origin, ground.cell
    extent = (y, y + (ny - 1) * cell, x, x + (nx - 1) * cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        width = 14.0
        figure, axes = plt.subplots(figsize=(width, 2.0 + 0.8 * width * nx / ny), layout="constrained")
        limit = max(float(np.abs(ground.heights).max()), 0.05)
        shaded = LightSource(315, 35).shade(
            ground.corners.mean((2, 3)),
            plt.get_cmap("terrain"),
            vmin=-limit,
            vmax=limit,
            dx=cell,
            dy=cell,
            blend_mode="soft",
        )
        axes.imshow(shaded, origin="lower", extent=extent, interpolation="nearest")
        colours = plt.cm.ScalarMappable(plt.Normalize(-limit, limit), "terrain")
        figure.colorbar(colours, ax=axes, label="height, m", shrink=0.7, pad=0.01)
        if positions is not None:
            axes.plot(positions[:, 1], positions[:, 0], ".", color="black", markersize=2, alpha=0.6)
        middles = terrain.origins
        axes.set_yticks(middles[:, 0, 0], [f"{i}" for i in range(len(middles))])
        axes.set_ylabel("level")
        ticks, labels, column = [], [], 0
        for name, group in groupby(terrain.column_shapes):
            count = len(list(group))
            ticks.append(middles[0, column : column + count, 1].mean())
            labels.append(name.replace("_", "\n"))
            column += count
            if column < len(terrain.column_shapes):
                axes.axvline(middles[0, column - 1 : column + 1, 1].mean(), color="white", linewidth=1)
        axes.set_xticks(ticks, labels)
        axes.set_title(title)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def draw_levels(csv_path: Path, path: Path) -> None:
    """Robots on each level over time and their success where they are, a panel for each shape, from `curriculum.csv`.

    Args:
        csv_path: rows of iteration, shape, level, robots, success.
        path: PNG to write; its folder is made too.

    Raises:
        ValueError: the file has no rows.
    """
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{csv_path} has no rows yet")
    iterations = sorted({int(row["iteration"]) for row in rows})
    levels = 1 + max(int(row["level"]) for row in rows)
    counts: dict[str, ndarray] = defaultdict(lambda: np.zeros((levels, len(iterations))))
    rates: dict[str, ndarray] = defaultdict(lambda: np.full((levels, len(iterations)), np.nan))
    column = {iteration: i for i, iteration in enumerate(iterations)}
    for row in rows:
        at = int(row["level"]), column[int(row["iteration"])]
        counts[row["shape"]][at] = float(row["robots"])
        rates[row["shape"]][at] = float(row["success"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE | {"axes.grid": False}):
        size = (2.0 + 2.2 * len(counts), 5.0)
        figure, axes = plt.subplots(
            2, len(counts), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        half = 0.5 * max(1.0, (iterations[-1] - iterations[0]) / max(1, len(iterations) - 1))
        extent = (iterations[0] - half, iterations[-1] + half, -0.5, levels - 0.5)
        shares = {name: count / np.maximum(count.sum(0), 1.0) for name, count in counts.items()}
        most = max(share.max() for share in shares.values()) or 1.0
        axes[0, 0].xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        for i, (name, share) in enumerate(shares.items()):
            pictures = []
            # where robots no longer are, their success is old news
            now = np.where(share < FEW, np.nan, rates[name])
            for axis, values, top in ((axes[0, i], share, most), (axes[1, i], now, 1.0)):
                pictures.append(
                    axis.imshow(values, origin="lower", aspect="auto", extent=extent, vmin=0.0, vmax=top)
                )
            mean = np.arange(levels) @ share
            axes[0, i].plot(iterations, mean, color="white", linewidth=1.5)
            axes[0, i].set_title(name.replace("_", " "))
            axes[1, i].set_xlabel("iteration")
        axes[0, 0].set_ylabel("level")
        axes[1, 0].set_ylabel("level")
        figure.colorbar(pictures[0], ax=axes[0], label="share of robots (line: mean)")
        figure.colorbar(pictures[1], ax=axes[1], label="share of successes, where robots are")
        figure.savefig(path, dpi=100)
        plt.close(figure)
