"""PPO for continuous actions in one file, of the shape that such programs have: arrays outside, torch inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

STEPS, EPOCHS, PARTS, GAMMA, LAMBDA, CLIP = 24, 5, 4, 0.99, 0.95, 0.2


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers with ELU between them."""
    modules: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        modules += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(*modules[:-1])


class Agent(nn.Module):
    """Actor and critic."""

    def __init__(self, num_obs: int, num_actions: int):
        super().__init__()
        self.actor, self.critic = layers(num_obs, 128, 64, num_actions), layers(num_obs, 128, 64, 1)
        self.log_std = nn.Parameter(torch.full((num_actions,), -0.5))

    def distribution(self, obs: Tensor) -> Normal:
        return Normal(self.actor(obs), self.log_std.exp())

    def value(self, obs: Tensor) -> Tensor:
        return self.critic(obs).squeeze(-1)


def train(envs: Any, iterations: int, seed: int = 1) -> Agent:
    """Train on a vector environment that resets in the same step."""
    torch.manual_seed(seed)
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.shape[0])
    optimizer = torch.optim.Adam(agent.parameters(), 1e-3)
    obs = torch.as_tensor(envs.reset(seed=seed)[0])
    for _ in range(iterations):
        rows: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for _ in range(STEPS):
                distribution, value = agent.distribution(obs), agent.value(obs)
                action = distribution.sample()
                seen, reward, terminated, truncated, info = envs.step(action.numpy())
                if truncated.any():  # what the episode would still have been worth
                    last = torch.as_tensor(np.stack(list(info["final_obs"][truncated])))
                    reward[truncated] += GAMMA * agent.value(last).numpy()
                done = torch.as_tensor(terminated | truncated).float()
                log_prob = distribution.log_prob(action).sum(-1)
                rows.append((obs, action, log_prob, torch.as_tensor(reward), done, value))
                obs = torch.as_tensor(seen)
            next_value, advantage = agent.value(obs), torch.zeros(len(obs))
            advantages: list[Tensor] = []
            for *_, reward, done, value in reversed(rows):
                delta = reward + GAMMA * (1 - done) * next_value - value
                advantage = delta + GAMMA * LAMBDA * (1 - done) * advantage
                advantages.insert(0, advantage)
                next_value = value
        columns = [torch.cat(column) for column in zip(*rows, strict=True)]
        update(agent, optimizer, columns, torch.cat(advantages))
    return agent


def update(agent: Agent, optimizer: torch.optim.Optimizer, columns: list[Tensor], advantages: Tensor) -> None:
    """Several epochs over the samples of a rollout."""
    obs, action, old_log_prob, _, _, value = columns
    target = advantages + value
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(obs)).chunk(PARTS):
            distribution = agent.distribution(obs[part])
            ratio = (distribution.log_prob(action[part]).sum(-1) - old_log_prob[part]).exp()
            surrogate = torch.min(
                ratio * advantages[part], ratio.clamp(1 - CLIP, 1 + CLIP) * advantages[part]
            )
            loss = (agent.value(obs[part]) - target[part]).square().mean() - surrogate.mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
            optimizer.step()
