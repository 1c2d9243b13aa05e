"""Draw MuJoCo scenes without a window, with whichever OpenGL this machine has."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from types import TracebackType

import mujoco
import numpy as np

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


class Offscreen:
    """Context manager around an OpenGL context; fill `scene`, then `render`."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int, max_geoms: int):
        """Prepare pictures of `width` x `height` pixels of scenes of up to `max_geoms` geoms.

        Raises:
            NoOpenGLError: nothing on this machine can draw.
        """
        # mujoco.Renderer fixes its OpenGL when mujoco is imported, too early to choose one that works.
        backend = importlib.import_module(f"mujoco.{find_backend()}")
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self.scene = mujoco.MjvScene(model, max_geoms)
        self._gl = backend.GLContext(width, height)
        self._gl.make_current()
        font = int(np.clip(50 * round(height / 360), 50, 300))  # the sizes there are: 50, 100 ... 300 %
        self._context = mujoco.MjrContext(model, font)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)

    def render(self, text: str = "", values: str = "") -> np.ndarray:
        """Draw the scene; uint8 [height, width, 3], reused by the next call.

        Args:
            text: lines in the lower left corner.
            values: what stands beside each of them.
        """
        self._gl.make_current()  # there may be several
        mujoco.mjr_render(self._rect, self.scene, self._context)
        if text:
            mujoco.mjr_overlay(
                mujoco.mjtFont.mjFONT_NORMAL,
                mujoco.mjtGridPos.mjGRID_BOTTOMLEFT,
                self._rect,
                text,
                values,
                self._context,
            )
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1]

    def __enter__(self) -> Offscreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()
