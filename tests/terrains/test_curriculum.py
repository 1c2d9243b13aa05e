"""Curriculum strategies: each one's rule on episodes written by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terrains import curriculum as module
from terrains.curriculum import (
    STRATEGIES,
    CommandCurriculum,
    Curriculum,
    CurriculumConfig,
    Episodes,
    make_curriculum,
)

CPU = torch.device("cpu")
LEVELS, SHAPES, LIMIT = 10, 3, 20.0


def episodes(n: int = 1, **changes: Any) -> Episodes:
    """Whole episodes on level 4 that followed 10 m of 10 m in circles; a value or [N] for each change."""
    values: dict[str, Any] = {
        "level": 4, "shape": 0, "distance": 0.0, "asked": 10.0, "followed": 10.0, "tracked": 1.0,
        "last_speed": 0.5, "time": LIMIT, "fell": False, "left": False,
    }  # fmt: skip
    rows: dict[str, Any] = {k: torch.as_tensor(v).expand(n).clone() for k, v in (values | changes).items()}
    return Episodes(**rows, limit=LIMIT, tile_size=8.0)


def make(strategy: str, levels: int = LEVELS, **changes: Any) -> Curriculum:
    return make_curriculum(CurriculumConfig(strategy, **changes), levels, SHAPES, CPU)


def after(strategy: str, random: float = 0.35, **changes: Any) -> int:
    """Next level of one robot from level 4."""
    all_done, numbers = torch.ones(1, dtype=torch.bool), torch.tensor([random])
    return int(make(strategy).next_levels(episodes(**changes), all_done, numbers))


def spread(n: int = 1000) -> Tensor:
    return torch.arange(n) / n


@pytest.mark.parametrize(
    ("what", "changes", "level"),
    [
        ("in circles, all followed", {}, 5),
        ("far away, all followed", {"distance": 10.0}, 5),
        ("stands still as told", {"asked": 0.0, "followed": 0.0, "tracked": 0.95}, 5),
        ("slow as told", {"asked": 1.9, "followed": 1.0, "tracked": 0.95}, 5),
        ("told to stand, does not", {"asked": 0.0, "followed": 0.0, "tracked": 0.2}, 3),
        ("told to walk, stands", {"followed": 0.0, "tracked": 0.0}, 3),
        ("wrong way", {"followed": -5.0, "tracked": 0.0}, 3),
        ("half of it", {"followed": 6.0}, 4),
        ("a little less than half", {"followed": 4.9}, 3),
        ("falls at once", {"time": 0.5, "asked": 0.3, "followed": 0.3, "fell": True}, 3),
        ("stands, then falls early", {"time": 5.0, "asked": 0.0, "followed": 0.0, "fell": True}, 3),
        ("falls late", {"time": 18.0, "asked": 9.0, "followed": 9.0, "fell": True}, 4),
        ("diverges", {"time": 2.0, "followed": math.nan, "fell": True}, 3),
        ("leaves the map early, all followed", {"time": 3.0, "asked": 3.0, "followed": 3.0, "left": True}, 5),
        ("first episode, hardly begun", {"time": 4.0, "asked": 2.0, "followed": 0.0}, 4),
        ("first episode, hardly begun, well", {"time": 4.0, "asked": 2.0, "followed": 2.0}, 4),
        ("first episode, most of it", {"time": 11.0, "asked": 5.0, "followed": 5.0}, 5),
    ],
)
def test_fair_judges_by_what_was_asked_for(what: str, changes: dict, level: int) -> None:
    assert after("fair", **changes) == level, what


@pytest.mark.parametrize(
    ("what", "changes", "level"),
    [
        ("more than half a tile away", {"distance": 4.1}, 5),
        ("less than that", {"distance": 3.9, "last_speed": 0.0}, 4),
        ("less than half of the last command's way", {"distance": 3.9, "last_speed": 0.4}, 3),
        ("far enough goes up, however fast it was told", {"distance": 4.1, "last_speed": 1.4}, 5),
        ("unfair: circles as told", {"distance": 0.5}, 3),
        ("unfair: told to stand, may never rise", {"asked": 0.0, "last_speed": 0.0, "tracked": 1.0}, 4),
        ("unfair: the last command came a second ago", {"distance": 3.0, "asked": 1.0, "last_speed": 1.0}, 3),
        ("unfair: a short first episode", {"time": 2.0, "distance": 2.0, "last_speed": 1.0}, 3),
        ("unfair: rises by a fall down the slope", {"distance": 4.5, "fell": True, "time": 6.0}, 5),
    ],
)
def test_game_is_as_published(what: str, changes: dict, level: int) -> None:
    assert after("game", **changes) == level, what


@pytest.mark.parametrize("strategy", ["game", "fair"])
def test_past_the_last_level_comes_any_level_and_below_the_first_none(strategy: str) -> None:
    n, done = 1000, torch.ones(1000, dtype=torch.bool)
    curriculum = make(strategy)
    best = curriculum.next_levels(episodes(n, level=LEVELS - 1, distance=5.0), done, spread())
    assert torch.equal(best.bincount(minlength=LEVELS), torch.full((LEVELS,), n // LEVELS))
    worst = curriculum.next_levels(episodes(n, level=0, followed=0.0, last_speed=1.0), done, spread())
    assert not worst.any()


@pytest.mark.parametrize(
    ("strategy", "levels"),
    [
        ("game", range(4)),
        ("fair", range(4)),
        ("fixed", range(4)),
        ("progress", range(4)),
        ("uniform", range(LEVELS)),
        ("hardest", [LEVELS - 1]),
        ("linear", [0]),
    ],
)
def test_first_levels(strategy: str, levels: Any) -> None:
    first = make(strategy, max_initial_level=3).first_levels(spread(960))
    assert first.dtype == torch.int64 and first.unique().tolist() == list(levels)
    counts = first.bincount()[list(levels)]
    assert counts.max() - counts.min() <= 1
    assert make(strategy, levels=2, max_initial_level=5).first_levels(spread()).max() <= 1


def test_fixed_uniform_and_hardest_do_not_care() -> None:
    done, random = torch.ones(1000, dtype=torch.bool), spread()
    for result in (episodes(1000), episodes(1000, fell=True, followed=0.0)):
        assert (make("fixed").next_levels(result, done, random) == 4).all()
        assert (make("hardest").next_levels(result, done, random) == LEVELS - 1).all()
        counts = make("uniform").next_levels(result, done, random).bincount(minlength=LEVELS)
        assert (counts == 100).all()


def test_linear_opens_levels_with_time() -> None:
    curriculum = make("linear", linear_steps=90)
    done, highest = torch.zeros(1000, dtype=torch.bool), []
    for _ in range(120):
        highest.append(int(curriculum.next_levels(episodes(1000), done, spread()).max()))
    assert highest[0] == 1 and highest[-1] == LEVELS - 1 and highest == sorted(highest)
    assert highest[44] == 5, "half way, half of them: up to 5.5 levels are open"
    assert highest.index(LEVELS - 1) < 90
    assert curriculum.buffers["steps"] == 120, "kept with the checkpoint"


def test_progress_prefers_the_level_whose_success_changes() -> None:
    curriculum, n = make("progress"), 100
    done = torch.ones(n, dtype=torch.bool)
    share = curriculum.next_levels(episodes(1000), torch.zeros(1000, dtype=torch.bool), spread())
    assert share.bincount(minlength=LEVELS).min() >= 99, "all alike before anything is known"
    level = torch.arange(n) % LEVELS
    for step in range(60):
        # level 2 is always crossed, level 7 of the same shape only lately, the others never
        good = (level == 2) | ((level == 7) & (step >= 57))
        result = episodes(n, level=level, shape=1, followed=torch.where(good, 10.0, 0.0))
        curriculum.record(result, done, result.succeeded())
    counts = curriculum.next_levels(episodes(1000, shape=1), done[:1].expand(1000) & False, spread())
    counts = counts.bincount(minlength=LEVELS)
    assert counts.argmax() == 7 and counts[7] > 500 and counts.min() > 10, "and forgets none"
    other = curriculum.next_levels(episodes(1000, shape=0), torch.zeros(1000, dtype=torch.bool), spread())
    assert other.bincount(minlength=LEVELS).max() <= 101, "another shape has a progress of its own"


@pytest.mark.parametrize("strategy", ["fair", "progress"])
def test_processes_learn_from_the_sum_of_their_counts(strategy: str) -> None:
    whole, parts = make(strategy), [make(strategy) for _ in range(2)]
    counts = [part.pool_counts(2) for part in parts]
    n = 40
    for seed in range(5):
        random = torch.rand(4, n, generator=torch.Generator().manual_seed(seed))
        changes = {
            "level": (random[0] * LEVELS).long(), "shape": (random[1] * SHAPES).long(),
            "followed": 10.0 * random[2], "fell": random[3] > 0.8,
        }  # fmt: skip
        result, done = episodes(n, **changes), random[3] > 0.3
        whole.record(result, done, result.succeeded())
        for part, own in zip(parts, (slice(0, 15), slice(15, n)), strict=True):
            before = {name: buffer.clone() for name, buffer in part.buffers.items()}
            few = episodes(len(range(n)[own]), **{name: value[own] for name, value in changes.items()})
            part.record(few, done[own], few.succeeded())
            assert all(torch.equal(part.buffers[name], value) for name, value in before.items()), (
                "only counted"
            )
        for own_counts, others in zip(*counts, strict=True):
            total = own_counts + others
            own_counts.copy_(total)
            others.copy_(total)
        for part in parts:
            part.learn_from_counts()
    for part in parts:
        for name, value in whole.buffers.items():
            assert torch.equal(part.buffers[name], value), name
    assert whole.buffers["successes"].sum() > 0


def test_processes_widen_the_commands_together() -> None:
    whole = CommandCurriculum((-1.0, 1.0), 3.0, 4, CPU)
    parts = [CommandCurriculum((-1.0, 1.0), 3.0, 4, CPU) for _ in range(2)]
    counts = [part.pool_counts(2)[0] for part in parts]
    ranges = []
    for step in range(24):
        tracking, done = torch.tensor([1.0, 0.65, 0.9]), torch.tensor([True, step % 4 < 3, step > 8])
        whole.update(tracking, done)
        parts[0].update(tracking[:1], done[:1])
        parts[1].update(tracking[1:], done[1:])
        if step % 2:
            total = counts[0] + counts[1]
            for count, part in zip(counts, parts, strict=True):
                count.copy_(total)
                part.learn_from_counts()
                assert part.range.tolist() == whole.range.tolist()
            ranges.append(float(whole.range[1]))
    assert ranges[0] == 1.0 and ranges[-1] == 3.0, "not before an interval has passed, not beyond the limit"


def test_success_rate_is_that_of_recent_judged_episodes_in_each_cell() -> None:
    curriculum = make("fixed")
    assert curriculum.success_rate().isnan().all()
    done = torch.tensor([True, True, True, True, False, True])
    followed = torch.tensor([10.0, 10.0, 10.0, 0.0, 0.0, 0.0])
    time = torch.tensor([LIMIT] * 5 + [1.0])
    result = episodes(6, shape=1, followed=followed, time=time)
    curriculum.record(result, done, result.succeeded())
    rate = curriculum.success_rate().view(LEVELS, SHAPES)
    assert rate[4, 1] == pytest.approx(0.75) and rate.isnan().sum() == LEVELS * SHAPES - 1
    for _ in range(500):
        result = episodes(1, shape=1, fell=True)
        curriculum.record(result, torch.ones(1, dtype=torch.bool), result.succeeded())
    assert curriculum.success_rate().view(LEVELS, SHAPES)[4, 1] < 0.01, "old episodes fade"


def test_success_needs_most_of_the_commands_and_no_fall() -> None:
    result = episodes(
        4, followed=torch.tensor([10.0, 7.1, 6.9, 10.0]), fell=torch.tensor([False] * 3 + [True])
    )
    assert result.succeeded().tolist() == [True, True, False, False]


def test_what_counts_as_slow_is_one_thing_to_all() -> None:
    """A robot that should have crept 0.2 m/s stood, within the tolerance of tracking."""
    crept = episodes(1, asked=torch.tensor([4.0]), followed=torch.tensor([0.0]), tracked=torch.tensor([1.0]))
    assert not crept.succeeded().any()
    crept.slow = 0.3
    assert crept.score() == 1.0 and crept.succeeded().all()


number = st.floats(-100.0, 100.0, width=32)
share = st.floats(0.0, 1.0, width=32, exclude_max=True)


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    levels=st.integers(1, 12),
    rows=st.lists(st.tuples(share, number, number, share, share, st.booleans(), st.booleans()), min_size=1),
    random=share,
    memory=share,
)
def test_levels_stay_on_the_map(
    strategy: str, levels: int, rows: list[tuple], random: float, memory: float
) -> None:
    curriculum = make(strategy, levels, linear_steps=2, memory=memory)
    n = len(rows)
    place, distance, followed, tracked, time, fell, left = (
        torch.tensor(column) for column in zip(*rows, strict=True)
    )
    numbers = torch.full((n,), random)
    level = curriculum.first_levels(numbers)
    for _ in range(4):
        assert level.dtype == torch.int64 and level.min() >= 0 and level.max() < levels
        result = episodes(
            n, level=level, shape=(place * SHAPES).long(), distance=distance, followed=followed,
            asked=distance.abs(), tracked=tracked, time=time * LIMIT, fell=fell, left=left & ~fell,
        )  # fmt: skip
        curriculum.record(result, fell | left, result.succeeded())
        level = curriculum.next_levels(result, fell | left, numbers)
    rate = curriculum.success_rate()
    assert ((rate >= 0.0) & (rate <= 1.0) | rate.isnan()).all()


def test_an_unknown_strategy_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="'fare'; choose from game, fair, .* Did you mean fair") as error:
        make("fare")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_initial_level": -1}, "max_initial_level must not be negative"),
        ({"promote": 0.4}, "0 <= demote <= promote <= 1"),
        ({"promote": 1.4}, "0 <= demote <= promote <= 1"),
        ({"linear_steps": 0}, "linear_steps must be at least 1"),
        ({"memory": 1.0}, "memory must lie in"),
    ],
)
def test_bad_values_get_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurriculumConfig(**change).validate()


def test_a_strategy_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRATEGIES", dict(STRATEGIES))

    @module.strategy
    class Stairway(Curriculum):
        def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
            return (episodes.level + 2) % self.levels

    assert after("stairway") == 6
    with pytest.raises(ValueError, match="linear, progress, stairway"):
        make("stairwy")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="unknown"):
        make("stairway")


@pytest.mark.parametrize(
    ("start", "ranges"),
    [
        ((0.3, 1.0), [(0.3, 1.5), (0.3, 2.0), (0.3, 2.0)]),
        ((-1.0, -0.2), [(-1.5, -0.2), (-2.0, -0.2), (-2.0, -0.2)]),
        ((-0.8, 1.0), [(-1.3, 1.5), (-1.8, 2.0), (-2.0, 2.0)]),
        ((0.0, 0.5), [(0.0, 1.0), (0.0, 1.5), (0.0, 2.0)]),
        ((-3.0, 3.0), [(-3.0, 3.0)] * 3),
    ],
)
def test_ends_of_the_commands_range_never_approach(
    start: tuple[float, float], ranges: list[tuple[float, float]]
) -> None:
    curriculum = CommandCurriculum(start, 2.0, 1, CPU)
    for expected in ranges:
        curriculum.update(torch.ones(3), torch.tensor([True, True, False]))
        assert curriculum.range.tolist() == pytest.approx(expected)
