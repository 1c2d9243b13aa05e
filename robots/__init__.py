"""Robots: one MJCF file and one `RobotConfig` each."""

from robots.a1 import A1
from robots.anymal_b import ANYMAL_B
from robots.anymal_c import ANYMAL_C
from robots.anymal_c_arm import ANYMAL_C_ARM
from robots.cassie import CASSIE
from robots.config import RobotConfig
from robots.go1 import GO1
from robots.go2 import GO2

ROBOTS: dict[str, RobotConfig] = {
    robot.name: robot for robot in (ANYMAL_C, ANYMAL_C_ARM, ANYMAL_B, A1, GO1, GO2, CASSIE)
}
"""Every robot by name."""

__all__ = ["A1", "ANYMAL_B", "ANYMAL_C", "ANYMAL_C_ARM", "CASSIE", "GO1", "GO2", "ROBOTS", "RobotConfig"]
