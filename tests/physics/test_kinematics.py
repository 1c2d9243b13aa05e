"""Foot kinematics against MuJoCo, on chains with nothing special about their frames."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from physics.kinematics import PointKinematics, geom_centres, quat_to_matrix

CPU = torch.device("cpu")


def leg(name: str, links: int, random: np.random.Generator) -> str:
    """A chain of hinges with random frames, axes, anchors and a geom `<name>_toe` at the end."""

    def numbers(count: int) -> str:
        return " ".join(f"{x:.4f}" for x in random.normal(size=count))

    opening = "".join(
        f"<body name='{name}_{k}' pos='{numbers(3)}' quat='{numbers(4)}'>"
        f"<joint name='{name}_{k}' pos='{numbers(3)}' axis='{numbers(3)}'/>"
        f"<geom size='.1' pos='{numbers(3)}'/>"
        for k in range(links)
    )
    return f"{opening}<geom name='{name}_toe' size='.1' pos='{numbers(3)}'/>{'</body>' * links}"


def creature(*legs: str) -> mujoco.MjModel:
    body = f"<body name='base'><freejoint/><geom size='.3'/>{''.join(legs)}</body>"
    return mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")


@pytest.mark.parametrize("links", [1, 2, 5])
def test_positions_and_velocities_are_mujocos(links: int) -> None:
    random = np.random.default_rng(links)
    model = creature(*(leg(name, links, random) for name in "abc"))
    toes = ("c_toe", "a_toe", "b_toe")  # an order of its own
    feet = PointKinematics(model, geom_centres(model, toes), base=1, device=CPU)
    data = mujoco.MjData(model)
    qpos, qvel = random.normal(size=(7, model.nq)), random.normal(size=(7, model.nv))
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    q, v = torch.tensor(qpos, dtype=torch.float32), torch.tensor(qvel, dtype=torch.float32)
    positions, velocities = feet(q[:, :3], q[:, 3:7], v[:, :3], v[:, 3:6], q[:, 7:], v[:, 6:])
    assert positions.shape == velocities.shape == (7, 3, 3)
    jacobian = np.zeros((3, model.nv))
    for i in range(7):
        data.qpos, data.qvel = qpos[i], qvel[i]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for f, toe in enumerate(toes):
            mujoco.mj_jacGeom(model, data, jacobian, None, model.geom(toe).id)
            np.testing.assert_allclose(positions[i, f], data.geom_xpos[model.geom(toe).id], atol=2e-5)
            np.testing.assert_allclose(velocities[i, f], jacobian @ qvel[i], rtol=1e-5, atol=1e-4)


def test_velocity_is_the_rate_of_position() -> None:
    random = np.random.default_rng(9)
    model = creature(leg("a", 3, random), leg("b", 3, random))
    feet = PointKinematics(model, geom_centres(model, ("a_toe", "b_toe")), base=1, device=CPU)
    start = np.concatenate(([0.1, 0.2, 0.3, 0.5, 0.5, -0.5, 0.5], random.normal(size=6)))
    rate = random.normal(size=12)

    def at(time: float) -> tuple[torch.Tensor, torch.Tensor]:
        qpos = start.copy()
        mujoco.mj_integratePos(model, qpos, rate, time)
        q, v = torch.tensor(qpos[None]), torch.tensor(rate[None])
        return feet(*(x.float() for x in (q[:, :3], q[:, 3:7], v[:, :3], v[:, 3:6], q[:, 7:], v[:, 6:])))

    ahead, behind, step = at(1e-2)[0], at(-1e-2)[0], 2e-2
    torch.testing.assert_close(at(0.0)[1], (ahead - behind) / step, rtol=1e-3, atol=2e-3)


def check(model: mujoco.MjModel, toes: tuple[str, ...], random: np.random.Generator) -> None:
    """Positions and velocities of toes are MuJoCo's, in seven random states."""
    feet, data = PointKinematics(model, geom_centres(model, toes), base=1, device=CPU), mujoco.MjData(model)
    jacobian = np.zeros((3, model.nv))
    for _ in range(7):
        data.qpos, data.qvel = random.normal(size=model.nq), random.normal(size=model.nv)
        data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        q, v = (torch.tensor(x[None], dtype=torch.float32) for x in (data.qpos, data.qvel))
        pos, vel = feet(q[:, :3], q[:, 3:7], v[:, :3], v[:, 3:6], q[:, 7:], v[:, 6:])
        for f, toe in enumerate(toes):
            mujoco.mj_jacGeom(model, data, jacobian, None, model.geom(toe).id)
            np.testing.assert_allclose(pos[0, f], data.geom_xpos[model.geom(toe).id], atol=3e-5)
            np.testing.assert_allclose(vel[0, f], jacobian @ data.qvel, rtol=2e-5, atol=2e-4)


def test_chains_may_differ_in_length() -> None:
    random = np.random.default_rng(3)
    check(creature(leg("a", 2, random), leg("b", 4, random)), ("a_toe", "b_toe"), random)


def test_angles_count_from_their_reference_and_links_may_be_fixed_or_have_several_hinges() -> None:
    """As on published models: joints with `ref`, feet on bodies without a joint, a hip of two hinges in one body."""
    random = np.random.default_rng(4)
    limb = """
        <body name='{0}_hip' pos='.1 {1} 0' quat='.9 .1 .2 .3'>
          <joint name='{0}_abduct' axis='1 0 0' ref='.3' pos='.01 .02 .03'/>
          <joint name='{0}_flex' axis='0 1 .2' pos='0 .05 0'/><geom size='.1'/>
          <body name='{0}_plate' pos='0 0 -.2' euler='20 30 0'><geom size='.05 .1 .1' euler='10 20 30' type='box'/>
            <body name='{0}_shank' pos='0 .1 -.3'><joint name='{0}_knee' axis='0 1 0' ref='-0.8'/><geom size='.1'/>
              <body name='{0}_foot' pos='.02 0 -.3' euler='0 40 0'>
                <geom name='{0}_toe' size='.03' pos='.1 0 0'/></body>
            </body></body></body>"""
    model = creature(limb.format("a", 0.2), limb.format("b", -0.3), leg("c", 2, random))
    check(model, ("b_toe", "c_toe", "a_toe"), random)


def test_a_joint_that_is_no_hinge_is_named() -> None:
    slide = (
        "<body name='leg' pos='0 0 1'><joint name='piston' type='slide'/><geom name='toe' size='.1'/></body>"
    )
    with pytest.raises(ValueError, match="'piston' is no hinge"):
        PointKinematics(creature(slide), geom_centres(creature(slide), ("toe",)), base=1, device=CPU)


def test_rotation_matrices() -> None:
    quat = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    quat /= quat.norm(dim=1, keepdim=True)
    expected = np.zeros(9)
    for matrix, q in zip(quat_to_matrix(quat), quat.double().numpy(), strict=True):
        mujoco.mju_quat2Mat(expected, q)
        np.testing.assert_allclose(matrix, expected.reshape(3, 3), atol=1e-6)
