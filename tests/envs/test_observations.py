"""What the policy sees: layout, scales, frames, clipping and noise."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from envs.frames import gravity_in_base, rotate_inverse, yaw_of
from tests.envs.common import calm, expected_obs, make, random_actions, reference, to_base


def quaternions(count: int = 50) -> torch.Tensor:
    quat = torch.randn(count, 4, generator=torch.Generator().manual_seed(5))
    return quat / quat.norm(dim=1, keepdim=True)


def test_rotations_agree_with_mujoco() -> None:
    quat, vector = quaternions(), torch.randn(50, 3, generator=torch.Generator().manual_seed(6))
    np.testing.assert_allclose(rotate_inverse(quat, vector), to_base(quat, vector), atol=1e-6)
    down = torch.tensor([0.0, 0.0, -1.0]).expand(50, 3)
    np.testing.assert_allclose(gravity_in_base(quat), to_base(quat, down), atol=1e-6)
    matrix = np.zeros(9)
    for q, yaw in zip(quat.double().numpy(), yaw_of(quat), strict=True):
        mujoco.mju_quat2Mat(matrix, q)
        # heading: where the base's x axis points, seen from above
        assert yaw.item() == pytest.approx(np.arctan2(matrix[3], matrix[0]), abs=1e-5)


def test_layout_is_the_published_one() -> None:
    layout = make(reference(), 1).obs_layout
    assert layout == {
        "base_lin_vel": 3,
        "base_ang_vel": 3,
        "projected_gravity": 3,
        "command": 3,
        "joint_pos": 12,
        "joint_vel": 12,
        "previous_action": 12,
    }
    assert list(layout)[0] == "base_lin_vel" and list(layout)[-1] == "previous_action"


def test_values_are_those_of_the_engine_scaled() -> None:
    env = make(calm(), 8)
    np.testing.assert_allclose(env.get_observations()["policy"], expected_obs(env), atol=1e-5)
    for actions in random_actions(env, 25):
        obs, _, terminated, _, info = env.step(actions)
        np.testing.assert_allclose(obs["policy"], expected_obs(env), atol=1e-5)
        assert obs["critic"] is obs["policy"] and env.get_observations()["policy"] is obs["policy"]
        alive = ~terminated
        # nothing happens to a robot between its last observation and the next
        assert torch.equal(obs["policy"][alive], info["final_obs"]["policy"][alive])
        assert torch.equal(obs["policy"][alive, -12:], actions[alive])


def test_observations_and_actions_are_clipped() -> None:
    cfg = calm()
    cfg.clip_observations, cfg.control.clip_actions = 0.5, 0.3
    env = make(cfg, 2)
    obs, *_ = env.step(torch.tensor([[5.0] * 12, [-5.0] * 12]))
    assert obs["policy"].abs().max() == 0.5
    assert torch.equal(obs["policy"][:, -12:], torch.tensor([[0.3] * 12, [-0.3] * 12]))


def test_noise_stays_within_its_bounds_and_reaches_them() -> None:
    noisy, clean = reference(), reference()
    noisy.noise.level = 0.5
    clean.noise.enabled = False
    noisy_env, clean_env = make(noisy, 64), make(clean, 64)
    bound = (
        np.repeat([0.1 * 2.0, 0.2 * 0.25, 0.05, 0.0, 0.01, 1.5 * 0.05, 0.0], [3, 3, 3, 3, 12, 12, 12]) * 0.5
    )
    differences = []
    for actions in random_actions(noisy_env, 20):
        noisy_obs, clean_obs = (env.step(actions)[0]["policy"] for env in (noisy_env, clean_env))
        differences.append((noisy_obs - clean_obs).numpy())
    size = np.abs(differences).max((0, 1))
    assert (size <= bound + 1e-5).all()
    assert (size >= 0.95 * bound).all()
    assert not np.array_equal(differences[0], differences[1])
    # uniform: zero mean, variance bound^2 / 3
    active = bound > 0
    mean, deviation = np.mean(differences, (0, 1))[active], np.std(differences, (0, 1))[active]
    np.testing.assert_allclose(mean / bound[active], 0.0, atol=0.08)
    np.testing.assert_allclose(deviation / bound[active], 1 / np.sqrt(3), rtol=0.08)


def test_noise_level_zero_is_no_noise() -> None:
    cfg = reference()
    cfg.noise.level = 0.0
    env = make(cfg, 4)
    obs, *_ = env.step(torch.zeros(4, 12))
    np.testing.assert_allclose(obs["policy"], expected_obs(env), atol=1e-5)


def test_a_share_of_the_robots_observes_without_noise() -> None:
    cfg, clean = reference(), reference()
    cfg.noise.clean_share = 0.25
    clean.noise.enabled = False
    env, clean_env = make(cfg, 40), make(clean, 40)
    for actions in random_actions(env, 3):
        exact = (env.step(actions)[0]["policy"] == clean_env.step(actions)[0]["policy"]).all(dim=1)
        # of each four neighbours one: on a map they share a kind of terrain
        assert exact.reshape(10, 4).sum(dim=1).tolist() == [1] * 10


def test_noise_does_not_change_what_happens() -> None:
    clean = reference()
    clean.noise.enabled = False
    noisy_env, clean_env = make(reference(), 8), make(clean, 8)
    for actions in random_actions(noisy_env, 10):
        noisy_step, clean_step = noisy_env.step(actions), clean_env.step(actions)
        assert torch.equal(noisy_step[1], clean_step[1])
    assert torch.equal(noisy_env.engine.joint_pos, clean_env.engine.joint_pos)
