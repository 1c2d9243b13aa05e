"""A recurrent layer: what a policy remembers of its episode."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Mirror = tuple[Tensor, Tensor]
"""Index and sign, both [k]; see `image`."""


def image(x: Tensor, mirror: Mirror) -> Tensor:
    """What [..., k] looks like in a mirror."""
    index, sign = mirror
    return x[..., index] * sign


class Memory(nn.Module):
    """An LSTM (Hochreiter & Schmidhuber 1997) or a GRU (Cho et al. 2014), in the formulas of `torch.nn`.

    The state is one tensor [N, S], zero at the start of an episode: the output, H columns, and behind it an
    LSTM's cell, H more. Given a mirror, weights are tied as in `MirroredDense`: hidden units come in pairs that
    the mirror swaps, and gates keep the pairs since they act unit by unit.
    """

    index: Tensor
    sign: Tensor

    def __init__(self, inputs: int, hidden: int, kind: str, mirror: Mirror | None = None):
        """`inputs` columns to H = `hidden` units; `kind` is `lstm` or `gru`; `mirror` is the input's."""
        super().__init__()
        if mirror is not None and hidden % 2:
            raise ValueError(f"an equivariant network needs an even recurrent_hidden, not {hidden}")
        self.kind, self.hidden, self.mirrored = kind, hidden, mirror is not None
        self.state_size = 2 * hidden if kind == "lstm" else hidden
        """Columns S of the state."""
        gates, rows = (4 if kind == "lstm" else 3), hidden // 2 if self.mirrored else hidden
        self.weight_ih = nn.Parameter(torch.empty(gates, rows, inputs))
        self.weight_hh = nn.Parameter(torch.empty(gates, rows, hidden))
        self.bias_ih = nn.Parameter(torch.empty(gates, rows))
        self.bias_hh = nn.Parameter(torch.empty(gates, rows))
        for parameter in self.parameters():  # torch's default
            nn.init.uniform_(parameter, -1.0 / math.sqrt(hidden), 1.0 / math.sqrt(hidden))
        if mirror is not None:
            self.register_buffer("index", mirror[0], persistent=False)
            self.register_buffer("sign", mirror[1], persistent=False)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights [gates H, inputs] and [gates H, H] and both biases [gates H] as they act."""
        tensors = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if self.mirrored:
            mirrored = (
                (self.weight_ih * self.sign)[..., self.index],
                self.weight_hh.roll(self.hidden // 2, -1),
                self.bias_ih,
                self.bias_hh,
            )
            tensors = tuple(torch.cat(pair, 1) for pair in zip(tensors, mirrored, strict=True))  # type: ignore[assignment]
        return tuple(tensor.flatten(0, 1) for tensor in tensors)  # type: ignore[return-value]

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """The next state, of inputs [N, inputs] and state [N, S]; [N, S]."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.tensors()
        return self._cell(functional.linear(x, weight_ih, bias_ih), state, weight_hh, bias_hh)

    def forward(self, x: Tensor, state: Tensor, dones: Tensor) -> Tensor:
        """States after each of T steps.

        Args:
            x: inputs, [T, N, inputs].
            state: state before the first step, [N, S].
            dones: 1 where an episode ended after a step, so that the next one starts from zero, [T, N].

        Returns:
            [T, N, S]; a state after the last step of an episode is that episode's.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = self.tensors()
        # One product for all steps. Unbound and not indexed: the gradient of an index fills a tensor of all steps.
        gates = functional.linear(x, weight_ih, bias_ih).unbind()
        states = []
        for gate, keep in zip(gates, (1.0 - dones).unsqueeze(-1).unbind(), strict=True):
            states.append(self._cell(gate, state, weight_hh, bias_hh))
            state = states[-1] * keep
        return torch.stack(states)

    def _cell(self, gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The next state; `gates` [N, gates H] is the input's part of the sums."""
        if self.kind == "lstm":
            h, c = state.chunk(2, -1)
            i, f, g, o = (gates + functional.linear(h, weight, bias)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return torch.cat((o.sigmoid() * c.tanh(), c), -1)
        r, z, n = gates.chunk(3, -1)
        r_h, z_h, n_h = functional.linear(state, weight, bias).chunk(3, -1)
        n = (n + (r + r_h).sigmoid() * n_h).tanh()
        return n + (z + z_h).sigmoid() * (state - n)

    def output(self, x: Tensor, state: Tensor) -> Tensor:
        """What the layers behind see, [..., inputs + H]: the input, and the state [..., S] after it."""
        return torch.cat((x, state[..., : self.hidden]), -1)

    def mirror_behind(self, mirror: Mirror) -> Mirror:
        """The mirror of `output`, given the input's."""
        index, sign = mirror
        units = torch.arange(self.hidden, device=index.device).roll(self.hidden // 2) + len(index)
        return torch.cat((index, units)), torch.cat((sign, sign.new_ones(self.hidden)))

    def plain(self, inputs: int) -> nn.RNNBase:
        """A copy as `nn.LSTM` or `nn.GRU`, for export."""
        layer = (nn.LSTM if self.kind == "lstm" else nn.GRU)(inputs, self.hidden)
        for parameter, tensor in zip(layer.parameters(), self.tensors(), strict=True):
            parameter.data.copy_(tensor.detach())
        return layer
