"""Play a trained policy back: `python scripts/play.py` films, plots and exports the newest run."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

import numpy as np

from physics import choose_device
from runs.command import check_output, command, set_threads
from runs.export import export_run
from runs.flags import parse_flags
from runs.folders import open_flags, output_name
from runs.playback import FEW, PictureFlags, Place, Player, check_pictures, clips_of
from runs.web import WebFlags, play_in_browser
from viewers.anyhow import film_anyhow
from viewers.gif import beside
from viewers.plots import plot_recording
from viewers.script import DEFAULT_SCRIPT, TERRAIN_SCRIPT, Script, read_script, sample_script


@dataclass
class Flags(PictureFlags, WebFlags):
    """Play a policy back: video, plots and exported policy go into the run folder."""

    seconds: float = 0.0
    """Length, s; 0 for 12 s, or the script's own."""
    command: tuple[float, float, float] | None = None
    """Fixed command: forward and sideways velocity (m/s), yaw rate (rad/s)."""
    script: str = ""
    """File with a sequence of commands, a line each: SECONDS VX VY YAW; # starts a comment."""
    shape: str = ""
    """Kind of terrain; all robots walk on one tile of it. Empty: stairs_up, or a plane if trained on one."""
    difficulty: float | None = None
    """Its difficulty, 0 to 1; 0.5 if not given."""
    push: bool = False
    """Push the robots (+-1 m/s every 10 s)."""
    seed: int = 1
    """Seed of starts and pushes."""
    video: bool = True
    """Make a video."""
    plots: bool = True
    """Draw plots."""
    export: bool = True
    """Export the policy: into exported/ of the run, that of a --checkpoint beside it, into exported_model_N/."""
    num_threads: int = 0
    """Threads of policy and physics; 0 for one per core, or one alone for few robots."""


def main() -> int:
    """Play, film, plot and export; returns the exit status."""
    flags = parse_flags(Flags())
    validate(flags)
    num_envs = flags.num_envs or (100 if flags.mosaic else 9)
    threads = set_threads(flags.num_threads or int(num_envs <= FEW))
    if flags.viewer:
        sizes = num_envs, flags.seconds, flags.command, flags.shape, flags.difficulty
        return play_in_browser(flags, *sizes, flags.seed, threads)
    run = open_flags(flags)
    check_output(run.output / "videos.tmp")
    check_pictures(flags, run)
    device, why = "cpu", "enough for a few robots"
    if flags.device != "auto":
        device, why = choose_device(flags.device, robot=run.cfg.env.robot)
    on_map = run.cfg.env.terrain.type != "plane" or flags.shape or flags.difficulty is not None
    place = Place(whole=bool(on_map)) if flags.mosaic else Place()
    if on_map and not flags.mosaic:
        place = Place(flags.shape or "stairs_up", 0.5 if flags.difficulty is None else flags.difficulty)
    script = command_script(flags, TERRAIN_SCRIPT if on_map else DEFAULT_SCRIPT)
    step_dt = run.cfg.env.step_dt
    player = Player(
        num_envs,
        lambda seconds: sample_script(script, seconds, step_dt),
        flags.seconds,
        place,
        flags.push,
        flags.seed,
        device,
        threads,
    )
    env, recording = player.play(run)
    iteration = run.content["iteration"]
    name = f"play_{iteration}_{place.shape}_{place.difficulty:g}" if place.shape else f"play_{iteration}"
    print(f"run    {run.folder}, {run.checkpoint_path.name} (iteration {iteration})")
    print(f"device {device} ({why})", flush=True)
    if flags.video:
        start = time.perf_counter()
        clips, ending = clips_of(flags, run, player, env, recording)
        path = run.output / "videos" / f"{name}{ending}.mp4"
        film_anyhow(clips, recording, path, *flags.video_format())
        print(f"video  {path} ({time.perf_counter() - start:.0f} s)", flush=True)
        for kind in ("gif", "webp"):
            if getattr(flags, kind):
                print(f"{kind:6} {beside(path, f'.{kind}')}", flush=True)
    if flags.plots:
        path = run.output / "plots" / f"{name}.png"
        plot_recording(recording, path, f"{run.cfg.task}, {run.folder.name}, iteration {iteration}")
        print(f"plots  {path}", flush=True)
    if flags.export:
        folder = run.output / output_name("exported", flags.checkpoint)
        print(f"export {export_run(run, env, folder)}", flush=True)
    lin_error, ang_error = recording.tracking_error()
    fallen = int(recording.fell.any(0).sum())
    print(f"lin_vel_error={lin_error:.4f} ang_vel_error={ang_error:.4f} falls={fallen} robots={num_envs}")
    return 0


def validate(flags: Flags) -> None:
    """ValueError with one sentence for values that cannot work."""
    flags.validate_pictures(flags.video)
    flags.validate_viewer(("script", "push", "mosaic", "versus", "versus_engine", "timelapse", "gif", "webp"))
    if flags.mosaic and (flags.shape or flags.difficulty is not None):
        raise ValueError("--mosaic shows the whole map of the training: leave out --shape and --difficulty")
    if not 0 <= flags.seconds <= 3600:
        raise ValueError(f"--seconds must be between 0 and 3600, not {flags.seconds:g}")
    if flags.command and not np.isfinite(flags.command).all():
        raise ValueError(f"--command must be three finite numbers, not {flags.command}")
    if flags.command and flags.script:
        raise ValueError("--command and --script exclude each other; give one of them")


def command_script(flags: Flags, default: Script) -> Script:
    """The commands that the flags ask for; ValueError with one sentence for a file that holds none."""
    if flags.command:
        return ((sum(part[0] for part in default), *flags.command),)
    return read_script(Path(flags.script)) if flags.script else default


if __name__ == "__main__":
    command(main)
