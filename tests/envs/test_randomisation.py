"""Differences between robots, pushes, and from actions to joint targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from envs.config import EnvConfig
from tests.envs.common import Listener, calm, make, random_actions, to_base, varied


def model_of(env: LeggedEnv, robot: int):
    return env.engine._batch.get_model(robot)  # type: ignore[attr-defined]


def test_friction_and_mass_differ_from_robot_to_robot_and_reach_the_physics() -> None:
    cfg = calm()
    cfg.randomisation.friction, cfg.randomisation.added_base_mass = (0.4, 0.9), (-3.0, 6.0)
    env = make(cfg, 64, engine="mujoco")
    for values, (low, high) in (
        (env.randomised["friction"], (0.4, 0.9)),
        (env.randomised["added_base_mass"], (-3.0, 6.0)),
    ):
        assert (values >= low).all() and (values <= high).all() and values.unique().numel() == 64
        assert values.min() < low + 0.2 * (high - low) and values.max() > high - 0.2 * (high - low)
    assert abs(np.corrcoef(env.randomised["friction"], env.randomised["added_base_mass"])[0, 1]) < 0.5
    torch.testing.assert_close(
        env.engine.total_mass, 52.1348 + env.randomised["added_base_mass"], rtol=0, atol=1e-3
    )
    for robot in (0, 17, 63):
        model = model_of(env, robot)
        assert model.body_mass.sum() == pytest.approx(
            52.1348 + env.randomised["added_base_mass"][robot].item(), abs=1e-3
        )
        robots = model.geom_bodyid > 0
        np.testing.assert_allclose(
            model.geom_friction[robots, 0], env.randomised["friction"][robot], rtol=1e-6
        )


def differences(env: LeggedEnv) -> dict[str, Tensor]:
    """What was drawn for the robots, and what the engine has of it, copied."""
    engine = {name: env.engine.state_dict()[name] for name in ("joint_inputs", "weight", "total_mass")}
    return {name: values.clone() for name, values in env.randomised.items()} | engine


def test_robots_keep_their_differences_through_episodes() -> None:
    cfg = varied()
    cfg.randomisation.redraw = "start"
    cfg.episode_length = 0.04
    env = make(cfg, 4)
    before = differences(env)
    for actions in random_actions(env, 5):
        env.step(actions)
    env.reset()
    after = differences(env)
    for name, values in before.items():
        assert torch.equal(after[name], values), name


@pytest.mark.parametrize("engine", ["batched", "mujoco"])
def test_redrawn_at_resets_for_the_robots_that_start_anew_only(engine: str) -> None:
    env = make(varied(), 6, engine=engine)
    env.episode_length.fill_(3)
    env.episode_length[2] = env.max_episode_length
    before = {name: values.clone() for name, values in env.randomised.items()}
    mass, gravity = env.engine.base_mass.clone(), env.engine.gravity.clone()
    _, _, terminated, truncated, _ = env.step(random_actions(env, 1)[0])
    anew = terminated | truncated
    assert anew[2] and not anew.all()
    for name, values in env.randomised.items():
        assert torch.equal((values != before[name]).reshape(6, -1).all(1), anew), name
        assert torch.equal((values != before[name]).reshape(6, -1).any(1), anew), name
    assert torch.equal(env.engine.base_mass != mass, anew)
    assert torch.equal((env.engine.gravity != gravity).any(1), anew)


@pytest.mark.parametrize("redraw", ["start", "reset"])
def test_a_seed_makes_the_same_robots_in_a_new_environment_and_an_old_one(redraw: str) -> None:
    def cfg() -> EnvConfig:
        result = varied()
        result.randomisation.redraw = redraw  # type: ignore[assignment]
        return result

    old, new, other = make(cfg(), 5, seed=1), make(cfg(), 5, seed=2), make(cfg(), 5, seed=3)
    for actions in random_actions(old, 3):
        old.step(actions)
    old.reset(seed=2)
    for name in old.randomised:
        assert torch.equal(old.randomised[name], new.randomised[name]), name
        assert (old.randomised[name] != other.randomised[name]).all(), name
    for actions in random_actions(old, 15):
        results = [env.step(actions) for env in (old, new)]
        assert torch.equal(results[0][0]["policy"], results[1][0]["policy"])


def test_the_log_shows_the_mean_of_what_differs() -> None:
    cfg = calm()
    cfg.randomisation.stiffness_factor, cfg.randomisation.damping_factor = (0.5, 1.0), (0.9, 0.9)
    env = make(cfg, 16)
    log = env.step(torch.zeros(16, 12))[-1]["log"]
    shown = {name: value for name, value in log.items() if name.startswith("Randomisation/")}
    assert list(shown) == ["Randomisation/stiffness_factor"]
    mean = env.randomised["stiffness_factor"].mean()
    torch.testing.assert_close(shown["Randomisation/stiffness_factor"], mean)


# The engine's own parameter, read from a MuJoCo model: name -> (where it stands, what is expected there)
JOINT_ENTRIES: dict[str, Callable] = {
    "stiffness_factor": lambda own, model, x: (model.actuator_gainprm[:, 0], 80.0 * x),
    "damping_factor": lambda own, model, x: (-model.actuator_biasprm[:, 2], 2.0 * x),
    "armature_factor": lambda own, model, x: (model.dof_armature[6:], own.dof_armature[6:] * x),
    "added_joint_damping": lambda own, model, x: (model.dof_damping[6:], own.dof_damping[6:] + x),
    "added_friction_loss": lambda own, model, x: (model.dof_frictionloss[6:], own.dof_frictionloss[6:] + x),
}


@pytest.mark.parametrize("name", JOINT_ENTRIES)
def test_each_joint_has_a_number_of_its_own_that_reaches_the_physics(name: str) -> None:
    cfg = calm()
    setattr(cfg.randomisation, name, (0.5, 1.5))
    env, plain = make(cfg, 8, engine="mujoco"), make(calm(), 8, engine="mujoco")
    values = env.randomised[name]
    assert values.shape == (8, 12) and values.unique().numel() > 90
    assert values.min() >= 0.5 and values.max() <= 1.5 and values.max() - values.min() > 0.8
    for robot in (0, 5):
        x = values[robot].double().numpy()
        found, expected = JOINT_ENTRIES[name](model_of(plain, robot), model_of(env, robot), x)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    for actions in random_actions(env, 3):
        env.step(actions)
        plain.step(actions)
    assert (env.engine.joint_pos - plain.engine.joint_pos).abs().amax(1).min() > 1e-5


def test_the_centre_of_mass_moves_by_its_own_width_along_each_axis() -> None:
    cfg = calm()
    cfg.randomisation.base_com_shift = (0.1, 0.02, 0.0)
    env = make(cfg, 64, engine="mujoco")
    shift = env.randomised["base_com_shift"]
    assert not shift[:, 2].any()
    for axis, width in ((0, 0.1), (1, 0.02)):
        assert 0.85 * width < shift[:, axis].max() <= width and -width <= shift[:, axis].min() < -0.85 * width
    own = env.engine.nominal["base_com"]
    np.testing.assert_allclose(model_of(env, 9).body_ipos[1], own + shift[9], rtol=1e-6)


@pytest.mark.parametrize("engine", ["batched", "mujoco"])
def test_tilted_gravity_is_as_strong_and_pulls_a_falling_robot_sideways(engine: str) -> None:
    cfg = calm()
    cfg.randomisation.gravity_tilt = 0.2
    cfg.init.base_velocity, cfg.init.joint_scale = 0.0, (1.0, 1.0)
    cfg.robot = dataclasses.replace(cfg.robot, init_height=0.75)
    env = make(cfg, 16, engine=engine)
    angles = env.randomised["gravity_tilt"]
    assert angles.abs().max() <= 0.2 and angles.max() > 0.15 and angles.min() < -0.15
    for _ in range(5):
        obs, *_ = env.step(torch.zeros(16, 12))
    expected = 9.81 * 0.1 * torch.stack((angles[:, 0].sin() * angles[:, 1].cos(), angles[:, 1].sin()), dim=1)
    torch.testing.assert_close(env.engine.base_lin_vel[:, :2], expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(env.engine.gravity.norm(dim=1), torch.full((16,), 9.81))
    np.testing.assert_allclose(
        obs["policy"][:, 6:9], to_base(env.engine.base_quat, env.engine.gravity / 9.81), atol=1e-5
    )


def test_an_encoder_offset_shifts_what_is_read_and_where_joints_settle() -> None:
    cfg = calm()
    cfg.randomisation.encoder_offset = 0.1
    env, plain = make(cfg, 4), make(calm(), 4)
    offset = env.randomised["encoder_offset"]
    assert offset.shape == (4, 12) and 0.08 < offset.abs().max() <= 0.1
    for each in (env, plain):  # weightless and off the ground the drives reach their targets
        each.engine.gravity.zero_()
        each.engine.write_state(
            each._all, torch.tensor([[0.0, 0.0, 2.0]] * 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 4),
            torch.zeros(4, 3), torch.zeros(4, 3), each.default_joint_pos.expand(4, -1), torch.zeros(4, 12),
        )  # fmt: skip
    actions = 0.3 * torch.ones(4, 12)
    for _ in range(100):
        obs, *_ = env.step(actions)
        plain.step(actions)
    target = env.default_joint_pos + 0.5 * 0.3
    torch.testing.assert_close(plain.engine.joint_pos, target.expand(4, -1), rtol=0, atol=2e-3)
    torch.testing.assert_close(env.engine.joint_pos, target - offset, rtol=0, atol=2e-3)
    torch.testing.assert_close(obs["policy"][:, 12:24], torch.full((4, 12), 0.15), rtol=0, atol=2e-3)
    assert env.state.joint_pos is env.engine.joint_pos, "rewards go by the true angles"


def test_without_ranges_robots_are_all_alike() -> None:
    env = make(calm(), 4, engine="mujoco")
    assert (env.randomised["friction"] == 1.0).all() and not env.randomised["added_base_mass"].any()
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
        if name == "write_state":
            _, _, _, linear, angular, _, _, pushed = arguments
            pushes.append(tuple(argument.clone() for argument in (pushed, linear, angular)))

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
    env.pushes.countdown.fill_(100)
    env.pushes.countdown[3] = 1
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
    assert env.pushes.countdown[3] == 50
    # the policy sees the push at once
    torch.testing.assert_close(obs["policy"][:, :3], 2.0 * env.state.base_lin_vel)


def test_a_push_may_turn_the_base_too() -> None:
    cfg = pushing(1.0, velocity=0.0)
    cfg.randomisation.push_ang_vel = 0.7
    env, twin = make(cfg, 32), make(calm(), 32)
    env.pushes.countdown[:] = torch.where(torch.arange(32) < 16, 1, 100)
    actions = random_actions(env, 1)[0]
    env.step(actions)
    twin.step(actions)
    rates, others = env.engine.base_ang_vel[:16], env.engine.base_ang_vel[16:]
    assert 0.6 < rates.abs().max() <= 0.7 and rates.min() < -0.6
    assert (rates != twin.engine.base_ang_vel[:16]).all()
    assert torch.equal(others, twin.engine.base_ang_vel[16:])
    assert torch.equal(env.engine.base_lin_vel, twin.engine.base_lin_vel)


def forcing() -> EnvConfig:
    """A push of 60 N for 0.1 s, 5 steps, every 0.4 s, 20 steps."""
    cfg = calm()
    random = cfg.randomisation
    random.push_force, random.push_force_duration, random.push_force_interval = 60.0, 0.1, 0.4
    return cfg


@pytest.mark.parametrize("engine", ["batched", "mujoco"])
def test_a_push_by_force_gives_the_momentum_of_its_force_and_duration(engine: str) -> None:
    env, twin = make(forcing(), 16, engine=engine), make(calm(), 16, engine=engine)
    env.pushes.force_countdown.fill_(1)
    for each in (env, twin):  # far from the ground
        each.engine.write_state(
            each._all, torch.tensor([[0.0, 0.0, 9.0]] * 16), torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 16),
            torch.zeros(16, 3), torch.zeros(16, 3), each.default_joint_pos.expand(16, -1), torch.zeros(16, 12),
        )  # fmt: skip
    for step in range(9):
        env.step(torch.zeros(16, 12))
        twin.step(torch.zeros(16, 12))
        # drawn at the end of the first step, in force through the next five
        assert env.engine.base_wrench.any(1).all() == (step < 5)
    gained = momentum(env) - momentum(twin)
    torch.testing.assert_close(gained[:, :2].norm(dim=1), torch.full((16,), 60.0 * 0.1), rtol=1e-3, atol=0)
    torch.testing.assert_close(gained[:, :2], 0.1 * env.pushes.force, rtol=1e-3, atol=1e-2)
    assert gained[:, 2].abs().max() < 1e-2
    assert gained[:, 0].min() < -3.0 and gained[:, 0].max() > 3.0 and gained[:, 1].min() < -3.0


def momentum(env: LeggedEnv) -> Tensor:
    """Momentum of each robot, kg m/s, world frame, [N, 3], by MuJoCo."""
    model, rows = env.engine.model, []  # type: ignore[attr-defined]
    data, engine = mujoco.MjData(model), env.engine
    for i in range(env.num_envs):
        data.qpos[:] = torch.cat((engine.base_pos[i], engine.base_quat[i], engine.joint_pos[i]))
        data.qvel[:] = torch.cat((engine.base_lin_vel[i], engine.base_ang_vel[i], engine.joint_vel[i]))
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        rows.append(data.subtree_linvel[0] * model.body_subtreemass[0])
    return torch.tensor(np.array(rows), dtype=torch.float32)


def test_pushes_by_force_come_at_their_interval_not_together_and_end_with_the_episode() -> None:
    env = make(forcing(), 64)
    pushed = []
    for actions in random_actions(env, 60):
        env.step(actions)
        pushed.append(env.engine.base_wrench.any(1))
    active = torch.stack(pushed)
    starts = active[1:] & ~active[:-1]
    assert (active[20:].sum(0) == 10).all(), "5 of every 20 steps"
    assert (starts.sum(1) > 0).sum() > 30, "spread over the interval"
    assert not env.engine.base_wrench[:, 2:].any()
    robot = int(env.pushes.force_countdown.argmax())
    assert env.engine.base_wrench[robot].any()
    env.episode_length[robot] = env.max_episode_length
    env.pushes.force_countdown[robot] = 19
    env.step(actions)
    assert not env.engine.base_wrench[robot].any()
    env.reset()
    assert not env.engine.base_wrench.any()


@pytest.mark.parametrize(("interval", "velocity"), [(0.0, 1.0), (0.1, 0.0)])
def test_no_pushes(interval: float, velocity: float) -> None:
    env = make(pushing(interval, velocity), 4)
    heard: list[tuple[str, Any]] = []
    env.engine = Listener(env.engine, lambda name, arguments: heard.append((name, arguments[-1])))
    for actions in random_actions(env, 10):
        env.step(actions)
    assert [pushed for name, pushed in heard if name == "write_state"] == [None] * 10
    assert "set_base_velocity" not in dict(heard)


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
    assert torch.equal(env.state.previous_action, kept[0].clamp(-2.0, 2.0))


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
