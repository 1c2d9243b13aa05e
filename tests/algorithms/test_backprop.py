"""The hand-written passes of an MLP against autograd, in one piece and in chunks."""

from __future__ import annotations

import pytest
import torch

from algorithms.backprop import added_up, backward, forward, pair
from algorithms.mlp import MLP, Mirror

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
        gradients = mlp.gradients(added_up(backward(layers, x, outputs, by_output)))
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


def test_a_pair_of_networks_is_both_of_them() -> None:
    torch.manual_seed(0)
    x, mlps = torch.randn(50, 4), [MLP((4, 8, 6, outputs), "default", 1.0) for outputs in (3, 1)]
    by_output = torch.randn(2, 50, 3)
    by_output[1, :, 1:] = 0.0  # the second has one output
    with torch.no_grad():
        alone = [mlp.tensors() for mlp in mlps]
        both = pair(*alone)
        outputs = forward(both, x)
        found = added_up(backward(both, x, outputs, by_output))
        for i, layers in enumerate(alone):
            own, size = forward(layers, x), len(layers[-1][1])
            torch.testing.assert_close(outputs[-1][i, :, :size], own[-1])
            wanted = added_up(backward(layers, x, own, by_output[i, :, :size]))
            for (weight, bias), (by_weight, by_its_bias) in zip(wanted, found, strict=True):
                torch.testing.assert_close(by_weight[i, : len(bias)], weight)
                torch.testing.assert_close(by_its_bias[i, : len(bias)], bias)
