"""What the learner knows of an environment."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

Observations = dict[str, Tensor]


class Environment(Protocol):
    """All that the learner knows of an environment: a vector environment of torch tensors."""

    num_envs: int
    num_obs: int
    num_critic_obs: int
    num_actions: int
    step_dt: float
    device: torch.device
    generator: torch.Generator

    @property
    def obs_mirror(self) -> tuple[Tensor, Tensor]: ...

    @property
    def action_mirror(self) -> tuple[Tensor, Tensor]: ...

    @property
    def critic_mirror(self) -> tuple[Tensor, Tensor]: ...

    def reset(self, *, seed: int | None = None) -> tuple[Observations, dict[str, Any]]: ...

    def step(self, actions: Tensor) -> tuple[Observations, Tensor, Tensor, Tensor, dict[str, Any]]: ...

    def get_observations(self) -> Observations: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    # for several processes only

    def carry_over(self, state: dict[str, Any], seed: int) -> None: ...

    def pool_counts(self, processes: int) -> list[Tensor]: ...

    def learn_from_counts(self) -> None: ...
