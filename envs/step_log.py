"""What a step reports: averages and counts over the robots, all made in one pass."""

from __future__ import annotations

import torch
from torch import Tensor


class Figures(dict[str, Tensor]):
    """Figures by name, 0-d each, which lie side by side."""

    def __init__(self, names: list[str], stacked: Tensor):
        """Names, and as many figures, [K]."""
        super().__init__(zip(names, stacked.unbind(), strict=True))
        self.stacked = stacked


class StepLog:
    """Collects a column [N] for each entry and sums all of them at once: on a GPU each sum would be a launch."""

    def __init__(self, done: Tensor):
        """For a step in which the episodes of the robots in `done` (bool, [N]) end."""
        self.done = done.float()
        self._names: list[str] = []
        self._columns: list[Tensor] = []
        self._numbers: list[Tensor] = []
        self._ended = self.done.sum().clamp(min=1.0)
        self._scalars: dict[str, Tensor] = {}

    def _add(self, name: str, column: Tensor, number: Tensor) -> None:
        self._names.append(name)
        self._columns.append(column)
        self._numbers.append(number)

    def episodes(self, name: str, column: Tensor) -> None:
        """Average over the episodes that end, 0 where none does."""
        self._add(name, column * self.done, self._ended)

    def robots(self, name: str, column: Tensor) -> None:
        """Average over all robots."""
        self._add(name, column, torch.full_like(self._ended, len(column)))

    def count(self, name: str, mask: Tensor) -> None:
        """Number of robots in `mask`."""
        self._add(name, mask.float(), torch.ones_like(self._ended))

    def among(self, name: str, column: Tensor, here: Tensor, number: Tensor) -> None:
        """Average over the robots in `here`, of which there are `number` (0-d, at least 1)."""
        self._add(name, column * here, number)

    def scalar(self, name: str, value: Tensor) -> None:
        """A number as it is, 0-d."""
        self._scalars[name] = value

    def names(self) -> list[str]:
        """Of all entries, in order."""
        return [*self._names, *self._scalars]

    def values(self) -> Tensor:
        """Of all entries, in order, [K]."""
        averages = torch.stack(self._columns).sum(1) / torch.stack(self._numbers)
        return torch.cat((averages, torch.stack(list(self._scalars.values())))) if self._scalars else averages
