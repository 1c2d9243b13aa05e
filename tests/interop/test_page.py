"""docs/interop.md: every block runs as printed but for smaller numbers, and what is to learn learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch

import envs  # noqa: F401 # registers the tasks
from tests.interop.common import FLAT, Meter
from tests.interop.one_file_ppo import train
from tests.viewers.test_video import has_opengl

PAGE = Path(__file__).resolve().parents[2] / "docs" / "interop.md"
NEEDS = {
    "Videos": "moviepy",
    "Stable-Baselines3": "stable_baselines3",
    "skrl": "skrl",
    "TorchRL": "torchrl",
}
TINY = {"512": "8", "64": "4", "3072": "48", "1_000_000": "1_000", "2000": "50"}
TINY |= {"320": "64", "240": "48", "video_length=20": "video_length=3", ".learn(20)": ".learn(2)"}
SMALL = {"512": "256", "3072": "1536", "1_000_000": "180_000", "2000": "700"}
MAKE_VEC = gymnasium.make_vec


def sections() -> dict[str, str]:
    """Title -> its blocks of Python, one after the other."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    blocks = {
        title: "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: code for title, code in blocks.items() if code}


def run(title: str, numbers: dict[str, str]) -> None:
    """Run a section's blocks with other numbers; each needs what the page imports at its top, and no more."""
    code = sections()[title]
    for printed, used in numbers.items():
        code = re.sub(rf"(?<![\w\[.-]){re.escape(printed)}(?![\w\].])", used, code)
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), {"gymnasium": gymnasium, "numpy": numpy})


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Libraries leave files where they run; torch keeps its one thread and its random numbers."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def meters(monkeypatch: pytest.MonkeyPatch) -> list[Meter]:
    """Meters of the environments that are made from now on."""
    made: list[Meter] = []

    def make(*args: Any, **kwargs: Any) -> Meter:
        made.append(Meter(MAKE_VEC(*args, **kwargs)))
        return made[-1]

    monkeypatch.setattr(gymnasium, "make_vec", make)
    return made


@pytest.mark.parametrize(
    "title",
    [pytest.param(title, marks=pytest.mark.slow) if title in NEEDS else title for title in sections()],
)
def test_blocks_run_as_printed(title: str, elsewhere: Path) -> None:
    pytest.importorskip(NEEDS.get(title, "gymnasium"))
    if title == "Videos" and not has_opengl():
        pytest.skip("no OpenGL here")
    run(title, TINY)
    assert title != "Videos" or list(elsewhere.glob("videos/*.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("title", ["Stable-Baselines3", "skrl", "TorchRL"])
def test_libraries_learn(title: str, meters: list[Meter]) -> None:
    pytest.importorskip(NEEDS[title])
    run(title, SMALL)
    (meter,) = meters
    meter.assert_learned()


@pytest.mark.slow
def test_a_program_in_one_file_learns() -> None:
    from gymnasium.wrappers.vector import ClipAction, RecordEpisodeStatistics

    meter = Meter(gymnasium.make_vec(FLAT, num_envs=256, numpy=True, observation="policy"))
    statistics = RecordEpisodeStatistics(meter)
    train(ClipAction(statistics), iterations=30)
    meter.assert_learned()
    assert statistics.episode_count > 256


def test_the_page_lists_every_keyword() -> None:
    from interop.gymnasium_envs import make_vector

    page = PAGE.read_text()
    names = set(make_vector.__annotations__) - {"task", "num_envs", "kwargs", "return"}
    assert len(names) > 6 and not {name for name in names if f"`{name}" not in page}
