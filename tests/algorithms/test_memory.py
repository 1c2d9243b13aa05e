"""Recurrent policies: the layer, gradients through time, what is kept and forgotten, and what it is good for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from algorithms import Actor, ActorCritic, LearnerConfig, PolicyConfig, PPOConfig, Trainer, checkpoint
from algorithms.memory import Memory
from algorithms.ppo import PPO
from tests.algorithms.common import RecallEnv

T, N, INPUTS, H = 7, 5, 3, 4
MIRROR = (torch.tensor([0, 2, 1]), torch.tensor([-1.0, 1.0, 1.0]))
KINDS = ("lstm", "gru")


def make_trainer(
    run_dir: Path | None = None, truncate: bool = False, num_envs: int = 64, **policy: Any
) -> Trainer:
    defaults: dict[str, Any] = {"actor_hidden": (16,), "critic_hidden": (16,), "recurrent_hidden": 16}
    ppo = PPOConfig(
        num_steps=12, num_mini_batches=1, learning_rate=5e-3, schedule="fixed", gamma=0.95, entropy_coef=0.0
    )
    cfg = LearnerConfig(policy=PolicyConfig(init_std=0.5, **defaults | policy), ppo=ppo, save_interval=2)
    return Trainer(RecallEnv(num_envs, truncate=truncate), cfg, run_dir, seed=1)


def segments(dones: Tensor) -> list[slice]:
    """Episodes of one robot, [T]."""
    ends = [t + 1 for t in range(T) if dones[t]] + [T]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]


@pytest.mark.parametrize("mirror", [None, MIRROR])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_torchs_of_each_episode_by_itself(kind: str, mirror: Any) -> None:
    torch.manual_seed(0)
    memory = Memory(INPUTS, H, kind, mirror)
    reference = memory.plain(INPUTS)
    x, dones = torch.randn(T, N, INPUTS), (torch.rand(T, N) < 0.3).float()
    assert dones[:-1].sum() > 0
    start, weight = torch.randn(N, memory.state_size), torch.randn(T, N, H)
    states = memory(x, start, dones)
    (states[..., :H] * weight).sum().backward()

    loss = torch.zeros(())
    for robot in range(N):
        for i, part in enumerate(segments(dones[:, robot])):
            state = start[robot] if i == 0 else torch.zeros(memory.state_size)
            hidden = state.view(-1, 1, 1, H)
            output, last = reference(
                x[part, robot].unsqueeze(1), tuple(hidden) if kind == "lstm" else hidden[0]
            )
            torch.testing.assert_close(states[part, robot, :H], output[:, 0])
            end = torch.cat(last).flatten() if kind == "lstm" else last.flatten()
            torch.testing.assert_close(states[part, robot][-1], end)
            loss = loss + (output[:, 0] * weight[part, robot]).sum()
    loss.backward()
    # gradients of torch's weights, handed on to ours
    tensors, own = memory.tensors(), list(memory.parameters())
    wanted = torch.autograd.grad(tensors, own, [parameter.grad for parameter in reference.parameters()])
    for parameter, gradient in zip(own, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_equivariant_policy_remembers_in_the_mirror(kind: str) -> None:
    torch.manual_seed(0)
    action_mirror = (torch.tensor([1, 0]), torch.tensor([-1.0, -1.0]))
    cfg = PolicyConfig((8,), (8,), symmetry="equivariant", recurrent=kind, recurrent_hidden=6)  # type: ignore[arg-type]
    policy = ActorCritic(INPUTS, INPUTS, 2, cfg, MIRROR, action_mirror)
    actor, twin = Actor(policy), Actor(policy)
    for _ in range(4):
        obs = torch.randn(N, INPUTS)
        action, image = actor(obs), twin(obs[:, MIRROR[0]] * MIRROR[1])
        torch.testing.assert_close(image, action[:, action_mirror[0]] * action_mirror[1])
    x, dones, zero = torch.randn(T, N, INPUTS), torch.zeros(T, N), torch.zeros(N, policy.hidden_size)
    value, _ = policy.value_sequence(x, zero, dones)
    torch.testing.assert_close(policy.value_sequence(x[..., MIRROR[0]] * MIRROR[1], zero, dones)[0], value)
    assert action.std() > 1e-3 and value.std() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_sees_the_actions_that_the_rollout_took(kind: str) -> None:
    """Over two rollouts: hidden states are handed on between them, and forgotten at the end of an episode."""
    trainer = make_trainer(recurrent=kind)
    rollout, policy = trainer.rollout, trainer.policy
    for _ in range(2):
        trainer.collector.collect()
        trainer.collector.evaluate()
    with torch.no_grad():
        means = policy.mean_sequence(rollout.obs, rollout.actor_hidden, rollout.dones)
    torch.testing.assert_close(means, rollout.means)
    assert rollout.actor_hidden.abs().sum(1).gt(0).sum() > 40, "episodes must span rollouts"
    assert 0 < rollout.dones.sum() < rollout.dones.numel()
    # and forgetting matters
    with torch.no_grad():
        means = policy.mean_sequence(rollout.obs, rollout.actor_hidden, torch.zeros_like(rollout.dones))
    assert (means - rollout.means).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_ppos_gradients_equal_those_of_a_plain_loop(kind: str) -> None:
    trainer = make_trainer(recurrent=kind, normalise_obs=True)
    trainer.collector.collect()
    trainer.iterate()
    trainer.collector.collect()
    trainer.collector.evaluate()
    rollout, policy, cfg = trainer.rollout, trainer.policy, trainer.cfg.ppo
    with torch.no_grad():
        for parameter in policy.parameters():  # so that the loss is clipped here and there
            parameter.add_(0.02 * torch.randn_like(parameter))
    robots = torch.tensor([3, 60, 7, 8, 21])
    old_log_std = policy.log_std.detach() + 0.1
    terms = trainer.ppo._sequence_gradients(rollout, robots, old_log_std)
    found = {
        name: parameter.grad.clone()
        for name, parameter in policy.named_parameters()
        if parameter.grad is not None
    }

    policy.zero_grad()
    actor, critic = rollout.actor_hidden[robots], rollout.critic_hidden[robots]
    surrogates, errors = [], []
    for t in range(rollout.num_steps):
        obs = rollout.obs[t, robots]
        (mean, std), actor = policy(obs, actor)
        value = policy.value(obs, critic)
        assert policy.critic_memory is not None
        critic = policy.critic_memory.step(policy.normalise_critic(obs), critic)
        log_prob = torch.distributions.Normal(mean, std).log_prob(rollout.actions[t, robots]).sum(1)
        ratio, advantage = (log_prob - rollout.log_probs[t, robots]).exp(), rollout.advantages[t, robots]
        surrogates.append(torch.min(ratio * advantage, ratio.clamp(1 - cfg.clip, 1 + cfg.clip) * advantage))
        old, target = rollout.values[t, robots], rollout.returns[t, robots]
        near = old + (value - old).clamp(-cfg.clip, cfg.clip)
        errors.append(torch.max((value - target).square(), (near - target).square()))
        alive = (1.0 - rollout.dones[t, robots]).unsqueeze(1)
        actor, critic = actor * alive, critic * alive
    surrogate, error = -torch.stack(surrogates).mean(), torch.stack(errors).mean()
    (surrogate + cfg.value_coef * error).backward()
    torch.testing.assert_close(terms[:2], torch.stack((surrogate, error)).detach())
    assert found.keys() == {name for name, _ in policy.named_parameters()}
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_out_is_valued_with_what_the_critic_remembered_then(kind: str) -> None:
    trainer = make_trainer(truncate=True, recurrent=kind)
    for _ in range(2):
        trainer.collector.collect()
        rewards = trainer.rollout.rewards.clone()
        trainer.collector.evaluate()
    rollout, policy, gamma = trainer.rollout, trainer.policy, trainer.cfg.ppo.gamma
    assert rollout.truncated.sum() > 100 and policy.critic_memory is not None
    state = rollout.critic_hidden
    with torch.no_grad():
        for t in range(rollout.num_steps):
            torch.testing.assert_close(policy.value(rollout.critic_obs[t], state), rollout.values[t])
            state = policy.critic_memory.step(rollout.critic_obs[t], state)
            final = torch.zeros(1, 2).expand(64, 2)  # after its answer a robot sees nothing
            expected = rewards[t] + gamma * rollout.truncated[t] * policy.value(final, state)
            torch.testing.assert_close(rollout.rewards[t], expected)
            state = state * (1.0 - rollout.dones[t]).unsqueeze(1)
    torch.testing.assert_close(trainer.collector.critic_hidden, state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_remembers_to_the_bit(kind: str, tmp_path: Path) -> None:
    whole = make_trainer(tmp_path, recurrent=kind)
    whole.train(4, lambda iteration, numbers: None)
    resumed = make_trainer(recurrent=kind)
    resumed.load_state_dict(checkpoint.load(tmp_path / "model_2.pt"))
    assert resumed.collector.actor_hidden.abs().max() > 0.0
    resumed.train(4, lambda iteration, numbers: None)
    for mine, theirs in zip(resumed.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(resumed.collector.critic_hidden, whole.collector.critic_hidden)


@torch.no_grad()
def recall_error(policy: ActorCritic) -> float:
    """Mean squared error of the answers; 1 for who does not know."""
    env, actor, errors = RecallEnv(200, seed=9), Actor(policy), []
    for step in range(18):
        _, rewards, done, _, _ = env.step(actor(env.get_observations()["policy"]))
        actor.reset(done)
        if step > 6:
            errors.append(-rewards[done])
    return float(torch.cat(errors).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_solves_what_an_mlp_cannot(kind: str) -> None:
    errors = {}
    for recurrent in (kind, "none"):
        trainer = make_trainer(num_envs=256, recurrent=recurrent)
        for _ in range(20):
            trainer.iterate()
        errors[recurrent] = recall_error(trainer.policy)
    assert errors[kind] < 0.1
    assert errors["none"] > 0.9


def test_an_actor_forgets_only_whose_episode_ended() -> None:
    policy = ActorCritic(INPUTS, INPUTS, 2, PolicyConfig((8,), (8,), recurrent="gru", recurrent_hidden=H))
    actor, fresh = Actor(policy), Actor(policy)
    first, obs = torch.randn(N, INPUTS), torch.randn(N, INPUTS)
    actor(first)
    actor.reset(torch.tensor([True, False, False, True, False]))
    now, new = actor(obs), fresh(obs)
    same = (now == new).all(1)
    assert same.tolist() == [True, False, False, True, False]
    actor.reset()
    assert torch.equal(actor(obs), new)


def test_a_recurrent_policy_is_not_used_without_its_memory() -> None:
    policy = ActorCritic(INPUTS, INPUTS, 2, PolicyConfig(recurrent="gru", recurrent_hidden=H))
    with pytest.raises(ValueError, match="hidden state"):
        policy.mean(torch.zeros(N, INPUTS))
    with pytest.raises(ValueError, match="hidden state"):
        policy.value(torch.zeros(N, INPUTS))
    cfg = LearnerConfig(policy=PolicyConfig(recurrent="gru", symmetry="augmentation"))
    with pytest.raises(ValueError, match="augmentation needs agent.policy.recurrent none"):
        cfg.validate()


def test_a_plain_copy_is_torchs_layer() -> None:
    assert isinstance(Memory(2, 4, "lstm").plain(2), nn.LSTM)
    assert isinstance(Memory(2, 4, "gru").plain(2), nn.GRU)
    with pytest.raises(ValueError, match="even recurrent_hidden"):
        Memory(3, 5, "gru", MIRROR)
    assert (
        PPO(ActorCritic(3, 3, 1, PolicyConfig(recurrent="gru")), PPOConfig(), torch.device("cpu"))._native
        is None
    )
