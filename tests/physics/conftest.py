"""The engines that the tests of what all engines promise run on."""

from __future__ import annotations

import pytest

from physics import BatchedEngine, MujocoEngine
from tests.physics.common import AnyEngine


@pytest.fixture(params=[MujocoEngine, BatchedEngine], ids=["mujoco", "batched"])
def engine_class(request: pytest.FixtureRequest) -> type[AnyEngine]:
    """Each engine in turn."""
    return request.param
