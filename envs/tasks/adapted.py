"""ANYmal C's tasks for other robots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from envs.config import EnvConfig
from envs.tasks import Recipe, Task, anymal_c_flat, anymal_c_rough

STD_RANGE = (0.05, 2.0)
"""A policy's default, which environments do not import."""


def robot_tasks(
    robot: str,
    gym_name: str,
    adapt: Callable[[EnvConfig], EnvConfig],
    on_flat_ground: Callable[[EnvConfig], EnvConfig] | None = None,
    flat_samples: dict[str, float] | None = None,
    rough_samples: dict[str, float] | None = None,
) -> tuple[Task, Task]:
    """`<robot>_flat` and `<robot>_rough`, known to gymnasium as `Trot/<gym_name>Flat-v0` and `...Rough-v0`.

    Args:
        robot: name of the robot.
        gym_name: the same in gymnasium's style.
        adapt: changes a configuration of ANYmal C's to the robot's and returns it.
        on_flat_ground: changes it further for recipes of the flat task other than `reference`.
        flat_samples: what is known of `Task.samples_needed` of the flat task.
        rough_samples: the same of the rough task.
    """

    def flat(cfg: EnvConfig) -> EnvConfig:
        return on_flat_ground(adapt(cfg)) if on_flat_ground else adapt(cfg)

    flat_task, rough_task = anymal_c_flat.TASKS[0], anymal_c_rough.TASKS[0]
    gym_id = f"Trot/{gym_name}"
    return (
        _adapted(flat_task, f"{robot}_flat", f"{gym_id}Flat-v0", adapt, flat, flat_samples or {}),
        _adapted(rough_task, f"{robot}_rough", f"{gym_id}Rough-v0", adapt, adapt, rough_samples or {}),
    )


def _adapted(
    task: Task,
    name: str,
    gym_id: str,
    reference: Callable[[EnvConfig], EnvConfig],
    others: Callable[[EnvConfig], EnvConfig],
    samples_needed: dict[str, float],
) -> Task:
    recipes = {
        key: _adapted_recipe(recipe, reference if key == "reference" else others)
        for key, recipe in task.recipes.items()
    }
    return Task(name, recipes, gym_id, task.targets, samples_needed)


def _adapted_recipe(recipe: Recipe, adapt: Callable[[EnvConfig], EnvConfig]) -> Recipe:
    """A recipe with its own noise explores, and penalises changes of the action, in radians.

    Where an action is half as many of them, its noise is twice as large, and may be: else a robot with a small action
    scale never leaves its stance.
    """
    policy = recipe.agent.get("policy", {})
    if "init_std" not in policy:
        return replace(recipe, env=lambda: adapt(recipe.env()))
    stretch = recipe.env().control.action_scale / adapt(recipe.env()).control.action_scale

    def env() -> EnvConfig:
        cfg = adapt(recipe.env())
        cfg.rewards["action_rate"].weight /= stretch**2
        return cfg

    std, (low, high) = stretch * policy["init_std"], policy.get("std_range", STD_RANGE)
    agent = recipe.agent | {"policy": policy | {"init_std": std}}
    if std > high:
        agent["policy"]["std_range"] = (low, std)
    return replace(recipe, env=env, agent=agent)
