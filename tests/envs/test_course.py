"""Robots on a map: where they start, what ends their episodes, and which level comes next."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from envs import EnvConfig, LeggedEnv
from envs.buffers import Buffers
from envs.course import EDGE, Course
from terrains.curriculum import CurriculumConfig
from terrains.grid import TerrainConfig, build_terrain
from tests.envs.common import calm, make, random_actions, rugged

MAP = TerrainConfig(
    type="tiles",
    proportions={"stairs_up": 0.5, "pit": 0.25, "slope_down": 0.25},
    levels=4,
    columns=4,
    border=5.0,
)


def on_map(strategy: str = "fair", **changes: Any) -> EnvConfig:
    cfg = calm()
    cfg.terrain, cfg.curriculum = MAP, CurriculumConfig(strategy, **changes)
    return cfg


def course_of(env: LeggedEnv) -> Course:
    assert env.course is not None
    return env.course


def rest(env: LeggedEnv) -> Tensor:
    return torch.zeros(env.num_envs, env.num_actions)


def move(env: LeggedEnv, rows: list[int], x: float, y: float) -> None:
    """Put robots somewhere, 0.8 m above the level border, at rest."""
    write(env, rows, torch.tensor([x, y, 0.8]).repeat(env.num_envs, 1), [1.0, 0.0, 0.0, 0.0])


def tip(env: LeggedEnv, *rows: int) -> None:
    """Lay robots on their backs, just touching the ground, so that the next step ends their episodes as falls."""
    pos = course_of(env).origins() + torch.tensor([0.0, 0.0, 0.13])
    write(env, list(rows), pos, [0.0, 1.0, 0.0, 0.0])


def write(env: LeggedEnv, rows: list[int], pos: Tensor, quat: list[float]) -> None:
    n = env.num_envs
    mask = torch.zeros(n, dtype=torch.bool)
    mask[rows] = True
    angles, zero = env.default_joint_pos.expand(n, -1), torch.zeros(n, 3)
    rates = torch.zeros_like(angles)
    env.engine.write_state(mask, pos, torch.tensor(quat).repeat(n, 1), zero, zero, angles, rates)


def test_robots_are_spread_over_columns_and_first_levels() -> None:
    env = make(on_map(max_initial_level=2), 400)
    course = course_of(env)
    assert course.column.bincount().tolist() == [100] * 4
    assert course.shape.bincount().tolist() == [200, 100, 100]
    counts = course.level.bincount(minlength=4).tolist()
    assert counts[3] == 0 and min(counts[:3]) > 90
    assert course.terrain.shapes == ["stairs_up", "pit", "slope_down"]


def test_a_reset_of_all_promotes_nobody() -> None:
    env = LeggedEnv(on_map("hardest"), 8, num_threads=1)
    course_of(env).assign(torch.arange(8) % 4, course_of(env).column.clone())
    before = course_of(env).level.clone()
    env.reset()
    env.step(rest(env))
    env.reset()
    assert torch.equal(course_of(env).level, before)
    assert not course_of(env).curriculum.buffers["episodes"].any()


def test_a_seed_gives_the_same_first_levels() -> None:
    env, other = make(on_map(), 32, seed=1), make(on_map(), 32, seed=2)
    assert not torch.equal(course_of(env).level, course_of(other).level)
    env.reset(seed=9), other.reset(seed=9)
    assert torch.equal(course_of(env).level, course_of(other).level)
    assert torch.equal(env.engine.base_pos, other.engine.base_pos)


def test_robots_start_on_the_middle_of_their_tile() -> None:
    env = make(on_map(max_initial_level=3), 32)
    terrain = build_terrain(MAP)
    for _ in range(2):
        origin = torch.tensor(terrain.origins)[course_of(env).level, course_of(env).column].float()
        away = env.engine.base_pos - origin
        assert torch.allclose(away[:, 2], torch.full((32,), env.cfg.robot.init_height), atol=1e-5)
        assert away[:, :2].abs().max() <= 1.0 and away[:, :2].std() > 0.3
        heights = terrain.ground.height_at(env.engine.base_pos[:, :2])
        assert (env.engine.base_pos[:, 2] - heights > 0.3).all(), "above the ground"
        # the same after an episode that ended by itself
        env.episode_length.fill_(env.max_episode_length - 1)
        _, _, _, truncated, _ = env.step(rest(env))
        assert truncated.all()


def test_a_robot_that_leaves_the_map_is_truncated_and_counted() -> None:
    env = make(on_map(), 6)
    level = course_of(env).level.clone()
    size, border = 32.0, 5.0
    move(env, [0], size + border - 0.5 * EDGE, 16.0)
    move(env, [1], 16.0, -border + 0.5 * EDGE)
    move(env, [2], size + border - 1.5 * EDGE, 16.0)
    tip(env, 3)
    _, _, terminated, truncated, info = env.step(rest(env))
    assert truncated.tolist() == [True, True, False, False, False, False]
    assert terminated.tolist() == [False, False, False, True, False, False]
    assert info["log"]["Episode/left_map"] == pytest.approx(2 / 3)
    assert info["log"]["Episode/fall_rate"] == pytest.approx(1 / 3)
    away = env.engine.base_pos - course_of(env).origins()
    assert away[:2, :2].abs().max() <= 1.0, "back on a tile"
    assert (course_of(env).level - level).abs().max() <= 1
    _, _, terminated, truncated, info = env.step(rest(env))
    assert not truncated.any() and not terminated.any() and info["log"]["Episode/left_map"] == 0.0


def test_the_end_of_the_map_is_a_metre_before_its_last_vertex() -> None:
    course = course_of(make(on_map(), 1))
    low, high = -5.0 + 0.05, 37.0 - 0.05  # vertices lie in the middle of their cells
    inside = torch.tensor([[low + 1.01, 0.0, 0.0], [high - 1.01, 0.0, 0.0], [0.0, high - 1.01, 9.0]])
    outside = torch.tensor([[low + 0.99, 0.0, 0.0], [high - 0.99, 0.0, 0.0], [0.0, high - 0.99, 9.0]])
    assert not course.has_left(inside).any() and course.has_left(outside).all()


def test_a_fall_at_once_takes_a_robot_down_whatever_the_others_do() -> None:
    env = make(on_map(), 4)
    course_of(env).assign(torch.tensor([2, 2, 0, 2]), course_of(env).column.clone())
    env.reset()
    tip(env, 1, 2)
    _, _, terminated, _, info = env.step(rest(env))
    assert terminated.tolist() == [False, True, True, False]
    assert course_of(env).level.tolist() == [2, 1, 0, 2]
    assert info["log"]["Curriculum/level"] == pytest.approx(5 / 4)
    assert info["log"]["Episode/success"] == 0.0
    count, rate = course_of(env).table()
    assert count.sum() == 4 and rate[2, 0] == 0.0 and math.isnan(rate[3, 0])


def lap(course: Course, command: Tensor, velocity: Tensor, turning: Tensor, steps: int = 100) -> None:
    """Let robots move at constant velocities for `steps` of 0.2 s."""
    rates = torch.stack((torch.zeros_like(turning), torch.zeros_like(turning), turning), 1)
    state: Any = SimpleNamespace(command=command, base_lin_vel=velocity, base_ang_vel=rates, step_dt=0.2)
    for _ in range(steps):
        course.track(state)


def test_the_record_of_an_episode_is_what_robots_did() -> None:
    made = Buffers(6)
    course = Course(CurriculumConfig("fair"), build_terrain(MAP), 20.0, made)
    course.assign(torch.full((6,), 2), course.column.clone())
    everyone = torch.ones(6, dtype=torch.bool)
    course.begin(everyone)
    #          circle, stands as told, too fast, sideways instead, half of it, turns too slowly on the spot
    command = [
        [1.0, 0.0, 1.0],
        [0.0, 0.0, 0.0],
        [0.5, 0.0, 0.0],
        [0.0, 0.8, 0.0],
        [0.0, -1.0, 0.0],
        [0.0, 0.0, 1.0],
    ]
    velocity = [
        [1.0, 0.0, 0.0],
        [0.1, 0.0, 0.1],
        [0.9, 0.0, 0.0],
        [0.8, 0.0, 0.0],
        [0.0, -0.6, 0.0],
        [0.0, 0.0, 0.0],
    ]
    turning = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    lap(course, torch.tensor(command), torch.tensor(velocity), turning)
    assert torch.allclose(made["path_asked"], torch.tensor([20.0, 0.0, 10.0, 16.0, 20.0, 0.0]), atol=1e-3)
    assert torch.allclose(made["path_followed"], torch.tensor([20.0, 0.0, 10.0, 0.0, 12.0, 0.0]), atol=1e-3)
    assert torch.allclose(made["time_tracked"], torch.tensor([20.0, 20.0, 0.0, 0.0, 0.0, 0.0]), atol=1e-3)
    done, nobody = torch.tensor([True] * 5 + [False]), torch.zeros(6, dtype=torch.bool)
    end: Any = SimpleNamespace(command=torch.tensor(command), base_pos=course.origins())
    succeeded = course.finish(done, nobody, nobody, end, torch.zeros(6))
    assert course.level.tolist() == [3, 3, 3, 1, 2, 2]
    assert succeeded[:5].tolist() == [True, True, True, False, False]
    course.begin(done)
    assert not made["path_asked"][:5].any() and made["time_alive"].tolist()[5] == pytest.approx(
        20.0, abs=1e-3
    )


def test_game_measures_from_the_middle_of_the_tile() -> None:
    env = make(on_map("game"), 4)
    course = course_of(env)
    course.assign(torch.full((4,), 1), course.column.clone())
    env.reset()
    env.set_commands(torch.tensor([[0.0, 0.0, 1.0]]).expand(4, 3))
    origins = course.origins().clone()
    for row, (dx, dy) in enumerate([(3.9, 0.0), (4.1, 0.0), (0.0, -4.1), (2.7, 2.7)]):
        write(env, [row], origins + torch.tensor([dx, dy, 1.0]), [1.0, 0.0, 0.0, 0.0])
    env.episode_length.fill_(env.max_episode_length - 1)
    _, _, _, truncated, _ = env.step(rest(env))
    assert truncated.all() and course.level.tolist() == [1, 2, 2, 1]


@pytest.mark.parametrize("strategy", ["game", "fair", "linear", "progress"])
def test_a_restored_environment_has_the_same_levels_and_the_same_next_ones(strategy: str) -> None:
    def config() -> EnvConfig:
        cfg = rugged()
        cfg.curriculum = CurriculumConfig(strategy, linear_steps=20, max_initial_level=2)
        cfg.episode_length = 0.2
        cfg.init.base_position = 0.02  # in so short an episode, game asks for centimetres
        return cfg

    env = make(config(), 8, seed=3)
    for actions in random_actions(env, 4, seed=4):
        env.step(actions)
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    copy = make(config(), 8, seed=5)
    copy.load_state_dict(torch.load(file, weights_only=True))
    past = []
    for actions in random_actions(env, 15, seed=6):
        for name, tensor in course_of(env).curriculum.buffers.items():
            assert torch.equal(course_of(copy).curriculum.buffers[name], tensor), name
        assert torch.equal(course_of(copy).level, course_of(env).level)
        assert torch.equal(course_of(copy).column, course_of(env).column)
        past.append(course_of(env).level.clone())
        env.step(actions), copy.step(actions)
    assert any(not torch.equal(level, past[0]) for level in past), "levels must change"


@pytest.mark.parametrize(
    ("tile", "border", "more"), [(2.0, 0.0, "1.6 m"), (3.0, 1.0, "0.05 m"), (3.2, 1.0, "")]
)
def test_a_map_that_robots_leave_as_they_move_is_refused(tile: float, border: float, more: str) -> None:
    cfg = on_map()
    cfg.terrain = TerrainConfig(type="tile", shape="flat", tile_size=tile, border=border)
    cfg.init.base_position = 1.0
    if not more:
        make(cfg, 2)
        return
    with pytest.raises(ValueError, match=f"too small.*need {more} more.*border or tile_size"):
        make(cfg, 2)


def test_without_a_map_there_is_no_course() -> None:
    env = make(calm(), 2)
    assert env.course is None
    assert not any(
        name.startswith(("terrain", "curriculum", "course")) for name in env.state_dict()["buffers"]
    )


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="env.curriculum.strategy 'gaem'.*Did you mean game"):
        LeggedEnv(on_map("gaem"), 2)
