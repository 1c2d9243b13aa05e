"""Pieces of motion that come in faster or more slowly than they are looked at, played in real time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

import numpy as np

SECONDS = 4.0
"""How much motion is kept."""
PATIENCE = 0.4
"""The last picture stands so long before the pieces that are kept are played again, s."""
Piece = tuple[int, np.ndarray]
"""An iteration and the poses of its rollout, [T, R, K]."""


class Playback:
    """Real time, whatever the pace of training.

    Of training that is faster pieces are left out, every few seconds and not in between; where it is slower, the last
    seconds are played again.
    """

    def __init__(self, step_dt: float):
        """Nothing yet.

        Args:
            step_dt: time between poses, s.
        """
        self.step_dt = step_dt
        self._kept: deque[Piece] = deque()
        self._playing: list[Piece] = []
        self._began, self._last = 0.0, -1

    def add(self, iteration: int, poses: np.ndarray) -> None:
        """Take the rollout of an iteration, [T, R, K]."""
        self._kept.append((iteration, np.nan_to_num(poses)))
        while _steps(islice(self._kept, 1, None)) * self.step_dt >= SECONDS:
            self._kept.popleft()

    def forget(self) -> None:
        """Begin anew."""
        self._kept.clear()
        self._playing.clear()

    def frame(self, now: float) -> tuple[int, np.ndarray] | None:
        """What is shown at a time (s, of any clock): iteration and poses, [R, K]; None before the first piece."""
        end = self._began + _steps(self._playing) * self.step_dt
        if now >= end:
            newer = [piece for piece in self._kept if piece[0] > self._last]
            if newer:  # without a pause where they are in time
                self._play(newer, end if now - end < self.step_dt else now)
            elif self._kept and now - end > PATIENCE:
                self._play(list(self._kept), now)
        if not self._playing:
            return None
        step = int((now - self._began) / self.step_dt + 1e-6)
        for iteration, poses in self._playing:
            if step < len(poses):
                return iteration, poses[step]
            step -= len(poses)
        iteration, poses = self._playing[-1]
        return iteration, poses[-1]

    def _play(self, pieces: list[Piece], begin: float) -> None:
        self._playing, self._began, self._last = pieces, begin, pieces[-1][0]


def _steps(pieces: Iterable[Piece]) -> int:
    return sum(len(poses) for _, poses in pieces)
