"""CUDA graphs on a CPU: torch's operators are recorded with the tensors they worked on, and done again.

As on a GPU, whatever Python decides or computes while it is recorded is frozen, results lie where they lay, and only
random generators go on. What is no operator of torch (compiled physics) is recorded by `recorded`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

from native.launch import Graphs, Replay

Call = Callable[[], None]


class _Recorder(TorchDispatchMode):
    def __init__(self, calls: list[Call]):
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = {id(x) for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)}
        storages = {
            x.untyped_storage().data_ptr() for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)
        }
        # results in memory of their own are written again; views and changed inputs are where they were
        fresh = [
            (i, x)
            for i, x in enumerate(tree_flatten(result)[0])
            if isinstance(x, Tensor)
            and id(x) not in inputs
            and x.untyped_storage().data_ptr() not in storages
        ]
        changes = func._schema.is_mutable

        def again() -> None:
            if not fresh and not changes:
                return
            with torch.no_grad():
                outcome = tree_flatten(func(*args, **kwargs))[0]
            for i, x in fresh:
                x.detach().copy_(outcome[i].reshape(x.shape))  # some are squeezed in place

        self.calls.append(again)
        return result


class _Tape:
    """Stands for a `torch.cuda.CUDAGraph`."""

    def __init__(self, calls: list[Call]):
        # A capture runs nothing of what it records; here it did, so the first replay has happened.
        self.calls, self._first = calls, True

    def replay(self) -> None:
        """Do it all again."""
        for call in () if self._first else self.calls:
            call()
        self._first = False


def emulate_graphs(patch: pytest.MonkeyPatch, *others: tuple[Any, str]) -> list[_Tape]:
    """Let functions become graphs here.

    Args:
        patch: undoes it.
        others: owner and name of what works on tensors without being an operator of torch.

    Returns:
        the graphs, as they are captured.
    """
    recording: list[list[Call]] = []
    tapes: list[_Tape] = []

    def capture(self: Replay) -> None:
        recording.append([])
        with _Recorder(recording[-1]):
            self._result = self.function()
        tapes.append(_Tape(recording.pop()))
        self._graph = tapes[-1]  # type: ignore[assignment]

    def recorded(method: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            with _disable_current_modes():
                result = method(*args, **kwargs)
            if recording:
                recording[-1].append(lambda: method(*args, **kwargs))
            return result

        return call

    for owner, name in others:
        patch.setattr(owner, name, recorded(getattr(owner, name)))
    start = Graphs.__init__

    def switched_on(
        self: Graphs, device: torch.device, generators: Iterable[torch.Generator] = (), on: bool = True
    ) -> None:
        start(self, device, generators, on)
        self.on = on

    patch.setattr(Graphs, "__init__", switched_on)
    patch.setattr(Replay, "_warm_up", lambda self: self.function())
    patch.setattr(Replay, "_capture", capture)
    return tapes
