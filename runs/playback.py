"""Policies played back for pictures: one, two side by side, a whole map full, or a run's checkpoints in turn."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from algorithms import Actor, checkpoint
from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from evaluation.walking import evaluation_config
from physics import ENGINES
from robots.config import nearest
from runs.folders import POLICIES, Run, RunFlags, load_checkpoint, load_policy, open_run, shipped
from terrains.grid import make_terrain
from viewers.filming import Shot
from viewers.lanes import pair_starts, spread_starts
from viewers.recording import Recording, record
from viewers.scenes import mosaic, walk
from viewers.stage import Stage

QUALITIES = {"preview": (640, 360, 25.0, 1.0), "full": (1280, 720, 30.0, 1.25)}
"""Name -> width, height (pixels), frames a second, and how much larger pictures are drawn before they are scaled."""
FEW = 200
"""So many robots are played faster by one thread than by several that wait for one another."""
_ROOM = 10.0
"""Level ground around a tile, m: who has crossed it walks on."""
_CLIPS = 12
"""Most checkpoints in a time-lapse."""
_CLIP_SECONDS = 6.0


@dataclass
class PictureFlags(RunFlags):
    """Flags of what is shown, and how well it is drawn."""

    num_envs: int = 0
    """Robots; 0 for 9, or 100 in a mosaic."""
    quality: Literal["preview", "full"] = "preview"
    """preview: 640 x 360 at 25 frames a second; full: 1280 x 720 at 30, with smoother edges."""
    width: int = 0
    """Width of the video, pixels; 0 for the quality's."""
    height: int = 0
    """Height of the video, pixels; 0 for the quality's."""
    fps: float = 0.0
    """Frames of the video a second, at most one a policy step (50); 0 for the quality's."""
    mosaic: bool = False
    """Many robots on the whole map that the policy was trained on, seen from a slow flight."""
    versus: str = ""
    """Split screen: another run folder, or a policy of policies/, on the same ground with the same commands."""
    versus_engine: str = ""
    """Split screen: the physics engine of the right half, mujoco or batched."""
    timelapse: bool = False
    """A clip of each checkpoint of the run, up to 12 of them, on the same ground with the same commands."""
    gif: bool = False
    """Turn the video into a GIF of at most 3 MB as well: of a long one, 6 s from its middle."""
    webp: bool = False
    """The same as an animated WebP, which is sharper."""

    def video_format(self) -> tuple[tuple[int, int], float, float]:
        """Width and height, frames a second, and the scale that pictures are drawn in."""
        width, height, fps, scale = QUALITIES[self.quality]
        return (self.width or width, self.height or height), self.fps or fps, scale

    def validate_pictures(self, video: bool = True) -> None:
        """ValueError with one sentence for values that cannot work."""
        if self.num_envs < 0:
            raise ValueError(f"--num_envs must be at least 1, or 0 for the usual number, not {self.num_envs}")
        for name, value in (("width", self.width), ("height", self.height)):
            if value and (not 64 <= value <= 3840 or value % 2):
                raise ValueError(f"--{name} must be an even number between 64 and 3840, not {value}")
        if self.fps and not 1 <= self.fps <= 240:
            raise ValueError(f"--fps must be between 1 and 240, not {self.fps:g}")
        for name in ("mosaic", "versus", "versus_engine", "timelapse", "gif", "webp"):
            if getattr(self, name) and not video:
                raise ValueError(f"--{name} needs the video: leave out --no-video")
        asked = [name for name in ("mosaic", "versus", "timelapse") if getattr(self, name)]
        asked += ["versus_engine"] if self.versus_engine and not self.versus else []
        if len(asked) > 1:
            raise ValueError(f"--{asked[0]} and --{asked[1]} exclude each other; give one of them")
        if self.versus_engine and self.versus_engine not in ENGINES:
            raise ValueError(
                f"--versus_engine must be one of {', '.join(ENGINES)}, not {self.versus_engine!r}."
                f"{nearest(self.versus_engine, list(ENGINES))}"
            )


@dataclass
class Place:
    """Where robots are played: on a plane, on one tile, or on the map of their training."""

    shape: str = ""
    """Of the one tile; empty for a plane, or for the whole map."""
    difficulty: float = 0.5
    whole: bool = False
    """The whole map."""

    @property
    def words(self) -> str:
        """For people."""
        if self.whole:
            return "its training map"
        return f"{self.shape.replace('_', ' ')}, difficulty {self.difficulty:g}" if self.shape else "a plane"


@dataclass
class Player:
    """How policies are played."""

    num_envs: int
    commands: Callable[[float], Tensor]
    """Length in s (0 for the script's own) -> commands of each step, [T, 3]."""
    seconds: float
    place: Place
    push: bool
    seed: int
    device: str
    threads: int

    def config(self, run: Run, seconds: float) -> EnvConfig:
        """The environment of a run, changed for the place."""
        cfg = evaluation_config(copy.deepcopy(run.cfg.env), seconds, self.push)
        if self.place.shape:
            cfg.terrain.type, cfg.terrain.shape = "tile", self.place.shape
            cfg.terrain.difficulty, cfg.terrain.border = self.place.difficulty, _ROOM
            cfg.init.base_position, cfg.init.base_velocity, cfg.init.yaw = 0.05, 0.0, 0.05
        elif not self.place.whole:
            cfg.terrain.type = "plane"
            cfg.init.base_position = 0.0  # the video puts the robots side by side
        return cfg

    def play(self, run: Run, engine: str = "auto", seconds: float = 0.0) -> tuple[LeggedEnv, Recording]:
        """Record a run's policy."""
        commands = self.commands(seconds or self.seconds)
        cfg = self.config(run, len(commands) * run.cfg.env.step_dt)
        terrain = None
        if self.place.shape:
            where = self.place.shape, self.place.difficulty, cfg.terrain
            terrain = spread_starts(*where, self.num_envs, cfg.robot.init_height)
        elif self.place.whole:
            made = make_terrain(cfg.terrain)
            assert made is not None
            terrain = pair_starts(made, self.num_envs, cfg.robot.init_height)
            cfg.init.base_position = 0.1
        env = LeggedEnv(cfg, self.num_envs, engine, self.device, self.threads, self.seed, terrain=terrain)
        return env, record(env, Actor(load_policy(run, env)), commands, self.seed)


def clips_of(
    flags: PictureFlags, run: Run, player: Player, env: LeggedEnv, recording: Recording
) -> tuple[list[list[Shot]], str]:
    """What the video shows, and what its name ends with.

    Args:
        flags: what is asked for.
        run: the run that is played.
        player: how.
        env: in which it was.
        recording: of it.

    Raises:
        ValueError: with one sentence that says what is missing.
    """
    title = f"{run.cfg.task} on {player.place.words}"
    tile = run.cfg.env.terrain.tile_size
    if flags.mosaic:
        return [[mosaic(recording, title)]], "_mosaic"
    if flags.versus or flags.versus_engine:
        return [
            _versus(flags, run, player, env, recording)
        ], f"_versus_{flags.versus_engine}{Path(flags.versus).name}"
    if not flags.timelapse:
        return [[walk(recording, title, tile_size=tile)]], ""
    clips, stage = [], Stage(recording.robot, recording.ground)
    for iteration, path in _spaced(checkpoint.available(run.folder)).items():
        content = load_checkpoint(path, run.cfg.task, "cpu")
        clip = player.play(Run(run.folder, run.cfg, path, content), seconds=player.seconds or _CLIP_SECONDS)[
            1
        ]
        title = f"iteration {iteration}{_after(content.get('train_time'))}"
        clips.append([walk(clip, title, stage, tile)])
        print(f"played {title}, {int(clip.fell.any(0).sum())} of {clip.num_robots} fell", flush=True)
    return clips, "_timelapse"


def check_pictures(flags: PictureFlags, run: Run) -> None:
    """ValueError, before any work, for what this run cannot show."""
    count = len(checkpoint.available(run.folder))
    if flags.timelapse and count < 2:
        raise ValueError(f"--timelapse needs a run with two checkpoints or more; {run.folder} has {count}")
    if flags.versus:
        mine, other = run.cfg.env.step_dt, rival(flags).cfg.env.step_dt
        if abs(mine - other) > 1e-9:
            raise ValueError(
                f"--versus: both must act equally often, but these do every {mine:g} and {other:g} s"
            )


def rival(flags: PictureFlags) -> Run:
    """The run of `--versus`."""
    names = shipped()
    folder = str(POLICIES / flags.versus) if flags.versus in names else flags.versus
    try:
        return open_run(log_dir=flags.log_dir, load_run=folder)
    except ValueError as error:
        raise ValueError(
            f"--versus: {error} Policies that came along: {', '.join(names)}.{nearest(flags.versus, names)}"
        ) from error


def _versus(
    flags: PictureFlags, run: Run, player: Player, env: LeggedEnv, recording: Recording
) -> list[Shot]:
    other = rival(flags) if flags.versus else run
    other = copy.copy(other)
    other.cfg = copy.deepcopy(other.cfg)
    other.cfg.env.terrain = copy.deepcopy(run.cfg.env.terrain)  # the same ground for both
    other_env, clip = player.play(other, flags.versus_engine or "auto")
    stage = Stage(recording.robot, recording.ground)
    same = clip.robot.name == recording.robot.name
    tile = run.cfg.env.terrain.tile_size
    names = [run.folder.name, other.folder.name]
    if flags.versus_engine:
        engines = [type(made.engine).__name__.removesuffix("Engine").lower() for made in (env, other_env)]
        names = [f"{name} in {engine}" for name, engine in zip(names, engines, strict=True)]
    words = f", {player.place.words}"
    left = walk(recording, names[0] + words, stage, tile)
    return [left, walk(clip, names[1] + words, stage if same else None, tile, like=left)]


def _spaced(available: dict[int, Path]) -> dict[int, Path]:
    """At most `_CLIPS` of them, in order, with the first and the last."""
    items = sorted(available.items())
    picked = np.unique(np.linspace(0, len(items) - 1, min(len(items), _CLIPS)).round().astype(int))
    return dict(items[i] for i in picked)


def _after(seconds: float | None) -> str:
    """How long training took, in words."""
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", {minutes} min {rest:02d} s of training" if minutes else f", {rest} s of training"
