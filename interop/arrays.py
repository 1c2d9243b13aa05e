"""A `LeggedEnv` in the forms that other vector environments have: flat observations, NumPy, gymnasium's infos."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from envs.legged_env import LeggedEnv

Observation = Literal["dict", "policy"]
Autoreset = Literal["same_step", "next_step"]


def legged(env: gym.vector.VectorEnv) -> LeggedEnv:
    """The environment inside all wrappers; ValueError if it is not one of ours."""
    inner = env.unwrapped
    if not isinstance(inner, LeggedEnv):
        raise ValueError(f"an environment of gymnasium.make_vec('Trot/...') is needed, not {inner}")
    return inner


def bare(env: gym.vector.VectorEnv) -> LeggedEnv:
    """The same of an environment that speaks in tensors yet: ValueError where an `ArraysEnv` is in between."""
    layer = env
    while isinstance(layer, gym.vector.VectorWrapper):
        if isinstance(layer, ArraysEnv):
            raise ValueError(
                "this environment is wrapped already: leave numpy, observation and autoreset out of make_vec"
            )
        layer = layer.env
    return legged(env)


class ArraysEnv(gym.vector.VectorWrapper):
    """Observations, rewards and infos as gymnasium's `SyncVectorEnv` returns them, as arrays or as tensors.

    Infos have `final_obs` and `final_info` in steps in which episodes ended (bool [N]: `_final_obs`,
    `_final_info`), and in `log` what `LeggedEnv` logs, each figure once for every robot. With `numpy`, `final_obs`
    is an array of objects [N]: an observation for those whose episodes ended, None for the others.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        numpy: bool = True,
        observation: Observation = "dict",
        autoreset: Autoreset = "same_step",
    ):
        """Wrap an environment.

        Args:
            env: a `LeggedEnv`, or one in wrappers.
            numpy: return NumPy arrays, copied from the device; else tensors.
            observation: `dict`, or `policy` for its array [N, O] alone; a critic's own is then in the infos.
            autoreset: `same_step`; or `next_step`: a step that ends an episode returns its last observation, and
                the next one, whose action means nothing to that robot, returns the new episode's, which has begun
                with a step of action 0.
        """
        super().__init__(env)
        self.numpy, self.flat, self.late = numpy, observation == "policy", autoreset == "next_step"
        inner = bare(env)
        self._critic = self.flat and inner.cfg.own_critic
        self.device = torch.device("cpu") if numpy else inner.device
        mode = AutoresetMode.NEXT_STEP if self.late else AutoresetMode.SAME_STEP
        self.autoreset_mode = mode
        self.metadata = {**env.metadata, "autoreset_mode": mode}
        if self.flat:
            spaces, single = env.observation_space, env.single_observation_space
            assert isinstance(spaces, gym.spaces.Dict) and isinstance(single, gym.spaces.Dict)
            self.observation_space, self.single_observation_space = spaces["policy"], single["policy"]
        self._over = torch.zeros(self.num_envs, dtype=torch.bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `LeggedEnv.reset`."""
        obs, _ = self.env.reset(seed=seed, options=options)
        self._over = torch.zeros(self.num_envs, dtype=torch.bool, device=obs["policy"].device)
        return self._observation(obs), {"critic": self._array(obs["critic"])} if self._critic else {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See `LeggedEnv.step`; actions are an array or a tensor, [N, A]."""
        if self.late:
            actions = torch.as_tensor(actions, device=self._over.device)
            actions = actions.masked_fill(self._over.unsqueeze(1), 0.0)
        obs, reward, terminated, truncated, inner = self.env.step(actions)
        done, final = inner["_final_obs"], inner["final_obs"]
        if self.late:
            new, done = self._over, done & ~self._over
            terminated, truncated, reward = terminated & ~new, truncated & ~new, reward.masked_fill(new, 0.0)
            obs = {name: torch.where(done.unsqueeze(1), final[name], value) for name, value in obs.items()}
            self._over = done
        info = {"log": self._log(inner["log"])}
        if self._critic:
            info["critic"] = self._array(obs["critic"])
        if not self.late and done.any():
            self._finish(info, final, self._array(done))
        arrays = (self._array(value) for value in (reward, terminated, truncated))
        return self._observation(obs), *arrays, info

    def _finish(self, info: dict[str, Any], final: dict[str, Tensor], ended: Any) -> None:
        """Add what gymnasium says of episodes that ended in this step."""
        last: Any = self._observation(final)
        if self.numpy:
            whole, last = last, np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                last[i] = {name: value[i] for name, value in whole.items()} if not self.flat else whole[i]
        more = {"critic": self._array(final["critic"]), "_critic": ended} if self._critic else {}
        info |= {"final_obs": last, "_final_obs": ended, "final_info": more, "_final_info": ended}

    def _log(self, log: dict[str, Tensor]) -> dict[str, Any]:
        """Figures by name, each as if it were every robot's, [N]."""
        values = torch.stack(list(log.values())).unsqueeze(1)
        if self.numpy:
            shown: Any = np.broadcast_to(values.cpu().numpy(), (len(log), self.num_envs))
        else:
            shown = values.expand(-1, self.num_envs)
        return dict(zip(log, shown, strict=True))

    def _observation(self, obs: dict[str, Tensor]) -> Any:
        if self.flat:
            return self._array(obs["policy"])
        return {name: self._array(value) for name, value in obs.items()}

    def _array(self, tensor: Tensor) -> Any:
        return tensor.cpu().numpy().copy() if self.numpy else tensor
