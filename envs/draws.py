"""Random numbers: drawn one by one, or those of a whole step at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def one_seed(seed: int | Sequence[int | None] | None) -> int | None:
    """One seed of what vector environments are given: a number, one for each robot, or none."""
    if not isinstance(seed, Sequence):
        return seed
    known = [each for each in seed if each is not None]
    return int(np.random.SeedSequence(known).generate_state(1)[0]) if known else None


Uniform = Callable[..., Tensor]
"""(bounds, *shape) -> random numbers [N, *shape], uniform in bounds."""


class Draws:
    """Random numbers of N robots."""

    def __init__(self, num_envs: int, columns: int, generator: torch.Generator):
        """Prepare.

        Args:
            num_envs: number of robots N.
            columns: numbers that a robot needs in a step.
            generator: the source.
        """
        self.generator = generator
        self.numbers = torch.zeros(num_envs, columns, device=generator.device)
        """Those of this step, uniform in [0, 1), [N, columns]."""

    def uniform(self, bounds: tuple[float, float], *shape: int) -> Tensor:
        """New numbers [N, *shape], uniform in `bounds`."""
        num_envs, device = len(self.numbers), self.numbers.device
        sample = torch.rand(num_envs, *shape, generator=self.generator, device=device)
        return sample.mul_(bounds[1] - bounds[0]).add_(bounds[0])

    def renew(self) -> None:
        """Draw the numbers of the next step, all at once: on a GPU each draw is a launch."""
        self.numbers.uniform_(generator=self.generator)

    def shares(self, first: int = 0) -> Shares:
        """The numbers of this step, to be used up from column `first` (from the end if negative) on."""
        return Shares(self.numbers[:, first:])


class Shares:
    """An `Uniform` that hands out columns of numbers that are there already."""

    def __init__(self, numbers: Tensor):
        """From the first of the columns [N, K], uniform in [0, 1)."""
        self.numbers, self.used = numbers, 0

    def __call__(self, bounds: tuple[float, float], *shape: int) -> Tensor:
        """The next columns; IndexError where there are no more."""
        first, count = self.used, math.prod(shape)
        self.used = first + count
        if self.used > self.numbers.shape[1]:
            raise IndexError(f"a step needs more than {self.numbers.shape[1]} random numbers a robot")
        chosen = self.numbers[:, first : self.used].unflatten(1, shape) if shape else self.numbers[:, first]
        return chosen * (bounds[1] - bounds[0]) + bounds[0]
