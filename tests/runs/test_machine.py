"""What is known of the machine."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from runs import machine
from runs.machine import Crowd


def spin(seconds: float) -> None:
    """Want a core for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="Linux counts it")
def test_a_crowd_is_noticed() -> None:
    cores = len(os.sched_getaffinity(0))
    others = [
        multiprocessing.get_context("fork").Process(target=spin, args=(30.0,)) for _ in range(3 * cores)
    ]
    for other in others:
        other.start()
    try:
        time.sleep(0.1)
        crowd = Crowd(2)
        spin(1.0)
        assert "keep this one's threads waiting" in crowd.sentence()
        assert crowd.sentence().endswith("--num_threads 1 may be faster")
    finally:
        for other in others:
            other.terminate()


@pytest.mark.parametrize(("waits", "share"), [(0.1, ""), (0.5, "for 50% of the time")])
def test_what_is_said_of_it(waits: float, share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [7.0]
    monkeypatch.setattr(machine, "waited", lambda: 4.0 + 2 * waits * (now[0] - 7.0))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now[0])
    crowd = Crowd(2)
    now[0] = 17.0
    assert share in crowd.sentence() and bool(share) == bool(crowd.sentence())
