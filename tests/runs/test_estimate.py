"""What a run says of its end after its first second."""

from __future__ import annotations

import math

import pytest

from runs.config import parse
from runs.estimate import Pace, expectation, needed_samples, pace_of, span


def run(
    pace: Pace, seconds: list[float], evaluations: dict[int, float] | None = None, before: float = 0.0
) -> None:
    """Note iterations of given lengths; an evaluation precedes those that are named."""
    total = before
    for i, length in enumerate(seconds):
        total += length + (evaluations or {}).get(i, 0.0)
        times = {"Perf/collection_time": 0.75 * length, "Perf/learning_time": 0.25 * length}
        pace.note(times | {"Perf/train_time": total})


def test_the_first_iteration_and_busy_moments_do_not_count() -> None:
    pace = Pace(1000)
    run(pace, [30.0])
    assert not pace.ready and math.isnan(pace.seconds(1, 1000)) and span(math.nan) == "?"
    pace = Pace(1000)
    run(pace, [30.0, 0.25, 0.25, 0.25])
    assert not pace.ready
    pace = Pace(1000)
    run(pace, [30.0, 0.25, 0.25, 5.0, 0.25, 0.25])
    assert pace.ready and pace.seconds(6, 1000) == pytest.approx(994 * 0.25)
    compiled = pace_of(parse([]), graphs=True)
    run(compiled, [30.0, 20.0, 10.0, 1.0])
    assert compiled.seconds(4, 1000) == pytest.approx(996.0, abs=1e-6), "captures neither"


def test_a_pace_follows_the_machine() -> None:
    pace = Pace(1000)
    run(pace, [1.0] * 60 + [0.1] * 50)
    assert pace.seconds(0, 10) == pytest.approx(1.0)


def test_evaluations_take_time_too() -> None:
    pace = Pace(120, save_interval=50, train_time=7.0)
    run(pace, [1.0, 1.0, 1.0], {0: 4.0}, before=7.0)
    assert pace.seconds(3, 120) == pytest.approx(117 + 3 * 4.0), "at 50, 100 and at the end"
    assert pace.seconds(3, 60) == pytest.approx(57 + 4.0)


def test_it_says_when_the_policy_should_be_good_where_that_was_measured() -> None:
    cfg = parse(["--recipe", "fast"])
    pace = pace_of(cfg)
    run(pace, [0.5, 0.5, 0.5, 0.5])
    end, good = expectation(cfg, pace, 4)
    assert end == "expected   17 min for 1996 more iterations"
    assert good == "good       in about 4 min (3.1 M samples, measured on this recipe)"
    short = parse(["--recipe", "fast", "--max_iterations", "100"])
    assert "not in this run: that took 505 iterations" in expectation(short, pace, 4)[1]
    assert "by now" in expectation(cfg, pace, 960)[1]
    del cfg.env.rewards["tracking_lin_vel_fine"]  # as of a run that is older than this reward
    assert (
        "env.rewards.tracking_lin_vel_fine.weight is not that of the recipe" in expectation(cfg, pace, 4)[1]
    )


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ("--recipe fast --seed 3 --agent.eval_envs 64 --num_threads 1", ""),
        (
            "--recipe fast --env.rewards.torques.weight -1e-4",
            "env.rewards.torques.weight is not that of the recipe",
        ),
        ("--recipe fast --num_envs 64", "num_envs is not that of the recipe"),
        ("--recipe reference", "recipe reference of anymal_c_flat was not measured"),
        ("--task go2_rough --recipe fast", "recipe fast of go2_rough was not measured"),
        ("--recipe fast --init_from anymal_c_flat", "from random weights"),
    ],
)
def test_nothing_is_foretold_that_nobody_measured(flags: str, why: str) -> None:
    samples, reason = needed_samples(parse(flags.split()))
    assert why in reason and (samples > 0) == (why == "")


def test_spans_of_time_are_short() -> None:
    assert [span(x) for x in (3.4, 99, 200, 5000, 20000)] == ["3 s", "99 s", "3 min", "83 min", "5.6 h"]
