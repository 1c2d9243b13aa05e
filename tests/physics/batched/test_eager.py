"""One eager step in float64 is one `mj_step`, to rounding; and gradients pass through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import mujoco
import numpy as np
import pytest
import torch

from physics import build_scene
from physics.batched import eager
from robots import ANYMAL_C
from terrains import Plane
from tests.physics.batched.common import STANCE, Cases, EagerRobot, take_cases


def anymal(actuation="position") -> mujoco.MjModel:
    """ANYmal on a plane, its contacts solved to the last digits."""
    model = build_scene(ANYMAL_C, Plane(), actuation=actuation)
    model.opt.tolerance = 1e-13
    return model


def assert_same_step(robot: EagerRobot, cases: Cases, tolerance: float = 1e-10) -> None:
    qpos, qvel, report = robot.step(cases)
    assert cases.error(qvel).max() <= tolerance
    np.testing.assert_allclose(qpos, cases.next_qpos, rtol=0, atol=1e-12)
    np.testing.assert_allclose(robot.by_joint(report.torque), cases.torque, rtol=0, atol=1e-9)
    ground = robot.robot.ground
    scale = np.abs(cases.forces).max() + 1.0
    forces = np.delete(robot.by_geom(report) - cases.forces, ground, axis=1)
    np.testing.assert_allclose(forces, 0.0, rtol=0, atol=1e-11 * scale)


def test_a_step_is_that_of_mujoco() -> None:
    cases = take_cases(anymal(), 500, stance=STANCE)
    assert (cases.contacts == 0).sum() > 50 and (cases.contacts >= 4).sum() > 50 and cases.contacts.max() > 10
    assert_same_step(EagerRobot(cases.model), cases)


# ---------------------------------------------------------------------- everything that a model may hold


def joint_limits(model: mujoco.MjModel) -> None:
    model.jnt_limited[1:] = True
    model.jnt_range[1:] = STANCE[:, None] + [-0.2, 0.3]


def stiff_joint_limits(model: mujoco.MjModel) -> None:
    joint_limits(model)
    model.jnt_solref[:] = [-3000.0, -40.0]
    model.jnt_solimp[:] = [0.5, 0.99, 0.05, 0.3, 2.0]


def friction_loss(model: mujoco.MjModel) -> None:
    model.dof_frictionloss[6:] = np.linspace(0.0, 5.0, 12)


def joint_damping(model: mujoco.MjModel) -> None:
    model.dof_damping[6:] = np.linspace(0.0, 3.0, 12)


def springs(model: mujoco.MjModel) -> None:
    model.jnt_stiffness[1:] = np.linspace(0.0, 100.0, 12)
    model.qpos_spring[7:] = np.linspace(-1.0, 1.0, 12)


def armature(model: mujoco.MjModel) -> None:
    model.dof_armature[6:] = np.linspace(0.0, 0.3, 12)


def gains(model: mujoco.MjModel) -> None:
    stiffness, damping = np.linspace(20.0, 200.0, 12), np.linspace(0.0, 8.0, 12)
    model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1] = stiffness, -stiffness
    model.actuator_biasprm[:, 2] = -damping


def weak_drives(model: mujoco.MjModel) -> None:
    model.actuator_forcerange[:] = np.linspace(2.0, 20.0, 12)[:, None] * [-1, 1]


def slippery(model: mujoco.MjModel) -> None:
    model.geom_friction[:, 0] = np.linspace(0.02, 0.2, model.ngeom)


def sticky(model: mujoco.MjModel) -> None:
    model.geom_friction[:, 0] = np.linspace(1.5, 4.0, model.ngeom)


def heavy_base(model: mujoco.MjModel) -> None:
    model.body_mass[1], model.body_inertia[1] = 60.0, 2.3 * model.body_inertia[1]
    model.body_ipos[1] = [0.1, -0.05, 0.07]


def odd_gravity(model: mujoco.MjModel) -> None:
    model.opt.gravity = [3.0, -2.0, -15.0]


def high_ground(model: mujoco.MjModel) -> None:
    model.geom_pos[0, 2] = 0.07


def soft_ground(model: mujoco.MjModel) -> None:
    model.geom_solref[:] = np.array([0.1, 0.4]) + np.linspace(0.0, 0.1, model.ngeom)[:, None]
    model.geom_solimp[:] = [0.4, 0.9, 0.1, 0.7, 3.0]


def springy_ground(model: mujoco.MjModel) -> None:
    model.geom_solref[:] = [-5000.0, -80.0]
    model.geom_solimp[:] = [0.2, 0.95, 0.03, 0.5, 1.0]


def flat_impedance(model: mujoco.MjModel) -> None:
    model.geom_solimp[:] = [0.6, 0.95, 0.0, 0.5, 2.0]


def mixed_with_the_ground(model: mujoco.MjModel) -> None:
    model.geom_priority[:] = 0
    model.geom_solmix[1:] = np.linspace(0.2, 3.0, model.ngeom - 1)
    model.geom_solref[0], model.geom_solimp[0] = [0.06, 0.7], [0.7, 0.9, 0.01, 0.4, 2.0]
    model.geom_friction[:, 0] = np.linspace(0.2, 0.9, model.ngeom)
    model.geom_friction[0, 0] = 0.5


def large_steps(model: mujoco.MjModel) -> None:
    model.opt.timestep = 0.015  # MuJoCo makes contacts softer then


VARIANTS = (joint_limits, stiff_joint_limits, friction_loss, joint_damping, springs, armature, gains, weak_drives,
            slippery, sticky, heavy_base, odd_gravity, high_ground, soft_ground, springy_ground, flat_impedance,
            mixed_with_the_ground, large_steps)  # fmt: skip


@pytest.mark.parametrize("change", VARIANTS, ids=lambda change: change.__name__)
def test_whatever_a_model_holds_acts_as_in_mujoco(change: Callable[[mujoco.MjModel], None]) -> None:
    model, nominal = anymal(), anymal()
    change(model)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    cases = take_cases(model, 100, seed=1, stance=STANCE, spread=0.8)
    assert_same_step(EagerRobot(model), cases)
    cases.model = nominal
    _, without, _ = EagerRobot(nominal).step(cases)
    assert (cases.error(without) > 1e-4).sum() > 20, "the change has no effect in these states"


def test_torque_drives() -> None:
    model = anymal("torque")
    cases = take_cases(model, 100, seed=2, stance=STANCE, spread=1.0, steps=10)
    assert 50 < (np.abs(cases.torque) == 80.0).sum() < 600
    assert_same_step(EagerRobot(model), cases)


def test_pushes_on_the_base() -> None:
    cases = take_cases(anymal(), 100, seed=3, stance=STANCE, push=300.0)
    assert_same_step(EagerRobot(cases.model), cases)
    cases.wrench[:] = 0.0
    _, without, _ = EagerRobot(cases.model).step(cases)
    assert (cases.error(without) > 1e-3).all()


# ---------------------------------------------------------------------- the solver


def test_newton_finds_the_same_from_any_start() -> None:
    cases = take_cases(anymal(), 200, seed=4, stance=STANCE)
    cases.warmstart[:] = 0.0
    assert_same_step(EagerRobot(cases.model), cases)
    cases.warmstart[:] = 300.0 * np.random.default_rng(4).normal(size=cases.warmstart.shape)
    assert_same_step(EagerRobot(cases.model), cases)


@pytest.mark.parametrize("friction", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("loss", [0.0, 2.0])
def test_newton_does_not_go_in_circles(friction: float, loss: float) -> None:
    # rows that change sides within a step: feet that start to slip, joints that dry friction stops
    model = anymal()
    model.geom_friction[:, 0], model.dof_frictionloss[6:] = friction, loss
    cases = take_cases(model, 200, seed=9, stance=STANCE, heights=(0.55, 0.5, 0.3), steps=120, shove=2.0)
    robot = EagerRobot(model)
    _, qvel, report = robot.step(cases)
    assert cases.error(qvel).max() <= 1e-8 and report.iterations.max() < 25
    _, _, report = robot.step(cases, eager.Solver())
    assert report.iterations.max() < 20 and report.iterations.mean() < 5.0


def test_report_tells_how_well_the_problem_was_solved() -> None:
    cases = take_cases(anymal(), 200, seed=5, stance=STANCE, heights=(0.3, 0.12))
    robot = EagerRobot(cases.model)
    cut = eager.Solver(iterations=1, relative=0.0, noise=0.0, absolute=0.0)
    _, rough, first = robot.step(cases, cut)
    _, _, last = robot.step(cases)
    assert (first.iterations == 1).all() and last.iterations.max() > 3
    hard = last.iterations.numpy() > 3
    assert (cases.error(rough)[hard] > 1e-6).all() and (first.gradient[hard] > 1e-6).all()
    assert last.gradient.max() < 1e-6


def test_a_robot_with_nan_stops_alone() -> None:
    cases = take_cases(anymal(), 8, seed=6, stance=STANCE)
    robot = EagerRobot(cases.model)
    expected = robot.step(cases)
    cases.qvel[3, 10] = np.nan
    found = robot.step(cases)
    for a, b in zip(found[:2], expected[:2], strict=True):
        assert np.isnan(a[3]).any()
        np.testing.assert_array_equal(np.delete(a, 3, 0), np.delete(b, 3, 0))


def test_float32_is_accurate_too() -> None:
    cases = take_cases(anymal(), 500, seed=7, stance=STANCE, single_precision=True)
    _, qvel, _ = EagerRobot(cases.model, torch.float32).step(cases, eager.Solver())
    error = cases.error(qvel)
    assert np.median(error) <= 1e-5 and np.percentile(error, 99) <= 1e-4 and error.max() <= 1e-3


# ---------------------------------------------------------------------- gradients


def test_gradients_pass_through_a_step() -> None:
    cases = take_cases(anymal(), 12, seed=8, stance=STANCE, heights=(0.5, 0.3), steps=30, spread=0.1)
    assert (cases.contacts > 0).sum() > 5
    robot = EagerRobot(cases.model)

    def outcome(cases: Cases, inputs: eager.Inputs) -> torch.Tensor:
        """Height of the base, and a little of its turn rate, after a step."""
        state, _ = eager.step(robot.robot, robot.state(cases), inputs, eager.plane(0.0), eager.EXACT)
        return state.base.pos[2] + 0.1 * state.base.ang_vel[1]

    inputs = robot.inputs(cases)
    targets = [target.requires_grad_() for limbs in inputs.limbs for target in limbs.target]
    slopes = torch.autograd.grad(outcome(cases, inputs).sum(), targets)
    found = robot.by_joint([list(slopes)])

    # all small changes of targets in one step of many robots: [ahead or behind, joint, case]
    num_cases, num_joints = cases.ctrl.shape
    step = 1e-6 * np.concatenate((np.eye(num_joints), -np.eye(num_joints)))
    many = {
        field.name: np.tile(value, (2 * num_joints,) + (1,) * (value.ndim - 1))
        for field in fields(cases)
        if isinstance(value := getattr(cases, field.name), np.ndarray)
    }
    many["ctrl"] = (cases.ctrl + step[:, None]).reshape(-1, num_joints)
    moved = Cases(cases.model, **many)
    ahead, behind = outcome(moved, robot.inputs(moved)).numpy().reshape(2, num_joints, num_cases)
    assert (np.abs(found).max(1) > 1e-4).all()
    np.testing.assert_allclose(found, (ahead - behind).T / 2e-6, rtol=1e-5, atol=1e-8)
