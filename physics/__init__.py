"""Physics engines behind one interface, all built from the same `mujoco.MjModel`."""

from physics.batched import BatchedEngine, NoCompiler, NoCuda, UnsupportedModel
from physics.device import choose_device
from physics.engine import Engine
from physics.mujoco_engine import MujocoEngine
from physics.robot_check import tell
from physics.scene import Actuation, build_scene
from physics.stance import check_stance
from robots.config import RobotConfig, nearest
from terrains.ground import Ground, Plane

ENGINES = ("auto", "batched", "mujoco")
"""Names that `--engine` accepts."""


def make_engine(
    name: str,
    robot: RobotConfig,
    ground: Ground,
    num_envs: int,
    timestep: float,
    device: str,
    num_threads: int,
    actuation: Actuation = "position",
) -> tuple[Engine, str]:
    """Build an engine; returns it with a sentence that says which was taken and why.

    The robot is looked at first, see `physics.stance`; what is odd about it is told once.

    Raises:
        ValueError: unknown engine, or one that cannot run on `device` or compute this robot; a robot that cannot
            stand as its configuration says.
    """
    if name not in ENGINES:
        raise ValueError(
            f"unknown engine {name!r}; choose from {', '.join(ENGINES)}.{nearest(name, ENGINES)}"
        )
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"engines run on cpu or cuda, not on {device!r}")
    if kind == "cuda" and name == "mujoco":
        raise ValueError("engine 'mujoco' runs on the CPU only; use --engine batched, or --device cpu")
    for odd in check_stance(robot, build_scene(robot, Plane(), timestep, actuation)):
        tell(robot, odd)
    why = "as asked"
    if name != "mujoco":
        try:
            engine = BatchedEngine(
                robot, ground, num_envs, timestep, actuation, num_threads=num_threads, device=device
            )
            return engine, "batched (" + (
                "as asked" if name == "batched" else "the fastest for this robot"
            ) + ")"
        except (UnsupportedModel, NoCompiler, NoCuda) as error:
            if name == "batched" or kind == "cuda":
                raise ValueError(str(error)) from error
            why = f"not batched: {error}"
    return MujocoEngine(robot, ground, num_envs, timestep, actuation, num_threads), f"mujoco ({why})"


__all__ = [
    "ENGINES",
    "BatchedEngine",
    "Engine",
    "MujocoEngine",
    "UnsupportedModel",
    "build_scene",
    "choose_device",
    "make_engine",
]
