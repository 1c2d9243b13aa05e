"""scripts/train_actuator_net.py as a user meets it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from envs.drives.actuator_net import load_net
from scripts.train_actuator_net import main

SMALL = ["--fit.updates", "20", "--fit.batch_size", "16", "--fit.length", "40"]


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train_actuator_net.py", *flags])
    assert main() == 0


def test_made_up_logs_become_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.pt"
    run(monkeypatch, "--drives", "8", "--seconds", "0.3", "--out", str(out), *SMALL)
    printed = capsys.readouterr().out
    assert "RMS torque error on made-up sines" in printed and "ideal PD drive" in printed
    net = load_net(out)
    assert net.info.kind == "lstm" and net.info.timestep == 0.005
    assert "--drives 8 --seconds 0.3" in net.info.made_by and "N m" in net.info.made_by


def test_a_users_logs_become_an_mlp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "logs.npz", tmp_path / "net.pt"
    error, velocity = np.random.default_rng(0).normal(size=(2, 4, 200))
    np.savez(data, position_error=error, velocity=velocity, torque=30 * error - velocity, timestep=0.01)
    flags = "--data", str(data), "--out", str(out), "--fit.kind", "mlp", "--fit.lags", "0", "3"
    run(monkeypatch, *flags, *SMALL)
    assert "the last fifth" in capsys.readouterr().out
    assert load_net(out).info.timestep == 0.01 and tuple(load_net(out).info.lags) == (0, 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "nothing.npz"], ["no logs at nothing.npz"]),
        (["--robot", "anymal"], ["unknown robot 'anymal'", "anymal_c"]),
        (["--drives", "0"], ["must be positive"]),
        (["--out", "nowhere/net.pt"], ["folder", "nowhere"]),
        (["--fit.update", "3"], ["unknown flag", "--fit.updates"]),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], words: list[str]
) -> None:
    with pytest.raises(ValueError) as error:
        run(monkeypatch, *flags)
    for word in words:
        assert word in str(error.value)
