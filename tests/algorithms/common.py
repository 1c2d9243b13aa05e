"""A tiny environment in which only a memory helps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RecallEnv:
    """A cue of +1 or -1 is shown once; `delay` steps later the action should equal it.

    The observation is (cue or 0, 1 when it is time to answer). An episode ends with the answer; robots start
    at different steps. With `truncate` its end is a time-out.
    """

    num_obs = num_critic_obs = 2
    num_actions = 1
    step_dt = 1.0
    device = torch.device("cpu")
    mirror = (torch.tensor([0, 1]), torch.tensor([-1.0, 1.0]))
    obs_mirror = critic_mirror = mirror
    action_mirror = (torch.tensor([0]), torch.tensor([-1.0]))

    def __init__(self, num_envs: int, delay: int = 5, truncate: bool = False, seed: int = 0):
        self.num_envs, self.delay, self.truncate = num_envs, delay, truncate
        self.generator = torch.Generator().manual_seed(seed)
        self.time, self.cue = torch.arange(num_envs) % (delay + 1), self._cues()

    def _cues(self) -> Tensor:
        return torch.randint(0, 2, (self.num_envs,), generator=self.generator) * 2.0 - 1.0

    def reset(self, *, seed: int | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.get_observations(), {}

    def get_observations(self) -> dict[str, Tensor]:
        obs = torch.stack((self.cue * (self.time == 0), (self.time == self.delay).float()), 1)
        return {"policy": obs, "critic": obs}

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict[str, Any]]:
        done = self.time == self.delay
        rewards = -(actions[:, 0] - self.cue).square() * done
        self.time += 1
        final = self.get_observations()
        self.cue = torch.where(done, self._cues(), self.cue)
        self.time = torch.where(done, 0, self.time)
        ends = torch.zeros_like(done), done
        terminated, truncated = ends if self.truncate else ends[::-1]
        info = {"final_obs": final, "log": {"Episode/finished": done.float().sum()}}
        return self.get_observations(), rewards, terminated, truncated, info

    def pool_counts(self, processes: int) -> list[Tensor]:
        return []

    def learn_from_counts(self) -> None:
        pass

    def carry_over(self, state: dict[str, Any], seed: int) -> None:
        self.generator.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        return {"time": self.time, "cue": self.cue, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.time, self.cue = state["time"], state["cue"]
        self.generator.set_state(state["generator"])
