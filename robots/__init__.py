"""Robots: one MJCF file and one `RobotConfig` each."""

from robots.anymal_c import ANYMAL_C
from robots.config import RobotConfig

ROBOTS: dict[str, RobotConfig] = {robot.name: robot for robot in (ANYMAL_C,)}
"""Every robot by name."""

__all__ = ["ROBOTS", "RobotConfig"]
