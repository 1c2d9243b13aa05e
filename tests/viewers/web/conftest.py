"""A session in which robots of tasks walk by policies that nobody trained."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from envs.legged_env import LeggedEnv
from envs.tasks import get_task
from viewers.web.session import Session
from viewers.web.settings import Settings
from viewers.web.simulation import Player, Policy, Simulation

SEEN: list[torch.Tensor] = []
"""What the policies observed last."""


def bowing(env: LeggedEnv) -> Player:
    """Bends and stretches all legs, once a second."""

    def act(obs: torch.Tensor) -> torch.Tensor:
        SEEN[:] = [obs.clone()]
        return torch.full((len(obs), env.num_actions), 0.3 * math.sin(0.12 * float(env.episode_length[0])))

    return Player(act, lambda obs: obs.sum(1))


def policy(task: str) -> Callable[[], Policy]:
    """A policy for a task."""
    return lambda: Policy(get_task(task).recipe("").env(), bowing)


def broken() -> Policy:
    """One that cannot be opened."""
    raise ValueError("checkpoint x.pt is damaged")


@pytest.fixture
def session() -> Iterator[Session]:
    """Two bowing robots on a plane, nothing runs yet."""
    policies = {"one": policy("anymal_c_flat"), "other": policy("go2_flat"), "broken": broken}
    made = Session(Settings("one", robots=2), policies, port=18080)
    yield made
    made.close()


@pytest.fixture
def running(session: Session) -> Iterator[Session]:
    """The same in a thread of its own."""
    thread = threading.Thread(target=session.run, args=(60.0,), daemon=True)
    thread.start()
    yield session
    session.stop()
    thread.join(10.0)


def env_of(session: Session) -> LeggedEnv:
    """The environment behind a session."""
    assert isinstance(session.simulation, Simulation)
    return session.simulation.env


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for something; whether it came."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()
