"""A short training with a fixed seed really learns to walk: a broken learner never lands."""

from __future__ import annotations

import pytest
import torch

from algorithms import Trainer
from envs import LeggedEnv
from runs.config import default_config


def test_the_fast_recipe_learns_to_move_in_two_and_a_half_million_samples() -> None:
    """Standing still leaves a velocity error of 0.75 m/s, and noise that only shakes the robot earns nothing."""
    threads = torch.get_num_threads()
    cfg = default_config("anymal_c_flat", "fast")
    env = LeggedEnv(cfg.env, cfg.num_envs, num_threads=threads, seed=1)
    trainer = Trainer(env, cfg.agent, None, seed=1)
    env.reset(seed=1)
    first = trainer.iterate()
    logs = [trainer.iterate() for _ in range(200)]
    rewards = [log["Train/mean_reward"] for log in logs[-10:]]
    errors = [log["Train/lin_vel_error"] for log in logs[-10:]]
    assert first["Train/lin_vel_error"] > 0.6
    assert sum(rewards) / 10 > 8.0
    assert sum(errors) / 10 < 0.45
    assert all(log["Episode/non_finite"] == 0 and log["Loss/skipped"] == 0 for log in logs)


@pytest.mark.slow
def test_the_fast_recipe_reaches_its_targets() -> None:
    """The whole recipe: velocity and yaw-rate error within 0.20, falls within 1 %."""
    from evaluation.walking import evaluate, evaluation_config

    threads = torch.get_num_threads()
    cfg = default_config("anymal_c_flat", "fast")
    env = LeggedEnv(cfg.env, cfg.num_envs, num_threads=threads, seed=1)
    trainer = Trainer(env, cfg.agent, None, seed=1)
    trainer.train(cfg.max_iterations, lambda iteration, numbers: None)
    test_env = LeggedEnv(evaluation_config(cfg.env, 20.0), 512, num_threads=threads, seed=1)
    assert trainer.average is not None
    figures = evaluate(test_env, trainer.average.mean)
    assert figures.lin_vel_error <= 0.20
    assert figures.ang_vel_error <= 0.20
    assert figures.falls <= 0.01
