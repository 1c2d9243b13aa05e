"""The compiled gradients of PPO are those of torch."""

from __future__ import annotations

import pytest
import torch

from algorithms.config import PolicyConfig, PPOConfig
from algorithms.mlp import parity
from algorithms.native_update import NativeGradients
from algorithms.networks import ActorCritic
from algorithms.ppo import PPO, log_prob
from envs import LeggedEnv, get_task

S = 500


@pytest.fixture(scope="module")
def mirrors() -> tuple:
    env = LeggedEnv(get_task("anymal_c_flat").recipe("reference").env(), 1, engine="mujoco", num_threads=1)
    return env.obs_mirror, env.action_mirror


def make_policy(
    mirrors: tuple, hidden: tuple[int, ...], symmetry: str, normalise: bool = False
) -> ActorCritic:
    torch.manual_seed(0)
    cfg = PolicyConfig(hidden, hidden, symmetry=symmetry, normalise_obs=normalise, init_std=0.6)  # type: ignore[arg-type]
    policy = ActorCritic(48, 48, 12, cfg, *mirrors)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if policy.obs_normaliser is not None and policy.critic_normaliser is not None:
        policy.obs_normaliser.update(2.0 * torch.randn(64, 48) + 0.5)
        policy.critic_normaliser.update(3.0 * torch.randn(64, 48))
    return policy


@torch.no_grad()
def samples(policy: ActorCritic) -> dict[str, torch.Tensor]:
    """Far enough off the policy that clipping matters, in both directions and for both losses."""
    torch.manual_seed(1)
    obs = torch.randn(S, 48)
    means, values = policy.mean(obs), policy.value(obs)
    actions = means + torch.randn(S, 12) * policy.log_std.exp()
    return {
        "obs": obs,
        "actions": actions,
        "means": means + 0.1 * torch.randn(S, 12),
        "log_probs": log_prob(actions, means, policy.log_std) + 0.4 * torch.randn(S),
        "values": values + 0.3 * torch.randn(S),
        "advantages": torch.randn(S),
        "returns": values + torch.randn(S),
    }


def gradients(policy: ActorCritic) -> list[torch.Tensor]:
    found = [parameter.grad for parameter in policy.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


@pytest.mark.parametrize("symmetry", ["none", "equivariant"])
@pytest.mark.parametrize("hidden", [(128, 64, 32), (20, 12), (34,)])
@pytest.mark.parametrize(("size", "threads"), [(384, 1), (333, 2), (5, 3)])
def test_gradients_equal_autograds(
    mirrors: tuple, symmetry: str, hidden: tuple[int, ...], size: int, threads: int
) -> None:
    policy = make_policy(mirrors, hidden, symmetry, normalise=size == 333)
    cfg = PPOConfig(entropy_coef=0.02, value_coef=0.7, clip_value=size != 333)
    flat = samples(policy)
    order, old_log_std = torch.randperm(S)[:size], policy.log_std.detach() + 0.05
    ppo = PPO(policy, cfg, torch.device("cpu"))
    wanted_terms = ppo._sample_gradients(flat, order, old_log_std)
    wanted = gradients(policy)

    native = NativeGradients(cfg, policy, ppo.entropy_coef)
    native.begin(flat)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, found = native(order, old_log_std), gradients(policy)
        again = native(order, old_log_std)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(first, wanted_terms, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5 * float(theirs.abs().max() + 1e-3))
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(policy), strict=True))


@pytest.mark.parametrize("size", [5, 500, 5000])
def test_gradients_are_the_same_for_any_number_of_threads(mirrors: tuple, size: int) -> None:
    policy = make_policy(mirrors, (20, 12), "equivariant")
    native = NativeGradients(PPOConfig(), policy, torch.tensor(0.01))
    native.begin(samples(policy))
    order, log_std = torch.randint(S, (size,)), policy.log_std.detach()
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append([native(order, log_std), *gradients(policy)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("symmetry", ["none", "equivariant"])
def test_the_critic_may_see_something_else(mirrors: tuple, symmetry: str) -> None:
    torch.manual_seed(0)
    obs_mirror, action_mirror = mirrors
    extra = (torch.tensor([49, 48, 50]), torch.tensor([1.0, 1.0, -1.0]))
    critic_mirror = tuple(torch.cat(pair) for pair in zip(obs_mirror, extra, strict=True))
    cfg = PolicyConfig((20, 12), (16, 8), symmetry=symmetry)  # type: ignore[arg-type]
    policy = ActorCritic(48, 51, 12, cfg, obs_mirror, action_mirror, critic_mirror)  # type: ignore[arg-type]
    critic_obs = torch.randn(S, 51)
    flat = samples(ActorCritic(48, 48, 12, PolicyConfig())) | {"critic_obs": critic_obs}
    ppo = PPO(policy, PPOConfig(), torch.device("cpu"))
    order, log_std = torch.randperm(S)[:300], policy.log_std.detach()
    wanted_terms, wanted = ppo._sample_gradients(flat, order, log_std), gradients(policy)
    native = NativeGradients(PPOConfig(), policy, torch.tensor(0.01))
    native.begin(flat)
    torch.testing.assert_close(native(order, log_std), wanted_terms, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(gradients(policy), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5 * float(theirs.abs().max() + 1e-3))
    if symmetry == "equivariant":
        mirrored = critic_obs[:, critic_mirror[0]] * critic_mirror[1]
        torch.testing.assert_close(policy.value(mirrored), policy.value(critic_obs))


def test_a_number_that_is_not_finite_is_seen(mirrors: tuple) -> None:
    policy = make_policy(mirrors, (20, 12), "none")
    flat = samples(policy)
    order, log_std = torch.arange(100), policy.log_std.detach()
    for name in ("obs", "returns", "advantages", "actions"):
        broken = flat | {name: flat[name].clone()}
        broken[name][7] = float("nan")
        native = NativeGradients(PPOConfig(), policy, torch.tensor(0.01))
        native.begin(broken)
        terms = native(order, log_std)
        norms = torch.stack([g.norm() for g in gradients(policy)])
        assert not torch.isfinite(terms.sum() + norms.sum()), name
        terms = native(order + 100, log_std)  # none of the mini-batch is broken
        assert torch.isfinite(terms).all()
        assert all(torch.isfinite(g).all() for g in gradients(policy))


def test_a_machine_without_a_compiler_still_learns(mirrors: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    from algorithms import native_update

    def fail(*args: object) -> None:
        raise native_update.NoCompiler("none")

    monkeypatch.setattr(native_update, "build", fail)
    assert PPO(make_policy(mirrors, (20, 12), "none"), PPOConfig(), torch.device("cpu"))._native is None


def test_parity_separates_what_a_mirror_keeps_from_what_it_turns(mirrors: tuple) -> None:
    index, sign = mirrors[0]
    to_halves = parity(index, sign)
    x = torch.randn(10, 48)
    even, odd = (x @ to_halves).chunk(2, 1)
    mirrored_even, mirrored_odd = ((x[:, index] * sign) @ to_halves).chunk(2, 1)
    torch.testing.assert_close(mirrored_even, even)
    torch.testing.assert_close(mirrored_odd, -odd)
    assert torch.linalg.matrix_rank(to_halves) == 48
