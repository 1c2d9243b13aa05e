"""What a saved configuration means to this version: the terms a run had, and what it did before there was a flag."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from torch import Tensor

from envs import observations, rewards
from envs.config import EnvConfig, ObservationTerm, RewardTerm
from robots.config import nearest
from terrains.shapes import SHAPES, all_parameters


def fill_in(env: dict[str, Any]) -> None:
    """Add what an older run did and its plain configuration of the environment does not say."""
    _drop_unused_shapes(env["terrain"])
    if env["terrain"]["type"] != "plane":  # there were no walls
        env["terrain"].setdefault("slope_threshold", 0.0)
    named = env["terrain"].get("parameters", {})  # those that were not the shape's own
    env["terrain"]["parameters"] = {name: own | named.get(name, {}) for name, own in all_parameters().items()}
    commands = env["commands"]
    if commands["heading"] and "judge_next_heading" not in commands:  # and no other limits to its yaw rate
        commands |= {"judge_next_heading": True, "ang_vel_yaw": [-1.0, 1.0]}


def _drop_unused_shapes(terrain: dict[str, Any]) -> None:
    """Forget kinds of terrain that are not here and had no part in the run: a plugin that was installed had them."""
    shares = terrain.get("proportions", {})
    for names in (terrain.get("parameters", {}), shares):  # in this order: shares say what is unused
        for name in [name for name in names if name not in SHAPES and not shares.get(name)]:
            del names[name]


def take_terms(default: EnvConfig, env: dict[str, Any], home: str) -> None:
    """Give a task's configuration the terms of a saved one, in its order: the task may have others by now.

    Args:
        default: the task's, changed in place.
        env: plain values of the saved environment.
        home: module of the task. Functions are looked for in envs/rewards.py or envs/observations.py, there, and
            where the task's own are.

    Raises:
        ValueError: a function that is nowhere.
    """
    for kind, module in (("rewards", rewards), ("observations", observations)):
        known: dict[str, Any] = getattr(default, kind)
        homes = [module, sys.modules[home], *(sys.modules[term.func.__module__] for term in known.values())]
        terms = {}
        for name, values in env[kind].items():
            if (
                name in known and known[name].func.__name__ == values["func"]
            ):  # a term of ours may share its name
                function = known[name].func
            else:
                function = _find(values["func"], homes, f"env.{kind}.{name}")
            new = RewardTerm(function, 0.0) if kind == "rewards" else _observation(function)
            terms[name] = replace(known[name], func=function) if name in known else new
        setattr(default, kind, terms)


def _observation(function: Callable[..., Tensor]) -> ObservationTerm:
    """A term whose values are still to come."""
    return ObservationTerm(function, scale=(1.0,), noise=0.0, mirror="scalar")


def _find(name: str, homes: list[ModuleType], where: str) -> Callable[..., Tensor]:
    """The function of a name in the first module that has it; ValueError with the nearest if none has."""
    for home in homes:
        if callable(found := getattr(home, name, None)):
            return found
    near = nearest(name, [key for home in homes for key, value in vars(home).items() if callable(value)])
    raise ValueError(f"{where} needs the function {name!r}, which is no longer there.{near}")
