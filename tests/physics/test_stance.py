"""A robot that could not stand is refused before it is trained, with the value that would do."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from physics import build_scene, make_engine
from physics.robot_check import _tell
from physics.stance import check_stance, lowest_point, stand
from robots import CASSIE, GO2, ROBOTS, RobotConfig
from terrains import Plane
from tests.physics.zoo import write_zoo

ENGINES = ("batched", "mujoco")


def odd(robot: RobotConfig) -> list[str]:
    return check_stance(robot, build_scene(robot, Plane()))


def refused(robot: RobotConfig, engine: str = "auto") -> str:
    """The sentence that `make_engine` refuses a robot with."""
    with pytest.raises(ValueError, match=f"^robot {robot.name}: ") as error:
        make_engine(engine, robot, Plane(), 2, 0.005, "cpu", 1)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ROBOTS)
def test_the_robots_that_come_along_stand(name: str) -> None:
    robot = ROBOTS[name]
    assert odd(robot) == []
    stance = stand(robot, build_scene(robot, Plane()))
    heights = [stance.height(foot) for foot in robot.feet]
    assert min(heights) > 0.04 and max(heights) < 0.16, "as published they are dropped from there"


# ---------------------------------------------------------------------- heights


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("robot", [GO2, CASSIE], ids=["go2", "cassie"])
@pytest.mark.parametrize(
    ("height", "sentence"),
    [(0.05, r"init_height 0\.05 puts the feet 0\.\d+ m into the ground; at least (\d\.\d\d)"),
     (3.0, r"init_height 3 leaves the feet \d\.\d m above the ground; (\d\.\d\d) stands on it")],
)  # fmt: skip
def test_a_stance_in_the_ground_or_in_the_air_is_told_the_right_height(
    height: float, sentence: str, robot: RobotConfig, engine: str
) -> None:
    found = re.search(sentence, refused(replace(robot, init_height=height), engine))
    assert found
    right = float(found[1])
    assert odd(replace(robot, init_height=right)) == []
    stance = stand(right_one := replace(robot, init_height=right), build_scene(right_one, Plane()))
    assert 0.0 <= min(stance.height(foot) for foot in robot.feet) <= 0.01


def test_two_centimetres_into_the_ground_and_a_published_drop_pass() -> None:
    for height in (0.306, 0.57):
        assert odd(replace(GO2, init_height=height)) == []
    for height in (0.301, 0.58):
        assert "init_height" in refused(replace(GO2, init_height=height))


def test_a_robot_that_would_lie_is_refused() -> None:
    lying = {".*_hip_joint": 0.0, ".*_thigh_joint": 2.6, ".*_calf_joint": -1.0}
    sentence = refused(replace(GO2, default_joint_pos=lying, init_height=0.2))
    assert re.search(r"default_joint_pos '\w+' is 0\.\d\d m lower than the feet \(FL_foot, ", sentence)


def test_a_foot_that_hangs_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    _tell.cache_clear()
    robot = replace(GO2, default_joint_pos={"FL_calf_joint": -2.0, **GO2.default_joint_pos})
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "trot"):
            make_engine("mujoco", robot, Plane(), 2, 0.005, "cpu", 1)
    (line,) = caplog.messages
    assert re.fullmatch(r"robot go2: foot FL_foot stands 0\.\d\d m higher than F?R?[LR]_foot", line)


GEOMS = {
    "sphere": 'type="sphere" size="0.1"',
    "capsule": 'type="capsule" size="0.05 0.2"',
    "cylinder": 'type="cylinder" size="0.15 0.1"',
    "box": 'type="box" size="0.1 0.2 0.05"',
    "ellipsoid": 'type="ellipsoid" size="0.1 0.2 0.05"',
    "mesh": 'type="mesh" mesh="wedge"',
}


@pytest.mark.parametrize("kind", GEOMS)
def test_lowest_points_are_where_mujoco_meets_a_plane(kind: str) -> None:
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><asset><mesh name="wedge" vertex="0 0 0 0.3 0 0 0 0.2 0 0.1 0.1 0.4 0.2 0.2 0.1"/></asset>
        <worldbody><geom type="plane" size="0 0 1"/><body><freejoint/><geom {GEOMS[kind]} pos="0.1 0.2 0.3"/>
        </body></worldbody></mujoco>"""
    )
    data, random = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:3], data.qpos[3:] = [0.0, 0.0, -1.0], random.normal(size=4)
        mujoco.mj_kinematics(model, data)
        data.qpos[2] -= lowest_point(model, data, 1)[2] + 0.01  # a centimetre in the ground
        mujoco.mj_forward(model, data)
        assert min(data.contact.dist) == pytest.approx(-0.01, abs=1e-6)
        np.testing.assert_allclose(lowest_point(model, data, 1)[2], -0.01, atol=1e-9)


# ---------------------------------------------------------------------- angles


@pytest.mark.parametrize("engine", ENGINES)
def test_degrees_are_recognised(engine: str) -> None:
    pose = {".*_hip_joint": 0.0, ".*_thigh_joint": 45.0, ".*_calf_joint": -86.0}
    sentence = refused(replace(GO2, default_joint_pos=pose), engine)
    assert "default_joint_pos of FL_thigh_joint is 45 rad, outside of -1.57 to 3.49" in sentence
    assert "did you mean 0.785 (45 degrees)? (as for 7 more joints)" in sentence
    assert "init_height" not in sentence, "heights of such a pose mean nothing"


def test_angles_outside_of_limits_are_refused_and_a_little_is_not() -> None:
    def bent(angle: float) -> RobotConfig:
        return replace(GO2, default_joint_pos={"FL_calf_joint": angle, **GO2.default_joint_pos})

    assert refused(bent(-0.5)).endswith(
        "default_joint_pos of FL_calf_joint is -0.5 rad, outside of -2.72 to -0.838"
    )
    odd(bent(-0.83))


def test_a_joint_without_limits_turns_once_at_most(tmp_path: Path) -> None:
    robot = write_zoo(tmp_path, ('range="-2.7 -0.8"', ""))
    robot = replace(
        robot, default_joint_pos={".*_hip_joint": 0.0, ".*_thigh_joint": 0.9, ".*_calf_joint": -86.0}
    )
    assert "did you mean -1.5 (-86 degrees)?" in refused(robot)


# ---------------------------------------------------------------------- masses


TRUNK = 'mass="6.9" fullinertia="0.025 0.098 0.107 0.0001 0.001 0"'
CALF = 'mass="0.154" diaginertia="0.0014 0.0014 0.0001"'


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (TRUNK, 'mass="6900" fullinertia="25 98 107 0.1 1 0"', r"its mass is 6\.91e\+03 kg: MJCF is in kg and m"),
        (TRUNK, 'mass="6.9" fullinertia="250 980 1070 1 10 0"',
         r"the inertia of body base is that of 6\.9 kg 12\.\d m away, .* robot is .* m large: MJCF is in kg m\^2"),
        (CALF, 'mass="0.154" diaginertia="1.4 1.4 0.1"', "the inertia of body FL_calf"),
    ],
)  # fmt: skip
def test_masses_in_other_units_are_refused(
    old: str, new: str, sentence: str, engine: str, tmp_path: Path
) -> None:
    assert re.search(sentence, refused(write_zoo(tmp_path, (old, new)), engine))


def test_a_link_of_hardly_any_mass_is_told(tmp_path: Path) -> None:
    hip = 'mass="0.678" diaginertia="0.0005 0.0009 0.0006"'
    robot = write_zoo(tmp_path, (hip, 'mass="0.0005" diaginertia="1e-6 1e-6 1e-6"'))
    assert odd(robot) == [f"link {leg}_hip has a mass of 0.5 g" for leg in ("FL", "FR", "RL", "RR")]
    # a foot as light, without a joint, is part of its calf
    foot = 'mass="0.04" diaginertia="0.00001 0.00002 0.000015"'
    assert odd(write_zoo(tmp_path, (foot, 'mass="0.0005" diaginertia="1e-6 1e-6 1e-6"'))) == []


# ---------------------------------------------------------------------- drives


def table(folder: Path, spring: float = 0.0, **changes: Any) -> RobotConfig:
    """10 kg on four massless legs: shanks that reach 0.3 m outwards from knees at the corners, feet at their ends."""
    leg = (
        '<body name="{0}" pos="{1} {2} 0"><inertial pos="0 0 0" mass="0.001" diaginertia="1e-5 1e-5 1e-5"/>'
        '<joint name="{0}_knee" axis="0 1 0" armature="0.05" stiffness="{3}" springref="0.5"/>'
        '<geom name="{0}" size="0.02" pos="{4} 0 -0.1"/></body>'
    )
    legs = {"FL": (0.2, 0.1), "FR": (0.2, -0.1), "RL": (-0.2, 0.1), "RR": (-0.2, -0.1)}
    bodies = "".join(leg.format(n, x, y, spring, 0.3 if x > 0 else -0.3) for n, (x, y) in legs.items())
    (folder / "table.xml").write_text(
        '<mujoco><compiler angle="radian"/><worldbody><body name="base"><freejoint/>'
        f'<inertial pos="0 0 0" mass="9.996" diaginertia="0.1 0.1 0.1"/>{bodies}</body></worldbody></mujoco>'
    )
    robot = RobotConfig(
        name="table",
        mjcf=str(folder / "table.xml"),
        init_height=0.12,
        default_joint_pos={".*": 0.0},
        stiffness={".*": 50.0},
        damping={".*": 1.0},
        effort_limit={".*": 10.0},
        velocity_limit={".*": 20.0},
        feet=tuple(legs),
        contact_groups={leg: (leg,) for leg in legs},
        penalised_contacts=(),
        fatal_contacts=(),
    )
    return replace(robot, **changes)


def test_static_torques_are_a_quarter_of_the_weight_on_each_lever(tmp_path: Path) -> None:
    robot = table(tmp_path)
    quarter = 10.0 * 9.81 / 4.0
    torques = stand(robot, build_scene(robot, Plane())).torques
    # a knee turns its foot down by a negative angle in front, by a positive one behind
    np.testing.assert_allclose(np.abs(torques), 0.3 * quarter, rtol=2e-3)
    np.testing.assert_allclose(torques / torques[0], [1, 1, -1, -1], rtol=1e-9)
    sprung = table(tmp_path, spring=2.0)
    eased = stand(sprung, build_scene(sprung, Plane())).torques
    np.testing.assert_allclose(eased, torques - 2.0 * 0.5, rtol=1e-6)


def test_static_torques_are_what_drives_give_that_hold_the_stance(tmp_path: Path) -> None:
    robot = table(tmp_path, stiffness={".*": 400.0}, damping={".*": 40.0}, effort_limit={".*": 100.0})
    model = build_scene(robot, Plane())
    model.geom_condim[:] = 1  # so that friction does not help
    data, torques = mujoco.MjData(model), []
    data.qpos[2] = robot.init_height
    for _ in range(2500):
        mujoco.mj_step(model, data)
        torques.append(data.actuator_force.copy())
    np.testing.assert_allclose(np.mean(torques[1000:], 0), stand(robot, model).torques, rtol=0.02)


def test_drives_too_weak_for_the_stance_are_refused(tmp_path: Path) -> None:
    sentence = refused(table(tmp_path, effort_limit={".*": 7.0}), "mujoco")
    assert "effort_limit of FL_knee is 7 N m, and the stance takes 7.3" in sentence
    assert sentence.endswith("(as for 3 more joints)")
    assert odd(table(tmp_path, effort_limit={".*": 7.5})) == []


def test_gains_that_yield_are_told_and_hopeless_ones_refused(tmp_path: Path) -> None:
    (line,) = odd(table(tmp_path, stiffness={".*": 10.0}))
    assert (
        line.startswith("stiffness 10 of FL_knee holds the stance's 7.3")
        and "0.74 rad off its target" in line
    )
    assert "rad off its target" in refused(table(tmp_path, stiffness={".*": 2.0}), "mujoco")
    without = table(tmp_path, stiffness={".*": 0.0})
    assert "stiffness 0 of FL_knee holds" in refused(without, "mujoco")
    assert check_stance(without, build_scene(without, Plane(), actuation="torque")) == []
