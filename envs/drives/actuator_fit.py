"""Fits actuator networks to logs of drives."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from envs.drives.actuator_net import COLUMNS, ActuatorNet, NetInfo, torchscript
from envs.drives.series_elastic import DriveLogs, simulate
from robots.config import nearest

FIELDS = ("position_error", "velocity", "torque")
"""Columns of logs: rad, rad/s, N m."""
SETTLING = 10
"""Samples at the start of a sequence that do not count: the network has to find out what the drive is doing."""


@dataclass
class FitConfig:
    """How a network is fitted."""

    kind: Literal["lstm", "mlp"] = "lstm"
    """LSTM as in the reference, or an MLP with softsign."""
    hidden: int = 8
    """Units of a layer; 32 is usual for an MLP."""
    layers: int = 2
    """Hidden layers; 3 are usual for an MLP."""
    lags: tuple[int, ...] = (0, 1, 2, 4)
    """MLP: ages of its inputs, in samples."""
    updates: int = 3000
    """Steps of Adam."""
    batch_size: int = 256
    """Pieces of sequences per update."""
    length: int = 80
    """Samples per piece."""
    learning_rate: float = 1e-2
    """At the start; falls to zero along a cosine."""
    seed: int = 1


class LSTMNet(nn.Module):
    """An LSTM and a linear layer, in the reference's form; inputs and torque in SI units."""

    def __init__(self, hidden: int, layers: int):
        """Random weights."""
        super().__init__()
        self.lstm = nn.LSTM(2, hidden, layers, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Input [M, T, 2], state 2 x [layers, M, hidden] -> torque [M, T, 1], state."""
        y, state = self.lstm(x, state)
        return self.linear(y), state

    def torques(self, x: Tensor) -> Tensor:
        """Torques [M, T] of whole sequences [M, T, 2]."""
        zero = x.new_zeros(self.lstm.num_layers, len(x), self.lstm.hidden_size)
        return self(x, (zero, zero))[0].squeeze(2)

    def ends(self) -> tuple[Tensor, nn.Linear]:
        """Weights that take the input, and the layer that gives the torque."""
        return self.lstm.weight_ih_l0, self.linear  # type: ignore[return-value]


class MLPNet(nn.Module):
    """Layers with softsign over a history of inputs; inputs and torque in SI units."""

    def __init__(self, hidden: int, layers: int, lags: tuple[int, ...]):
        """Random weights."""
        super().__init__()
        sizes = [2 * len(lags), *[hidden] * layers]
        parts: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            parts += [nn.Linear(inputs, outputs), nn.Softsign()]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden, 1))
        self.lags = list(lags)

    def forward(self, x: Tensor) -> Tensor:
        """K position errors, then K velocities [M, 2 K] -> torque [M, 1]."""
        return self.layers(x)

    @torch.jit.unused
    def torques(self, x: Tensor) -> Tensor:
        """Torques [M, T] of whole sequences [M, T, 2]."""
        past = nn.functional.pad(x, (0, 0, max(self.lags), 0))
        start, length = max(self.lags), x.shape[1]
        columns = [past[:, start - lag : start - lag + length, k] for k in (0, 1) for lag in self.lags]
        return self.layers(torch.stack(columns, 2)).squeeze(2)

    @torch.jit.unused
    def ends(self) -> tuple[Tensor, Any]:
        """Weights that take the input, and the layer that gives the torque."""
        return self.layers[0].weight, self.layers[-1]  # type: ignore[return-value]


def fit(logs: DriveLogs, cfg: FitConfig) -> ActuatorNet:
    """A network that gives the logs' torques; takes about 20 ms per update on one core.

    Gradients go back through pieces of `length` samples that start with an empty memory.
    """
    check_logs(logs, "logs to fit", still=False)
    torch.manual_seed(cfg.seed)
    net = LSTMNet(cfg.hidden, cfg.layers) if cfg.kind == "lstm" else MLPNet(cfg.hidden, cfg.layers, cfg.lags)
    sequences, samples = logs.torque.shape
    length = min(cfg.length, samples)
    scale, torque_scale = logs.inputs.std((1, 2)), logs.torque.std()
    x = logs.inputs.permute(1, 2, 0) / scale
    y = logs.torque / torque_scale
    optimiser = torch.optim.Adam(net.parameters(), cfg.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, cfg.updates)
    for _ in range(cfg.updates):
        rows = torch.randint(sequences, (cfg.batch_size, 1))
        columns = torch.randint(samples - length + 1, (cfg.batch_size, 1)) + torch.arange(length)
        error = net.torques(x[rows, columns]) - y[rows, columns]
        optimiser.zero_grad()
        error[:, SETTLING:].square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    # Scales move into the weights, so that the file needs none.
    with torch.no_grad():
        first, last = net.ends()
        first /= scale if cfg.kind == "lstm" else scale.repeat_interleave(len(cfg.lags))
        last.weight *= torque_scale
        last.bias *= torque_scale
    with torchscript():
        script = torch.jit.script(net)
    info = NetInfo(cfg.kind, logs.timestep, list(cfg.lags) if cfg.kind == "mlp" else [])
    return ActuatorNet(script, info, "the fitted network")


def rms_error(net: ActuatorNet, logs: DriveLogs) -> float:
    """Root mean square of the network's torque error over whole sequences, N m."""
    drives, samples = logs.torque.shape
    padded = -(-drives // COLUMNS) * COLUMNS
    memory, torque = torch.zeros(*net.memory_shape, padded), torch.zeros(padded)
    inputs, total = torch.zeros(2, padded), 0.0
    for t in range(samples):
        inputs[:, :drives] = logs.inputs[:, :, t]
        net(inputs, memory, torque)
        if t >= SETTLING:
            total += float((torque[:drives] - logs.torque[:, t]).square().sum())
    return (total / (drives * (samples - SETTLING))) ** 0.5


def pd_rms_error(logs: DriveLogs, stiffness: float, damping: float, effort_limit: float) -> float:
    """The same of an ideal PD drive, N m."""
    error, velocity = logs.inputs
    torque = stiffness * error - damping * velocity
    error = torque.clamp(-effort_limit, effort_limit) - logs.torque
    return float(error[:, SETTLING:].square().mean().sqrt())


def check_logs(logs: DriveLogs, what: str, still: bool = True) -> None:
    """ValueError for what nothing can be learned from, or judged by.

    Args:
        logs: of drives.
        what: what they are, for the sentence.
        still: whether a column that never changes will do.
    """
    if (samples := logs.torque.shape[1]) <= SETTLING:
        raise ValueError(f"{what}: sequences must be longer than {SETTLING} samples, not {samples}")
    for name, column in zip(FIELDS, logs.values, strict=True):
        if not still and column.min() == column.max():
            raise ValueError(f"{what}: {name} never changes")


def made_up_logs(kinds: tuple[str, ...], num_drives: int, seconds: float, seed: int) -> DriveLogs:
    """Logs of the series-elastic drive model, `num_drives` of each kind of excitation."""
    parts = [simulate(kind, num_drives, seconds, seed + i) for i, kind in enumerate(kinds)]
    return DriveLogs(torch.cat([part.values for part in parts], 1), parts[0].timestep)


def read_logs(path: Path) -> DriveLogs:
    """Read logs of a drive.

    Args:
        path: an NPZ with arrays `position_error` (target - position, rad), `velocity` (rad/s) and `torque`
            (N m), each [samples] or [sequences, samples], and optionally `timestep` (s, else 0.005); or a CSV
            with a header of these names, a row per sample, and optionally columns `sequence` (a new sequence
            starts where it changes; all must be equally long) and `time` (s).

    Raises:
        ValueError: the file is missing, is neither, or lacks one of them.
    """
    if not path.is_file():
        raise ValueError(f"no logs at {path}")
    try:
        columns = _read_csv(path) if path.suffix == ".csv" else dict(np.load(path))
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(
            f"{path} is neither an NPZ of numbers nor a CSV (by its ending) ({error})"
        ) from error
    for name in FIELDS:
        if name not in columns:
            raise ValueError(f"{path} has no {name!r}.{nearest(name, list(columns))}")
    values = [torch.from_numpy(np.atleast_2d(columns[name]).astype(np.float32)) for name in FIELDS]
    if len({value.shape for value in values}) > 1 or values[0].dim() != 2:
        raise ValueError(f"{', '.join(FIELDS)} of {path} must be [sequences, samples], all alike")
    if not all(torch.isfinite(value).all() for value in values):
        raise ValueError(f"{path} holds numbers that are not finite")
    return DriveLogs(torch.stack(values), float(columns.get("timestep", 0.005)))


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open() as file:
        rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise ValueError("it has no rows")
    table = np.array(rows[1:], dtype=np.float64)
    columns = dict(zip([name.strip() for name in rows[0]], table.T, strict=True))
    if "time" in columns:
        # the clock of a computer has no digits left for less than a microsecond
        columns["timestep"] = np.round(np.median(np.diff(columns["time"])), 6)
    if "sequence" in columns:
        count = 1 + np.count_nonzero(np.diff(columns["sequence"]))
        columns |= {name: columns[name].reshape(count, -1) for name in FIELDS if name in columns}
    return columns


def split(logs: DriveLogs) -> tuple[DriveLogs, DriveLogs]:
    """The first four fifths of every sequence, and the last fifth."""
    at = logs.torque.shape[1] * 4 // 5
    return DriveLogs(logs.values[..., :at], logs.timestep), DriveLogs(logs.values[..., at:], logs.timestep)
