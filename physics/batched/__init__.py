"""MuJoCo's physics for legged robots, written once over abstract scalars and traced to SIMD code."""

from native import NoCompiler
from physics.batched.cuda import NoCuda
from physics.batched.engine import BatchedEngine
from physics.batched.support import UnsupportedModel

__all__ = ["BatchedEngine", "NoCompiler", "NoCuda", "UnsupportedModel"]
