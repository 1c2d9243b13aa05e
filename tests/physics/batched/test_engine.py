"""The compiled engine is MuJoCo in float32: step by step, over a second, and in everything that can be set."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from physics import BatchedEngine, MujocoEngine
from physics.batched.eager import Solver
from physics.scene import Actuation
from robots import ANYMAL_C, RobotConfig
from terrains import Plane
from tests.physics.batched.common import INSTRUCTION_SETS, STANCE, Cases, engine_step, take_cases
from tests.physics.common import (
    LIVE,
    AnyEngine,
    everyone,
    live,
    momentum,
    only,
    place,
    plain,
    random_targets,
    scatter,
    stance,
)


def batched(num_envs: int, robot: RobotConfig = ANYMAL_C, **kwargs) -> BatchedEngine:
    return BatchedEngine(robot, Plane(), num_envs, **{"num_threads": 1} | kwargs)


def both(num_envs: int) -> tuple[BatchedEngine, MujocoEngine]:
    return batched(num_envs), MujocoEngine(ANYMAL_C, Plane(), num_envs, num_threads=1)


def follow(engine: BatchedEngine, other: AnyEngine) -> None:
    """Put robots where those of another engine are."""
    names = ("base_pos", "base_quat", "base_lin_vel", "base_ang_vel", "joint_pos", "joint_vel")
    engine.write_state(everyone(engine), **{name: getattr(other, name) for name in names})


def velocities(engine: AnyEngine) -> Tensor:
    """All of them, [N, 6 + A]."""
    return torch.cat((engine.base_lin_vel, engine.base_ang_vel, engine.joint_vel), 1)


def step_error(engine: BatchedEngine, other: MujocoEngine, targets: Tensor, substeps: int = 1) -> Tensor:
    """Both step from where the other is; error of velocities relative to their change, [N]."""
    follow(engine, other)
    before = velocities(other)
    for each in (engine, other):
        each.step(targets, substeps)
    change = (velocities(other) - before).abs().amax(1)
    return (velocities(engine) - velocities(other)).abs().amax(1) / change


# ---------------------------------------------------------------------- one step


def limited_robot(folder: Path) -> RobotConfig:
    """ANYmal with joint limits that it runs into."""
    spec = mujoco.MjSpec.from_file(str(ANYMAL_C.mjcf_path))
    spec.compiler.degree = False
    for joint in spec.joints[1:]:
        joint.range, joint.limited = [-0.9, 0.9], True
    spec.compile()
    path = folder / "limited.xml"
    path.write_text(spec.to_xml())
    robot = copy.copy(ANYMAL_C)
    robot.mjcf = str(path)
    return robot


def one_step_cases(engine: BatchedEngine, count: int, **kwargs) -> Cases:
    engine.model.opt.tolerance = 1e-12
    return take_cases(engine.model, count, stance=STANCE, single_precision=True, **{"steps": 80} | kwargs)


def assert_accurate(error: np.ndarray) -> None:
    assert np.median(error) <= 1e-5 and np.percentile(error, 99) <= 1e-4 and error.max() <= 1e-3


def assert_same_forces(engine: BatchedEngine, cases: Cases) -> None:
    """Contact forces of groups and torques are those that MuJoCo computed in the step."""
    forces = np.zeros((len(cases.qpos), len(engine.contact_groups), 3))
    for i in range(engine.model.nsensor):
        _, group, geom = engine.model.sensor(i).name.split("/")
        forces[:, int(group)] += cases.forces[:, engine.model.geom(geom).id]
    scale = np.maximum(np.abs(forces).max((1, 2)), 100.0)
    error = np.abs(engine.contact_force.numpy() - forces).max((1, 2)) / scale
    # where Newton's method may stop early, single forces are less exact than velocities
    assert np.percentile(error, 99) <= 1e-4 and error.max() <= 1e-2
    np.testing.assert_allclose(engine.joint_torque, cases.torque, rtol=0, atol=1e-3)


MOTIONS: dict[str, dict[str, Any]] = {
    "falling": {"push": 20.0},
    "lying": {"heights": (0.3, 0.12)},
    "standing": {"heights": (0.55,), "spread": 0.1, "speed": 0.3},
}


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_step_is_that_of_mujoco(motion: str, warm: bool) -> None:
    engine = batched(700)
    cases = one_step_cases(engine, 700, **MOTIONS[motion])
    assert (cases.contacts >= 4).sum() > {"falling": 50, "lying": 80, "standing": 150}[motion]
    assert_accurate(cases.error(engine_step(engine, cases, warm)))
    assert_same_forces(engine, cases)


@pytest.mark.parametrize("what", ["saturated drives", "torque drives", "joint limits", "shoved"])
def test_a_step_is_that_of_mujoco_at_the_edges(what: str, tmp_path: Path) -> None:
    actuation: Actuation = "torque" if what == "torque drives" else "position"
    robot = limited_robot(tmp_path) if what == "joint limits" else ANYMAL_C
    engine = batched(500, robot, actuation=actuation)
    kinds: dict[str, dict[str, Any]] = {
        "saturated drives": {"spread": 2.0},
        "torque drives": {"spread": 0.5, "steps": 10},
        "shoved": {"shove": 1.0},
    }
    cases = one_step_cases(engine, 500, **kinds.get(what, {}))
    if what == "saturated drives":
        assert (np.abs(cases.torque) == 80.0).mean() > 0.1
    if what == "joint limits":
        assert (np.abs(cases.qpos[:, 7:]) > 0.9).any(1).mean() > 0.5
    assert_accurate(cases.error(engine_step(engine, cases)))
    assert_same_forces(engine, cases)


@pytest.mark.parametrize("instruction_set", [name for name in INSTRUCTION_SETS if name != "native"])
def test_every_instruction_set_computes_the_same(instruction_set: str) -> None:
    native, other = batched(300), batched(300, instruction_set=instruction_set)
    cases = one_step_cases(native, 300)
    one, two = engine_step(native, cases), engine_step(other, cases)
    assert_accurate(cases.error(two))
    change = np.abs(cases.next_qvel - cases.qvel).max(1)
    assert np.percentile(np.abs(one - two).max(1) / change, 99) <= 1e-4


# ---------------------------------------------------------------------- over time


def test_a_second_from_a_drop_differs_less_than_mujoco_from_itself() -> None:
    # in float32; MuJoCo from a start that is a thousandth of a millimetre higher
    engine, reference = both(256)
    raised = MujocoEngine(ANYMAL_C, Plane(), 256, num_threads=1)
    for each, height in ((engine, 0.6), (reference, 0.6), (raised, 0.6 + 1e-6)):
        place(each, height=height)
    for targets in random_targets(reference, 50, seed=1, spread=0.3):
        for each in (engine, reference, raised):
            each.step(targets, 4)
    assert (reference.base_pos[:, 2] < 0.58).all() and reference.base_pos[:, 2].std() > 0.02
    difference = (engine.base_pos - reference.base_pos)[:, 2].abs()
    own = (raised.base_pos - reference.base_pos)[:, 2].abs()
    assert difference.median() <= 1e-6
    assert difference.quantile(0.99) <= own.quantile(0.99)


def kinetic_energy(engine: AnyEngine) -> np.ndarray:
    """J, [N], by MuJoCo's sums."""
    model, found = copy.copy(engine.model), []
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    for data in plain(engine):
        mujoco.mj_forward(model, data)
        found.append(data.energy[1])
    return np.array(found)


def test_limp_robots_in_free_flight_keep_momentum_and_energy_as_in_mujoco() -> None:
    engines = both(16)
    for each in engines:
        each.set_params(everyone(each), stiffness=torch.zeros(16, 12), damping=torch.zeros(16, 12))
        each.gravity.zero_()
        scatter(each, seed=2, height=5.0)
    start = momentum(engines[1]), kinetic_energy(engines[1])
    for _ in range(25):
        for each in engines:
            each.step(stance(each), 4)
    assert (engines[1].joint_pos - stance(engines[1])).abs().max() > 0.5
    drifts = []
    for each in engines:
        (linear, angular), energy = momentum(each), kinetic_energy(each)
        drifts.append((linear - start[0][0], angular - start[0][1], energy - start[1]))
        assert np.abs(energy - start[1]).max() < 0.02 * start[1].max()
    for mine, own, scale in zip(*drifts, (50.0, 10.0, 30.0), strict=True):
        np.testing.assert_allclose(mine, own, rtol=0, atol=1e-5 * scale)


def test_standing_on_a_slope_creeps_as_in_mujoco() -> None:
    # soft contacts let a robot slide by a hair; gravity pulls to one side
    engines: tuple[AnyEngine, ...] = both(4)
    for each in engines:
        each.gravity[:, 0] = torch.tensor([0.5, 1.0, 2.0, 3.0])
        place(each, height=0.53)
        for _ in range(100):
            each.step(stance(each), 4)
    start = [each.foot_pos.mean(1) for each in engines]
    for _ in range(250):
        for each in engines:
            each.step(stance(each), 4)
    mine, own = ((each.foot_pos.mean(1) - before)[:, 0] for each, before in zip(engines, start, strict=True))
    torch.testing.assert_close(mine, own, rtol=0.05, atol=0)


# ---------------------------------------------------------------------- robots among robots


def run(engine: BatchedEngine, targets: Tensor) -> dict[str, Tensor]:
    for target in targets:
        engine.step(target, 4)
    return live(engine)


def test_a_robot_does_not_depend_on_its_neighbours_nor_on_threads() -> None:
    # 37 robots are no multiple of any block; alone, and in other company, each does the same
    engine, threaded = batched(37), batched(37, num_threads=2)
    for each in (engine, threaded):
        scatter(each, seed=3, height=0.5)
    start = engine.state_dict()
    targets = random_targets(engine, 15, seed=4)
    together = run(engine, targets)
    assert all(torch.equal(tensor, together[name]) for name, tensor in run(threaded, targets).items())
    rows = [36, 3, 17, 20]
    other = batched(len(rows))
    other.load_state_dict({name: tensor[..., rows] for name, tensor in start.items()})
    for name, tensor in run(other, targets[:, rows]).items():
        assert torch.equal(tensor, together[name][rows]), name
    assert together["contact_force"].any()


def test_a_robot_with_nan_does_not_touch_its_block() -> None:
    ill, well = batched(16), batched(16)
    for each in (ill, well):
        scatter(each, seed=5, height=0.5)
    ill.set_base_velocity(only(ill, 7), torch.full((16, 3), float("nan")), torch.zeros(16, 3))
    targets = random_targets(ill, 10, seed=6)
    found, expected = run(ill, targets), run(well, targets)
    assert ill.bad.tolist() == [i == 7 for i in range(16)] and not well.bad.any()
    others = ~only(ill, 7)
    for name in LIVE:
        assert torch.equal(found[name][others], expected[name][others]), name
    place(ill, only(ill, 7))
    assert not ill.bad.any()
    run(ill, targets)
    assert not ill.bad.any() and all(getattr(ill, name).isfinite().all() for name in LIVE)


@pytest.mark.parametrize(
    ("num_envs", "steps"), [(2048, 300), pytest.param(65536, 1000, marks=pytest.mark.slow)]
)
def test_random_actions_stay_finite(num_envs: int, steps: int) -> None:
    engine = batched(num_envs, num_threads=2)
    scatter(engine, seed=7)
    generator = torch.Generator().manual_seed(8)
    for _ in range(steps):
        targets = stance(engine) + 1.5 * torch.randn(num_envs, 12, generator=generator)
        engine.step(targets, 4)
    assert not engine.bad.any()
    assert all(getattr(engine, name).isfinite().all() for name in LIVE)
    assert (engine.base_pos[:, 2] > 0.0).all() and (engine.base_pos[:, 2] < 2.0).all()
    assert engine.joint_vel.abs().max() < 500.0


# ---------------------------------------------------------------------- inputs and parameters


def test_targets_may_change_within_a_policy_step() -> None:
    engine, reference = both(200)
    scatter(reference, seed=9, height=0.5)
    targets = random_targets(reference, 12, seed=10)
    switch = torch.arange(200) % 5  # from at once to not at all
    for previous, new in zip(targets[:-1], targets[1:], strict=True):
        follow(engine, reference)
        for each in (engine, reference):
            each.step(new, 4, previous, switch)
        error = (engine.joint_vel - reference.joint_vel).abs().amax(1)
        assert error.quantile(0.9) < 1e-3 and error.median() < 1e-4
        torque = (engine.joint_torque - reference.joint_torque).abs()
        assert torque.median() < 1e-4 and torque.quantile(0.99) < 1e-2
    never = batched(200)
    follow(never, engine)
    before = never.state_dict()
    never.step(targets[1], 4, targets[0], torch.full((200,), 4))
    late = velocities(never)
    never.load_state_dict(before)
    never.step(targets[0], 4)
    assert torch.equal(velocities(never), late)


PARAMETERS: dict[str, tuple[float, float, tuple[int, ...]]] = {
    "friction": (0.1, 1.5, ()),
    "base_mass": (15.0, 45.0, ()),
    "base_com": (-0.1, 0.1, (3,)),
    "stiffness": (50.0, 120.0, (12,)),
    "damping": (1.0, 4.0, (12,)),
    "effort_limit": (10.0, 40.0, (12,)),
    "joint_damping": (0.1, 1.0, (12,)),
    "armature": (0.01, 0.2, (12,)),
    "friction_loss": (0.2, 2.0, (12,)),
}


def random_values(name: str, num_envs: int) -> Tensor:
    low, high, shape = PARAMETERS[name]
    generator = torch.Generator().manual_seed(list(PARAMETERS).index(name))
    return low + (high - low) * torch.rand(num_envs, *shape, generator=generator)


@pytest.mark.parametrize("name", [*PARAMETERS, "all of them"])
def test_a_parameter_acts_as_in_mujoco(name: str) -> None:
    engine, reference = both(150)
    untouched = batched(150)
    names = list(PARAMETERS) if name == "all of them" else [name]
    mask = torch.arange(150) % 5 != 0
    for each in (engine, reference):
        each.set_params(mask, **{each_name: random_values(each_name, 150) for each_name in names})
    scatter(reference, seed=11, height=0.5)
    errors, differences = [], []
    for targets in random_targets(reference, 40, seed=12, spread=0.8):
        follow(untouched, reference)
        errors.append(step_error(engine, reference, targets))
        untouched.step(targets, 1)
        differences.append((velocities(untouched) - velocities(engine)).abs().amax(1))
        reference.step(targets, 3)
    error = torch.stack(errors)
    assert error.median() <= 1e-6 and error.quantile(0.99) <= 2e-5
    difference = torch.stack(differences).amax(0)
    assert (difference[mask] > 1e-3).float().mean() > 0.9 and not difference[~mask].any()
    torch.testing.assert_close(engine.base_mass, reference.base_mass)
    torch.testing.assert_close(engine.total_mass, reference.total_mass)


def test_how_hard_the_contacts_were_to_solve_can_be_read() -> None:
    engine = batched(100)
    scatter(engine, seed=13, height=0.4)
    targets = random_targets(engine, 30, seed=14)
    run(engine, targets[:20])
    before = engine.state_dict()
    engine.step(targets[20], 1)
    iterations = engine.solver_iterations
    assert iterations.shape == engine.solver_gradient.shape == (100,)
    assert iterations.min() == 1 and 2 < iterations.max() < 15 and iterations.eq(iterations.round()).all()
    engine.solver = Solver(iterations=1)
    engine.load_state_dict(before)
    hard, left = iterations > 2, engine.solver_gradient.clone()
    engine.step(targets[20], 1)
    assert engine.solver_iterations.eq(1).all()
    assert engine.solver_gradient[hard].median() > 1e3 * left[hard].median()
