"""Robots: one MJCF file and one `RobotConfig` each; a module's robots are found by themselves."""

from robots.config import BadFileError, RobotConfig, modules

ROBOTS: dict[str, RobotConfig] = {}
"""Every robot by name; `from robots import ANYMAL_C` works too."""


def __getattr__(name: str) -> RobotConfig:
    if name.lower() in ROBOTS:
        return ROBOTS[name.lower()]
    raise AttributeError(f"there is no robot {name}")


for _module in modules(__name__, __path__):
    for _robot in vars(_module).values():
        if isinstance(_robot, RobotConfig) and ROBOTS.setdefault(_robot.name, _robot) is not _robot:
            raise BadFileError(f"{_module.__file__}: another file has a robot named {_robot.name!r}")

__all__ = ["ROBOTS", "RobotConfig"]
