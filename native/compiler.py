"""Compiles generated C++ once per machine: shared libraries in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SIMD = Path(__file__).parent / "cpu.h"
"""Header of scalars that are vectors of the CPU: V, M, load, store, ..."""
INSTRUCTION_SETS = {
    "native": ["-march=native"],
    "avx2": ["-mavx2", "-mfma"],
    "plain": [],
}
"""Flags of the instruction sets that can be asked for."""
# NaN and infinity keep their meaning (no -ffast-math): a robot that diverges must be seen. Products and sums
# may be fused, and the sign of zero is nobody's business.
FLAGS = [
    "-std=c++17",
    "-O2",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
    "-shared",
    "-fPIC",
    "-w",
]


class NoCompiler(RuntimeError):
    """No C++ compiler, or one that fails."""


def cache_folder() -> Path:
    """Where compiled code is kept: `$TROT_CACHE`, else `trot` in the user's cache folder."""
    if chosen := os.environ.get("TROT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "trot"


@cache
def find_compiler() -> tuple[str, str]:
    """Path and version of the C++ compiler; NoCompiler if there is none."""
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")):
        path = shutil.which(name)
        if path:
            found = subprocess.run([path, "--version"], capture_output=True, text=True)
            if found.returncode == 0:
                return path, found.stdout.splitlines()[0]
    raise NoCompiler("no C++ compiler found (install g++ or clang++, or set CXX)")


@cache
def cpu_features() -> str:
    """What tells one CPU's instruction set from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(x for x in lines if x.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return platform.machine() + features


def build(source: str, instruction_set: str = "native") -> ctypes.CDLL:
    """Compile C++ source, or load it from the cache.

    Safe when many processes do it at once: the library appears under its name complete or not at all.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    compiler, version = find_compiler()
    flags = FLAGS + INSTRUCTION_SETS[instruction_set]
    for parallel in (["-fopenmp"], []):  # without OpenMP (some Clangs) the code runs in one thread
        key = "\0".join([source, *flags, *parallel, compiler, version, cpu_features()])
        try:
            folder = cache_folder()
            library = folder / f"native_{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
            if not library.exists():
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    code, out = Path(scratch) / "code.cpp", Path(scratch) / "code.so"
                    code.write_text(source)
                    command = [compiler, *flags, *parallel, str(code), "-o", str(out)]
                    result = subprocess.run(command, capture_output=True, text=True)
                    if result.returncode:
                        lines = result.stderr.strip().splitlines()
                        message = next((x for x in lines if "error" in x), "no message")
                        continue
                    os.replace(out, library)
            return ctypes.CDLL(str(library))
        except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
            raise NoCompiler(
                f"cannot keep compiled code ({error}): set TROT_CACHE to a folder for it"
            ) from error
    raise NoCompiler(f"{compiler} fails: {message}")
