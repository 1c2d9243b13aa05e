"""Actuator networks: what a drive's torque is, learned from logs of position error, velocity and torque.

A network is a TorchScript file with one of two forms, for M joints at once:

- LSTM: `forward(x [M, 1, 2], (h, c)) -> (torque, (h, c))` with h, c [layers, M, hidden]; x is the position error
  (target - position, rad) and the velocity (rad/s). `[1, M, 2]` is accepted as well.
- MLP: `forward(x [M, 2 K]) -> torque`; x is K position errors, then K velocities, each at `lags` physics steps
  before now.

A plain LSTM + Linear, and a plain MLP, run as compiled code on the CPU; all others, and all on a GPU, as they are.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from native import SIMD, NoCompiler, build
from robots.config import nearest

ROBOTS = Path(__file__).parents[2] / "robots"
"""Where networks that come with the project lie."""
METADATA = "actuator.json"
"""Name of the file with `NetInfo` inside a TorchScript file."""
COLUMNS = 32
"""The compiled code takes joints in groups that divide this."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softsign": F.softsign,
    "elu": F.elu,
    "vtanh": torch.tanh,
    "relu": F.relu,
}
"""Name in actuator_net.cpp -> function."""


@dataclass
class NetInfo:
    """What a network's weights do not say."""

    kind: Literal["lstm", "mlp"] = "lstm"
    """Form of the network."""
    timestep: float = 0.0
    """Time between two of its inputs, s; 0 if unknown."""
    lags: Sequence[int] = ()
    """MLP: ages of its inputs, in time steps, in the order in which it takes them."""
    error_scale: float = 1.0
    """Input = error_scale x position error (rad)."""
    velocity_scale: float = 1.0
    """Input = velocity_scale x velocity (rad/s)."""
    torque_scale: float = 1.0
    """Torque (N m) = torque_scale x output."""
    made_by: str = ""
    """Command that made it, and what it is worth."""


@contextmanager
def torchscript() -> Iterator[None]:
    """Where TorchScript is used: torch calls it deprecated, but it is what networks of drives come in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        yield


def save_net(module: torch.jit.ScriptModule, info: NetInfo, path: Path) -> None:
    """Write a TorchScript file with its metadata."""
    with torchscript():
        torch.jit.save(module, str(path), _extra_files={METADATA: json.dumps(asdict(info))})


class ActuatorNet:
    """A loaded network."""

    def __init__(self, module: Any, info: NetInfo, name: str, device: torch.device | str = "cpu"):
        """Take a scripted module; ValueError where it has neither form.

        Args:
            module: the TorchScript module.
            info: its metadata.
            name: what messages call it.
            device: where it runs.
        """
        self.module = module.float().eval().to(device)
        self.info = info
        self._state = {key: value.detach() for key, value in self.module.state_dict().items()}
        self._sequence_first = False
        self.memory_shape = self._memory_shape(name)
        """Rows of memory in front of the joints': LSTM [hidden and cell, layers, units], MLP [2, steps]."""
        self._check_form(name, torch.device(device))
        self.kernel = self._compile() if torch.device(device).type == "cpu" else None
        """Compiled code, if it computes the same as the module."""

    def _memory_shape(self, name: str) -> tuple[int, ...]:
        if self.info.kind == "mlp":
            return 2, max(self.info.lags) + 1
        hidden = [value for key, value in self._state.items() if re.search(r"weight_hh_l\d+$", key)]
        if not hidden:
            raise ValueError(f"{name} holds no LSTM, though it is said to be one")
        return 2, len(hidden), hidden[0].shape[1]

    @torch.no_grad()
    def _check_form(self, name: str, device: torch.device) -> None:
        """Try it on a few joints, an LSTM with both orders of its input."""
        inputs, torque = torch.ones(2, 3, device=device), torch.zeros(3, device=device)
        for self._sequence_first in (False, True):
            try:
                self._run_module(inputs, torch.zeros(*self.memory_shape, 3, device=device), torque)
                return
            except (torch.jit.Error, RuntimeError, TypeError, ValueError, AttributeError):
                continue
        raise ValueError(
            f"{name} does not map {'[M, 1, 2] and (h, c)' if self.info.kind == 'lstm' else '[M, 2 K]'} to a "
            "torque per joint as an actuator network does"
        )

    @torch.no_grad()
    def __call__(self, inputs: Tensor, memory: Tensor, torque: Tensor) -> None:
        """Advance by one physics step.

        Args:
            inputs: position error (rad) and velocity (rad/s), [2, ...].
            memory: [*memory_shape, ...], changed in place.
            torque: written, N m, [...].
        """
        if self.kernel is None:
            self._run_module(inputs, memory, torque)
            return
        inputs = self._scaled(inputs)
        if self.info.kind == "mlp":
            inputs = self._remember(inputs, memory)
        self.kernel(inputs, memory, torque)
        if self.info.torque_scale != 1.0:
            torque *= self.info.torque_scale

    def _scaled(self, inputs: Tensor) -> Tensor:
        info = self.info
        if info.error_scale == info.velocity_scale == 1.0:
            return inputs
        return torch.stack((inputs[0] * info.error_scale, inputs[1] * info.velocity_scale))

    def _remember(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """Take an input into an MLP's history; returns [2 K, ...]."""
        memory[:, 1:] = memory[:, :-1].clone()
        memory[:, 0] = inputs
        return torch.stack([memory[:, lag] for lag in self.info.lags], 1).flatten(0, 1)

    def _run_module(self, inputs: Tensor, memory: Tensor, torque: Tensor) -> None:
        x = self._scaled(inputs)
        if self.info.kind == "mlp":
            output = self.module(self._remember(x, memory).flatten(1).T)
        else:
            dim = 0 if self._sequence_first else 1
            state = memory.flatten(3).transpose(2, 3).contiguous()
            output, after = self.module(x.flatten(1).T.unsqueeze(dim).contiguous(), (state[0], state[1]))
            if after[0].shape != state[0].shape:
                raise ValueError("the hidden state changes its shape")
            memory.copy_(torch.stack(tuple(after)).transpose(2, 3).reshape(memory.shape))
        torque.copy_(output.reshape(torque.shape) * self.info.torque_scale)

    # ------------------------------------------------------------------ compiled code

    def _compile(self) -> Kernel | None:
        """Compiled code if the module is what its weights look like, found by trying."""
        try:
            kernel = self._lstm_kernel() if self.info.kind == "lstm" else self._mlp_kernel()
        except NoCompiler:
            return None
        if kernel is None:
            return None
        random = torch.Generator().manual_seed(0)
        memories = [torch.zeros(*self.memory_shape, COLUMNS) for _ in range(2)]
        for _ in range(20):
            inputs = torch.randn(2, COLUMNS, generator=random)
            torques = torch.zeros(2, COLUMNS)
            self.kernel = None
            self(inputs, memories[0], torques[0])
            self.kernel = kernel
            self(inputs, memories[1], torques[1])
            if not torch.allclose(torques[0], torques[1], rtol=1e-4, atol=1e-4 * float(torques.abs().max())):
                return None
        return kernel

    def _lstm_kernel(self) -> Kernel | None:
        _, layers, hidden = self.memory_shape
        packed, state = [], dict(self._state)
        prefix = next(key for key in state if key.endswith("weight_hh_l0")).removesuffix("weight_hh_l0")
        for layer in range(layers):
            parts = [
                state.pop(f"{prefix}{part}_l{layer}", None)
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            if any(part is None or len(part) != 4 * hidden for part in parts):
                return None
            both = torch.cat(parts[:2], 1), parts[2] + parts[3]
            gates = (x.unflatten(0, (4, hidden)) for x in both)
            # gates of a unit side by side, each scaled to the power of 2 that its sigmoid (or tanh) needs
            exponents = torch.tensor([-1.0, -1.0, -2.0, -1.0]) / math.log(2.0)
            packed.append(_pack(*(torch.einsum("g,gu...->ug...", exponents, x).flatten(0, 1) for x in gates)))
        linear = _linear_layers(state)
        if linear is None or [tuple(weight.shape) for weight, _ in linear] != [(1, hidden)]:
            return None
        packed.append(_pack(*linear[0]))
        sizes = f"#define INPUTS 2\n#define HIDDEN {hidden}\n#define LAYERS {layers}\n"
        return Kernel(sizes, torch.cat(packed))

    def _mlp_kernel(self) -> Kernel | None:
        linear = _linear_layers(self._state)
        if not linear:
            return None
        sizes = [linear[0][0].shape[1], *(len(bias) for _, bias in linear)]
        fits = all(weight.shape[1] == size for (weight, _), size in zip(linear, sizes[:-1], strict=True))
        if not fits or sizes[-1] != 1:
            return None
        x = torch.randn(8, sizes[0], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = self.module(x).flatten()
        for name, activation in ACTIVATIONS.items():
            y = x
            for i, (weight, bias) in enumerate(linear):
                y = F.linear(activation(y) if i else y, weight, bias)
            if torch.allclose(y.flatten(), expected, rtol=1e-4, atol=1e-5):
                text = ", ".join(map(str, sizes))
                header = f"#define INPUTS {sizes[0]}\n#define SIZES {text}\n#define ACTIVATION {name}\n"
                return Kernel(header, torch.cat([_pack(*layer) for layer in linear]))
        return None


class Kernel:
    """actuator_net.cpp for one size of network."""

    def __init__(self, sizes: str, weights: Tensor):
        """Compile, or load from the cache; NoCompiler where that is impossible."""
        source = (Path(__file__).parent / "native/actuator_net.cpp").read_text()
        self._run = build(SIMD.read_text() + sizes + source).actuator_net
        self._weights = weights.float().contiguous()

    def __call__(self, inputs: Tensor, memory: Tensor, torque: Tensor) -> None:
        """See `ActuatorNet`; contiguous, and a multiple of COLUMNS joints."""
        self._run(
            *(ctypes.c_void_p(x.data_ptr()) for x in (self._weights, inputs, memory, torque)),
            ctypes.c_long(torque.numel()),
            ctypes.c_int(torch.get_num_threads()),
        )


def _pack(weight: Tensor, bias: Tensor) -> Tensor:
    """Weights [OUT, IN] and bias [OUT] as `dense` in actuator_net.cpp reads them."""
    rows = torch.cat((bias.unsqueeze(1), weight), 1)
    rows = F.pad(rows, (0, 0, 0, -len(rows) % 4))
    return rows.unflatten(0, (-1, 4)).transpose(1, 2).flatten().cpu()


def _linear_layers(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]] | None:
    """Weight and bias of each layer, in order; None if there is anything else."""
    weights = [key for key, value in state.items() if key.endswith("weight") and value.dim() == 2]
    biases = [key.removesuffix("weight") + "bias" for key in weights]
    if set(weights) | set(biases) != set(state):
        return None
    return [(state[weight], state[bias]) for weight, bias in zip(weights, biases, strict=True)]


def load_net(file: str | Path, device: torch.device | str = "cpu") -> ActuatorNet:
    """Read an actuator network.

    Args:
        file: a path, or the name of one in robots/ (its `.pt` may be left out).
        device: where it runs.

    Raises:
        ValueError: no such file, or not an actuator network.
    """
    shipped = {path.stem: path for path in sorted(ROBOTS.glob("*.pt"))}
    path = Path(file)
    if not path.is_file():
        if path.name.removesuffix(".pt") not in shipped or path.parent != Path("."):
            raise ValueError(
                f"no actuator network {str(file)!r}: give a TorchScript file or one of "
                f"{', '.join(shipped)}.{nearest(path.stem, list(shipped))}"
            )
        path = shipped[path.name.removesuffix(".pt")]
    extra = {METADATA: ""}
    try:
        with torchscript():
            module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not a TorchScript file (torch.jit.save writes one)") from error
    return ActuatorNet(module, _read_info(extra[METADATA], module, path), str(path), device)


def _read_info(text: str | bytes, module: nn.Module, path: Path) -> NetInfo:
    """Metadata as saved, or, in files of others, as the weights suggest."""
    if text:
        known = json.loads(text)
        return NetInfo(**{field.name: known[field.name] for field in fields(NetInfo) if field.name in known})
    state = module.state_dict()
    if any(key.endswith("weight_hh_l0") for key in state):
        return NetInfo(kind="lstm")
    widths = [value.shape[1] for value in state.values() if value.dim() == 2]
    if not widths or widths[0] % 2:
        raise ValueError(f"{path} is not an actuator network: neither an LSTM nor an MLP with 2 K inputs")
    return NetInfo(kind="mlp", lags=tuple(range(widths[0] // 2)))
