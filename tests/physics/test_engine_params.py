"""Per-robot parameters: each robot behaves as a MuJoCo model compiled with its own values would."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from physics import MujocoEngine, build_scene
from physics.engine import PARAMS
from robots import ANYMAL_C
from terrains import Plane
from tests.physics.common import (
    AnyEngine,
    G,
    everyone,
    exact,
    integration_state,
    make,
    memory,
    mujoco_engine,
    only,
    place,
    plain,
    random_targets,
    scatter,
    stance,
)

BASE = 1
N = 4
PER_JOINT = {
    "stiffness": (50.0, 120.0),
    "damping": (1.0, 4.0),
    "effort_limit": (20.0, 60.0),
    "joint_damping": (0.1, 1.0),
    "armature": (0.01, 0.2),
    "friction_loss": (0.2, 2.0),
}


def values(name: str) -> Tensor:
    """Values of a parameter that differ from robot to robot (and joint to joint)."""
    random = torch.Generator().manual_seed(PARAMS.index(name))
    if name == "friction":
        return torch.tensor([0.2, 0.5, 0.9, 1.4])
    if name == "base_mass":
        return torch.tensor([18.0, 24.0, 30.0, 40.0])
    if name == "base_com":
        return 0.1 * torch.randn(N, 3, generator=random)
    low, high = PER_JOINT[name]
    return torch.rand(N, 12, generator=random) * (high - low) + low


def own_model(name: str, value: np.ndarray) -> mujoco.MjModel:
    """A plain model with one robot's value of a parameter, made without the engine."""
    if name in ("stiffness", "damping", "effort_limit"):
        per_joint = dict(zip(make(1).joint_names, value.tolist(), strict=True))
        robot = copy.copy(ANYMAL_C)
        setattr(robot, name, per_joint)
        return build_scene(robot, Plane())  # compiled with those drives
    model = build_scene(ANYMAL_C, Plane())
    if name == "friction":
        robot = model.geom_bodyid > 0
        model.geom_friction[robot, 0] = value
    elif name == "base_mass":
        model.body_inertia[BASE] *= value / model.body_mass[BASE]
        model.body_mass[BASE] = value
    elif name == "base_com":
        model.body_ipos[BASE] = value
    else:
        field = {
            "joint_damping": "dof_damping",
            "friction_loss": "dof_frictionloss",
            "armature": "dof_armature",
        }
        getattr(model, field[name])[6:] = value
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def final_states(engine: MujocoEngine, targets: Tensor) -> np.ndarray:
    for target in targets:
        engine.step(target, 4)
    return exact(engine)


@pytest.mark.parametrize("name", PARAMS)
def test_parameter_acts_as_in_a_model_of_its_own(name: str) -> None:
    engine, untouched = mujoco_engine(N), mujoco_engine(N)
    for each in (engine, untouched):
        scatter(each, seed=50, height=0.55)
    value, mask = values(name), only(engine, 0, 1, 3)
    engine.set_params(mask, **{name: value})
    models = [own_model(name, value[i].double().numpy()) for i in range(N)]
    models[2] = untouched.model
    copies = plain(engine, models)
    targets = random_targets(engine, 20, seed=51)
    for target in targets:
        for model, data, ctrl in zip(models, copies, target, strict=True):
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data, 4)
    got, nominal = final_states(engine, targets), final_states(untouched, targets)
    np.testing.assert_array_equal(got, [integration_state(m, d) for m, d in zip(models, copies, strict=True)])
    np.testing.assert_array_equal(got[2], nominal[2])
    for row in (0, 1, 3):
        assert np.abs(got[row] - nominal[row]).max() > 1e-3, "the parameter has no effect"


def combined(engine: AnyEngine) -> Tensor:
    """Set parameters one after the other, for some robots again; returns the base masses."""
    engine.set_params(everyone(engine), base_mass=values("base_mass"), friction=values("friction"))
    engine.set_params(only(engine, 1), base_mass=torch.full((N,), 33.0), armature=values("armature"))
    expected = values("base_mass")
    expected[1] = 33.0
    return expected


def test_parameters_combine_and_robots_left_out_keep_theirs(engine_class) -> None:
    engine = make(N, engine_class=engine_class)
    expected = combined(engine)
    assert torch.equal(engine.base_mass, expected)
    others = engine.model.body_mass.sum() - engine.model.body_mass[BASE]
    torch.testing.assert_close(engine.total_mass, expected + others, rtol=1e-6, atol=0)


def test_nominal_parameters_are_the_models_own(engine_class) -> None:
    engine, untouched = make(2, engine_class=engine_class), make(2, engine_class=engine_class)
    assert set(engine.nominal) == {"gravity", *PARAMS} - {"friction"}
    assert engine.nominal["base_com"].shape == (3,) and engine.nominal["armature"].shape == (12,)
    assert (engine.nominal["stiffness"] == 80.0).all() and (engine.nominal["effort_limit"] == 80.0).all()
    assert torch.equal(engine.nominal["gravity"], engine.gravity[0])
    own = {name: x.expand(2, *x.shape) for name, x in engine.nominal.items() if name != "gravity"}
    engine.set_params(everyone(engine), **own)
    targets = random_targets(engine, 10, seed=52)
    for each in (engine, untouched):
        scatter(each, seed=53, height=0.55)
        for target in targets:
            each.step(target, 4)
    torch.testing.assert_close(engine.joint_pos, untouched.joint_pos, rtol=0, atol=1e-4)


def test_derived_constants_follow() -> None:
    engine = mujoco_engine(N)
    expected = combined(engine)
    for sim in range(N):
        model = engine._batch.get_model(sim)
        assert model.body_mass[BASE] == expected[sim]
        reference = copy.copy(model)
        mujoco.mj_setConst(reference, mujoco.MjData(reference))
        for field in ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
            np.testing.assert_array_equal(getattr(model, field), getattr(reference, field), err_msg=field)
        armature = values("armature")[1] if sim == 1 else torch.full((12,), 0.02)
        np.testing.assert_allclose(model.dof_armature[6:], armature, rtol=1e-6)
        np.testing.assert_allclose(model.geom_friction[model.geom_bodyid > 0, 0], values("friction")[sim])


def test_base_inertia_scales_with_base_mass() -> None:
    engine = mujoco_engine(2)
    inertia = engine.model.body_inertia[BASE].copy()
    for factor in (2.0, 0.5):  # relative to the robot's own mass each time, not to the last one set
        engine.set_params(everyone(engine), base_mass=torch.full((2,), 26.37317 * factor))
        for sim in range(2):
            model = engine._batch.get_model(sim)
            np.testing.assert_allclose(model.body_inertia[BASE], inertia * factor, rtol=1e-6)


def test_friction_is_the_coefficient_of_the_contact_itself() -> None:
    engine = mujoco_engine(N)
    engine.set_params(everyone(engine), friction=values("friction"))
    place(engine, height=0.53)
    for _ in range(25):
        engine.step(stance(engine), 4)
    for sim, mu in enumerate(values("friction").tolist()):
        model, data = engine._batch.get_model(sim), engine._batch.get_data(sim)
        mujoco.mj_forward(model, data)
        assert data.ncon >= 4
        np.testing.assert_allclose([contact.friction[:2] for contact in data.contact], mu, rtol=1e-6)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, -1.0)], ids=["x", "-y"])
def test_a_sliding_robot_is_braked_by_friction_times_normal_force(
    direction: tuple[float, float], engine_class
) -> None:
    engine = make(N, engine_class=engine_class)
    friction = torch.tensor([0.1, 0.2, 0.3, 0.4])
    engine.set_params(everyone(engine), friction=friction)
    place(engine, height=0.53)
    for _ in range(75):
        engine.step(stance(engine), 4)
    velocity = torch.zeros(N, 3)
    velocity[:, :2] = 3.0 * torch.tensor(direction)
    engine.set_base_velocity(everyone(engine), velocity, torch.zeros(N, 3))
    impulse = torch.zeros(N, 3)
    for _ in range(20):
        engine.step(stance(engine), 1)
        impulse += engine.timestep * engine.contact_force.sum(1)
    along = impulse[:, :2] @ torch.tensor(direction)
    torch.testing.assert_close(-along / impulse[:, 2], friction, rtol=0.02, atol=0)


def test_base_mass_is_carried_by_the_feet(engine_class) -> None:
    engine = make(N, engine_class=engine_class)
    engine.set_params(everyone(engine), base_mass=values("base_mass"))
    place(engine, height=0.53)
    for _ in range(100):
        engine.step(stance(engine), 4)
    torch.testing.assert_close(
        engine.contact_force[:, :4, 2].sum(1), engine.total_mass * G, rtol=0.01, atol=0
    )


def test_effort_limit_bounds_the_torque(engine_class) -> None:
    engine = make(N, engine_class=engine_class)
    limit = values("effort_limit")
    engine.set_params(everyone(engine), effort_limit=limit)
    place(engine)
    engine.step(stance(engine) + 3.0, 1)
    torch.testing.assert_close(engine.joint_torque, limit)
    engine.step(stance(engine) - 3.0, 1)
    torch.testing.assert_close(engine.joint_torque, -limit)


def test_unknown_parameter_is_refused_before_anything_changes(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    with pytest.raises(ValueError, match="'frictoin' is unknown; choose from friction, "):
        engine.set_params(everyone(engine), base_mass=torch.tensor([1.0, 1.0]), frictoin=torch.ones(2))
    torch.testing.assert_close(engine.base_mass, torch.full((2,), 26.37317))


def test_empty_mask_changes_nothing(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    before = memory(engine)
    nothing = {name: torch.full((2, 12), 0.7) for name in PER_JOINT}
    engine.set_params(only(engine), base_mass=torch.ones(2), friction=torch.ones(2), **nothing)
    after = memory(engine)
    assert before.keys() == after.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_friction_acts_as_set_whatever_the_models_priorities(engine_class, tmp_path: Path) -> None:
    """A published MJCF gives its geoms none, and MuJoCo would take the larger of theirs and the ground's 1.0."""
    spec = mujoco.MjSpec.from_file(str(ANYMAL_C.mjcf_path))
    for geom in spec.geoms:
        geom.priority = 0
    spec.compile()
    (tmp_path / "plain.xml").write_text(spec.to_xml())
    robot = dataclasses.replace(ANYMAL_C, mjcf=str(tmp_path / "plain.xml"))
    engine = engine_class(robot, Plane(), 2, num_threads=1)
    friction = torch.tensor([0.1, 0.4])
    engine.set_params(everyone(engine), friction=friction)
    place(engine, height=0.53)
    for _ in range(75):
        engine.step(stance(engine), 4)
    velocity = torch.tensor([3.0, 0.0, 0.0]).repeat(2, 1)
    engine.set_base_velocity(everyone(engine), velocity, torch.zeros(2, 3))
    impulse = torch.zeros(2, 3)
    for _ in range(20):
        engine.step(stance(engine), 1)
        impulse += engine.timestep * engine.contact_force.sum(1)
    torch.testing.assert_close(-impulse[:, 0] / impulse[:, 2], friction, rtol=0.02, atol=0)
