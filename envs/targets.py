"""What the policy of a task should reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Targets:
    """Bounds of figures of `evaluation.walking.Evaluation`: each is met where the figure is no larger.

    They are judged by the evaluation that precedes each checkpoint: commands up to 1 m/s and 1 rad/s that change
    every 2.5 s, no noise; on a map, robots on all its levels alike, so that levels need no bound of their own: who
    stops in front of a step does not follow, and who falls over it falls.
    """

    lin_vel_error: float = 0.20
    """Mean |v_xy* - v_xy|, m/s."""
    ang_vel_error: float = 0.20
    """Mean |w_z* - w_z|, rad/s."""
    falls: float = 0.01
    """Share of robots that fell."""

    def missed(self, figures: Mapping[str, float]) -> list[str]:
        """Names of the bounds that figures do not keep."""
        return [name for name, bound in asdict(self).items() if not figures[name] <= bound]


FLAT = Targets()
ROUGH = Targets(falls=0.06)
"""Over the whole map, on which trained policies fall in 4 to 6 % of 20 s (docs/results.md)."""
