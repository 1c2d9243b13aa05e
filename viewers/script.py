"""A sequence of commands that robots follow while they are filmed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

Script = tuple[tuple[float, float, float, float], ...]
"""(duration in s, vx, vy in m/s, yaw rate in rad/s), one after another."""

DEFAULT_SCRIPT: Script = (
    # seconds, vx, vy, yaw rate
    (1.0, 0.0, 0.0, 0.0),
    (2.5, 1.0, 0.0, 0.0),
    (1.5, 0.0, 0.6, 0.0),
    (2.0, 0.0, 0.0, 1.0),
    (2.0, 0.7, -0.5, 0.0),
    (2.0, 0.8, 0.0, -0.8),
    (1.0, 0.0, 0.0, 0.0),
)
"""Stand, forward, sideways, turn, diagonal, curve, stand."""
TERRAIN_SCRIPT: Script = ((0.5, 0.0, 0.0, 0.0), (13.5, 0.75, 0.0, 0.0))
"""Stand, then straight on across the tile."""


def read_script(path: Path) -> Script:
    """Read a file of commands; ValueError with one sentence that names the line that is wrong."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--script {path} cannot be read ({error})") from error
    script: list[tuple[float, float, float, float]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            seconds, vx, vy, yaw = map(float, words)
        except ValueError as error:
            raise ValueError(f"--script {path}: line {number} is not SECONDS VX VY YAW: {line!r}") from error
        if not (seconds > 0 and np.isfinite((seconds, vx, vy, yaw)).all()):
            raise ValueError(f"--script {path}: line {number} needs a positive duration and finite numbers")
        script.append((seconds, vx, vy, yaw))
    if not script:
        raise ValueError(f"--script {path} has no commands; a line is SECONDS VX VY YAW")
    return tuple(script)


def sample_script(script: Script, seconds: float, step_dt: float) -> torch.Tensor:
    """Command of each policy step, [T, 3], for `seconds` (0: as long as the script); it repeats as needed."""
    ends = np.cumsum([part[0] for part in script])
    count = max(1, round((seconds or ends[-1]) / step_dt))
    time = (np.arange(count) + 0.5) * step_dt % ends[-1]
    commands = np.array([part[1:] for part in script])[np.searchsorted(ends, time, side="right")]
    return torch.tensor(commands, dtype=torch.float32)
