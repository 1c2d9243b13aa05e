"""Pictures of robots as they are right now, one robot a picture, for programs that ask an environment to render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from envs.legged_env import LeggedEnv
from viewers.canvas import Canvas
from viewers.filming import Shot, draw_shot
from viewers.recording import Recording, follow, formation, look, make_recording
from viewers.stage import Stage


class LiveCamera:
    """Draws single robots of an environment; `close` gives OpenGL back."""

    def __init__(self, env: LeggedEnv, width: int, height: int):
        """Prepare pictures of `width` x `height` pixels.

        Raises:
            NoOpenGLError: nothing on this machine can draw.
        """
        self.env = env
        self._canvas = Canvas(width, height, samples=4)
        self._stage = Stage(env.cfg.robot, env.ground)
        self._canvas.set_ground(self._stage.ground, self._stage.picture)

    def moment(self, robot: int, now: dict[str, np.ndarray] | None = None) -> Recording:
        """One robot at one time: now, or as `look` and the command [N, 3] found it."""
        now = now or self.all_robots()
        one = {name: value[None, robot : robot + 1] for name, value in now.items() if name != "command"}
        return make_recording(self.env, now["command"][robot : robot + 1], one)

    def all_robots(self) -> dict[str, np.ndarray]:
        """Everything that pictures of the robots as they are now need."""
        command = self.env.command.cpu().numpy().copy()
        return look(self.env) | {"fell": np.zeros(len(command), bool), "command": command}

    def draw(self, moment: Recording) -> np.ndarray:
        """A picture of one robot, its command and its velocity, uint8 [height, width, 3]."""
        positions = formation(moment)
        shot = Shot(moment, positions, follow(moment, positions), self._stage)
        return draw_shot(self._canvas, self._stage, shot, 0)[..., :3].copy()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._canvas.__exit__(None, None, None)


class Pictures(Sequence[np.ndarray]):
    """A picture of each robot, drawn when it is asked for: of thousands, few are looked at."""

    def __init__(self, camera: LiveCamera):
        """Of the robots as they are now."""
        self._camera, self._now = camera, camera.all_robots()

    def __len__(self) -> int:
        return len(self._now["command"])

    @overload
    def __getitem__(self, robot: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, robot: slice) -> list[np.ndarray]: ...
    def __getitem__(self, robot: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(robot, slice):
            return [self[i] for i in range(*robot.indices(len(self)))]
        return self._camera.draw(self._camera.moment(range(len(self))[robot], self._now))
