"""Forward and backward passes of an MLP written out, in buffers that are allocated once.

A mini-batch goes through in chunks whose activations stay in a core's cache, each pass reuses the same
memory, and the exponential of an ELU is computed once. Autograd still differentiates how a layer makes its
weight (tied weights of mirror-symmetric networks), which does not depend on the number of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.mlp import MLP

CACHED_VALUES = 2**19
"""Activations of a chunk, all hidden layers together: 2 MiB, about a core's second-level cache."""


def chunk_size(networks: tuple[MLP, ...], batch: int, device: torch.device) -> int:
    """Samples of a chunk: all on a GPU, as many as fit into the cache on a CPU."""
    if device.type != "cpu":
        return batch
    width = max(sum(len(bias) for _, bias in network.tensors()) for network in networks)
    return min(batch, max(128, CACHED_VALUES // width // 128 * 128))


class Backprop:
    """Adds up the gradient of one MLP over the chunks of a mini-batch."""

    def __init__(self, mlp: MLP, rows: int, device: torch.device):
        """Allocate for chunks of at most `rows` samples."""
        self.mlp = mlp
        tensors = mlp.tensors()
        self._outputs = [torch.zeros(rows, len(bias), device=device) for _, bias in tensors]
        self._scratch = [torch.zeros_like(output) for output in self._outputs]
        self._weight_grads = [torch.zeros_like(weight) for weight, _ in tensors]
        self._bias_grads = [torch.zeros_like(bias) for _, bias in tensors]
        self._ones = torch.ones(rows, device=device)
        self._fast_elu = device.type == "cpu"

    def begin(self) -> None:
        """Start a mini-batch: take the weights as they are, forget gradients."""
        with torch.enable_grad():
            self._tensors = self.mlp.tensors()
        self._weights = [(weight.detach(), bias.detach()) for weight, bias in self._tensors]
        torch._foreach_zero_(self._weight_grads + self._bias_grads)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]; the result is overwritten by the next call."""
        self._input, last = x, len(self._weights) - 1
        for i, (weight, bias) in enumerate(self._weights):
            output = self._outputs[i][: len(x)]
            torch.addmm(bias, x, weight.t(), out=output)
            if i < last:
                self._elu(output, self._scratch[i][: len(x)])
            x = output
        return x

    def _elu(self, x: Tensor, scratch: Tensor) -> None:
        if self._fast_elu:
            # max(x, exp(min(x, 0)) - 1): on a CPU torch's ELU takes a slower, more exact exponential.
            torch.clamp_max(x, 0.0, out=scratch)
            torch.maximum(x, scratch.exp_().sub_(1.0), out=x)
        else:
            torch.ops.aten.elu_(x)

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Add the gradient of the last `forward`, given the gradient by its result, [B, outputs]."""
        rows = len(gradient)
        for i in reversed(range(len(self._weights))):
            x = self._outputs[i - 1][:rows] if i else self._input
            self._weight_grads[i].addmm_(gradient.t(), x)
            self._bias_grads[i].addmv_(gradient.t(), self._ones[:rows])
            if i:
                by_output = torch.mm(gradient, self._weights[i][0], out=self._scratch[i - 1][:rows])
                # derivative of an ELU from its result: 1 where positive, else result + 1
                gradient = torch.ops.aten.elu_backward.grad_input(
                    by_output, 1.0, 1.0, 1.0, True, x, grad_input=by_output
                )

    def finish(self) -> None:
        """Hand the sum over to the parameters' `.grad`, which must be empty."""
        tensors = [tensor for pair in self._tensors for tensor in pair]
        gradients = [g for pair in zip(self._weight_grads, self._bias_grads, strict=True) for g in pair]
        torch.autograd.backward(tensors, gradients)
        self._tensors = []
