"""rsl_rl's checkpoints as ours, so that its policies are played, evaluated and exported like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WEIGHTS = ("actor_state_dict", "critic_state_dict")
OUR_EPS, THEIR_EPS = 1e-4, 1e-2
"""We divide by sqrt(variance + the first), rsl_rl by standard deviation + the second."""


def is_rsl_rl(content: dict[str, Any]) -> bool:
    """Whether a checkpoint was written by rsl_rl's `OnPolicyRunner`."""
    return all(name in content for name in WEIGHTS)


def converted(content: dict[str, Any], path: Path, task: str) -> dict[str, Any]:
    """What a checkpoint of ours holds, made of one of rsl_rl's: weights alone, nothing to go on from.

    Args:
        content: the checkpoint.
        path: where it is.
        task: what it was trained on: rsl_rl does not say.

    Raises:
        ValueError: its networks are of a kind that we do not have.
    """
    policy: dict[str, Tensor] = {}
    for name, weights, ours in zip(("actor", "critic"), WEIGHTS, ("obs", "critic"), strict=True):
        theirs = dict(content[weights])
        mean, std = theirs.pop("obs_normalizer._mean", None), theirs.pop("obs_normalizer._std", None)
        theirs.pop("obs_normalizer._var", None)
        count = theirs.pop("obs_normalizer.count", None)
        if mean is not None and std is not None and count is not None:
            variance = (std.squeeze(0) + THEIR_EPS).square() - OUR_EPS
            statistics = {"mean": mean.squeeze(0), "var": variance, "count": count.float()}
            policy |= {f"{ours}_normaliser.{key}": value for key, value in statistics.items()}
        if name == "actor":
            log_std = theirs.pop("distribution.log_std_param", None)
            std_itself = theirs.pop("distribution.std_param", None)
            if log_std is not None or std_itself is not None:
                policy["log_std"] = torch.log(std_itself) if log_std is None else log_std
        for key, value in theirs.items():
            part, *rest = key.split(".")
            if part != "mlp":
                raise ValueError(
                    f"checkpoint {path} has an {name} with {part}; of rsl_rl's networks only MLPs whose "
                    "standard deviation does not depend on the observation can be loaded here"
                )
            layer, kind = rest
            policy[f"{name}.layers.{int(layer) // 2}.{kind}"] = value  # activations are layers of theirs
    return {"metadata": {"task": task, "learner": "rsl_rl"}, "policy": policy, "iteration": content["iter"]}
