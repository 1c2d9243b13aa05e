"""Marks of tests that need a GPU: skipped without one, and run by themselves by `make test-gpu`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

GPU_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)
"""For `pytest.param(..., marks=GPU_MARKS)`."""


def needs_gpu(test: Callable) -> Callable:
    """Decorates a test."""
    for mark in GPU_MARKS:
        test = mark(test)
    return test
