"""A short recording of a robot that stands, without a trained policy."""

from __future__ import annotations

import pytest
import torch

from envs.legged_env import LeggedEnv
from envs.tasks import get_task
from evaluation.walking import evaluation_config
from viewers.recording import Recording, record


@pytest.fixture(scope="session")
def env() -> LeggedEnv:
    """Three ANYmals without noise."""
    cfg = evaluation_config(get_task("anymal_c_flat").recipe("").env(), 10.0)
    return LeggedEnv(cfg, 3, "mujoco", num_threads=1)


@pytest.fixture(scope="session")
def recording(env: LeggedEnv) -> Recording:
    """0.4 s of standing, told to walk a curve."""
    commands = torch.tensor([[0.8, -0.2, 0.5]]).repeat(20, 1)
    return record(env, lambda obs: torch.zeros(len(obs), env.num_actions), commands, seed=3)
