"""A model is held against what policy.json says of the one that was trained on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.differences import Difference, differences, table
from deploy.robot import Robot, load_policy
from robots.go2 import GO2
from runs.folders import POLICIES

GO2_FLAT = POLICIES / "go2_flat" / "exported"
TEXT = GO2.mjcf_path.read_text()
CALVES = [f"{leg}_calf_joint" for leg in ("FL", "FR", "RL", "RR")]
HIPS = [joint.replace("calf", "hip") for joint in CALVES]


def compare(path: Path, text: str) -> list[Difference]:
    """Rows for a go2 whose MJCF reads so."""
    assert text != TEXT
    path.write_text(text)
    facts, _ = load_policy(GO2_FLAT)
    return differences(facts, Robot(facts, path).model, path)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in POLICIES.glob("*/exported")))
def test_the_robots_that_policies_were_trained_on_do_not_differ(name: str) -> None:
    facts, _ = load_policy(POLICIES / name / "exported")
    mjcf = GO2.mjcf_path.with_name(facts["mjcf"])
    rows = differences(facts, Robot(facts, mjcf).model, mjcf)
    assert table(rows) == ["the model is as trained"]


EDITS: list[tuple[Callable[[str], str], str, list[str], tuple, tuple]] = [
    (lambda s: s.replace('mass="6.923"', 'mass="7.923"'), "mass, kg", ["all", "base"], (15.019,), (16.019,)),
    (
        lambda s: s.replace('fullinertia="0.0245024', 'fullinertia="0.03'),
        "inertia xx yy zz xy xz yz, kg m^2",
        ["base"],
        (0.0245024, 0.0982429, 0.107163, 0.00012166, 0.0014957, -0.0000312),
        (0.03, 0.0982429, 0.107163, 0.00012166, 0.0014957, -0.0000312),
    ),
    (
        lambda s: s.replace('pos="0.021189 0 -0.005372"', 'pos="0 0 0"'),
        "centre of mass, m",
        ["base"],
        (0.021189, 0.0, -0.005372),
        (0.0, 0.0, 0.0),
    ),
    (
        lambda s: s.replace('armature="0.01"', 'armature="0.02"'),
        "armature, kg m^2",
        CALVES,
        (0.01,),
        (0.02,),
    ),
    (
        lambda s: s.replace('axis="1 0 0"', 'axis="1 0 0" damping="0.1"'),
        "joint damping, N m s/rad",
        HIPS,
        (0.0,),
        (0.1,),
    ),
    (
        lambda s: s.replace('axis="1 0 0"', 'axis="1 0 0" frictionloss="0.2"'),
        "friction loss, N m",
        HIPS,
        (0.0,),
        (0.2,),
    ),
    (lambda s: s.replace("-1.0472 1.0472", "-1.0472 1"), "upper limit, rad", HIPS, (1.0472,), (1.0,)),
    (lambda s: s.replace(' range="-1.0472 1.0472"', ""), "lower limit, rad", HIPS, (-1.0472,), ()),
]


@pytest.mark.parametrize(("edit", "what", "who", "trained", "model"), EDITS, ids=[row[1] for row in EDITS])
def test_what_differs_is_found(
    edit: Callable[[str], str], what: str, who: list[str], trained: tuple, model: tuple, tmp_path: Path
) -> None:
    rows = compare(tmp_path / "other.xml", edit(TEXT))
    found = [row for row in rows if row.what == what]
    assert [row.who for row in found] == who
    assert found[0].trained == pytest.approx(trained, abs=1e-9)
    assert (found[0].model or ()) == pytest.approx(model, abs=1e-9)
    others = {row.what for row in rows} - {what}
    assert others <= ({"upper limit, rad"} if not model else set())


def test_effort_limits_that_the_model_gives(tmp_path: Path) -> None:
    drives = (
        '<actuator><motor joint="FL_hip_joint" gear="2" ctrllimited="true" ctrlrange="-10 10"/>'
        '<motor joint="FR_hip_joint" forcelimited="true" forcerange="-23.7 23.7"/>'
        '<position joint="RL_hip_joint" kp="20" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    rows = compare(tmp_path / "driven.xml", TEXT.replace("</mujoco>", drives))
    assert [(row.what[:12], row.who, row.trained, row.model) for row in rows] == [
        ("effort limit", "FL_hip_joint", (23.7,), (20.0,))
    ]


def test_names_and_order(tmp_path: Path) -> None:
    text = TEXT.replace('<body name="FL_hip"', '<body name="left"')
    tail = '<body name="tail" pos="-0.2 0 0"><joint name="tail" axis="0 1 0"/><geom size="0.01" mass="0.1"/></body>'
    text = text.replace("      <!-- front left leg -->", f"      {tail}")
    rows = compare(tmp_path / "renamed.xml", text)
    found = {(row.what, row.who): (row.trained, row.model) for row in rows}
    assert found["body", "FL_hip"] == ("there", "none")
    assert found["body", "left"] == found["body", "tail"] == ("none", "there")
    assert found["joint without a drive", "tail"] == ("none", "there")
    assert found["mass, kg", "all"] == (pytest.approx((15.019,)), pytest.approx((15.119,)))
    legs = re.findall(
        r"      <!-- (?:front|rear) (?:left|right) leg -->.*?\n      </body>\n", TEXT, re.DOTALL
    )
    assert len(legs) == 4
    swapped = TEXT.replace(legs[0] + "\n" + legs[1], legs[1] + "\n" + legs[0])
    (row,) = compare(tmp_path / "swapped.xml", swapped)
    assert row.what == "order of joints" and row.who.startswith("FR_hip_joint FR_thigh_joint")


def test_the_table_has_a_line_for_what_differs_alike(tmp_path: Path) -> None:
    rows = compare(tmp_path / "other.xml", TEXT.replace('armature="0.01"', 'armature="0.02"'))
    lines = table(rows)
    assert len(lines) == 2
    assert lines[1].split("  ")[0] == "armature, kg m^2" and lines[1].endswith("  " + ", ".join(CALVES))
    assert lines[0].split() == ["the", "model", "differs", "trained", "model"]
