"""TorchRL on an environment of `gymnasium.make_vec`; every tensor stays on its device."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from interop.arrays import bare


class TorchRLEnv(EnvBase):
    """Observations are `observation` [N, O] and, where the critic has its own, `critic` [N, C].

    `next` holds what an episode really ended in. Robots whose episodes ended have begun anew in the same step, so a
    reset of some robots only returns what they see now: episodes cannot be cut short from outside.
    """

    def __init__(self, env: gym.vector.VectorEnv, seed: int | None = None):
        """Wrap a `LeggedEnv`, or one that draws."""
        self.env, self.inner, n = env, bare(env), (env.num_envs,)
        super().__init__(device=self.inner.device, batch_size=n)
        cfg, limit = self.inner.cfg, self.inner.cfg.control.clip_actions
        sizes = {"observation": self.inner.num_obs}
        sizes |= {"critic": self.inner.num_critic_obs} if cfg.own_critic else {}
        self.observation_spec = Composite({k: Unbounded((*n, size)) for k, size in sizes.items()}, shape=n)
        self.action_spec = Bounded(-limit, limit, (*n, self.inner.num_actions))
        self.reward_spec = Unbounded((*n, 1))
        ends = {name: Binary(1, (*n, 1), dtype=torch.bool) for name in ("done", "terminated", "truncated")}
        self.done_spec = Composite(ends, shape=n)
        self.set_seed(seed)

    def _set_seed(self, seed: int | None) -> None:
        self._next_seed = seed

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDict:
        if tensordict is not None and "_reset" in tensordict:
            return self._seen(self.inner.get_observations())
        obs, _ = self.env.reset(seed=self._next_seed)
        self._next_seed = None
        return self._seen(obs)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        obs, reward, terminated, truncated, info = self.env.step(tensordict["action"])
        done, final = terminated | truncated, info["final_obs"]
        after = {name: torch.where(done.unsqueeze(1), final[name], value) for name, value in obs.items()}
        ends = {"reward": reward, "done": done, "terminated": terminated, "truncated": truncated}
        return self._seen(after).update({k: value.unsqueeze(1) for k, value in ends.items()})

    def _seen(self, obs: dict[str, Tensor]) -> TensorDict:
        named = {"observation": obs["policy"]}
        named |= {"critic": obs["critic"]} if self.inner.cfg.own_critic else {}
        return TensorDict({k: value.clone() for k, value in named.items()}, self.batch_size)
