"""Every reward function against its formula, written out robot by robot in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from math import exp, hypot, inf, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from envs import rewards
from envs.config import EnvConfig, RewardTerm
from envs.state import RobotState
from tests.envs.common import calm, make, overturn, random_actions

N, A, F, C = 64, 12, 4, 9


def random_state(seed: int = 0) -> RobotState:
    """Random numbers of the right shapes, with enough zeros and small values to exercise every threshold."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(N, *shape, generator=random)

    def chance(*shape: int, share: float = 0.5) -> torch.Tensor:
        return torch.rand(N, *shape, generator=random) < share

    limits = torch.tensor([[-1.0, 1.2]] * 6 + [[-inf, inf]] * 6)
    gravity = normal(3)
    force = normal(C, 3, scale=300.0) * chance(C, 1) * torch.where(chance(C, 1, share=0.3), 2e-4, 1.0)
    return RobotState(
        step_dt=0.02,
        gravity_leans=False,
        default_joint_pos=torch.randn(A, generator=random),
        joint_pos_limits=limits,
        joint_vel_limits=torch.full((A,), 1.5),
        effort_limits=torch.full((A,), 30.0),
        feet=torch.tensor([2, 0, 5, 7]),
        penalised=torch.tensor([1, 3, 8]),
        fatal=torch.tensor([6]),
        base_pos=normal(3),
        base_quat=normal(4),
        height_scan=normal(5),
        ground_height=normal(),
        base_lin_vel=normal(3),
        base_ang_vel=normal(3),
        projected_gravity=gravity / gravity.norm(dim=1, keepdim=True),
        joint_pos=normal(A),
        encoder_offset=normal(A),
        joint_vel=normal(A),
        joint_acc=normal(A, scale=100.0),
        joint_torque=normal(A, scale=40.0),
        contact_force=force,
        foot_pos=normal(F, 3),
        foot_vel=normal(F, 3),
        foot_contact=chance(F),
        first_contact=chance(F),
        feet_air_time=torch.rand(N, F, generator=random),
        command=normal(3) * torch.where(chance(1, share=0.3), 0.05, 1.0),
        action=normal(A),
        previous_action=normal(A),
        friction=torch.rand(N, generator=random),
        added_base_mass=normal(),
        terminated=chance(),
        episode_length=torch.zeros(N, dtype=torch.int64),
        first_age=torch.zeros(N, dtype=torch.int64),
        previous_joint_vel=normal(A),
        feet_down=chance(F),
    )


def norm(vector: Any) -> float:
    return sqrt(sum(x * x for x in vector))


def outside(s: Any, soft: float) -> float:
    total = 0.0
    for q, (low, high) in zip(s.joint_pos, s.joint_pos_limits, strict=True):
        if low == -inf:
            continue
        middle, half = (low + high) / 2, (high - low) / 2 * soft
        total += max(0.0, middle - half - q) + max(0.0, q - middle - half)
    return total


# name: (formula of one robot's state, parameters), from the published method
FORMULAS: dict[str, tuple[Callable[[Any], float], dict[str, float]]] = {
    "tracking_lin_vel": (
        lambda s: exp(-sum((s.command[i] - s.base_lin_vel[i]) ** 2 for i in (0, 1)) / 0.3),
        {"sigma": 0.3},
    ),
    "tracking_ang_vel": (lambda s: exp(-((s.command[2] - s.base_ang_vel[2]) ** 2) / 0.4), {"sigma": 0.4}),
    "lin_vel_error": (
        lambda s: hypot(s.command[0] - s.base_lin_vel[0], s.command[1] - s.base_lin_vel[1]),
        {},
    ),
    "ang_vel_error": (lambda s: abs(s.command[2] - s.base_ang_vel[2]), {}),
    "lin_vel_z": (lambda s: s.base_lin_vel[2] ** 2, {}),
    "ang_vel_xy": (lambda s: s.base_ang_vel[0] ** 2 + s.base_ang_vel[1] ** 2, {}),
    "orientation": (lambda s: 1.0 - s.projected_gravity[2] ** 2, {}),
    "base_height": (lambda s: (s.base_pos[2] - s.ground_height - 0.4) ** 2, {"target": 0.4}),
    "torques": (lambda s: sum(x * x for x in s.joint_torque), {}),
    "dof_vel": (lambda s: sum(x * x for x in s.joint_vel), {}),
    "dof_acc": (lambda s: sum(x * x for x in s.joint_acc), {}),
    "action_rate": (
        lambda s: sum((a - b) ** 2 for a, b in zip(s.action, s.previous_action, strict=True)),
        {},
    ),
    "collision": (lambda s: sum(norm(s.contact_force[i]) > 0.1 for i in (1, 3, 8)), {}),
    "termination": (lambda s: 1.0 if s.terminated else 0.0, {}),
    "dof_pos_limits": (lambda s: outside(s, 0.8), {"soft_limit": 0.8}),
    "dof_vel_limits": (
        lambda s: sum(min(1.0, max(0.0, abs(v) - 0.9 * 1.5)) for v in s.joint_vel),
        {"soft_limit": 0.9},
    ),
    "torque_limits": (
        lambda s: sum(max(0.0, abs(x) - 0.7 * 30.0) for x in s.joint_torque),
        {"soft_limit": 0.7},
    ),
    "feet_air_time": (
        lambda s: (
            sum(t - 0.4 for t, first in zip(s.feet_air_time, s.first_contact, strict=True) if first)
            if hypot(s.command[0], s.command[1]) > 0.1
            else 0.0
        ),
        {"target": 0.4},
    ),
    "feet_slip": (
        lambda s: sum(
            hypot(v[0], v[1])
            for v, i in zip(s.foot_vel, (2, 0, 5, 7), strict=True)
            if s.contact_force[i][2] > 60.0
        ),
        {"threshold": 60.0},
    ),
    "no_fly": (lambda s: float(sum(s.contact_force[i][2] > 0.1 for i in (2, 0, 5, 7)) == 1), {}),
    "stumble": (
        lambda s: float(
            any(hypot(x, y) > 2.0 * abs(z) for x, y, z in (s.contact_force[i] for i in (2, 0, 5, 7)))
        ),
        {"ratio": 2.0},
    ),
    "stand_still": (
        lambda s: (
            sum(abs(q - d) for q, d in zip(s.joint_pos, s.default_joint_pos, strict=True))
            if hypot(s.command[0], s.command[1]) < 0.1
            else 0.0
        ),
        {},
    ),
    "trot": (
        lambda s: (
            sum(s.feet_down[i] == s.feet_down[k] for i, k in ((0, 3), (1, 2))) / 4
            + sum(s.feet_down[i] != s.feet_down[k] for i, k in ((0, 1), (2, 3))) / 4
            if hypot(s.command[0], s.command[1]) > 0.3 or abs(s.command[2]) > 0.2
            else 0.0
        ),
        {"min_command": 0.3, "min_turn": 0.2},
    ),
    "feet_contact_forces": (
        lambda s: sum(max(0.0, norm(s.contact_force[i]) - 350.0) for i in (2, 0, 5, 7)),
        {"max_force": 350.0},
    ),
}
SHARED = {
    "step_dt",
    "gravity_leans",
    "default_joint_pos",
    "joint_pos_limits",
    "joint_vel_limits",
    "effort_limits",
    "feet",
    "penalised",
    "fatal",
}
"""Fields that are not per robot."""


def one_robot(state: RobotState, robot: int) -> SimpleNamespace:
    """A robot's numbers as plain Python lists."""
    values = {}
    for field in fields(RobotState):
        value = getattr(state, field.name)
        row = value if field.name in SHARED else value[robot]
        values[field.name] = row.tolist() if isinstance(row, torch.Tensor) else row
    return SimpleNamespace(**values)


def test_every_reward_has_a_formula_here() -> None:
    public = {
        name
        for name, item in vars(rewards).items()
        if callable(item) and getattr(item, "__module__", "") == rewards.__name__ and not name.startswith("_")
    }
    assert public == set(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_reward_is_its_formula(name: str) -> None:
    formula, params = FORMULAS[name]
    state = random_state()
    before = random_state()
    result = getattr(rewards, name)(state, **params)
    expected = [formula(one_robot(state, i)) for i in range(N)]
    assert result.shape == (N,) and result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert len(set(expected)) > 1, "a constant proves nothing"
    for field in fields(RobotState):
        if isinstance(value := getattr(state, field.name), torch.Tensor):
            assert torch.equal(value, getattr(before, field.name)), f"{name} changed {field.name}"


@pytest.mark.parametrize(
    ("name", "default"),
    [("tracking_lin_vel", {"sigma": 0.25}), ("feet_air_time", {"target": 0.5}), ("stumble", {"ratio": 5.0})],
)
def test_defaults_are_the_published_ones(name: str, default: dict[str, float]) -> None:
    function, state = getattr(rewards, name), random_state(1)
    assert torch.equal(function(state), function(state, **default))


def test_turning_on_the_spot_may_count_as_walking() -> None:
    state = random_state()
    state.command[:] = torch.tensor([0.0, 0.0, 0.3])
    swings = ((state.feet_air_time - 0.4) * state.first_contact).sum(1)
    away = (state.joint_pos - state.default_joint_pos).abs().sum(1)
    assert not rewards.feet_air_time(state, 0.4).any()
    torch.testing.assert_close(rewards.feet_air_time(state, 0.4, min_turn=0.2), swings)
    torch.testing.assert_close(rewards.stand_still(state), away)
    assert not rewards.stand_still(state, max_turn=0.2).any()
    state.command[:, 2] = 0.1
    torch.testing.assert_close(rewards.stand_still(state, max_turn=0.2), away)
    assert not rewards.feet_air_time(state, 0.4, min_turn=0.2).any() and not rewards.trot(state).any()


# ---------------------------------------------------------------------- in the environment


def only_rewards(**terms: tuple[Callable[[RobotState], torch.Tensor], float]) -> EnvConfig:
    cfg = calm()
    cfg.rewards = {name: RewardTerm(function, weight) for name, (function, weight) in terms.items()}
    return cfg


def one(state: RobotState) -> torch.Tensor:
    return torch.ones(len(state.base_pos))


def x_velocity(state: RobotState) -> torch.Tensor:
    return state.base_lin_vel[:, 0]


def test_total_is_the_sum_of_weighted_terms_times_the_step() -> None:
    cfg = only_rewards(a=(one, 3.0), b=(x_velocity, -2.0), c=(one, 0.0))
    cfg.only_positive_rewards = False
    env = make(cfg, 8)
    for actions in random_actions(env, 5):
        _, reward, *_ = env.step(actions)
        assert env.reward_terms.keys() == {"a", "b"}
        torch.testing.assert_close(reward, (3.0 - 2.0 * env.state.base_lin_vel[:, 0]) * 0.02)


@pytest.mark.parametrize(("weight", "clipped"), [(-1.0, 0.0), (1.0, 0.02)])
def test_negative_totals_are_clipped_before_termination_is_added(weight: float, clipped: float) -> None:
    cfg = only_rewards(a=(one, weight), termination=(rewards.termination, -200.0))
    for only_positive in (True, False):
        cfg.only_positive_rewards = only_positive
        env = make(cfg, 4)
        overturn(env, 2)
        _, reward, terminated, *_ = env.step(torch.zeros(4, 12))
        assert terminated.tolist() == [False, False, True, False]
        total = clipped if only_positive else weight * 0.02
        torch.testing.assert_close(reward, torch.tensor([total, total, total - 4.0, total]))


def test_a_task_without_rewards_pays_nothing() -> None:
    env = make(only_rewards(), 2)
    _, reward, *_ = env.step(torch.zeros(2, 12))
    assert torch.equal(reward, torch.zeros(2))


def test_a_robot_may_have_no_penalised_contacts() -> None:
    cfg = only_rewards(collision=(rewards.collision, 1.0))
    cfg.robot = replace(cfg.robot, penalised_contacts=())
    _, reward, *_ = make(cfg, 2).step(torch.zeros(2, 12))
    assert torch.equal(reward, torch.zeros(2))


def test_air_time_is_paid_once_at_touch_down() -> None:
    cfg = only_rewards(a=(one, 1.0))
    cfg.fatal_contact_force = 1e9
    env = make(cfg, 4)
    in_air, landed, filtered = np.zeros((4, 4)), [], 0
    previously_down = np.zeros((4, 4), dtype=bool)
    for actions in random_actions(env, 60, spread=1.0):  # falls, lands, dances
        env.step(actions)
        state = env.state
        down = (state.contact_force[:, state.feet, 2] > 1.0).numpy()
        contact = down | previously_down
        in_air += 0.02
        first = contact & (in_air > 0.02 * 1.5)
        np.testing.assert_array_equal(state.foot_contact, contact)
        np.testing.assert_array_equal(state.first_contact, first)
        landed += (in_air[first] - 0.02).tolist()
        in_air[contact] = 0.0
        np.testing.assert_allclose(state.feet_air_time, in_air, atol=1e-5)
        filtered += int((previously_down & ~down).sum())
        previously_down = down
    assert len(landed) > 20 and max(landed) > 0.08 and filtered > 20
