"""Robots in plain MuJoCo that somebody steers, disturbs and looks at, instead of measuring them."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from deploy.added import NOTHING, Added
from deploy.ground import Course
from deploy.robot import Robot, load_policy, quiet


class Steered:
    """N robots, each in a world of its own on the same ground, that walk as they are told until told otherwise."""

    def __init__(
        self,
        folder: Path,
        mjcf: Path,
        course: Course | None = None,
        contact_time: float = 0.0,
        added: Added = NOTHING,
        count: int = 1,
        seed: int = 1,
    ):
        """Build and reset them.

        Args:
            folder: exported files.
            mjcf: the robot.
            course: the ground, a plane without.
            contact_time: time constant of contacts on a course, s; 0 for the MJCF's own.
            added: to the joints.
            count: N.
            seed: of starts and of what is added.

        Raises:
            ValueError: files that are missing, damaged, or do not belong together.
        """
        loaded = [load_policy(folder) for _ in range(count)]
        self.facts, self.course = loaded[0][0], course
        self._acts = [act for _, act in loaded]
        field = course.field if course else None
        self.robots = [Robot(self.facts, mjcf, field, contact_time, added) for _ in range(count)]
        self.model = self.robots[0].model
        self.dt = self.robots[0].dt
        self._base = int(self.model.body_rootid[self.model.joint(self.facts["joint_names"][0]).bodyid[0]])
        self._own_mass = float(self.model.body_mass[self._base])
        self._feet = [self.model.geom(name).id for name in self.facts.get("feet", ())]
        self._seed = seed
        self.time = 0.0
        """Simulated, s."""
        self.commands = np.zeros((count, 3))
        """vx, vy (m/s) and yaw rate (rad/s) of each robot, [N, 3]."""
        self.reset()

    def reset(self) -> None:
        """All robots start anew, as the first time."""
        self._rng = np.random.default_rng(self._seed)
        for i in range(len(self.robots)):
            self._start(i)

    def _start(self, i: int) -> None:
        robot, start = self.robots[i], None
        robot.vary(self._rng)
        if self.course is not None:
            start = self.course.starts[i % len(self.course.starts)].copy()
            if i:  # not inside one another
                start[:2] += self._rng.uniform(-2.0, 2.0, 2)
        robot.reset(self._rng, start)
        self._acts[i].reset()
        mujoco.mj_forward(robot.model, robot.data)

    def step(self) -> np.ndarray:
        """One policy step of all robots; those that fell or left the ground start anew. Returns which, bool, [N]."""
        ended = np.zeros(len(self.robots), dtype=bool)
        with quiet():
            for i, robot in enumerate(self.robots):
                robot.command = self.commands[i]
                fell, *_ = robot.step(self._acts[i](robot.observe()))
                ended[i] = fell or self._is_off(robot)
                if ended[i]:
                    self._start(i)
                else:  # MuJoCo leaves the bodies where the last physics step began
                    mujoco.mj_kinematics(robot.model, robot.data)
        self.time += self.dt
        return ended

    def _is_off(self, robot: Robot) -> bool:
        if self.course is None:
            return False
        field = self.course.field
        half = 0.5 * field.cell * (np.array(field.heights.shape) - 1)
        return bool((np.abs(robot.base_pos[:2]) > half).any())

    def push(self, i: int, velocity: tuple[float, float]) -> None:
        """Add a horizontal velocity (world frame, m/s) to the base of a robot."""
        self.robots[i].base_lin_vel[:2] += velocity

    def set_body(self, friction: float, payload: float) -> None:
        """Friction of all contacts, and mass added to each base (kg), at once."""
        for robot in self.robots:
            robot.model.geom_friction[:, 0] = friction
            robot.model.body_mass[self._base] = self._own_mass + payload
            mujoco.mj_setConst(
                robot.model, mujoco.MjData(robot.model)
            )  # not with its own data: the state is kept

    def velocity(self, i: int) -> np.ndarray:
        """vx, vy (m/s) and yaw rate (rad/s) of a robot, base frame, [3]."""
        robot = self.robots[i]
        return np.array([*(robot.rotation.T @ robot.base_lin_vel)[:2], robot.base_ang_vel[2]])

    def feet(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Feet of a robot (world frame, m) and the forces of the ground on them (N), [F, 3] each."""
        robot = self.robots[i]
        data, wrench, forces = robot.data, np.zeros(6), np.zeros((len(self._feet), 3))
        for k, pair in enumerate(data.contact.geom.tolist()):
            for side, geom in enumerate(pair):
                if geom in self._feet:
                    mujoco.mj_contactForce(robot.model, data, k, wrench)
                    force = data.contact.frame[k].reshape(3, 3).T @ wrench[:3]  # on the second geom
                    forces[self._feet.index(geom)] += force if side else -force
        return data.geom_xpos[self._feet].copy(), forces

    def scan_points(self, i: int) -> np.ndarray:
        """Points of the ground where a robot's policy looks, world frame, m, [P, 3]; none if it is blind."""
        robot = self.robots[i]
        for term in self.facts["observations"]:
            if term["function"] == "height_scan":
                forward, left = np.array(term["points"]["x"]), np.array(term["points"]["y"])
                cos, sin = np.cos(robot.yaw), np.sin(robot.yaw)
                x = robot.base_pos[0] + cos * forward - sin * left
                y = robot.base_pos[1] + sin * forward + cos * left
                z = np.zeros(len(x)) if robot.field is None else robot.field.look_up(x, y, term["lookup"])
                return np.stack((x, y, z), -1)
        return np.zeros((0, 3))
