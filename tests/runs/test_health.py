"""A reward, an observation or physics that is not finite is named, and a training that goes on like that ends."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from algorithms import Trainer
from algorithms.trainer import NonFiniteError
from envs import LeggedEnv
from envs.config import ObservationTerm, RewardTerm
from envs.diagnosis import non_finite
from envs.state import RobotState
from runs.config import default_config
from runs.health import PATIENCE, Health
from runs.training import train
from tests.envs.common import calm, make


def mine(state: RobotState) -> Tensor:
    """Not a number for robots on the left."""
    return torch.where(state.base_pos[:, 1] > 0.0, torch.nan, 0.0)


def seen(state: RobotState) -> Tensor:
    """Infinite for all robots."""
    return state.command / 0.0


def test_terms_that_are_not_finite_are_named_with_robots_and_an_example() -> None:
    cfg = calm()
    assert non_finite(make(cfg, 4)) == []
    cfg.rewards = cfg.rewards | {"mine": RewardTerm(mine, 1.0)}
    cfg.observations = cfg.observations | {"seen": ObservationTerm(seen, (1.0,), 0.0, "command")}
    env = make(cfg, 4)
    env.engine.base_pos[:, 1] = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    reward, observation = non_finite(env)
    assert reward == "reward mine of 2 of 4 robots (robot 2: nan)"
    assert observation.startswith("observation seen of 4 of 4 robots (robot 0: [")


def test_the_first_time_is_said_and_what_goes_on_ends(capsys: pytest.CaptureFixture[str]) -> None:
    cfg = calm()
    cfg.rewards = cfg.rewards | {"mine": RewardTerm(lambda state: state.command[:, 0] * torch.nan, 1.0)}
    env = make(cfg, 4)
    health = Health(env, 100)
    health.note(1, {"Episode/non_finite": 0.0})
    health.look(1)
    assert capsys.readouterr().err == ""
    for look in range(PATIENCE - 1):
        health.note(10 * look, {"Episode/non_finite": 90.0})
        health.look(10 * look)
    error = capsys.readouterr().err
    assert "iteration 0: 90 of 100 samples were not finite" in error and error.count("reward mine") == 1
    health.note(30, {"Episode/non_finite": 90.0})
    with pytest.raises(NonFiniteError, match="reward mine of 4 of 4 robots"):
        health.look(30)


def test_rare_accidents_do_not_end_a_training() -> None:
    health = Health(make(calm(), 4), 100)
    for iteration in range(100):
        health.note(iteration, {"Episode/non_finite": 20.0})
        health.look(iteration)


def test_a_training_with_a_broken_reward_stops(tmp_path: Path) -> None:
    cfg = copy.deepcopy(default_config("anymal_c_flat"))
    cfg.env.rewards["mine"] = RewardTerm(lambda state: state.command[:, 0] * torch.nan, 1.0)
    cfg.agent.ppo.num_steps, cfg.agent.eval_envs = 4, 0
    env = LeggedEnv(cfg.env, 4, num_threads=1)
    with pytest.raises(NonFiniteError, match="reward mine"):
        train(Trainer(env, cfg.agent, tmp_path, 1), env, tmp_path, cfg)
