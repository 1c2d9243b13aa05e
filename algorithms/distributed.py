"""Several processes train one policy: each has robots of its own, and they agree on all that is learned from them.

torchrun starts them, one a GPU, on one machine or several. Gradients, statistics of observations and advantages,
counts of the curricula and figures of the log are summed over all by torch.distributed: NCCL between GPUs, in the
CUDA graphs of an iteration, and Gloo between CPUs. Everything else follows from the same numbers in the same way, so
that weights stay equal to the bit. With Gloo this is tested; NCCL, and graphs with its calls in them, have not been
run on GPUs yet.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others: longer than any evaluation, which the first one does alone."""
APART = 1_000_003
"""Between the seeds of processes."""


class Ranks:
    """This process among all that train together; for a single one everything here does nothing.

    What takes tensors works in place on those of one dtype and device, asks nothing of the host, and must be called
    by every process in the same order.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        """Process `rank` of `size`; see `connected`."""
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this one prints, logs, evaluates and saves for all."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed for this process alone; the first one's is `seed`."""
        return seed + APART * self.rank

    # ------------------------------------------------------------------ tensors

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one call."""
        if self.size > 1:
            self._reduce(tensors, 1.0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their averages over all processes, in one call."""
        if self.size > 1:
            self._reduce(tensors, 1.0 / self.size)

    def _reduce(self, tensors: Sequence[Tensor], factor: float) -> None:
        flat = torch.cat([x.reshape(-1) for x in tensors])
        dist.all_reduce(flat)
        parts = flat.mul_(factor).split([x.numel() for x in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(x) for x, part in zip(tensors, parts, strict=True)])

    def pool(self, mean: Tensor, var: Tensor) -> None:
        """Replace mean and variance of samples, as many in each process, by those of all (Chan et al. 1979).

        Args:
            mean: of any shape.
            var: of the same shape; not the unbiased one.
        """
        if self.size > 1:
            own = mean.clone()
            self.average([mean])
            var.add_((own - mean).square())
            self.average([var])

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by the first process's."""
        if self.size > 1:
            for x in tensors:
                dist.broadcast(x, 0)

    # ------------------------------------------------------------------ what the host does

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    def gather(self, value: T) -> list[T]:
        """Every process's value, in their order."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def agree(self, value: T | None) -> T | None:
        """The value of the first process that has one, for all."""
        return next((x for x in self.gather(value) if x is not None), None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All get through this, or one ends with its error and the others without a word, with exit status 2.

        What is done within must not wait for other processes.
        """
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        failed = self.gather(error is not None)
        if error and failed.index(True) == self.rank:
            raise error
        if any(failed):
            sys.exit(2)

    def say(self, text: str) -> None:
        """Print, if this is the first process."""
        if self.first:
            print(text, flush=True)


ALONE = Ranks()
"""A single process."""


@contextmanager
def connected() -> Iterator[Ranks]:
    """This process with the others of torchrun (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT say which), or alone."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    # between CPUs too where there are GPUs: what the host does waits for no device
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = dist.PrefixStore(_meet(store, rank, size), store)
    dist.init_process_group(backend, timeout=TIMEOUT, world_size=size, rank=rank, store=store)
    yield Ranks(rank, size)
    # not after an error: others may be waiting for this process, and end with it
    dist.destroy_process_group()


def _meet(store: dist.Store, rank: int, size: int) -> str:
    """A name that the processes of this attempt alone know: torchrun's store keeps what killed ones left there.

    The first process answers whoever greets it, those of earlier attempts too, until all of this one have taken note.
    """
    if rank > 0:
        greeting = uuid4().hex
        store.set(f"greeting_{rank}", greeting)
        name = store.get(greeting).decode()
        store.set(f"{name}_{rank}", "")
        return name
    name, missing = uuid4().hex, set(range(1, size))
    while missing:
        for other in missing:
            if store.check([f"greeting_{other}"]):
                store.set(store.get(f"greeting_{other}").decode(), name)
        missing = {other for other in missing if not store.check([f"{name}_{other}"])}
        time.sleep(0.01)
    return name
