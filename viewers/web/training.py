"""The page that shows a training while it goes on: a process of its own, which training never waits for.

While somebody looks, the process asks for one rollout after another; training answers when it has one, see
`runs/watching.py`. What else the page shows is read from the run folder.
"""

from __future__ import annotations

import html
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import viser

from terrains.ground import Ground, HeightField
from viewers.web.history import CURVES, History, Progress
from viewers.web.playback import Playback
from viewers.web.scene import Robots, body_poses, draw_ground, set_stage
from viewers.web.server import open_server

HOST = "127.0.0.1"
"""Who may look: this machine, and whoever tunnels to it."""
FRAME = 0.08
"""Time between pictures, s."""
FIGURES_EVERY = 1.0
"""Time between looks into the run folder, s."""
IDLE = 0.5
"""Time between looks at whether somebody looks, s."""
STARVED, BUSY = 0.5, 20.0
"""A process that wakes up so late, s, takes its share of the cores for so long, s."""
GOODBYE = 3.0
"""The last words need so long to reach the pages, s."""
_SIDE = 5.0
"""On a plane, where every robot has a world of its own, all are drawn within this of the one that is followed, m."""


@dataclass
class Shown:
    """What the page's process is told once."""

    title: str
    """The task."""
    folder: Path
    """Of the run."""
    max_iterations: int
    """Of the whole run."""
    model: mujoco.MjModel
    """A robot, with its visual geoms."""
    height: float
    """Of a standing robot's base, m."""
    ground: Ground
    """What the robots stand on."""
    robots: list[str]
    """What each robot that is shown is called; R of them."""
    step_dt: float
    """Time between poses, s."""
    port: int
    """Of the page."""


def serve(descriptor: int) -> None:
    """The whole process: show what comes in by a pipe until that is closed.

    Args:
        descriptor: of the pipe. In come `Shown` and then an answer to each question: an iteration and poses of its
            rollout, [T, R, 7 + A], as base position (m), base to world (w x y z) and joints (rad); out go questions,
            which are True, and a sentence if there is no going on.
    """
    pipe: Connection[Any, Any] = Connection(descriptor)
    try:
        Page(pipe.recv()).run(pipe)
    except (EOFError, ConnectionError):  # training was killed
        pass
    except Exception as error:  # whatever it is, training goes on, and says it
        pipe.send(f"{type(error).__name__}: {error}".split("\n")[0])


def yield_cores(wholly: bool) -> None:
    """Have this process run only while a core is idle, or else as nice as it is.

    Nice alone costs a training twice as much: its threads wait for one another, so that what one loses all lose.
    """
    with suppress(AttributeError, OSError):  # not Linux, or not allowed
        policy = os.SCHED_IDLE if wholly else os.SCHED_OTHER
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), policy, os.sched_param(0))


class Page:
    """What pages show; all methods but callbacks belong to one thread."""

    def __init__(self, shown: Shown):
        """Serve it; ValueError where that cannot be."""
        self.shown = shown
        self.playback, self.history = Playback(shown.step_dt), History(shown.folder, shown.max_iterations)
        self.server, self._guard = open_server(HOST, shown.port, lambda said: None)
        if self.server.get_port() != shown.port:
            raise ValueError(f"port {shown.port} was taken in the meantime")
        self._guard.tell({"steered": False})  # keys are viser's here
        self._world = set_stage(self.server)
        draw_ground(self.server, shown.ground)
        self.robots = Robots(self.server, shown.model, len(shown.robots))
        self.robots.on_click(lambda robot, _: self._choose(robot))
        self._height = 0.0  # of the camera
        far = 5.5 * shown.height
        self.server.initial_camera.fov = 0.75
        self.server.initial_camera.position = (0.74 * far, 0.56 * far, 0.5 * far)
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        self._build(self.server.gui)
        self.show_figures()

    def _build(self, gui: viser.GuiApi) -> None:
        gui.set_panel_label("Trot, training")
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(36, 88, 214))
        self.status = gui.add_html("")
        self.chosen = gui.add_dropdown("follow", tuple(self.shown.robots))
        self.shadows = gui.add_checkbox("shadows", True, hint="off for computers without a graphics card")
        self.shadows.on_update(lambda _: self._light())
        gui.add_html(
            _small("Or click a robot. Rollouts are shown in real time, whatever the pace of training.")
        )
        panel = gui.add_panel()
        with panel.add_tab("Learning"):
            titles = list(CURVES) if isinstance(self.shown.ground, HeightField) else list(CURVES)[:-1]
            self.charts = {title: _chart(gui, title) for title in titles}
            self.levels = gui.add_html("")
        panel.dock_left()
        panel.set_width(330)

    def _choose(self, robot: int) -> None:
        self.chosen.value = self.shown.robots[robot]  # type: ignore[misc]

    def _light(self) -> None:
        self.server.scene.configure_default_lights(enabled=True, cast_shadow=bool(self.shadows.value))

    @property
    def followed(self) -> int:
        """The robot in the middle; pages may have sent any value."""
        chosen = self.chosen.value
        return self.shown.robots.index(chosen) if chosen in self.shown.robots else 0

    # ------------------------------------------------------------------ over time

    def run(self, pipe: Connection[Any, Any]) -> None:
        """Go on until training closes the pipe."""
        asked, figures_at, draw_at = False, -math.inf, -math.inf
        expected, idle_at = math.inf, time.monotonic()
        while True:
            begun = time.monotonic()
            if begun - expected > STARVED:  # others keep all cores busy: a page that never comes is of no use
                yield_cores(wholly=False)
                idle_at = begun + BUSY
            elif begun > idle_at:
                yield_cores(wholly=True)
                idle_at = math.inf
            looking = bool(self.server.get_clients())
            try:
                if looking and not asked:
                    pipe.send(True)
                    asked = True
                while pipe.poll():
                    self.playback.add(*pipe.recv())
                    asked = False
            except (EOFError, ConnectionError):
                break
            if looking:
                if begun >= draw_at:
                    draw_at = begun + max(0.0, 1.0 / self._guard.pace - FRAME)
                    self.show_robots(begun)
                if begun - figures_at > FIGURES_EVERY:
                    self.show_figures()
                    figures_at = begun
            else:  # a page that opens later begins with what is new
                self.playback.forget()
                figures_at = -math.inf
            pause = max(0.005, FRAME - (time.monotonic() - begun)) if looking else IDLE
            expected = time.monotonic() + pause
            time.sleep(pause)
        self.show_figures(ended=True)
        time.sleep(GOODBYE if self.server.get_clients() else 0.0)
        self.server.stop()

    def show_robots(self, now: float) -> None:
        """Pose the robots as they are played at a time, s."""
        frame = self.playback.frame(now)
        if frame is None:
            return
        _, poses = frame
        base = poses[:, :3].astype(float)
        centre = base[self.followed].copy()
        if not isinstance(self.shown.ground, HeightField):
            base = side_by_side(base, self.followed)
        # the ground's ups and downs are followed more slowly than the robot's way over it
        change = centre[2] - self._height
        self._height += change if abs(change) > 1.0 else 0.1 * change
        with self.server.atomic():
            self.robots.pose(*body_poses(self.shown.model, base, poses[:, 3:7], poses[:, 7:]))
            self._world.position = (-centre[0], -centre[1], -self._height)

    def show_figures(self, ended: bool = False) -> None:
        """Say how far training is; draw curves and levels if there is something new."""
        new = self.history.read()
        progress = self.history.progress()
        self.status.content = status(self.shown, progress, ended)
        if not new:
            return
        for title, chart in self.charts.items():
            iterations, values = self.history.curve(title)
            if len(iterations) > 1:
                chart.data = (iterations, values)
        if levels := self.history.levels():
            self.levels.content = level_table(levels)


def side_by_side(base: np.ndarray, followed: int) -> np.ndarray:
    """Robots with worlds of their own put around one of them, world frame, m, [R, 3] each.

    Where they are to one another means nothing, so that whoever leaves the square around it on one side comes back on
    the other.
    """
    across = math.ceil(math.sqrt(len(base)))
    index = np.arange(len(base))
    slots = np.stack((index // across, index % across), 1) * (2.0 * _SIDE / across)
    away = base[:, :2] - base[followed, :2] + slots - slots[followed]
    placed = base.copy()
    placed[:, :2] = base[followed, :2] + (away + _SIDE) % (2.0 * _SIDE) - _SIDE
    return placed


# ---------------------------------------------------------------------- what is written


def status(shown: Shown, progress: Progress, ended: bool) -> str:
    """How far training is, as HTML."""
    done, of = progress.iteration, shown.max_iterations
    if ended:
        state = "Training is finished." if done >= of else f"Training has ended at iteration {done:,}."
        state = f'<b style="color:#b45309">{state}</b>'
    elif not done:
        state = "The first iteration is under way."
    else:
        left = "" if math.isnan(progress.seconds_left) else f", {_duration(progress.seconds_left)} left"
        state = f"{progress.samples_per_second:,.0f} samples/s{left}"
    bar = (
        '<div style="height:6px;border-radius:3px;background:#e5e7eb;margin:4px 0">'
        f'<div style="height:6px;border-radius:3px;background:#2458d6;width:{100 * done / of:.1f}%"></div></div>'
    )
    return (
        '<div style="font-size:12px;padding:6px 12px 4px;line-height:1.5">'
        f'<div style="font-weight:600;font-size:14px">{html.escape(shown.title)}</div>'
        f"<div>iteration {done:,} of {of:,}</div>{bar}<div>{state}</div>"
        f'<div style="color:#6b7280;overflow-wrap:anywhere" title="{html.escape(str(shown.folder))}">'
        f"{html.escape(shown.folder.name)}</div></div>"
    )


def _duration(seconds: float) -> str:
    """Hours and minutes, or minutes, or seconds."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _small(text: str) -> str:
    return f'<div style="font-size:11px;color:#6b7280;padding:0 12px 6px;line-height:1.5">{text}</div>'


def level_table(levels: dict[str, list[tuple[int, float]]]) -> str:
    """Robots on each level of each shape, as HTML: the darker, the larger the share of the shape's robots."""
    rows = max(map(len, levels.values()))
    cells = [
        "<tr><td></td>" + "".join(f"<td>{html.escape(n).replace('_', ' ')}</td>" for n in levels) + "</tr>"
    ]
    for level in reversed(range(rows)):
        line = f"<td>{level}</td>"
        for name, column in levels.items():
            robots, success = column[level] if level < len(column) else (0, math.nan)
            share = robots / max(1, max(count for count, _ in column))
            hint = "" if math.isnan(success) else f", {100 * success:.0f} % of recent episodes succeeded"
            line += (
                f'<td title="{html.escape(name)}, level {level}: {robots} robots{hint}" '
                f'style="background:rgba(36,88,214,{0.04 + 0.9 * share if robots else 0.04:.2f});'
                f'color:{"#fff" if share > 0.5 else "#374151"};border-radius:2px">{robots or ""}</td>'
            )
        cells.append(f"<tr>{line}</tr>")
    return (
        '<div style="font-size:11px;color:#555;padding:8px 12px 2px">robots by level and kind of terrain</div>'
        '<table style="font-size:9px;line-height:1.25;text-align:center;margin:0 8px 8px 4px;table-layout:fixed;'
        f'width:310px;border-spacing:2px;border-collapse:separate">{"".join(cells)}</table>'
    )


def _chart(gui: viser.GuiApi, title: str) -> Any:
    grid = {"stroke": "#e6e9ec", "width": 1}
    axis: Any = {"grid": grid, "font": "10px sans-serif", "ticks": {"size": 3}}
    series: Any = (
        {"label": "iteration"},
        {"label": title, "stroke": "#2458d6", "width": 1.5, "points": {"show": False}, "spanGaps": True},
    )
    gui.add_html(f'<div style="font-size:11px;color:#555;padding:4px 8px 0 12px">{title}</div>')
    return gui.add_uplot(
        (np.array([0.0, 1.0]), np.full(2, np.nan)),
        series,
        scales={"x": {"time": False}},
        axes=({**axis, "size": 22}, {**axis, "size": 42}),
        legend={"show": False},
        cursor={"show": False},
        height=100,
        padding=(6, 12, 0, 0),
    )
