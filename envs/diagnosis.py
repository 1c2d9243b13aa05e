"""Which terms of a task are not finite, for a sentence to the user."""

from __future__ import annotations

import torch

from envs.legged_env import LeggedEnv


@torch.no_grad()
def non_finite(env: LeggedEnv) -> list[str]:
    """Reward and observation terms that are not finite in the present state: how many robots, and an example each.

    It waits for the device: not for use within a step.
    """
    found = []
    terms = {f"reward {name}": (term.func, term.params) for name, term in env.reward_terms.items()}
    terms |= {f"observation {name}": (term.func, {}) for name, term in env.terms.observations.items()}
    for name, (function, parameters) in terms.items():
        value = function(env.state, **parameters)
        bad = ~torch.isfinite(value).reshape(env.num_envs, -1).all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            found.append(
                f"{name} of {int(bad.sum())} of {env.num_envs} robots (robot {first}: {value[first].tolist()})"
            )
    return found
