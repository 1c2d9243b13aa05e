"""Trained policies in the browser or in MuJoCo's window: what `--viewer` of scripts/play.py does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from algorithms import Actor, checkpoint
from algorithms.trainer import BEST
from envs.legged_env import LeggedEnv
from physics import choose_device
from robots.config import nearest
from runs.folders import POLICIES, Run, RunFlags, is_shipped, load_policy, open_flags, open_run, shipped
from viewers import native
from viewers.web.settings import MOST_ROBOTS, PLANE, RANGES, Settings, terrains
from viewers.web.simulation import Player, Policy

VIEWERS = ("web", "native")


@dataclass
class WebFlags(RunFlags):
    """Flags of the viewers."""

    viewer: str = ""
    """No files, but robots that walk, are driven and pushed: web for a page in the browser, native for a window."""
    port: int = 8080
    """Port of the page, or the next free one."""
    host: str = "127.0.0.1"
    """Address that the page is served on; 0.0.0.0 lets everybody on the network see and steer it."""

    def validate_viewer(self, others: tuple[str, ...]) -> None:
        """ValueError with one sentence for an unknown viewer, and for `others`, flags of what none does."""
        if not self.viewer:
            return
        if self.viewer not in VIEWERS:
            near = nearest(self.viewer, list(VIEWERS))
            raise ValueError(f"--viewer must be {' or '.join(VIEWERS)}, not {self.viewer!r}.{near}")
        for name in others:
            if getattr(self, name):
                raise ValueError(
                    f"--viewer makes no files and follows no script: leave out --{name}, or --viewer"
                )


def play_in_browser(
    flags: WebFlags,
    num_envs: int,
    seconds: float,
    command: tuple[float, float, float] | None,
    shape: str,
    difficulty: float | None,
    seed: int,
    num_threads: int,
) -> int:
    """Show robots in the browser or a window until Ctrl-C, or for some seconds; returns the exit status."""
    if flags.viewer == "native":
        native.check_display()
    if not 1 <= num_envs <= MOST_ROBOTS:
        raise ValueError(f"--viewer shows 1 to {MOST_ROBOTS} robots, not --num_envs {num_envs}")
    if flags.viewer == "web":
        for value, name in zip(command or (), ("vx", "vy", "yaw"), strict=False):
            low, high = RANGES[name]
            if not low <= value <= high:
                raise ValueError(f"--command: the page steers {name} from {low:g} to {high:g}, not {value:g}")
    if difficulty is not None and not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"--difficulty must lie in 0 to 1, not {difficulty:g}")
    run = open_flags(flags)
    if shape and shape not in terrains():  # those of plugins too, which are loaded now
        near = nearest(shape, list(terrains()))
        raise ValueError(f"unknown terrain shape {shape!r}; choose from {', '.join(terrains())}.{near}")
    device = "cpu" if flags.device == "auto" else choose_device(flags.device, robot=run.cfg.env.robot)[0]
    on_map = run.cfg.env.terrain.type != "plane" or shape or difficulty is not None
    policies, first = choices(run)
    vx, vy, yaw = command or (0.0, 0.0, 0.0)
    settings = Settings(
        first,
        (shape or "stairs_up") if on_map else PLANE,
        0.5 if difficulty is None else difficulty,
        num_envs,
        vx=vx,
        vy=vy,
        yaw=yaw,
    )
    if flags.viewer == "native":
        native.show(
            policies[first]().simulate(settings, device, num_threads, seed), settings.command, seconds
        )
        return 0
    from viewers.web.serving import serve  # only this command needs a web server

    serve(settings, policies, flags.host, flags.port, seconds, device, num_threads, seed)
    return 0


def choices(run: Run) -> tuple[dict[str, Callable[[], Policy]], str]:
    """Policies to choose from: the run's checkpoints and all that are shipped; and the name of the run's own."""
    found: dict[str, Callable[[], Policy]] = {}
    first = run.folder.name
    if is_shipped(run.folder) and run.checkpoint_path.name == BEST:
        found[first] = partial(opened, run)
    else:
        best = run.folder / BEST
        paths = {f"{first} {i}": partial(_open, run.folder, i) for i in checkpoint.available(run.folder)}
        if best.is_file():
            found[f"{first} best"] = partial(_open, run.folder, -1)
        found |= dict(reversed(paths.items()))
        first = f"{first} {'best' if run.checkpoint_path.name == BEST else run.content['iteration']}"
        found[first] = partial(opened, run)
    for name in shipped():
        found.setdefault(name, partial(_open, POLICIES / name, -1))
    return found, first


def _open(folder: Path, iteration: int) -> Policy:
    return opened(open_run(load_run=str(folder), iteration=iteration))


def opened(run: Run) -> Policy:
    """A run as the page's simulation takes it."""

    def load(env: LeggedEnv) -> Player:
        policy = load_policy(run, env).to(env.device)
        return Player(Actor(policy), None if policy.recurrent else policy.value)

    return Policy(run.cfg.env, load)
