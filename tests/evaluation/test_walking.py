"""Evaluation: commands that anyone can repeat, nominal conditions, and figures of robots known to stand or fall."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from evaluation.walking import evaluate, evaluation_config, sample_commands
from tests.envs.common import overturn, reference, varied


def nominal(num_envs: int, seconds: float) -> LeggedEnv:
    return LeggedEnv(evaluation_config(reference(), seconds), num_envs, num_threads=1)


def stand(obs: Tensor) -> Tensor:
    return torch.zeros(len(obs), 12)


def test_commands_are_numpys_and_fewer_robots_get_the_same_ones() -> None:
    limit = (1.0, 0.5, 2.0)
    commands = sample_commands(6, 20.0, 5.0, limit, seed=3)
    expected = np.random.default_rng(3).uniform(-1, 1, (6, 4, 3)) * limit
    np.testing.assert_allclose(commands, expected.transpose(1, 0, 2), rtol=1e-6)
    assert torch.equal(sample_commands(2, 20.0, 5.0, limit, seed=3), commands[:, :2])
    assert len(sample_commands(1, 11.0, 5.0, limit, seed=3)) == 3


def test_conditions_are_nominal() -> None:
    env = LeggedEnv(evaluation_config(varied(), 1.0), 4, num_threads=1)
    for name, values in env.randomised.items():
        assert (values == (1.0 if name.endswith("factor") or name == "friction" else 0.0)).all(), name
    assert env.cfg.randomisation.push_force == env.cfg.randomisation.push_ang_vel == 0.0
    assert not env.cfg.noise.enabled and env.cfg.randomisation.push_interval == 0.0
    assert env.cfg.init.joint_scale == (0.5, 1.5) and env.cfg.init.base_velocity == 0.5
    assert env.max_episode_length > 50, "no time-out within the evaluation"


@pytest.mark.parametrize(("trained", "evaluated"), [(0.2, 0.2), (3.0, 1.0)])
def test_starts_farther_out_than_the_usual_ones_are_not_evaluated(trained: float, evaluated: float) -> None:
    cfg = reference()
    cfg.init.base_position = trained
    assert evaluation_config(cfg, 1.0).init.base_position == evaluated


def test_a_standing_robot_misses_what_it_is_asked_for() -> None:
    env = nominal(8, seconds=4.0)
    result = evaluate(env, stand, seconds=4.0, segment=2.0, seed=5)
    commands = sample_commands(8, 4.0, 2.0, (1.0, 1.0, 1.0), seed=5)
    assert result.falls == 0.0 and result.collisions < 0.1 and result.robots == 8
    asked = commands[..., :2].norm(dim=-1).mean().item()
    # a second after a reset with a push the robots stand still
    assert result.lin_vel_error_settled == pytest.approx(asked, rel=0.02)
    assert result.ang_vel_error_settled == pytest.approx(commands[..., 2].abs().mean().item(), rel=0.05)
    assert result.lin_vel_error == pytest.approx(asked, rel=0.15)
    assert min(result.duty_factor) > 0.9
    assert result.score == result.lin_vel_error + result.ang_vel_error + result.falls
    assert result.score_error == pytest.approx((0.1 * 0.9 / 8) ** 0.5), "no fall of 8 robots may be luck"


def test_after_a_fall_the_command_counts_as_error() -> None:
    env = nominal(2, seconds=1.0)
    steps = 0

    def fall(obs: Tensor) -> Tensor:
        nonlocal steps
        if steps == 0:
            overturn(env, 0, 1)
        steps += 1
        return stand(obs)

    result = evaluate(env, fall, seconds=1.0, segment=0.5, seed=6)
    commands = sample_commands(2, 1.0, 0.5, (1.0, 1.0, 1.0), seed=6)
    assert steps == 50 and result.falls == 1.0
    assert result.lin_vel_error == pytest.approx(commands[..., :2].norm(dim=-1).mean().item(), rel=1e-5)
    assert result.ang_vel_error == pytest.approx(commands[..., 2].abs().mean().item(), rel=1e-5)


def test_a_memory_starts_afresh_with_every_episode() -> None:
    env = nominal(3, seconds=1.0)
    told: list[Tensor | None] = []

    class Remembering:
        def __call__(self, obs: Tensor) -> Tensor:
            if len(told) == 11:
                overturn(env, 1)
            return stand(obs)

        def reset(self, mask: Tensor | None = None) -> None:
            told.append(mask)

    evaluate(env, Remembering(), seconds=1.0, seed=5)
    assert told[0] is None and len(told) == 51
    ends = torch.stack([mask for mask in told[1:] if mask is not None])
    assert ends.nonzero().tolist() == [[10, 1]]


def test_an_evaluation_can_be_repeated() -> None:
    env = nominal(3, seconds=1.5)
    results = [dataclasses.asdict(evaluate(env, stand, seconds=1.5, segment=1.5, seed=7)) for _ in range(2)]
    assert results[0] == results[1]
    assert all(math.isfinite(value) for value in results[0].values() if isinstance(value, float))
