"""Compiled code: a compiler's cache, and the SIMD scalars that generated and hand-written C++ share."""

from native.compiler import SIMD, NoCompiler, build, cache_folder

__all__ = ["SIMD", "NoCompiler", "build", "cache_folder"]
