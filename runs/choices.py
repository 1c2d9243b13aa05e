"""All that can be chosen by name, for `train.py --list`."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence

from envs.plugins import LOADED
from envs.tasks import all_tasks
from robots import ROBOTS
from runs.folders import shipped
from runs.plugins import load_more, of_line
from terrains.curriculum import STRATEGIES
from terrains.shapes import SHAPES


def show_choices(args: Sequence[str]) -> int:
    """Print names, and which plugin brought which; returns the exit status.

    Args:
        args: the command line, which may name plugins.
    """
    load_more(of_line(args))
    tasks = defaultdict(list)
    for task in all_tasks().values():
        tasks[f"--task, with --recipe {' or '.join(task.recipes)}"].append(task.name)
    for title, names in {
        **tasks,
        "robots": list(ROBOTS),
        "--env.terrain.shape": list(SHAPES),
        "--env.curriculum.strategy": list(STRATEGIES),
        "--policy (play, evaluate, sim2sim)": shipped(),
    }.items():
        _print(title, ", ".join(names))
    for plugin in LOADED.values():
        _print(str(plugin), "; ".join(f"{kind} {', '.join(names)}" for kind, names in plugin.holds.items()))
    return 0


def _print(title: str, text: str) -> None:
    print(f"{title}\n    " + "\n    ".join(textwrap.wrap(text, 110)))
