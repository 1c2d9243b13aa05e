"""A task and its recipes: an environment's configuration, and what it changes of the learner's defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from envs.config import EnvConfig
from envs.targets import Targets
from robots.config import nearest


@dataclass(frozen=True)
class Recipe:
    """One way to train a task."""

    env: Callable[[], EnvConfig]
    """Makes the environment's configuration."""
    agent: dict[str, Any] = field(default_factory=dict)
    """Changes to the learner's defaults, nested as in `algorithms.config.LearnerConfig`."""
    num_envs: int = 4096
    """Robots trained together."""
    max_iterations: int = 1500
    """Policy updates."""


def for_gpu(recipe: Recipe, max_iterations: int, save_interval: int) -> Recipe:
    """A recipe where robots cost little and each launch costs: more of them, and rarer but larger evaluations.

    4,096 robots are where an H100 has little left to gain in time: an iteration of eight times as many takes five
    times as long.
    """
    rare = {"save_interval": save_interval, "eval_envs": 1024, "eval_seconds": 5.0}
    return replace(recipe, agent=recipe.agent | rare, num_envs=4096, max_iterations=max_iterations)


@dataclass(frozen=True)
class Task:
    """A named task and its recipes; the first recipe is the default."""

    name: str
    recipes: dict[str, Recipe]
    gym_id: str
    """Name in the gymnasium registry."""
    targets: Targets | None = None
    """What its policy should reach; None where nothing is declared."""
    samples_needed: dict[str, float] = field(default_factory=dict)
    """Recipe -> samples after which a training, as the recipe is, was seen to meet the targets: upper bounds, of the
    runs in docs/results.md. Recipes that were not measured are left out."""

    @property
    def default_recipe(self) -> str:
        """Name of the first recipe."""
        return next(iter(self.recipes))

    def default_on(self, device: str) -> str:
        """Name of the recipe for a device: `gpu` on a GPU, if the task has it, else the first."""
        return "gpu" if device != "cpu" and "gpu" in self.recipes else self.default_recipe

    def recipe(self, name: str) -> Recipe:
        """A recipe by name, '' for the default; ValueError with the choices."""
        name = name or self.default_recipe
        if name not in self.recipes:
            known = list(self.recipes)
            raise ValueError(
                f"task {self.name} has no recipe {name!r}; "
                f"choose from {', '.join(known)}.{nearest(name, known)}"
            )
        return self.recipes[name]
