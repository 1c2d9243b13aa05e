"""The ANYmal C model carries the published masses, inertias and joints, and touches the ground as it should.

Figures come from the robot's published description with fixed links merged into their parents. Vectors are in
axes parallel to the base frame with every joint at zero; metres, kilograms, kg m^2.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest

XML = Path(__file__).parents[2] / "robots" / "anymal_c.xml"
LEGS = ("LF", "RF", "LH", "RH")
LINKS = ("HIP", "THIGH", "SHANK")
JOINTS = ("HAA", "HFE", "KFE")

# link: (mass, centre of mass, inertia about it as xx yy zz xy xz yz)
PUBLISHED = {
    "base": (
        26.37317,
        (-0.017794, -0.000178, 0.008504),
        (0.216712, 1.78516, 1.8337, 0.00922381, 0.0589332, -0.000163778),
    ),
    "LF_HIP": (
        2.781,
        (0.056661, 0.017394, -0.000461),
        (0.00329553, 0.0049383, 0.00583295, -4.45346e-05, -9.79125e-05, 0.000135807),
    ),
    "LF_THIGH": (
        3.071,
        (-4.6e-05, 0.030815, -0.245696),
        (0.029904, 0.0295638, 0.00486108, -4.42919e-05, -9.448e-05, 0.00414243),
    ),
    "LF_SHANK": (
        0.58842,
        (0.061253, 0.005462, -0.08066),
        (0.00881038, 0.0101611, 0.00154978, 5.35713e-05, 0.00181935, -2.26604e-05),
    ),
    "RF_HIP": (
        2.781,
        (0.056763, -0.017394, -0.000461),
        (0.00329553, 0.00494012, 0.00583477, -4.50297e-05, 0.000100004, -0.000135807),
    ),
    "RF_THIGH": (
        3.071,
        (4.6e-05, -0.030815, -0.245696),
        (0.029904, 0.0295638, 0.00486108, -4.43959e-05, 0.000114794, -0.00414243),
    ),
    "RF_SHANK": (
        0.58842,
        (0.061253, -0.005462, -0.08066),
        (0.00881038, 0.0101611, 0.00154978, -5.35713e-05, 0.00181935, 2.26604e-05),
    ),
}
# left front leg, each in its parent's frame; other legs mirror x (hind) and y (right)
JOINT_POSITION = {"HAA": (0.2999, 0.104, 0.0), "HFE": (0.0599, 0.08381, 0.0), "KFE": (0.0, 0.1003, -0.285)}
JOINT_AXIS = {"HAA": (1.0, 0.0, 0.0), "HFE": (0.0, 1.0, 0.0), "KFE": (0.0, 1.0, 0.0)}
FOOT_IN_SHANK = (0.08795, 0.01305, -0.31547)
FOOT_IN_BASE = (0.44775, 0.30116, -0.60047)
DEFAULT_POSE = {"HAA": 0.0, "HFE": 0.4, "KFE": -0.8}  # front legs; HFE and KFE change sign for the hind legs


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(XML))


def mirror(leg: str) -> np.ndarray:
    """Signs [3] that carry a left front vector to `leg`."""
    return np.array([1.0 if leg[1] == "F" else -1.0, 1.0 if leg[0] == "L" else -1.0, 1.0])


def inertia(model: mujoco.MjModel, link: str) -> np.ndarray:
    """Inertia [3, 3] about the centre of mass in the link's axes, kg m^2."""
    body = model.body(link)
    entries = np.zeros(9)
    mujoco.mju_quat2Mat(entries, body.iquat)
    rotation = entries.reshape(3, 3)
    return rotation @ np.diag(body.inertia) @ rotation.T


def full(figures: tuple[float, ...]) -> np.ndarray:
    """Matrix [3, 3] from xx yy zz xy xz yz."""
    xx, yy, zz, xy, xz, yz = figures
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def collision_spheres(model: mujoco.MjModel) -> dict[str, tuple[np.ndarray, float]]:
    """Name -> (centre [3] in the base frame with joints at zero, radius) of every geom that can collide."""
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    mujoco.mj_kinematics(model, data)
    ids = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    return {model.geom(i).name: (data.geom_xpos[i].copy(), float(model.geom_size[i, 0])) for i in ids}


def standing(model: mujoco.MjModel) -> mujoco.MjData:
    """The default pose, level, with the lowest foot touching z = 0."""
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    for leg in LEGS:
        for name, angle in DEFAULT_POSE.items():
            data.joint(f"{leg}_{name}").qpos[0] = angle * mirror(leg)[0]
    mujoco.mj_kinematics(model, data)
    feet = [model.geom(f"{leg}_FOOT").id for leg in LEGS]
    data.qpos[2] = -min(data.geom_xpos[foot, 2] - model.geom_size[foot, 0] for foot in feet)
    mujoco.mj_kinematics(model, data)
    return data


def test_bodies_and_joints_are_named_and_ordered(model: mujoco.MjModel) -> None:
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    assert bodies == ["base"] + [f"{leg}_{link}" for leg in LEGS for link in LINKS]
    joints = [model.joint(i).name for i in range(model.njnt)]
    assert joints == ["root"] + [f"{leg}_{joint}" for leg in LEGS for joint in JOINTS]
    assert model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert (model.jnt_type[1:] == mujoco.mjtJoint.mjJNT_HINGE).all()


def test_total_mass(model: mujoco.MjModel) -> None:
    assert model.body_mass.sum() == pytest.approx(52.1348, abs=1e-4)


@pytest.mark.parametrize("link", PUBLISHED)
def test_link_has_published_mass_and_inertia(model: mujoco.MjModel, link: str) -> None:
    mass, com, figures = PUBLISHED[link]
    assert model.body(link).mass[0] == pytest.approx(mass, abs=1e-12)
    np.testing.assert_allclose(model.body(link).ipos, com, atol=1e-12)
    np.testing.assert_allclose(inertia(model, link), full(figures), rtol=0, atol=1e-12)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("front", "hind"), [("LF", "RH"), ("RF", "LH")])
def test_diagonal_legs_are_half_a_turn_apart(model: mujoco.MjModel, front: str, hind: str, link: str) -> None:
    # the source reuses one drive turned about z, so this holds exactly where a left-right mirror does not
    turn = np.diag([-1.0, -1.0, 1.0])
    ahead, behind = f"{front}_{link}", f"{hind}_{link}"
    assert model.body(behind).mass[0] == model.body(ahead).mass[0]
    np.testing.assert_allclose(model.body(behind).ipos, turn @ model.body(ahead).ipos, atol=1e-12)
    np.testing.assert_allclose(inertia(model, behind), turn @ inertia(model, ahead) @ turn, atol=1e-12)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("leg", LEGS)
def test_legs_mirror_up_to_the_published_asymmetry(model: mujoco.MjModel, leg: str, link: str) -> None:
    mass, com, figures = PUBLISHED[f"LF_{link}"]
    assert model.body(f"{leg}_{link}").mass[0] == mass
    np.testing.assert_allclose(model.body(f"{leg}_{link}").ipos, mirror(leg) * com, atol=1.1e-4)
    np.testing.assert_allclose(np.diag(inertia(model, f"{leg}_{link}")), figures[:3], atol=2e-6)


@pytest.mark.parametrize("leg", LEGS)
def test_joint_frames(model: mujoco.MjModel, leg: str) -> None:
    for joint, link in zip(JOINTS, LINKS, strict=True):
        body = model.body(f"{leg}_{link}")
        np.testing.assert_allclose(body.pos, mirror(leg) * JOINT_POSITION[joint], atol=1e-12)
        np.testing.assert_array_equal(body.quat, [1, 0, 0, 0])
        np.testing.assert_array_equal(model.joint(f"{leg}_{joint}").pos, 0)
        np.testing.assert_array_equal(model.joint(f"{leg}_{joint}").axis, JOINT_AXIS[joint])


def test_joints_are_free_of_limits_and_passive_forces(model: mujoco.MjModel) -> None:
    assert not model.jnt_limited.any() and not model.jnt_actfrclimited.any()
    assert (model.dof_armature[6:] == 0.02).all() and (model.dof_armature[:6] == 0).all()
    assert not model.dof_damping.any() and not model.dof_frictionloss.any() and not model.jnt_stiffness.any()
    assert model.nu == 0 and model.nsensor == 0


@pytest.mark.parametrize("leg", LEGS)
def test_feet(model: mujoco.MjModel, leg: str) -> None:
    foot = model.geom(f"{leg}_FOOT")
    assert model.body(int(foot.bodyid[0])).name == f"{leg}_SHANK"
    assert foot.size[0] == 0.03
    np.testing.assert_allclose(foot.pos, mirror(leg) * FOOT_IN_SHANK, atol=1e-12)
    np.testing.assert_allclose(
        collision_spheres(model)[f"{leg}_FOOT"][0], mirror(leg) * FOOT_IN_BASE, atol=1e-12
    )


def test_only_named_spheres_collide_and_never_with_each_other(model: mujoco.MjModel) -> None:
    parts = ("HIP_0", "KNEE", "SHANK_0", "SHANK_1", "SHANK_2", "FOOT")
    expected = {f"{leg}_{part}" for leg in LEGS for part in parts} | {f"base_{i}" for i in range(8)}
    assert set(collision_spheres(model)) == expected
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    assert (model.geom_type[collides] == mujoco.mjtGeom.mjGEOM_SPHERE).all()
    assert (model.geom_group[collides] == 3).all() and (model.geom_group[~collides] == 2).all()
    assert (model.geom_contype[collides] == 1).all() and (model.geom_conaffinity == 0).all()
    assert (model.geom_priority[collides] == 1).all() and (model.geom_condim[collides] == 3).all()
    np.testing.assert_array_equal(
        model.geom_friction[collides], np.tile([1.0, 0.005, 0.0001], (collides.sum(), 1))
    )


@pytest.mark.parametrize("signs", [(1, -1, 1), (-1, 1, 1)], ids=["left-right", "front-hind"])
def test_collision_spheres_are_mirrored(model: mujoco.MjModel, signs: tuple[int, int, int]) -> None:
    spheres = collision_spheres(model)

    def keys(flip: tuple[int, int, int]) -> set[tuple[float, ...]]:
        return {(*np.round(centre * flip, 9) + 0.0, radius) for centre, radius in spheres.values()}

    assert len(keys((1, 1, 1))) == len(spheres)
    assert keys(signs) == keys((1, 1, 1))


def test_stands_on_its_feet_alone(model: mujoco.MjModel) -> None:
    data = standing(model)
    assert 0.5 < data.qpos[2] < 0.55
    spheres = [model.geom(name).id for name in collision_spheres(model)]
    low = {model.geom(i).name for i in spheres if data.geom_xpos[i, 2] - model.geom_size[i, 0] < 0.02}
    assert low == {f"{leg}_FOOT" for leg in LEGS}
    # the trunk's centre of mass lies well inside the feet's rectangle
    mujoco.mj_comPos(model, data)
    com, foot = data.subtree_com[model.body("base").id], data.geom("LF_FOOT").xpos
    assert abs(com[0]) < 0.1 * foot[0] and abs(com[1]) < 0.1 * foot[1]


def test_nothing_visible_reaches_below_the_ground(model: mujoco.MjModel) -> None:
    data = standing(model)
    for i in np.flatnonzero(model.geom_group == 2):
        centre, half = model.geom_aabb[i, :3], model.geom_aabb[i, 3:]
        down = data.geom_xmat[i].reshape(3, 3)[2]
        # a tilted box bounds a sphere badly, whose lowest point is known exactly
        if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_SPHERE:
            lowest = data.geom_xpos[i, 2] - model.geom_size[i, 0]
        else:
            lowest = data.geom_xpos[i, 2] + down @ centre - np.abs(down) @ half
        assert lowest > -1e-9
