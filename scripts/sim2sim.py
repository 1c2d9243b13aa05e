"""Drive an exported policy in plain MuJoCo: `python scripts/sim2sim.py --policy RUN/exported`.

A second opinion on evaluation and export: of this project it and scripts/sim2sim_*.py read `policy.json`,
`policy.onnx` and the robot's MJCF, none of its code but the heights of `--terrain` shapes. It needs numpy, mujoco and
onnxruntime.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mujoco
import numpy as np

from deploy.episodes import DISTANCE, SEGMENT, SPEED, Episodes, Walks, drive_all, walk_all
from deploy.ground import Course, file_course, shape_course
from deploy.robot import Robot, load_policy

ROBOTS, POLICIES = (Path(__file__).resolve().parent.parent / name for name in ("robots", "policies"))
SETTLING = 1.0  # s after a command that the settled figures leave out
RESAMPLES = 200

# ---------------------------------------------------------------------- figures


@dataclass
class Figure:
    """A number with its 95 % confidence interval over episodes."""

    value: float
    low: float
    high: float


def figures(episodes: Episodes, dt: float, weight: float) -> dict[str, Figure]:
    """Figures by name; intervals are bootstrapped over episodes, that of `falls` is Wilson's (1927).

    Args:
        episodes: what was recorded.
        dt: duration of a policy step, s.
        weight: weight of the robot, N.
    """
    count, steps = episodes.lin_error.shape
    rows = _resamples(count)
    settled = np.arange(steps) % round(SEGMENT / dt) >= round(SETTLING / dt)
    result: dict[str, Figure] = {}
    for name, error in (("lin_vel_error", episodes.lin_error), ("ang_vel_error", episodes.ang_error)):
        for suffix, values in (("", error), ("_settled", error[:, settled])):
            means = values.mean(1)
            result[name + suffix] = _interval(means.mean(), means[rows].mean(1))
            p95 = (float(np.quantile(values[row], 0.95)) for row in rows)
            result[f"{name}{suffix}_p95"] = _interval(np.quantile(values, 0.95), p95)
    result["falls"] = _share(episodes.fell)
    result["cost_of_transport"] = _cost(episodes, weight, rows)
    return result


def walk_figures(walks: Walks, weight: float) -> dict[str, Figure]:
    """Figures of the success test by name; `time` is missing if no robot got there.

    Args:
        walks: what was recorded.
        weight: weight of the robot, N.
    """
    rows, there = _resamples(len(walks.fell)), np.isfinite(walks.time)
    result = {"success": _share(there), "falls": _share(walks.fell)}
    if there.any():
        times = walks.time[there]
        result["time"] = _interval(times.mean(), times[_resamples(len(times))].mean(1))
    result["lin_vel_error"] = _interval(walks.lin_error.mean(), walks.lin_error[rows].mean(1))
    result["cost_of_transport"] = _cost(walks, weight, rows)
    return result


def _resamples(count: int) -> np.ndarray:
    """Rows of each bootstrap sample, [RESAMPLES, count]."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _interval(value: float, resampled: Iterable[float]) -> Figure:
    low, high = np.quantile(np.array(list(resampled)), (0.025, 0.975))
    return Figure(float(value), float(low), float(high))


def _share(happened: np.ndarray) -> Figure:
    """Share of episodes in which something happened (bool, [E]), with Wilson's interval (1927)."""
    z, count, share = 1.96, len(happened), float(happened.mean())
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return Figure(share, max(0.0, middle - half), min(1.0, middle + half))


def _cost(episodes: Episodes | Walks, weight: float, rows: np.ndarray) -> Figure:
    """Work per weight and path."""
    work, path = episodes.work, episodes.path
    cost = work[rows].sum(1) / np.maximum(weight * path[rows].sum(1), 1e-6)
    return _interval(work.sum() / max(weight * path.sum(), 1e-6), cost)


_LABELS = {
    "lin_vel_error": "velocity error, m/s",
    "lin_vel_error_p95": "  95th percentile",
    "lin_vel_error_settled": "  without first second",
    "lin_vel_error_settled_p95": "  same, 95th percentile",
    "ang_vel_error": "yaw rate error, rad/s",
    "ang_vel_error_p95": "  95th percentile",
    "ang_vel_error_settled": "  without first second",
    "ang_vel_error_settled_p95": "  same, 95th percentile",
    "success": "success, share",
    "falls": "falls, share",
    "time": "time to get there, s",
    "cost_of_transport": "cost of transport",
}


class Parser(argparse.ArgumentParser):
    """Turns a usage error into a `ValueError` of one sentence."""

    def error(self, message: str) -> NoReturn:
        """See the class."""
        raise ValueError(f"{message}; see --help")

    def nearest(self, flag: str) -> str:
        """' Did you mean ...?' with the closest flags, or an empty string."""
        close = difflib.get_close_matches(flag, list(self._option_string_actions), n=2)
        return f" Did you mean {' or '.join(close)}?" if close else ""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Flags, checked; ValueError with one sentence for what cannot work."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder made by scripts/export.py, or a name in policies/"
    )
    parser.add_argument("--model", type=Path, help="MJCF of the robot (the policy's own in robots/)")
    parser.add_argument("--terrain", help="cross a shape of terrain instead of following random commands")
    parser.add_argument("--difficulty", type=float, help="of the shape, 0 to 1, as in training (0.5)")
    parser.add_argument(
        "--heights", type=Path, help="NPY with heights, m, [nx, ny], to cross instead of a shape"
    )
    parser.add_argument("--cell", type=float, help="spacing of the heights, m (0.1)")
    parser.add_argument(
        "--ground",
        choices=("heightfield", "boxes"),
        help="what a terrain is built of (heightfield); boxes have vertical risers, which real stairs have",
    )
    parser.add_argument(
        "--contact_time",
        type=float,
        help="time constant of contacts on a terrain, s (two physics steps); at MuJoCo's usual 0.02 fast feet "
        "sink in and get stuck between the triangles of a height field",
    )
    parser.add_argument("--episodes", type=int, default=64, help="robots driven, one at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of an episode, s (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all that is random (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    flags, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ValueError(f"unknown flag {unknown[0]}.{parser.nearest(unknown[0]) or ' See --help'}")
    for name, low in (("episodes", 1), ("threads", 1), ("seed", 0)):
        if getattr(flags, name) < low:
            raise ValueError(f"--{name} must be at least {low}, not {getattr(flags, name)}")
    if not 2.0 * SETTLING <= flags.seconds < math.inf:
        raise ValueError(f"--seconds must be at least {2.0 * SETTLING:g}, not {flags.seconds:g}")
    if flags.terrain and flags.heights:
        raise ValueError("--terrain and --heights both say what the ground is; give one of them")
    for name, needed in (("difficulty", "terrain"), ("cell", "heights")):
        if getattr(flags, name) is not None and not getattr(flags, needed):
            raise ValueError(f"--{name} needs --{needed}")
    for name in ("contact_time", "ground"):
        if getattr(flags, name) is not None and not (flags.terrain or flags.heights):
            raise ValueError(f"--{name} needs --terrain or --heights")
    if flags.cell is not None and not 0.0 < flags.cell < math.inf:
        raise ValueError(f"--cell must be a positive length, not {flags.cell:g}")
    if flags.terrain and flags.difficulty is None:
        flags.difficulty = 0.5
    if (flags.terrain or flags.heights) and flags.ground is None:
        flags.ground = "heightfield"
    if flags.json and not flags.json.resolve().parent.is_dir():
        raise ValueError(f"--json {flags.json}: the folder does not exist")
    return flags


@contextmanager
def exported(policy: Path) -> Iterator[Path]:
    """The folder of an exported policy; one in policies/ is exported into a temporary folder."""
    if policy.exists() or not (POLICIES / policy / "config.yaml").is_file():
        yield policy
        return
    with tempfile.TemporaryDirectory() as folder:
        export = [
            sys.executable,
            Path(__file__).with_name("export.py"),
            "--policy",
            policy,
            "--output",
            folder,
        ]
        done = subprocess.run(list(map(str, export)), capture_output=True, text=True)
        if done.returncode:
            raise ValueError(done.stderr.strip())
        yield Path(folder)


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


def contact_time(flags: argparse.Namespace, facts: dict[str, Any]) -> float:
    """Time constant of contacts on a terrain, s.

    By default the shortest that MuJoCo takes. At its usual 0.02 s a foot that lands at 3 m/s sinks in by some 2 cm;
    once its centre is below a height field, MuJoCo pushes it sideways out of each of the triangles' prisms: it is
    stuck. So is, at any time constant, one that moves further than its radius within a physics step. Boxes push it
    out of their nearest face.
    """
    shortest = 2.0 * facts["timestep"]
    if flags.contact_time is None:
        return shortest
    if not shortest <= flags.contact_time < math.inf:
        raise ValueError(
            f"--contact_time must be at least two physics steps ({shortest:g} s), not {flags.contact_time:g}"
        )
    return flags.contact_time


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
        **{name: figure.value for name, figure in found.items()},
        "intervals": {name: [figure.low, figure.high] for name, figure in found.items()},
    }
    temporary = flags.json.with_name(f".{flags.json.name}.tmp")
    temporary.write_text(json.dumps(report, indent=1))
    os.replace(temporary, flags.json)


def main(argv: list[str] | None = None) -> int:
    """Drive and measure; the last line printed is `key=value` figures. Returns the exit status."""
    with ExitStack() as stack:
        return run(argv, stack)


def run(argv: list[str] | None, stack: ExitStack) -> int:
    """The same, with temporary folders in `stack`."""
    try:
        flags = parse(argv)
        flags.policy = stack.enter_context(exported(flags.policy))
        facts, _ = load_policy(flags.policy)
        mjcf = flags.model or ROBOTS / facts["mjcf"]
        course = make_course(flags, facts)
        robot = Robot(facts, mjcf)  # says what is missing before any process starts
        size = flags.episodes, flags.seconds, flags.seed, flags.threads
        if course is None:
            found = figures(drive_all(flags.policy, mjcf, *size), robot.dt, robot.weight)
        else:
            found = walk_figures(
                walk_all(flags.policy, mjcf, course, contact_time(flags, facts), *size), robot.weight
            )
        if flags.json:
            write_report(flags, facts, mjcf, found)
    except (ValueError, OSError) as error:
        print(f"sim2sim.py: {error}", file=sys.stderr)
        return 2
    print(f"{flags.episodes} episodes of {flags.seconds:g} s, {mjcf.name}, MuJoCo {mujoco.__version__}")
    if course is not None:
        heights = course.field.heights
        print(
            f"{flags.ground} from {heights.min():.3g} to {heights.max():.3g} m; "
            f"further than {DISTANCE:g} m at {SPEED:g} m/s?"
        )
    print(f"{'':26}{'':>9}  95 % interval")
    for name, label in _LABELS.items():
        if name in found:
            figure = found[name]
            print(f"{label:26}{figure.value:9.3f}  {figure.low:.3f} to {figure.high:.3f}")
    short = ("success", "lin_vel_error", "ang_vel_error", "falls", "cost_of_transport")
    print(" ".join(f"{name}={found[name].value:.4f}" for name in short if name in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
