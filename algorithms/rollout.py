"""Storage for one rollout, allocated once, filled in place."""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.distributed import Ranks


class RolloutBuffer:
    """T steps of N robots, time-major: every tensor is [T, N, ...] on the environment's device.

    Time-outs are bootstrapped with the value of the observation the episode really ended in. Those
    observations are kept compactly: `slots` of them a step. A step with more time-outs than slots (all robots
    in step with one another) bootstraps the surplus with the value before the step, and counts it.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        num_obs: int,
        num_critic_obs: int | None,
        num_actions: int,
        device,
        hidden_size: int = 0,
    ):
        """Allocate; `num_critic_obs` is None where the critic sees what the policy sees."""

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(num_steps, *shape, dtype=dtype, device=device)

        self.num_steps, self.num_envs = num_steps, num_envs
        self.slots = min(num_envs, max(64, num_envs // 16))
        self.obs = zeros(num_envs, num_obs)
        self.critic_obs = self.obs if num_critic_obs is None else zeros(num_envs, num_critic_obs)
        self.actions = zeros(num_envs, num_actions)
        self.means = zeros(num_envs, num_actions)
        self.log_probs = zeros(num_envs)
        self.rewards = zeros(num_envs)
        self.dones = zeros(num_envs)
        self.truncated = zeros(num_envs)
        self.values = zeros(num_envs)
        self.advantages = zeros(num_envs)
        self.returns = zeros(num_envs)
        self.final_obs = zeros(self.slots, self.critic_obs.shape[-1])
        # one slot more takes what does not fit, and is never looked at
        self._final_index = zeros(self.slots + 1, dtype=torch.int64)
        self.final_index = self._final_index[:, : self.slots]
        self.final_used = zeros(self.slots)
        self._robots = torch.arange(num_envs, device=device)
        self.actor_hidden = torch.zeros(num_envs, hidden_size, device=device)
        """The actor's hidden states before the first step, [N, S]."""
        self.critic_hidden = torch.zeros_like(self.actor_hidden)
        """The critic's."""

    def row(self, step: int) -> dict[str, Tensor]:
        """The tensors of one step, name -> [N, ...]; `critic_obs` only where the critic sees something else."""
        names = ["obs", "actions", "means", "log_probs", "rewards", "dones", "truncated"]
        names += ["final_obs", "_final_index", "final_used"]
        names += [] if self.critic_obs is self.obs else ["critic_obs"]
        return {name: getattr(self, name)[step] for name in names}

    def add_outcome(
        self,
        row: dict[str, Tensor],
        rewards: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        final_critic_obs: Tensor,
    ) -> None:
        """Record what followed from the actions of a `row`; all [N], `final_critic_obs` [N, C]."""
        row["rewards"].copy_(rewards)
        row["dones"].copy_(terminated | truncated)
        row["truncated"].copy_(truncated)
        rank = truncated.cumsum(0)
        slot = torch.where(truncated, rank - 1, self.slots).clamp(max=self.slots)
        row["_final_index"].scatter_(0, slot, self._robots)
        index = row["_final_index"][: self.slots]
        row["final_used"].copy_(self._robots[: self.slots] < rank[-1])
        row["final_obs"].copy_(final_critic_obs[index])

    def bootstrap(self, final_values: Tensor, gamma: float) -> Tensor:
        """Add gamma x V(final observation) to the rewards of time-outs; returns the number of surplus ones.

        Args:
            final_values: values of `final_obs`, [T, slots].
            gamma: discount.
        """
        # added, since slots that are not used name any robot
        covered = torch.zeros_like(self.truncated).scatter_add_(1, self.final_index, self.final_used)
        ends = torch.zeros_like(self.values)
        ends.scatter_add_(1, self.final_index, final_values * self.final_used)
        surplus = self.truncated - covered
        self.rewards.add_((ends + surplus * self.values) * gamma)
        return surplus.sum()

    def compute_advantages(
        self, last_values: Tensor, gamma: float, lam: float, normalise: bool = True
    ) -> None:
        """Generalised advantage estimation (arXiv 1506.02438, equation 16), normalised over the rollout.

        Args:
            last_values: values of the observations after the last step, [N].
            gamma: discount.
            lam: GAE's lambda.
            normalise: False leaves that to `normalise_advantages`.
        """
        advantage = torch.zeros_like(last_values)
        next_values = last_values
        for step in reversed(range(self.num_steps)):
            alive = (1.0 - self.dones[step]) * gamma
            delta = self.rewards[step] + alive * next_values - self.values[step]
            advantage = delta + alive * lam * advantage
            self.advantages[step].copy_(advantage)
            next_values = self.values[step]
        torch.add(self.advantages, self.values, out=self.returns)
        if normalise:
            self.advantages.sub_(self.advantages.mean()).div_(self.advantages.std() + 1e-8)

    def normalise_advantages(self, ranks: Ranks) -> None:
        """Normalise over the rollouts of all processes."""
        mean, var = self.advantages.mean(), self.advantages.var(unbiased=False)
        ranks.pool(mean, var)
        count = ranks.size * self.advantages.numel()
        std = (var * (count / (count - 1))).sqrt()
        self.advantages.sub_(mean).div_(std + 1e-8)
