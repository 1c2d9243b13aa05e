"""What the terms of a task may look at: computed once a step, used by all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.frames import gravity_in_base, rotate_inverse
from envs.perception import Perception
from envs.randomisation import Randomisation
from physics import Engine
from physics.engine import per_joint
from robots.config import RobotConfig, matching


@dataclass
class RobotState:
    """N robots with A joints, F feet and C contact groups, at the end of a policy step.

    Base-frame quantities are in the axes of each robot's base (x forward, y left, z up).
    """

    step_dt: float
    """Duration of a policy step, s."""
    gravity_leans: bool
    """Gravity differs from robot to robot."""
    default_joint_pos: Tensor
    """Joint angles of the nominal stance, rad, [A]."""
    joint_pos_limits: Tensor
    """Lower and upper joint limits, rad, [A, 2]; infinite where a joint has none."""
    joint_vel_limits: Tensor
    """Speed limits, rad/s, [A]."""
    effort_limits: Tensor
    """Torque limits, N m, [A]."""
    feet: Tensor
    """Index of each foot's contact group, [F]."""
    penalised: Tensor
    """Indices of the contact groups that the collision reward counts, [P]."""
    fatal: Tensor
    """Indices of the contact groups that end the episode, [G]."""

    base_pos: Tensor
    """World frame, m, [N, 3]."""
    base_quat: Tensor
    """Base to world, w x y z, [N, 4]."""
    height_scan: Tensor
    """World z of the ground at the points around each robot, as it perceives them, m, [N, P]."""
    ground_height: Tensor
    """Mean world z of the ground around each robot, m, [N]; 0 without a map."""
    base_lin_vel: Tensor
    """Base frame, m/s, [N, 3]."""
    base_ang_vel: Tensor
    """Base frame, rad/s, [N, 3]."""
    projected_gravity: Tensor
    """Unit vector of gravity in the base frame, [N, 3]; (0, 0, -1) when level
    (unless gravity itself is tilted)."""
    joint_pos: Tensor
    """rad, [N, A]."""
    encoder_offset: Tensor
    """What the encoders read beyond `joint_pos`, rad, [N, A]."""
    joint_vel: Tensor
    """rad/s, [N, A]."""
    previous_joint_vel: Tensor
    """The same before this step, rad/s, [N, A]."""
    joint_acc: Tensor
    """Change of joint velocity over the policy step, rad/s^2, [N, A]."""
    joint_torque: Tensor
    """N m, [N, A]."""
    contact_force: Tensor
    """Force of the ground on each contact group, world frame, N, [N, C, 3]."""
    foot_pos: Tensor
    """World frame, m, [N, F, 3]."""
    foot_vel: Tensor
    """World frame, m/s, [N, F, 3]."""
    feet_down: Tensor
    """Vertical force on the foot is above 1 N now, bool, [N, F]."""
    foot_contact: Tensor
    """Foot is down: vertical force above 1 N now or at the previous step, bool, [N, F]."""
    first_contact: Tensor
    """Foot is down and was in the air until now, bool, [N, F]."""
    feet_air_time: Tensor
    """Time since each foot was last down, s, [N, F]; at a first contact, the length of the swing."""
    command: Tensor
    """Commanded forward velocity, sideways velocity (m/s) and yaw rate (rad/s), base frame, [N, 3]."""
    action: Tensor
    """Action of this step, [N, A]."""
    previous_action: Tensor
    """Action of the step before, [N, A]."""
    friction: Tensor
    """Friction coefficient of the robot's contacts, [N]."""
    added_base_mass: Tensor
    """Mass added to the base, kg, [N]."""
    terminated: Tensor
    """Robot fell in this step, bool, [N]."""
    episode_length: Tensor
    """Age of each robot's episode, policy steps, int64, [N]; the first episodes begin at random ages."""
    first_age: Tensor
    """The age that it began with, [N]."""

    @property
    def time(self) -> Tensor:
        """Time since each robot's episode really began, s, [N]: of a gait's phase, say."""
        return (self.episode_length - self.first_age) * self.step_dt

    def refresh(self, engine: Engine) -> None:
        """Quantities that several terms need, after the physics of a policy step."""
        self.refresh_base(engine)
        self.joint_acc.copy_((self.joint_vel - self.previous_joint_vel) / self.step_dt)
        down = self.contact_force[:, self.feet, 2] > 1.0
        torch.logical_or(down, self.feet_down, out=self.foot_contact)
        self.feet_down.copy_(down)
        torch.logical_and(self.foot_contact, self.feet_air_time > 0.0, out=self.first_contact)
        self.feet_air_time += self.step_dt

    def refresh_base(self, engine: Engine) -> None:
        """The part of it that a reset or a push changes."""
        self.base_lin_vel.copy_(rotate_inverse(engine.base_quat, engine.base_lin_vel))
        if self.gravity_leans:
            gravity = rotate_inverse(engine.base_quat, engine.gravity)
            self.projected_gravity.copy_(gravity / engine.nominal["gravity"].norm())
        else:
            self.projected_gravity.copy_(gravity_in_base(engine.base_quat))

    def clear(self, mask: Tensor) -> None:
        """Forget what robots in `mask` (bool, [N]) did: their episode begins."""
        for past in (self.action, self.previous_action, self.previous_joint_vel, self.joint_acc):
            past.masked_fill_(mask.unsqueeze(1), 0.0)
        self.feet_air_time.masked_fill_(mask.unsqueeze(1), 0.0)
        self.feet_down.masked_fill_(mask.unsqueeze(1), False)


def make_state(
    robot: RobotConfig,
    engine: Engine,
    buffers: Buffers,
    perception: Perception,
    command: Tensor,
    randomisation: Randomisation,
    step_dt: float,
) -> RobotState:
    """The state of an environment, made of its parts' own tensors.

    Args:
        robot: facts about the robot.
        engine: the robots; it refreshes its tensors by itself.
        buffers: where the memory of past steps lies.
        perception: the ground as the robots perceive it.
        command: what they are told to do, [N, 3].
        randomisation: how they differ.
        step_dt: duration of a policy step, s.
    """
    joints, feet, groups = len(engine.joint_names), len(robot.feet), list(engine.contact_groups)
    feet_down = buffers.make("feet_down", feet, dtype=torch.bool)
    randomised, zeros = randomisation.values, torch.zeros_like

    def indices(names: list[str]) -> Tensor:
        chosen = [groups.index(name) for name in names]
        return torch.tensor(chosen, dtype=torch.int64, device=engine.device)

    return RobotState(
        step_dt=step_dt,
        gravity_leans="gravity_tilt" in randomisation.differing,
        default_joint_pos=per_joint(robot.default_joint_pos, engine),
        joint_pos_limits=engine.joint_pos_limits,
        joint_vel_limits=per_joint(robot.velocity_limit, engine),
        effort_limits=per_joint(robot.effort_limit, engine),
        feet=indices([matching((foot,), groups)[0] for foot in robot.feet]),
        penalised=indices(matching(robot.penalised_contacts, groups)),
        fatal=indices(matching(robot.fatal_contacts, groups)),
        base_pos=engine.base_pos,
        base_quat=engine.base_quat,
        height_scan=perception.height_scan,
        ground_height=perception.ground_height,
        base_lin_vel=zeros(engine.base_lin_vel),
        base_ang_vel=engine.base_ang_vel,
        projected_gravity=zeros(engine.base_pos),
        joint_pos=engine.joint_pos,
        encoder_offset=randomised["encoder_offset"],
        joint_vel=engine.joint_vel,
        previous_joint_vel=buffers.make("previous_joint_vel", joints),
        joint_acc=zeros(engine.joint_vel),
        joint_torque=engine.joint_torque,
        contact_force=engine.contact_force,
        foot_pos=engine.foot_pos,
        foot_vel=engine.foot_vel,
        feet_down=feet_down,
        foot_contact=zeros(feet_down),
        first_contact=zeros(feet_down),
        feet_air_time=buffers.make("feet_air_time", feet),
        command=command,
        action=buffers.make("action", joints),
        previous_action=buffers.make("previous_action", joints),
        friction=randomised["friction"],
        added_base_mass=randomised["added_base_mass"],
        terminated=torch.zeros(engine.num_envs, dtype=torch.bool, device=engine.device),
        episode_length=buffers.make("episode_length", dtype=torch.int64),
        first_age=buffers.make("first_age", dtype=torch.int64),
    )
