"""Which level of difficulty a robot is given next.

A strategy reads what robots did in the episodes that end, and returns new levels: a class with `next_levels` and
`@strategy`. Its memory lies in `buffers`, tensors on the device that checkpoints keep; what it learns about cells in
`learn` comes from the robots of all processes that train together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robots.config import nearest

SUCCESS = 0.7
"""An episode succeeded if the robot did not fall and followed at least this share of its commands."""


@dataclass
class CurriculumConfig:
    """How the difficulty of the terrain follows what robots can do."""

    strategy: str = "fair"
    """game (the paper's rule), fair, fixed, uniform, hardest, linear, progress, or your own."""
    max_initial_level: int = 5
    """Highest level at the start of training; the reference's value. Of `fixed` for good; `uniform`, `hardest` and
    `linear` have levels of their own."""
    promote: float = 0.75
    """fair: share of the commands that must be followed to go up."""
    demote: float = 0.5
    """fair: below this share of the commands a robot goes down."""
    slow: float = 0.1
    """Commands that ask for less than this on average are judged by tracking, m/s."""
    linear_steps: int = 24_000
    """linear: policy steps until all levels are in use."""
    memory: float = 0.99
    """Weight of the past in a cell's success rate, by episode."""

    def validate(self) -> None:
        """Check ranges; ValueError with one sentence."""
        if self.strategy not in STRATEGIES:
            names = list(STRATEGIES)
            raise ValueError(
                f"unknown env.curriculum.strategy {self.strategy!r}; choose from {', '.join(names)}."
                f"{nearest(self.strategy, names)}"
            )
        if self.max_initial_level < 0:
            raise ValueError(
                f"env.curriculum.max_initial_level must not be negative, not {self.max_initial_level}"
            )
        if not 0.0 <= self.demote <= self.promote <= 1.0:
            raise ValueError(
                "env.curriculum needs 0 <= demote <= promote <= 1, "
                f"not demote {self.demote} and promote {self.promote}"
            )
        if self.linear_steps < 1:
            raise ValueError(f"env.curriculum.linear_steps must be at least 1, not {self.linear_steps}")
        if not 0.0 <= self.memory < 1.0:
            raise ValueError(f"env.curriculum.memory must lie in [0, 1), not {self.memory}")


@dataclass
class Episodes:
    """What N robots did since their episodes began; all tensors are [N]."""

    level: Tensor
    """Row of the map that the robot started on, int64."""
    shape: Tensor
    """Shape of its tile, index into `Terrain.shapes`, int64."""
    distance: Tensor
    """From the centre of its tile as the crow flies, m."""
    asked: Tensor
    """Length of the path that the commands asked for: their speed integrated over time, m."""
    followed: Tensor
    """What was travelled of it: velocity along the command, no more than commanded, integrated, m."""
    tracked: Tensor
    """Share of the time with all velocities near the command, 0 to 1."""
    last_speed: Tensor
    """Horizontal speed asked for by the last command, m/s."""
    time: Tensor
    """Length of the episode, s."""
    limit: float
    """Time limit of an episode, s."""
    tile_size: float
    """Side of a tile, m."""
    fell: Tensor
    """Robot fell, bool."""
    left: Tensor
    """Robot left the map, bool."""
    slow: float = 0.1
    """Commands that ask for less than this on average are judged by tracking, m/s."""

    def score(self) -> Tensor:
        """Share of its commands that a robot followed, [N], about 0 to 1, whatever they were.

        Along the path asked for, so that turning and changes of direction cost nothing; standing and commands
        slower than `slow` m/s by tracking. What a fall left undone counts as not followed.
        """
        path = (self.followed / self.asked.clamp(min=1e-6)).nan_to_num()  # a robot may have diverged
        score = torch.where(self.asked > self.slow * self.time, path, self.tracked)
        return torch.where(self.fell, score * (self.time / self.limit), score)

    def succeeded(self) -> Tensor:
        """Robot followed its commands to the end, bool, [N]."""
        return ~self.fell & (self.score() > SUCCESS)

    def judged(self) -> Tensor:
        """Episodes that tell something: those that ended early without a fall (the first ones) do not; bool."""
        return self.fell | self.left | (self.time > 0.5 * self.limit)


class CommandCurriculum:
    """Widens the range of commanded forward velocities by `STEP` when robots follow it (Rudin et al. 2021, code).

    Whenever an episode's length has passed, the tracking reward of the episodes that ended since the last time is
    looked at: more than `GOOD` of its maximum on average, and the range grows.
    """

    STEP = 0.5
    GOOD = 0.8

    def __init__(self, start: tuple[float, float], limit: float, interval: int, device: torch.device):
        """Begin with the range `start`, never widen it beyond +-`limit`, m/s; look every `interval` policy steps.

        Its fast end rises if it lies above 0, its slow end falls if it lies below: neither moves towards the other.
        """
        self.limit, self.interval = limit, interval
        self.range = torch.tensor(start, device=device)
        """Slowest and fastest command, m/s, [2]."""
        self._seen = torch.zeros(3, device=device)  # steps, episodes, sum of their tracking
        self._processes = 1
        self._counts: Tensor | None = None  # of the same, see `pool_counts`
        self.buffers = {"range": self.range, "seen": self._seen}
        """Memory, part of the environment's state."""

    def pool_counts(self, processes: int) -> list[Tensor]:
        """See `Curriculum.pool_counts`."""
        self._processes, self._counts = processes, torch.zeros_like(self._seen)
        return [self._counts]

    def learn_from_counts(self) -> None:
        """See `Curriculum.learn_from_counts`."""
        if self._counts is not None:
            self._learn(self._counts)
            self._counts.zero_()

    def update(self, tracking: Tensor, done: Tensor) -> None:
        """Take note of a step.

        Args:
            tracking: mean tracking reward of the episode in 0 to 1, [N].
            done: robots whose episode ended, bool, [N].
        """
        ended = done.float()
        new = torch.stack((torch.ones_like(ended[0]), ended.sum(), ended @ tracking))
        if self._counts is None:
            self._learn(new)
        else:
            self._counts += new

    def _learn(self, new: Tensor) -> None:
        """Steps, episodes and the sum of their tracking, [3], of all processes."""
        self._seen += new
        due = self._seen[0] >= self.interval * self._processes
        good = due & (self._seen[2] > self.GOOD * self._seen[1])
        step, (slowest, fastest) = torch.where(good, self.STEP, 0.0), self.range
        slower = torch.minimum(slowest, (slowest - step * (slowest < 0.0)).clamp(min=-self.limit))
        faster = torch.maximum(fastest, (fastest + step * (fastest > 0.0)).clamp(max=self.limit))
        self.range.copy_(torch.stack((slower, faster)))
        self._seen.mul_(~due)


class Curriculum:
    """A strategy for `levels` levels of `shapes` shapes of terrain."""

    def __init__(self, cfg: CurriculumConfig, levels: int, shapes: int, device: torch.device):
        self.cfg, self.levels, self.shapes, self.device = cfg, levels, shapes, device
        self.buffers: dict[str, Tensor] = {
            name: torch.zeros(levels * shapes, device=device) for name in ("episodes", "successes")
        }
        """Memory, part of the environment's state: counts of each cell (level, shape), and a strategy's own."""
        self._counts: tuple[Tensor, Tensor] | None = None  # episodes and successes, see `pool_counts`

    def pool_counts(self, processes: int) -> list[Tensor]:
        """From now on only count in a step, so that all processes learn from one another's robots.

        Whenever the counts returned here were summed over the processes, `learn_from_counts` is called. None are kept
        in checkpoints, which are written after that.

        Args:
            processes: how many there are.
        """
        episodes = self.buffers["episodes"]
        self._counts = torch.zeros_like(episodes), torch.zeros_like(episodes)
        return list(self._counts)

    def learn_from_counts(self) -> None:
        """Learn from the counts of all processes, and count anew."""
        if self._counts is not None:
            self.learn(*self._counts)
            torch._foreach_zero_(list(self._counts))

    def first_levels(self, random: Tensor) -> Tensor:
        """Levels to begin training with, int64 [N], from numbers in [0, 1), [N]."""
        return (random * (min(self.cfg.max_initial_level, self.levels - 1) + 1)).long()

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """Levels of the next episodes, int64 [N].

        Args:
            episodes: results; rows where `done` is False are unfinished, and what is returned for them is unused.
            done: robots whose episode ended, bool, [N].
            random: numbers in [0, 1), [N].
        """
        raise NotImplementedError

    def record(self, episodes: Episodes, done: Tensor, succeeded: Tensor) -> None:
        """Count the episodes that end, [N] each, and `learn` from them."""
        counted = done & episodes.judged()
        count, wins = self._per_cell(episodes, counted), self._per_cell(episodes, counted & succeeded)
        if self._counts is None:
            self.learn(count, wins)
        else:
            torch._foreach_add_(list(self._counts), [count, wins])

    def learn(self, count: Tensor, wins: Tensor) -> None:
        """Update the memory of each cell by the episodes that ended there, and those of them that succeeded.

        Called in every step before `next_levels`, or between steps by `learn_from_counts`.

        Args:
            count: episodes, [levels x shapes].
            wins: successes, [levels x shapes].
        """
        fade = self.cfg.memory**count
        for buffer, new in (("episodes", count), ("successes", wins)):
            self.buffers[buffer].mul_(fade).add_(new)

    def success_rate(self) -> Tensor:
        """Share of the last hundred or so episodes in each cell that succeeded, [levels x shapes]; else NaN."""
        return self.buffers["successes"] / self.buffers["episodes"]

    def _per_cell(self, episodes: Episodes, mask: Tensor) -> Tensor:
        """Robots in `mask` on each cell, [levels x shapes]."""
        cell = episodes.level * self.shapes + episodes.shape
        return torch.zeros_like(self.buffers["episodes"]).scatter_add_(0, cell, mask.float())

    def _moved(self, level: Tensor, up: Tensor, down: Tensor, random: Tensor) -> Tensor:
        """One level up or down; past the last one, a random level, so that no level is forgotten."""
        moved = level + up.long() - (down & ~up).long()
        return torch.where(moved >= self.levels, (random * self.levels).long(), moved.clamp(min=0))


STRATEGIES: dict[str, type[Curriculum]] = {}
"""Every strategy by its name."""


def strategy(cls: type[Curriculum]) -> type[Curriculum]:
    """Register a strategy under its class's name in lower case."""
    STRATEGIES[cls.__name__.lower()] = cls
    return cls


def make_curriculum(cfg: CurriculumConfig, levels: int, shapes: int, device: torch.device) -> Curriculum:
    """The configured strategy; ValueError for an unknown one."""
    cfg.validate()
    return STRATEGIES[cfg.strategy](cfg, levels, shapes, device)


@strategy
class Game(Curriculum):
    """The paper's rule, as published (Rudin et al. 2021, section 3.2, and its code).

    Further than half a tile from its centre: up. Less than half of what the last command asks for in a whole
    episode: down, although commands change, robots turn, and some episodes are short. (The published code draws a
    command one step before it looks at it at a time-out; here it is the last one that the robot followed.)
    """

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        up = episodes.distance > 0.5 * episodes.tile_size
        down = episodes.distance < 0.5 * episodes.last_speed * episodes.limit
        return self._moved(episodes.level, up, down, random)


@strategy
class Fair(Curriculum):
    """Up for following commands to the end, whatever they were; down for following few of them, or an early fall."""

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        score, judged = episodes.score(), episodes.judged()
        up = judged & ~episodes.fell & (score > self.cfg.promote)
        down = judged & (score < self.cfg.demote)
        return self._moved(episodes.level, up, down, random)


@strategy
class Fixed(Curriculum):
    """Every robot stays at its first level."""

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return episodes.level


@strategy
class Uniform(Curriculum):
    """No curriculum: every level is as likely as any other, always."""

    def first_levels(self, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return (random * self.levels).long()

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return (random * self.levels).long()


@strategy
class Hardest(Curriculum):
    """Always the last level."""

    def first_levels(self, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return torch.full_like(random, self.levels - 1, dtype=torch.int64)

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return self.first_levels(random)


@strategy
class Linear(Curriculum):
    """Levels up to one that rises with time, whatever robots can do."""

    def __init__(self, cfg: CurriculumConfig, levels: int, shapes: int, device: torch.device):
        super().__init__(cfg, levels, shapes, device)
        self.buffers["steps"] = torch.zeros((), dtype=torch.int64, device=device)

    def first_levels(self, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        return torch.zeros_like(random, dtype=torch.int64)

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        steps = self.buffers["steps"]
        steps += 1
        open_levels = 1.0 + (self.levels - 1) * (steps / self.cfg.linear_steps).clamp(max=1.0)
        return (random * open_levels).long()


@strategy
class Progress(Curriculum):
    """Levels where success changes fastest, for each shape (learning progress: Oudeyer et al. 2007; teacher-student
    curriculum learning: Matiisen et al. 2017).

    Success of each cell (level, shape) is averaged over many and over few episodes; a level's chance is the
    difference of the two, and a little, so that nothing is forgotten.
    """

    FLOOR = 0.02

    def __init__(self, cfg: CurriculumConfig, levels: int, shapes: int, device: torch.device):
        super().__init__(cfg, levels, shapes, device)
        for name in ("slow", "fast"):
            self.buffers[name] = torch.zeros(levels * shapes, device=device)

    def learn(self, count: Tensor, wins: Tensor) -> None:
        """See `Curriculum`."""
        super().learn(count, wins)
        rate = wins / count.clamp(min=1.0)
        for name, memory in (("slow", self.cfg.memory), ("fast", self.cfg.memory**4)):
            self.buffers[name].lerp_(rate, 1.0 - memory**count)

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        change = (self.buffers["fast"] - self.buffers["slow"]).abs()
        chance = change.view(self.levels, self.shapes) + self.FLOOR
        ends = (chance / chance.sum(0)).cumsum(0)  # [levels, shapes]
        return (random > ends[:, episodes.shape]).sum(0).clamp(max=self.levels - 1)
