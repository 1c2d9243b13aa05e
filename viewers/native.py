"""Robots in MuJoCo's own window, steered by its keyboard."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

import mujoco
import numpy as np

from viewers.shown import Shown

# ---------------------------------------------------------------------- keys

FORWARD, SIDEWAYS, TURN = 0.25, 0.2, 0.25
"""What a key adds to the command, m/s, m/s and rad/s: MuJoCo's window does not tell when one is let go."""
STEERING = {"W": (0, FORWARD), "S": (0, -FORWARD), "A": (1, SIDEWAYS), "D": (1, -SIDEWAYS),
            "Q": (2, TURN), "E": (2, -TURN)}  # fmt: skip
LIMITS = (1.5, 1.0, 1.5)
"""Largest command, m/s, m/s and rad/s."""
SPEEDS = (0.1, 0.25, 0.5, 1.0)
"""Of time; 1 is real time."""
PUSH = 1.0
"""Velocity that a push adds to the left, m/s."""
HELP = (
    ("W S", "faster forwards, backwards"),
    ("A D", "to the left, right"),
    ("Q E", "turn left, right"),
    ("X", "stand"),
    ("space", "pause"),
    ("N", "one step"),
    ("- =", "slower, faster time"),
    ("R", "reset"),
    ("P", "push"),
)


@dataclass(frozen=True)
class Controls:
    """What keys have set."""

    command: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """vx, vy (m/s) and yaw rate (rad/s)."""
    paused: bool = False
    """Time stands."""
    speed: float = 1.0
    """Of time."""


def press(controls: Controls, key: int) -> tuple[Controls, str]:
    """What a key changes.

    Args:
        controls: as they are.
        key: code of GLFW, for letters that of the capital.

    Returns:
        as they are now; what happens once: reset, push, step, or nothing.
    """
    letter = chr(key) if 32 <= key < 127 else ""
    if letter in STEERING:
        axis, change = STEERING[letter]
        command = list(controls.command)
        command[axis] = round(min(max(command[axis] + change, -LIMITS[axis]), LIMITS[axis]), 6)
        return replace(controls, command=(command[0], command[1], command[2])), ""
    if letter in ("-", "="):
        index = SPEEDS.index(controls.speed) + (1 if letter == "=" else -1)
        return replace(controls, speed=SPEEDS[min(max(index, 0), len(SPEEDS) - 1)]), ""
    if letter == "X":
        return replace(controls, command=(0.0, 0.0, 0.0)), ""
    if letter == " ":
        return replace(controls, paused=not controls.paused), ""
    if letter == "N":
        return replace(controls, paused=True), "step"
    return controls, {"R": "reset", "P": "push"}.get(letter, "")


def our_flags(strings: Any) -> list[int]:
    """Flags of MuJoCo's drawing whose key is one of ours: the window switches them whenever it is pressed.

    Args:
        strings: `mujoco.mjVISSTRING` or `mjRNDSTRING`: name, default and key of each flag.
    """
    return [i for i, (_, _, key) in enumerate(strings) if key and key in {*STEERING, *"XNRP-="}]


# ---------------------------------------------------------------------- the window

WITHOUT = "--viewer web shows the same in a browser, from a machine without a display too"
_PROBE = """
import sys, warnings, glfw
warnings.simplefilter("ignore")
if not glfw.init():
    sys.exit("no display can be opened")
glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
if not glfw.create_window(64, 64, "", None, None):
    sys.exit("its display has no OpenGL")
"""
_FRAME = 1.0 / 60.0
_MOST_CATCHING_UP = 0.1
_SLOWEST = 0.05
"""Velocities below have no arrow, m/s."""
_GREEN, _BLUE = (0.1, 0.62, 0.31, 1.0), (0.14, 0.35, 0.84, 1.0)
"""Command, measured velocity."""


def check_display() -> None:
    """ValueError with one sentence where no window can be opened; MuJoCo would end the process."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise ValueError(f"--viewer native needs a display, and DISPLAY is not set; {WITHOUT}")
    if sys.platform == "darwin" and "mjpython" not in os.path.basename(
        sys.executable
    ).lower() + os.environ.get("MJPYTHON_BIN", ""):
        raise ValueError(
            f"--viewer native on macOS must be started with mjpython instead of python; {WITHOUT}"
        )
    try:  # in another process: what fails may end it
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"--viewer native cannot open a window here; {WITHOUT}") from error
    if probe.returncode:
        why = (probe.stderr.strip().splitlines() or ["it fails"])[-1]
        raise ValueError(f"--viewer native cannot open a window here ({why}); {WITHOUT}")


def show(
    simulation: Shown, command: tuple[float, float, float] = (0.0, 0.0, 0.0), seconds: float = 0.0
) -> None:
    """Simulate in real time and draw, until the window is closed or for a time (s).

    Args:
        simulation: the robots.
        command: to begin with.
        seconds: 0 for ever.
    """
    keys: SimpleQueue[int] = SimpleQueue()
    controls = Controls(command=command)
    simulation.command(command)
    print("\n".join(f"{name:>7}  {what}" for name, what in HELP), flush=True)
    window: Window
    with open_window(simulation, keys) as window:
        start = last = time.monotonic()
        due = 0.0
        while window.is_open() and (not seconds or last - start < seconds):
            steps = 0
            for key in _waiting(keys):
                controls, once = press(controls, key)
                steps += once == "step"
                _act(simulation, once)
            simulation.command(controls.command)
            now = time.monotonic()
            due += 0.0 if controls.paused else min(now - last, _MOST_CATCHING_UP) * controls.speed
            last, due = now, _advance(simulation, due, steps)
            window.draw(min(1.0, due / simulation.step_dt), controls)
            time.sleep(max(0.001, _FRAME - (time.monotonic() - now)))


def _waiting(keys: SimpleQueue[int]) -> Iterator[int]:
    while True:
        try:
            yield keys.get_nowait()
        except Empty:
            return


def _act(simulation: Shown, once: str) -> None:
    if once == "reset":
        simulation.reset()
    elif once == "push":
        for robot in range(len(simulation.qpos(1.0))):
            left = simulation.heading(robot) + math.pi / 2
            simulation.push([robot], (PUSH * math.cos(left), PUSH * math.sin(left)))


def _advance(simulation: Shown, due: float, steps: int) -> float:
    """Simulate what is due (s) as far as this machine gets, or single steps; what is still due."""
    begun = time.monotonic()
    for _ in range(steps):
        simulation.step()
        due = simulation.step_dt
    while not steps and due > simulation.step_dt - 1e-9:
        simulation.step()
        due -= simulation.step_dt
        if time.monotonic() - begun > _MOST_CATCHING_UP:
            return min(due, simulation.step_dt)
    return due


class Window:
    """MuJoCo's window with N robots in it: the model's own is the first, copies of its geoms are the others."""

    def __init__(self, viewer: Any, simulation: Shown, model: mujoco.MjModel, data: mujoco.MjData):
        """Take over a viewer of `mujoco.viewer.launch_passive` for a model and its data."""
        self._viewer, self._simulation, self._model, self._data = viewer, simulation, model, data
        self._others, self._whole = mujoco.MjData(model), mujoco.MjvPerturb()
        self._sizes = our_flags(mujoco.mjVISSTRING), our_flags(mujoco.mjRNDSTRING)
        with viewer.lock():
            viewer.cam.type, viewer.cam.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1
            viewer.cam.distance, viewer.cam.azimuth, viewer.cam.elevation = (
                6.0 * simulation.height,
                215.0,
                -20.0,
            )
        self._flags = viewer.opt.flags[self._sizes[0]].copy(), viewer.user_scn.flags[self._sizes[1]].copy()

    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return bool(self._viewer.is_running())

    def draw(self, share: float, controls: Controls) -> None:
        """Move the robots `share` of the way from the step before the last to the last."""
        viewer, scene = self._viewer, self._viewer.user_scn
        first, *others = self._simulation.qpos(share)
        with viewer.lock():
            viewer.opt.flags[self._sizes[0]], scene.flags[self._sizes[1]] = self._flags
            _place(self._model, self._data, first)
            scene.ngeom = 0
            for qpos in others:
                _place(self._model, self._others, qpos)
                moving = mujoco.mjtCatBit.mjCAT_DYNAMIC
                mujoco.mjv_addGeoms(self._model, self._others, viewer.opt, self._whole, moving, scene)
            self._add_arrows(scene, first[:3])
        self._tell(controls)
        viewer.sync()

    def _add_arrows(self, scene: mujoco.MjvScene, base: np.ndarray) -> None:
        """Command and velocity of the first robot over it."""
        measured, height = self._simulation.measure(0), self._simulation.height
        heading = self._simulation.heading(0)
        cos, sin = math.cos(heading), math.sin(heading)
        for up, (vx, vy, _), colour in ((0.91, measured.command, _GREEN), (0.75, measured.velocity, _BLUE)):
            if math.hypot(vx, vy) < _SLOWEST or scene.ngeom == scene.maxgeom:
                continue
            tail = base + (0.0, 0.0, up * height)
            tip = tail + 1.3 * height * np.array([cos * vx - sin * vy, sin * vx + cos * vy, 0.0])
            geom, arrow = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_ARROW
            mujoco.mjv_initGeom(
                geom, arrow, np.zeros(3), np.zeros(3), np.eye(3).ravel(), np.array(colour, np.float32)
            )
            mujoco.mjv_connector(geom, arrow, 0.03 * height, tail, tip)
            scene.ngeom += 1

    def _tell(self, controls: Controls) -> None:
        vx, vy, yaw = controls.command
        state = "paused" if controls.paused else f"{controls.speed:g} x"
        left, right = zip(*HELP, strict=True)
        font = mujoco.mjtFontScale.mjFONTSCALE_100
        where, lower = mujoco.mjtGridPos.mjGRID_TOPLEFT, mujoco.mjtGridPos.mjGRID_BOTTOMLEFT
        said = f"{vx:+.2f} {vy:+.2f} m/s, {yaw:+.2f} rad/s\n{state}, {self._simulation.time:.1f} s"
        self._viewer.set_texts(
            [
                (font, where, "\n".join(left), "\n".join(right)),
                (font, lower, "command\ntime", said),
            ]
        )


def _place(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray) -> None:
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


@contextmanager
def open_window(simulation: Shown, keys: SimpleQueue[int]) -> Iterator[Window]:
    """A window whose keys are put into a queue."""
    import mujoco.viewer  # it loads a library for windows, which need not be there

    model = simulation.scene()
    data = mujoco.MjData(model)
    data.qpos[:] = simulation.qpos(1.0)[0]
    before = set(threading.enumerate())
    viewer = mujoco.viewer.launch_passive(
        model, data, key_callback=keys.put, show_left_ui=False, show_right_ui=False
    )
    try:
        yield Window(viewer, simulation, model, data)
    finally:
        viewer.close()
        for thread in set(threading.enumerate()) - before:  # a window that still draws at exit would crash
            thread.join(5.0)
