"""A training whose numbers are not finite says so, and which, and ends if it goes on."""

from __future__ import annotations

import sys

from algorithms.trainer import NonFiniteError
from envs.diagnosis import non_finite
from envs.legged_env import LeggedEnv

PATIENCE = 3
"""Looks in a row at which most samples are bad, after which a training ends."""


class Health:
    """Watches one training; the environment replaces what is not finite by a fall without a reward."""

    def __init__(self, env: LeggedEnv, samples: int, speaks: bool = True):
        """Watch an environment that gives `samples` in an iteration; of several processes only one `speaks`."""
        self.env, self.samples, self.speaks = env, samples, speaks
        self._said: set[str] = set()
        self._worst, self._looks = 0.0, 0

    def note(self, iteration: int, numbers: dict[str, float]) -> None:
        """Take note of an iteration's figures; the first bad one is said."""
        bad = numbers.get("Episode/non_finite", 0.0)
        self._worst = max(self._worst, bad)
        if bad and not self._said:
            self._say(
                f"iteration {iteration}: {bad:,.0f} of {self.samples:,} samples were not finite numbers; each counts "
                "as a fall without a reward"
            )

    def look(self, iteration: int) -> None:
        """Look at the environment, if there is a reason, while it stands still.

        Raises:
            NonFiniteError: it goes on and on.
        """
        if not self._worst:
            self._looks = 0
            return
        terms = non_finite(self.env)
        for term in terms:
            if term.split(" of ")[0] not in self._said:
                self._said.add(term.split(" of ")[0])
                self._say(f"iteration {iteration}: not finite: {term}")
        self._looks = self._looks + 1 if self._worst > 0.5 * self.samples else 0
        self._worst = 0.0
        if self._looks >= PATIENCE:
            raise NonFiniteError(
                "most samples have not been finite numbers for many iterations"
                + (f": {'; '.join(terms)}" if terms else "; the physics diverges")
            )

    def _say(self, text: str) -> None:
        self._said.add("")
        if self.speaks:
            print(f"warning: {text}", file=sys.stderr, flush=True)
