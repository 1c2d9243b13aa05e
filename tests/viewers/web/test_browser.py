"""The page in a real browser."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.viewers.web.conftest import env_of, until
from viewers.web.session import Session

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402 # isort: skip

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on the path"),
]
SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 90.0
"""Software draws the page, perhaps once a second, s."""
SCENE = {"x": 0, "y": 180, "width": 300, "height": 300, "scale": 1}
"""Part of the page without panels."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a screen."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield made
        made.close()


@pytest.fixture
def opened(running: Session, browser: Browser) -> Iterator[Page]:
    """The page of a running session, small and without shadows, since software draws it."""
    for costly in (running.page.shadows, running.page.plots):
        costly.value = False  # type: ignore[misc]
    page = browser.new_page(viewport={"width": 640, "height": 480})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{running.url}?vx=0.2", wait_until="commit")
    assert until(lambda: running.settings.vx == 0.2, PATIENCE), "the link was not taken over"
    assert until(lambda: bool(running.server.get_clients()), PATIENCE)
    yield page
    page.close()


def picture(page: Page) -> bytes:
    """The page as it is now, without waiting for it to come to rest, which it does not."""
    shot = page.context.new_cdp_session(page).send("Page.captureScreenshot", {"clip": SCENE})
    return base64.b64decode(shot["data"])


def test_page_shows_moving_robots_and_is_steered(running: Session, opened: Page) -> None:
    session, page = running, opened
    page.get_by_text("one on plane").first.wait_for()
    page.keyboard.down("KeyW")
    assert until(lambda: session.settings.vx == 1.0, PATIENCE), "a key does not change the command"
    page.keyboard.up("KeyW")
    assert until(lambda: session.settings.vx == 0.0, PATIENCE)
    before = picture(page)
    time.sleep(1.0)
    assert picture(page) != before, "robots do not move in the picture"
    number = page.get_by_label("turn rad/s").or_(page.locator("input[type=text]")).nth(2)
    number.fill("0.5")
    number.press("Enter")
    assert until(lambda: 0.5 in session.settings.command, PATIENCE), "a slider does not change the command"
    old = env_of(session).ground
    page.get_by_role("combobox", name="terrain").click()
    page.get_by_role("option", name="waves").click()
    assert until(lambda: env_of(session).ground is not old, PATIENCE), "a picker changes no ground"
    page.get_by_text("one on waves 0.5").first.wait_for()
    assert until(lambda: "terrain=waves" in page.url, PATIENCE), "the address is no link"


def test_clicks_choose_and_push_robots(running: Session, opened: Page) -> None:
    session, page = running, opened
    page.set_viewport_size(
        {"width": 1100, "height": 500}
    )  # what is followed is in the middle, beside the panel
    session.inbox.put(("set", {"robot": 1, "everyone": False, "vx": 0.0}))
    time.sleep(2.0)
    session.page.follow.value = False  # type: ignore[misc]
    session.inbox.put(("set", {"robot": 0}))
    assert until(lambda: session.settings.robot == 0)

    def choose() -> bool:
        page.mouse.click(550, 250)
        return until(lambda: session.settings.robot == 1, 5.0)

    assert until(choose, PATIENCE), "a click chooses no robot"
    pushed: list[tuple[list[int], tuple[float, float]]] = []
    session.simulation.push = lambda *args: pushed.append(args)  # type: ignore[method-assign]

    def push() -> bool:
        page.keyboard.down("Shift")
        page.mouse.click(550, 250)
        page.keyboard.up("Shift")
        return until(lambda: bool(pushed), 5.0)

    assert until(push, PATIENCE), "Shift and a click push no robot"
    (robots, velocity) = pushed[0]
    away = -np.array(session.server.initial_camera.position[:2])
    assert robots == [1] and np.dot(velocity, away) > 0.9 * np.linalg.norm(away), "away from who clicked"


def test_a_gamepad_drives(running: Session, browser: Browser) -> None:
    with browser.new_page(viewport={"width": 300, "height": 200}) as page:
        page.set_default_timeout(1000 * PATIENCE)
        page.add_init_script("navigator.getGamepads = () => [null, {axes: [-0.5, -1.0, 0.05, 0.0]}]")
        page.goto(running.url, wait_until="commit")
        assert until(lambda: running.settings.command == (1.0, 0.3, 0.0), PATIENCE), running.settings.command
