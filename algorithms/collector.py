"""Rollouts: the policy acts, what follows is recorded, and values are put to it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from algorithms.config import PPOConfig
from algorithms.distributed import Ranks
from algorithms.environment import Environment, Observations
from algorithms.networks import ActorCritic
from algorithms.ppo import log_prob
from algorithms.rollout import RolloutBuffer
from native.launch import fused


class Watcher(Protocol):
    """Somebody who looks on and changes nothing: with and without, training comes to the same bits."""

    def step(self, step: int) -> None:
        """After each step of a rollout: may queue work for the device, in a CUDA graph; must not wait for it."""

    def look(self, iteration: int) -> None:
        """After each iteration, while the device is at rest: may read what it likes, in little time."""


class Collector:
    """Fills a rollout buffer with what a policy does in an environment."""

    def __init__(
        self,
        env: Environment,
        policy: ActorCritic,
        cfg: PPOConfig,
        generator: torch.Generator,
        ranks: Ranks,
    ):
        """Allocate.

        Args:
            env: the environment.
            policy: who acts.
            cfg: length of a rollout, discounts.
            generator: of exploration.
            ranks: the processes that train together.
        """
        self.env, self.policy, self.cfg, self.generator, self.ranks = env, policy, cfg, generator, ranks
        device, hidden_size = env.device, policy.hidden_size
        obs = env.get_observations()
        num_critic_obs = None if obs["critic"] is obs["policy"] else env.num_critic_obs
        self.rollout = RolloutBuffer(
            cfg.num_steps, env.num_envs, env.num_obs, num_critic_obs, env.num_actions, device, hidden_size
        )
        self.actor_hidden = torch.zeros(env.num_envs, hidden_size, device=device)
        """The actor's hidden states after the last step, [N, S]."""
        self.critic_hidden = torch.zeros_like(self.actor_hidden)
        """The critic's."""
        self.episode_return = torch.zeros(env.num_envs, device=device)
        """Rewards of the episodes under way, [N]."""
        self.episode_steps = torch.zeros(env.num_envs, device=device)
        """Their lengths, [N]."""
        self.finished = torch.zeros(3, device=device)
        """Of the episodes that ended in the last rollout: sum of returns, sum of lengths, number."""
        self.watchers: list[Watcher] = []
        """Who looks on; to be there before the first iteration."""
        self._noise = torch.zeros(env.num_envs, env.num_actions, device=device)

    def compile(self, backend: str) -> None:
        """From now on let torch.compile make few kernels of all but the environment's steps; not of a memory."""
        names = ["_record"] if self.policy.recurrent else ["_act", "_record", "_values"]
        for name in names:
            setattr(self, name, fused(getattr(self, name), backend))

    @torch.no_grad()
    def collect(self) -> dict[str, Tensor]:
        """Fill the rollout buffer; returns the environment's log, averaged over finished episodes.

        Of several processes, each returns its part of what is the log when added up.
        """
        rollout, env = self.rollout, self.env
        obs = env.get_observations()
        rollout.actor_hidden.copy_(self.actor_hidden)
        rollout.critic_hidden.copy_(self.critic_hidden)
        hidden = self.actor_hidden
        log_sums: list[Tensor] = []
        names: list[str] = []
        self.finished.zero_()
        with self.policy.held():
            for step in range(rollout.num_steps):
                row = rollout.row(step)
                self._noise.normal_(generator=self.generator)
                actions, hidden = self._act(row, obs, hidden)
                obs, rewards, terminated, truncated, info = env.step(actions)
                hidden = self._record(
                    row, rewards, terminated, truncated, info["final_obs"]["critic"], hidden
                )
                for watcher in self.watchers:
                    watcher.step(step)
                names, log = list(info["log"]), info["log"]
                log_sums.append(log.stacked if hasattr(log, "stacked") else torch.stack(list(log.values())))
        self.actor_hidden.copy_(hidden)
        return self._average_log(names, torch.stack(log_sums))

    def _act(self, row: dict[str, Tensor], obs: Observations, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Choose and record actions; returns them, [N, A], and the actor's next hidden states."""
        row["obs"].copy_(obs["policy"])
        if "critic_obs" in row:
            row["critic_obs"].copy_(obs["critic"])
        (mean, std), hidden = self.policy(obs["policy"], hidden)
        actions = torch.addcmul(mean, self._noise, std)
        row["means"].copy_(mean)
        row["actions"].copy_(actions)
        row["log_probs"].copy_(log_prob(actions, mean, self.policy.log_std))
        return actions, hidden

    def _record(
        self,
        row: dict[str, Tensor],
        rewards: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        final_critic_obs: Tensor,
        hidden: Tensor,
    ) -> Tensor:
        """Take note of what followed; returns the actor's hidden states, zero for new episodes."""
        self.rollout.add_outcome(row, rewards, terminated, truncated, final_critic_obs)
        dones = row["dones"]
        self.episode_return += rewards
        self.episode_steps += 1.0
        ended = torch.stack((self.episode_return, self.episode_steps, torch.ones_like(dones)), 1)
        self.finished += (ended * dones.unsqueeze(1)).sum(0)
        self.episode_return *= 1.0 - dones
        self.episode_steps *= 1.0 - dones
        return hidden * (1.0 - dones).unsqueeze(1)

    def _average_log(self, names: list[str], values: Tensor) -> dict[str, Tensor]:
        """Average [T, K] log values: counts are summed, `Episode/` weighted by the episodes that ended."""
        count = values[:, names.index("Episode/finished")]
        total = count.sum()
        self.ranks.sum([total])
        share = (count / total.clamp(min=1.0)).unsqueeze(1)
        per_episode, means = (share * values).sum(0), values.mean(0) / self.ranks.size
        counted = {"Episode/finished", "Episode/non_finite"}
        averaged = {}
        for i, name in enumerate(names):
            source = per_episode if name.startswith("Episode/") else means
            averaged[name] = values[:, i].sum() if name in counted else source[i]
        return averaged

    @torch.no_grad()
    def evaluate(self) -> Tensor:
        """Values, time-out bootstrapping and advantages; returns the number of surplus time-outs."""
        surplus = self._values()
        if self.ranks.size > 1:
            self.rollout.normalise_advantages(self.ranks)
        return surplus

    def _values(self) -> Tensor:
        rollout, policy, ppo = self.rollout, self.policy, self.cfg
        values, states = policy.value_sequence(rollout.critic_obs, rollout.critic_hidden, rollout.dones)
        rollout.values.copy_(values)
        steps = torch.arange(rollout.num_steps, device=states.device).unsqueeze(1)
        final_values = policy.value(rollout.final_obs, states[steps, rollout.final_index])
        surplus = rollout.bootstrap(final_values, ppo.gamma)
        self.critic_hidden.copy_(states[-1] * (1.0 - rollout.dones[-1]).unsqueeze(1))
        last = policy.value(self.env.get_observations()["critic"], self.critic_hidden)
        rollout.compute_advantages(last, ppo.gamma, ppo.lam, normalise=self.ranks.size == 1)
        return surplus
