"""Stable-Baselines3 on an environment of `gymnasium.make_vec`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from interop.arrays import ArraysEnv


def sb3_vec_env(env: gym.vector.VectorEnv) -> VecMonitor:
    """A `VecEnv` whose observations are the policy's, with the returns and lengths of episodes in its infos."""
    return VecMonitor(Sb3VecEnv(env))


class Sb3VecEnv(VecEnv):
    """`terminal_observation` and `TimeLimit.truncated` are in the infos of robots whose episodes ended."""

    def __init__(self, env: gym.vector.VectorEnv):
        """Wrap a `LeggedEnv`, or one that draws."""
        self.env = ArraysEnv(env, numpy=True, observation="policy")
        super().__init__(env.num_envs, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> np.ndarray:
        obs, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        obs, rewards, terminated, truncated, info = self.env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            last = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": bool(truncated[i])}
            infos[i] = last
        return obs, rewards, terminated | truncated, infos

    def get_images(self) -> list[np.ndarray]:
        return list(self.env.render() or ())  # type: ignore[arg-type]

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("robots share their attributes: set them on the environment itself")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("robots share their methods: call them on the environment itself")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
