"""Commands: their ranges, when they change, and headings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs import get_task
from tests.envs.common import calm, make, overturn


def test_commands_lie_in_their_ranges_and_fill_them() -> None:
    cfg = calm()
    cfg.commands.lin_vel_x, cfg.commands.lin_vel_y = (-0.3, 1.2), (0.1, 0.4)
    cfg.commands.ang_vel_yaw, cfg.commands.min_speed = (-2.0, -1.0), 0.0
    env = make(cfg, 64)
    seen = []
    for seed in range(20):
        env.reset(seed=seed)
        seen.append(env.command.clone())
    commands = torch.cat(seen).numpy()
    for column, (low, high) in zip(commands.T, ((-0.3, 1.2), (0.1, 0.4), (-2.0, -1.0)), strict=True):
        assert low <= column.min() < low + 0.01 * (high - low)
        assert high >= column.max() > high - 0.01 * (high - low)
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
    # axes are independent of one another
    np.testing.assert_allclose(np.corrcoef(commands.T), np.eye(3), atol=0.1)


def test_a_share_of_commands_is_along_one_axis_or_to_stand() -> None:
    cfg = calm()
    cfg.commands.single_axis_share, cfg.commands.min_speed = 0.4, 0.0
    env = make(cfg, 64)
    seen = []
    for seed in range(40):
        env.reset(seed=seed)
        seen.append(env.command.clone())
    moving = torch.cat(seen) != 0.0
    kinds = {
        tuple(row): float((moving == torch.tensor(row)).all(1).float().mean()) for row in moving.tolist()
    }
    for k in range(3):
        assert kinds.pop(tuple(i == k for i in range(3))) == pytest.approx(0.1, abs=0.02)
    assert kinds.pop((False, False, False)) == pytest.approx(0.1, abs=0.02)
    assert kinds == {(True, True, True): pytest.approx(0.6, abs=0.03)}


def test_slow_commands_become_zero_and_keep_their_yaw_rate() -> None:
    cfg = calm()
    cfg.commands.min_speed = 0.6
    env = make(cfg, 64)
    zero = 0
    for seed in range(10):
        env.reset(seed=seed)
        speed = env.command[:, :2].norm(dim=1)
        slow = speed == 0
        assert (speed[~slow] > 0.6).all() and env.command[slow, 2].all()
        zero += int(slow.sum())
    # a disc of radius 0.6 in a square of side 2
    assert zero / 640 == pytest.approx(np.pi * 0.36 / 4, abs=0.06)


def test_commands_change_at_their_time_and_with_an_episode() -> None:
    cfg = calm()
    cfg.commands.resampling_time, cfg.episode_length = 0.1, 0.26  # 5 and 13 steps
    cfg.commands.min_speed = 0.0
    env = make(cfg, 4)
    age = np.zeros(4, dtype=int)
    for k in range(40):
        if k == 7:
            overturn(env, 2)
        before = env.command.clone()
        obs, _, terminated, truncated, _ = env.step(torch.zeros(4, 12))
        age = np.where(terminated | truncated, 0, age + 1)
        changed = (env.command != before).all(1)
        np.testing.assert_array_equal(changed, age % 5 == 0)
        assert torch.equal(env.command[~changed], before[~changed])
        # the policy sees the command it is going to be judged by
        torch.testing.assert_close(obs["policy"][:, 9:12], env.command * torch.tensor([2.0, 2.0, 0.25]))
    assert len(set(age)) > 1


def test_first_commands_are_replaced_at_different_times() -> None:
    cfg = calm()
    cfg.commands.resampling_time, cfg.init.random_first_episode = 0.2, True
    env = make(cfg, 64)
    changes = np.zeros(64, dtype=int)
    for _ in range(10):
        before = env.command.clone()
        env.step(torch.zeros(64, 12))
        changed = (env.command != before).any(1).numpy()
        assert changed.sum() < 20
        changes += changed
    assert (changes >= 1).all()


def test_yaw_rate_follows_a_heading() -> None:
    cfg = calm()
    cfg.commands.heading, cfg.commands.heading_gain = True, 0.7
    cfg.commands.ang_vel_yaw = (-1.0, 1.0)
    cfg.commands.resampling_time = 0.2
    cfg.init.base_velocity = 2.0
    env = make(cfg, 32)
    clipped = wrapped = 0
    for _ in range(25):
        w, x, y, z = env.engine.base_quat.double().numpy().T
        yaw = np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)
        target = env.heading_target.double().numpy()
        assert (np.abs(target) <= np.pi).all()
        error = (target - yaw + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(env.command[:, 2], np.clip(0.7 * error, -1.0, 1.0), atol=1e-5)
        clipped += int((np.abs(0.7 * error) > 1.0).sum())
        wrapped += int((np.abs(target - yaw) > np.pi).sum())
        before = env.heading_target.clone()
        env.step(torch.zeros(32, 12))
        due = (env.episode_length % 10 == 0).numpy()
        np.testing.assert_array_equal((env.heading_target != before).numpy(), due)
    assert clipped and wrapped


@pytest.mark.parametrize("limits", [(-0.3, 0.3), (-0.2, 0.7), (-1.5, 1.5)])
def test_yaw_rates_of_a_heading_keep_to_their_limits(limits: tuple[float, float]) -> None:
    cfg = calm()
    cfg.commands.heading, cfg.commands.heading_gain, cfg.commands.ang_vel_yaw = True, 1.0, limits
    env = make(cfg, 64)
    env.reset()
    for _ in range(3):
        yaw_rate = env.command[:, 2]
        assert (yaw_rate.min().item(), yaw_rate.max().item()) == pytest.approx(limits)
        env.step(torch.zeros(64, 12))


@pytest.mark.parametrize("next_heading", [False, True])
def test_a_step_is_judged_by_the_yaw_rate_that_the_policy_saw_or_as_published(next_heading: bool) -> None:
    cfg = calm()
    cfg.commands.heading, cfg.commands.judge_next_heading = True, next_heading
    cfg.commands.heading_gain = 5.0  # so that the two differ
    cfg.commands.ang_vel_yaw = (-9.0, 9.0)
    for name, term in cfg.rewards.items():
        term.weight = float(name == "tracking_ang_vel")
    cfg.init.base_velocity = 2.0
    env = make(cfg, 32)
    env.reset()
    env.step(torch.zeros(32, 12))
    for _ in range(5):
        seen = env.command[:, 2].clone()
        obs, reward, _, _, info = env.step(torch.zeros(32, 12))
        assert not info["_final_obs"].any()
        judged = env.command[:, 2] if next_heading else seen
        error = judged - env.state.base_ang_vel[:, 2]
        assert (env.command[:, 2] - seen).abs().max() > 0.1
        torch.testing.assert_close(reward, torch.exp(-error.square() / 0.25) * env.step_dt)
        assert info["log"]["Train/ang_vel_error"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
        torch.testing.assert_close(obs["policy"][:, 11], env.command[:, 2] * 0.25)


def test_the_reference_judges_as_published_and_the_default_recipe_does_not() -> None:
    recipes = get_task("go2_rough").recipes
    assert recipes["reference"].env().commands.judge_next_heading
    assert not recipes["fast"].env().commands.judge_next_heading
    assert all(recipe.env().commands.ang_vel_yaw == (-1.0, 1.0) for recipe in recipes.values())


def test_set_commands_shows_at_once_and_lasts() -> None:
    env = make(calm(), 3)
    command = torch.tensor([[0.5, -0.25, 0.75]]).expand(3, 3)
    obs = env.set_commands(command)
    for _ in range(3):
        torch.testing.assert_close(obs["policy"][:, 9:12], command * torch.tensor([2.0, 2.0, 0.25]))
        obs, *_ = env.step(torch.zeros(3, 12))
    assert torch.equal(env.command, command)


def test_command_curriculum_widens_the_range_when_robots_follow_it() -> None:
    cfg = calm()
    cfg.commands.lin_vel_x, cfg.commands.curriculum, cfg.commands.max_lin_vel_x = (-0.5, 0.5), True, 1.2
    cfg.commands.resampling_time, cfg.episode_length = 0.1, 0.2
    env = make(cfg, 256)
    curriculum = env.commands.curriculum
    assert curriculum is not None
    good, poor = torch.full((256,), 0.9), torch.full((256,), 0.7)
    done = torch.ones(256, dtype=torch.bool)
    for tracking, ranges in (
        (poor, [-0.5, 0.5]),
        (good, [-1.0, 1.0]),
        (poor, [-1.0, 1.0]),
        (good, [-1.2, 1.2]),
    ):
        for _ in range(curriculum.interval):
            curriculum.update(tracking, done)
        assert curriculum.range.tolist() == pytest.approx(ranges)
    for _ in range(curriculum.interval):
        curriculum.update(good, ~done)
    assert curriculum.range.tolist() == pytest.approx([-1.2, 1.2]), "no episode ended: nothing is known"
    fastest = torch.zeros(())
    for _ in range(20):
        _, _, _, _, info = env.step(torch.zeros(256, 12))
        fastest = torch.maximum(fastest, env.command[:, 0].abs().max())
    assert 1.1 < fastest <= 1.2 and info["log"]["Curriculum/max_lin_vel_x"] == pytest.approx(1.2)
    twin = make(cfg, 256, seed=5)
    twin.load_state_dict(env.state_dict())
    assert twin.commands.curriculum is not None and torch.equal(
        twin.commands.curriculum.range, curriculum.range
    )


def test_command_curriculum_needs_a_tracking_reward() -> None:
    cfg = calm()
    cfg.commands.curriculum, cfg.rewards["tracking_lin_vel"].weight = True, 0.0
    with pytest.raises(ValueError, match="tracking_lin_vel"):
        cfg.validate()


def test_a_share_of_commands_is_along_one_axis_whatever_the_heading() -> None:
    cfg = calm()
    cfg.commands.heading, cfg.commands.single_axis_share, cfg.commands.min_speed = True, 1.0, 0.0
    cfg.init.yaw = torch.pi
    env = make(cfg, 64)
    env.reset(seed=1)
    told = env.command.clone()
    moving = told != 0.0
    assert (moving.sum(1) <= 1).all() and moving.any(0).all() and not moving.any(1).all()
    env.step(torch.zeros(64, 12))
    assert torch.equal(env.command, told)  # the heading leaves them alone
