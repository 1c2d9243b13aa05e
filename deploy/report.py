"""What is said of episodes that were driven: a table to read, and a file."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import mujoco

from deploy.episodes import DISTANCE, SPEED
from deploy.figures import Figure, print_table
from deploy.flags import contact_time
from deploy.ground import Course


def write_report(
    flags: argparse.Namespace, facts: dict[str, Any], mjcf: Path, found: dict[str, Figure]
) -> None:
    """Write the figures and what they were measured on as JSON."""
    report = {
        "training": facts.get("training"),
        "model": mjcf.name,
        "mujoco": mujoco.__version__,
        "terrain": flags.terrain or (flags.heights and flags.heights.name) or "plane",
        "difficulty": flags.difficulty,
        "ground": flags.ground,
        "contact_time": contact_time(flags, facts) if flags.ground else None,
        "episodes": flags.episodes,
        "seconds": flags.seconds,
        "seed": flags.seed,
        "added": vars(flags.added),
        **{name: figure.value for name, figure in found.items()},
        "intervals": {name: [figure.low, figure.high] for name, figure in found.items()},
    }
    temporary = flags.json.with_name(f".{flags.json.name}.tmp")
    temporary.write_text(json.dumps(report, indent=1))
    os.replace(temporary, flags.json)


def print_report(
    flags: argparse.Namespace, mjcf: Path, course: Course | None, found: dict[str, Figure]
) -> None:
    """Print what was driven on what, and the figures; the last line is `key=value`."""
    print(f"{flags.episodes} episodes of {flags.seconds:g} s, {mjcf.name}, MuJoCo {mujoco.__version__}")
    if str(flags.added):
        print(f"added to every joint: {flags.added}")
    if course is not None:
        low, high = course.field.heights.min(), course.field.heights.max()
        asked = f"further than {DISTANCE:g} m at {SPEED:g} m/s?"
        print(f"{flags.ground} from {low:.3g} to {high:.3g} m; {asked}")
    print_table(found)
    short = ("success", "lin_vel_error", "ang_vel_error", "falls", "cost_of_transport")
    print(" ".join(f"{name}={found[name].value:.4f}" for name in short if name in found))
