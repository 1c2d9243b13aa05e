"""Pictures for gymnasium's `render`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from interop.arrays import legged

RENDER_MODE = "rgb_array"


def check_render_mode(mode: str | None) -> None:
    """ValueError with one sentence for any mode but `rgb_array` and None."""
    if mode not in (None, RENDER_MODE):
        raise ValueError(f"render_mode must be {RENDER_MODE} or None, not {mode!r}")


class RenderedEnv(gym.vector.VectorWrapper):
    """A `LeggedEnv` that draws; OpenGL is opened when the first picture is asked for."""

    def __init__(self, env: gym.vector.VectorEnv, width: int, height: int):
        """Pictures of `width` x `height` pixels."""
        if not (16 <= width <= 3840 and 16 <= height <= 3840) or width % 2 or height % 2:
            raise ValueError(
                f"width and height must be even numbers between 16 and 3840, not {width} and {height}"
            )
        super().__init__(env)
        self._size = width, height
        self._camera: Any = None
        fps = 1.0 / legged(env).cfg.step_dt
        self.metadata = {**env.metadata, "render_modes": [RENDER_MODE], "render_fps": fps}

    @property
    def render_mode(self) -> str:  # type: ignore[override]
        """Always `rgb_array`."""
        return RENDER_MODE

    def render(self) -> Sequence[np.ndarray]:  # type: ignore[override]
        """A picture of each robot as it is now, uint8 [height, width, 3], drawn when it is looked at."""
        from viewers.live import LiveCamera, Pictures  # most programs never render

        if self._camera is None:
            self._camera = LiveCamera(legged(self.env), *self._size)
        return Pictures(self._camera)

    def close(self, **kwargs: Any) -> None:
        """Give OpenGL back; a later picture opens it again."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        super().close(**kwargs)
