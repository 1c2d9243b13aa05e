"""Logs of drives, made up or read, and what is learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from envs.drives.actuator_fit import (
    FIELDS,
    FitConfig,
    check_logs,
    fit,
    made_up_logs,
    pd_rms_error,
    read_logs,
    rms_error,
    split,
)
from envs.drives.actuator_net import load_net
from envs.drives.series_elastic import KINDS, DriveLogs, DriveModel, simulate

PD = (80.0, 2.0, 80.0)


def ideal_logs(seed: int = 0) -> DriveLogs:
    """Logs of an ideal PD drive with random inputs."""
    random = torch.Generator().manual_seed(seed)
    error, velocity = torch.randn(2, 16, 60, generator=random) * torch.tensor([0.2, 3.0])[:, None, None]
    return DriveLogs(torch.stack((error, velocity, 80.0 * error - 2.0 * velocity)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_excitation_moves_the_joints_within_reason(kind: str) -> None:
    logs = simulate(kind, 32, 0.5, seed=3, substeps=10)
    assert logs.values.shape == (3, 32, 100) and torch.isfinite(logs.values).all()
    error, velocity = logs.inputs
    assert error.std() > 0.05 and velocity.std() > 0.5 and 5.0 < logs.torque.std() < 80.0
    assert torch.equal(logs.values, simulate(kind, 32, 0.5, seed=3, substeps=10).values)
    assert not torch.equal(logs.values, simulate(kind, 32, 0.5, seed=4, substeps=10).values)
    assert pd_rms_error(logs, *PD) > 2.0


def test_without_its_flaws_the_drive_is_an_ideal_pd() -> None:
    flawless = DriveModel(
        delay=0.0, coulomb=0.0, viscous=0.0, rotor_inertia=0.005, stall_torque=1e6, deflection_damping=2.0
    )
    logs, real = (simulate("sines", 32, 0.5, 1, drive) for drive in (flawless, DriveModel()))
    assert pd_rms_error(logs, *PD) < 0.4 * pd_rms_error(real, *PD)


@pytest.mark.parametrize("kind", ["lstm", "mlp"])
def test_a_network_learns_a_simple_drive(kind: str) -> None:
    cfg = FitConfig(kind, hidden=8, layers=1, lags=(0, 1), updates=100, batch_size=16, length=40)  # type: ignore[arg-type]
    net, unseen = fit(ideal_logs(), cfg), ideal_logs(seed=1)
    assert rms_error(net, unseen) < 0.3 * float(unseen.torque.std())
    assert net.info.kind == kind and net.info.timestep == 0.005


def test_the_shipped_network_is_far_better_than_an_ideal_pd() -> None:
    test = made_up_logs(("sines", "walking"), 32, 1.0, seed=12345)
    assert rms_error(load_net("anymal_c_actuator"), test) < 0.5 * pd_rms_error(test, *PD)


def test_logs_are_read_from_npz_and_csv(tmp_path: Path) -> None:
    logs = ideal_logs()
    columns = dict(zip(FIELDS, logs.values.numpy(), strict=True))
    np.savez(tmp_path / "logs.npz", **columns, timestep=0.0025)
    with (tmp_path / "logs.csv").open("w") as file:
        file.write("sequence,time,torque,velocity,position_error\n")
        for s in range(16):
            for t in range(60):
                row = (columns[name][s, t] for name in ("torque", "velocity", "position_error"))
                file.write(f"{s},{0.0025 * t},{','.join(map(str, row))}\n")
    for name in ("logs.npz", "logs.csv"):
        read = read_logs(tmp_path / name)
        torch.testing.assert_close(read.values, logs.values)
        assert read.timestep == pytest.approx(0.0025)
    first, last = split(logs)
    assert torch.equal(torch.cat((first.values, last.values), 2), logs.values)
    assert last.values.shape == (3, 16, 12)


def test_wrong_logs_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no logs at"):
        read_logs(tmp_path / "none.npz")
    path = tmp_path / "logs.npz"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="neither an NPZ"):
        read_logs(path)
    columns = dict.fromkeys(FIELDS, np.ones((2, 30)))
    np.savez(path, position_error=columns["torque"], velocity=columns["torque"], torques=columns["torque"])
    with pytest.raises(ValueError, match="has no 'torque'. Did you mean torques"):
        read_logs(path)
    np.savez(path, **columns | {"torque": np.ones((2, 29))})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="all alike"):
        read_logs(path)
    np.savez(path, **columns | {"torque": np.full((2, 30), np.nan)})
    with pytest.raises(ValueError, match="not finite"):
        read_logs(path)
    (tmp_path / "logs.csv").write_text("position_error,velocity,torque\n1,2,3\n1,2\n")
    with pytest.raises(ValueError, match="neither an NPZ"):
        read_logs(tmp_path / "logs.csv")
    for text in ("", "position_error,velocity,torque\n"):
        (tmp_path / "logs.csv").write_text(text)
        with pytest.raises(ValueError, match="neither an NPZ.*no rows"):
            read_logs(tmp_path / "logs.csv")
    np.save(tmp_path / "logs.npy", np.ones((3, 30)))
    with pytest.raises(ValueError, match="neither an NPZ"):
        read_logs(tmp_path / "logs.npy")


def test_logs_that_nothing_can_be_learned_from_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than 10 samples, not 8"):
        fit(DriveLogs(torch.randn(3, 2, 8)), FitConfig())
    values = torch.randn(3, 2, 45)
    with pytest.raises(ValueError, match="held out: sequences must be longer than 10 samples, not 9"):
        check_logs(split(DriveLogs(values))[1], "held out")
    values[1] = 0.5
    check_logs(DriveLogs(values), "held out")  # to judge by it will do
    with pytest.raises(ValueError, match="velocity never changes"):
        fit(DriveLogs(values), FitConfig())


def test_a_drive_takes_a_timestep_read_from_a_clock(tmp_path: Path) -> None:
    rows = [f"{1.8e9 + 0.005 * t},{t},{t},{t}" for t in range(30)]
    (tmp_path / "logs.csv").write_text("\n".join(["time,position_error,velocity,torque", *rows]))
    assert read_logs(tmp_path / "logs.csv").timestep == 0.005
