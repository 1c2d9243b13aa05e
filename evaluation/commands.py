"""How well does a policy follow each class of commands on the kind of ground it was trained for?

Every robot gets one command for one episode, on tiles that were not trained on, on all levels of difficulty alike.
Nominal friction and mass, no observation noise, no pushes. What counts is the curriculum's own measure
(`terrains.curriculum.Episodes`): the share of the path asked for that was followed, or of the time that a robot
told to stand or to turn on the spot did so.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from evaluation.terrain import wilson
from evaluation.walking import evaluation_config
from native.launch import repeat
from terrains.curriculum import Curriculum, Episodes

SECONDS = 10.0
"""Length of the episode, s."""
COMMANDS: dict[str, tuple[float, float, float]] = {
    "forward": (0.75, 0.0, 0.0),
    "slow": (0.3, 0.0, 0.0),
    "sideways": (0.0, 0.5, 0.0),
    "turning": (0.5, 0.0, 0.75),
    "on_the_spot": (0.0, 0.0, 0.75),
    "standing": (0.0, 0.0, 0.0),
}
"""Class -> forward velocity, velocity to the left, m/s, and yaw rate, rad/s. Every second robot gets the mirror
image of a command with a side."""


@dataclass
class CommandResult:
    """Result on one class of commands."""

    name: str
    robots: int
    followed: float
    """Mean score of `Episodes.score`, 0 to 1."""
    low: float
    """Lower end of the 95 % confidence interval of that mean."""
    high: float
    tracked: float
    """Mean share of the time with all velocities near the command."""
    falls: float
    """Share of robots that fell."""
    falls_low: float
    """Lower end of its 95 % confidence interval (Wilson 1927)."""
    falls_high: float


class Recorder(Curriculum):
    """A curriculum that leaves every robot where it is and keeps the outcome of its first episode."""

    def start(self, num_envs: int) -> None:
        """Wait for the first episode of each robot."""
        self.waiting = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.score, self.tracked, self.fell = torch.zeros(3, num_envs, device=self.device)

    def next_levels(self, episodes: Episodes, done: Tensor, random: Tensor) -> Tensor:
        """See `Curriculum`."""
        first = done & self.waiting
        outcome = episodes.score(), episodes.tracked, episodes.fell.float()
        for kept, new in zip((self.score, self.tracked, self.fell), outcome, strict=True):
            kept.copy_(torch.where(first, new, kept))
        self.waiting.logical_and_(~done)
        return episodes.level


@torch.no_grad()
def command_test(
    cfg: EnvConfig,
    make_act: Callable[[LeggedEnv], Callable[[Tensor], Tensor]],
    robots: int = 200,
    seed: int = 1,
    engine: str = "auto",
    device: str = "cpu",
    num_threads: int = 0,
) -> list[CommandResult]:
    """Run the test.

    Args:
        cfg: the task that a policy was trained on; a copy is changed.
        make_act: environment -> deterministic policy, observations [N, O] -> actions [N, A].
        robots: for each class.
        seed: of tiles and starts.
        engine: physics engine.
        device: where the tensors live.
        num_threads: threads of a CPU engine.

    Returns:
        One result for every class of `COMMANDS`.
    """
    cfg = evaluation_config(copy.deepcopy(cfg), SECONDS)
    cfg.episode_length = SECONDS  # so that every episode ends within the test
    cfg.curriculum.strategy = "fixed"
    cfg.init.yaw = math.pi
    cfg.terrain.seed += 1000 + seed
    if cfg.terrain.type == "plane":
        cfg.terrain.type, cfg.terrain.shape = "tile", "flat"
    n = robots * len(COMMANDS)
    env = LeggedEnv(cfg, n, engine, device, num_threads, seed)
    course = env.course
    assert course is not None
    levels, columns = course.terrain.origins.shape[:2]
    one = torch.arange(n) % robots  # robots of different classes start on the same tiles
    level, column, mirrored = deal(robots, levels, columns)
    course.assign(level[one].to(env.device), column[one].to(env.device))
    recorder = Recorder(cfg.curriculum, levels, len(course.terrain.shapes), env.device)
    recorder.start(n)
    course.curriculum = recorder
    command = torch.tensor(list(COMMANDS.values())).repeat_interleave(robots, 0)
    command[:, 1:] *= torch.where(mirrored[one], -1.0, 1.0).unsqueeze(1)
    act = make_act(env)
    env.reset()
    env.set_commands(command.to(env.device))
    repeat(
        lambda: env.step(act(env.get_observations()["policy"])),
        env.max_episode_length,
        env.device,
        env.generator,
    )
    return [
        _result(name, *(kept[i * robots : (i + 1) * robots] for kept in _kept(recorder)))
        for i, name in enumerate(COMMANDS)
    ]


def deal(robots: int, levels: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Level, column and whether its command is mirrored, [robots] each, so that all three are as good as independent.

    Robots go from column to column; each round begins some levels further up, and every second one is mirrored.
    """
    rounds, column = torch.arange(robots) // columns, torch.arange(robots) % columns
    stride = max(1, round(levels * columns / robots))
    return (column + rounds * stride) % levels, column, rounds % 2 == 1


def _kept(recorder: Recorder) -> tuple[Tensor, Tensor, Tensor]:
    return recorder.score.cpu(), recorder.tracked.cpu(), recorder.fell.cpu()


def _result(name: str, score: Tensor, tracked: Tensor, fell: Tensor) -> CommandResult:
    n, mean = len(score), score.mean().item()
    half = 1.96 * score.std().item() / math.sqrt(n) if n > 1 else math.nan
    return CommandResult(
        name,
        n,
        mean,
        mean - half,
        mean + half,
        tracked.mean().item(),
        fell.mean().item(),
        *wilson(int(fell.sum()), n),
    )
