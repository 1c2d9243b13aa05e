"""Keys of MuJoCo's window, and the window itself where there is a display that nobody sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

from viewers.native import Controls, check_display, our_flags, press

ROOT = Path(__file__).resolve().parents[2]


def pressed(keys: str, controls: Controls | None = None) -> tuple[Controls, list[str]]:
    """After some keys, and what happened once."""
    controls, happened = controls or Controls(), []
    for key in keys:
        controls, once = press(controls, ord(key))
        happened.append(once)
    return controls, [once for once in happened if once]


def test_keys_steer_up_to_a_limit() -> None:
    assert pressed("WWSAQ")[0].command == (0.25, 0.2, 0.25)
    assert pressed("W" * 50 + "D" * 50 + "E" * 50)[0].command == (1.5, -1.0, -1.5)
    assert pressed("WAQX")[0].command == (0.0, 0.0, 0.0)


def test_keys_of_time_and_what_happens_once() -> None:
    assert pressed(" ")[0].paused and not pressed("  ")[0].paused
    assert pressed("N") == (Controls(paused=True), ["step"])
    assert pressed("--")[0].speed == 0.25 and pressed("-====")[0].speed == 1.0
    assert pressed("RP") == (Controls(), ["reset", "push"])
    assert press(Controls(), 265) == (Controls(), "")  # an arrow key


def test_letters_that_steer_do_not_change_the_drawing() -> None:
    """W is wireframe in MuJoCo's window: its flag is among those that are put back; C, contacts, is not."""
    names = [mujoco.mjRNDSTRING[i][0] for i in our_flags(mujoco.mjRNDSTRING)]
    assert "Wireframe" in names and "Skybox" not in names
    assert "Contact Point" not in [mujoco.mjVISSTRING[i][0] for i in our_flags(mujoco.mjVISSTRING)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about X and Wayland")
def test_without_a_display_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ValueError, match="needs a display, and DISPLAY is not set; --viewer web"):
        check_display()
    monkeypatch.setenv("DISPLAY", ":999")
    with pytest.raises(ValueError, match="cannot open a window here \\(no display can be opened\\)"):
        check_display()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("xvfb-run"), reason="no xvfb-run on the path")
def test_window_shows_robots_and_closes(tmp_path: Path) -> None:
    script = tmp_path / "shoot.py"
    script.write_text(SHOOT)
    screen = ["xvfb-run", "-a", "-s", "-screen 0 1280x720x24"]
    done = subprocess.run(
        [*screen, sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    red, stepped = done.stdout.split()[-2:]
    assert int(red) > 1000, "no red robot is seen"
    assert float(stepped) > 0.0


SHOOT = """
import sys
sys.path.insert(0, ".")
import threading, time
from pathlib import Path
import numpy as np
from PIL import ImageGrab
from deploy.steered import Steered
from viewers.native import check_display, show
from viewers.second import SecondSimulation
from viewers.web.settings import Settings

check_display()
mjcf = Path("robots/anymal_c.xml")
simulation = SecondSimulation(
    Steered(Path("policies/anymal_c_flat/exported"), mjcf, count=2), mjcf, "plane", Settings("", robots=2)
)
most = [0]

def look():
    while True:
        r, g, b = np.moveaxis(np.array(ImageGrab.grab(xdisplay=""))[..., :3].astype(int), -1, 0)
        most.append(int(((r > 110) & (g < 60) & (b < 60)).sum()))
        time.sleep(0.5)

threading.Thread(target=look, daemon=True).start()
show(simulation, (0.5, 0.0, 0.0), 12.0)
print(max(most), simulation.time, flush=True)
"""
