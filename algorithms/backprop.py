"""Forward and backward passes of an MLP written out: pure functions of tensors, which torch.compile takes whole.

Autograd would keep a graph of every operator; here an ELU's derivative comes from its result, and how a layer makes
its weight (tied weights of mirror-symmetric networks) is differentiated once a mini-batch, see `MLP.gradients`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from algorithms.mlp import MLP

Layers = list[tuple[Tensor, Tensor]]
"""Weight [outputs, inputs] and bias [outputs] of each layer, see `MLP.tensors`."""

CACHED_VALUES = 2**19
"""Activations of a chunk, all hidden layers together: 2 MiB, about a core's second-level cache."""


def chunk_size(networks: tuple[MLP, ...], batch: int, device: torch.device) -> int:
    """Samples of a chunk: all on a GPU, as many as fit into the cache on a CPU."""
    if device.type != "cpu":
        return batch
    width = max(sum(len(bias) for _, bias in network.tensors()) for network in networks)
    return min(batch, max(128, CACHED_VALUES // width // 128 * 128))


def forward(layers: Layers, x: Tensor) -> list[Tensor]:
    """What each layer makes of [B, inputs], after its ELU; the last is the network's output [B, outputs]."""
    outputs: list[Tensor] = []
    for i, (weight, bias) in enumerate(layers):
        x = functional.linear(x, weight, bias)
        if i < len(layers) - 1:
            x = functional.elu(x)
        outputs.append(x)
    return outputs


def backward(layers: Layers, x: Tensor, outputs: list[Tensor], gradient: Tensor) -> Layers:
    """Gradients by each layer's weight and bias.

    Args:
        layers: as in `forward`.
        x: its input, [B, inputs].
        outputs: its results.
        gradient: gradient by the last of them, [B, outputs].
    """
    gradients: Layers = []
    for i in reversed(range(len(layers))):
        into = outputs[i - 1] if i else x
        gradients.append((gradient.t() @ into, gradient.sum(0)))
        if i:
            # an ELU's derivative from its result: 1 where positive, else result + 1
            gradient = (gradient @ layers[i][0]) * (into.clamp(max=0.0) + 1.0)
    return gradients[::-1]
