"""The panels of the page: what they are set to is put into an inbox, and nothing else happens in their callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import viser

from viewers.web.settings import RANGES, Settings, terrains

Inbox = SimpleQueue[tuple[str, Any]]
"""What happened in pages, in order: a kind and its value, as `Session` reads them."""

DIRECTIONS = {"from the left": -90.0, "from the right": 90.0, "from behind": 0.0, "from the front": 180.0}
"""Where a push of the button leads to, degrees to the left of the robot's heading."""
_HINT = (
    '<div style="font-size:11px;color:#6b7280;padding:0 12px 6px;line-height:1.5">'
    "Keys: <b>W A S D</b> walk, <b>Q E</b> turn, <b>X</b> stand, <b>P</b> pause, <b>N</b> step, <b>R</b> reset; "
    "a gamepad's sticks work as well. <b>Click</b> a robot to choose it, <b>Shift + click</b> to push it away "
    "from you.</div>"
)


class Page:
    """All that can be set. It is the same in every browser that looks."""

    def __init__(self, server: viser.ViserServer, inbox: Inbox, settings: Settings, policies: Sequence[str]):
        """Build the panels."""
        self._gui = gui = server.gui
        self._inbox = inbox
        gui.set_panel_label("Trot")
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(36, 88, 214))
        self._status = gui.add_html("")
        self._texts: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        """Fields of settings -> their input."""
        with gui.add_folder("Drive"):
            for name, label, step in (("vx", "forward m/s", 0.05), ("vy", "left m/s", 0.05),
                                      ("yaw", "turn rad/s", 0.05)):  # fmt: skip
                self._slider(name, label, step, getattr(settings, name))
            self.everyone = self._field(
                "everyone", gui.add_checkbox("all robots", settings.everyone, hint="or the chosen one alone")
            )
            self._button("Stand", "press", "stop")
            gui.add_html(_HINT)
        with gui.add_folder("Robot"):
            self._robot = gui.add_dropdown("chosen", _numbers(settings.robots), initial_value="1")
            self._when_set(self._robot, lambda text: ("set", {"robot": _number(text)}))
            self.follow = gui.add_checkbox("camera follows", True)
            self.direction = gui.add_dropdown("push", tuple(DIRECTIONS), initial_value="from the left")
            self.strength = gui.add_slider("strength m/s", 0.1, 3.0, 0.1, 1.0)
            self._button("Push", "press", "push")
        with gui.add_folder("Time"):
            self.speed = gui.add_slider("speed", 0.1, 1.0, 0.1, 1.0, hint="1 is real time")
            self._pause = gui.add_button_group("", ("Pause", "Step", "Reset"))
            presses = {"Pause": "pause", "Step": "step", "Reset": "reset"}
            self._when_set(self._pause, lambda text: ("press", presses.get(text, "")))
        with gui.add_folder("World"):
            policy = gui.add_dropdown("policy", tuple(policies), initial_value=settings.policy)
            self._field("policy", policy)
            terrain = gui.add_dropdown("terrain", terrains(), initial_value=settings.terrain)
            self._field("terrain", terrain)
            self._slider("difficulty", "difficulty", 0.05, settings.difficulty)
            low, high = RANGES["robots"]
            count = gui.add_slider("robots", int(low), int(high), 1, settings.robots)
            self._field("robots", count)
            self._slider("friction", "friction", 0.05, settings.friction)
            self._slider("payload", "payload kg", 0.5, settings.payload)
        with gui.add_folder("Show"):
            self.arrows = gui.add_checkbox("command and velocity", True)
            self.scan = gui.add_checkbox("height scan", False)
            self.forces = gui.add_checkbox("contact forces", False)
            self.plots = gui.add_checkbox("plots", True)
            self.shadows = gui.add_checkbox("shadows", True, hint="off for computers without a graphics card")
        with gui.add_folder("Link", expand_by_default=False):
            self._link = gui.add_text("restores this", "", disabled=True)

    def _slider(self, name: str, label: str, step: float, value: float) -> None:
        low, high = RANGES[name]
        self._field(name, self._gui.add_slider(label, low, high, step, float(value)))

    def _field(self, name: str, handle: Any) -> Any:
        self.values[name] = handle
        self._when_set(handle, lambda value: ("set", {name: value}))
        return handle

    def _button(self, label: str, kind: str, value: str) -> None:
        self._when_set(self._gui.add_button(label), lambda _: (kind, value))

    def _when_set(self, handle: Any, message: Any) -> None:
        # viser awaits it before it hears the next message; a plain function it would call later, in any order
        async def note(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:  # set in a page, not by us
                self._inbox.put(message(handle.value))

        register = handle.on_update if hasattr(handle, "on_update") else handle.on_click
        register(note)

    def show(self, settings: Settings, link: str) -> None:
        """Bring the inputs in line with what is set."""
        numbers = _numbers(settings.robots)
        if tuple(self._robot.options) != numbers:
            self._robot.options = numbers
        self._robot.value = str(settings.robot + 1)  # type: ignore[misc]
        for name, handle in self.values.items():
            handle.value = getattr(settings, name)
        self._link.value = link  # type: ignore[misc]

    def say(self, **texts: str) -> None:
        """Change lines at the top: `title`, `state` and `remark` (HTML); only what changed is sent."""
        self._texts |= texts
        lines = [
            f'<div style="font-weight:600;font-size:14px">{self._texts.get("title", "")}</div>',
            f'<div style="color:#6b7280">{self._texts.get("state", "")}</div>',
        ]
        if remark := self._texts.get("remark"):
            lines.append(f'<div style="color:#b45309">{remark}</div>')
        content = f'<div style="font-size:12px;padding:6px 12px 4px;line-height:1.5">{"".join(lines)}</div>'
        if self._status.content != content:
            self._status.content = content


def _numbers(robots: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(robots))


def _number(text: Any) -> int:
    """Index of the robot that a page chose, 0 for nonsense."""
    return int(text) - 1 if str(text).isdecimal() and len(str(text)) < 4 else 0
