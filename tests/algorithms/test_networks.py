"""Networks: symmetry, export form, normaliser, bounds."""

from __future__ import annotations

import pytest
import torch

from algorithms.config import LearnerConfig, PolicyConfig
from algorithms.networks import ActorCritic, RunningNormaliser

OBS_MIRROR = (torch.tensor([0, 1, 3, 2]), torch.tensor([1.0, -1.0, 1.0, 1.0]))
ACTION_MIRROR = (torch.tensor([1, 0, 2]), torch.tensor([-1.0, -1.0, 1.0]))


@pytest.mark.parametrize("hidden", [(8,), (16, 8), (32, 16, 8)])
@pytest.mark.parametrize("init", ["default", "orthogonal"])
@pytest.mark.parametrize("normalise", [False, True])
def test_equivariant_networks_commute_with_the_mirror(
    hidden: tuple[int, ...], init: str, normalise: bool
) -> None:
    torch.manual_seed(0)
    cfg = PolicyConfig(
        actor_hidden=hidden,
        critic_hidden=hidden,
        symmetry="equivariant",
        init=init,  # type: ignore[arg-type]
        normalise_obs=normalise,
    )
    policy = ActorCritic(4, 4, 3, cfg, OBS_MIRROR, ACTION_MIRROR)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter)
    if policy.obs_normaliser is not None and policy.critic_normaliser is not None:
        for normaliser in (policy.obs_normaliser, policy.critic_normaliser):
            normaliser.update(torch.tensor([1.0, 2.0, 3.0, 5.0]) + torch.rand(30, 4))
    obs = torch.randn(20, 4)
    mirrored = obs[:, OBS_MIRROR[0]] * OBS_MIRROR[1]
    action, value = policy.mean(obs), policy.value(obs)
    expected = action[:, ACTION_MIRROR[0]] * ACTION_MIRROR[1]
    torch.testing.assert_close(policy.mean(mirrored), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy.value(mirrored), value, rtol=1e-4, atol=1e-4)
    assert action.std() > 1e-3 and value.std() > 1e-3


def test_an_ordinary_network_does_not() -> None:
    torch.manual_seed(0)
    policy = ActorCritic(4, 4, 3, PolicyConfig())
    obs = torch.randn(20, 4)
    mirrored = obs[:, OBS_MIRROR[0]] * OBS_MIRROR[1]
    difference = policy.mean(mirrored) - policy.mean(obs)[:, ACTION_MIRROR[0]] * ACTION_MIRROR[1]
    assert difference.abs().max() > 1e-2


def test_equivariance_halves_the_parameters() -> None:
    plain = ActorCritic(4, 4, 3, PolicyConfig())
    tied = ActorCritic(4, 4, 3, PolicyConfig(symmetry="equivariant"), OBS_MIRROR, ACTION_MIRROR)
    count = [sum(p.numel() for p in policy.actor.parameters()) for policy in (plain, tied)]
    assert count[1] < 0.55 * count[0]


def test_equivariance_needs_mirrors_and_even_widths() -> None:
    with pytest.raises(ValueError, match="mirror"):
        ActorCritic(4, 4, 3, PolicyConfig(symmetry="equivariant"))
    with pytest.raises(ValueError, match="even"):
        cfg = PolicyConfig(actor_hidden=(7,), symmetry="equivariant")
        ActorCritic(4, 4, 3, cfg, OBS_MIRROR, ACTION_MIRROR)


@pytest.mark.parametrize("symmetry", ["none", "equivariant"])
def test_plain_copy_computes_the_same(symmetry: str) -> None:
    torch.manual_seed(0)
    policy = ActorCritic(4, 4, 3, PolicyConfig(symmetry=symmetry), OBS_MIRROR, ACTION_MIRROR)  # type: ignore[arg-type]
    obs = torch.randn(10, 4)
    torch.testing.assert_close(policy.actor.plain()(obs), policy.mean(obs))


def test_normaliser_has_the_statistics_of_all_samples() -> None:
    torch.manual_seed(0)
    normaliser = RunningNormaliser(3)
    parts = [torch.randn(n, 3) * 2.0 + 5.0 for n in (10, 300, 50)]
    for part in parts:
        normaliser.update(part)
    everything = torch.cat(parts)
    torch.testing.assert_close(normaliser.mean, everything.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.var, everything.var(0, unbiased=False), rtol=1e-3, atol=1e-3)
    assert normaliser(everything).std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("ppo.gamma", 1.5, "gamma"),
        ("ppo.num_epochs", 0, "num_epochs"),
        ("ppo.learning_rate", -1.0, "learning_rate"),
        ("policy.init_std", 5.0, "init_std"),
        ("policy.actor_hidden", (64, 0), "actor_hidden"),
        ("save_interval", 0, "save_interval"),
        ("max_bad_updates", 0, "max_bad_updates"),
        ("eval_seconds", 0.0, "eval_seconds"),
        ("ppo.value_coef", -1.0, "value_coef"),
        ("ppo.entropy_coef", -0.1, "entropy_coef"),
        ("ppo.learning_rate_range", (0.0, 1e-2), "learning_rate_range must be greater than 0"),
        ("ppo.learning_rate_range", (1e-2, 1e-5), "outside of agent.ppo.learning_rate_range"),
        ("ppo.learning_rate", 0.1, "outside of agent.ppo.learning_rate_range"),
    ],
)
def test_values_out_of_range_are_named(path: str, value: object, word: str) -> None:
    cfg = LearnerConfig()
    target = cfg
    *parents, name = path.split(".")
    for parent in parents:
        target = getattr(target, parent)
    setattr(target, name, value)
    with pytest.raises(ValueError, match=word):
        cfg.validate()
