"""Every robot is what its maker published, stands, touches the ground where it should, and has a mirror image.

data/*.json holds the published descriptions with fixed links merged into their parents: vectors in axes parallel
to the base frame with every joint at zero; inertia about the centre of mass as xx yy zz xy xz yz; joint limits as
lower, upper, effort, velocity; SI units. ANYmal C has a file of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from envs.symmetry import mirror_joints
from physics import BatchedEngine, MujocoEngine
from physics.scene import build_scene
from robots import ANYMAL_C, ANYMAL_C_ARM, ROBOTS
from robots.config import match
from terrains import Plane
from tests.physics.batched.common import engine_step, take_cases
from tests.physics.common import AnyEngine, everyone

DATA = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "data").glob("*.json")}
LINKS = [(robot, row) for robot, data in DATA.items() for row in data["links"]]
JOINTS = [(robot, row) for robot, row in LINKS if "joint" in row]
IN_ARMATURE = {"left_toe": 0.01, "right_toe": 0.01}
"""Part of a link's published inertia yy that is the rotor's: the model has it as armature."""
ENGINES = {"batched": BatchedEngine, "mujoco": MujocoEngine}
# joint name pattern -> angle, with the shanks (Cassie: the ankles) lowest
KNEELING = {
    "anymal": {".*_HAA": 0.0, ".*_HFE": 0.0, ".F_KFE": 1.8, ".H_KFE": -1.8},
    "unitree": {".*_hip_joint": 0.0, ".*_thigh_joint": 0.9, ".*_calf_joint": -2.6},
    "cassie": {"hip_flexion_.*": 1.0, "thigh_.*": -2.0, "ankle_.*": 2.86, "toe_.*": -1.57, "hip_.*": 0.0},
}


def robot_id(value: Any) -> str:
    return value["link"] if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def models() -> dict[str, mujoco.MjModel]:
    return {name: build_scene(robot, Plane(), visuals=True) for name, robot in ROBOTS.items()}


def full(figures: list[float]) -> np.ndarray:
    """Matrix [3, 3] from xx yy zz xy xz yz."""
    xx, yy, zz, xy, xz, yz = figures
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def inertia(model: mujoco.MjModel, body: str) -> np.ndarray:
    """Inertia [3, 3] about the centre of mass in the body's axes, kg m^2."""
    entries = np.zeros(9)
    mujoco.mju_quat2Mat(entries, model.body(body).iquat)
    rotation = entries.reshape(3, 3)
    return rotation @ np.diag(model.body(body).inertia) @ rotation.T


def angles(patterns: dict[str, float], engine: AnyEngine) -> Tensor:
    """Joint angles [N, A]."""
    return torch.tensor([match(patterns, name) for name in engine.joint_names]).repeat(engine.num_envs, 1)


def put(engine: AnyEngine, joint_pos: Tensor, height: float) -> None:
    """Every robot level and at rest, its base `height` above the ground."""
    zero, quat = torch.zeros(engine.num_envs, 3), torch.zeros(engine.num_envs, 4)
    pos = zero.clone()
    pos[:, 2], quat[:, 0] = height, 1.0
    engine.write_state(everyone(engine), pos, quat, zero, zero, joint_pos, torch.zeros_like(joint_pos))


def hold_upright(engine: AnyEngine) -> None:
    """A harness that carries no weight: horizontal forces and torques on the base, towards its place."""
    tilt = 2.0 * engine.base_quat[:, 1:] * engine.base_quat[:, :1].sign()
    engine.base_wrench[:, :2] = -500.0 * engine.base_pos[:, :2] - 100.0 * engine.base_lin_vel[:, :2]
    engine.base_wrench[:, 3:] = -500.0 * tilt - 50.0 * engine.base_ang_vel


# ---------------------------------------------------------------------- as published


@pytest.mark.parametrize("name", DATA)
def test_links_joints_and_total_mass(models: dict[str, mujoco.MjModel], name: str) -> None:
    model, links = models[name], DATA[name]["links"]
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    assert bodies == [row["link"] for row in links]
    joints = [model.joint(i).name for i in range(model.njnt)]
    assert joints == ["root"] + [row["joint"]["name"] for row in links if "joint" in row]
    assert model.body_mass.sum() == pytest.approx(DATA[name]["total_mass"], abs=1e-4)


@pytest.mark.parametrize(("name", "link"), LINKS, ids=robot_id)
def test_link_has_published_mass_and_inertia(
    models: dict[str, mujoco.MjModel], name: str, link: dict
) -> None:
    model, body = models[name], models[name].body(link["link"])
    assert body.mass[0] == pytest.approx(link["mass"], abs=1e-12)
    np.testing.assert_allclose(body.ipos, link["com"], atol=1e-12)
    published = full(link["inertia"])
    rotor = IN_ARMATURE.get(link["link"], 0.0)
    published[1, 1] -= rotor
    np.testing.assert_allclose(inertia(model, link["link"]), published, rtol=0, atol=1e-12)
    if rotor:
        assert model.dof_armature[model.joint(link["joint"]["name"]).dofadr[0]] == rotor


@pytest.mark.parametrize(("name", "link"), JOINTS, ids=robot_id)
def test_joint_is_where_and_as_free_as_published(
    models: dict[str, mujoco.MjModel], name: str, link: dict
) -> None:
    model, robot, published = models[name], ROBOTS[name], link["joint"]
    joint, body = model.joint(published["name"]), model.body(link["link"])
    assert model.body(int(body.parentid[0])).name == link["parent"]
    np.testing.assert_allclose(body.pos, published["pos"], atol=1e-12)
    np.testing.assert_array_equal(body.quat, [1, 0, 0, 0])
    np.testing.assert_array_equal(joint.pos, 0)
    np.testing.assert_array_equal(joint.axis, published["axis"])
    lower, upper, effort, velocity = published["limit"]
    assert joint.limited[0]
    np.testing.assert_allclose(joint.range, [lower, upper], atol=1e-12)
    assert match(robot.effort_limit, published["name"]) == effort
    # ANYmal B's differ between left and right without reason: all have the larger
    assert match(robot.velocity_limit, published["name"]) == (20.0 if name == "anymal_b" else velocity)
    assert lower < match(robot.default_joint_pos, published["name"]) < upper
    assert joint.damping[0] == joint.frictionloss[0] == joint.stiffness[0] == 0


def test_the_arm_is_a_fifth_of_anymal_c_and_everything_else_is_anymal_c(
    models: dict[str, mujoco.MjModel],
) -> None:
    plain, loaded = models["anymal_c"], models["anymal_c_arm"]
    assert loaded.body("arm").mass[0] == pytest.approx(0.2 * plain.body_mass.sum(), rel=0.01)
    assert loaded.body("arm").parentid[0] == loaded.body("base").id and not loaded.body("arm").jntnum[0]
    rows = [i for i in range(loaded.nbody) if loaded.body(i).name != "arm"]
    for field in ("body_mass", "body_ipos", "body_inertia", "body_iquat", "body_pos"):
        np.testing.assert_array_equal(getattr(loaded, field)[rows], getattr(plain, field))
    for field in ("jnt_axis", "jnt_limited", "dof_armature"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(plain, field))
    assert set(ANYMAL_C_ARM.contact_groups) == set(ANYMAL_C.contact_groups)


def test_the_arm_has_the_inertia_of_its_four_cylinders(models: dict[str, mujoco.MjModel]) -> None:
    # mass, ends, radius in the arm's frame
    parts = (
        (3.4, (0.0, 0.0, 0.0), (0.0, 0.0, 0.12), 0.06),
        (3.5, (0.0, 0.0, 0.12), (-0.32, 0.0, 0.22), 0.045),
        (2.3, (-0.32, 0.0, 0.22), (0.04, 0.0, 0.29), 0.04),
        (1.2, (0.04, 0.0, 0.29), (0.18, 0.0, 0.29), 0.04),
    )
    mass = sum(part[0] for part in parts)
    com = sum(m * (np.array(a) + b) / 2 for m, a, b, _ in parts) / mass
    total = np.zeros((3, 3))
    for m, a, b, radius in parts:
        along, away = np.subtract(b, a), (np.array(a) + b) / 2 - com
        length = np.linalg.norm(along)
        axis = np.outer(along, along) / length**2
        total += m * (3 * radius**2 + length**2) / 12 * (np.eye(3) - axis) + m * radius**2 / 2 * axis
        total += m * (away @ away * np.eye(3) - np.outer(away, away))
    arm = models["anymal_c_arm"].body("arm")
    assert arm.mass[0] == pytest.approx(mass)
    np.testing.assert_allclose(arm.ipos, com, atol=1e-6)
    np.testing.assert_allclose(inertia(models["anymal_c_arm"], "arm"), total, atol=1e-6)


# ---------------------------------------------------------------------- shapes


def spheres(model: mujoco.MjModel) -> dict[str, tuple[np.ndarray, float]]:
    """Name -> (centre [3] in the base frame with joints at zero, radius) of every geom of the robot that collides."""
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    data.qpos[3] = 1.0
    mujoco.mj_kinematics(model, data)
    ids = np.flatnonzero(model.geom_contype)
    return {model.geom(i).name: (data.geom_xpos[i].copy(), float(model.geom_size[i, 0])) for i in ids}


@pytest.mark.parametrize("name", ROBOTS)
def test_only_spheres_collide_and_every_one_is_in_one_contact_group(
    models: dict[str, mujoco.MjModel], name: str
) -> None:
    model = models[name]
    collides = np.flatnonzero(model.geom_contype)
    assert (model.geom_type[collides] == mujoco.mjtGeom.mjGEOM_SPHERE).all()
    assert (model.geom_priority[collides] == 1).all() and not model.geom_conaffinity[collides].any()
    assert (model.geom_group[collides] == 3).all()
    watched = sorted(model.sensor(i).name.split("/")[2] for i in range(model.nsensor))
    assert watched == sorted(model.geom(i).name for i in collides)
    assert set(ROBOTS[name].feet) <= set(ROBOTS[name].contact_groups)


@pytest.mark.parametrize("name", ROBOTS)
def test_what_collides_is_the_same_left_and_right(models: dict[str, mujoco.MjModel], name: str) -> None:
    found = spheres(models[name]).values()
    left = {(*np.round(centre, 9) + 0.0, radius) for centre, radius in found}
    right = {(*np.round(centre * (1, -1, 1), 9) + 0.0, radius) for centre, radius in found}
    assert left == right and len(left) == len(found)


@pytest.mark.parametrize("name", ROBOTS)
def test_nothing_visible_reaches_below_the_ground(models: dict[str, mujoco.MjModel], name: str) -> None:
    model = models[name]
    data = mujoco.MjData(model)
    data.qpos[7:] = [match(ROBOTS[name].default_joint_pos, model.joint(i).name) for i in range(1, model.njnt)]
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    mujoco.mj_kinematics(model, data)
    collides = np.flatnonzero(model.geom_contype)
    ground = (data.geom_xpos[collides, 2] - model.geom_size[collides, 0]).min()
    for i in np.flatnonzero(model.geom_group == 2):
        down, kind = data.geom_xmat[i].reshape(3, 3)[2], model.geom_type[i]
        if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            reach = model.geom_size[i, 0]
        elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            reach = model.geom_size[i, 0] + abs(down[2]) * model.geom_size[i, 1]
        else:
            reach = np.abs(down) @ model.geom_aabb[i, 3:]
        assert data.geom_xpos[i, 2] - reach > ground - 1e-9


# ---------------------------------------------------------------------- on the ground


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", ROBOTS)
def test_stands_on_its_feet_and_they_carry_its_weight(name: str, kind: str) -> None:
    robot = ROBOTS[name]
    engine = ENGINES[kind](robot, Plane(), 1, num_threads=1)
    pose = angles(robot.default_joint_pos, engine)
    put(engine, pose, robot.init_height)
    feet = [engine.contact_groups.index(foot) for foot in robot.feet]
    others = [i for i in range(len(engine.contact_groups)) if i not in feet]
    carried = []
    for _ in range(200):
        if len(feet) == 2:  # a biped is an inverted pendulum: its pose alone does not keep it up
            hold_upright(engine)
        engine.step(pose, 2)
        assert not engine.contact_force[:, others].any()
        carried.append(engine.contact_force[0, feet, 2].clone())
    force = torch.stack(carried)[-50:]
    assert force.sum(1).mean().item() == pytest.approx(9.81 * engine.total_mass.item(), rel=0.02)
    assert (force > 0.1 * force.sum(1, keepdim=True)).all(), "every foot must carry its share"
    assert engine.base_quat[0, 0].abs() > 0.99
    assert engine.base_pos[0, 2] > 0.6 * robot.init_height


def lower_onto_the_ground(engine: MujocoEngine, pose: Tensor) -> str:
    """A level robot in a pose whose lowest spheres just touch takes one step; the name of the lowest."""
    data = mujoco.MjData(engine.model)
    data.qpos[:7], data.qpos[7:] = [0, 0, 0, 1, 0, 0, 0], pose[0]
    mujoco.mj_kinematics(engine.model, data)
    geoms = np.flatnonzero(engine.model.geom_contype)
    reach = data.geom_xpos[geoms, 2] - engine.model.geom_size[geoms, 0]
    put(engine, pose, -reach.min() - 0.001)
    engine.step(pose, 1)
    return engine.model.geom(geoms[reach.argmin()]).name


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_on_its_shanks_registers_there(name: str) -> None:
    robot = ROBOTS[name]
    engine = MujocoEngine(robot, Plane(), 1, num_threads=1)
    family = next((family for family in KNEELING if name.startswith(family)), "unitree")
    pose = angles(KNEELING[family], engine)
    lower_onto_the_ground(engine, pose)
    down = {g for g, f in zip(engine.contact_groups, engine.contact_force[0], strict=True) if f[2] > 1.0}
    shanks = {g for g in engine.contact_groups if g.endswith(("SHANK", "calf", "tarsus"))}
    assert down == shanks and len(shanks) == len(robot.feet)


@pytest.mark.parametrize(("turn", "end"), [(0.4, "rear"), (-0.4, "front")])
def test_each_end_of_cassies_foot_counts_as_the_foot(turn: float, end: str) -> None:
    robot = ROBOTS["cassie"]
    engine = MujocoEngine(robot, Plane(), 1, num_threads=1)
    pose = angles(robot.default_joint_pos, engine)
    pose[0, [engine.joint_names.index(f"toe_joint_{side}") for side in ("left", "right")]] += turn
    lowest = lower_onto_the_ground(engine, pose)
    assert lowest in (f"left_foot_{end}", f"right_foot_{end}")
    down = engine.contact_force[0, :, 2] > 1.0
    assert [g for g, d in zip(engine.contact_groups, down, strict=True) if d] == ["left_foot", "right_foot"]


# ---------------------------------------------------------------------- mirror, engine


@pytest.mark.parametrize("name", ROBOTS)
def test_mirrored_joints_put_the_feet_where_the_mirror_shows_them(name: str) -> None:
    robot = ROBOTS[name]
    engine = MujocoEngine(robot, Plane(), 8, num_threads=1)
    noise = torch.randn(8, len(engine.joint_names), generator=torch.Generator().manual_seed(1))
    pose = angles(robot.default_joint_pos, engine) + 0.3 * noise
    index, sign = mirror_joints(robot, engine.joint_names)
    put(engine, pose, 1.0)
    feet = engine.foot_pos.clone()
    put(engine, pose[:, index] * sign, 1.0)
    twins, _ = mirror_joints(robot, robot.feet)
    assert (twins != torch.arange(len(robot.feet))).all()
    mirrored = feet[:, twins] * torch.tensor([1.0, -1.0, 1.0])
    torch.testing.assert_close(engine.foot_pos, mirrored, rtol=0, atol=1e-5)
    assert (engine.foot_pos - feet).abs().max() > 0.1
    # and limits and the nominal stance are their own mirror images
    default = angles(robot.default_joint_pos, engine)[0]
    torch.testing.assert_close(default[index] * sign, default)
    low, high = engine.joint_pos_limits.T
    turned = torch.where(sign > 0, low[index], -high[index])
    torch.testing.assert_close(turned, low)


@pytest.mark.parametrize("name", [name for name in ROBOTS if name != "anymal_c"])
def test_the_batched_engine_steps_it_like_mujoco(name: str) -> None:
    robot = ROBOTS[name]
    engine = BatchedEngine(robot, Plane(), 96, num_threads=1)
    engine.model.opt.tolerance = 1e-12
    stance = angles(robot.default_joint_pos, engine)[0].numpy()
    heights = (robot.init_height, 0.8 * robot.init_height, 0.4)
    cases = take_cases(engine.model, 96, stance=stance, heights=heights, single_precision=True)
    assert (cases.contacts > 0).sum() > 20
    error = cases.error(engine_step(engine, cases))
    assert np.median(error) <= 1e-5 and error.max() <= 1e-3
