"""Writing, saving and restoring the state of some or all robots, and what happens to one that goes bad."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.physics.common import (
    LIVE,
    AnyEngine,
    everyone,
    live,
    make,
    memory,
    only,
    place,
    random_targets,
    scatter,
    stance,
)

NAN = float("nan")


def running(engine_class: type[AnyEngine], num_envs: int = 4, seed: int = 21) -> AnyEngine:
    """Robots that have moved and touch the ground, so that warm starts, forces and torques are not zero."""
    engine = make(num_envs, engine_class=engine_class)
    scatter(engine, seed, height=0.5)
    for targets in random_targets(engine, 12, seed + 1, spread=0.2):
        engine.step(targets, 4)
    assert engine.contact_force[..., 2].sum(1).gt(1.0).all() and engine.joint_torque.any(1).all()
    return engine


def written(engine: AnyEngine) -> dict[str, Tensor]:
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
def test_write_state_touches_its_rows_only(rows: tuple[int, ...], engine_class) -> None:
    engine = running(engine_class)
    before, memory_before = live(engine), memory(engine)
    mask, values = only(engine, *rows), written(engine)
    for value in values.values():
        value[~mask] = NAN  # rows of the arguments outside the mask are not looked at
    engine.write_state(mask, **values)
    after = live(engine)
    for name in LIVE:
        assert torch.equal(after[name][~mask], before[name][~mask]), name
    for name, tensor in memory(engine).items():
        assert torch.equal(tensor[~mask], memory_before[name][~mask]), name
    for name, value in values.items():
        torch.testing.assert_close(after[name][mask], value[mask], rtol=0, atol=1e-7, msg=name)
    for name in ("contact_force", "joint_torque", "bad"):
        assert not after[name][mask].any(), name
    if rows:
        assert ((after["foot_pos"] - before["foot_pos"])[mask].abs() > 0.5).any(-1).all()
        assert ((after["foot_vel"] - before["foot_vel"])[mask] != 0).any(-1).all()


def test_a_written_robot_forgets_its_past(engine_class) -> None:
    used, fresh = running(engine_class), make(4, engine_class=engine_class)
    mask = only(used, 1, 2)
    for engine in (used, fresh):
        place(engine, mask)
        for targets in random_targets(engine, 12, seed=30):
            engine.step(targets, 4)
    for name, tensor in live(used).items():
        assert torch.equal(tensor[mask], getattr(fresh, name)[mask]), name


def test_set_base_velocity_changes_the_base_velocity_only(engine_class) -> None:
    engine = running(engine_class)
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
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    engine_class,
) -> None:
    monkeypatch.chdir(tmp_path)
    engine, twin = running(engine_class), running(engine_class)
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


def test_flying_to_pieces_is_bad_too(engine_class) -> None:
    engine = make(2, engine_class=engine_class)
    place(engine)
    speed = torch.zeros(2, 3)
    speed[1] = 1e30
    engine.set_base_velocity(everyone(engine), speed, speed)
    engine.step(stance(engine), 4)
    assert engine.bad.tolist() == [False, True]


def perturbed(engine_class: type[AnyEngine], num_envs: int = 4) -> AnyEngine:
    """A running engine in which everything that can differ between robots does."""
    engine = running(engine_class, num_envs)
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


def fresh(engine_class: type[AnyEngine], num_envs: int = 4) -> AnyEngine:
    return make(num_envs, engine_class=engine_class)


def assert_same_future(one: AnyEngine, other: AnyEngine) -> None:
    names = (*LIVE, "gravity", "base_wrench", "base_mass", "total_mass")
    targets = random_targets(one, 30, seed=42, spread=0.3)
    for k in range(31):
        for name in names:
            assert torch.equal(getattr(one, name), getattr(other, name)), f"{name} after {k} steps"
        for name, tensor in memory(one).items():
            assert torch.equal(tensor, memory(other)[name]), f"{name} after {k} steps"
        if k < 30:
            one.step(targets[k], 4)
            other.step(targets[k], 4)


@pytest.mark.parametrize("make_saved", [running, perturbed], ids=["shared parameters", "own parameters"])
@pytest.mark.parametrize("make_other", [fresh, perturbed], ids=["new engine", "used engine"])
def test_a_restored_engine_has_the_same_future(make_saved, make_other, engine_class) -> None:
    engine = make_saved(engine_class)
    file = io.BytesIO()
    torch.save(engine.state_dict(), file)
    file.seek(0)
    other = make_other(engine_class)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same_future(engine, other)


def test_state_dict_holds_copies(engine_class) -> None:
    engine = perturbed(engine_class)
    saved = engine.state_dict()
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    engine.step(stance(engine), 4)
    engine.set_params(everyone(engine), friction=torch.full((4,), 0.1), base_mass=torch.full((4,), 25.0))
    place(engine)
    for name, tensor in saved.items():
        assert torch.equal(tensor, kept[name]), name


def test_a_state_of_another_size_is_refused(engine_class) -> None:
    with pytest.raises(ValueError, match="num_envs"):
        fresh(engine_class, 3).load_state_dict(fresh(engine_class, 4).state_dict())
