"""The memory of an environment: every tensor that its future depends on."""

from __future__ import annotations

import torch
from torch import Tensor

LATER = ("first_age",)
"""What older checkpoints lack: zeros."""


class Buffers(dict[str, Tensor]):
    """Tensors by name. Each part of an environment makes its own, or puts in what it made by other means.

    They are changed in place and never replaced. Names are those in checkpoints.
    """

    def __init__(self, num_envs: int, device: torch.device | str = "cpu"):
        """None yet, for `num_envs` robots."""
        super().__init__()
        self.num_envs = num_envs
        self.device = torch.device(device)

    def make(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A zero tensor [N, *shape]."""
        self[name] = torch.zeros(self.num_envs, *shape, dtype=dtype, device=self.device)
        return self[name]

    def add(self, prefix: str, tensors: dict[str, Tensor]) -> None:
        """Take in tensors that exist already, as `<prefix>_<name>`."""
        self.update({f"{prefix}_{name}": tensor for name, tensor in tensors.items()})

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all."""
        return {name: buffer.clone() for name, buffer in self.items()}

    def load_state_dict(self, saved: dict[str, Tensor]) -> None:
        """Write back what `state_dict` gave; ValueError where one is missing or has another shape."""
        for name, buffer in self.items():
            if name in LATER and name not in saved:
                buffer.zero_()
                continue
            if name not in saved or saved[name].shape != buffer.shape:
                raise ValueError(f"the saved environment's {name!r} does not fit this task or num_envs")
            buffer.copy_(saved[name])
