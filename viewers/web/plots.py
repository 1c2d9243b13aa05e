"""Curves of the last seconds of one robot."""

from __future__ import annotations

import html
from collections import deque
from typing import Any

import numpy as np
import viser

from viewers.shown import Measured

SECONDS = 6.0
"""How far back they reach, simulated s."""
EVERY = 0.04
"""Time between samples, simulated s."""
_HEIGHT = 130
_RED, _GREEN, _BLUE, _GREY = "#d9534f", "#1a9e50", "#2458d6", "#8a9099"
_MANY = ("#2458d6", "#e08a1e", "#1a9e50", "#8e5bd0")
"""Colours of legs or feet."""


class Plots:
    """Velocity against command, feet on the ground, torques against limits, value."""

    def __init__(self, server: viser.ViserServer, feet: list[str], joints: tuple[str, ...]):
        """Draw empty ones where the GUI is being built.

        Args:
            server: whose pages show them.
            feet: names.
            joints: names.
        """
        self._samples: deque[Measured] = deque(maxlen=round(SECONDS / EVERY))
        self._feet, self._joints = len(feet), len(joints)
        gui = server.gui
        names = ("forward m/s", "left m/s", "turn rad/s")
        self._speeds = [
            _plot(gui, f"{name}: command (green), measured (blue)", [_GREEN, _BLUE], None) for name in names
        ]
        colours = [_MANY[i % len(_MANY)] for i in range(len(feet))]
        self._contacts = _plot(
            gui, f"feet: {', '.join(feet)}, from the top; high: down", colours, (-0.2, float(len(feet))), 90
        )
        per_leg = max(1, len(joints) // max(1, len(feet)))
        colours = [_MANY[i // per_leg % len(_MANY)] for i in range(len(joints))]
        limits = [_RED, _RED]
        self._efforts = _plot(
            gui, "torque, % of its limit, a line per joint", colours + limits, (-110.0, 110.0)
        )
        self._value = _plot(gui, "value (what the critic expects)", [_GREY], None)

    def forget(self) -> None:
        """Begin anew, for another robot."""
        self._samples.clear()

    def add(self, sample: Measured) -> None:
        """Take note, at most once in `EVERY`."""
        if self._samples and sample.time - self._samples[-1].time < EVERY - 1e-6:
            return
        self._samples.append(sample)

    def draw(self) -> None:
        """Send the curves."""
        if len(self._samples) < 2:
            return
        samples = list(self._samples)
        time = np.array([s.time for s in samples])
        command, velocity = (
            np.array([getattr(s, name) for s in samples], float) for name in ("command", "velocity")
        )
        for axis, plot in enumerate(self._speeds):
            plot.data = (time, command[:, axis].copy(), velocity[:, axis].copy())
        down = np.array([s.contact for s in samples], float)
        rows = np.arange(self._feet)[::-1] + 0.7 * down
        self._contacts.data = (time, *np.ascontiguousarray(rows.T))
        effort = 100.0 * np.array([s.effort for s in samples], float)
        limit = np.full(len(time), 100.0)
        self._efforts.data = (time, *np.ascontiguousarray(effort.T), limit, -limit)
        self._value.data = (time, np.array([s.value for s in samples], float))


def _plot(
    gui: viser.GuiApi, title: str, colours: list[str], span: tuple[float, float] | None, height: int = _HEIGHT
) -> Any:
    series: list[Any] = [{"label": "s"}]
    series += [{"label": str(i), "stroke": colour, "width": 1.5, "points": {"show": False}}
               for i, colour in enumerate(colours)]  # fmt: skip
    scales: dict[str, Any] = {"x": {"time": False}}
    if span is not None:
        scales["y"] = {"auto": False, "range": span}
    grid = {"stroke": "#e6e9ec", "width": 1}
    axes: Any = ({"size": 22, "grid": grid, "font": "10px sans-serif", "ticks": {"size": 3}},
                 {"size": 38, "grid": grid, "font": "10px sans-serif", "ticks": {"size": 3}})  # fmt: skip
    gui.add_html(f'<div style="font-size:11px;color:#555;padding:4px 8px 0 12px">{html.escape(title)}</div>')
    empty = (np.array([0.0, 1.0]), *(np.array([np.nan, np.nan]) for _ in colours))
    return gui.add_uplot(
        empty,
        tuple(series),
        scales=scales,
        axes=axes,
        legend={"show": False},
        cursor={"show": False},
        height=height,
        padding=(6, 12, 0, 0),
    )
