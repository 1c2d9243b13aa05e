"""What is read from MuJoCo's model, and the sentence for each thing that the engine does not compute."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from physics import build_scene
from physics.batched.derived import inverted
from physics.batched.model import RobotModel, read_model
from physics.batched.records import Constants
from physics.batched.support import UnsupportedModel
from robots import ANYMAL_C
from terrains import Plane

ROBOT = """
<mujoco>
  <option integrator="implicitfast" timestep="0.005"/>
  <default><geom type="sphere" size="0.05" contype="1" conaffinity="0"/></default>
  <worldbody>
    <geom name="ground" type="plane" size="0 0 1" contype="0" conaffinity="1"/>
    <body name="base" pos="0 0 1">
      <joint name="root" type="free"/>
      <geom name="belly" mass="5"/>
      <body name="thigh" pos="0.2 0 0">
        <joint name="hip" axis="1 0 0"/>
        <geom name="cap" pos="0 0 -0.1" mass="1"/>
        <body name="shank" pos="0 0 -0.2">
          <joint name="knee" axis="0 1 0"/>
          <geom name="foot" pos="0 0 -0.2" mass="0.5"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="hip_drive" joint="hip" kp="50" kv="1" forcerange="-20 20"/>
    <position name="knee_drive" joint="knee" kp="50" kv="1" forcerange="-20 20"/>
  </actuator>
</mujoco>
"""


def read(xml: str) -> RobotModel:
    return read_model(mujoco.MjModel.from_xml_string(xml))


def edited(*edits: tuple[str, str], xml: str = ROBOT) -> str:
    """The robot with texts replaced; each must be there once."""
    for old, new in edits:
        assert xml.count(old) == 1, old
        xml = xml.replace(old, new)
    return xml


def records(constants: Constants) -> list:
    """The record of each limb or sphere."""
    return [constants.record(iter(row.tolist())) for row in constants.varying]


# ---------------------------------------------------------------------- what is read


def test_anymal() -> None:
    model = build_scene(ANYMAL_C, Plane())
    robot = read_model(model)
    (group,) = robot.groups
    assert group.shape == (4, 3, 6) and len(robot.base_spheres) == 8 and robot.num_joints == 12
    assert sorted(group.joints.ravel()) == list(range(12)) and (np.diff(group.joints) == 1).all()
    names = [model.geom(s.geom).name for s in robot.spheres]
    assert len(set(names)) == 32 and set(ANYMAL_C.feet) < set(names)
    for limb in group.spheres:  # hip, knee, shank and foot move with 1, 2, 3 and 3 joints
        assert {model.geom(s.geom).name[3:6]: s.link for s in limb} == {
            "HIP": 0,
            "KNE": 1,
            "SHA": 2,
            "FOO": 2,
        }
    assert all(s.link == -1 and s.body == robot.base_body == 1 for s in robot.base_spheres)
    assert not robot.torque_mode and robot.limit is None and robot.timestep == 0.005
    limbs = records(group.link_constants)
    mass = sum(link.mass for limb in limbs for link in limb)
    np.testing.assert_allclose(mass, model.body_mass[2:].sum(), rtol=1e-12)
    np.testing.assert_allclose(robot.base.limb_mass, mass, rtol=1e-12)
    for limb, joints in zip(limbs, group.joints, strict=True):
        for link, joint in zip(limb, joints, strict=True):
            body = model.jnt_bodyid[joint + 1]
            assert (link.mass, *link.com) == pytest.approx((model.body_mass[body], *model.body_ipos[body]))
            np.testing.assert_allclose(np.linalg.norm(link.axis), 1.0)
            assert link.limit_high == -link.limit_low == 1e9


def test_torque_mode_and_ground_height() -> None:
    assert read_model(build_scene(ANYMAL_C, Plane(), actuation="torque")).torque_mode
    assert read(edited(('size="0 0 1"', 'size="0 0 1" pos="3 4 -0.5"'))).ground_height == -0.5


def test_limbs_of_one_shape_share_a_group_and_others_do_not() -> None:
    leg = ROBOT[ROBOT.index('<body name="thigh"') : ROBOT.index("    </body>\n  </worldbody>")]
    drives = ROBOT[ROBOT.index("<position") : ROBOT.index("  </actuator>")]
    bodies, actuators = leg, drives
    for i, change in enumerate(
        (('pos="0 0 -0.1"', 'pos="0 0 -0.3"'), ('name="cap"', 'name="cap" contype="0"'))
    ):
        other = leg.replace(*change)
        for name in ("thigh", "hip", "cap", "shank", "knee", "foot"):
            other = other.replace(f'"{name}"', f'"{name}{i}"')
        bodies += other
        actuators += (
            drives.replace('hip"', f'hip{i}"').replace('knee"', f'knee{i}"').replace("_drive", f"_drive{i}")
        )
    robot = read(edited((leg, bodies), (drives, actuators)))
    assert [group.shape for group in robot.groups] == [(2, 2, 2), (1, 2, 1)]
    assert [group.joints.tolist() for group in robot.groups] == [[[0, 1], [2, 3]], [[4, 5]]]
    # what differs within a group is loaded, the rest is in the code
    spheres = robot.groups[0].sphere_constants
    assert [s.pos[2] for s in records(spheres)] == [-0.1, -0.2, -0.3, -0.2]
    assert spheres.varying.shape[1] == 2, "height, and whether the knee moves it"


FIXED = """
<body name="shoe" pos="0.01 0.02 -0.2" euler="20 30 40">
  <inertial pos="0.03 -0.01 0.02" mass="0.4" fullinertia="0.002 0.003 0.004 0.0003 -0.0002 0.0001"/>
  <body name="sole" pos="0 0.05 -0.02" euler="-50 10 0">
    <inertial pos="0.01 0 0" mass="0.3" diaginertia="0.001 0.002 0.0015" euler="5 6 7"/>
    <geom name="toe" pos="0.04 0.01 0" size="0.02" mass="0"/>
  </body>
</body>
"""


@pytest.mark.parametrize("carrier", ["shank", "thigh", "base"])
def test_bodies_without_joints_belong_to_what_carries_them(carrier: str) -> None:
    # MuJoCo's compiler does the same sums when it is told to fuse such bodies
    after = {"shank": '<joint name="knee"', "thigh": '<joint name="hip"', "base": '<joint name="root"'}[
        carrier
    ]
    xml = edited((after, FIXED + after))
    apart, fused = read(xml), read(edited(("<option", '<compiler fusestatic="true"/><option'), xml=xml))
    assert [s.geom for s in apart.spheres] != [] and len(apart.spheres) == len(fused.spheres) == 4
    (one,), (other,) = apart.groups, fused.groups
    for a, b in zip(records(one.link_constants)[0], records(other.link_constants)[0], strict=True):
        for name, value in vars(a).items():
            np.testing.assert_allclose(value, getattr(b, name), rtol=1e-9, atol=1e-12, err_msg=name)
    for a, b in zip(
        records(apart.base_sphere_constants) + records(one.sphere_constants),
        records(fused.base_sphere_constants) + records(other.sphere_constants),
        strict=True,
    ):
        np.testing.assert_allclose(a.pos, b.pos, rtol=1e-9, atol=1e-12)
        assert (a.radius, a.on) == (b.radius, b.on)
    np.testing.assert_allclose(apart.base.limb_mass + 5.0, 7.2, rtol=1e-12)


def test_joint_constants() -> None:
    joint = (
        '<joint name="hip" axis="1 0 0"',
        '<joint name="hip" axis="0 3 4" pos="0.1 0 0.2" stiffness="7" springref="10" ref="-5" range="-40 60"'
        ' limited="true"',
    )
    thigh, _ = records(read(edited(joint)).groups[0].link_constants)[0]
    np.testing.assert_allclose(thigh.axis, [0.0, 0.6, 0.8])
    np.testing.assert_allclose(thigh.offset, [0.3, 0.0, 0.2])
    np.testing.assert_allclose(thigh.com, [-0.1, 0.0, -0.3])
    np.testing.assert_allclose(
        (thigh.spring, thigh.spring_ref, thigh.ref, thigh.limit_low, thigh.limit_high),
        (7.0, *np.deg2rad([10.0, -5.0, -40.0, 60.0])),
    )


# ---------------------------------------------------------------------- what is refused

HIP = '<joint name="hip"'
FOOT = '<geom name="foot"'
GROUND = '<geom name="ground"'
END = "</actuator>"


def add(after: str, text: str) -> tuple[str, str]:
    """Insert text after another."""
    return after, after + text


def joint(text: str) -> tuple[str, str]:
    return add(HIP, f" {text}")


def foot(text: str) -> tuple[str, str]:
    return add(FOOT, f" {text}")


def ground(text: str) -> tuple[str, str]:
    return add(GROUND, f" {text}")


def option(text: str) -> tuple[str, str]:
    return add('timestep="0.005"', f" {text}")


def flag(text: str) -> tuple[str, str]:
    return 'timestep="0.005"/>', f'timestep="0.005"><flag {text}/></option>'


def root(text: str) -> tuple[str, str]:
    return add('<joint name="root" type="free"', f" {text}")


def drive(text: str) -> tuple[str, str]:
    return '<position name="hip_drive" joint="hip" kp="50" kv="1" forcerange="-20 20"/>', text


def hip_drive(kind: str, text: str) -> tuple[str, str]:
    return drive(f'<{kind} name="hip_drive" joint="hip" forcerange="-20 20" {text}/>')


def in_world(text: str) -> tuple[str, str]:
    return "</worldbody>", text + "</worldbody>"


def before_drives(text: str) -> tuple[str, str]:
    return "<actuator>", text + "<actuator>"


def last_drive(of: str) -> tuple[str, str]:
    """A drive for one more joint."""
    return END, f'<position name="last" joint="{of}" forcerange="-20 20"/>{END}'


BODY = '<body pos="1 0 0"><joint name="pendulum" axis="0 1 0"/><geom name="bob" mass="1" contype="0"/></body>'

DISABLED = (
    "constraint",
    "contact",
    "limit",
    "frictionloss",
    "gravity",
    "spring",
    "damper",
    "actuation",
    "refsafe",
)

REFUSED = {
    # joints
    "no free joint": ([('<joint name="root" type="free"/>', "")], "base has no free joint"),
    "slide joint": ([joint('type="slide"')], "joint 'hip'"),
    "ball joint": ([joint('type="ball"')], "joint 'hip'"),
    "joint margin": ([joint('margin="0.1" range="-90 90" limited="true"')], "joint 'hip'"),
    "joint's actuator force range": ([joint('actuatorfrcrange="-5 5"')], "joint 'hip'"),
    "joint's gravity compensation": ([joint('actuatorgravcomp="true"')], "joint 'hip'"),
    "polynomial spring": ([joint('stiffness="1 2 3"')], "joint 'hip'"),
    "polynomial damping": ([joint('damping="1 2 3"')], "joint 'hip'"),
    "yielding spring": ([joint('stiffness="1" springyield="0.1"')], "joint 'hip'"),
    "damped base": ([root('damping="1"')], "free joint"),
    "base on a spring": ([root('stiffness="1"')], "free joint"),
    "armature of the base": ([root('armature="1"')], "free joint"),
    "friction loss of the base": ([root('frictionloss="1"')], "free joint"),
    "limits of different softness": (
        [joint('range="-90 90" limited="true" solreflimit="0.03 1"')],
        "joint limits have different solref",
    ),
    "friction of different softness": ([joint('solreffriction="0.03 1"')], "dry friction"),
    "two joints on a body": (
        [add('<joint name="knee" axis="0 1 0"/>', '<joint name="twist"/>'), last_drive("twist")],
        "'shank'",
    ),
    "branching limb": (
        [add('mass="0.5"/>\n        </body>', BODY), last_drive("pendulum")],
        "'thigh'",
    ),
    "a hinge that is not on the robot": (
        [in_world(BODY), last_drive("pendulum")],
        "joint 'pendulum'",
    ),
    "a second free body": (
        [in_world(BODY.replace("axis", 'type="free" axis'))],
        "joint 'pendulum'",
    ),
    # bodies, constraints
    "gravity compensation": ([add('<body name="shank"', ' gravcomp="0.5"')], "body 'shank'"),
    "equality": (
        [before_drives('<equality><joint name="coupled" joint1="hip" joint2="knee"/></equality>')],
        "'coupled'",
    ),
    "tendon": (
        [before_drives('<tendon><fixed name="cord"><joint joint="hip" coef="1"/></fixed></tendon>')],
        "'cord'",
    ),
    "contact pair": (
        [before_drives('<contact><pair name="own" geom1="foot" geom2="ground"/></contact>')],
        "'own'",
    ),
    "contact exclusion": (
        [before_drives('<contact><exclude name="spared" body1="world" body2="shank"/></contact>')],
        "'spared'",
    ),
    # geoms
    "other shapes": ([foot('type="capsule" size="0.05 0.1"')], "geom 'foot'"),
    "self-contact": ([foot('conaffinity="1"')], "geoms 'belly' and 'foot'"),
    "frictionless contact": ([foot('condim="1"'), ground('condim="1"')], "geom 'foot'"),
    "torsional friction": ([foot('condim="4"')], "geom 'foot'"),
    "torsional friction of the ground": ([ground('condim="4"')], "geom 'belly'"),
    "margin": ([foot('margin="0.01"')], "geom 'foot'"),
    "gap": ([foot('gap="0.01"')], "geom 'foot'"),
    "margin of the ground": ([ground('margin="0.01"')], "ground"),
    "ground of higher priority": ([ground('priority="1"')], "geom 'belly'"),
    "adhesion": ([foot('adhesion="5"')], "geom 'foot'"),
    "adhesion of the ground": ([ground('adhesion="5"')], "geom 'ground'"),
    "moving surface": ([ground('surfacevel="1 0 0 0 0 0"')], "geom 'ground'"),
    "unequal powers": ([foot('solimp="0.9 0.95 0.001 0.5 3"')], "'foot'"),
    "broken power": ([foot('solimp="0.9 0.95 0.001 0.5 2.5" priority="1"')], "'foot'"),
    "tilted ground": ([ground('euler="0 5 0"')], "geom 'ground'"),
    "no ground": ([('conaffinity="1"', 'conaffinity="0"')], "0 geoms"),
    "two grounds": ([in_world('<geom name="roof" type="plane" size="0 0 1" conaffinity="1"/>')], "2 geoms"),
    "obstacle": ([in_world('<geom name="rock" conaffinity="1"/>')], "geom 'rock'"),
    # drives
    "no drive": ([drive("")], "one per hinge"),
    "gear": ([hip_drive("position", 'gear="2"')], "'hip_drive'"),
    "range of control": ([hip_drive("position", 'ctrlrange="-1 1" ctrllimited="true"')], "'hip_drive'"),
    "no force limit": ([drive('<position name="hip_drive" joint="hip" kp="50"/>')], "'hip_drive'"),
    "asymmetric force": (
        [drive('<position name="hip_drive" joint="hip" kp="50" forcerange="-1 2"/>')],
        "'hip_drive'",
    ),
    "activation": ([hip_drive("position", 'timeconst="0.1"')], "'hip_drive'"),
    "velocity drive": ([hip_drive("velocity", 'kv="1"')], "'hip_drive'"),
    "another kind of drive": ([hip_drive("motor", "")], "_drive'"),
    "delayed drive": ([hip_drive("position", 'delay="0.01" nsample="4"')], "'hip_drive'"),
    "armature of the drive": ([hip_drive("position", 'armature="0.1"')], "'hip_drive'"),
    "damping of the drive": ([hip_drive("position", 'damping="0.1"')], "'hip_drive'"),
    "drive of another order": (
        [('"hip_drive" joint="hip"', '"x" joint="knee"'), ('"knee_drive" joint="knee"', '"y" joint="hip"')],
        "order of the joints",
    ),
    "drive switched off": ([option('actuatorgroupdisable="0"')], "actuator"),
    # options
    "elliptic cone": ([option('cone="elliptic"')], "cone"),
    "impratio": ([option('impratio="2"')], "impratio"),
    "Euler": ([('integrator="implicitfast"', 'integrator="Euler"')], "implicitfast"),
    "implicit": ([('integrator="implicitfast"', 'integrator="implicit"')], "implicitfast"),
    "air": ([option('density="1.2"')], "density"),
    "viscosity": ([option('viscosity="1.2"')], "viscosity"),
    "noslip": ([option('noslip_iterations="3"')], "noslip"),
    **{f"no {name}": ([flag(f'{name}="disable"')], "mjDSBL") for name in DISABLED},
    **{f"with {name}": ([flag(f'{name}="enable"')], "mjENBL") for name in ("override", "diagexact")},
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_computed_is_refused_by_name(what: str) -> None:
    edits, names = REFUSED[what]
    with pytest.raises(UnsupportedModel) as error:
        read(edited(*edits))
    message = str(error.value)
    assert names in message and message.endswith("use --engine mujoco") and "\n" not in message


def test_the_robot_of_these_tests_is_accepted() -> None:
    robot = read(ROBOT)
    assert [group.shape for group in robot.groups] == [(1, 2, 2)] and len(robot.base_spheres) == 1


def test_nameless_elements_are_named_by_their_number() -> None:
    with pytest.raises(UnsupportedModel, match=r"joint '#1'"):
        read(edited((HIP, '<joint type="slide"'), drive("")))


def test_a_robot_without_hinges_is_refused() -> None:
    start, end = ROBOT.index('<body name="thigh"'), ROBOT.index("    </body>\n  </worldbody>")
    xml = ROBOT[:start] + ROBOT[end : ROBOT.index("  <actuator>")] + "</mujoco>"
    with pytest.raises(UnsupportedModel, match="hinge"):
        read(xml)


def test_a_gpus_inverses_are_lapacks() -> None:
    random = torch.randn(50, 18, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = random @ random.mT + 0.1 * torch.eye(18, dtype=torch.float64)
    torch.testing.assert_close(inverted(matrix), torch.linalg.inv(matrix), rtol=1e-9, atol=1e-9)
