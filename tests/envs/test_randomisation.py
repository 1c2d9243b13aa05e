"""Differences between robots, pushes, and from actions to joint targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from envs.config import EnvConfig
from tests.envs.common import Listener, calm, make, random_actions


def model_of(env: LeggedEnv, robot: int):
    return env.engine._batch.get_model(robot)  # type: ignore[attr-defined]


def test_friction_and_mass_differ_from_robot_to_robot_and_reach_the_physics() -> None:
    cfg = calm()
    cfg.randomisation.friction, cfg.randomisation.added_base_mass = (0.4, 0.9), (-3.0, 6.0)
    env = make(cfg, 64, engine="mujoco")
    for values, (low, high) in ((env.friction, (0.4, 0.9)), (env.added_base_mass, (-3.0, 6.0))):
        assert (values >= low).all() and (values <= high).all() and values.unique().numel() == 64
        assert values.min() < low + 0.2 * (high - low) and values.max() > high - 0.2 * (high - low)
    assert abs(np.corrcoef(env.friction, env.added_base_mass)[0, 1]) < 0.5
    torch.testing.assert_close(env.engine.total_mass, 52.1348 + env.added_base_mass, rtol=0, atol=1e-3)
    for robot in (0, 17, 63):
        model = model_of(env, robot)
        assert model.body_mass.sum() == pytest.approx(52.1348 + env.added_base_mass[robot].item(), abs=1e-3)
        robots = model.geom_bodyid > 0
        np.testing.assert_allclose(model.geom_friction[robots, 0], env.friction[robot], rtol=1e-6)


def test_robots_keep_their_differences() -> None:
    cfg = calm()
    cfg.randomisation.friction, cfg.randomisation.added_base_mass = (0.4, 0.9), (-3.0, 6.0)
    cfg.episode_length = 0.04
    env = make(cfg, 4)
    before = (env.friction.clone(), env.added_base_mass.clone(), env.engine.total_mass.clone())
    for actions in random_actions(env, 5):
        env.step(actions)
    env.reset(seed=9)
    after = (env.friction, env.added_base_mass, env.engine.total_mass)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_without_ranges_robots_are_all_alike() -> None:
    env = make(calm(), 4, engine="mujoco")
    assert (env.friction == 1.0).all() and not env.added_base_mass.any()
    for robot in range(4):
        model = model_of(env, robot)
        assert model.body_mass.sum() == pytest.approx(52.1348, abs=1e-4)
        assert (model.geom_friction[model.geom_bodyid > 0, 0] == 1.0).all()


def test_one_friction_for_all() -> None:
    cfg = calm()
    cfg.randomisation.friction = (0.3, 0.3)
    env = make(cfg, 2, engine="mujoco")
    model = model_of(env, 1)
    np.testing.assert_allclose(model.geom_friction[model.geom_bodyid > 0, 0], 0.3, rtol=1e-6)


def pushing(interval: float, velocity: float = 0.8) -> EnvConfig:
    cfg = calm()
    cfg.randomisation.push_interval, cfg.randomisation.push_velocity = interval, velocity
    return cfg


def test_pushes_come_at_their_interval_and_not_together() -> None:
    env = make(pushing(0.4), 64)  # every 20 steps
    pushes: list[tuple[Tensor, Tensor, Tensor]] = []

    def hear(name: str, arguments: tuple) -> None:
        if name == "set_base_velocity":
            pushes.append(tuple(argument.clone() for argument in arguments))

    env.engine = Listener(env.engine, hear)
    for actions in random_actions(env, 60):
        env.step(actions)
    due = torch.stack([mask for mask, _, _ in pushes])
    assert due.shape == (60, 64)
    assert (due.sum(0) == 3).all(), "each robot three times in 60 steps"
    for robot in range(64):
        times = due[:, robot].nonzero().squeeze(1)
        assert (times.diff() == 20).all()
    assert due.sum(1).max() <= 12 and (due[:20].sum(1) > 0).sum() >= 12, "spread over the interval"
    velocities = torch.cat([velocity[mask, :2] for mask, velocity, _ in pushes])
    assert velocities.abs().max() <= 0.8 and velocities.abs().max() > 0.7
    assert velocities.min() < -0.7 and velocities.mean().abs() < 0.1


def test_a_push_sets_the_horizontal_velocity_alone() -> None:
    env, twin = make(pushing(1.0), 8), make(calm(), 8)
    env.push_countdown.fill_(100)
    env.push_countdown[3] = 1
    actions = random_actions(env, 1)[0]
    obs, *_ = env.step(actions)
    twin.step(actions)
    pushed, others = torch.arange(8) == 3, torch.arange(8) != 3
    a, b = env.engine, twin.engine
    for name in ("base_pos", "base_quat", "joint_pos", "joint_vel", "base_ang_vel", "contact_force"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert torch.equal(a.base_lin_vel[others], b.base_lin_vel[others])
    assert torch.equal(a.base_lin_vel[pushed, 2], b.base_lin_vel[pushed, 2])
    assert (a.base_lin_vel[pushed, :2] != b.base_lin_vel[pushed, :2]).all()
    assert env.push_countdown[3] == 50
    # the policy sees the push at once
    torch.testing.assert_close(obs["policy"][:, :3], 2.0 * env.state.base_lin_vel)


@pytest.mark.parametrize(("interval", "velocity"), [(0.0, 1.0), (0.1, 0.0)])
def test_no_pushes(interval: float, velocity: float) -> None:
    env = make(pushing(interval, velocity), 4)
    heard: list[str] = []
    env.engine = Listener(env.engine, lambda name, _: heard.append(name))
    for actions in random_actions(env, 10):
        env.step(actions)
    assert "step" in heard and "set_base_velocity" not in heard


def test_actions_become_joint_targets() -> None:
    cfg = calm()
    cfg.control.action_scale, cfg.control.clip_actions = 0.25, 2.0
    env = make(cfg, 4)
    targets: list[Tensor] = []

    def hear(name: str, arguments: tuple) -> None:
        if name == "step":
            targets.append(arguments[0].clone())
            assert arguments[1] == 4

    env.engine = Listener(env.engine, hear)
    actions = random_actions(env, 2, spread=2.0)
    kept = actions.clone()
    for action in actions:
        env.step(action)
    stance = torch.tensor([0.0, 0.4, -0.8] * 2 + [0.0, -0.4, 0.8] * 2)
    for target, action in zip(targets, kept, strict=True):
        torch.testing.assert_close(target, stance + 0.25 * action.clamp(-2.0, 2.0))
    assert torch.equal(actions, kept), "the caller's actions are left alone"
    assert torch.equal(env.action, kept[1].clamp(-2.0, 2.0))
    assert torch.equal(env.previous_action, kept[0].clamp(-2.0, 2.0))


def test_actions_of_another_type_are_welcome_and_of_another_shape_do_no_harm() -> None:
    env, twin = make(calm(), 3), make(calm(), 3)
    actions = random_actions(env, 3)
    env.step(actions[0].double().requires_grad_())
    twin.step(actions[0])
    with pytest.raises(RuntimeError, match="size"):
        env.step(torch.zeros(3, 13))
    assert env.action.shape == (3, 12) and not env.action.requires_grad
    for action in actions[1:]:
        assert torch.equal(env.step(action)[0]["policy"], twin.step(action)[0]["policy"])
