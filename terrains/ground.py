"""The ground as every engine, sensor and viewer sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plane:
    """An infinite horizontal plane at z = 0."""


Ground = Plane
"""Every kind of ground an engine may be given."""
