"""Actor and critic networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.config import PolicyConfig
from algorithms.memory import Memory, Mirror


class Dense(nn.Module):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs] as they act."""
        return self.weight, self.bias

    def halved_tensors(self) -> tuple[Tensor, Tensor, bool]:
        """Weight and bias; not halved."""
        return self.weight, self.bias, False

    def halved_gradients(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the parameters from those of `halved_tensors`."""
        return weight, bias


class MirroredDense(nn.Module):
    """A linear layer that commutes with the mirror, at the cost of an ordinary one and half its parameters.

    Hidden units come in pairs (h, h') that the mirror swaps, so the weight between hidden layers is
    [[A, B], [B, A]]; the first layer is [W; W M] and the last [U, M' U], M and M' being the mirrors of input
    and output (see Ravindran & Barto 2001; van der Pol et al., MDP Homomorphic Networks, 2020).
    """

    index: Tensor
    sign: Tensor
    to_halves: Tensor
    from_halves: Tensor

    def __init__(self, inputs: int, outputs: int, first: Mirror | None, last: Mirror | None):
        """Give `first` where the input is an observation, `last` where the output is an action or value."""
        super().__init__()
        self.is_first, self.is_last = first is not None, last is not None
        if (not self.is_first and inputs % 2) or (not self.is_last and outputs % 2):
            raise ValueError(
                f"an equivariant network needs even hidden widths, not {inputs if inputs % 2 else outputs}"
            )
        self.weight = nn.Parameter(
            torch.empty(outputs if self.is_last else outputs // 2, inputs if self.is_first else inputs // 2)
            if self.is_first or self.is_last
            else torch.empty(outputs // 2, inputs)
        )
        self.bias = nn.Parameter(torch.empty(outputs if self.is_last else outputs // 2))
        mirror = first or last
        if mirror is not None:
            self.register_buffer("index", mirror[0], persistent=False)
            self.register_buffer("sign", mirror[1], persistent=False)
        if self.is_first:
            self.register_buffer("to_halves", parity(self.index, self.sign), persistent=False)
            squares = self.to_halves.square().sum(0).clamp(min=1.0)  # columns are orthogonal
            self.register_buffer("from_halves", self.to_halves / squares, persistent=False)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs] as they act."""
        weight, bias = self.weight, self.bias
        if self.is_last:
            mirrored = weight[self.index] * self.sign.unsqueeze(1)
            return torch.cat((weight, mirrored), 1), 0.5 * (bias + bias[self.index] * self.sign)
        # Column j of W M is column index^-1(j) of W, signed; the mirror is its own inverse.
        half = weight.shape[1] // 2
        mirrored = (weight * self.sign)[:, self.index] if self.is_first else weight.roll(half, 1)
        return torch.cat((weight, mirrored), 0), torch.cat((bias, bias))

    def halved_tensors(self) -> tuple[Tensor, Tensor, bool]:
        """Weight and bias in terms of what the mirror keeps and what it turns around.

        With s = p + q and d = p - q of the two halves p, q of its input (s and d of an observation: see
        `parity`), a layer's halves are S s + D d + bias and S s - D d + bias: half of the arithmetic.

        Returns:
            S above D [2 outputs / 2, inputs / 2], bias [outputs / 2], True; or the last layer's plain
            weight and bias and False.
        """
        weight = self.weight
        if self.is_last:
            return *self.tensors(), False
        if self.is_first:
            return (
                (weight @ self.from_halves).view(len(weight), 2, -1).transpose(0, 1).flatten(0, 1),
                self.bias,
                True,
            )
        p, q = weight.chunk(2, 1)
        return 0.5 * torch.cat((p + q, p - q), 0), self.bias, True

    def halved_gradients(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the parameters from those of `halved_tensors`: the transposed map, by hand."""
        if self.is_last:
            p, q = weight.chunk(2, 1)
            index, sign = self.index, self.sign  # the mirror is its own transpose
            return p + (q * sign.unsqueeze(1))[index], 0.5 * (bias + bias[index] * sign)
        even, odd = weight.chunk(2, 0)
        if self.is_first:
            return torch.cat((even, odd), 1) @ self.from_halves.T, bias
        return 0.5 * torch.cat((even + odd, even - odd), 1), bias


def parity(index: Tensor, sign: Tensor) -> Tensor:
    """Matrix P [k, 2 m] with x P = (s, d): coordinates that a mirror keeps, and those whose sign it turns.

    Of a pair that the mirror swaps they are x_i + sign x_j and x_i - sign x_j; m is the larger of the two
    numbers, missing columns are zero.
    """
    size = len(index)
    mirror = torch.zeros(size, size)
    mirror[index, torch.arange(size)] = sign.cpu()  # x @ mirror is x in the mirror
    one = torch.eye(size)
    parts = []
    for part in (one + mirror, one - mirror):
        # each pair gives its column twice (up to sign), a lone coordinate gives 2 or 0
        first = [c for c in range(size) if c <= index[c] and part[:, c].any()]
        columns = part[:, first]
        parts.append(columns / columns.abs().amax(0))
    most = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, most - part.shape[1])) for part in parts], 1).to(
        sign.device
    )


class MLP(nn.Module):
    """Multi-layer perceptron with ELU between layers."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        init: str,
        output_gain: float,
        mirrors: tuple[Mirror | None, Mirror] | None = None,
    ):
        """Build the layers.

        Args:
            sizes: widths from input to output.
            init: `orthogonal` or `default`, see `PolicyConfig`.
            output_gain: scale of orthogonal initial weights of the last layer.
            mirrors: of input and output, for an equivariant network; None for an input of swapped pairs.
        """
        super().__init__()
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        last = len(pairs) - 1
        self._layers: list[Dense | MirroredDense] = []
        for i, (inputs, outputs) in enumerate(pairs):
            layer: Dense | MirroredDense
            if mirrors is None:
                layer = Dense(inputs, outputs)
            else:
                first, final = mirrors[0] if i == 0 else None, mirrors[1] if i == last else None
                layer = MirroredDense(inputs, outputs, first, final)
            self._layers.append(layer)
            bound = 1.0 / math.sqrt(inputs)
            if init == "orthogonal":
                nn.init.orthogonal_(layer.weight, output_gain if i == last else math.sqrt(2.0))
                nn.init.zeros_(layer.bias)
            else:  # torch's default for nn.Linear
                nn.init.uniform_(layer.weight, -bound, bound)
                nn.init.uniform_(layer.bias, -bound, bound)
        self.layers = nn.ModuleList(self._layers)

    def tensors(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [outputs, inputs] and bias [outputs] of each layer as they act."""
        return [layer.tensors() for layer in self._layers]

    def halved_tensors(self) -> list[tuple[Tensor, Tensor, bool]]:
        """Weight and bias of each layer for half of the arithmetic, see `MirroredDense.halved_tensors`."""
        return [layer.halved_tensors() for layer in self._layers]

    def halved_gradients(self, gradients: list[tuple[Tensor, Tensor]]) -> None:
        """Write the parameters' `.grad` from the gradients of `halved_tensors`."""
        for layer, pair in zip(self._layers, gradients, strict=True):
            layer.weight.grad, layer.bias.grad = layer.halved_gradients(*pair)

    def halved_input(self, x: Tensor) -> Tensor:
        """The first layer's input to go with them, [B, inputs or 2 m]."""
        first = self._layers[0]
        return x @ first.to_halves if isinstance(first, MirroredDense) else x.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        for i, (weight, bias) in enumerate(self.tensors()):
            x = functional.linear(x, weight, bias)
            if i < len(self._layers) - 1:
                x = functional.elu(x, inplace=True)
        return x

    def plain(self) -> nn.Sequential:
        """A copy of nothing but `nn.Linear` and `nn.ELU`, for export."""
        modules: list[nn.Module] = []
        for layer in self._layers:
            weight, bias = (tensor.detach().clone() for tensor in layer.tensors())
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
            modules += [linear, nn.ELU()]
        return nn.Sequential(*modules[:-1])


class RunningNormaliser(nn.Module):
    """(x - mean) / std with statistics of everything seen in training."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return (x - self.mean) / torch.sqrt(self.var + 1e-4)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add samples [B, size] (Chan et al. 1979, parallel variance)."""
        batch = float(len(x))
        total = self.count + batch
        delta = x.mean(0) - self.mean
        spread = self.var * self.count + x.var(0, unbiased=False) * batch
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
        self.obs_normaliser = RunningNormaliser(num_obs) if cfg.normalise_obs else None
        self.critic_normaliser = RunningNormaliser(num_critic_obs) if cfg.normalise_obs else None

    def _network(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        gain: float,
        first: Mirror | None,
        last: Mirror | None,
    ) -> tuple[Memory | None, MLP]:
        """Memory, if any, and the MLP behind it."""
        cfg, memory = self.cfg, None
        tied = cfg.symmetry == "equivariant"
        if cfg.recurrent != "none":
            memory = Memory(inputs, cfg.recurrent_hidden, cfg.recurrent, first if tied else None)
            inputs, first = cfg.recurrent_hidden, None
        mirrors = (first, last) if tied and last is not None else None
        return memory, MLP((inputs, *hidden, outputs), cfg.init, gain, mirrors)

    @property
    def recurrent(self) -> bool:
        """Whether there is a memory."""
        return self.actor_memory is not None

    @property
    def hidden_size(self) -> int:
        """Columns S of a hidden state, 0 without a memory."""
        return self.actor_memory.state_size if self.actor_memory is not None else 0

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
            x = self.critic_memory.output(self.critic_memory.step(x, hidden))
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
            x = self.actor_memory.output(hidden)
        return (self.actor(x), self.log_std.exp()), hidden

    def mean_sequence(self, obs: Tensor, hidden: Tensor, dones: Tensor) -> Tensor:
        """Mean actions [T, N, A] of T steps, see `Memory.forward`."""
        x = self.normalise(obs)
        if self.actor_memory is not None:
            x = self.actor_memory.output(self.actor_memory(x, hidden, dones))
        return self.actor(x)

    def value_sequence(self, critic_obs: Tensor, hidden: Tensor, dones: Tensor) -> tuple[Tensor, Tensor]:
        """Values [T, N] of T steps and the critic's hidden states after them [T, N, S]."""
        x = self.normalise_critic(critic_obs)
        states = hidden.expand(len(x), -1, -1)
        if self.critic_memory is not None:
            states = self.critic_memory(x, hidden, dones)
            x = self.critic_memory.output(states)
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
        (mean, _), self._hidden = self.policy(obs, self._hidden)
        return mean

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget the episodes of the robots in `mask` (bool, [N]), or of all."""
        if mask is None or self._hidden is None:
            self._hidden = None
        else:
            self._hidden = self._hidden.masked_fill(mask.unsqueeze(1), 0.0)
