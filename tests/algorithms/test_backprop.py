"""The hand-written passes of an MLP against autograd, in one piece and in chunks."""

from __future__ import annotations

import pytest
import torch

from algorithms.backprop import Backprop, chunk_size
from algorithms.mlp import MLP, Mirror

CPU = torch.device("cpu")
SIZES = (4, 8, 6, 2)
IN_MIRROR: Mirror = (torch.tensor([1, 0, 2, 3]), torch.tensor([1.0, 1.0, -1.0, 1.0]))
OUT_MIRROR: Mirror = (torch.tensor([1, 0]), torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize("mirrors", [None, (IN_MIRROR, OUT_MIRROR)])
@pytest.mark.parametrize("rows", [50, 16])
def test_gradients_equal_autograd(mirrors: tuple[Mirror, Mirror] | None, rows: int) -> None:
    torch.manual_seed(0)
    mlp = MLP(SIZES, "default", 1.0, mirrors)
    x, by_output = torch.randn(50, SIZES[0]) * 3.0, torch.randn(50, SIZES[-1])
    expected = mlp(x)
    expected.backward(by_output)
    gradients = [parameter.grad.clone() for parameter in mlp.parameters() if parameter.grad is not None]

    backprop = Backprop(mlp, rows, CPU)
    for _ in range(2):  # the second time in used buffers
        mlp.zero_grad()
        backprop.begin()
        outputs = []
        for part, gradient in zip(x.split(rows), by_output.split(rows), strict=True):
            outputs.append(backprop.forward(part).clone())
            backprop.backward(gradient)
        backprop.finish()
        torch.testing.assert_close(torch.cat(outputs), expected.detach(), rtol=1e-5, atol=1e-6)
        for parameter, gradient in zip(mlp.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_gradients_are_not_the_buffers() -> None:
    mlp = MLP(SIZES, "default", 1.0)
    backprop = Backprop(mlp, 4, CPU)
    backprop.begin()
    backprop.forward(torch.randn(4, SIZES[0]))
    backprop.backward(torch.ones(4, SIZES[-1]))
    backprop.finish()
    before = [parameter.grad.clone() for parameter in mlp.parameters() if parameter.grad is not None]
    backprop.begin()
    for parameter, gradient in zip(mlp.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0.0, atol=0.0)


def test_chunks_fit_the_cache_and_the_mini_batch() -> None:
    small, large = MLP((48, 128, 64, 32, 12), "default", 1.0), MLP((48, 512, 256, 128, 12), "default", 1.0)
    assert chunk_size((small, small), 6144, CPU) > chunk_size((small, large), 6144, CPU) >= 128
    assert chunk_size((small, small), 100, CPU) == 100
    assert chunk_size((large, large), 24576, torch.device("cuda")) == 24576
