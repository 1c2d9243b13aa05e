"""The compiled scene: ground, drives and contact sensors, and what a wrong configuration is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from physics import MujocoEngine, build_scene
from physics.scene import Actuation, _add_ground, contact_geoms
from physics.walls import split
from robots import ANYMAL_C
from terrains import Ground, HeightField, Plane
from terrains.grid import TerrainConfig, build_terrain, single_terrain
from tests.physics.common import G, make, place, plain, random_targets, scatter, stance


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_scene(ANYMAL_C, Plane())


def test_every_geom_of_a_group_has_a_sensor_in_the_order_of_groups(model: mujoco.MjModel) -> None:
    names = [model.sensor(i).name for i in range(model.nsensor)]
    feet, legs = ("FOOT",), ("LF", "RF", "LH", "RH")
    place = {group: i for i, group in enumerate(ANYMAL_C.contact_groups)}
    expected = [f"contact/{place[f'{leg}_{part}']}/{leg}_{part}" for part in feet for leg in legs]
    expected += [f"contact/{place[f'{leg}_SHANK']}/{leg}_SHANK_{i}" for leg in legs for i in range(3)]
    expected += [f"contact/{place[f'{leg}_THIGH']}/{leg}_KNEE" for leg in legs]
    body = [f"base_{i}" for i in range(8)] + [f"{leg}_HIP_0" for leg in legs]
    assert names[:-12] == expected
    assert sorted(names[-12:]) == sorted(f"contact/{place['base']}/{geom}" for geom in body)
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


@pytest.mark.parametrize("visuals", [False, True])
def test_a_height_field_meets_what_a_plane_meets(visuals: bool) -> None:
    flat, field = (
        build_scene(ANYMAL_C, ground, visuals=visuals).geom("ground")
        for ground in (Plane(), HeightField.centred(np.zeros((3, 4)), 0.5))
    )
    for name in ("contype", "conaffinity", "condim", "priority", "friction", "solref", "solimp", "margin"):
        np.testing.assert_array_equal(getattr(flat, name), getattr(field, name))
    assert field.type == mujoco.mjtGeom.mjGEOM_HFIELD and (field.matid >= 0) == visuals


def uneven(seed: int) -> HeightField:
    """A map that shows swapped or mirrored axes, a wrong place and a wrong scale."""
    random = np.random.default_rng(seed)
    shape = random.permutation([7, 12])
    return HeightField(random.uniform(-1.5, 4.0, shape), random.uniform(0.05, 0.5), (3.1, -7.3))


def ray(model: mujoco.MjModel, points: np.ndarray) -> np.ndarray:
    """Height of MuJoCo's ground below points [K, 2], m, [K]."""
    data, ground = mujoco.MjData(model), model.geom("ground").id
    mujoco.mj_kinematics(model, data)
    down = np.array([0.0, 0.0, -1.0])
    starts = np.column_stack((points, np.full(len(points), 9.0)))
    return np.array([9.0 - mujoco.mj_rayHfield(model, data, ground, start, down) for start in starts])


@pytest.mark.parametrize("seed", [62, 63, 64])
def test_rays_meet_a_height_field_where_it_says(seed: int) -> None:
    ground, random = uneven(seed), np.random.default_rng(seed)
    model = build_scene(ANYMAL_C, ground)
    cells = np.array(ground.heights.shape) - 1
    anywhere = random.uniform(0, cells, (1000, 2))
    # beside the diagonal of a cell, on both sides
    diagonal = np.floor(anywhere) + random.uniform(0.01, 0.99, (1000, 1)) + random.normal(0, 1e-3, (1000, 2))
    vertices = np.array([*np.ndindex(ground.heights.shape)])
    points = np.concatenate((anywhere, diagonal, np.clip(vertices, 1e-7, cells - 1e-7)))
    points = np.array(ground.origin) + ground.cell * points
    found = ray(model, points)
    np.testing.assert_allclose(found, ground.height_at(points), atol=1e-4)
    np.testing.assert_allclose(found[2000:], ground.heights.ravel(), atol=1e-4)


def rays(model: mujoco.MjModel, points: np.ndarray) -> np.ndarray:
    """Height of all geoms of the ground below points [K, 2], m, [K]."""
    data, geom, down = mujoco.MjData(model), np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0])
    mujoco.mj_kinematics(model, data)
    starts = np.column_stack((points, np.full(len(points), 9.0)))
    return np.array([9.0 - mujoco.mj_ray(model, data, start, down, None, 1, -1, geom) for start in starts])


def walled(seed: int) -> HeightField:
    """Blocks of three heights on one half of a map, rubble on the other, walls through both and between them."""
    random = np.random.default_rng(seed)
    heights = (0.2 * random.integers(0, 3, (6, 11))).repeat(4, 0).repeat(4, 1)
    heights[12:] += random.uniform(0.0, 0.1, heights[12:].shape)
    return HeightField(heights, 0.1, (3.1, -7.3), 0.75)


@pytest.mark.parametrize("seed", [1, 2])
def test_rays_meet_walls_where_the_ground_says(seed: int) -> None:
    ground, random = walled(seed), np.random.default_rng(seed)
    model = build_scene(ANYMAL_C, ground)
    cells = random.uniform(0, np.array(ground.heights.shape) - 1, (3000, 2))
    near_walls = np.where(
        random.random(cells.shape) < 0.3, cells.round() + random.choice([-1e-3, 1e-3]), cells
    )
    points = np.array(ground.origin) + ground.cell * np.clip(near_walls, 1e-3, None)
    np.testing.assert_allclose(rays(model, points), ground.height_at(points), atol=1e-5)
    assert np.ptp(ground.height_at(points)) > 0.4


def test_parts_of_walled_ground_meet_what_a_plane_meets() -> None:
    flat, model = build_scene(ANYMAL_C, Plane()), build_scene(ANYMAL_C, walled(3), visuals=True)
    parts = np.flatnonzero(model.geom_conaffinity)
    kinds = {int(kind) for kind in model.geom_type[parts]}
    assert kinds == {mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_BOX}
    for name in ("contype", "conaffinity", "condim", "priority", "friction", "solref", "solimp", "margin"):
        expected = getattr(flat.geom("ground"), name)
        for part in parts:
            np.testing.assert_array_equal(getattr(model.geom(part), name), expected)
    assert (model.geom_matid[parts] == model.material("scene/ground").id).all()


def test_a_map_of_the_default_task_stands_on_a_few_thousand_parts() -> None:
    ground = build_terrain(TerrainConfig()).ground
    model, parts = build_scene(ANYMAL_C, ground), split(ground)
    assert 1000 < len(parts.boxes) + len(parts.patches) < 5000
    points = np.random.default_rng(0).uniform((0.0, 0.0), (80.0, 160.0), (300, 2))
    np.testing.assert_allclose(rays(model, points), ground.height_at(points), atol=1e-5)
    # every tread of stairs alone: one box a side up, one a step down
    for name, boxes in (("stairs_up", 4 * 9 + 1), ("stairs_down", 10)):
        alone = split(single_terrain(name, 0.5).ground)
        assert len(alone.boxes) == boxes and not alone.patches


def test_a_robot_on_boxes_feels_the_ground_push_up() -> None:
    heights = np.zeros((40, 40))
    heights[:, 10:] = 0.3
    engine, plane = standing(HeightField.centred(heights, 0.1, 0.75), 0.9), standing(Plane(), 0.6)
    torch.testing.assert_close(engine.foot_pos[..., 2], plane.foot_pos[..., 2] + 0.3, atol=4e-3, rtol=0)
    torch.testing.assert_close(engine.contact_force, plane.contact_force, atol=5.0, rtol=0)
    assert engine.contact_force[0, :4, 2].min() > 100.0


def test_compiled_heights_are_close_to_float32() -> None:
    ground = uneven(65)
    model = build_scene(ANYMAL_C, ground)
    data = model.hfield_data.reshape(model.hfield_nrow[0], model.hfield_ncol[0]).T.astype(float)
    compiled = data * model.hfield_size[0, 2] + model.geom("ground").pos[2]
    np.testing.assert_allclose(compiled, ground.heights, atol=3e-7 * np.ptp(ground.heights), rtol=0)


def test_a_sphere_touches_the_triangles_that_rays_meet() -> None:
    ground, radius, depth = uneven(66), 0.005, 0.001
    spec = mujoco.MjSpec.from_string(f"""<mujoco><worldbody><body name="ball"><freejoint/>
        <geom size="{radius}"/></body></worldbody></mujoco>""")
    _add_ground(spec, ground, visuals=False)
    model = spec.compile()
    data = mujoco.MjData(model)
    # centres of the two triangles of every cell; a surface's normal is (-dz/dx, -dz/dy, 1)
    i, j = np.array([*np.ndindex(ground.heights[1:, 1:].shape)]).T
    for a, b in ((2 / 3, 1 / 3), (1 / 3, 2 / 3)):
        middles = np.array(ground.origin) + ground.cell * np.column_stack((i + a, j + b))
        step = 1e-3 * ground.cell
        slopes = [
            (ground.height_at(middles + move) - ground.height_at(middles - move)) / (2 * step)
            for move in ([step, 0], [0, step])
        ]
        normals = np.column_stack((-slopes[0], -slopes[1], np.ones(len(i))))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        surface = np.column_stack((middles, ground.height_at(middles)))
        for point, normal in zip(surface, normals, strict=True):
            data.qpos[:3] = point + (radius - depth) * normal
            mujoco.mj_forward(model, data)
            deepest = min(data.contact[: data.ncon], key=lambda contact: contact.dist)
            assert deepest.dist == pytest.approx(-depth, abs=1e-5)
            np.testing.assert_allclose(deepest.frame[:3], normal, atol=1e-3)


def standing(ground: Ground, height: float) -> MujocoEngine:
    """A robot put into the nominal stance just above the ground, after a second."""
    engine = MujocoEngine(ANYMAL_C, ground, num_envs=1, num_threads=1)
    place(engine, height=height)
    for _ in range(50):
        engine.step(stance(engine), 4)
    return engine


@pytest.mark.parametrize("height", [-0.8, 0.0, 2.5])
def test_a_flat_height_field_is_stood_on_like_a_plane(height: float) -> None:
    # Cells so large that every foot stays inside one triangle: near an edge it has a contact with each side,
    # which changes how fast feet creep apart. Contacts are stiffer than on a plane: feet sink 3 mm less.
    flat = HeightField.centred(np.full((5, 3), height), 2.0)
    plane, field = standing(Plane(), 0.6), standing(flat, 0.6 + height)
    shift = torch.tensor([0.0, 0.0, height])
    torch.testing.assert_close(field.base_pos, plane.base_pos + shift, atol=4e-3, rtol=0)
    torch.testing.assert_close(field.foot_pos, plane.foot_pos + shift, atol=4e-3, rtol=0)
    torch.testing.assert_close(field.contact_force, plane.contact_force, atol=1.0, rtol=0)


def test_feet_stand_on_the_steps_below_them() -> None:
    # four quarters of four heights, one below each foot; the steps are as steep as the cells allow
    x, y = np.indices((21, 17))
    ground = HeightField.centred(1.0 + 0.1 * (x > 10) + 0.06 * (y > 8), 0.1)
    engine = standing(ground, 1.69)
    expected = torch.tensor([[1.16, 1.10, 1.06, 1.00]])  # left front, right front, left hind, right hind
    assert ANYMAL_C.feet[:2] == ("LF_FOOT", "RF_FOOT")
    torch.testing.assert_close(ground.height_at(engine.foot_pos[..., :2]), expected)
    clearance = engine.foot_pos[..., 2] - expected
    radius = engine.model.geom("LF_FOOT").size[0]
    torch.testing.assert_close(clearance, torch.full((1, 4), radius), atol=2e-3, rtol=0)
    feet = engine.contact_force[:, :4]
    assert (feet[..., 2] > 20).all()
    assert float(feet[..., 2].sum()) == pytest.approx(float(engine.total_mass) * G, rel=0.1)


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


def test_all_that_does_not_fit_is_listed_at_once() -> None:
    feet = ("LF_FOOTT", *ANYMAL_C.feet[1:])
    robot = dataclasses.replace(
        ANYMAL_C,
        feet=feet,
        stiffness={".*HAA": 80.0},
        effort_limit={".*": 0.0},
        fatal_contacts=("bases",),
    )
    with pytest.raises(ValueError) as error:
        build_scene(robot, Plane())
    for part in (
        "robot anymal_c: ",
        "stiffness: no pattern of .*HAA matches 'LF_HFE'",
        "effort_limit of LF_HAA is 0",
        "foot 'LF_FOOTT' is no geom that touches the ground. Did you mean LF_FOOT",
        "'bases' matches none of",
    ):
        assert part in str(error.value)
    assert str(error.value).count(chr(10)) == 0


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
