"""The engine gives the bits of a plain `mj_step` loop, and reports what that loop computed."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from physics import MujocoEngine
from physics.scene import contact_geoms
from robots import ANYMAL_C
from tests.physics.common import (
    exact,
    ground_force,
    integration_state,
    live,
    mujoco_engine,
    place,
    plain,
    random_targets,
    scatter,
)


def geoms_of_groups(engine: MujocoEngine) -> list[tuple[str, ...]]:
    names = [engine.model.geom(i).name for i in np.flatnonzero(engine.model.geom_contype)]
    return [tuple(geoms) for geoms in contact_geoms(ANYMAL_C, names).values()]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_trajectory_is_that_of_plain_mj_step(num_threads: int) -> None:
    engine = mujoco_engine(6, num_threads=num_threads)
    scatter(engine, seed=1)
    copies, model = plain(engine), engine.model
    touched = torch.zeros(len(engine.contact_groups), dtype=torch.bool)
    for targets in random_targets(engine, 50, seed=2):
        engine.step(targets, 4)
        for data, ctrl in zip(copies, targets, strict=True):
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data, 4)
        touched |= (engine.contact_force[..., 2] > 1.0).any(0)
    np.testing.assert_array_equal(exact(engine), [integration_state(model, data) for data in copies])
    assert touched[:4].all() and touched.sum() > 6, "the second must hold contacts of feet and other links"

    for i, data in enumerate(copies):
        qpos, qvel = data.qpos.astype(np.float32), data.qvel.astype(np.float32)
        np.testing.assert_array_equal(torch.cat((engine.base_pos, engine.base_quat), 1)[i], qpos[:7])
        np.testing.assert_array_equal(engine.joint_pos[i], qpos[7:])
        np.testing.assert_array_equal(torch.cat((engine.base_lin_vel, engine.base_ang_vel), 1)[i], qvel[:6])
        np.testing.assert_array_equal(engine.joint_vel[i], qvel[6:])
        np.testing.assert_array_equal(engine.joint_torque[i], data.actuator_force.astype(np.float32))
        forces = [ground_force(model, data, geoms) for geoms in geoms_of_groups(engine)]
        np.testing.assert_allclose(engine.contact_force[i], forces, rtol=1e-5, atol=1e-4)


def test_targets_may_change_within_a_policy_step() -> None:
    engine = mujoco_engine(5)
    scatter(engine, seed=3)
    copies, model = plain(engine), engine.model
    targets = random_targets(engine, 26, seed=4)
    switch = torch.arange(5)  # from at once to not at all
    for previous, new in zip(targets[:-1], targets[1:], strict=True):
        engine.step(new, 4, previous, switch)
        for i, data in enumerate(copies):
            for substep in range(4):
                data.ctrl[:] = new[i] if substep >= switch[i] else previous[i]
                mujoco.mj_step(model, data)
    np.testing.assert_array_equal(exact(engine), [integration_state(model, data) for data in copies])


def test_torques_are_clipped_and_otherwise_applied_as_given() -> None:
    engine = mujoco_engine(3, actuation="torque")
    scatter(engine, seed=5)
    copies, model = plain(engine), engine.model
    torques = 60.0 * torch.randn(100, 3, 12, generator=torch.Generator().manual_seed(6))
    for torque in torques:
        engine.step(torque, 1)
        for data, ctrl in zip(copies, torque, strict=True):
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data)
        torch.testing.assert_close(engine.joint_torque, torque.clamp(-80.0, 80.0), rtol=0, atol=0)
    assert (torques.abs() > 80.0).any()
    np.testing.assert_array_equal(exact(engine), [integration_state(model, data) for data in copies])


def test_a_step_of_four_substeps_is_four_steps_of_one() -> None:
    together, apart = mujoco_engine(4), mujoco_engine(4, num_threads=2)
    for engine in (together, apart):
        scatter(engine, seed=7)
    for targets in random_targets(together, 10, seed=8):
        together.step(targets, 4)
        for _ in range(4):
            apart.step(targets, 1)
        for name, tensor in live(together).items():
            assert torch.equal(tensor, getattr(apart, name)), name


def test_robots_do_not_feel_each_other() -> None:
    # all start at one place, and one is alone in its engine
    crowd, alone = mujoco_engine(4), mujoco_engine(1)
    for engine in (crowd, alone):
        place(engine)
        for targets in random_targets(alone, 25, seed=15):
            engine.step(targets.expand(engine.num_envs, 12), 4)
    for i in range(4):
        np.testing.assert_array_equal(exact(crowd)[i], exact(alone)[0])
