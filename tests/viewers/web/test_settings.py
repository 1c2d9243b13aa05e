"""Links restore what was set, and nonsense in them is told and ignored."""

from __future__ import annotations

import pytest

from viewers.web.settings import Settings, changed, from_link, to_link

POLICIES = ("one", "other", "2026-01-01_run best")


def test_link_round_trips() -> None:
    settings = Settings(
        POLICIES[2], "stairs_up", 0.35, 16, 7, False, 0.8, -0.2, 1.5, friction=0.4, payload=6.5
    )
    back, remarks = from_link(to_link(settings), Settings("one"), POLICIES)
    assert back == settings and not remarks


def test_link_without_our_parameters_changes_nothing() -> None:
    settings = Settings("one", robots=9)
    assert from_link("?initialCameraPosition=1,2,3", settings, POLICIES) == (settings, [])


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("policy=../../etc/passwd", "policy"),
        ("terrain=stairs_upp", "stairs_up"),
        ("friction=slippery", "friction"),
        ("vx=nan", "vx"),
        ("robts=3", "robots"),
        ("policies=1", "policies"),
        ("settings=1", "settings"),
    ],
)
def test_nonsense_in_a_link_is_ignored_with_a_word(query: str, word: str) -> None:
    settings, (remark,) = from_link(f"{query}&payload=2", Settings("one"), POLICIES)
    assert settings == Settings("one", payload=2.0)
    assert word in remark


def test_numbers_are_brought_into_their_ranges() -> None:
    settings, _ = changed(Settings("one"), POLICIES, robots=1e9, friction="-inf", vx=5, robot=99)
    assert (settings.robots, settings.friction, settings.vx, settings.robot) == (64, 0.05, 2.0, 63)
    assert "robots" in changed(settings, POLICIES, robots=10**400)[1][0]
    fewer, _ = changed(settings, POLICIES, robots=3)
    assert fewer.robot == 2
