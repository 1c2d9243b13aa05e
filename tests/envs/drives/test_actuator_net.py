"""Actuator networks: compiled code is the module, files of others load, wrong files are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from envs.drives.actuator_fit import LSTMNet, MLPNet
from envs.drives.actuator_net import COLUMNS, ActuatorNet, NetInfo, load_net, save_net

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")


class ScaledLSTM(nn.Module):
    """An LSTM with more to it than its weights show; its input is [1, M, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 4, 1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.lstm(3.0 * x, state)
        return 50.0 * torch.tanh(self.head(y)), state


class Picture(nn.Module):
    """Not an actuator network, though it has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def mlp(activation: nn.Module, inputs: int = 6, hidden: int = 10) -> nn.Module:
    layers = (
        nn.Linear(inputs, hidden),
        activation,
        nn.Linear(hidden, hidden),
        activation,
        nn.Linear(hidden, 1),
    )
    return nn.Sequential(*layers)


def scripted(module: nn.Module, seed: int = 0) -> torch.jit.ScriptModule:
    """With large weights, so that every nonlinearity is used to its ends."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return torch.jit.script(module)


def sequence(steps: int = 40, columns: int = 2 * COLUMNS) -> Tensor:
    """Position errors and velocities [steps, 2, columns]; a few huge ones at the end."""
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(steps, 2, columns, generator=random) * torch.tensor([[0.3], [5.0]])
    inputs[-3:] *= 1e6
    return inputs


def torques(net: ActuatorNet, inputs: Tensor) -> Tensor:
    """Torques [steps, columns], from an empty memory."""
    memory = torch.zeros(*net.memory_shape, inputs.shape[2])
    out = torch.zeros(len(inputs), inputs.shape[2])
    for x, torque in zip(inputs, out, strict=True):
        net(x, memory, torque)
    return out


@torch.no_grad()
def expected_lstm(module: nn.Module, inputs: Tensor) -> Tensor:
    """The module over the whole sequence at once."""
    zero = torch.zeros(module.lstm.num_layers, inputs.shape[2], module.lstm.hidden_size)  # type: ignore[union-attr, arg-type]
    return module(inputs.permute(2, 0, 1), (zero, zero))[0].squeeze(2).T


@needs_compiler
@pytest.mark.parametrize(("hidden", "layers"), [(8, 2), (3, 3)])
def test_compiled_lstm_is_the_module(hidden: int, layers: int) -> None:
    module, inputs = LSTMNet(hidden, layers), sequence()
    net = ActuatorNet(scripted(module), NetInfo(), "a test")
    assert net.kernel is not None
    torch.testing.assert_close(torques(net, inputs), expected_lstm(module, inputs), rtol=0, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("activation", [nn.Softsign(), nn.ELU(), nn.Tanh(), nn.ReLU()])
def test_compiled_mlp_is_the_module(activation: nn.Module) -> None:
    module, inputs, lags = mlp(activation), sequence()[:-3], (0, 2, 3)
    net = ActuatorNet(scripted(module), NetInfo("mlp", lags=lags), "a test")
    assert net.kernel is not None
    past = torch.cat((torch.zeros(3, *inputs.shape[1:]), inputs))
    columns = [past[3 - lag : 3 - lag + len(inputs), k] for k in (0, 1) for lag in lags]
    with torch.no_grad():
        expected = module(torch.stack(columns, 2)).squeeze(2)
    scale = float(expected.abs().max())
    torch.testing.assert_close(torques(net, inputs), expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", ["lstm", "mlp"])
def test_without_a_compiler_the_module_does_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = scripted(LSTMNet(8, 2) if kind == "lstm" else mlp(nn.ELU()))
    info = NetInfo(kind, lags=(0, 1, 2), error_scale=0.5, velocity_scale=0.2, torque_scale=3.0)  # type: ignore[arg-type]
    with_kernel = ActuatorNet(module, info, "a test")
    monkeypatch.setenv("CXX", "/nowhere")
    monkeypatch.setattr("envs.drives.actuator_net.build", no_compiler)
    without = ActuatorNet(module, info, "a test")
    assert without.kernel is None
    inputs = sequence()[:-3]
    torch.testing.assert_close(torques(with_kernel, inputs), torques(without, inputs), rtol=1e-4, atol=1e-4)


def no_compiler(source: str) -> None:
    from native import NoCompiler

    raise NoCompiler("none here")


def test_what_is_not_a_plain_network_runs_as_it_is(tmp_path: Path) -> None:
    module, inputs = ScaledLSTM(), sequence()
    torch.jit.save(scripted(module), str(tmp_path / "net.pt"))
    net = load_net(tmp_path / "net.pt")
    assert net.kernel is None
    zero = torch.zeros(1, inputs.shape[2], 4)
    with torch.no_grad():
        expected = module(inputs.transpose(1, 2), (zero, zero))[0].squeeze(2)
    torch.testing.assert_close(torques(net, inputs), expected, rtol=1e-4, atol=1e-4)


def test_files_of_others_say_what_they_are(tmp_path: Path) -> None:
    for name, module in (("lstm", LSTMNet(8, 2)), ("mlp", mlp(nn.Softsign(), inputs=4))):
        torch.jit.save(scripted(module), str(tmp_path / f"{name}.pt"))
    lstm, feed = load_net(tmp_path / "lstm.pt"), load_net(str(tmp_path / "mlp.pt"))
    assert lstm.info == NetInfo("lstm") and lstm.memory_shape == (2, 2, 8)
    assert feed.info == NetInfo("mlp", lags=(0, 1))


def test_metadata_survives_the_file(tmp_path: Path) -> None:
    info = NetInfo("mlp", 0.005, [0, 2, 4], 1.5, 0.1, 40.0, "by hand")
    save_net(scripted(MLPNet(10, 2, (0, 2, 4))), info, tmp_path / "net.pt")
    assert load_net(tmp_path / "net.pt").info == info


def test_the_shipped_network_is_found_by_name() -> None:
    assert load_net("anymal_c_actuator").info == load_net("anymal_c_actuator.pt").info
    assert load_net("anymal_c_actuator").info.timestep == 0.005


def test_wrong_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="no actuator network 'anymal_c_actuater'.*Did you mean anymal_c_actuator"
    ):
        load_net("anymal_c_actuater")
    path = tmp_path / "net.pt"
    path.write_text("no network")
    with pytest.raises(ValueError, match="net.pt is not a TorchScript file"):
        load_net(path)
    torch.jit.save(scripted(Picture()), str(path))
    with pytest.raises(ValueError, match="does not map"):
        load_net(path)
    torch.jit.save(scripted(nn.Conv1d(1, 1, 3)), str(path))
    with pytest.raises(ValueError, match="neither an LSTM nor an MLP"):
        load_net(path)
    save_net(scripted(mlp(nn.ELU())), NetInfo("lstm"), path)
    with pytest.raises(ValueError, match="holds no LSTM"):
        load_net(path)
