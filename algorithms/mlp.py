"""Multi-layer perceptrons, plain or with weights tied so that they commute with a mirror."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from algorithms.memory import Mirror


class Dense(nn.Module):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Weight [outputs, inputs] and bias [outputs] as they act."""
        return self.weight, self.bias

    def gradients(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the parameters from those of `tensors`."""
        return weight, bias

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

    def gradients(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the parameters from those of `tensors`: the transposed map, by hand."""
        if self.is_last:
            index, sign = self.index, self.sign  # the mirror is its own transpose
            p, q = weight.chunk(2, 1)
            return p + (q * sign.unsqueeze(1))[index], 0.5 * (bias + bias[index] * sign)
        own, mirrored = weight.chunk(2, 0)
        half = weight.shape[1] // 2
        back = mirrored[:, self.index] * self.sign if self.is_first else mirrored.roll(half, 1)
        return own + back, bias[: len(bias) // 2] + bias[len(bias) // 2 :]

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
            return self.gradients(weight, bias)
        even, odd = weight.chunk(2, 0)
        if self.is_first:
            return torch.cat((even, odd), 1) @ self.from_halves.T, bias
        return 0.5 * torch.cat((even + odd, even - odd), 1), bias


def parity(index: Tensor, sign: Tensor) -> Tensor:
    """Matrix P [k, 2 m] with x P = (s, d): coordinates that a mirror keeps, and those whose sign it turns.

    Of a pair that the mirror swaps they are x_i + sign x_j and x_i - sign x_j; m is the larger of the two
    numbers, missing columns are zero.
    """
    size, device = len(index), sign.device
    index, sign = index.cpu(), sign.cpu()
    mirror = torch.zeros(size, size)
    mirror[index, torch.arange(size)] = sign  # x @ mirror is x in the mirror
    one = torch.eye(size)
    parts = []
    for part in (one + mirror, one - mirror):
        # each pair gives its column twice (up to sign), a lone coordinate gives 2 or 0
        first = [c for c in range(size) if c <= index[c] and part[:, c].any()]
        columns = part[:, first]
        parts.append(columns / columns.abs().amax(0))
    most = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, most - part.shape[1])) for part in parts], 1).to(device)


class MLP(nn.Module):
    """Multi-layer perceptron with ELU between layers."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        init: str,
        output_gain: float,
        mirrors: tuple[Mirror, Mirror] | None = None,
    ):
        """Build the layers.

        Args:
            sizes: widths from input to output.
            init: `orthogonal` or `default`, see `PolicyConfig`.
            output_gain: scale of orthogonal initial weights of the last layer.
            mirrors: of input and output, for an equivariant network.
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
        self._held: list[tuple[Tensor, Tensor]] | None = None

    def tensors(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [outputs, inputs] and bias [outputs] of each layer as they act."""
        return [layer.tensors() for layer in self._layers]

    def gradients(self, gradients: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Gradients of the parameters, in their order, from those of `tensors`."""
        pairs = zip(self._layers, gradients, strict=True)
        return [gradient for layer, pair in pairs for gradient in layer.gradients(*pair)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the weights as they act once for all calls within, which must not change the parameters."""
        with torch.no_grad():
            self._held = self.tensors()
        try:
            yield
        finally:
            self._held = None

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
        for i, (weight, bias) in enumerate(self._held or self.tensors()):
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
