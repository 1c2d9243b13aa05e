"""Drive an exported policy in plain MuJoCo: `python scripts/sim2sim.py --policy RUN/exported`.

A second opinion on evaluation and export: of this project it and deploy/ read `policy.json`, `policy.onnx` and the
robot's MJCF, none of its code but the heights of `--terrain` shapes. It needs numpy, mujoco and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

import mujoco
import numpy as np

from deploy.differences import differences, table
from deploy.episodes import DISTANCE, SPEED, drive_all, walk_all
from deploy.figures import Figure, figures, print_table, walk_figures
from deploy.flags import contact_time, parse
from deploy.ground import TILES, Course, file_course, lay_out
from deploy.robot import Robot, load_policy

ROBOTS, POLICIES = (Path(__file__).resolve().parent.parent / name for name in ("robots", "policies"))


def exported(policy: Path) -> Path:
    """The folder of an exported policy: the one given, or that of a name in policies/."""
    named = POLICIES / policy / "exported"
    return named if named.is_dir() and not policy.exists() else policy


def compare(facts: dict[str, Any], robot: Robot, mjcf: Path) -> list[str]:
    """What to print about another model than the policy's own."""
    if "assumed" not in facts:
        return [
            "policy.json says nothing of the model that was trained on; export the policy again to compare"
        ]
    return table(differences(facts, robot.model, mjcf))


def make_course(flags: argparse.Namespace, facts: dict[str, Any]) -> Course | None:
    """The ground that the flags ask for, None for a plane; ValueError for what cannot be made."""
    if not flags.terrain and not flags.heights:
        return None
    for name in ("terrain", "commands"):
        if name not in facts:
            raise ValueError(f"policy.json has no {name!r}, which a terrain needs; export the policy again")
    if flags.heights:
        course = file_course(flags.heights, flags.cell or 0.1)
    else:
        course = shape_course(flags.terrain, flags.difficulty, facts["terrain"], flags.seed)
    return replace(course, field=replace(course.field, boxes=flags.ground == "boxes"))


def shape_course(shape: str, difficulty: float, facts: dict[str, Any], seed: int) -> Course:
    """Tiles of one shape, made as for the training of the policy, with level ground between them.

    Args:
        shape: a name in `terrains.SHAPES`.
        difficulty: 0 to 1.
        facts: `terrain` of `policy.json`.
        seed: of random shapes.

    Raises:
        ValueError: no such shape, or a value out of range.
    """
    from terrains.shapes import make_tile

    size, cell, parameters = facts["tile_size"], facts["cell"], facts["parameters"].get(shape)
    tiles = [
        # the last of the key tells these tiles from any that were trained on
        make_tile(shape, difficulty, size, cell, np.random.default_rng((seed, 0, i, 2)), parameters)
        for i in range(TILES)
    ]
    return lay_out(tiles, cell)


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


def main(argv: list[str] | None = None) -> int:
    """Drive and measure; the last line printed is `key=value` figures. Returns the exit status."""
    try:
        flags = parse(argv, __doc__)
        folder = exported(flags.policy)
        facts, _ = load_policy(folder)
        mjcf = flags.model or ROBOTS / facts["mjcf"]
        course = make_course(flags, facts)
        robot = Robot(facts, mjcf)  # says what is missing before any process starts
        if flags.model:
            print(*compare(facts, robot, mjcf), sep="\n", flush=True)
        size = flags.episodes, flags.seconds, flags.seed, flags.threads, flags.added
        if course is None:
            found = figures(drive_all(folder, mjcf, *size), robot.dt, robot.weight)
        else:
            walks = walk_all(folder, mjcf, course, contact_time(flags, facts), *size)
            found = walk_figures(walks, robot.weight)
        if flags.json:
            write_report(flags, facts, mjcf, found)
    except (ValueError, OSError) as error:
        print(f"sim2sim.py: {error}", file=sys.stderr)
        return 2
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
