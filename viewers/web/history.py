"""What a run has written so far, read while it goes on writing."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CURVES = {
    "reward": "Train/mean_reward",
    "velocity error m/s": "Train/lin_vel_error",
    "falls %": "Episode/fall_rate",
    "mean level": "Curriculum/level",
}
"""Title of a chart -> column of progress.csv."""
PACE_OVER = 20
"""Iterations whose mean is the pace."""
MOST_POINTS = 300
"""Of a curve; of a longer run neighbours are averaged."""


class Table:
    """Some columns of a CSV file that another program appends to."""

    def __init__(self, path: Path, columns: list[str]):
        """Nothing is read yet, and the file need not be there."""
        self._path, self._columns = path, columns
        self.rows: list[dict[str, str]] = []
        """What was read."""
        self._names: list[str] = []
        self._at, self._file = 0, -1

    def read(self) -> bool:
        """Take what is new; returns whether there was something. A file that took another's place is read anew."""
        try:
            info = self._path.stat()
            if info.st_ino != self._file or info.st_size < self._at:
                self._file, self._at = info.st_ino, 0
                self._names.clear()
                self.rows.clear()
            with self._path.open("rb") as file:
                file.seek(self._at)
                text = file.read()
        except OSError:
            return False
        text = text[: text.rfind(b"\n") + 1]  # a line that is being written waits
        self._at += len(text)
        rows = list(csv.reader(text.decode(errors="replace").splitlines()))
        if not self._names and rows:
            self._names = rows.pop(0)
        for row in rows:
            named = dict(zip(self._names, row, strict=False))
            self.rows.append({name: named.get(name, "") for name in self._columns})
        return bool(rows)


@dataclass
class Progress:
    """How far a training is."""

    iteration: int = 0
    """Iterations done."""
    samples_per_second: float = math.nan
    """Of late."""
    seconds_left: float = math.nan
    """Until the last iteration."""


class History:
    """Learning curve and levels of a run folder."""

    def __init__(self, folder: Path, max_iterations: int):
        """Nothing is read yet.

        Args:
            folder: of the run.
            max_iterations: of the whole run.
        """
        self.max_iterations = max_iterations
        columns = ["iteration", "Perf/total_fps", "Perf/train_time", *CURVES.values()]
        self._progress = Table(folder / "progress.csv", columns)
        self._levels = Table(folder / "curriculum.csv", ["iteration", "shape", "level", "robots", "success"])

    def read(self) -> bool:
        """Take what is new; returns whether there was something."""
        new = [self._progress.read(), self._levels.read()]
        if self._levels.rows:  # older ones are of no use here
            last = self._levels.rows[-1]["iteration"]
            self._levels.rows = [row for row in self._levels.rows if row["iteration"] == last]
        return any(new)

    def progress(self) -> Progress:
        """How far it is."""
        rows = self._progress.rows[-PACE_OVER:]
        if not rows:
            return Progress()
        iteration, first = (int(_number(row["iteration"])) for row in (rows[-1], rows[0]))
        rate = float(np.nanmean([_number(row["Perf/total_fps"]) for row in rows]))
        seconds = _number(rows[-1]["Perf/train_time"]) - _number(rows[0]["Perf/train_time"])
        each = seconds / (iteration - first) if iteration > first else math.nan
        return Progress(iteration, rate, each * (self.max_iterations - iteration))

    def curve(self, title: str) -> tuple[np.ndarray, np.ndarray]:
        """Iterations and values of one of `CURVES`; values are NaN where none is known."""
        rows = self._progress.rows
        numbers = np.array([(_number(row["iteration"]), _number(row[CURVES[title]])) for row in rows])
        numbers = numbers.reshape(-1, 2)
        if title == "falls %":
            numbers[:, 1] *= 100.0
        each = math.ceil(len(numbers) / MOST_POINTS)
        if each > 1:
            parts = [numbers[i : i + each] for i in range(0, len(numbers), each)]
            numbers = np.array([(part[-1, 0], _mean(part[:, 1])) for part in parts])
        return numbers[:, 0].copy(), numbers[:, 1].copy()

    def levels(self) -> dict[str, list[tuple[int, float]]]:
        """Shape -> robots on each of its levels from the lowest, and the success there; empty without a map."""
        found: dict[str, list[tuple[int, float]]] = {}
        for row in self._levels.rows:
            found.setdefault(row["shape"], []).append((int(_number(row["robots"])), _number(row["success"])))
        return found


def _number(text: str) -> float:
    """A number, NaN where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
