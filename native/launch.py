"""How torch's work gets onto a GPU: few kernels (compiled pieces), queued once (CUDA graphs).

A GPU that is fed operator by operator waits for its host: an iteration of training is thousands of kernels of
microseconds each. A graph queues them all with one call; a compiled piece makes one kernel of many operators.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch

from native.compiler import cache_folder

T = TypeVar("T")

WARM_UP = 2
"""Calls before a capture: what is made once (handles, optimiser state, compiled pieces) must not be in a graph."""


class Graphs:
    """The CUDA graphs of one owner: they share memory, so that only one of them may run at a time."""

    def __init__(self, device: torch.device, generators: Iterable[torch.Generator] = (), on: bool = True):
        """Prepare.

        Args:
            device: where the work is done; on a CPU functions are simply called.
            generators: every random generator that the functions use.
            on: False calls functions as they are, on a GPU too.
        """
        self.on = on and device.type == "cuda"
        """Whether functions become graphs."""
        self.generators = list(generators)
        if self.on:
            self.stream = _side_stream(device)
            self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], T]) -> Replay[T]:
        """The function as a graph, see `Replay`."""
        return Replay(function, self)


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all captures on a device: libraries keep memory for each stream that they have seen."""
    return torch.cuda.Stream(device)


class Replay(Generic[T]):
    """A function that works on the same tensors in every call, queued as a CUDA graph from the third call on.

    Whatever changes from call to call must be a tensor that is changed in place; what the function returns is
    overwritten by the next call. Where capture is impossible one line says why, and the function is called as it is.
    """

    def __init__(self, function: Callable[[], T], graphs: Graphs):
        """See `Graphs`."""
        self.function, self._graphs = function, graphs
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Any = None

    @property
    def captured(self) -> bool:
        """Whether calls are replays."""
        return self._graph is not None

    def __call__(self) -> T:
        """Queue the function's work; returns what it returns."""
        if not self._graphs.on:
            return self.function()
        if self._graph is None:
            if self._calls < WARM_UP:
                self._calls += 1
                return self._warm_up()
            self._capture()
        if self._graph is None:
            return self.function()
        self._graph.replay()
        return self._result

    def _warm_up(self) -> T:
        stream = self._graphs.stream
        here = torch.cuda.current_stream(stream.device)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            result = self.function()
        here.wait_stream(stream)
        return result

    def _capture(self) -> None:
        graphs, graph = self._graphs, torch.cuda.CUDAGraph()
        for generator in graphs.generators:
            graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, pool=graphs.pool, stream=graphs.stream):
                self._result = self.function()
        except RuntimeError as error:  # nothing of it has run
            graphs.on = False
            for generator in graphs.generators:  # which believe that they are still being captured
                generator.graphsafe_set_state(generator.clone_state())
            first = str(error).strip().splitlines()[0]
            print(f"no CUDA graph, so the GPU waits for each launch: {first}", flush=True)
        else:
            self._graph = graph


def repeat(function: Callable[[], Any], times: int, device: torch.device, generator: torch.Generator) -> None:
    """Call a function (see `Replay`) that counts its calls in a tensor, if at all."""
    replay = Graphs(device, [generator])(function)
    for _ in range(times):
        replay()


def fused(function: Callable[..., T], backend: str = "inductor") -> Callable[..., T]:
    """The function with its torch operators compiled into few kernels, which are kept for later runs."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    if backend != "inductor":
        return torch.compile(function, dynamic=False, backend=backend)
    from torch._inductor import config  # takes a second, which who does not compile need not wait

    options = {name: value for name, value in OPTIONS.items() if hasattr(config, name)}
    return torch.compile(function, dynamic=False, options=options)


OPTIONS: dict[str, Any] = {
    "combo_kernels": True,  # kernels that do not need one another's results become one
    "benchmark_combo_kernel": False,
    "deterministic": True,  # no choice by timing, which would change sums from run to run
}
"""Of torch's compiler, as far as its version knows them."""


def prepare(device: torch.device) -> None:
    """Make a GPU the one that is meant, and its matrix products fast and repeatable; called before the first of them.

    Products take TF32 inputs (10 bits of mantissa; sums and all else stay float32), as is usual for policies.
    cuBLAS picks its algorithms independently of what ran before only with a workspace of its own.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cuda.matmul.allow_tf32 = True
        if device.index is not None:
            torch.cuda.set_device(device)
