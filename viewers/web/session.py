"""The loop behind the page: one thread that hears what was set, steps the simulation in real time, and draws."""

from __future__ import annotations

import contextlib
import html
import io
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import viser

from viewers.shown import Opened, Shown
from viewers.web.overlays import Overlays
from viewers.web.page import DIRECTIONS, Inbox, Page
from viewers.web.plots import Plots
from viewers.web.scene import Robots, draw_ground, set_stage
from viewers.web.server import Guard, free_port, open_server
from viewers.web.settings import Settings, changed, from_link, to_link

Policies = Mapping[str, Callable[[], Opened]]
"""Name -> opens it. Pages choose from these names and no others; opening raises ValueError with one sentence."""
FRAME = 1.0 / 40.0
"""Time between pictures, s."""
FULL = (1.0, 0.6, 1.0)
"""Command of a key held down or a stick moved all the way: m/s, m/s, rad/s."""
PATIENCE = 0.35
"""Something new is built when nothing was set for so long, s: sliders move on."""
_PLOTS_EVERY, _STATE_EVERY = 0.2, 0.5
_MOST_AT_ONCE = 200
"""So many messages are heard between two steps: a page that floods does not stop the robots."""
_MOST_STEPS = 50
"""Single steps that wait."""
_MOST_CATCHING_UP = 0.1
"""Time that is caught up with when a picture took long, s; what is beyond is lost: slower than real time."""


class Session:
    """One simulation and the pages that look at it."""

    def __init__(
        self,
        settings: Settings,
        policies: Policies,
        host: str = "127.0.0.1",
        port: int = 8080,
        device: str = "cpu",
        num_threads: int = 1,
        seed: int = 1,
    ):
        """Build the simulation, then serve.

        Args:
            settings: what to begin with.
            policies: what can be chosen.
            host: address to listen on.
            port: to listen on, or the next free one.
            device: of the simulation.
            num_threads: likewise.
            seed: likewise.

        Raises:
            ValueError: settings that cannot be had, or no server there.
        """
        free_port(host, port)  # refuses before long work
        self.settings = settings
        self.inbox: Inbox = SimpleQueue()
        self._policies, self._how = policies, (device, num_threads, seed)
        self.simulation = self._simulate(settings)
        self._built, self._set_at = settings, 0.0
        self.server: viser.ViserServer
        self.guard: Guard
        self.server, self.guard = open_server(host, port, lambda said: self.inbox.put(("said", said)))
        self._world = set_stage(self.server)
        self.page = Page(self.server, self.inbox, settings, tuple(policies))
        self._panel = self.server.gui.add_panel()
        self._plots_of: tuple[Any, ...] = ()
        self._tab: Any = None
        self._paused, self._steps_asked, self._due = False, 0, 0.0
        self._stopped, self._shadows = False, True
        self._paces: deque[tuple[float, float, int]] = deque(maxlen=5)
        self._frames, self._focus = 0, np.zeros(3)
        self._draw_at = self._plots_at = self._state_at = 0.0
        self._draw_new(ground=True)
        self._show()

    @property
    def url(self) -> str:
        """Where the page is."""
        host = self.server.get_host()
        host = {"0.0.0.0": "localhost", "::": "localhost", "": "localhost"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.get_port()}/"

    def run(self, seconds: float = 0.0) -> None:
        """Simulate and draw for a time (s), or for ever."""
        start = last = time.monotonic()
        while not self._stopped and (not seconds or last - start < seconds):
            self.hear()
            now = time.monotonic()
            self._advance(now - last)
            last = now
            if self.server.get_clients() and now >= self._draw_at:
                self._draw_at = now + max(0.0, 1.0 / self.guard.pace - FRAME)
                self._draw(now)
            time.sleep(max(0.001, FRAME - (time.monotonic() - now)))

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._stopped = True

    def close(self) -> None:
        """Stop serving."""
        with contextlib.redirect_stdout(io.StringIO()):  # viser says so
            self.server.stop()

    # ------------------------------------------------------------------ what pages ask for

    def hear(self) -> None:
        """Take over all that was set in pages; build anew what must be."""
        for _ in range(_MOST_AT_ONCE):
            try:
                kind, value = self.inbox.get_nowait()
            except Empty:
                break
            self._take(kind, value)
        if self.settings.needs_new(self._built) and time.monotonic() - self._set_at > PATIENCE:
            self._rebuild()

    def _take(self, kind: str, value: Any) -> None:
        if kind == "set":
            self._set(*changed(self.settings, tuple(self._policies), **value))
        elif kind == "press":
            self._press(value)
        elif kind == "choose":
            self._set(replace(self.settings, robot=min(value, self.settings.robots - 1)), [])
        elif kind == "push":
            robots, velocity = value
            if robots[0] < self._built.robots:  # it was clicked before there were fewer
                self.simulation.push(robots, velocity)
        elif kind == "said":  # by the script in a page: anything may be in it
            if isinstance(link := value.get("link"), str):
                self._set(*from_link(link, self.settings, tuple(self._policies)))
            if isinstance(press := value.get("press"), str):
                self._press(press)
            if "axes" in value:
                self._steer(value["axes"])

    def _set(self, settings: Settings, remarks: list[str]) -> None:
        if remarks:
            self.page.say(remark=html.escape(" ".join(remarks)))
        if settings == self.settings:
            self.page.show(settings, self._link())  # what was typed may not be what is set
            return
        old, self.settings = self.settings, settings
        self._set_at = time.monotonic()
        if not remarks:
            self.page.say(remark="")
        if (settings.friction, settings.payload) != (old.friction, old.payload):
            self.simulation.set_body(settings)
        if settings.robot != old.robot and self._plots_of:
            self._plots_of[1].forget()
        if settings.command != old.command or (settings.everyone and not old.everyone):
            self._command()
        self._show()

    def _command(self) -> None:
        """Give the command to those whom it is for."""
        if self.settings.everyone:
            self.simulation.command(self.settings.command)
        elif self.settings.robot < self._built.robots:
            self.simulation.command(self.settings.command, self.settings.robot)

    def _steer(self, axes: Any) -> None:
        if not (isinstance(axes, list) and len(axes) == 3 and all(isinstance(x, int | float) for x in axes)):
            return
        if all(-1.0 <= x <= 1.0 for x in axes):
            values = {name: x * full for name, x, full in zip(("vx", "vy", "yaw"), axes, FULL, strict=True)}
            self._set(*changed(self.settings, tuple(self._policies), **values))

    def _press(self, what: str) -> None:
        if what == "pause":
            self._paused = not self._paused
        elif what == "step":
            self._paused, self._steps_asked = True, min(self._steps_asked + 1, _MOST_STEPS)
        elif what == "reset":
            self.simulation.reset()
            if self._plots_of:
                self._plots_of[1].forget()
        elif what == "stop":
            self._set(replace(self.settings, vx=0.0, vy=0.0, yaw=0.0), [])
        elif what == "push":
            angle = DIRECTIONS.get(str(self.page.direction.value), 0.0)
            strength = min(max(float(self.page.strength.value), 0.0), 5.0)
            robots = list(range(self._built.robots)) if self.settings.everyone else [self._chosen]
            for robot in robots:
                towards = self.simulation.heading(robot) + math.radians(angle)
                self.simulation.push([robot], (strength * math.cos(towards), strength * math.sin(towards)))

    def _clicked(self, robot: int, event: viser.SceneNodePointerEvent) -> None:
        """Runs in a thread of viser's."""
        self.inbox.put(("choose", robot))

    def _pushed(self, robot: int, event: viser.SceneNodePointerEvent) -> None:
        """Runs in a thread of viser's: away from who clicked."""
        x, y = event.ray_direction[:2]
        length, strength = math.hypot(x, y), min(max(float(self.page.strength.value), 0.0), 5.0)
        if length > 1e-6:
            self.inbox.put(("push", ([robot], (strength * x / length, strength * y / length))))

    # ------------------------------------------------------------------ new robots, new ground

    def _simulate(self, settings: Settings) -> Shown:
        return self._policies[settings.policy]().simulate(settings, *self._how)

    def _rebuild(self) -> None:
        wanted, built = self.settings, self._built
        self.page.say(state="loading ...")
        try:
            simulation = self._simulate(wanted)
        except (ValueError, RuntimeError) as error:
            self.settings = wanted.built_as(built)
            self.page.say(remark=html.escape(str(error).split("\n")[0]))
            self._show()
            return
        old, self.simulation, self._built = self.simulation, simulation, wanted
        self._draw_new(ground=old.ground is not simulation.ground)
        self._show()

    def _draw_new(self, ground: bool) -> None:
        server, simulation = self.server, self.simulation
        with server.atomic():
            if ground:
                draw_ground(server, simulation.ground)
            self._robots = Robots(server, simulation.model, self._built.robots)
            self._overlays = Overlays(server, simulation)
            self._robots.pose(*simulation.poses(1.0))
        self._robots.on_click(self._clicked)
        self._robots.on_click(self._pushed, modifier="shift")
        self._due, self._paused = 0.0, False
        self._command()
        kind = (simulation.robot_name, len(simulation.feet), simulation.joint_names)
        if not self._plots_of or self._plots_of[0] != kind:
            if self._tab is not None:
                self._tab.remove()
            self._tab = self._panel.add_tab("Plots")
            with self._tab:
                self._plots_of = (kind, Plots(server, list(simulation.feet), simulation.joint_names))
            self._panel.dock_left()
            self._panel.set_width(330)
            far = 7.0 * simulation.height
            server.initial_camera.fov = 0.75
            server.initial_camera.position = (0.74 * far, 0.56 * far, 0.5 * far)
            server.initial_camera.look_at = (0.0, 0.0, 0.0)
        else:
            self._plots_of[1].forget()

    def _show(self) -> None:
        self.page.show(self.settings, self._link())
        self.guard.tell({"link": to_link(self.settings)})
        self.page.say(title=html.escape(f"{self._built.policy} on {self.simulation.place}"))

    def _link(self) -> str:
        return f"{self.url}?{to_link(self.settings)}"

    # ------------------------------------------------------------------ time and pictures

    @property
    def _chosen(self) -> int:
        return min(self.settings.robot, self._built.robots - 1)

    def _advance(self, elapsed: float) -> None:
        """Simulate what a time (s) asks for, as far as this machine gets."""
        step_dt, begun = self.simulation.step_dt, time.monotonic()
        if not self._paused:
            speed = min(max(float(self.page.speed.value), 0.05), 1.0)
            self._due += min(elapsed, _MOST_CATCHING_UP) * speed
        while self._steps_asked or (not self._paused and self._due > step_dt - 1e-9):
            self.simulation.step()
            if self._steps_asked:
                self._steps_asked, self._due = self._steps_asked - 1, step_dt
            else:
                self._due -= step_dt
            if self._plots_of:
                self._plots_of[1].add(self.simulation.measure(self._chosen))
            if time.monotonic() - begun > _MOST_CATCHING_UP:
                self._due = min(self._due, step_dt)
                break

    def _draw(self, now: float) -> None:
        page, chosen = self.page, self._chosen
        positions, quats = self.simulation.poses(min(1.0, self._due / self.simulation.step_dt))
        base = positions[chosen, 1]
        with self.server.atomic():
            self._robots.pose(positions, quats)
            if page.follow.value:
                # the ground's ups and downs are followed more slowly than the robot's way over it
                self._focus = np.array([*base[:2], self._focus[2] + 0.08 * (base[2] - self._focus[2])])
                self._world.position = -self._focus
            measured = self.simulation.measure(chosen)
            show = bool(page.arrows.value), bool(page.scan.value), bool(page.forces.value)
            self._overlays.draw(chosen, base, measured, *show)
        self._frames += 1
        if self._shadows != page.shadows.value:
            self._shadows = bool(page.shadows.value)
            self.server.scene.configure_default_lights(enabled=True, cast_shadow=self._shadows)
        if now - self._plots_at > _PLOTS_EVERY:
            self._plots_at = now
            self._panel.visible = bool(page.plots.value)
            if page.plots.value:
                self._plots_of[1].draw()
        if now - self._state_at > _STATE_EVERY:
            self._state_at = now
            self._paces.append((now, self.simulation.time, self._frames))
            self._tell_pace()

    def _tell_pace(self) -> None:
        (t0, s0, f0), (t1, s1, f1) = self._paces[0], self._paces[-1]
        state = ""
        if self._paused:
            state = f"paused at {self.simulation.time:.2f} s"
        elif s1 < s0:  # another simulation
            self._paces.clear()
        elif t1 > t0:
            state = f"{(s1 - s0) / (t1 - t0):.2f} x real time, {(f1 - f0) / (t1 - t0):.0f} frames/s"
        robots = f"{self._built.robots} robot{'s' if self._built.robots > 1 else ''}"
        self.page.say(state=f"{robots}, robot {self._chosen + 1} chosen<br>{state}")
