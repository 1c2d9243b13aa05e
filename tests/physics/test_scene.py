"""The compiled scene: ground, drives and contact sensors, and what a wrong configuration is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest

from physics import MujocoEngine, build_scene
from physics.scene import Actuation, contact_geoms
from robots import ANYMAL_C
from terrains import Plane
from tests.physics.common import make, plain, random_targets, scatter


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_scene(ANYMAL_C, Plane())


def test_every_geom_of_a_group_has_a_sensor_in_the_order_of_groups(model: mujoco.MjModel) -> None:
    names = [model.sensor(i).name for i in range(model.nsensor)]
    feet, legs = ("FOOT",), ("LF", "RF", "LH", "RH")
    expected = [f"contact/{leg}_{part}/{leg}_{part}" for part in feet for leg in legs]
    expected += [f"contact/{leg}_SHANK/{leg}_SHANK_{i}" for leg in legs for i in range(3)]
    expected += [f"contact/{leg}_THIGH/{leg}_KNEE" for leg in legs]
    body = [f"base_{i}" for i in range(8)] + [f"{leg}_HIP_0" for leg in legs]
    assert names[:-12] == expected
    assert sorted(names[-12:]) == sorted(f"contact/base/{geom}" for geom in body)
    assert (model.sensor_type == mujoco.mjtSensor.mjSENS_CONTACT).all() and (model.sensor_dim == 3).all()
    # together they watch every geom that can touch the ground, once
    watched = [name.split("/")[2] for name in names]
    assert sorted(watched) == sorted(model.geom(i).name for i in np.flatnonzero(model.geom_contype))


@pytest.mark.parametrize("actuation", ["position", "torque"])
def test_every_joint_has_a_drive_of_its_name(actuation: Actuation) -> None:
    model = build_scene(ANYMAL_C, Plane(), actuation=actuation)
    assert [model.actuator(i).name for i in range(model.nu)] == [model.joint(j).name for j in range(1, 13)]
    np.testing.assert_array_equal(model.actuator_forcelimited, True)
    np.testing.assert_array_equal(model.actuator_forcerange, [[-80.0, 80.0]] * 12)
    gain, bias = (80.0, [0.0, -80.0, -2.0]) if actuation == "position" else (1.0, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(model.actuator_gainprm[:, 0], gain)
    np.testing.assert_array_equal(model.actuator_biasprm[:, :3], [bias] * 12)
    # targets are not limited: an unreachable target is how a policy asks for a large torque
    assert not model.actuator_ctrllimited.any()


def test_gains_and_limits_are_matched_by_name() -> None:
    robot = dataclasses.replace(
        ANYMAL_C,
        stiffness={".F_KFE": 40.0, ".*_KFE": 50.0, ".*": 60.0},
        effort_limit={"LF_HAA": 7.0, ".*": 30.0},
    )
    model = build_scene(robot, Plane())
    assert model.actuator("LF_KFE").gainprm[0] == 40.0
    assert model.actuator("LH_KFE").gainprm[0] == 50.0
    assert model.actuator("LH_HFE").gainprm[0] == 60.0
    assert model.actuator("LF_HAA").forcerange.tolist() == [-7.0, 7.0]
    assert model.actuator("RF_HAA").forcerange.tolist() == [-30.0, 30.0]


@pytest.mark.parametrize("timestep", [0.005, 0.002])
def test_physics_options(timestep: float) -> None:
    option = build_scene(ANYMAL_C, Plane(), timestep).opt
    assert option.timestep == timestep
    assert option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET
    np.testing.assert_array_equal(option.gravity, [0.0, 0.0, -9.81])


def test_only_the_ground_and_robot_geoms_meet(model: mujoco.MjModel) -> None:
    ground = model.geom("ground").id
    meets = (model.geom_contype[:, None] & model.geom_conaffinity) > 0
    meets |= meets.T
    robot = np.arange(model.ngeom) != ground
    assert meets[ground][robot].all() and not meets[np.ix_(robot, robot)].any()
    assert (model.geom_priority[robot] > model.geom_priority[ground]).all()


def test_visuals_do_not_change_physics() -> None:
    engine = make(2)
    scatter(engine, seed=60)
    dressed = build_scene(ANYMAL_C, Plane(), visuals=True)
    assert dressed.ngeom > engine.model.ngeom and dressed.nlight > 0 and dressed.ntex > 0
    bare, seen = plain(engine), plain(engine, [dressed, dressed])
    for targets in random_targets(engine, 50, seed=61):
        for a, b, ctrl in zip(bare, seen, targets, strict=True):
            a.ctrl[:] = b.ctrl[:] = ctrl
            mujoco.mj_step(engine.model, a, 4)
            mujoco.mj_step(dressed, b, 4)
    for a, b in zip(bare, seen, strict=True):
        np.testing.assert_array_equal(a.qpos, b.qpos)
        np.testing.assert_array_equal(a.qvel, b.qvel)
        np.testing.assert_array_equal(a.sensordata, b.sensordata)
        assert a.ncon > 0


def test_a_pattern_that_matches_no_geom_is_named() -> None:
    groups = {**ANYMAL_C.contact_groups, "tail": ("TAIL_.*",)}
    with pytest.raises(ValueError, match=r"'TAIL_\.\*' matches none of .*LF_FOOT"):
        build_scene(dataclasses.replace(ANYMAL_C, contact_groups=groups), Plane())
    groups = {**ANYMAL_C.contact_groups, "LF_FOOT": ("LF_FOOTT",)}
    with pytest.raises(ValueError, match="'LF_FOOTT' matches none of .* Did you mean LF_FOOT"):
        build_scene(dataclasses.replace(ANYMAL_C, contact_groups=groups), Plane())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    robot = dataclasses.replace(ANYMAL_C, mjcf=str(tmp_path / "nobody.xml"))
    with pytest.raises(ValueError, match="nobody.xml"):
        build_scene(robot, Plane())


def test_a_robot_without_a_free_base_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fixed.xml"
    file.write_text(
        "<mujoco><worldbody><body><joint name='hinge'/><geom name='toe' size='.1'/></body></worldbody>"
        "</mujoco>"
    )
    robot = dataclasses.replace(ANYMAL_C, mjcf=str(file), feet=("toe",), contact_groups={"toe": ("toe",)})
    with pytest.raises(ValueError, match="free joint"):
        MujocoEngine(robot, Plane(), num_envs=1)


def test_contact_groups_keep_their_order() -> None:
    groups = contact_geoms(ANYMAL_C, ["base_1", "LF_HIP_0", "LF_FOOT", *_rest()])
    assert list(groups) == list(ANYMAL_C.contact_groups)
    assert groups["base"] == ["base_1", "LF_HIP_0"]


def _rest() -> list[str]:
    legs = ("LF", "RF", "LH", "RH")
    return [f"{leg}_FOOT" for leg in legs[1:]] + [
        f"{leg}_{part}" for leg in legs for part in ("SHANK_0", "KNEE")
    ]
