"""What `gymnasium.make` and `gymnasium.make_vec` call; envs/tasks/__init__.py registers it by name."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from envs.tasks import get_task
from interop.arrays import ArraysEnv, Autoreset, Observation
from interop.rendering import RenderedEnv, check_render_mode
from robots.config import nearest


def make_vector(
    task: str,
    num_envs: int,
    recipe: str = "",
    numpy: bool = False,
    observation: Observation = "dict",
    autoreset: Autoreset = "same_step",
    action_limit: float = 0.0,
    render_mode: str | None = None,
    width: int = 640,
    height: int = 480,
    **kwargs: Any,
) -> gym.vector.VectorEnv:
    """A task's environment: a `LeggedEnv`, in wrappers where keywords ask for them.

    Observations last: the next step leaves alone what this one returned.

    Args:
        task: its name.
        num_envs: number of robots N.
        recipe: name of the task's recipe, empty for the default.
        numpy: arrays instead of tensors, and infos as gymnasium's own vector environments lay them out.
        observation: `dict` of policy and critic; `policy` for its array alone, the critic's then being in the info.
        autoreset: `same_step`, or `next_step`, which gymnasium's observation wrappers ask for.
        action_limit: largest magnitude of an action, for learners that fill the action space; 0 for the task's,
            which is far beyond any useful action.
        render_mode: `rgb_array`, or None.
        width, height: of pictures, pixels.
        kwargs: of `LeggedEnv`.
    """
    check_choice("observation", observation, ("dict", "policy"))
    check_choice("autoreset", autoreset, ("same_step", "next_step"))
    check_render_mode(render_mode)
    config = _config(task, recipe, action_limit)
    env: gym.vector.VectorEnv = LeggedEnv(config, num_envs, **{"lasting": not numpy} | kwargs)
    if render_mode:
        env = RenderedEnv(env, width, height)
    if numpy or observation != "dict" or autoreset != "same_step":
        env = ArraysEnv(env, numpy, observation, autoreset)
    return env


class SingleEnv(gym.Env[Any, np.ndarray]):
    """One robot as an ordinary gymnasium environment: NumPy arrays, episodes that end until `reset` is called.

    The observation is the policy's, a Box [O]; `observation="dict"` adds the critic's. Where the critic has an
    observation of its own and is not in the observation, it is `info["critic"]`. An episode that reaches the
    time limit, or leaves its place on a map, is truncated; one that ends in a fall is terminated.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self,
        task: str,
        recipe: str = "",
        observation: Observation = "policy",
        action_limit: float = 0.0,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
        **kwargs: Any,
    ):
        """Arguments are those of `make_vector`; the engine runs in one thread unless `num_threads` says otherwise."""
        check_choice("observation", observation, ("dict", "policy"))
        check_render_mode(render_mode)
        config = _config(task, recipe, action_limit)
        config.init.random_first_episode = False  # every reset begins a whole episode
        # as gymnasium has it, what is not seeded differs from run to run
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        env: gym.vector.VectorEnv = LeggedEnv(config, 1, **{"num_threads": 1, "seed": seed} | kwargs)
        if render_mode:
            env = RenderedEnv(env, width, height)
        self.vector = ArraysEnv(env, numpy=True, observation=observation)
        """The environment of one robot behind it; `vector.unwrapped` is the `LeggedEnv`."""
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": 1.0 / config.step_dt}
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self._last_picture: Any = None
        self._over = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; returns its first observation and info. A seed starts everything random anew."""
        super().reset(seed=seed)
        obs, info = self.vector.reset(seed=seed)
        self._over = False
        return _first(obs), _infos(info)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One policy step with an action [A]; returns observation, reward, terminated, truncated and info."""
        obs, reward, terminated, truncated, info = self.vector.step(np.asarray(action)[None])
        self._over = bool(terminated[0] or truncated[0])
        if self._over:  # the robot behind has begun anew
            obs, info = info["final_obs"][:1], info["final_info"]
        return _first(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _infos(info)

    def render(self) -> Any:
        """A picture, uint8 [height, width, 3], after an episode's end the last drawn; None without a render mode."""
        if self.render_mode and (self._last_picture is None or not self._over):
            pictures = self.vector.render()
            self._last_picture = pictures[0] if pictures else None
        return self._last_picture

    def close(self) -> None:
        """Free what pictures took."""
        self.vector.close()


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """ValueError with one sentence for a keyword that is not one of its choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, not {value!r}.{nearest(str(value), choices)}"
        )


def _config(task: str, recipe: str, action_limit: float) -> EnvConfig:
    """A task's configuration, with another limit of actions where one is given."""
    config = get_task(task).recipe(recipe).env()
    if not 0.0 <= action_limit < np.inf:
        raise ValueError(f"action_limit must be a positive number, or 0 for the task's, not {action_limit:g}")
    config.control.clip_actions = action_limit or config.control.clip_actions
    return config


def _first(obs: Any) -> Any:
    """The observation of the only robot."""
    return {name: value[0] for name, value in obs.items()} if isinstance(obs, dict) else obs[0]


def _infos(info: dict[str, Any]) -> dict[str, Any]:
    """The critic's observation of the only robot, where it is in the info."""
    return {"critic": info["critic"][0]} if "critic" in info else {}
