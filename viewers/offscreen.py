"""Draw MuJoCo scenes without a window, with whichever OpenGL this machine has."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from typing import Any

ADVICE = "install OpenGL, on Debian and Ubuntu: apt install libegl1 libgl1"
_OFF = ("disable", "disabled", "off", "false", "0")
_WINDOWED = ("enable", "enabled", "on", "true", "1", "glx", "wgl")
_PROBE = """
import importlib, sys, mujoco
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(16, 16)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100).free()
context.free()
"""


class NoOpenGLError(RuntimeError):
    """Nothing on this machine can draw; the message says what to install."""


def find_backend() -> str:
    """Name of the MuJoCo OpenGL module that works: egl, osmesa, glfw or cgl.

    The environment variable MUJOCO_GL decides where it is set, as everywhere in MuJoCo.

    Raises:
        NoOpenGLError: none works.
    """
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked in _OFF:
        raise NoOpenGLError(f"MUJOCO_GL={asked} switches OpenGL off")
    if asked:
        choices: tuple[str, ...] = ("glfw" if asked in _WINDOWED else asked,)
    elif sys.platform == "darwin":
        choices = ("cgl", "glfw")
    else:
        choices = ("egl", "osmesa") if sys.platform.startswith("linux") else ("glfw",)
    for name in choices:
        if _works(name):
            return name
    raise NoOpenGLError(f"{f'MUJOCO_GL={asked} does not work' if asked else 'no OpenGL'} here ({ADVICE})")


@functools.cache
def _works(name: str) -> bool:
    """Try in another process: a failed attempt spoils OpenGL for the process that made it, or ends it."""
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, name], env=environment, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def open_context(width: int, height: int) -> Any:
    """An OpenGL context of MuJoCo's modules, made current; it has `make_current` and `free`.

    Raises:
        NoOpenGLError: nothing on this machine can draw.
    """
    # mujoco.Renderer fixes its OpenGL when mujoco is imported, too early to choose one that works
    name = find_backend()
    if name in ("egl", "osmesa"):
        os.environ.setdefault("PYOPENGL_PLATFORM", name)
    context = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
    context.make_current()
    return context
