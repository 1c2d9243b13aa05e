"""Exported policies act like the trained one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms import export
from algorithms.config import PolicyConfig
from algorithms.export import TOLERANCE, PlainPolicy, export_policy, run_onnx, sample_observations
from algorithms.networks import Actor, ActorCritic

OBS, ACTIONS = 6, 4
CLIP_OBS, CLIP_ACTIONS = 5.0, 0.3
OBS_MIRROR = (torch.tensor([1, 0, 2, 3, 5, 4]), torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0, -1.0]))
ACTION_MIRROR = (torch.tensor([2, 3, 0, 1]), torch.tensor([-1.0, 1.0, -1.0, 1.0]))


@pytest.fixture(
    params=["plain", "normaliser", "equivariant", "equivariant and normaliser", "lstm", "equivariant gru"]
)
def policy(request: pytest.FixtureRequest) -> ActorCritic:
    """A small random policy of each kind; actions reach their limits."""
    torch.manual_seed(3)
    cfg = PolicyConfig(
        actor_hidden=(8, 4),
        critic_hidden=(4,),
        normalise_obs="normaliser" in request.param,
        symmetry="equivariant" if "equivariant" in request.param else "none",
        recurrent=next((kind for kind in ("lstm", "gru") if kind in request.param), "none"),
        recurrent_hidden=6,
    )
    policy = ActorCritic(OBS, OBS, ACTIONS, cfg, OBS_MIRROR, ACTION_MIRROR)
    if policy.obs_normaliser is not None:
        policy.obs_normaliser.update(3.0 * torch.randn(100, OBS) + 1.0)
    with torch.no_grad():
        for parameter in policy.actor.parameters():
            parameter.mul_(2.0)
    return policy


def expected(policy: ActorCritic, obs: torch.Tensor) -> torch.Tensor:
    """Actions at the start of an episode."""
    return Actor(policy)(obs.clamp(-CLIP_OBS, CLIP_OBS)).clamp(-CLIP_ACTIONS, CLIP_ACTIONS)


@pytest.mark.filterwarnings("ignore:.torch.jit.load:DeprecationWarning")
def test_both_formats_act_like_the_policy(policy: ActorCritic, tmp_path: Path) -> None:
    check = export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    obs = 4.0 * torch.randn(1000, OBS)  # partly beyond the limits of observations and actions
    action = expected(policy, obs)
    assert (action.abs() == CLIP_ACTIONS).any() and (action.abs() < CLIP_ACTIONS).any()
    script = torch.jit.load(str(tmp_path / "policy.pt"))
    assert (script(obs) - action).abs().max() <= 1e-5
    assert np.abs(run_onnx(tmp_path / "policy.onnx", obs.numpy()) - action.numpy()).max() <= 1e-5
    assert check.max_difference <= TOLERANCE


def test_batch_is_dynamic(policy: ActorCritic, tmp_path: Path) -> None:
    export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    obs = torch.randn(5, OBS)
    for count in (1, 5):
        actions = run_onnx(tmp_path / "policy.onnx", obs[:count].numpy())
        np.testing.assert_allclose(actions, expected(policy, obs[:count]), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.load:DeprecationWarning")
def test_both_formats_remember_like_the_policy(policy: ActorCritic, tmp_path: Path) -> None:
    export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    obs, actor = 2.0 * torch.randn(12, 3, OBS), Actor(policy)
    obs[6:] = obs[:6]  # two times the same, but for what came before
    actions = torch.stack([actor(x.clamp(-CLIP_OBS, CLIP_OBS)) for x in obs]).clamp(
        -CLIP_ACTIONS, CLIP_ACTIONS
    )
    assert torch.allclose(actions[6:], actions[:6], atol=1e-3) != policy.recurrent
    np.testing.assert_allclose(run_onnx(tmp_path / "policy.onnx", obs.numpy()), actions, atol=1e-5)
    script = torch.jit.load(str(tmp_path / "policy.pt"))
    np.testing.assert_allclose(torch.stack([script(x) for x in obs]), actions, atol=1e-5)
    if policy.recurrent:
        script.reset()
    np.testing.assert_allclose(torch.stack([script(x) for x in obs]), actions, atol=1e-5)


def test_check_returns_one_pair(policy: ActorCritic, tmp_path: Path) -> None:
    check = export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    assert check.observation.shape == (OBS,)
    assert torch.allclose(check.action, expected(policy, check.observation[None])[0], atol=1e-6)


def test_policy_is_left_as_it_was(policy: ActorCritic, tmp_path: Path) -> None:
    policy.train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    assert policy.training
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


def test_samples_have_the_size_of_the_normaliser(policy: ActorCritic) -> None:
    sample = sample_observations(policy, 4000)
    if policy.obs_normaliser is None:
        assert abs(sample.std().item() - 0.5) < 0.05
    else:
        assert torch.allclose(sample.mean(0), policy.obs_normaliser.mean, atol=0.2)
        assert torch.allclose(sample.std(0), policy.obs_normaliser.var.sqrt(), rtol=0.1)


def test_export_is_quiet(policy: ActorCritic, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_wrong_graph_is_refused(
    error: float, policy: ActorCritic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = PlainPolicy._act
    monkeypatch.setattr(export.PlainPolicy, "_act", lambda self, x: right(self, x) + error)
    with pytest.raises(ValueError, match=r"policy\.pt differs from the trained policy by (0\.001|nan)"):
        export_policy(policy, tmp_path, CLIP_OBS, CLIP_ACTIONS)
