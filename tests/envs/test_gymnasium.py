"""The environment through gymnasium's door, and tasks by name."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import envs
from envs import LeggedEnv, all_tasks, get_task
from tests.envs.common import calm, make, overturn


def test_make_vec_steps() -> None:
    env = gym.make_vec("Trot/AnymalCFlat-v0", num_envs=8, num_threads=1)
    assert isinstance(env, LeggedEnv) and isinstance(env, gym.vector.VectorEnv)
    assert env.num_envs == 8 and env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=3)
    for _ in range(3):
        obs, reward, terminated, truncated, info = env.step(torch.zeros(8, 12))
        for name in ("policy", "critic"):
            for observation in (obs, info["final_obs"]):
                assert observation[name].shape == (8, 48) and observation[name].dtype == torch.float32
        assert reward.shape == terminated.shape == truncated.shape == (8,)
        assert reward.dtype == torch.float32 and terminated.dtype == truncated.dtype == torch.bool
        assert all(value.shape == () for value in info["log"].values())
    env.close()


def test_spaces_describe_the_arrays() -> None:
    env = make(calm(), 5)
    obs, *_ = env.step(torch.zeros(5, 12))
    assert env.action_space.shape == (5, env.num_actions) == (5, 12)
    assert env.single_action_space.shape == (12,)
    spaces, single = env.observation_space, env.single_observation_space
    assert isinstance(spaces, gym.spaces.Dict) and isinstance(single, gym.spaces.Dict)
    for name, space in spaces.items():
        assert space.shape == obs[name].shape == (5, env.num_obs)
        assert space.contains(obs[name].numpy())
        assert single[name].shape == (env.num_obs,)
    assert sum(env.obs_layout.values()) == env.num_obs == 48


def test_every_task_is_registered_once() -> None:
    envs.register_gymnasium_envs()
    for name, task in all_tasks().items():
        assert task.name == name and task.gym_id in gym.registry
        assert task.recipe("") is task.recipes[task.default_recipe]


def test_tasks_are_found_by_name() -> None:
    assert get_task("anymal-c-flat") is get_task("anymal_c_flat")
    with pytest.raises(ValueError, match="unknown task 'anymal_c_flatt'.* Did you mean anymal_c_flat"):
        get_task("anymal_c_flatt")
    with pytest.raises(ValueError, match="no recipe 'referenc'.* Did you mean reference"):
        get_task("anymal_c_flat").recipe("referenc")


def test_a_recipe_makes_a_new_configuration_each_time() -> None:
    recipe = get_task("anymal_c_flat").recipe("reference")
    recipe.env().rewards["torques"].weight = 1.0
    recipe.env().commands.lin_vel_x = (0.0, 0.0)
    assert recipe.env().rewards["torques"].weight == -2.5e-5
    assert recipe.env().commands.lin_vel_x == (-1.0, 1.0)


def test_no_robots_is_refused() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, not 0"):
        LeggedEnv(calm(), 0)


def test_observations_of_make_vec_last() -> None:
    """Other people's learners store what they are given without a copy."""
    env = gym.make_vec("Trot/AnymalCFlat-v0", num_envs=4, num_threads=1)
    stored = [env.reset(seed=3)[0]["policy"]]
    copies = [stored[0].clone()]
    for _ in range(3):
        obs, *_, info = env.step(torch.rand(4, 12))
        stored += [obs["policy"], info["final_obs"]["policy"]]
        copies += [value.clone() for value in stored[-2:]]
    assert all(torch.equal(kept, copy) for kept, copy in zip(stored, copies, strict=True))
    assert obs["policy"] is obs["critic"]
    fast = make(calm(), 4)
    first = fast.reset(seed=3)[0]["policy"]
    assert fast.step(torch.zeros(4, 12))[0]["policy"] is first, "the trainer's way reuses them"


def test_arrays_and_lists_of_seeds_are_taken() -> None:
    one, two = (make(calm(), 4) for _ in range(2))
    starts = [env.reset(seed=[1, 2, 3, 4])[0]["policy"].clone() for env in (one, two)]
    assert torch.equal(*starts)
    assert not torch.equal(one.reset(seed=[4, 3, 2, 1])[0]["policy"], starts[0])
    two.reset(seed=[4, 3, 2, 1])
    actions = np.random.default_rng(0).normal(size=(4, 12))
    ours = one.step(actions)[0]["policy"].clone()
    other = two.step(torch.tensor(actions, dtype=torch.float32))[0]["policy"]
    assert torch.equal(ours, other)
    one.reset(seed=[None] * 4)


def test_info_has_the_keys_of_an_environment_that_resets_in_the_same_step() -> None:
    env = make(calm(), 6)
    assert getattr(env, "autoreset_mode") is AutoresetMode.SAME_STEP  # noqa: B009
    overturn(env, 1, 4)
    *_, terminated, truncated, info = env.step(torch.zeros(6, 12))
    assert terminated.any() and torch.equal(info["_final_obs"], terminated | truncated)
    assert info["final_info"] == {} and torch.equal(info["_final_info"], info["_final_obs"])
