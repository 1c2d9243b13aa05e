"""Writing, saving and restoring the state of some or all robots, and what happens to one that goes bad."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from physics import MujocoEngine
from tests.physics.common import (
    LIVE,
    everyone,
    exact,
    live,
    make,
    only,
    place,
    random_targets,
    scatter,
    stance,
)

NAN = float("nan")


def running(num_envs: int = 4, seed: int = 21) -> MujocoEngine:
    """Robots that have moved and touch the ground, so that warm starts, forces and torques are not zero."""
    engine = make(num_envs)
    scatter(engine, seed, height=0.5)
    for targets in random_targets(engine, 12, seed + 1, spread=0.2):
        engine.step(targets, 4)
    assert engine.contact_force[..., 2].sum(1).gt(1.0).all() and engine.joint_torque.any(1).all()
    return engine


def written(engine: MujocoEngine) -> dict[str, Tensor]:
    """A state to write: rows of `write_state`'s arguments, by name."""
    values = torch.arange(float(engine.num_envs)).unsqueeze(1)
    quat = torch.tensor([[0.8, 0.0, 0.6, 0.0]]).repeat(engine.num_envs, 1)
    return {
        "base_pos": torch.tensor([[1.0, 2.0, 0.7]]) + values,
        "base_quat": quat,
        "base_lin_vel": torch.tensor([[0.1, 0.2, 0.3]]) + values,
        "base_ang_vel": torch.tensor([[0.4, 0.5, 0.6]]) + values,
        "joint_pos": stance(engine) + 0.1,
        "joint_vel": torch.full((engine.num_envs, 12), 0.7),
    }


@pytest.mark.parametrize("rows", [(), (2,), (0, 3), (0, 1, 2, 3)])
def test_write_state_touches_its_rows_only(rows: tuple[int, ...]) -> None:
    engine = running()
    engine.bad[:] = True
    before, exact_before = live(engine), exact(engine)
    mask, values = only(engine, *rows), written(engine)
    for value in values.values():
        value[~mask] = NAN  # rows of the arguments outside the mask are not looked at
    engine.write_state(mask, **values)
    after = live(engine)
    for name in LIVE:
        assert torch.equal(after[name][~mask], before[name][~mask]), name
    np.testing.assert_array_equal(exact(engine)[~mask], exact_before[~mask])
    for name, value in values.items():
        assert torch.equal(after[name][mask], value[mask]), name
    for name in ("contact_force", "joint_torque", "bad"):
        assert not after[name][mask].any(), name
    assert not engine._warmstart[mask].any() and engine._warmstart[~mask].any(1).all()
    if rows:
        assert ((after["foot_pos"] - before["foot_pos"])[mask].abs() > 0.5).any(-1).all()
        assert ((after["foot_vel"] - before["foot_vel"])[mask] != 0).any(-1).all()


def test_a_written_robot_forgets_its_past() -> None:
    used, fresh = running(), make(4)
    mask = only(used, 1, 2)
    for engine in (used, fresh):
        place(engine, mask)
        for targets in random_targets(engine, 12, seed=30):
            engine.step(targets, 4)
    for name, tensor in live(used).items():
        assert torch.equal(tensor[mask], getattr(fresh, name)[mask]), name


def test_set_base_velocity_changes_the_base_velocity_only() -> None:
    engine = running()
    before = live(engine)
    mask = only(engine, 1, 3)
    linear, angular = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    linear[0] = angular[2] = NAN
    engine.set_base_velocity(mask, linear, angular)
    for name, tensor in live(engine).items():
        assert torch.equal(tensor[~mask], before[name][~mask]), name
        if name not in ("base_lin_vel", "base_ang_vel", "foot_vel"):
            assert torch.equal(tensor, before[name]), name
    assert torch.equal(engine.base_lin_vel[mask], linear[mask])
    assert torch.equal(engine.base_ang_vel[mask], angular[mask])
    # the feet go along with the base
    engine.set_base_velocity(mask, before["base_lin_vel"] + 1.0, before["base_ang_vel"])
    gained = (engine.foot_vel - before["foot_vel"])[mask]
    torch.testing.assert_close(gained, torch.ones_like(gained), rtol=0, atol=1e-5)


@pytest.mark.parametrize("where", ["targets", "early targets", "base_pos", "joint_vel"])
def test_nan_is_flagged_and_stays_with_its_robot(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    engine, twin = running(), running()
    targets = random_targets(engine, 12, seed=31)
    ill, well = only(engine, 2), ~only(engine, 2)
    for k, target in enumerate(targets):
        given, previous, switch = target.clone(), target.clone(), torch.full((4,), 2)
        if k == 3 and where in LIVE:
            state = {name: getattr(engine, name).clone() for name in written(engine)}
            state[where][2, 1] = NAN
            engine.write_state(ill, **state)
        if k == 3 and where == "targets":
            given[2, 5] = NAN
        if k == 3 and where == "early targets":  # back to finite numbers before the step ends
            previous[2, 5] = NAN
        engine.step(given, 4, previous, switch)
        twin.step(target, 4, target, switch)
        assert engine.bad.tolist() == [False, False, k >= 3, False]
        for name in LIVE:
            assert torch.equal(getattr(engine, name)[well], getattr(twin, name)[well]), name
    assert not twin.bad.any()
    assert list(tmp_path.iterdir()) == [], "MuJoCo must not leave its log where the user stands"
    assert capfd.readouterr() == ("", "")

    # a reset makes the robot as good as new
    for each in (engine, twin):
        place(each)
    assert not engine.bad.any()
    for target in targets:
        engine.step(target, 4)
        twin.step(target, 4)
    for name in LIVE:
        assert torch.equal(getattr(engine, name), getattr(twin, name)), name


def test_flying_to_pieces_is_bad_too() -> None:
    engine = make(2)
    place(engine)
    speed = torch.zeros(2, 3)
    speed[1] = 1e12
    engine.set_base_velocity(everyone(engine), speed, torch.zeros(2, 3))
    engine.step(stance(engine), 4)
    assert engine.bad.tolist() == [False, True]


def perturbed(num_envs: int = 4) -> MujocoEngine:
    """A running engine in which everything that can differ between robots does."""
    engine = running(num_envs)
    random = torch.Generator().manual_seed(40)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(num_envs, *shape, generator=random) * (high - low) + low

    engine.set_params(
        everyone(engine),
        friction=uniform(0.3, 1.2),
        base_mass=uniform(20.0, 35.0),
        base_com=uniform(-0.05, 0.05, 3),
        stiffness=uniform(60.0, 100.0, 12),
        damping=uniform(1.0, 3.0, 12),
        effort_limit=uniform(40.0, 80.0, 12),
        joint_damping=uniform(0.0, 0.5, 12),
        armature=uniform(0.01, 0.1, 12),
        friction_loss=uniform(0.0, 1.0, 12),
    )
    engine.gravity += uniform(-0.5, 0.5, 3)
    engine.base_wrench.copy_(uniform(-10.0, 10.0, 6))
    for targets in random_targets(engine, 5, seed=41, spread=0.2):
        engine.step(targets, 4)
    return engine


def assert_same_future(one: MujocoEngine, other: MujocoEngine) -> None:
    names = (*LIVE, "gravity", "base_wrench", "base_mass", "total_mass")
    targets = random_targets(one, 30, seed=42, spread=0.3)
    for k in range(31):
        for name in names:
            assert torch.equal(getattr(one, name), getattr(other, name)), f"{name} after {k} steps"
        np.testing.assert_array_equal(exact(one), exact(other))
        if k < 30:
            one.step(targets[k], 4)
            other.step(targets[k], 4)


@pytest.mark.parametrize("make_saved", [running, perturbed], ids=["shared parameters", "own parameters"])
@pytest.mark.parametrize("make_other", [make, perturbed], ids=["new engine", "used engine"])
def test_a_restored_engine_has_the_same_future(make_saved, make_other) -> None:
    engine = make_saved(4)
    file = io.BytesIO()
    torch.save(engine.state_dict(), file)
    file.seek(0)
    other = make_other(4)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same_future(engine, other)


def test_state_dict_holds_copies() -> None:
    engine = perturbed()
    saved = engine.state_dict()
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    engine.step(stance(engine), 4)
    engine.set_params(everyone(engine), friction=torch.full((4,), 0.1), base_mass=torch.full((4,), 25.0))
    place(engine)
    for name, tensor in saved.items():
        assert torch.equal(tensor, kept[name]), name


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="num_envs"):
        make(3).load_state_dict(make(4).state_dict())
