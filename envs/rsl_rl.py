"""`LeggedEnv` as an `rsl_rl.env.VecEnv`, so that rsl_rl's runners train on the same environment."""

from __future__ import annotations

from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from envs.config import EnvConfig
from envs.legged_env import LeggedEnv

COUNTS = ("Episode/finished", "Episode/non_finite")
"""Log entries that count robots in a step; every other `Episode/...` is an average over finished episodes."""


def with_mirror_images(
    env: RslRlVecEnv, obs: TensorDict | None, actions: Tensor | None
) -> tuple[TensorDict | None, Tensor | None]:
    """Samples [B, ...] and, behind them, their images in a mirror, [2 B, ...].

    It is what rsl_rl's `symmetry_cfg` wants as `data_augmentation_func`, for augmentation and for its mirror loss.

    Args:
        env: the adapter, whose task says what looks how in the mirror.
        obs: observations `policy` and, where it differs, `critic`; None for none.
        actions: [B, A], or None.
    """
    inner = env.unwrapped
    mirrors = {"policy": inner.obs_mirror, "critic": inner.critic_mirror}
    if obs is not None:
        image = obs.clone()
        for name, value in obs.items():
            index, sign = mirrors[name]
            image[name] = value[..., index] * sign
        obs = TensorDict.cat((obs, image))
    if actions is not None:
        index, sign = inner.action_mirror
        actions = torch.cat((actions, actions[..., index] * sign))
    return obs, actions


class RslRlVecEnv(VecEnv):
    """Adapter for rsl_rl 5.x; every tensor stays on the environment's device.

    rsl_rl bootstraps a time-out with the value of the state *before* the last step, V(s_t): it has no place for
    the observation an episode really ended in, which `LeggedEnv` offers as `info["final_obs"]`.
    """

    num_envs: int
    num_actions: int
    max_episode_length: int
    device: torch.device
    cfg: EnvConfig

    def __init__(self, env: LeggedEnv, seed: int | None = None):
        """Wrap an environment and reset it: rsl_rl's runner never does.

        Args:
            env: the environment; step it through the adapter only.
            seed: restart the environment's random generator from this seed.
        """
        self.env = env
        self.num_envs, self.num_actions = env.num_envs, env.num_actions
        self.max_episode_length = env.max_episode_length
        self.device = env.device
        self.cfg = env.cfg
        obs, _ = env.reset(seed=seed)
        self._groups = ["policy"] if obs["critic"] is obs["policy"] else ["policy", "critic"]
        self.obs_groups = {"actor": ["policy"], "critic": self._groups[-1:]}
        """Which observations the actor and the critic see, as rsl_rl's configuration wants it."""
        self._last_log: dict[str, Tensor] = {}

    @property
    def unwrapped(self) -> LeggedEnv:
        """The environment itself."""
        return self.env

    @property
    def episode_length_buf(self) -> Tensor:
        """Policy steps of each robot's episode, int64, [N]; who assigns to it says that an episode began earlier."""
        return self.env.episode_length

    @episode_length_buf.setter
    def episode_length_buf(self, value: Tensor) -> None:
        self.env.first_age.add_(value - self.env.episode_length)  # since then nothing was walked
        self.env.episode_length.copy_(value)

    def get_observations(self) -> TensorDict:
        """Observations last returned, `policy` [N, O] and, where it differs, `critic` [N, C]."""
        return self._observations(self.env.get_observations())

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Advance every robot by one policy step.

        Args:
            actions: [N, A].

        Returns:
            observations; rewards [N]; dones, int64 [N]; extras with `time_outs` (bool [N]) and `log`.
        """
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        extras = {"time_outs": truncated, "log": self._log(info["log"])}
        return self._observations(obs), rewards, (terminated | truncated).long(), extras

    def _observations(self, obs: dict[str, Tensor]) -> TensorDict:
        # Copies: rsl_rl stores an observation after the next step, which overwrites the environment's tensors.
        return TensorDict({name: obs[name].clone() for name in self._groups}, [self.num_envs])

    def _log(self, log: dict[str, Tensor]) -> dict[str, Tensor]:
        """Entries whose mean over steps, which is what rsl_rl logs, means something.

        An average over the episodes that ended in a step is zero where none did; the last one that was an
        average of something stands in for it.
        """
        ended = log["Episode/finished"] > 0
        averages = {name for name in log if name.startswith("Episode/") and name not in COUNTS}
        for name in averages:
            last = self._last_log.get(name, log[name])
            self._last_log[name] = torch.where(ended, log[name], last)
        return {name: self._last_log[name] if name in averages else value for name, value in log.items()}
