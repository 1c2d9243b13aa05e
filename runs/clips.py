"""Short films of a policy while it learns: `--video_every`.

Each is made in a process of its own, of the weights as they were, on a CPU: training goes on meanwhile, and whatever
becomes of the film, learns the same.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter

from algorithms import Actor, Trainer, checkpoint
from algorithms.trainer import make_policy
from envs.config import EnvConfig
from envs.legged_env import LeggedEnv
from evaluation.walking import evaluation_config
from runs.aside import start_aside
from runs.config import RunConfig, load_config
from viewers.gif import video_to_gif
from viewers.offscreen import NoOpenGLError
from viewers.recording import Recording, record
from viewers.script import Script, sample_script
from viewers.stick import film_sticks
from viewers.video import film

ROBOTS = 4
SIZE = (480, 270)
"""Width and height, pixels."""
FPS = 25.0
GIF_WIDTH = 320
"""Of the same clip in TensorBoard, pixels."""
ON_PLANE: Script = ((0.4, 0.0, 0.0, 0.0), (1.8, 0.8, 0.0, 0.0), (1.4, 0.0, 0.0, 1.0), (1.4, 0.0, 0.5, 0.0))
"""Stand, forward, turn, sideways."""
ON_MAP: Script = ((0.4, 0.0, 0.0, 0.0), (4.6, 0.75, 0.0, 0.0))
"""Stand, then straight on."""
TILE = "stairs_up"
"""What a clip of a map shows, or else the shape with the most columns."""
PATIENCE = 60.0
"""The last clip is waited for so long, s; on a busy machine it comes later."""


class Clips:
    """Has a clip made after every so many iterations, if the one before is done."""

    def __init__(self, trainer: Trainer, folder: Path, every: int, tensorboard: bool = True):
        """Prepare.

        Args:
            trainer: whose policy is filmed: the average, if there is one.
            folder: of the run, which has its configuration; clips go to its `videos`.
            every: iterations from one clip to the next.
            tensorboard: clips go to TensorBoard as well.
        """
        self._trainer, self._folder, self._every = trainer, folder, every
        self._tensorboard = tensorboard
        self._said: set[str] = set()
        self._left_out = 0  # the last iteration without a clip
        self._iteration = 0  # that the process is making a clip of
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes]

    def step(self, step: int) -> None:
        """See `Watcher`."""

    def look(self, iteration: int) -> None:
        """See `Watcher`."""
        if self._process is not None and self._process.poll() is not None:
            self._finish()
        if iteration % self._every:
            return
        if self._process is not None:
            self._left_out = iteration
            self._warn(
                "clips take longer than training to the next one, so that some are left out; "
                "raise --video_every"
            )
            return
        try:
            self._begin(iteration)
        except OSError as error:  # a full disk, no more processes
            weights_path(self._folder, iteration).unlink(missing_ok=True)
            self._warn(f"no clip of iteration {iteration} ({error}); training goes on")

    def _begin(self, iteration: int) -> None:
        path = weights_path(self._folder, iteration)
        path.parent.mkdir(exist_ok=True)
        policy = self._trainer.average or self._trainer.policy
        checkpoint.save(path, {"policy": policy.state_dict()})
        self._iteration, self._errors = iteration, tempfile.TemporaryFile()  # noqa: SIM115
        code = (
            "import sys; from runs.clips import main; main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == '1')"
        )
        arguments = str(self._folder), str(iteration), str(int(self._tensorboard))
        self._process = start_aside(code, arguments, errors=self._errors)

    def _finish(self) -> None:
        """Take leave of the process, which has ended."""
        assert self._process is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        weights_path(self._folder, self._iteration).unlink(missing_ok=True)  # left if it failed early
        if self._process.returncode:
            reason = lines[-1] if lines else f"status {self._process.returncode}"
            self._warn(f"a clip failed ({reason}); training goes on")
        for line in lines:
            if line.startswith(_NOTE):
                self._warn(line.removeprefix(_NOTE))
        self._process = None

    def _warn(self, sentence: str) -> None:
        """Say it once."""
        kind = sentence.split("(")[0]
        if kind not in self._said:
            self._said.add(kind)
            print(f"warning: {sentence}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Training has ended: wait for the last clip, which may have to be begun yet."""
        self._wait()
        if self._process is None and 0 < self._left_out == self._trainer.iteration:
            self.look(self._left_out)
            self._wait()

    def _wait(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            print(f"the clip of iteration {self._iteration} is being finished", flush=True)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            print("this machine is busy: it comes a little later", flush=True)
        else:
            self._finish()


_NOTE = "note: "
"""What a process writes after this, the user is told."""


def weights_path(folder: Path, iteration: int) -> Path:
    """Where weights lie until their clip is made."""
    return folder / "videos" / f".policy_{iteration}.pt"


# ---------------------------------------------------------------------- in the process


def main(folder: str, iteration: int, tensorboard: bool) -> None:
    """Make one clip."""
    torch.set_num_threads(1)
    run = Path(folder)
    weights = checkpoint.load(weights_path(run, iteration))["policy"]
    weights_path(run, iteration).unlink()
    cfg = load_config(run / "config.yaml")
    recording = play(cfg, weights)
    path = run / "videos" / f"iteration_{iteration:06d}.mp4"
    try:
        film(recording, path, SIZE, FPS)
    except NoOpenGLError as error:
        print(f"{_NOTE}{error}, so clips show stick figures", file=sys.stderr)
        film_sticks(recording, path, SIZE, FPS)
    if not tensorboard:
        return
    with tempfile.TemporaryDirectory() as temporary:
        gif = Path(temporary) / "clip.gif"
        video_to_gif(path, gif, GIF_WIDTH)
        log_gif(gif.read_bytes(), path.parent, iteration)


def play(cfg: RunConfig, weights: dict[str, torch.Tensor]) -> Recording:
    """What a few robots do by a policy of a run under the script's commands."""
    script = ON_PLANE if cfg.env.terrain.type == "plane" else ON_MAP
    commands = sample_script(script, 0.0, cfg.env.step_dt)
    env_cfg = clip_config(copy.deepcopy(cfg.env), len(commands) * cfg.env.step_dt)
    env = LeggedEnv(env_cfg, ROBOTS, "auto", "cpu", 1, cfg.seed)
    policy = make_policy(env, cfg.agent)
    policy.load_state_dict(weights)
    return record(env, Actor(policy.eval()), commands, cfg.seed)


def clip_config(cfg: EnvConfig, seconds: float) -> EnvConfig:
    """Change a task for a clip; returns the same object. Of a map one tile is shown, the same in every clip."""
    cfg = evaluation_config(cfg, seconds)
    terrain = cfg.terrain
    if terrain.type == "plane":
        cfg.init.base_position = 0.0  # the video puts the robots side by side
    elif terrain.type == "tiles":
        shares = terrain.proportions
        terrain.type, terrain.difficulty = "tile", 0.5
        terrain.shape = TILE if shares.get(TILE) else max(shares, key=lambda name: shares[name])
    return cfg


def log_gif(gif: bytes, folder: Path, iteration: int) -> None:
    """Give TensorBoard moving pictures, as an image of a run of their own: two programs cannot write to one run."""
    width, height = (int.from_bytes(gif[i : i + 2], "little") for i in (6, 8))
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    writer = FileWriter(str(folder))
    writer.add_summary(Summary(value=[Summary.Value(tag="clip", image=image)]), iteration)
    writer.close()
