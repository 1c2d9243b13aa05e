"""Classes of commands: what robots known to stand or fall get, and that the ground is new to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from envs import LeggedEnv, get_task
from evaluation.commands import COMMANDS, command_test, deal
from terrains.grid import make_terrain
from tests.envs.common import reference


def standing(env: LeggedEnv) -> Callable[[Tensor], Tensor]:
    return lambda obs: torch.zeros(len(obs), env.num_actions)


def test_a_standing_robot_follows_only_the_command_to_stand() -> None:
    results = {result.name: result for result in command_test(reference(), standing, 3, num_threads=1)}
    assert list(results) == list(COMMANDS)
    assert results["standing"].followed > 0.9 and results["standing"].robots == 3
    for name in ("forward", "slow", "sideways", "turning"):
        assert results[name].followed < 0.15, name
    assert results["on_the_spot"].followed < 0.1
    # 0.3 m/s is missed by more than what counts as near
    assert results["slow"].tracked < 0.2
    for result in results.values():
        assert result.falls == 0.0 and result.falls_high > 0.3
        assert result.low <= result.followed <= result.high


def test_a_fall_leaves_the_rest_of_the_command_undone() -> None:
    """Everyone falls after a second and a half: what was done before counts for its share of the time."""
    steps = iter(range(10_000))

    def stumble(env: LeggedEnv) -> Callable[[Tensor], Tensor]:
        def act(obs: Tensor) -> Tensor:
            if next(steps) == 75:
                env.state.fatal = env.state.feet  # a foot on the ground is a fall
            return torch.zeros(len(obs), env.num_actions)

        return act

    results = {result.name: result for result in command_test(reference(), stumble, 2, num_threads=1)}
    assert all(result.falls == 1.0 for result in results.values())
    assert 0.05 < results["standing"].followed < 76 / 500


def test_the_map_is_new_and_all_classes_start_on_the_same_tiles() -> None:
    cfg = get_task("anymal_c_rough").recipe("").env()
    cfg.terrain.levels, cfg.terrain.columns, cfg.terrain.tile_size = 3, 2, 6.0
    cfg.terrain.proportions = {"obstacles": 0.5, "random_rough": 0.5}
    trained = make_terrain(cfg.terrain)
    seen: dict[str, Any] = {}

    def act(env: LeggedEnv) -> Callable[[Tensor], Tensor]:
        course = env.course
        assert course is not None
        seen["heights"] = course.terrain.ground.heights
        seen["level"], seen["column"] = course.level.view(6, 6).clone(), course.column.view(6, 6).clone()
        env.max_episode_length = 1  # enough to look
        return standing(env)

    command_test(cfg, act, 6, num_threads=1)
    assert trained is not None and seen["heights"].shape == trained.ground.heights.shape
    assert (seen["heights"] != trained.ground.heights).any()
    assert seen["level"][0].bincount().tolist() == [2, 2, 2] and (seen["level"] == seen["level"][0]).all()
    assert seen["column"][0].bincount().tolist() == [3, 3] and (seen["column"] == seen["column"][0]).all()
    assert cfg.terrain.seed == 1 and cfg.curriculum.strategy == "fair", "the caller's configuration stays"


@pytest.mark.parametrize("robots", [100, 200, 400])
def test_levels_are_the_same_on_every_kind_of_terrain_and_for_mirrored_commands(robots: int) -> None:
    level, column, mirrored = deal(robots, 10, 20)
    count = torch.zeros(10, 10, dtype=torch.int64)  # a kind of terrain has two columns
    count.index_put_((level, column // 2), torch.ones((), dtype=torch.int64), accumulate=True)
    assert count.min() == count.max() == robots // 100
    for sign in (True, False):
        share = torch.bincount(level[mirrored == sign], minlength=10)
        assert share.min() >= 0.5 * share.max(), "no level has one sign only"
