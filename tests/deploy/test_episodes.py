"""Episodes: what they are given, and what they record."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms import Actor, PolicyConfig, checkpoint
from algorithms.trainer import make_policy
from deploy import episodes as sim2sim_episodes
from deploy import robot as sim2sim_robot
from deploy.added import NOTHING
from envs.legged_env import LeggedEnv
from runs.config import default_config, save_config
from runs.export import export_run
from runs.folders import open_run
from scripts.sim2sim import shape_course
from tests.deploy.common import MJCF, edit


def test_processes_do_not_change_the_figures(run_folder: Path) -> None:
    one, two = (sim2sim_episodes.drive_all(run_folder / "exported", MJCF, 3, 2.0, 1, n) for n in (1, 2))
    assert np.array_equal(one.lin_error, two.lin_error) and np.array_equal(one.work, two.work)


def sleep(rows: np.ndarray, seeds: list[list[int]]) -> sim2sim_episodes.Episodes:
    time.sleep(60.0)
    raise AssertionError("not stopped")


@pytest.mark.filterwarnings("error")
def test_ctrl_c_stops_the_processes_without_a_word_of_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sim2sim_episodes._spread(sleep, np.zeros((8, 3)), 1, 2)
    assert time.monotonic() - begun < 30.0 and not multiprocessing.active_children()
    assert capfd.readouterr().err == ""


def test_a_policy_with_a_memory_is_driven_episode_by_episode(env: LeggedEnv, tmp_path: Path) -> None:
    cfg = default_config("anymal_c_flat")
    cfg.agent.policy = PolicyConfig((8,), (8,), recurrent="lstm", recurrent_hidden=8)
    torch.manual_seed(0)
    policy = make_policy(env, cfg.agent)
    save_config(cfg, tmp_path / "config.yaml")
    content = {"metadata": {"task": cfg.task}, "iteration": 1, "policy": policy.state_dict()}
    checkpoint.save(tmp_path / "model_1.pt", content)
    folder = export_run(open_run(load_run=str(tmp_path)), env, tmp_path / "exported")
    assert "'hidden' [batch, S]" in json.loads((folder / "policy.json").read_text())["description"]
    _, act = sim2sim_robot.load_policy(folder)
    actor, obs = Actor(policy), torch.randn(5, 48)
    for _ in range(2):
        for x in obs:
            np.testing.assert_allclose(act(x.numpy()), actor(x[None])[0], atol=1e-5)
        act.reset()
        actor.reset()
    # the second of two equal episodes is the first
    commands = np.repeat(sim2sim_episodes.sample_commands(1, 2.0, 1), 2, axis=0)
    episodes = sim2sim_episodes.drive(folder, MJCF, 2.0, NOTHING, commands, [[1, 0], [1, 0]])
    assert np.array_equal(episodes.lin_error[0], episodes.lin_error[1])


def test_commands_are_those_of_the_evaluation() -> None:
    expected = np.random.default_rng(4).uniform(-1.0, 1.0, (3, 4, 3))
    assert np.array_equal(sim2sim_episodes.sample_commands(3, 20.0, 4), expected)


def test_after_a_fall_the_command_is_the_error(exported: Path) -> None:
    edit(exported, lambda facts: facts.update(effort_limit=[1e-3] * 12))  # collapses
    commands = sim2sim_episodes.sample_commands(1, 2.0, 1)
    episodes = sim2sim_episodes.drive(exported, MJCF, 2.0, NOTHING, commands, [[1, 0]])
    assert episodes.fell[0]
    np.testing.assert_allclose(episodes.lin_error[0, -1], np.linalg.norm(commands[0, 0, :2]))
    np.testing.assert_allclose(episodes.ang_error[0, -1], abs(commands[0, 0, 2]))


def test_success_is_to_get_far_enough_in_time(rough: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A robot that is thrown at up to 0.5 m/s gets 2 cm far, not 4 m."""
    facts, _ = sim2sim_robot.load_policy(rough)
    course = shape_course("flat", 0.0, facts["terrain"], 1)
    assert not np.isfinite(sim2sim_episodes.walk_all(rough, MJCF, course, 0.01, 2, 2.0, 1, 1).time).any()
    monkeypatch.setattr(sim2sim_episodes, "DISTANCE", 0.02)
    walks = sim2sim_episodes.walk_all(rough, MJCF, course, 0.01, 2, 2.0, 1, 1)
    assert (walks.time < 1.0).all() and not walks.fell.any() and (walks.path >= 0.02).all()
