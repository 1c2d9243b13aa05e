"""What every engine promises about bodies, contacts and inputs; MuJoCo's own sums are the measure."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from robots import ANYMAL_C
from tests.physics.common import (
    G,
    make,
    momentum,
    place,
    plain,
    random_targets,
    scatter,
    stance,
)


def test_joint_torque_is_the_clipped_pd_law_at_the_start_of_the_last_substep(engine_class) -> None:
    engine = make(8, engine_class=engine_class)
    scatter(engine, seed=9)
    clipped = 0
    for targets in random_targets(engine, 10, seed=10, spread=1.0):
        engine.step(targets, 3)
        law = 80.0 * (targets - engine.joint_pos) - 2.0 * engine.joint_vel
        engine.step(targets, 1)
        torch.testing.assert_close(engine.joint_torque, law.clamp(-80.0, 80.0), rtol=1e-5, atol=1e-4)
        clipped += int((law.abs() > 80.0).sum())
    assert 50 < clipped < 800


def test_standing_feet_carry_the_weight_and_nothing_else_touches(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    place(engine, height=0.53)
    targets, lift = stance(engine), []
    for _ in range(100):
        engine.step(targets, 4)
        lift.append(engine.contact_force.clone())
    weight = engine.total_mass * G
    torch.testing.assert_close(engine.contact_force[:, :4, 2].sum(1), weight, rtol=0.01, atol=0)
    assert (engine.contact_force[:, :4, 2] > 0.15 * weight[:, None]).all()
    assert not torch.stack(lift)[:, :, 4:].any(), "shanks, thighs and base must stay clear of the ground"
    assert (engine.base_pos[:, 2] > 0.45).all() and (engine.base_lin_vel.norm(dim=1) < 0.02).all()


def test_contact_forces_and_gravity_account_for_the_change_of_momentum(engine_class) -> None:
    # Newton's second law over half a second of falling, landing and struggling
    engine = make(4, engine_class=engine_class)
    scatter(engine, seed=11, height=0.7)
    before, _ = momentum(engine)
    impulse = torch.zeros(4, 3)
    for targets in random_targets(engine, 100, seed=12, spread=0.3):
        engine.step(targets, 1)
        impulse += engine.timestep * engine.contact_force.sum(1)
    weight = engine.total_mass[0].item() * G
    gained = momentum(engine)[0] - before - np.array([0.0, 0.0, -weight * 0.5])
    assert (impulse[:, 2] > 0.3 * weight * 0.5).all()
    np.testing.assert_allclose(impulse, gained, rtol=0, atol=0.005 * weight * 0.5)


def test_free_fall(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    place(engine, height=3.0)
    for _ in range(10):
        engine.step(stance(engine), 4)
        assert not engine.contact_force.any()
    steps, dt = 40, engine.timestep
    # semi-implicit Euler: velocity first, then position with the new velocity
    fallen = G * dt * dt * steps * (steps + 1) / 2
    torch.testing.assert_close(engine.base_pos, torch.tensor([0.0, 0.0, 3.0 - fallen]).expand(2, 3))
    torch.testing.assert_close(engine.base_lin_vel, torch.tensor([0.0, 0.0, -G * dt * steps]).expand(2, 3))
    torch.testing.assert_close(engine.joint_pos, stance(engine), rtol=0, atol=1e-5)
    assert engine.joint_torque.abs().max() < 1e-3


def test_every_robot_feels_its_own_gravity(engine_class) -> None:
    engine = make(3, engine_class=engine_class)
    place(engine, height=3.0)
    engine.gravity.copy_(torch.tensor([[0.0, 0.0, -9.81], [1.0, 2.0, -3.0], [0.0, 0.0, 0.0]]))
    for _ in range(5):
        engine.step(stance(engine), 4)
    torch.testing.assert_close(engine.base_lin_vel, engine.gravity * 0.1, rtol=1e-4, atol=1e-5)
    engine.gravity.copy_(torch.tensor([0.0, 0.0, -9.81]))
    before = engine.base_lin_vel.clone()
    engine.step(stance(engine), 4)
    gained = engine.base_lin_vel - before
    torch.testing.assert_close(gained, engine.gravity * 0.02, rtol=1e-4, atol=1e-5)


def test_base_wrench_pushes_and_turns_at_the_base_centre_of_mass(engine_class) -> None:
    engine = make(3, engine_class=engine_class)
    place(engine, height=3.0)
    engine.gravity.zero_()
    force, torque = torch.tensor([50.0, -30.0, 20.0]), torch.tensor([4.0, 3.0, -5.0])
    engine.base_wrench[0, :3] = force
    engine.base_wrench[1, 3:] = torque
    for _ in range(5):
        engine.step(stance(engine), 4)
    linear, angular = momentum(engine)
    np.testing.assert_allclose(linear[0], force * 0.1, rtol=1e-3)
    np.testing.assert_allclose(linear[1], 0.0, atol=2e-3)
    np.testing.assert_allclose(angular[1], torque * 0.1, rtol=0.01)
    # the force acts at the base's centre of mass, a lever away from the robot's
    data = plain(engine)[2]
    mujoco.mj_fwdPosition(engine.model, data)
    lever = data.xipos[1] - data.subtree_com[0]
    np.testing.assert_allclose(angular[0], np.cross(lever, force * 0.1), rtol=0.05, atol=2e-3)
    assert not linear[2].any() and not angular[2].any()
    engine.base_wrench.zero_()
    engine.step(stance(engine), 4)
    np.testing.assert_allclose(momentum(engine)[0], linear, rtol=1e-3, atol=2e-3)


def test_feet_are_where_mujoco_puts_them_at_the_new_state(engine_class) -> None:
    engine = make(6, engine_class=engine_class)
    scatter(engine, seed=13)
    for targets in random_targets(engine, 15, seed=14, spread=0.3):
        engine.step(targets, 4)
    model, jacobian = engine.model, np.zeros((3, engine.model.nv))
    for i, data in enumerate(plain(engine)):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for f, name in enumerate(ANYMAL_C.feet):
            geom = model.geom(name).id
            np.testing.assert_allclose(engine.foot_pos[i, f], data.geom_xpos[geom], rtol=0, atol=1e-5)
            mujoco.mj_jacGeom(model, data, jacobian, None, geom)
            np.testing.assert_allclose(engine.foot_vel[i, f], jacobian @ data.qvel, rtol=1e-5, atol=1e-5)
    assert engine.foot_vel.abs().max() > 1.0


def test_new_engine_stands_at_the_origin(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    assert torch.equal(engine.base_quat, torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2))
    assert not engine.joint_pos.any() and not engine.bad.any() and not engine.base_wrench.any()
    torch.testing.assert_close(engine.gravity, torch.tensor([0.0, 0.0, -G]).expand(2, 3))
    assert engine.joint_pos_limits.shape == (12, 2) and engine.joint_pos_limits.isinf().all()
