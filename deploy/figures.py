"""Figures of episodes in plain MuJoCo, with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deploy.episodes import SEGMENT, Episodes, Walks

SETTLING = 1.0  # s after a command that the settled figures leave out
RESAMPLES = 200


@dataclass
class Figure:
    """A number with its 95 % confidence interval over episodes."""

    value: float
    low: float
    high: float


def figures(episodes: Episodes, dt: float, weight: float) -> dict[str, Figure]:
    """Figures by name; intervals are bootstrapped over episodes, that of `falls` is Wilson's (1927).

    Args:
        episodes: what was recorded.
        dt: duration of a policy step, s.
        weight: weight of the robot, N.
    """
    count, steps = episodes.lin_error.shape
    rows = _resamples(count)
    settled = np.arange(steps) % round(SEGMENT / dt) >= round(SETTLING / dt)
    result: dict[str, Figure] = {}
    for name, error in (("lin_vel_error", episodes.lin_error), ("ang_vel_error", episodes.ang_error)):
        for suffix, values in (("", error), ("_settled", error[:, settled])):
            means = values.mean(1)
            result[name + suffix] = _interval(means.mean(), means[rows].mean(1))
            p95 = (float(np.quantile(values[row], 0.95)) for row in rows)
            result[f"{name}{suffix}_p95"] = _interval(np.quantile(values, 0.95), p95)
    result["falls"] = _share(episodes.fell)
    result["cost_of_transport"] = _cost(episodes, weight, rows)
    return result


def walk_figures(walks: Walks, weight: float) -> dict[str, Figure]:
    """Figures of the success test by name; `time` is missing if no robot got there.

    Args:
        walks: what was recorded.
        weight: weight of the robot, N.
    """
    rows, there = _resamples(len(walks.fell)), np.isfinite(walks.time)
    result = {"success": _share(there), "falls": _share(walks.fell)}
    if there.any():
        times = walks.time[there]
        result["time"] = _interval(times.mean(), times[_resamples(len(times))].mean(1))
    result["lin_vel_error"] = _interval(walks.lin_error.mean(), walks.lin_error[rows].mean(1))
    result["cost_of_transport"] = _cost(walks, weight, rows)
    return result


def _resamples(count: int) -> np.ndarray:
    """Rows of each bootstrap sample, [RESAMPLES, count]."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _interval(value: float, resampled: Iterable[float]) -> Figure:
    low, high = np.quantile(np.array(list(resampled)), (0.025, 0.975))
    return Figure(float(value), float(low), float(high))


def _share(happened: np.ndarray) -> Figure:
    """Share of episodes in which something happened (bool, [E]), with Wilson's interval (1927)."""
    z, count, share = 1.96, len(happened), float(happened.mean())
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return Figure(share, max(0.0, middle - half), min(1.0, middle + half))


def _cost(episodes: Episodes | Walks, weight: float, rows: np.ndarray) -> Figure:
    """Work per weight and path."""
    work, path = episodes.work, episodes.path
    cost = work[rows].sum(1) / np.maximum(weight * path[rows].sum(1), 1e-6)
    return _interval(work.sum() / max(weight * path.sum(), 1e-6), cost)


LABELS = {
    "lin_vel_error": "velocity error, m/s",
    "lin_vel_error_p95": "  95th percentile",
    "lin_vel_error_settled": "  without first second",
    "lin_vel_error_settled_p95": "  same, 95th percentile",
    "ang_vel_error": "yaw rate error, rad/s",
    "ang_vel_error_p95": "  95th percentile",
    "ang_vel_error_settled": "  without first second",
    "ang_vel_error_settled_p95": "  same, 95th percentile",
    "success": "success, share",
    "falls": "falls, share",
    "time": "time to get there, s",
    "cost_of_transport": "cost of transport",
}


def print_table(found: dict[str, Figure]) -> None:
    """Print figures, one a line."""
    print(f"{'':26}{'':>9}  95 % interval")
    for name, label in LABELS.items():
        if name in found:
            figure = found[name]
            print(f"{label:26}{figure.value:9.3f}  {figure.low:.3f} to {figure.high:.3f}")
