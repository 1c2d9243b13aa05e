"""Forward and backward passes of an MLP written out: pure functions of tensors, which torch.compile takes whole.

Autograd would keep a graph of every operator; here an ELU's derivative comes from its result, and how a layer makes
its weight (tied weights of mirror-symmetric networks) is differentiated once a mini-batch, see `MLP.gradients`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Layers = list[tuple[Tensor, Tensor]]
"""Weight [outputs, inputs] and bias [outputs] of each layer, see `MLP.tensors`."""

ALIGNMENT = 8
"""Inputs are filled up to a multiple of this: a GPU's fast matrix products want rows of whole 16 bytes, 4 numbers."""
TILE, TILES = 64, 264
"""Side of the part of a matrix product that a GPU's multiprocessor makes, and parts that keep all of them busy."""


def pair(first: Layers, second: Layers) -> Layers:
    """Two networks of the same hidden widths as one: weights [2, outputs, inputs], biases [2, outputs].

    A GPU runs both in the time of one. The second's outputs are filled up to the first's number.
    """
    missing = len(first[-1][1]) - len(second[-1][1])
    weight, bias = second[-1]
    second = [*second[:-1], (functional.pad(weight, (0, 0, 0, missing)), functional.pad(bias, (0, missing)))]
    return [
        (torch.stack(weights), torch.stack(biases))
        for (weights, biases) in (zip(*layer, strict=True) for layer in zip(first, second, strict=True))
    ]


def aligned(layers: Layers, x: Tensor) -> tuple[Layers, Tensor]:
    """The same with inputs filled up with zeros to a multiple of `ALIGNMENT`; x is [B, inputs]."""
    (weight, bias), spare = layers[0], -x.shape[1] % ALIGNMENT
    return [(functional.pad(weight, (0, spare)), bias), *layers[1:]], functional.pad(x, (0, spare))


def forward(layers: Layers, x: Tensor) -> list[Tensor]:
    """What each layer makes of [B, inputs], after its ELU; the last is the network's output [B, outputs].

    Of a `pair`, the inputs may be the same for both, or [2, B, inputs]; outputs are [2, B, outputs].
    """
    outputs: list[Tensor] = []
    for i, (weight, bias) in enumerate(layers):
        x = _linear(x, weight, bias)
        if i < len(layers) - 1:
            x = functional.elu(x)
        outputs.append(x)
    return outputs


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    return torch.bmm(x.expand(2, -1, -1), weight.mT) + bias.unsqueeze(1)


def backward(layers: Layers, x: Tensor, outputs: list[Tensor], gradient: Tensor) -> Layers:
    """What the gradients by each layer's weight and bias are the sums of, see `added_up`.

    By the weight in S parts, [S, outputs, inputs], and by the layer's sums before its ELU, [S, B / S, outputs]; S is
    1 on a CPU, else see `_parts`. Of a `pair` all are [2, S, ...].

    Args:
        layers: as in `forward`.
        x: its input, [B, inputs].
        outputs: its results.
        gradient: gradient by the last of them, [B, outputs].
    """
    gradients: Layers = []
    for i in reversed(range(len(layers))):
        into = outputs[i - 1] if i else x
        parts = _parts(len(x), *layers[i][0].shape[-2:]) if x.device.type != "cpu" else 1
        own, before = (tensor.unflatten(-2, (parts, -1)) for tensor in (gradient, into))
        if own.ndim > before.ndim:  # a pair that sees the same: not copied for both
            gradients.append((torch.stack([half.mT @ before for half in own]), own))
        else:
            gradients.append((own.mT @ before, own))
        if i:
            # an ELU's derivative from its result: 1 where positive, else result + 1
            gradient = (gradient @ layers[i][0]) * (into.clamp(max=0.0) + 1.0)
    return gradients[::-1]


def _parts(batch: int, outputs: int, inputs: int) -> int:
    """Parts that a GPU makes a weight's gradient in: the product is small and its sum over the batch long."""
    tiles = -(-outputs // TILE) * -(-inputs // TILE)
    parts = 1
    while batch % (2 * parts) == 0 and 2 * parts * tiles <= TILES // 2:
        parts *= 2
    return parts


def added_up(gradients: Layers) -> Layers:
    """The whole of both, from `backward`'s; apart from it, since a GPU makes one kernel of sums that do not wait."""
    return [(weight.sum(-3), rows.flatten(-3, -2).sum(-2)) for weight, rows in gradients]
