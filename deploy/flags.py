"""What to drive a policy on, from the command line: argparse, so that nothing else is needed."""

from __future__ import annotations

import argparse
import difflib
import math
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from deploy.added import UNITS, Added, as_range
from deploy.figures import SETTLING

VIEWERS = ("web", "native")


class Parser(argparse.ArgumentParser):
    """Turns a usage error into a `ValueError` of one sentence."""

    def error(self, message: str) -> NoReturn:
        """See the class."""
        raise ValueError(f"{message}; see --help")

    def nearest(self, flag: str) -> str:
        """' Did you mean ...?' with the closest flags, or an empty string."""
        close = difflib.get_close_matches(flag, list(self._option_string_actions), n=2)
        return f" Did you mean {' or '.join(close)}?" if close else ""


def parse(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """Flags, checked; ValueError with one sentence for what cannot work."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder made by scripts/export.py, or a name in policies/"
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="MJCF of the robot (the policy's own in robots/); what it has otherwise is listed",
    )
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
    for name, unit in UNITS.items():
        parser.add_argument(
            f"--{name}",
            type=float,
            nargs="+",
            metavar="X",
            help=f"added to every driven joint's own, {unit}; of LOW HIGH each episode draws one",
        )
    parser.add_argument("--episodes", type=int, help="robots driven, one at a time (64)")
    parser.add_argument("--seconds", type=float, help="length of an episode, s (20); of a viewer (for ever)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all that is random (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--video", type=Path, metavar="FILE.mp4", help="film the first episode as well")
    parser.add_argument(
        "--viewer",
        choices=VIEWERS,
        help="measure nothing, but steer a robot: in a page in the browser, or in MuJoCo's own window",
    )
    parser.add_argument("--port", type=int, help="of the page, or the next free one (8080)")
    parser.add_argument(
        "--host", help="address of the page (127.0.0.1); 0.0.0.0 lets the network see and steer"
    )
    flags, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ValueError(f"unknown flag {unknown[0]}.{parser.nearest(unknown[0]) or ' See --help'}")
    _check_viewer(flags)
    for name, low in (("episodes", 1), ("threads", 1), ("seed", 0)):
        if getattr(flags, name) < low:
            raise ValueError(f"--{name} must be at least {low}, not {getattr(flags, name)}")
    if not (0.0 if flags.viewer else 2.0 * SETTLING) <= flags.seconds < math.inf:
        least = "0 or more" if flags.viewer else f"at least {2.0 * SETTLING:g}"
        raise ValueError(f"--seconds must be {least}, not {flags.seconds:g}")
    flags.added = Added(**{name: as_range(name, getattr(flags, name)) for name in UNITS})
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
    _check_file("json", flags.json)
    _check_file("video", flags.video)
    if flags.video and (flags.video.suffix != ".mp4" or flags.video.exists()):
        why = "exists; give a new file" if flags.video.suffix == ".mp4" else "must be an .mp4 file"
        raise ValueError(f"--video {flags.video} {why}")
    return flags


def _check_viewer(flags: argparse.Namespace) -> None:
    """Refuse what a viewer does not do, and what only a viewer does; fill in lengths."""
    for name in ("episodes", "json", "video") if flags.viewer else ():
        if getattr(flags, name) is not None:
            raise ValueError(f"--viewer measures nothing: leave out --{name}, or --viewer")
    for name in ("port", "host"):
        if getattr(flags, name) is not None and flags.viewer != "web":
            raise ValueError(f"--{name} needs --viewer web")
    if flags.episodes is None:
        flags.episodes = 64
    if flags.seconds is None:
        flags.seconds = 0.0 if flags.viewer else 20.0


def _check_file(flag: str, path: Path | None) -> None:
    """ValueError for a file that could not be written."""
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"--{flag} {path} is a folder; give a file")
    if not path.resolve().parent.is_dir():
        raise ValueError(f"--{flag} {path}: the folder does not exist")
    try:  # permissions alone do not say it: root, /proc, read-only disks
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise ValueError(f"--{flag} {path} cannot be written ({error.strerror})") from error


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
