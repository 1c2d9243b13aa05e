"""Motion in real time, whatever the pace at which it comes in."""

from __future__ import annotations

import numpy as np

from viewers.web.playback import PATIENCE, SECONDS, Playback

STEPS, DT = 24, 0.02
LENGTH = STEPS * DT


def piece(iteration: int) -> np.ndarray:
    """A rollout whose numbers say which step it is, [T, 1, 1]."""
    return (iteration * STEPS + np.arange(STEPS, dtype=float)).reshape(-1, 1, 1)


def shown(playback: Playback, now: float) -> float:
    frame = playback.frame(now)
    assert frame is not None
    assert frame[0] == frame[1][0, 0] // STEPS
    return float(frame[1][0, 0])


def test_pieces_that_are_in_time_are_one_motion() -> None:
    playback = Playback(DT)
    assert playback.frame(99.0) is None
    seen = []
    for iteration in range(6):
        playback.add(iteration, piece(iteration))
        begin = 100.0 + iteration * LENGTH
        playback.frame(begin)
        seen += [shown(playback, begin + (i + 0.5) * DT) for i in range(STEPS)]
    assert np.array_equal(np.diff(seen), np.ones(len(seen) - 1))


def test_faster_training_is_shown_in_long_pieces_of_real_time() -> None:
    playback = Playback(DT)
    seen, iteration = [], 0
    for i in range(1000):  # 20 s; ten rollouts in the time of one
        if i % 2 == 0:
            playback.add(iteration, piece(iteration))
            iteration += 1
        seen.append(shown(playback, i * DT))
    jumps = np.diff(seen) != 1.0
    assert 2 <= jumps.sum() <= 8
    assert iteration * STEPS - seen[-1] < 2 * SECONDS / DT * 12.0, "what is shown is not old"
    assert seen[-1] > 500 * STEPS // 2


def test_slower_training_has_the_last_seconds_played_again() -> None:
    playback = Playback(DT)
    playback.add(7, piece(7))
    assert shown(playback, 0.0) == 7 * STEPS
    assert shown(playback, LENGTH + 0.5 * PATIENCE) == 8 * STEPS - 1, "it waits for a moment"
    assert shown(playback, LENGTH + 1.5 * PATIENCE) == 7 * STEPS, "then it begins again"
    playback.add(8, piece(8))
    assert shown(playback, 2.0 * LENGTH + 1.6 * PATIENCE) == 8 * STEPS, "what is new comes next"


def test_as_much_is_kept_as_is_played_and_broken_numbers_are_not_drawn() -> None:
    playback = Playback(DT)
    for iteration in range(100):
        playback.add(iteration, np.full((STEPS, 1, 1), np.nan))
    frame = playback.frame(0.0)
    assert frame is not None and frame[0] == 100 - np.ceil(SECONDS / LENGTH)
    assert np.isfinite(frame[1]).all()
    playback.forget()
    assert playback.frame(0.0) is None
