"""Mirror maps: their own inverse, exact for what is observed, and true of the physics."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.trainer import make_policy
from envs import LeggedEnv, observations
from envs.config import ObservationTerm
from envs.symmetry import mirror_joints, mirror_observation
from robots import ANYMAL_C
from runs.config import default_config
from tests.envs.common import calm, make, random_actions

JOINTS = tuple(f"{leg}_{joint}" for leg in ("LF", "RF", "LH", "RH") for joint in ("HAA", "HFE", "KFE"))


def mirrored(x: Tensor, mirror: tuple[Tensor, Tensor]) -> Tensor:
    index, sign = mirror
    return x[..., index] * sign


def set_mirrored_pairs(env: LeggedEnv, seed: int) -> None:
    """Robots in random states, each second one the mirror image of the one before, written out by hand."""
    random, n = torch.Generator().manual_seed(seed), env.num_envs

    def normal(*shape: int) -> Tensor:
        return torch.randn(n // 2, *shape, generator=random)

    def pair(value: Tensor, image: Tensor) -> Tensor:
        return torch.stack((value, image), 1).flatten(0, 1)

    def signs(*values: float) -> Tensor:
        return torch.tensor(values)

    pos = 0.1 * normal(3)
    pos[:, 2] += 0.55
    quat = 0.1 * normal(4)
    quat[:, 0] = 1.0
    quat /= quat.norm(dim=1, keepdim=True)
    linear, angular = 0.5 * normal(3), 0.5 * normal(3)
    angles = env.default_joint_pos + 0.1 * normal(12)
    rates = normal(12)
    # across the x-z plane: legs change sides, and abduction changes sign
    sides = torch.tensor([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
    legs = signs(-1.0, 1.0, 1.0).repeat(4)
    env.engine.write_state(
        torch.ones(n, dtype=torch.bool),
        pair(pos, pos * signs(1.0, -1.0, 1.0)),
        pair(quat, quat * signs(1.0, -1.0, 1.0, -1.0)),
        pair(linear, linear * signs(1.0, -1.0, 1.0)),
        pair(angular, angular * signs(-1.0, 1.0, -1.0)),
        pair(angles, angles[:, sides] * legs),
        pair(rates, rates[:, sides] * legs),
    )
    command = normal(3)
    env.set_commands(pair(command, command * signs(1.0, -1.0, -1.0)))


def test_a_mirror_is_its_own_inverse() -> None:
    env = make(calm(), 1)
    for mirror, columns in ((env.action_mirror, 12), (env.obs_mirror, 48)):
        x = torch.randn(5, columns, generator=torch.Generator().manual_seed(1))
        assert torch.equal(mirrored(mirrored(x, mirror), mirror), x)
        assert not torch.equal(mirrored(x, mirror), x)
        assert sorted(mirror[0].tolist()) == list(range(columns))


def test_joint_mirror_swaps_sides_and_turns_abduction_round() -> None:
    index, sign = mirror_joints(ANYMAL_C, JOINTS)
    for joint, twin, s in zip(JOINTS, index.tolist(), sign.tolist(), strict=True):
        swapped = {"L": "R", "R": "L"}[joint[0]] + joint[1:]
        assert JOINTS[twin] == swapped
        assert s == (-1.0 if joint.endswith("HAA") else 1.0)


def test_mirrored_states_are_observed_as_mirrored() -> None:
    env = make(calm(), 16)
    set_mirrored_pairs(env, seed=1)
    env.action.copy_(random_actions(env, 1)[0])
    env.action[1::2] = mirrored(env.action[::2], env.action_mirror)
    env._refresh_base()
    obs = env.set_commands(env.command)["policy"]
    torch.testing.assert_close(obs[1::2], mirrored(obs[::2], env.obs_mirror), rtol=0, atol=1e-5)
    assert (obs[1::2] - obs[::2]).abs().max() > 0.5


def test_mirrored_robots_obey_mirrored_physics() -> None:
    # nearly: the published masses lean to one side by a fraction of a per cent
    env = make(calm(), 32)
    set_mirrored_pairs(env, seed=2)
    for actions in random_actions(env, 5, seed=3, spread=0.3):
        actions[1::2] = mirrored(actions[::2], env.action_mirror)
        obs, reward, terminated, *_ = env.step(actions)
        assert not terminated.any()
        left, right = obs["policy"][::2], obs["policy"][1::2]
        error, difference = (right - mirrored(left, env.obs_mirror)).abs(), (right - left).abs()
        assert error.mean() < 0.005 * difference.mean() and error.max() < 0.2
        torch.testing.assert_close(reward[1::2], reward[::2], rtol=0, atol=1e-3)
    assert env.engine.contact_force[:, :4, 2].any(0).all(), "feet must touch the ground"


def test_what_the_critic_sees_has_a_mirror_too() -> None:
    cfg = calm()
    cfg.observations = {
        "base_lin_vel": cfg.observations["base_lin_vel"],
        "foot_contact": ObservationTerm(observations.foot_contact, (1.0,), 0.0, "feet", "critic"),
        "friction": ObservationTerm(observations.friction, (1.0,), 0.0, "scalar", "critic"),
    }
    env = make(cfg, 32)
    set_mirrored_pairs(env, seed=2)
    assert env.critic_mirror[0].tolist() == [0, 1, 2, 4, 3, 6, 5, 7] and env.obs_mirror[0].tolist() == [
        0,
        1,
        2,
    ]
    for actions in random_actions(env, 5, seed=3, spread=0.3):
        actions[1::2] = mirrored(actions[::2], env.action_mirror)
        critic = env.step(actions)[0]["critic"]
    left, right = critic[::2], critic[1::2]
    assert (left[:, 3:7] != left[:, [4, 3, 6, 5]]).any(), "robots must stand on some feet only"
    assert (right - mirrored(left, env.critic_mirror)).abs().mean() < 0.01


def test_a_joint_without_a_twin_is_named() -> None:
    with pytest.raises(ValueError, match="'LF_HAA' has no mirror image 'RF_HAA'"):
        mirror_joints(ANYMAL_C, tuple(joint for joint in JOINTS if joint != "RF_HAA"))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'vektor'; choose from vector, axial, command, scalar, joints, feet"
    ):
        mirror_observation(["vektor"], ANYMAL_C, JOINTS)


def test_a_robot_without_mirror_names_mirrors_onto_itself() -> None:
    robot = dataclasses.replace(ANYMAL_C, mirror_names={}, mirror_sign={".*": 1.0})
    index, sign = mirror_joints(robot, JOINTS)
    assert index.tolist() == list(range(12)) and (sign == 1.0).all()


def test_only_symmetry_needs_the_mirror_and_it_names_the_field() -> None:
    cfg = default_config("anymal_c_flat")
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"mirror_names": {}, "mirror_sign": {}}, "mirror_sign: no pattern of .* matches 'LF_HAA'"),
        ({"mirror_sign": {".*_HAA": -1.0}}, "mirror_sign: no pattern of .*_HAA matches 'LF_HFE'"),
        (
            {"mirror_names": {"LF": "XF", "LH": "RH"}},
            "mirror_names: joint 'LF_HAA' has no mirror image 'XF_HAA'",
        ),
    )
    for change, field in changes:
        env_cfg = dataclasses.replace(cfg.env, robot=dataclasses.replace(ANYMAL_C, **change))
        env = LeggedEnv(env_cfg, 2, "mujoco", num_threads=1)
        env.step(torch.zeros(2, 12))
        plain, tied = copy.deepcopy(cfg.agent), copy.deepcopy(cfg.agent)
        plain.policy.symmetry, tied.policy.symmetry = "none", "equivariant"
        assert make_policy(env, plain).mirrors == (None, None, None)
        with pytest.raises(ValueError, match=f"robot anymal_c: {field}; .*--agent.policy.symmetry none"):
            make_policy(env, tied)
