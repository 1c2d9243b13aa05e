"""The terms of a task, ready for use: rewards added up, and terms with a memory of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.config import EnvConfig, ObservationTerm, RewardTerm
from envs.draws import Uniform
from envs.state import RobotState

AnyTerm = TypeVar("AnyTerm", RewardTerm, ObservationTerm)


class TermWithMemory:
    """Base of reward and observation terms that remember something; its class stands where a function would.

    A subclass makes its tensors in `__init__` by `self.remember(name, *shape)`: zeros [N, *shape], which are part of
    every checkpoint and become zero again where a robot's episode begins. They are changed in place, never
    replaced, and never by a branch on their values. `__call__(state, **params)` gives the term, [N] of a reward,
    [N, k] of an observation. It only looks: an observation is made twice in a step, before and after resets.
    """

    draws = 0
    """Random numbers that `begin` draws for a robot."""

    def __init__(self, state: RobotState, remember: Callable[..., Tensor]):
        """Begin; subclasses that add to this call it first.

        Args:
            state: what terms look at.
            remember: makes a tensor of this term's, by name and shape.
        """
        self.remember = remember

    def update(self, state: RobotState) -> None:
        """Take note of a step, once, after its physics and before its rewards."""

    def begin(self, mask: Tensor, state: RobotState, uniform: Uniform) -> None:
        """Prepare the episodes of robots in `mask`, bool [N]; their memory is zero.

        Args:
            mask: whose episodes begin; other robots' memory must stay.
            state: of all robots, for those in `mask` that of the episode that ended.
            uniform: (bounds, *shape) -> random numbers [N, *shape].
        """


class Terms:
    """Rewards and observations of an environment."""

    def __init__(self, cfg: EnvConfig, state: RobotState, buffers: Buffers):
        """Make every term that counts ready.

        Args:
            cfg: the task; rewards of weight 0 are left out.
            state: what terms look at.
            buffers: where their memory lies.
        """
        self.cfg, self.state = cfg, state
        self._buffers = buffers
        self._own: list[tuple[TermWithMemory, list[Tensor]]] = []
        rewards = {name: term for name, term in cfg.rewards.items() if term.weight != 0.0}
        self.rewards = {name: self._ready(f"reward_{name}", term) for name, term in rewards.items()}
        """By name, those that count."""
        self.observations = {
            name: self._ready(f"observation_{name}", term) for name, term in cfg.observations.items()
        }
        """By name, in order."""
        self.draws = sum(term.draws for term, _ in self._own)
        """Random numbers that a robot's reset takes."""

    def _ready(self, name: str, term: AnyTerm) -> AnyTerm:
        """A term whose function can be called; a class with a memory becomes one of its own."""
        kind = term.func
        if not (isinstance(kind, type) and issubclass(kind, TermWithMemory)):
            return term
        memory: list[Tensor] = []

        def remember(what: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            memory.append(self._buffers.make(f"{name}_{what}", *shape, dtype=dtype))
            return memory[-1]

        own = kind(self.state, remember)
        self._own.append((own, memory))
        return replace(term, func=own)  # type: ignore[arg-type]  # subclasses can be called

    def update(self) -> None:
        """Let terms with a memory take note of a step."""
        for term, _ in self._own:
            term.update(self.state)

    def begin(self, mask: Tensor, uniform: Uniform) -> None:
        """Clear what terms remember of robots in `mask`, bool [N], whose episodes begin."""
        for term, memory in self._own:
            for tensor in memory:
                tensor.masked_fill_(mask.view(-1, *[1] * (tensor.ndim - 1)), 0)
            term.begin(mask, self.state, uniform)

    def reward(self) -> tuple[Tensor, Tensor]:
        """Total [N] and weighted terms [N, R] of this step."""
        columns, after_clip = [], torch.zeros_like(self.state.friction)
        for name, term in self.rewards.items():
            column = term.func(self.state, **term.params) * (term.weight * self.state.step_dt)
            if column.shape != after_clip.shape:
                raise ValueError(
                    f"reward {name} gives {list(column.shape)}, not a number for each robot, {list(after_clip.shape)}"
                )
            if name == "termination":
                after_clip = column
            columns.append(column)
        terms = torch.stack(columns, dim=1) if columns else after_clip.new_zeros(len(after_clip), 0)
        total = terms.sum(1) - after_clip
        if self.cfg.only_positive_rewards:
            total = total.clamp(min=0.0)
        return total + after_clip, terms
