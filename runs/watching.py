"""Training that is looked at: `--viewer web` and `--video_every`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from algorithms import Trainer
from envs.legged_env import LeggedEnv
from physics.scene import build_scene
from runs.aside import start_aside
from runs.clips import Clips
from runs.config import RunConfig
from terrains.ground import Plane

ROBOTS = 8
"""As many are shown."""
MOST_STEPS = 100
"""Of a rollout, so many are shown: an answer must fit into the pipe, for nobody may wait for it to be read."""


def check_watching(cfg: RunConfig) -> None:
    """Refuse what cannot be watched; ValueError with one sentence."""
    if cfg.video_every < 0:
        raise ValueError(f"--video_every must not be negative, not {cfg.video_every}; 0 makes no clips")
    if cfg.learner == "rsl_rl" and cfg.viewer != "none":
        raise ValueError("--viewer web shows --learner trot only: rsl_rl's own runner collects its rollouts")
    if cfg.learner == "rsl_rl" and cfg.video_every:
        raise ValueError("--video_every is for --learner trot: film a run of rsl_rl with scripts/play.py")
    if not 1 <= cfg.port <= 65535:
        raise ValueError(f"--port must be between 1 and 65535, not {cfg.port}")
    if cfg.viewer == "web":
        _free_port(cfg.port)


def _free_port(port: int) -> int:
    from viewers.web.server import free_port  # a web server is imported for those who want one
    from viewers.web.training import HOST

    return free_port(HOST, port)


@contextmanager
def watched(cfg: RunConfig, trainer: Trainer, env: LeggedEnv, folder: Path) -> Iterator[None]:
    """Have a training watched as its flags say, if this is the first of its processes; it learns the same."""
    watchers: list[Live | Clips] = []
    if trainer.ranks.first and cfg.viewer == "web":
        watchers.append(Live(cfg, env, trainer.cfg.ppo.num_steps, folder))
    if trainer.ranks.first and cfg.video_every:
        watchers.append(Clips(trainer, folder, cfg.video_every, cfg.logger == "tensorboard"))
    trainer.collector.watchers += watchers
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.close()


class Live:
    """Hands rollouts of a few robots to the process that serves the page, when it asks for them.

    Training does not wait for it: an answer fits into the pipe whether or not somebody reads, and there is only one
    for each question. What happens to that process is none of training's business.
    """

    def __init__(self, cfg: RunConfig, env: LeggedEnv, num_steps: int, folder: Path):
        """Start the page; ValueError if there is no port for it."""
        port = _free_port(cfg.port)
        from viewers.web.training import HOST, Shown

        count = min(ROBOTS, env.num_envs)
        # in the middle of each eighth: robots stand in the order of the map's columns
        chosen = [(2 * i + 1) * env.num_envs // (2 * count) for i in range(count)]
        engine = env.engine
        self._chosen = torch.tensor(chosen, device=env.device)
        self._state = engine.base_pos, engine.base_quat, engine.joint_pos
        self._rows = torch.zeros(min(num_steps, MOST_STEPS), count, 7 + env.num_actions, device=env.device)
        """Base position (m), base to world (w x y z) and joints (rad) after each step, [T, R, 7 + A]."""
        shown = Shown(
            title=cfg.task,
            folder=folder.resolve(),
            max_iterations=cfg.max_iterations,
            model=build_scene(cfg.env.robot, Plane(), visuals=True),
            height=cfg.env.robot.init_height,
            ground=replace(env.ground),  # without what it remembers, tensors for instance
            robots=_names(env, chosen),
            step_dt=env.step_dt,
            port=port,
        )
        self.url = f"http://{HOST}:{port}/"
        self.process, self._pipe = _start(shown)
        taken = f" ({cfg.port} is taken)" if port != cfg.port else ""
        print(f"viewer     {self.url}{taken}", flush=True)

    def step(self, step: int) -> None:
        """See `Watcher`."""
        if step < len(self._rows):
            torch.cat([part[self._chosen] for part in self._state], 1, out=self._rows[step])

    def look(self, iteration: int) -> None:
        """See `Watcher`."""
        if self._pipe is None:
            return
        try:
            if not self._pipe.poll():
                return
            asked = self._pipe.recv()
            if asked is True:
                self._pipe.send((iteration, self._rows.cpu().numpy()))
                return
            reason = f"({asked})"
        except (EOFError, OSError):
            reason = "by itself"
        print(f"warning: the viewer has ended {reason}; training goes on", file=sys.stderr, flush=True)
        self.close()

    def close(self) -> None:
        """Training ends: the page says so, and its process ends."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _names(env: LeggedEnv, chosen: list[int]) -> list[str]:
    """What robots are called: by number, and on a map by the kind of terrain that is theirs for good."""
    if env.course is None:
        return [f"robot {i + 1}" for i in range(len(chosen))]
    shapes = env.course.shape.tolist()
    names = [env.course.terrain.shapes[shapes[robot]].replace("_", " ") for robot in chosen]
    return [f"robot {i + 1}, {name}" for i, name in enumerate(names)]


def _start(shown: Any) -> tuple[subprocess.Popen[bytes], Connection[Any, Any] | None]:
    """The page's process, and our end of the pipe to it."""
    ours, its = Pipe()
    process = start_aside(
        f"from viewers.web.training import serve; serve({its.fileno()})", pass_fds=(its.fileno(),)
    )
    its.close()
    # a large map is taken only when that process has imported what it needs; it asks for nothing before
    threading.Thread(target=_tell, args=(ours, shown), daemon=True).start()
    return process, ours


def _tell(pipe: Connection[Any, Any], shown: Any) -> None:
    with suppress(OSError):  # it ended: `look` says so
        pipe.send(shown)
