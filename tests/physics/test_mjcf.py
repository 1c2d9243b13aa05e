"""MJCF files as others publish them: what is brought into line, told once, and what is refused, all at once."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from physics import BatchedEngine, MujocoEngine, build_scene, make_engine
from physics.mjcf import drop_visuals, load_mjcf
from physics.robot_check import _tell
from robots import ANYMAL_C, ROBOTS, RobotConfig
from terrains import HeightField, Plane
from tests.physics.batched.common import engine_step, take_cases
from tests.physics.batched.random_robots import DESIGNS, Design, make_robot
from tests.physics.common import everyone
from tests.physics.zoo import JOINTS, LEGS, write_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> RobotConfig:
    return write_zoo(tmp_path)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What users are told, from now on."""
    _tell.cache_clear()
    caplog.set_level(logging.WARNING, "trot")
    return caplog


def dynamics(model: mujoco.MjModel, count: int = 5) -> np.ndarray:
    """Mass matrices, and forces of gravity, motion, springs and damping, in random states; one row each."""
    random, data, rows = np.random.default_rng(0), mujoco.MjData(model), []
    matrix = np.zeros((model.nv, model.nv))
    for _ in range(count):
        data.qpos, data.qvel = random.normal(size=model.nq), random.normal(size=model.nv)
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, matrix)
        rows.append(np.concatenate((matrix.ravel(), data.qfrc_bias, data.qfrc_passive)))
    return np.array(rows)


def flight(model: mujoco.MjModel) -> np.ndarray:
    """Positions and velocities of a robot in free fall, tumbling and kicking, [100, nq + nv]."""
    data, states = mujoco.MjData(model), []
    data.qpos[2], data.qvel[3:6] = 5.0, [0.3, -2.0, 1.0]
    data.qpos[7:], data.ctrl[:] = np.tile([0.1, 0.9, -1.5], 4), np.linspace(-2.0, 1.0, 12)
    for _ in range(100):
        mujoco.mj_step(model, data)
        states.append(np.concatenate((data.qpos, data.qvel)))
    assert not data.ncon
    return np.array(states)


# ---------------------------------------------------------------------- brought into line


def test_a_published_robot_is_taken_as_it_is_and_one_line_says_what_was_changed(
    zoo: RobotConfig, told: pytest.LogCaptureFixture
) -> None:
    for name in ("batched", "mujoco", "batched"):
        assert make_engine(name, zoo, Plane(), 2, 0.005, "cpu", 1)[1] == f"{name} (as asked)"
    build_scene(zoo, Plane(), visuals=True)
    (line,) = told.messages
    assert line.startswith("robot zoo: its MJCF is read with changes: ") and "\n" not in line
    for part in (
        "its floor, body 'table', 12 drives, 5 sensors, 1 keyframe, 4 contact exclusions, 1 light, 2 cameras",
        "options cone, impratio, iterations, timestep",
        "22 geoms meet the ground only",
        "condim of 22 geoms is 3",
        "effort_limit replaces actuatorfrcrange of 4 joints",
        "nameless geoms are called base_0, base_1, FL_calf_0, FL_calf_1, FL_foot,",
    ):
        assert part in line


@pytest.mark.parametrize("name", ROBOTS)
def test_nothing_is_changed_of_the_robots_that_come_along(name: str) -> None:
    _, changes = load_mjcf(ROBOTS[name])
    assert changes == []


@pytest.mark.parametrize("visuals", [False, True])
def test_masses_and_inertias_are_those_of_the_whole_file(zoo: RobotConfig, visuals: bool) -> None:
    """Its lidar has no mass but that of a mesh and a box that nothing touches."""
    published = mujoco.MjModel.from_xml_path(zoo.mjcf)
    scene = build_scene(zoo, Plane(), visuals=visuals)
    base = published.body("base").id
    assert published.body("lidar").mass[0] > 0.1
    assert scene.body_mass.sum() == pytest.approx(published.body_subtreemass[base], rel=1e-12)
    np.testing.assert_allclose(dynamics(scene), dynamics(published), rtol=1e-9, atol=1e-9)
    assert (scene.nmesh > 0) == visuals


def test_inertias_that_the_compiler_takes_from_geoms_stay_so() -> None:
    spec = mujoco.MjSpec.from_string("""<mujoco><compiler inertiafromgeom="true"/><worldbody><body>
        <freejoint/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/><geom size="0.1"/>
        <geom type="box" size="0.1 0.2 0.3" pos="0.1 0 0" contype="0" conaffinity="0"/>
        </body></worldbody></mujoco>""")
    whole = spec.copy().compile()
    drop_visuals(spec)
    bare = spec.compile()
    assert (whole.ngeom, bare.ngeom) == (2, 1) and whole.body_mass[1] > 20.0
    for field in ("body_mass", "body_ipos", "body_iquat", "body_inertia"):
        np.testing.assert_array_equal(getattr(bare, field), getattr(whole, field))


def test_bodies_without_joints_move_as_if_mujoco_had_fused_them(zoo: RobotConfig, tmp_path: Path) -> None:
    (other := tmp_path / "fused").mkdir()
    fused = write_zoo(other, ("<compiler", '<compiler fusestatic="true"'))
    apart, one = build_scene(zoo, Plane()), build_scene(fused, Plane())
    assert apart.nbody == one.nbody + 5
    np.testing.assert_allclose(dynamics(one), dynamics(apart), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(flight(one), flight(apart), rtol=0, atol=1e-8)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(design=DESIGNS)
def test_random_robots_keep_the_dynamics_of_their_file(
    design: Design, tmp_path_factory: pytest.TempPathFactory
) -> None:
    robot = make_robot(design, tmp_path_factory.mktemp("random"))
    spec = mujoco.MjSpec.from_file(robot.mjcf)
    spec.compiler.fusestatic = True
    np.testing.assert_allclose(
        dynamics(build_scene(robot, Plane())), dynamics(spec.compile()), rtol=1e-8, atol=1e-8
    )


def test_the_batched_engine_steps_a_published_robot_like_mujoco(zoo: RobotConfig) -> None:
    engine = BatchedEngine(zoo, Plane(), 64, num_threads=1)
    engine.model.opt.tolerance = 1e-12
    pose = np.tile([0.0, 0.9, -1.5], 4)
    cases = take_cases(engine.model, 64, stance=pose, heights=(0.4, 0.3, 0.2), single_precision=True)
    assert (cases.contacts > 0).sum() > 15
    error = cases.error(engine_step(engine, cases))
    assert np.median(error) <= 1e-5 and error.max() <= 1e-3


def test_its_options_and_defaults_do_not_reach_our_ground_and_drives(zoo: RobotConfig) -> None:
    for ground in (Plane(), HeightField.centred(np.zeros((3, 4)), 0.5)):
        ours, its = build_scene(ANYMAL_C, ground), build_scene(zoo, ground)
        for name in (field for field in dir(ours.opt) if not field.startswith("_")):
            np.testing.assert_array_equal(getattr(its.opt, name), getattr(ours.opt, name), err_msg=name)
        for name in ("condim", "friction", "margin", "solref", "priority", "group", "contype", "conaffinity"):
            np.testing.assert_array_equal(
                getattr(its.geom("ground"), name), getattr(ours.geom("ground"), name), err_msg=name
            )
    assert [its.actuator(i).name for i in range(its.nu)] == JOINTS
    np.testing.assert_array_equal(its.actuator_gear[:, 0], 1.0)
    assert not its.actuator_ctrllimited.any() and not its.jnt_actfrclimited.any()
    np.testing.assert_array_equal(its.actuator("FL_hip_joint").forcerange, [-23.7, 23.7])
    assert not its.dof_damping[:6].any() and its.dof_damping[8] == 0.7, "its joints' own damping stays"


def test_what_meets_the_files_own_floor_meets_ours(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    """A floor of other bits, and geoms that only other parts of the robot meet."""
    robot = _other_bits(tmp_path)
    scene = build_scene(robot, Plane())
    names = {scene.geom(i).name for i in np.flatnonzero(scene.geom_contype)}
    assert "FL_hip_0" not in names and {"FR_hip_0", "FL_foot", "base_0"} <= names
    assert "1 geom for contacts with the robot itself does not collide" in told.text


def _other_bits(folder: Path) -> RobotConfig:
    bits = 'contype="1" conaffinity="1"'
    robot = write_zoo(
        folder,
        (f'material="ground" {bits}', 'material="ground" contype="4" conaffinity="8"'),
        (f'group="3" {bits}', 'group="3" contype="8" conaffinity="0"'),
        ('<geom name="FL_hip_0"', '<geom name="FL_hip_0" contype="1"'),
        ('<geom name="FR_hip_0"', '<geom name="FR_hip_0" contype="0" conaffinity="4"'),
    )
    base = ("base_.*", "(FR|RL|RR)_hip_0")
    return replace(robot, contact_groups={**robot.contact_groups, "base": base})


def test_a_base_without_mass_takes_that_of_what_is_fixed_to_it(tmp_path: Path) -> None:
    inertial = '<inertial pos="0.02 0 0" mass="6.9" fullinertia="0.025 0.098 0.107 0.0001 0.001 0"/>'
    robot = write_zoo(
        tmp_path,
        (inertial, ""),
        ('<body name="lidar"', f'<body name="trunk">{inertial}</body><body name="lidar"'),
        ('size="0.08"', 'size="0.08" mass="0"'),
    )
    for kind in (BatchedEngine, MujocoEngine):
        engine = kind(robot, Plane(), 2, num_threads=1)
        assert engine.base_mass[0] > 6.9
        engine.set_params(everyone(engine), base_mass=engine.base_mass + 1.0)
        assert engine.total_mass[0] > 16.0


# ---------------------------------------------------------------------- refused


def without_drives(*joints: str) -> list[tuple[str, str]]:
    """Edits that take out what would refer to joints in vain."""
    drives = [(f'<position name="{joint}" joint="{joint}"/>', "") for joint in joints]
    return [*drives, ("<keyframe>", "<!-- "), ("</keyframe>", "-->")]


@pytest.mark.parametrize("name", ["batched", "mujoco", "auto"])
def test_all_that_cannot_be_brought_into_line_is_listed_at_once(name: str, tmp_path: Path) -> None:
    ball = '<body name="ball" pos="3 0 0"><freejoint/><geom size="0.1"/></body>'
    robot = write_zoo(
        tmp_path,
        ('<body name="base"', f'{ball}<body name="base"'),
        ('<joint name="FL_hip_joint" class="abduction"/>', '<joint name="FL_hip_joint" type="slide"/>'),
        ('<joint name="FR_hip_joint" class="abduction"/>', '<joint name="FR_hip_joint" type="ball"/>'),
        ('<joint name="RL_hip_joint" class="abduction"/>', '<joint class="abduction"/>'),
        *without_drives("FL_hip_joint", "FR_hip_joint", "RL_hip_joint"),
    )
    robot = replace(
        robot, feet=("FL_fot", *robot.feet[1:]), effort_limit={".*": 0.0}, fatal_contacts=("bse",)
    )
    with pytest.raises(ValueError) as error:
        make_engine(name, robot, Plane(), 2, 0.005, "cpu", 1)
    message = str(error.value)
    for part in (
        "body 'ball' is not part of 'base', the robot: remove it from the MJCF",
        "joint 'FL_hip_joint' of body 'FL_hip' slides, joints must be hinges",
        "joint 'FR_hip_joint' of body 'FR_hip' is a ball joint, joints must be hinges: write it as three hinges",
        "hinges without a name on 'RL_hip': give each one",
        "foot 'FL_fot' is no geom that touches the ground. Did you mean FL_foot",
        "effort_limit of FL_thigh_joint is 0 and must be greater than 0",
        "fatal_contacts: 'bse' matches none of",
    ):
        assert part in message
    assert message.startswith("robot zoo: ") and "\n" not in message


def test_a_base_that_is_fixed_is_told_how_to_be_free(tmp_path: Path) -> None:
    robot = write_zoo(tmp_path, ("<freejoint/>", ""), *without_drives())
    with pytest.raises(
        ValueError, match="first joint must be a free joint .*: give its first body <freejoint/>"
    ):
        build_scene(robot, Plane())


FEET = {f"{leg}_foot": (f"{leg}_foot",) for leg in LEGS}


@pytest.mark.parametrize("name", ["batched", "mujoco"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"feet": ("FL_foott", *list(FEET)[1:])}, "foot 'FL_foott' is no geom .* mean FL_foot"),
        (
            {"contact_groups": FEET | {"tail": ("tail_.*",)}},
            r"contact_groups: 'tail_\.\*' matches none of base_0",
        ),
        (
            {"contact_groups": FEET | {"base": ("*_0",)}},
            r"'\*_0' is no regular expression .*'\.\*' stands for",
        ),
        ({"penalised_contacts": (".*_calff",)}, "penalised_contacts: '.*_calff' matches none of .*FL_calf"),
        ({"effort_limit": {".*": 0.0}}, "effort_limit of FL_hip_joint is 0 and must be greater than 0"),
        ({"stiffness": {".*": -1.0}}, "stiffness of FL_hip_joint is -1 and must not be negative"),
        ({"damping": {"FL.*": 1.0}}, r"damping: no pattern of FL\.\* matches 'FR_hip_joint' \(nor 8 more\)"),
        ({"velocity_limit": {}}, "velocity_limit: it is empty, and lacks 'FL_hip_joint'"),
        ({"contact_groups": FEET | {"nothing": ()}}, "contact group 'nothing' is empty"),
        (
            {"contact_groups": FEET | {"feet": (".*_foot",)}},
            "geom 'FL_foot' belongs to the contact groups 'FL_foot' and 'feet'",
        ),
    ],
)
def test_a_name_that_matches_nothing_is_named_on_every_engine(
    name: str, change: dict, sentence: str, zoo: RobotConfig
) -> None:
    with pytest.raises(ValueError, match=f"robot zoo: .*{sentence}"):
        make_engine(name, replace(zoo, **change), Plane(), 2, 0.005, "cpu", 1)


@pytest.mark.parametrize("name", ["batched", "mujoco"])
def test_names_may_have_slashes(name: str, zoo: RobotConfig, tmp_path: Path) -> None:
    """As those of files that were made of several."""
    feet = tuple(f"zoo/{foot}" for foot in zoo.feet)
    groups = {foot: (foot,) for foot in feet} | {
        k: v for k, v in zoo.contact_groups.items() if k not in zoo.feet
    }
    folder = tmp_path / "slashes"
    folder.mkdir()
    renamed = write_zoo(folder, *zip(zoo.feet, feet, strict=True))
    forces = []
    for robot in (zoo, replace(renamed, feet=feet, contact_groups=groups)):
        engine, _ = make_engine(name, robot, Plane(), 1, 0.005, "cpu", 1)
        for _ in range(50):
            engine.step(torch.tensor([[0.0, 0.9, -1.5] * 4]), 4)
        forces.append(engine.contact_force)
    assert forces[0].any() and torch.equal(*forces)


def test_a_foot_may_be_fixed_to_the_base(zoo: RobotConfig) -> None:
    """As that of a robot with a stick."""
    groups = {group: names for group, names in zoo.contact_groups.items() if group != "base"}
    groups = groups | {"base_0": ("base_0",)}
    robot = replace(
        zoo, feet=(*zoo.feet, "base_0"), contact_groups=groups, penalised_contacts=(), fatal_contacts=()
    )
    engine = BatchedEngine(robot, Plane(), 1, num_threads=1)
    for _ in range(20):
        engine.step(torch.tensor([[0.0, 0.9, -1.5] * 4]), 4)
    data, velocity = mujoco.MjData(engine.model), np.zeros(6)
    data.qpos[:] = torch.cat((engine.base_pos[0], engine.base_quat[0], engine.joint_pos[0]))
    data.qvel[:] = torch.cat((engine.base_lin_vel[0], engine.base_ang_vel[0], engine.joint_vel[0]))
    mujoco.mj_forward(engine.model, data)
    geom = engine.model.geom("base_0").id
    mujoco.mj_objectVelocity(engine.model, data, mujoco.mjtObj.mjOBJ_GEOM, geom, velocity, 0)
    np.testing.assert_allclose(engine.foot_pos[0, -1], data.geom_xpos[geom], atol=1e-5)
    np.testing.assert_allclose(engine.foot_vel[0, -1], velocity[3:], atol=1e-4)
    assert np.abs(velocity[3:]).max() > 0.01


LINKAGE = '<joint name="linkage" joint1="FL_hip_joint" joint2="FR_hip_joint" polycoef="0 -1 0 0 0"/>'
CORD = '<fixed name="cord" stiffness="1"><joint joint="RL_calf_joint" coef="1"/></fixed>'


def test_only_the_batched_engine_refuses_what_only_it_cannot_compute(tmp_path: Path) -> None:
    """A capsule, a mesh, a linkage and a tendon, named together; MuJoCo steps them."""
    robot = write_zoo(
        tmp_path,
        ('class="collision" size="0.04"', 'class="collision" type="capsule" size="0.03 0.02"'),
        ('class="collision" pos="0.15 0 0" size="0.08"', 'class="collision" type="mesh" mesh="shell"'),
        ("<keyframe>", f"<equality>{LINKAGE}</equality><tendon>{CORD}</tendon><keyframe>"),
    )
    with pytest.raises(ValueError, match="use --engine mujoco$") as error:
        make_engine("batched", robot, Plane(), 2, 0.005, "cpu", 1)
    shapes = "geom 'base_0', 'FL_hip_0', 'FR_hip_0' and 2 more touches the ground and is not a sphere"
    for part in ("equality constraint 'linkage' exists", "tendon 'cord' exists", shapes):
        assert part in str(error.value)
    engine, why = make_engine("auto", robot, Plane(), 2, 0.005, "cpu", 1)
    assert isinstance(engine, MujocoEngine) and "'cord' exists" in why
    pose = torch.tensor([[0.0, 0.9, -1.5] * 4] * 2)
    for _ in range(20):
        engine.step(pose, 4)
    assert not engine.bad.any()


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, zoo: RobotConfig) -> None:
    with pytest.raises(ValueError, match=r"robot zoo: .*zo\.xml does not exist\. Did you mean zoo\.xml\?"):
        build_scene(replace(zoo, mjcf=str(tmp_path / "zo.xml")), Plane())
    (tmp_path / "bad.xml").write_text("<mujoco><worldbody></mujoco>")
    with pytest.raises(ValueError, match=r"robot zoo: .*bad\.xml is no valid MJCF \(") as error:
        build_scene(replace(zoo, mjcf=str(tmp_path / "bad.xml")), Plane())
    assert "\n" not in str(error.value)
    # inertia that no body has, see MuJoCo's compiler
    odd = write_zoo(tmp_path, ('diaginertia="0.006 0.006 0.001"', 'diaginertia="0.06 0.006 0.001"'))
    with pytest.raises(ValueError, match="robot zoo: .* does not compile .*inertia") as error:
        build_scene(odd, Plane())
    assert "\n" not in str(error.value)
