"""The hand-written passes of an MLP against autograd, in one piece and in chunks."""

from __future__ import annotations

import pytest
import torch

from algorithms.backprop import backward, chunk_size, forward
from algorithms.mlp import MLP, Mirror

CPU = torch.device("cpu")
SIZES = (4, 8, 6, 2)
IN_MIRROR: Mirror = (torch.tensor([1, 0, 2, 3]), torch.tensor([1.0, 1.0, -1.0, 1.0]))
OUT_MIRROR: Mirror = (torch.tensor([1, 0]), torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize("mirrors", [None, (IN_MIRROR, OUT_MIRROR)])
def test_gradients_equal_autograd(mirrors: tuple[Mirror, Mirror] | None) -> None:
    torch.manual_seed(0)
    mlp = MLP(SIZES, "default", 1.0, mirrors)
    x, by_output = torch.randn(50, SIZES[0]) * 3.0, torch.randn(50, SIZES[-1])
    expected = mlp(x)
    expected.backward(by_output)
    with torch.no_grad():
        layers = mlp.tensors()
        outputs = forward(layers, x)
        gradients = mlp.gradients(backward(layers, x, outputs, by_output))
    torch.testing.assert_close(outputs[-1], expected.detach(), rtol=1e-5, atol=1e-6)
    for parameter, gradient in zip(mlp.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_weights_are_held_while_asked_for_and_no_longer() -> None:
    mlp, x = MLP(SIZES, "default", 1.0, (IN_MIRROR, OUT_MIRROR)), torch.randn(5, SIZES[0])
    with torch.no_grad(), mlp.held():
        first = mlp(x)
        next(mlp.parameters()).mul_(2.0)
        assert torch.equal(mlp(x), first)
    assert not torch.equal(mlp(x), first)


def test_chunks_fit_the_cache_and_the_mini_batch() -> None:
    small, large = MLP((48, 128, 64, 32, 12), "default", 1.0), MLP((48, 512, 256, 128, 12), "default", 1.0)
    assert chunk_size((small, small), 6144, CPU) > chunk_size((small, large), 6144, CPU) >= 128
    assert chunk_size((small, small), 100, CPU) == 100
    assert chunk_size((large, large), 24576, torch.device("cuda")) == 24576
