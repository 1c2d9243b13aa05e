"""Every test runs with one torch thread and from one state of torch's random numbers.

One thread: the tensors are tiny, and more threads only wait for one another. One state: else what a test draws would
depend on the tests that its worker ran before it, and one that fails once in a hundred draws would fail some days.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before fixtures of any scope are made."""
    torch.manual_seed(0)
