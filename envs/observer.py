"""What policy and critic are shown: the observation terms of a task laid side by side."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from envs.config import EnvConfig, ObservationTerm
from envs.state import RobotState
from envs.symmetry import mirror_joints, mirror_observation

GROUPS = ("policy", "critic")


class Observer:
    """Makes observations of N robots: the policy's [N, O] with noise, the critic's [N, C] without."""

    def __init__(
        self,
        cfg: EnvConfig,
        terms: dict[str, ObservationTerm],
        state: RobotState,
        joint_names: tuple[str, ...],
    ):
        """Lay out the columns.

        Args:
            cfg: the task.
            terms: its observation terms, ready for use.
            state: what the terms look at, always.
            joint_names: in order.

        Raises:
            ValueError: a term with a wrong number of scales.
        """
        self.cfg, self.terms, self.state, self._joint_names = cfg, terms, state, joint_names
        self._device = state.base_pos.device
        with torch.no_grad():
            widths = {
                name: _width(name, term.func(state), len(state.base_pos)) for name, term in terms.items()
            }
        self.layouts = {group: {name: widths[name] for name in cfg.terms_of(group)} for group in GROUPS}
        """Group -> observation term -> number of columns, in order."""
        self.groups = GROUPS if cfg.own_critic else GROUPS[:1]
        """Those with an observation of their own."""
        self.scales = {group: self._scale(group) for group in self.groups}
        """Group -> factor of each column."""
        noise = [
            torch.full((width,), cfg.observations[name].noise)
            for name, width in self.layouts["policy"].items()
        ]
        self._noise_scale = torch.cat(noise).to(self._device) * self.scales["policy"] * cfg.noise.level
        self._noise = torch.zeros_like(self.empty()["policy"])
        if cfg.noise.clean_share:
            # spread evenly, since neighbours stand on the same kind of terrain
            passed = (torch.arange(len(self._noise) + 1, device=self._device) * cfg.noise.clean_share).floor()
            self._noise_scale = self._noise_scale * (passed.diff() == 0.0).unsqueeze(1)

    def mirror(self, what: str) -> tuple[Tensor, Tensor]:
        """Index and sign of a group's observation, or the `action`, in the mirror; ValueError where it has none."""
        if what == "action":
            index, sign = mirror_joints(self.cfg.robot, self._joint_names)
        else:
            kinds = [term.mirror for term in self.cfg.terms_of(what).values()]
            index, sign = mirror_observation(kinds, self.cfg.robot, self._joint_names, self.cfg.scan.shape)
        return index.to(self._device), sign.to(self._device)

    def _scale(self, group: str) -> Tensor:
        scales: list[float] = []
        for name, width in self.layouts[group].items():
            scale = self.cfg.observations[name].scale
            if len(scale) not in (1, width):
                raise ValueError(f"env.observations.{name}.scale needs 1 or {width} values, not {scale}")
            scales += scale * (width if len(scale) == 1 else 1)
        return torch.tensor(scales, device=self._device)

    def size(self, group: str) -> int:
        """Number of columns."""
        return sum(self.layouts[group].values())

    @property
    def space(self) -> gym.spaces.Dict:
        """Where one robot's observations lie."""
        limit = self.cfg.clip_observations
        return gym.spaces.Dict(
            {
                group: gym.spaces.Box(-limit, limit, obs.shape[1:], np.float32)
                for group, obs in self.empty().items()
            }
        )

    def empty(self) -> dict[str, Tensor]:
        """Zeros for `observe` to write into; `critic` is `policy` unless it has an observation of its own."""
        num_envs = len(self.state.base_pos)
        obs = {group: torch.zeros(num_envs, self.size(group), device=self._device) for group in self.groups}
        return {group: obs.get(group, obs["policy"]) for group in GROUPS}

    def draw_noise(self, generator: torch.Generator) -> None:
        """Draw the noise of all observations until the next call, once a step."""
        self._noise.uniform_(-1.0, 1.0, generator=generator)

    def observe(self, out: dict[str, Tensor]) -> Tensor:
        """Write the observations of the state as it is; returns a number [N] that is finite where all are."""
        columns = {name: term.func(self.state) for name, term in self.terms.items()}
        clip = self.cfg.clip_observations
        for group in self.groups:
            obs = out[group]
            torch.cat([columns[name] for name in self.layouts[group]], dim=1, out=obs)
            obs.mul_(self.scales[group])
            if group == "policy" and self.cfg.noise.enabled:
                obs.addcmul_(self._noise, self._noise_scale)
            obs.clamp_(-clip, clip)
        # of the terms, and not of what was made of them: on a GPU that would be made twice
        return torch.stack([column.sum(1) for column in columns.values()]).sum(0)


def copied(obs: dict[str, Tensor], deep: bool) -> dict[str, Tensor]:
    """The same observations in another dictionary, or copies; one copy where policy and critic see the same."""
    if not deep:
        return dict(obs)
    copies = {id(value): value.clone() for value in obs.values()}
    return {name: copies[id(value)] for name, value in obs.items()}


def _width(name: str, column: Tensor, num_envs: int) -> int:
    if column.ndim != 2 or len(column) != num_envs:
        raise ValueError(
            f"observation {name} gives {list(column.shape)}, not numbers for each robot, [{num_envs}, ...]"
        )
    return column.shape[1]
