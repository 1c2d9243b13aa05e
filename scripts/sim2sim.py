"""Drive an exported policy in plain MuJoCo: `python scripts/sim2sim.py --policy RUN/exported`.

A second opinion on evaluation and export: of this project it and deploy/ read `policy.json`, `policy.onnx` and the
robot's MJCF, none of its code but the heights of `--terrain` shapes. It needs numpy, mujoco and onnxruntime; what is
looked at, `--viewer` and `--video`, is drawn by viewers/ from the poses that deploy/ gives.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # isort: skip

import numpy as np

from deploy.differences import compare
from deploy.episodes import drive_all, walk_all, watch_first
from deploy.figures import figures, walk_figures
from deploy.flags import contact_time, parse
from deploy.ground import TILES, Course, file_course, lay_out
from deploy.report import print_report, write_report
from deploy.robot import Robot, load_policy
from deploy.steered import Steered

ROBOTS, POLICIES = (Path(__file__).resolve().parent.parent / name for name in ("robots", "policies"))


def exported(policy: Path) -> Path:
    """The folder of an exported policy: the one given, or that of a name in policies/."""
    named = POLICIES / policy / "exported"
    return named if named.is_dir() and not policy.exists() else policy


def make_course(flags: argparse.Namespace, facts: dict[str, Any], tiles: int = TILES) -> Course | None:
    """The ground that the flags ask for, None for a plane; ValueError for what cannot be made."""
    if not flags.terrain and not flags.heights:
        return None
    for name in ("terrain", "commands"):
        if name not in facts:
            raise ValueError(f"policy.json has no {name!r}, which a terrain needs; export the policy again")
    if flags.heights:
        course = file_course(flags.heights, flags.cell or 0.1)
    else:
        course = shape_course(flags.terrain, flags.difficulty, facts["terrain"], flags.seed, tiles)
    return replace(course, field=replace(course.field, boxes=flags.ground == "boxes"))


def shape_course(
    shape: str, difficulty: float, facts: dict[str, Any], seed: int, tiles: int = TILES
) -> Course:
    """Tiles of one shape, made as for the training of the policy, with level ground between them.

    Args:
        shape: a name in `terrains.SHAPES`.
        difficulty: 0 to 1.
        facts: `terrain` of `policy.json`.
        seed: of random shapes.
        tiles: how many.

    Raises:
        ValueError: no such shape, or a value out of range.
    """
    from terrains.shapes import make_tile

    size, cell, parameters = facts["tile_size"], facts["cell"], facts["parameters"].get(shape)
    made = [
        # the last of the key tells these tiles from any that were trained on
        make_tile(shape, difficulty, size, cell, np.random.default_rng((seed, 0, i, 2)), parameters)
        for i in range(tiles)
    ]
    return lay_out(made, cell)


def film(
    flags: argparse.Namespace, folder: Path, facts: dict[str, Any], mjcf: Path, course: Course | None
) -> None:
    """Film the first of the episodes."""
    from viewers.second import Notes, film_notes

    notes = Notes(facts, mjcf, course)
    size = contact_time(flags, facts), flags.seconds, flags.seed, flags.added
    fell = watch_first(folder, mjcf, course, *size, notes)
    where = f"{flags.terrain.replace('_', ' ')} {flags.difficulty:g}" if flags.terrain else "given ground"
    film_notes(notes, f"{mjcf.stem} on {where if course else 'a plane'}, plain MuJoCo", flags.video)
    print(f"video  {flags.video}{' (it fell)' if fell else ''}", flush=True)


def show(flags: argparse.Namespace, folder: Path, mjcf: Path) -> None:
    """Let somebody steer robots: by this policy, and in a page those of policies/ too."""
    from viewers.second import show_second

    def build(folder: Path, mjcf: Path | None, shape: str, difficulty: float, count: int, seed: int) -> Any:
        facts, _ = load_policy(folder)
        here = argparse.Namespace(**vars(flags))
        here.terrain = shape  # none: a plane, or the ground of --heights
        if shape:
            here.heights, here.difficulty = None, difficulty
            here.ground = flags.ground or "heightfield"
        course = make_course(here, facts, tiles=1)
        path = mjcf or ROBOTS / facts["mjcf"]
        contact = contact_time(here, facts) if course else 0.0  # as it is measured
        return Steered(folder, path, course, contact, flags.added, count, seed), path

    first = folder.resolve().parent.name if folder.name == "exported" else folder.resolve().name
    policies = {first: partial(build, folder, mjcf)}
    for path in [] if flags.model else sorted(POLICIES.glob("*/exported")):
        policies.setdefault(path.parent.name, partial(build, path, None))
    show_second(flags, policies, first)


def main(argv: list[str] | None = None) -> int:
    """Drive and measure; the last line printed is `key=value` figures. Returns the exit status."""
    runs.interrupt.begin()
    try:
        flags = parse(argv, __doc__)
        folder = exported(flags.policy)
        facts, _ = load_policy(folder)
        mjcf = flags.model or ROBOTS / facts["mjcf"]
        if flags.viewer:
            show(flags, folder, mjcf)
            return 0
        course = make_course(flags, facts)
        robot = Robot(facts, mjcf)  # says what is missing before any process starts
        if flags.model:
            print(*compare(facts, robot.model, mjcf), sep="\n", flush=True)
        if flags.video:
            film(flags, folder, facts, mjcf, course)
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
    print_report(flags, mjcf, course, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
