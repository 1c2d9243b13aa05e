"""Actor and critic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from algorithms.config import PolicyConfig
from algorithms.distributed import ALONE, Ranks
from algorithms.memory import Memory, Mirror, image
from algorithms.mlp import MLP


class RunningNormaliser(nn.Module):
    """(x - mean) / std with statistics of everything seen in training."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int, mirror: Mirror | None = None):
        """For `size` columns; with a mirror, statistics are those of samples and their images."""
        super().__init__()
        self.mirror = mirror
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return (x - self.mean) / torch.sqrt(self.var + 1e-4)

    @torch.no_grad()
    def update(self, x: Tensor, ranks: Ranks = ALONE) -> None:
        """Add samples [B, size] of every process in `ranks` (Chan et al. 1979, parallel variance)."""
        if self.mirror is not None:
            x = torch.cat((x, image(x, self.mirror)))
        batch = float(len(x) * ranks.size)
        total = self.count + batch
        mean, var = x.mean(0), x.var(0, unbiased=False)
        ranks.pool(mean, var)
        delta = mean - self.mean
        spread = self.var * self.count + var * batch
        self.var.copy_((spread + delta.square() * (self.count * batch / total)) / total)
        self.mean += delta * (batch / total)
        self.count.copy_(total)


class ActorCritic(nn.Module):
    """A Gaussian policy with state-independent standard deviation, and a value function.

    A hidden state is a tensor [N, S] each of actor and critic; it has no columns without a memory.
    """

    def __init__(
        self,
        num_obs: int,
        num_critic_obs: int,
        num_actions: int,
        cfg: PolicyConfig,
        obs_mirror: Mirror | None = None,
        action_mirror: Mirror | None = None,
        critic_mirror: Mirror | None = None,
    ):
        """Build the networks.

        Args:
            num_obs: columns O of the policy's observation.
            num_critic_obs: columns C of the critic's observation.
            num_actions: columns A of the action.
            cfg: widths and options.
            obs_mirror: mirror of the policy's observation, needed by `cfg.symmetry`.
            action_mirror: mirror of the action, likewise.
            critic_mirror: mirror of the critic's observation; the policy's if not given.

        Raises:
            ValueError: symmetry without mirrors that fit, or an equivariant network of odd widths.
        """
        super().__init__()
        mirrors = obs_mirror, action_mirror, critic_mirror or obs_mirror
        if cfg.symmetry != "none":
            sizes = [0 if mirror is None else len(mirror[0]) for mirror in mirrors]
            if sizes != [num_obs, num_actions, num_critic_obs]:
                raise ValueError(
                    f"agent.policy.symmetry {cfg.symmetry} needs an environment with mirror maps of "
                    f"{num_obs}, {num_actions} and {num_critic_obs} columns, not {sizes}"
                )
        self.mirrors = mirrors
        """Mirrors of the policy's observation, the action and the critic's observation."""
        self.cfg = cfg
        self.num_obs = num_obs
        even = (torch.zeros(1, dtype=torch.long), torch.ones(1))
        self.actor_memory, self.actor = self._network(
            num_obs, cfg.actor_hidden, num_actions, 0.01, obs_mirror, action_mirror
        )
        self.critic_memory, self.critic = self._network(
            num_critic_obs, cfg.critic_hidden, 1, 1.0, mirrors[2], even
        )
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(cfg.init_std)))
        seen = (None, None) if cfg.symmetry == "none" else (mirrors[0], mirrors[2])
        self.obs_normaliser = RunningNormaliser(num_obs, seen[0]) if cfg.normalise_obs else None
        self.critic_normaliser = RunningNormaliser(num_critic_obs, seen[1]) if cfg.normalise_obs else None

    def _network(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        gain: float,
        first: Mirror | None,
        last: Mirror | None,
    ) -> tuple[Memory | None, MLP]:
        """Memory, if any, and the MLP behind it, which sees the observation as well: it need not be remembered."""
        cfg, memory = self.cfg, None
        if cfg.symmetry != "equivariant":
            first = last = None
        if cfg.recurrent != "none":
            memory = Memory(inputs, cfg.recurrent_hidden, cfg.recurrent, first)
            inputs += cfg.recurrent_hidden
            first = memory.mirror_behind(first) if first is not None else None
        mirrors = (first, last) if first is not None and last is not None else None
        return memory, MLP((inputs, *hidden, outputs), cfg.init, gain, mirrors)

    @property
    def recurrent(self) -> bool:
        """Whether there is a memory."""
        return self.actor_memory is not None

    @property
    def hidden_size(self) -> int:
        """Columns S of a hidden state, 0 without a memory."""
        return self.actor_memory.state_size if self.actor_memory is not None else 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the MLPs' weights as they act once for all calls within, which must not change the parameters."""
        with self.actor.held(), self.critic.held():
            yield

    def normalise(self, obs: Tensor) -> Tensor:
        """The actor's input, [..., O] -> [..., O]."""
        return obs if self.obs_normaliser is None else self.obs_normaliser(obs)

    def normalise_critic(self, critic_obs: Tensor) -> Tensor:
        """The critic's input, [..., C] -> [..., C]."""
        return critic_obs if self.critic_normaliser is None else self.critic_normaliser(critic_obs)

    def mean(self, obs: Tensor) -> Tensor:
        """Mean action of a policy without memory, [..., O] -> [..., A]: the deterministic policy."""
        if self.recurrent:
            raise ValueError("a recurrent policy needs its hidden state: call the policy itself, or an Actor")
        return self.actor(self.normalise(obs))

    def value(self, critic_obs: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Value, [..., C] -> [...]; a memory needs the critic's hidden state of the step before, [..., S]."""
        x = self.normalise_critic(critic_obs)
        if self.critic_memory is not None:
            if hidden is None:
                raise ValueError("the value of a recurrent policy needs the critic's hidden state")
            x = self.critic_memory.output(x, self.critic_memory.step(x, hidden))
        return self.critic(x).squeeze(-1)

    def forward(self, obs: Tensor, hidden: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One step: distribution (mean [N, A], standard deviation [A]) and next hidden state [N, S].

        Args:
            obs: [N, O].
            hidden: the actor's, [N, S]; zero for a new episode, and without columns without a memory.
        """
        x = self.normalise(obs)
        if self.actor_memory is not None:
            hidden = self.actor_memory.step(x, hidden)
            x = self.actor_memory.output(x, hidden)
        return (self.actor(x), self.log_std.exp()), hidden

    def mean_sequence(self, obs: Tensor, hidden: Tensor, dones: Tensor) -> Tensor:
        """Mean actions [T, N, A] of T steps, see `Memory.forward`."""
        x = self.normalise(obs)
        if self.actor_memory is not None:
            x = self.actor_memory.output(x, self.actor_memory(x, hidden, dones))
        return self.actor(x)

    def value_sequence(self, critic_obs: Tensor, hidden: Tensor, dones: Tensor) -> tuple[Tensor, Tensor]:
        """Values [T, N] of T steps and the critic's hidden states after them [T, N, S]."""
        x = self.normalise_critic(critic_obs)
        states = hidden.expand(len(x), -1, -1)
        if self.critic_memory is not None:
            states = self.critic_memory(x, hidden, dones)
            x = self.critic_memory.output(x, states)
        return self.critic(x).squeeze(-1), states

    @torch.no_grad()
    def bound_std(self) -> None:
        """Keep the standard deviation in its range; called after every optimiser step."""
        low, high = self.cfg.std_range
        self.log_std.clamp_(math.log(low), math.log(high))


class Actor:
    """The deterministic policy together with what it remembers, for those who only act."""

    def __init__(self, policy: ActorCritic):
        """Act as `policy` does; its weights are looked at in every step."""
        self.policy = policy
        self._hidden: Tensor | None = None

    @torch.no_grad()
    def __call__(self, obs: Tensor) -> Tensor:
        """Mean action of the next step, [N, O] -> [N, A]."""
        if self._hidden is None:
            self._hidden = obs.new_zeros(len(obs), self.policy.hidden_size)
        (mean, _), hidden = self.policy(obs, self._hidden)
        self._hidden.copy_(hidden)
        return mean

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the episodes of the robots in `mask` (bool, [N]), or of all."""
        if mask is None:
            self._hidden = None
        elif self._hidden is not None:
            self._hidden.masked_fill_(mask.unsqueeze(1), 0.0)
