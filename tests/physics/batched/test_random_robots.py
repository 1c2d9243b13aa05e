"""Robots of any shape: the eager step is MuJoCo's, and the compiled one is the eager one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mujoco
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, assume, example, given, settings

from physics import BatchedEngine, build_scene
from physics.batched.eager import Solver
from terrains import Plane
from tests.physics.batched.common import Cases, EagerRobot, engine_step, take_cases
from tests.physics.batched.random_robots import DESIGNS, Design, Link, make_robot

BRIEF = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
CONCENTRIC = Design(
    limbs=((Link(1, False),), (Link(0, True), Link(0, False))),
    base_spheres=1,
    base_carries_body=False,
    limits=True,
    friction_loss=False,
    tidy=True,
    concentric=True,
    seed=1,
)
"""Much of it is zero, and vanishes from the code."""
NO_SHRINKING = (Phase.explicit, Phase.generate)
"""Each example costs a second of compiling."""


def cases_of(model: mujoco.MjModel, count: int, single_precision: bool = False) -> Cases:
    model.opt.tolerance = 1e-14
    cases = take_cases(
        model, count, heights=(0.0, 0.1, 0.3), steps=12, push=5.0, single_precision=single_precision
    )
    assume(np.abs(cases.next_qvel).max() < 1e3)  # stiff drives shake a small robot to pieces
    return cases


@settings(BRIEF, max_examples=45)
@given(DESIGNS)
def test_eager_step_of_any_robot_is_that_of_mujoco(design: Design) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = build_scene(make_robot(design, Path(folder)), Plane())
    cases = cases_of(model, 12)
    robot = EagerRobot(cases.model)
    qpos, qvel, report = robot.step(cases)
    assert cases.error(qvel).max() <= 1e-9
    np.testing.assert_allclose(qpos, cases.next_qpos, rtol=0, atol=1e-9)
    np.testing.assert_allclose(robot.by_joint(report.torque), cases.torque, rtol=0, atol=1e-9)


@settings(BRIEF, max_examples=6, phases=NO_SHRINKING)
@given(DESIGNS)
@example(CONCENTRIC)
def test_compiled_step_of_any_robot_is_the_eager_one(design: Design) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = BatchedEngine(make_robot(design, Path(folder)), Plane(), 37, num_threads=1)
    cases = cases_of(engine.model, 37, single_precision=True)
    error = cases.error(engine_step(engine, cases))
    rounding = cases.error(EagerRobot(engine.model, torch.float32).step(cases, Solver())[1])
    assert np.median(error) <= 1e-5 and error.max() <= 1e-4 + 2.0 * rounding.max()
    np.testing.assert_allclose(engine.joint_torque, cases.torque, rtol=0, atol=1e-3)
    geoms = [engine.model.geom(name).id for name in engine.contact_groups]
    forces = cases.forces[:, geoms]
    np.testing.assert_allclose(
        engine.contact_force, forces, rtol=1e-3, atol=1e-4 * np.abs(cases.forces).max()
    )
