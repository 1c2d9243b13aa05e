"""Rejects what makes a GPU wait for the host: numbers read back, shapes that depend on values, copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS_A_VALUE = {
    "aten::_local_scalar_dense",  # item(), float(), bool(), `if tensor:`
    "aten::equal",
    "aten::is_nonzero",
    "aten::item",
}
SHAPE_DEPENDS_ON_VALUES = {
    "aten::bincount",
    "aten::masked_select",
    "aten::nonzero",
    "aten::nonzero_numpy",
    "aten::repeat_interleave",
    "aten::unique_consecutive",
    "aten::unique_dim",
    "aten::_unique2",
}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}

# what a CPU tensor does without any operator that a dispatcher could see
METHODS = {"cpu", "item", "numpy", "tolist", "__array__", "__bool__", "__float__", "__index__", "__int__"}
# tensors made from host memory
FUNCTIONS = {torch.tensor: "tensor", torch.as_tensor: "as_tensor", torch.from_numpy: "from_numpy"}


class SlowOperationError(AssertionError):
    """A step, rollout or update did something that would stop a GPU."""


class _Operators(TorchDispatchMode):
    def __init__(self, guard: SpeedGuard):
        super().__init__()
        self.guard = guard

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.guard.on:
            self._check(func._schema.name, args, kwargs)
        return func(*args, **kwargs)

    def _check(self, name: str, args: Any, kwargs: Any) -> None:
        if name in READS_A_VALUE | SHAPE_DEPENDS_ON_VALUES:
            raise SlowOperationError(name)
        if name in INDEXING:
            indices = [index for index in args[1] if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                raise SlowOperationError(f"{name} with a mask")
        if name == "aten::_to_copy" and kwargs.get("device") not in (None, args[0].device):
            raise SlowOperationError(f"{name} to {kwargs['device']}")
        if name == "aten::copy_" and args[0].device != args[1].device:
            raise SlowOperationError(f"{name} to {args[0].device}")


class _Functions(TorchFunctionMode):
    def __init__(self, guard: SpeedGuard):
        super().__init__()
        self.guard = guard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.guard.on:
            name = getattr(func, "__name__", "")
            if name in METHODS and getattr(Tensor, name, None) is func:
                raise SlowOperationError(f"Tensor.{name}")
            if func in FUNCTIONS:
                raise SlowOperationError(f"torch.{FUNCTIONS[func]}")
        return func(*args, **(kwargs or {}))


class SpeedGuard:
    """Within `with SpeedGuard() as guard`, slow operations raise, but not within `guard.off()`."""

    def __init__(self) -> None:
        self.on = True
        self._stack = ExitStack()

    def __enter__(self) -> SpeedGuard:
        self._stack.enter_context(_Functions(self))
        self._stack.enter_context(_Operators(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Look away, for an engine that runs on the CPU anyway."""
        before, self.on = self.on, False
        try:
            yield
        finally:
            self.on = before


class UnguardedEngine:
    """An engine whose methods may do what they like."""

    def __init__(self, engine: Any, guard: SpeedGuard):
        self._engine, self._guard = engine, guard

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        if not callable(attribute):
            return attribute

        def method(*args: Any, **kwargs: Any) -> Any:
            with self._guard.off():
                return attribute(*args, **kwargs)

        return method
