"""PPO's arithmetic against plain, slow formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from algorithms.config import PolicyConfig, PPOConfig
from algorithms.networks import ActorCritic
from algorithms.ppo import PPO, log_prob, loss_figures, loss_gradients
from algorithms.rollout import RolloutBuffer

A, B, NUM_OBS = 3, 64, 5


def random_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    mean, old_mean = torch.randn(B, A), torch.randn(B, A)
    old_log_std = torch.randn(A) * 0.3
    actions = old_mean + torch.randn(B, A) * old_log_std.exp()
    return {
        "mean": mean,
        "log_std": torch.randn(A) * 0.3,
        "value": torch.randn(B),
        "actions": actions,
        "old_mean": old_mean,
        "old_log_std": old_log_std,
        "old_log_prob": log_prob(actions, old_mean, old_log_std),
        "old_value": torch.randn(B) * 0.3,
        "advantage": torch.randn(B),
        "returns": torch.randn(B),
    }


@pytest.mark.parametrize("clip_value", [True, False])
def test_hand_written_gradients_equal_autograd(clip_value: bool) -> None:
    cfg = PPOConfig(clip_value=clip_value, entropy_coef=0.02, value_coef=0.7)
    batch = random_batch()
    mean, log_std, value = (batch[k].clone().requires_grad_() for k in ("mean", "log_std", "value"))
    distribution = Normal(mean, log_std.exp().expand_as(mean))
    ratio = (distribution.log_prob(batch["actions"]).sum(1) - batch["old_log_prob"]).exp()
    advantage = batch["advantage"]
    surrogate = -torch.min(advantage * ratio, advantage * ratio.clamp(1 - cfg.clip, 1 + cfg.clip)).mean()
    squared = (value - batch["returns"]).square()
    if clip_value:
        near = batch["old_value"] + (value - batch["old_value"]).clamp(-cfg.clip, cfg.clip)
        squared = torch.max(squared, (near - batch["returns"]).square())
    entropy = distribution.entropy().sum(1).mean()
    (surrogate + cfg.value_coef * squared.mean() - cfg.entropy_coef * entropy).backward()

    old_log_std = batch.pop("old_log_std")
    result = loss_gradients(cfg, **batch)
    by_log_std, figures = loss_figures(result, cfg.entropy_coef, batch["log_std"], old_log_std)
    torch.testing.assert_close(result.mean, mean.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by_log_std, log_std.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.value, value.grad, rtol=1e-4, atol=1e-6)
    old = Normal(batch["old_mean"], old_log_std.exp().expand(B, A))
    kl = kl_divergence(old, distribution).sum(1).mean()
    torch.testing.assert_close(figures, torch.stack((surrogate, squared.mean(), kl)).detach())


def test_advantages_follow_the_definition_and_stop_at_ends() -> None:
    torch.manual_seed(1)
    steps, robots, gamma, lam = 6, 3, 0.9, 0.8
    rollout = RolloutBuffer(steps, robots, NUM_OBS, None, A, "cpu")
    rollout.rewards.normal_()
    rollout.values.normal_()
    rollout.dones[2, 1] = 1.0
    last = torch.randn(robots)
    rollout.compute_advantages(last, gamma, lam)
    values = torch.cat((rollout.values, last[None]))
    for robot in range(robots):
        for start in range(steps):
            total, factor = torch.zeros(()), torch.ones(())
            for t in range(start, steps):
                alive = 1.0 - rollout.dones[t, robot]
                delta = rollout.rewards[t, robot] + gamma * alive * values[t + 1, robot] - values[t, robot]
                total = total + factor * delta
                factor = factor * gamma * lam * alive
            expected = total + values[start, robot]
            torch.testing.assert_close(rollout.returns[start, robot], expected)
    assert rollout.advantages.mean().abs() < 1e-6
    assert abs(rollout.advantages.std() - 1.0) < 1e-4


def test_time_outs_are_bootstrapped_with_the_value_they_ended_in() -> None:
    rollout = RolloutBuffer(2, 4, NUM_OBS, None, A, "cpu")
    final = torch.arange(4 * NUM_OBS, dtype=torch.float32).view(4, NUM_OBS)
    truncated = torch.tensor([False, True, False, True])
    fallen = torch.tensor([True, False, False, False])
    rollout.add_outcome(rollout.row(0), torch.ones(4), fallen, truncated, final)
    surplus = rollout.bootstrap(rollout.final_obs.sum(-1), 0.5)
    expected = torch.ones(4) + 0.5 * truncated * final.sum(1)
    torch.testing.assert_close(rollout.rewards[0], expected)
    assert rollout.dones[0].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert surplus == 0


def test_surplus_time_outs_use_the_value_before_and_are_counted() -> None:
    robots = 100
    rollout = RolloutBuffer(1, robots, NUM_OBS, None, A, "cpu")
    assert rollout.slots == 64
    everyone = torch.ones(robots, dtype=torch.bool)
    rollout.add_outcome(
        rollout.row(0), torch.zeros(robots), ~everyone, everyone, torch.zeros(robots, NUM_OBS)
    )
    rollout.values.fill_(3.0)
    surplus = rollout.bootstrap(torch.full((1, 64), 7.0), 1.0)
    assert surplus == robots - 64
    assert sorted(set(rollout.rewards[0].tolist())) == [3.0, 7.0]
    assert (rollout.rewards[0] == 7.0).sum() == 64


def make_ppo(**changes: Any) -> tuple[PPO, RolloutBuffer]:
    torch.manual_seed(0)
    policy = ActorCritic(NUM_OBS, NUM_OBS, A, PolicyConfig(actor_hidden=(8,), critic_hidden=(8,)))
    ppo = PPO(policy, PPOConfig(**changes), torch.device("cpu"))
    rollout = RolloutBuffer(8, 16, NUM_OBS, None, A, "cpu")
    rollout.obs.normal_()
    with torch.no_grad():
        rollout.means.copy_(policy.mean(rollout.obs))
        rollout.actions.copy_(rollout.means + torch.randn_like(rollout.means))
        rollout.log_probs.copy_(log_prob(rollout.actions, rollout.means, policy.log_std))
        rollout.values.copy_(policy.value(rollout.obs))
    rollout.advantages.normal_()
    rollout.returns.copy_(rollout.values + torch.randn_like(rollout.values))
    return ppo, rollout


@pytest.mark.parametrize("where", ["advantages", "obs", "returns"])
def test_a_non_finite_mini_batch_never_reaches_the_weights(where: str) -> None:
    ppo, rollout = make_ppo(num_epochs=1, num_mini_batches=4)
    getattr(rollout, where)[3, 5] = float("nan")
    result = ppo.update(rollout, torch.Generator().manual_seed(0))
    assert result["skipped"] == 1
    assert all(torch.isfinite(parameter).all() for parameter in ppo.policy.parameters())
    assert all(torch.isfinite(value).all() for value in result.values())


def test_learning_rate_follows_the_kl_divergence() -> None:
    calm, rollout = make_ppo(learning_rate=1e-5, num_epochs=2)
    calm.update(rollout, torch.Generator().manual_seed(0))
    assert calm.learning_rate > 1e-5
    wild, rollout = make_ppo(learning_rate=1e-2, num_epochs=4)
    wild.update(rollout, torch.Generator().manual_seed(0))
    assert wild.learning_rate < 1e-2
    fixed, rollout = make_ppo(learning_rate=1e-3, schedule="fixed")
    fixed.update(rollout, torch.Generator().manual_seed(0))
    assert fixed.learning_rate == pytest.approx(1e-3)


def test_the_gradient_is_clipped_as_torch_clips_it() -> None:
    ppo, rollout = make_ppo(num_epochs=1, num_mini_batches=1, max_grad_norm=1e-3, schedule="fixed")
    plain, _ = make_ppo()
    flat = {k: getattr(rollout, k).flatten(0, 1) for k in ("obs", "actions", "means", "log_probs")}
    mean, value = plain.policy.mean(flat["obs"]), plain.policy.value(flat["obs"])
    loss = loss_gradients(
        ppo.cfg,
        mean.detach(),
        plain.policy.log_std.detach(),
        value.detach(),
        flat["actions"],
        flat["means"],
        flat["log_probs"],
        rollout.values.flatten(),
        rollout.advantages.flatten(),
        rollout.returns.flatten(),
    )
    log_std = plain.policy.log_std.detach()
    plain.policy.log_std.grad, _ = loss_figures(loss, ppo.cfg.entropy_coef, log_std, log_std)
    torch.autograd.backward((mean, value), (loss.mean, loss.value))
    torch.nn.utils.clip_grad_norm_(plain.parameters, 1e-3)
    torch.optim.Adam(plain.parameters, lr=1e-3).step()
    ppo.update(rollout, torch.Generator())
    for ours, theirs in zip(ppo.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_augmentation_learns_the_same_from_samples_and_their_mirror_image() -> None:
    obs_mirror = (torch.tensor([1, 0, 2, 3, 4]), torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0]))
    action_mirror = (torch.tensor([1, 0, 2]), torch.tensor([-1.0, -1.0, 1.0]))

    def learn(symmetry: str, mirrored: bool) -> torch.Tensor:
        torch.manual_seed(0)
        cfg = PolicyConfig((8,), (8,), symmetry=symmetry)  # type: ignore[arg-type]
        policy = ActorCritic(NUM_OBS, NUM_OBS, A, cfg, obs_mirror, action_mirror)
        ppo = PPO(policy, PPOConfig(num_epochs=1, num_mini_batches=1), torch.device("cpu"))
        _, rollout = make_ppo()
        if mirrored:
            for values, (index, sign) in ((rollout.obs, obs_mirror), (rollout.actions, action_mirror)):
                values.copy_(values[..., index] * sign)
        with torch.no_grad():
            rollout.means.copy_(policy.mean(rollout.obs))
        ppo.update(rollout, torch.Generator().manual_seed(0))
        return torch.cat([parameter.detach().flatten() for parameter in ppo.parameters])

    # Adam's first step is the gradient's sign times the rate, so weights tell gradients apart by their signs
    assert torch.allclose(learn("augmentation", False), learn("augmentation", True), atol=1e-5)
    assert not torch.allclose(learn("none", False), learn("none", True), atol=1e-4)
    assert not torch.allclose(learn("none", False), learn("augmentation", False), atol=1e-4)


@pytest.mark.parametrize("symmetry", ["none", "augmentation"])
def test_a_policy_that_did_not_change_has_no_divergence(symmetry: str) -> None:
    """Else the adaptive learning rate falls to its minimum: no plain network acts in the mirror as it should."""
    mirror = (torch.arange(NUM_OBS), -torch.ones(NUM_OBS))
    torch.manual_seed(0)
    cfg = PolicyConfig((8,), (8,), symmetry=symmetry)  # type: ignore[arg-type]
    policy = ActorCritic(NUM_OBS, NUM_OBS, A, cfg, mirror, (torch.arange(A), -torch.ones(A)))
    for parameter in policy.actor.parameters():
        parameter.data.normal_()
    ppo = PPO(policy, PPOConfig(num_epochs=1, num_mini_batches=1), torch.device("cpu"))
    _, rollout = make_ppo()
    with torch.no_grad():
        rollout.means.copy_(policy.mean(rollout.obs))
        assert (policy.mean(-rollout.obs) + rollout.means).abs().max() > 0.1
    assert ppo.update(rollout, torch.Generator())["kl"].abs() < 1e-6


def test_standard_deviation_stays_in_its_range() -> None:
    ppo, rollout = make_ppo(entropy_coef=100.0, learning_rate=1.0, schedule="fixed", num_epochs=20)
    ppo.update(rollout, torch.Generator().manual_seed(0))
    assert ppo.policy.log_std.exp().max() <= 2.0 + 1e-5
    ppo, rollout = make_ppo(entropy_coef=-100.0, learning_rate=1.0, schedule="fixed", num_epochs=20)
    ppo.update(rollout, torch.Generator().manual_seed(0))
    assert ppo.policy.log_std.exp().min() >= 0.05 - 1e-6


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("hold", [0, 3])
def test_exploration_is_rewarded_less_and_less_if_asked(native: bool, hold: int) -> None:
    """Nothing but the entropy pulls here: its weight holds, then halves, and with it the gradient."""
    ppo, rollout = make_ppo(entropy_coef=0.08, entropy_half_life=2, entropy_hold=hold, max_grad_norm=1e9)
    assert ppo._native is not None
    ppo._native = ppo._native if native else None
    rollout.advantages.zero_()
    pulls = []
    for _ in range(6):
        ppo.update(rollout, torch.Generator().manual_seed(0))
        pulls.append(float(ppo.entropy_coef))
    torch.testing.assert_close(pulls, [0.08 * 0.5 ** (max(n - hold, 0) / 2) for n in range(1, 7)])
    gradient = ppo.policy.log_std.grad
    assert gradient is not None and torch.allclose(gradient, torch.full_like(gradient, -pulls[4]))


def test_exploration_goes_on_fading_where_a_resumed_training_left_it() -> None:
    def coefficients(stop: int) -> list[float]:
        ppo, rollout = make_ppo(entropy_coef=0.08, entropy_half_life=2, entropy_hold=3)
        values = []
        for n in range(6):
            if n == stop:
                state = ppo.state_dict()
                ppo, _ = make_ppo(entropy_coef=0.08, entropy_half_life=2, entropy_hold=3)
                ppo.load_state_dict(state)
            ppo.update(rollout, torch.Generator().manual_seed(0))
            values.append(float(ppo.entropy_coef))
        return values

    assert coefficients(stop=2) == coefficients(stop=5) == coefficients(stop=-1)


def test_an_update_improves_a_bandit() -> None:
    """Reward -|a - target(obs)|^2: a few updates must move the mean action to the target."""
    torch.manual_seed(0)
    cfg = PPOConfig(entropy_coef=0.0, desired_kl=0.02)
    policy = ActorCritic(NUM_OBS, NUM_OBS, A, PolicyConfig(actor_hidden=(32,), critic_hidden=(32,)))
    ppo = PPO(policy, cfg, torch.device("cpu"))
    target = torch.randn(NUM_OBS, A) * 0.5
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def error() -> float:
        obs = torch.randn(512, NUM_OBS, generator=torch.Generator().manual_seed(9))
        return float((policy.mean(obs) - obs @ target).square().sum(1).mean())

    before = error()
    rollout = RolloutBuffer(4, 256, NUM_OBS, None, A, "cpu")
    for _ in range(60):
        with torch.no_grad():
            rollout.obs.normal_(generator=generator)
            rollout.means.copy_(policy.mean(rollout.obs))
            noise = torch.randn(rollout.means.shape, generator=generator)
            rollout.actions.copy_(rollout.means + noise * policy.log_std.exp())
            rollout.log_probs.copy_(log_prob(rollout.actions, rollout.means, policy.log_std))
            rollout.values.copy_(policy.value(rollout.obs))
            rollout.rewards.copy_(-(rollout.actions - rollout.obs @ target).square().sum(-1))
            rollout.dones.fill_(1.0)
            rollout.compute_advantages(torch.zeros(256), cfg.gamma, cfg.lam)
        ppo.update(rollout, generator)
    assert error() < 0.2 * before
