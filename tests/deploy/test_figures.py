"""Figures of episodes that were made up."""

from __future__ import annotations

import numpy as np
import pytest

from deploy import episodes as sim2sim_episodes
from deploy.figures import figures, walk_figures


def test_figures_of_known_episodes() -> None:
    """Ten episodes of 10 s, two commands each; nine off by 0.1 m/s after a bad first second, one fell."""
    dt, steps = 0.1, 100
    lin = np.full((10, steps), 0.1)
    lin[:, np.arange(steps) % 50 < 10] = 0.6
    lin[9] = 0.8
    fell = np.arange(10) == 9
    episodes = sim2sim_episodes.Episodes(lin, 0.5 * lin, fell, np.full(10, 60.0), np.full(10, 2.0))
    found = figures(episodes, dt, weight=100.0)
    assert found["lin_vel_error"].value == pytest.approx(0.9 * (0.8 * 0.1 + 0.2 * 0.6) + 0.08)
    assert found["lin_vel_error_settled"].value == pytest.approx(0.9 * 0.1 + 0.08)
    assert found["ang_vel_error_p95"].value == pytest.approx(0.4)
    assert found["cost_of_transport"].value == pytest.approx(0.3)
    falls = found["falls"]  # Wilson's interval for 1 of 10
    assert (falls.value, falls.low, falls.high) == pytest.approx((0.1, 0.0179, 0.4042), abs=1e-3)
    lin_error = found["lin_vel_error"]
    assert lin_error.low < lin_error.value < lin_error.high


def test_figures_of_known_walks() -> None:
    """Ten robots: six got there after 6 s, one fell, three were too slow."""
    time = np.where(np.arange(10) < 6, 6.0, np.inf)
    walks = sim2sim_episodes.Walks(
        time, np.arange(10) == 6, np.full(10, 0.2), np.full(10, 60.0), np.full(10, 2.0)
    )
    found = walk_figures(walks, weight=100.0)
    success = found["success"]  # Wilson's interval for 6 of 10
    assert (success.value, success.low, success.high) == pytest.approx((0.6, 0.3127, 0.8318), abs=1e-3)
    values = {name: figure.value for name, figure in found.items() if name != "success"}
    assert values == pytest.approx(
        {"falls": 0.1, "time": 6.0, "lin_vel_error": 0.2, "cost_of_transport": 0.3}
    )
