"""What a training run writes while it goes: tables, pictures, and a line on the screen."""

from __future__ import annotations

import csv
import math
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from algorithms.distributed import ALONE, Ranks
from envs.course import Course
from runs.estimate import Pace, span
from runs.tracking import Events, TensorBoard
from viewers.terrain_map import draw_levels, draw_map

COUNTS = ("Episode/finished", "Episode/non_finite")
"""Figures of episodes that are known where none ended."""


class ProgressLog:
    """Context manager; `write` is what `Trainer.train` reports to."""

    def __init__(
        self,
        folder: Path,
        max_iterations: int,
        start: int,
        pace: Pace | None = None,
        events: Events | None = None,
    ):
        """Append to the run folder's log, leaving out rows after iteration `start` (lost by a crash).

        Whoever has a `pace` already shares it. `events` takes the same figures, and is closed at the end;
        TensorBoard's if it is not given.
        """
        self._events = events or TensorBoard(folder, start)
        self.folder, self.max_iterations, self.start = folder, max_iterations, start
        self._path = folder / "progress.csv"
        self._names: list[str] = []
        self._keep_rows_until(start)
        self.pace = pace or Pace(max_iterations)
        self._falls = math.nan  # last known

    def _keep_rows_until(self, iteration: int) -> None:
        if not self._path.exists():
            return
        with self._path.open(newline="") as file:
            reader = csv.DictReader(line for line in file if line.strip())
            rows = [row for row in reader if row.get("iteration") and int(row["iteration"]) <= iteration]
            self._names = list(reader.fieldnames or [])
        temporary = self._path.with_name(".progress.csv")
        with temporary.open("w", newline="") as file:
            if self._names:
                writer = csv.DictWriter(file, self._names, restval="", extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
        os.replace(temporary, self._path)

    def __enter__(self) -> ProgressLog:
        self._file = self._path.open("a", newline="")
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (
                BarColumn(10),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, TimeElapsedColumn(), console=Console())
            self._task = self._bar.add_task("", total=self.max_iterations, completed=self.start)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._events.close(failed=error is not None)
        self._file.close()

    def write(self, iteration: int, numbers: dict[str, float]) -> None:
        """Record one iteration; where no episode ended, nothing is said of episodes."""
        self.pace.note(numbers)
        if numbers.get("Episode/finished") == 0.0:
            unknown = [name for name in numbers if name.startswith("Episode/") and name not in COUNTS]
            numbers = numbers | dict.fromkeys(unknown, math.nan)
        self._falls = numbers.get("Episode/fall_rate", math.nan) if self._known(numbers) else self._falls
        if not self._names:
            self._names = ["iteration", *numbers]
            csv.writer(self._file).writerow(self._names)
        row = {"iteration": iteration, **numbers}
        csv.writer(self._file).writerow([_short(row.get(name, math.nan)) for name in self._names])
        self._file.flush()
        self._events.write(iteration, {name: x for name, x in numbers.items() if not math.isnan(x)})
        if self._bar:
            self._bar.update(self._task, completed=iteration, description=self._line(iteration, numbers, 40))
        elif iteration % 10 == 0 or iteration in (self.start + 1, self.max_iterations):
            count = f"iteration {iteration}/{self.max_iterations}  "
            print(count + self._line(iteration, numbers, len(count)), flush=True)

    @staticmethod
    def _known(numbers: dict[str, float]) -> bool:
        return not math.isnan(numbers.get("Episode/fall_rate", math.nan))

    def _line(self, iteration: int, numbers: dict[str, float], taken: int) -> str:
        """What fits beside `taken` characters of a line."""
        parts = {
            "speed": f"{numbers['Perf/total_fps']:,.0f} steps/s",
            "reward": f"reward {numbers['Train/mean_reward']:.2f}",
            "length": f"length {numbers['Train/mean_episode_length']:.0f}",
            "error": f"error {numbers.get('Train/lin_vel_error', math.nan):.2f} m/s",
            "falls": f"falls {100 * self._falls:.0f} %",
            "level": f"level {numbers.get('Curriculum/level', math.nan):.1f}",
            "left": f"ETA {span(self.pace.seconds(iteration, self.max_iterations))}",
        }
        if "Curriculum/level" not in numbers:
            del parts["level"]
        room = shutil.get_terminal_size().columns - taken
        for dispensable in ("length", "speed", "reward"):
            if len("  ".join(parts.values())) > room:
                del parts[dispensable]
        return "  ".join(parts.values())


class CurriculumLog:
    """Robots on each level and shape of the map, and their success: `curriculum.csv` and pictures.

    Of several processes, each has one; the first one's writes.
    """

    NAMES = ("iteration", "shape", "level", "robots", "success")

    def __init__(self, folder: Path, course: Course, start: int, ranks: Ranks = ALONE):
        """Append to the run folder's table, leaving out rows after iteration `start`."""
        self.folder, self.course, self.ranks = folder, course, ranks
        self._path = folder / "curriculum.csv"
        if not ranks.first:
            return
        rows: list[list[str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                whole = [row for row in list(csv.reader(file))[1:] if len(row) == len(self.NAMES)]
                rows = [row for row in whole if int(row[0]) <= start]
        with self._path.open("w", newline="") as file:
            csv.writer(file).writerows([list(self.NAMES), *rows])

    def write(self, iteration: int) -> None:
        """Add the state after an iteration, with the robots of all processes, which all call this."""
        own, rate = self.course.table()
        count = sum(self.ranks.gather(own), np.zeros_like(own))
        if not self.ranks.first:
            return
        with self._path.open("a", newline="") as file:
            for level, shape in np.ndindex(*count.shape):
                cell = count[level, shape], round(float(rate[level, shape]), 4)
                csv.writer(file).writerow([iteration, self.course.terrain.shapes[shape], level, *cell])

    def draw(self, positions: np.ndarray) -> None:
        """Draw the map with robots at `positions` [N, 2], world frame, m, and the levels over time."""
        plots = self.folder / "plots"
        draw_map(self.course.terrain, plots / "map.png", positions, self.folder.name)
        if len(self._path.read_text().splitlines()) > 1:  # else stopped before the first rows
            draw_levels(self._path, plots / "levels.png")


def _short(value: float) -> str:
    if math.isnan(value):
        return ""  # a gap
    return str(value) if isinstance(value, int) else f"{value:.6g}"
