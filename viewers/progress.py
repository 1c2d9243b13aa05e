"""How far a long work is, in a few lines."""

from __future__ import annotations

import time

_EVERY = 0.2
"""Share of the work between two lines."""
_FIRST = 0.05
"""Share before which nothing is known about the rest."""
_LEAST = 3.0
"""Time between two lines, s; quick work prints none."""


class Progress:
    """Counts what is done and prints, now and then, its share and the time that is left."""

    def __init__(self, what: str, total: int, unit: str):
        """Begin: `what` is done in `total` units."""
        self._what, self._total, self._unit = what, total, unit
        self._start = self._told = time.perf_counter()
        self._done = self._told_at = 0

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.perf_counter()
        far = self._done - self._told_at >= _EVERY * self._total
        if not self._done < self._total or now - self._told < _LEAST:
            return
        if far or not self._told_at and self._done >= _FIRST * self._total:
            left = (now - self._start) / self._done * (self._total - self._done)
            share = 100 * self._done // self._total
            print(
                f"{self._what} {share:3d} % ({self._done} of {self._total} {self._unit}), about {left:.0f} s left",
                flush=True,
            )
            self._told, self._told_at = now, self._done
