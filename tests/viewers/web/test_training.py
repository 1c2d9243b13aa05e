"""The page of a training, fed as training feeds it."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envs.tasks import get_task
from physics.scene import build_scene
from terrains.ground import Plane
from tests.viewers.web.conftest import until
from viewers.web import training
from viewers.web.server import free_port
from viewers.web.training import Page, Shown, level_table, side_by_side, status

HEAD = "iteration,Perf/total_fps,Perf/train_time,Train/mean_reward,Train/lin_vel_error,Episode/fall_rate\n"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 90.0
"""Software draws the page, perhaps once a second, s."""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Two robots on a plane, whose training has done three of ten iterations."""
    monkeypatch.setattr(training, "GOODBYE", 0.2)
    # else the tests to come had only idle cores
    monkeypatch.setattr(training, "yield_cores", lambda wholly: None)
    rows = "".join(f"{i},5000,{i}.0,{i / 10},0.5,0.25\n" for i in range(1, 4))
    (tmp_path / "progress.csv").write_text(HEAD + rows)
    model = build_scene(get_task("anymal_c_flat").recipe("").env().robot, Plane(), visuals=True)
    port = free_port("127.0.0.1", 18180)
    made = Page(Shown("task <b>", tmp_path, 10, model, 0.6, Plane(), ["robot 1", "robot 2"], 0.02, port))
    yield made
    made.server.stop()


def rollout(iteration: int) -> np.ndarray:
    """Two robots that march on, 0.48 s of it, [T, 2, 7 + A]."""
    poses = np.zeros((24, 2, 19), np.float32)
    poses[..., 0] = 0.02 * (24 * iteration + np.arange(24))[:, None]
    poses[..., 2], poses[..., 3] = 0.6, 1.0
    poses[..., 8] = 0.5 * np.sin(0.3 * np.arange(24))[:, None]
    return poses


def bodies(page: Page) -> np.ndarray:
    """Where the page shows the bases, m, [R, 3]."""
    return np.array(page.robots._handles[0].batched_positions)


def test_robots_curves_and_pace_are_shown(page: Page) -> None:
    page.playback.add(1, rollout(1))
    page.show_robots(5.0)
    first = bodies(page)
    page.show_robots(5.2)
    assert np.allclose(bodies(page)[0] - first[0], (0.2, 0.0, 0.0), atol=1e-5)
    assert np.allclose(page._world.position[:2], -bodies(page)[0, :2], atol=1e-5), "the camera follows"
    page.chosen.value = "robot 2"  # type: ignore[misc]
    page.show_robots(5.2)
    assert np.allclose(page._world.position[:2], -bodies(page)[1, :2], atol=1e-5)
    for words in (
        "iteration 3 of 10",
        "5,000 samples/s",
        "7 s left",
        "task &lt;b&gt;",
        page.shown.folder.name,
    ):
        assert words in page.status.content
    assert page.charts["reward"].data[1].tolist() == [0.1, 0.2, 0.3]
    assert "mean level" not in page.charts, "on a plane"


def test_garbage_for_a_robot_is_the_first(page: Page) -> None:
    page.chosen.value = "nobody"  # type: ignore[misc]
    assert page.followed == 0


def test_robots_of_separate_worlds_stay_together() -> None:
    base = np.random.default_rng(1).uniform(-50, 50, (8, 3))
    placed = side_by_side(base, 3)
    assert np.allclose(placed[3], base[3])
    assert np.abs(placed - placed[3])[:, :2].max() <= training._SIDE + 1e-9
    same = side_by_side(np.zeros((8, 3)), 0)
    apart = np.linalg.norm(same[:, None] - same[None], axis=-1) + 9.0 * np.eye(8)
    assert apart.min() > 2.0, "not inside one another"


def test_levels_are_a_table() -> None:
    text = level_table({"stairs_up": [(3, 0.5), (0, float("nan"))], "waves": [(1, 1.0), (2, 0.25)]})
    assert text.count("<tr>") == 3 and "stairs up" in text
    assert "level 0: 3 robots, 50 % of recent episodes succeeded" in text
    assert text.index("level 1: 2") < text.index("level 0: 1"), "the highest on top"


class Feed:
    """Training's end of the pipe: answers whatever is asked."""

    def __init__(self, page: Page):
        self.pipe, its = Pipe()
        self.answered, self.going = 0, True
        self.asked: list[Any] = []
        self.serving = threading.Thread(target=page.run, args=(its,), daemon=True)
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self.serving.start()
        self._answering.start()

    def _answer(self) -> None:
        while self.going:
            if self.pipe.poll(0.05):
                self.asked.append(self.pipe.recv())
                time.sleep(0.2)
                self.pipe.send((self.answered, rollout(self.answered)))
                self.answered += 1

    def end(self) -> None:
        self.going = False
        self._answering.join(10.0)
        assert all(question is True for question in self.asked)
        self.pipe.close()
        self.serving.join(10.0)


def test_a_starved_page_takes_its_share_for_a_while(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []
    now = [0.0]
    pipe, its = Pipe()

    def sleep(seconds: float) -> None:
        now[0] += seconds + (5.0 if len(said) == 1 else 0.0)  # once it was idle it had to wait
        if now[0] > 60.0:
            pipe.close()

    monkeypatch.setattr(training, "yield_cores", lambda wholly: said.append(wholly))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    page.run(its)
    assert said == [True, False, True]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux has it")
def test_cores_are_yielded_and_taken_back() -> None:
    code = "import os; from viewers.web.training import yield_cores\n"
    code += "for wholly in (True, False): yield_cores(wholly); print(os.sched_getscheduler(0))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(os.SCHED_IDLE), str(os.SCHED_OTHER)]


def test_nothing_is_asked_while_nobody_looks_and_the_end_is_said(page: Page) -> None:
    feed = Feed(page)
    time.sleep(1.5)
    assert feed.answered == 0
    feed.end()
    assert not feed.serving.is_alive()
    assert "Training has ended at iteration 3." in page.status.content
    with (page.shown.folder / "progress.csv").open("a") as file:
        file.write("10,5000,10.0,1.0,0.5,0.25\n")
    page.history.read()
    assert "Training is finished." in status(page.shown, page.history.progress(), ended=True)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on the path")
def test_a_browser_sees_robots_move(page: Page) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    page.shadows.value = False  # type: ignore[misc]
    feed = Feed(page)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        tab = browser.new_page(viewport={"width": 800, "height": 600})
        tab.set_default_timeout(1000 * PATIENCE)
        tab.goto(f"http://127.0.0.1:{page.shown.port}/", wait_until="commit")
        assert until(lambda: feed.answered > 2, PATIENCE), "nothing is asked while somebody looks"
        tab.get_by_text("iteration 3 of 10").first.wait_for()
        before = picture(tab)
        assert until(lambda: picture(tab) != before, PATIENCE), "robots do not move in the picture"
        feed.end()
        tab.get_by_text("Training has ended at iteration 3.").first.wait_for()
        browser.close()


def picture(tab: Any) -> bytes:
    """The middle of the page as it is now, without panels."""
    scene = {"x": 350, "y": 200, "width": 150, "height": 300, "scale": 1}
    shot = tab.context.new_cdp_session(tab).send("Page.captureScreenshot", {"clip": scene})
    return base64.b64decode(shot["data"])
