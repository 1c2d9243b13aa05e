"""policy.json says what training assumed of the robot."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robots import ANYMAL_C
from robots.go2 import GO2
from runs.assumptions import assumptions
from runs.config import default_config

LEGS = ("FL", "FR", "RL", "RR")
JOINTS = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in ("hip", "thigh", "calf"))


def test_joints_and_bodies_are_the_mjcfs() -> None:
    found = assumptions(default_config("go2_flat").env, JOINTS)
    assert found["armature"] == [0.0045, 0.0045, 0.01] * 4
    assert found["joint_damping"] == found["friction_loss"] == [0.0] * 12
    assert found["joint_pos_limits"]["low"][:3] == [-1.0472, -1.5708, -2.7227]
    assert found["joint_pos_limits"]["high"][:3] == [1.0472, 3.4907, -0.83776]
    assert found["velocity_limit"] == [30.1, 30.1, 20.07] * 4
    assert found["mass"] == pytest.approx(15.019)
    base, *rest = found["bodies"]
    assert (base["name"], base["mass"], base["com"]) == ("base", 6.923, [0.021189, 0.0, -0.005372])
    # as the file gives them, whatever axes MuJoCo turns them to
    full = [0.0245024, 0.0982429, 0.107163, 0.00012166, 0.0014957, -0.0000312]
    assert base["inertia"] == pytest.approx(full, rel=1e-6)
    parts = ("hip", "thigh", "calf")
    assert [body["name"] for body in rest] == [f"{leg}_{part}" for leg in LEGS for part in parts]
    assert sum(body["mass"] for body in found["bodies"]) == pytest.approx(found["mass"])


def test_joints_follow_the_policys_order() -> None:
    cfg = default_config("go2_flat").env
    forwards, backwards = assumptions(cfg, JOINTS), assumptions(cfg, JOINTS[::-1])
    for name in ("armature", "velocity_limit"):
        assert forwards[name] == backwards[name][::-1]
    low = [block["joint_pos_limits"]["low"] for block in (forwards, backwards)]
    assert low[0] == low[1][::-1]


def test_only_what_differs_between_robots_is_named() -> None:
    cfg = default_config("go2_flat", "reference").env
    cfg.randomisation.push_interval = 0.0
    assert assumptions(cfg, JOINTS)["randomisation"] == {"friction": [0.5, 1.25]}
    cfg.randomisation.added_friction_loss = (0.2, 0.2)  # the same for all, but not the MJCF's
    cfg.randomisation.base_com_shift = (0.01, 0.0, 0.0)
    cfg.randomisation.encoder_offset = 0.02
    cfg.randomisation.push_interval = 5.0
    cfg.drive.delay = (0.0, 0.01)
    cfg.actuator = "dc_motor"
    found = json.loads(json.dumps(assumptions(cfg, JOINTS)))
    assert found["randomisation"] == {
        "friction": [0.5, 1.25],
        "base_com_shift": [0.01, 0.0, 0.0],
        "added_friction_loss": [0.2, 0.2],
        "encoder_offset": 0.02,
        "push_interval": 5.0,
        "push_velocity": 1.0,
        "push_ang_vel": 0.0,
    }
    assert (found["actuator"], found["delay"]) == ("dc_motor", [0.0, 0.01])


def test_a_joint_without_limits_has_none(tmp_path: Path) -> None:
    spec = mujoco.MjSpec.from_file(str(GO2.mjcf_path))
    spec.joint("FL_hip_joint").range = [0.0, 0.0]
    (tmp_path / "turning.xml").write_text(spec.to_xml())
    cfg = default_config("go2_flat").env
    cfg.robot = replace(GO2, mjcf=str(tmp_path / "turning.xml"))
    limits = assumptions(cfg, JOINTS)["joint_pos_limits"]
    assert limits["low"][:2] == [None, -1.5708] and limits["high"][:2] == [None, 3.4907]


def test_numbers_are_the_same_wherever_they_are_computed() -> None:
    """Rounded: the last bits of an eigenvector are the machine's own."""
    cfg = default_config("anymal_c_flat").env
    model = mujoco.MjModel.from_xml_path(str(ANYMAL_C.mjcf_path))
    joints = tuple(model.joint(i).name for i in range(1, model.njnt))
    for body in assumptions(cfg, joints)["bodies"]:
        values = np.array([body["mass"], *body["com"], *body["inertia"]])
        assert all(value == float(f"{value:.7g}") for value in values.tolist())
        i = model.body(body["name"]).id
        assert math.isclose(sum(body["inertia"][:3]), model.body_inertia[i].sum(), rel_tol=1e-6)
