"""Physics engines behind one interface, all built from the same `mujoco.MjModel`."""

from physics.engine import Engine
from physics.mujoco_engine import MujocoEngine
from physics.scene import build_scene
from robots.config import RobotConfig, nearest
from terrains.ground import Ground

ENGINES = ("auto", "mujoco")
"""Names that `--engine` accepts."""


def make_engine(
    name: str,
    robot: RobotConfig,
    ground: Ground,
    num_envs: int,
    timestep: float,
    device: str,
    num_threads: int,
) -> tuple[Engine, str]:
    """Build an engine; returns it with a sentence that says which was taken and why.

    Raises:
        ValueError: unknown engine, or one that cannot run on `device`.
    """
    if name not in ENGINES:
        raise ValueError(
            f"unknown engine {name!r}; choose from {', '.join(ENGINES)}.{nearest(name, ENGINES)}"
        )
    if device != "cpu":
        raise ValueError(f"engine 'mujoco' runs on the CPU, not on {device!r}; use --device cpu")
    why = "the only engine for this device" if name == "auto" else "as asked"
    return MujocoEngine(robot, ground, num_envs, timestep, num_threads=num_threads), f"mujoco ({why})"


__all__ = ["ENGINES", "Engine", "MujocoEngine", "build_scene", "make_engine"]
