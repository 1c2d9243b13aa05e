"""How episodes begin and end: autoreset, time limits, falls, numbers that are not finite, and the log."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from envs.config import EnvConfig, ObservationTerm, RewardTerm
from envs.state import RobotState
from tests.envs.common import (
    calm,
    expected_obs,
    lively,
    make,
    overturn,
    random_actions,
    reference,
    rugged,
)

NAN = float("nan")


def snapshot(result: tuple) -> dict[str, Tensor]:
    """Copies of all that `step` returned."""
    obs, reward, terminated, truncated, info = result
    tensors = {"obs": obs["policy"], "final_obs": info["final_obs"]["policy"], "reward": reward}
    tensors |= {"terminated": terminated, "truncated": truncated, **info["log"]}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def assert_fresh(env: LeggedEnv, rows: Tensor, obs: Tensor) -> None:
    """Robots at the start of an episode, and the observation that says so."""
    engine, cfg = env.engine, env.cfg.init
    np.testing.assert_allclose(obs[rows], expected_obs(env)[rows.numpy()], atol=1e-5)
    ratio = (engine.joint_pos / env.default_joint_pos)[rows][:, env.default_joint_pos != 0]
    assert (ratio >= cfg.joint_scale[0]).all() and (ratio <= cfg.joint_scale[1]).all()
    assert (engine.joint_pos[rows][:, env.default_joint_pos == 0] == 0).all()
    assert (engine.base_pos[rows, 2] == env.cfg.robot.init_height).all()
    assert (engine.base_pos[rows, :2].abs() <= cfg.base_position).all()
    for velocity in (engine.base_lin_vel, engine.base_ang_vel):
        assert (velocity[rows].abs() <= cfg.base_velocity).all()
    for tensor in (engine.joint_vel, engine.contact_force, env.action, env.state.previous_action):
        assert not tensor[rows].any()
    for tensor in (env.state.feet_air_time, env.state.feet_down, env.episode_length, env.episode_sums):
        assert not tensor[rows].any()


def test_time_limit_truncates_and_resets_in_the_same_step() -> None:
    cfg = calm()
    cfg.episode_length = 0.2  # ten steps
    env, twin = make(cfg, 8), make(calm(), 8)  # the twin's episodes go on; otherwise the two are the same
    for k, actions in enumerate(random_actions(env, 10), 1):
        got, expected = snapshot(env.step(actions)), snapshot(twin.step(actions))
        assert not got["terminated"].any()
        assert (got["truncated"] == (k == 10)).all()
        # the last observation and reward of the old episode do not know of the reset
        assert torch.equal(got["final_obs"], expected["obs"])
        assert torch.equal(got["reward"], expected["reward"])
    assert_fresh(env, torch.ones(8, dtype=torch.bool), got["obs"])
    assert not torch.equal(got["obs"], got["final_obs"])
    assert got["Episode/finished"] == 8 and got["Episode/length"] == 10 and got["Episode/fall_rate"] == 0
    for k, actions in enumerate(random_actions(env, 10, seed=1), 1):
        *_, truncated, _ = env.step(actions)
        assert (truncated == (k == 10)).all()


def test_a_fall_terminates_and_resets_that_robot_only() -> None:
    patient = calm()
    patient.fatal_contact_force = 1e9  # the twin lies there and goes on
    env, twin = make(calm(), 6), make(patient, 6)
    actions = random_actions(env, 6)
    for k in range(6):
        if k == 3:
            for each in (env, twin):
                overturn(each, 1, 4)
        got, expected = snapshot(env.step(actions[k])), snapshot(twin.step(actions[k]))
        fallen = torch.tensor([k == 3 and i in (1, 4) for i in range(6)])
        assert torch.equal(got["terminated"], fallen) and not got["truncated"].any()
        if k <= 3:
            assert torch.equal(got["final_obs"], expected["obs"])
            assert torch.equal(got["reward"], expected["reward"])
        if k == 3:
            assert_fresh(env, fallen, got["obs"])
            assert got["Episode/fall_rate"] == 1 and got["Episode/finished"] == 2
            assert got["Episode/length"] == 4
        others = torch.tensor([True, False, True, True, False, True])
        assert torch.equal(got["obs"][others], expected["obs"][others])
    assert env.episode_length.tolist() == [6, 2, 6, 6, 2, 6]


@pytest.mark.parametrize(("share", "falls"), [(0.99, True), (1.01, False)])
def test_a_fall_is_a_fatal_force_above_the_threshold(share: float, falls: bool) -> None:
    patient = calm()
    patient.fatal_contact_force = 1e9
    twin = make(patient, 2)
    overturn(twin, 0)
    twin.step(torch.zeros(2, 12))
    force = twin.engine.contact_force[0, twin.engine.contact_groups.index("base")].norm().item()
    assert force > 50.0
    cfg = calm()
    cfg.fatal_contact_force = share * force
    env = make(cfg, 2)
    overturn(env, 0)
    _, _, terminated, *_ = env.step(torch.zeros(2, 12))
    assert terminated.tolist() == [falls, False]


def test_joint_acceleration_is_the_change_of_velocity_over_the_step() -> None:
    cfg = calm()
    cfg.episode_length = 0.1  # five steps
    env = make(cfg, 4)
    for k, actions in enumerate(random_actions(env, 12)):
        before = env.engine.joint_vel.clone()
        assert before.any() == (k % 5 > 0), "a new episode starts with joints at rest"
        *_, truncated, _ = env.step(actions)
        if not truncated.any():
            change = (env.engine.joint_vel - before) / 0.02
            torch.testing.assert_close(env.state.joint_acc, change)


def test_a_fall_in_the_last_step_is_a_fall() -> None:
    cfg = calm()
    cfg.episode_length = 0.02
    env = make(cfg, 3)
    overturn(env, 1)
    _, _, terminated, truncated, _ = env.step(torch.zeros(3, 12))
    assert terminated.tolist() == [False, True, False]
    assert truncated.tolist() == [True, False, True]


def test_only_fatal_groups_end_an_episode() -> None:
    env = make(calm(), 2)
    for _ in range(50):
        _, _, terminated, _, _ = env.step(torch.zeros(2, 12))
        assert not terminated.any()
    assert (env.engine.contact_force[:, :4, 2] > 1.0).all(), "robots stand on their feet"


def test_reset_begins_an_episode_for_every_robot() -> None:
    env = make(calm(), 8)
    for actions in random_actions(env, 5):
        env.step(actions)
    obs, _ = env.reset()
    assert_fresh(env, torch.ones(8, dtype=torch.bool), obs["policy"])
    assert env.command.any(1).all(), "robots are told where to go from the first observation on"


def eventful() -> EnvConfig:
    """On a map, where the curriculum remembers how the last episodes ended, and widens commands."""
    cfg = rugged()
    cfg.commands.curriculum, cfg.episode_length = True, 0.2
    return cfg


@pytest.mark.parametrize("cfg", [reference(), lively(), eventful()], ids=["reference", "lively", "eventful"])
def test_reset_with_a_seed_repeats_everything(cfg: EnvConfig) -> None:
    env = make(cfg, 8)
    runs = []
    for _ in range(2):
        obs, _ = env.reset(seed=5)
        steps = [{"obs": obs["policy"].clone()}]
        steps += [snapshot(env.step(actions)) for actions in random_actions(env, 25)]
        runs.append(steps)
    for k, (first, second) in enumerate(zip(*runs, strict=True)):
        for name, tensor in first.items():
            assert torch.equal(tensor, second[name]), f"{name} after {k} steps"


def test_seeds_differ() -> None:
    one, other = (LeggedEnv(reference(), 4, num_threads=1, seed=seed).reset()[0] for seed in (1, 2))
    assert not torch.equal(one["policy"], other["policy"])


def test_first_episodes_have_random_lengths() -> None:
    cfg = calm()
    cfg.init.random_first_episode = True
    env = make(cfg, 64)
    age = env.episode_length
    assert age.min() >= 0 and age.max() < env.max_episode_length == 1000
    assert age.unique().numel() > 48 and age.min() < 200 and age.max() > 800
    # later ones have the whole length
    env.episode_length[:32] = 999
    _, _, terminated, truncated, _ = env.step(torch.zeros(64, 12))
    assert truncated[:32].all() and not env.episode_length[:32].any()


def test_the_log_adds_up_the_rewards_of_finished_episodes() -> None:
    cfg = calm()
    cfg.only_positive_rewards = False
    cfg.episode_length = 0.2
    env = make(cfg, 6)
    earned, checked = torch.zeros(6), 0
    for k, actions in enumerate(random_actions(env, 30, seed=3)):
        if k == 4:
            overturn(env, 2)
        got = snapshot(env.step(actions))
        earned += got["reward"]
        done = got["terminated"] | got["truncated"]
        assert got["Episode/finished"] == done.sum()
        logged = sum(value for name, value in got.items() if name.startswith("Episode/rew_"))
        if done.any():
            # sums are per second of the longest episode, as the published code logs them
            expected = earned[done].mean() / cfg.episode_length
            torch.testing.assert_close(logged, expected, rtol=1e-4, atol=1e-5)
            assert got["Episode/fall_rate"] == (got["terminated"].sum() / done.sum())
            checked += 1
        else:
            assert logged == 0
        earned[done] = 0.0
        names = {f"Episode/rew_{name}" for name, term in cfg.rewards.items() if term.weight}
        assert names == {name for name in got if name.startswith("Episode/rew_")}
    assert checked >= 4


@pytest.mark.parametrize("where", ["action", "base_pos", "joint_vel"])
def test_a_robot_with_nan_is_reset_counted_and_alone(where: str) -> None:
    env, twin = make(reference(), 6), make(reference(), 6)
    well = torch.tensor([True, True, True, False, True, True])
    for k, actions in enumerate(random_actions(env, 12)):
        given = actions.clone()
        if k == 4 and where == "action":
            given[3, 7] = NAN
        elif k == 4:
            engine = env.engine
            names = ("base_pos", "base_quat", "base_lin_vel", "base_ang_vel", "joint_pos", "joint_vel")
            values = {name: getattr(engine, name).clone() for name in names}
            values[where][3, 0] = NAN
            engine.write_state(~well, **values)
        got, expected = snapshot(env.step(given)), snapshot(twin.step(actions))
        assert got["Episode/non_finite"] == (k == 4)
        for name, tensor in got.items():
            assert torch.isfinite(tensor).all(), name
            if tensor.dim():
                assert torch.equal(tensor[well], expected[name][well]), name
        if k == 4:
            assert got["terminated"].tolist() == (~well).tolist()
            assert got["reward"][3] == 0 and not got["final_obs"][3].any()
            # noise is on: compare the state, not the observation
            assert env.episode_length[3] == 0 and env.engine.base_pos[3, 2] == 0.6
    assert all(torch.isfinite(buffer.float()).all() for buffer in env._buffers.values())


def test_all_robots_may_go_bad_at_once() -> None:
    env = make(reference(), 4)
    got = snapshot(env.step(torch.full((4, 12), NAN)))
    assert got["terminated"].all() and got["Episode/non_finite"] == 4
    for k in range(3):
        got = snapshot(env.step(torch.zeros(4, 12)))
        assert all(torch.isfinite(tensor).all() for tensor in got.values()), k
    assert got["Episode/non_finite"] == 0


def test_a_runaway_robot_ends_its_episode_unrewarded() -> None:
    env = make(calm(), 4)
    mask = torch.tensor([False, True, False, False])
    fast = torch.zeros(4, 3)
    fast[:, 2] = 25.0
    env.engine.set_base_velocity(mask, fast, torch.zeros(4, 3))
    _, reward, terminated, _, info = env.step(torch.zeros(4, 12))
    assert terminated.tolist() == mask.tolist() and reward[1] == 0.0
    assert info["log"]["Episode/non_finite"] == 1 and not info["final_obs"]["policy"][1].any()
    assert env.engine.base_lin_vel[1].norm() < 2.0


def test_the_logged_length_leaves_out_the_age_that_an_episode_began_with() -> None:
    cfg = calm()
    cfg.init.random_first_episode = True
    env = make(cfg, 64)
    env.reset(seed=2)
    assert env.episode_length.max() > 100
    for k in range(1, 6):
        got = snapshot(env.step(torch.zeros(64, 12)))
        if got["Episode/finished"]:
            assert got["Episode/length"] == k
    overturn(env, 3)
    got = snapshot(env.step(torch.zeros(64, 12)))
    assert got["Episode/finished"] >= 1 and got["Episode/length"] <= 6


def test_terms_may_look_at_the_time_since_the_episode_began() -> None:
    cfg = calm()
    cfg.init.random_first_episode = True
    seen: list[torch.Tensor] = []

    def clock(state: RobotState) -> torch.Tensor:
        seen.append(state.time.clone())
        return torch.sin(2.0 * torch.pi * state.time)

    cfg.rewards = cfg.rewards | {"clock": RewardTerm(clock, 1.0)}
    cfg.observations = cfg.observations | {
        "phase": ObservationTerm(lambda state: state.time.unsqueeze(1), (1.0,), 0.0, "scalar")
    }
    env = make(cfg, 4)
    obs, _ = env.reset(seed=1)
    assert not obs["policy"][:, -1].any() and env.episode_length.max() > 0
    for k in range(1, 4):
        if k == 3:
            overturn(env, 2)
        obs, _, terminated, *_ = env.step(torch.zeros(4, 12))
        assert seen[-1].tolist() == pytest.approx([k * env.step_dt] * 4)
    expected = torch.where(terminated, 0.0, 3 * env.step_dt)
    assert terminated[2] and torch.allclose(obs["policy"][:, -1], expected)
