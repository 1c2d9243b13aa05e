"""Drives: what the joints' motors make of the policy's actions.

| `--env.actuator` | scaled action is | torque, N m |
|---|---|---|
| `pd` | angle, from the nominal one | stiffness (q* - q) - damping v, by the engine at every physics step |
| `torque` | torque | the action |
| `velocity` | speed | velocity_gain (v* - v) |
| `dc_motor` | angle, from the nominal one | that of `pd` within the motor's torque-speed lines |
| `net` | angle, from the nominal one | a network's, from q* - q and v |

Every kind may get its targets late (`DriveConfig.delay`). Torques are limited to the robot's effort limits, a
network's only if asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from envs.buffers import Buffers
from envs.config import EnvConfig
from envs.draws import Uniform
from envs.drives.actuator_net import COLUMNS, ActuatorNet, load_net
from physics.engine import Engine, per_joint
from physics.scene import Actuation

UNLIMITED = 1e6  # N m
Law = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Targets, joint angles and joint velocities, each [N, A] -> torques [N, A]."""


def actuation(cfg: EnvConfig) -> Actuation:
    """What the engine must be built for."""
    return "position" if cfg.actuator == "pd" else "torque"


class Actuator:
    """The drives of N robots with A joints each."""

    def __init__(self, cfg: EnvConfig, engine: Engine, buffers: Buffers):
        """Prepare the drives.

        Args:
            cfg: the task.
            engine: built for `actuation(cfg)`.
            buffers: where their memory lies.

        Raises:
            ValueError: an actuator network that is missing or does not fit.
        """
        self.cfg = cfg
        self.takes_angles = cfg.actuator not in ("torque", "velocity")
        """Targets are joint angles."""
        self.memory: Tensor | None = None
        """State of a network, [..., A, N or more]."""
        self.delay: Tensor | None = None
        """Age of the targets in force, in physics steps, int64, [N]."""
        self._effort_changes(engine)
        self.neutral = per_joint(cfg.robot.default_joint_pos, engine)
        """Target of a zero action, [A]."""
        if not self.takes_angles:
            self.neutral = torch.zeros_like(self.neutral)
        if cfg.drive.delay[1] > 0.0:
            steps = round(cfg.drive.delay[1] / cfg.sim.timestep)
            self.delay = buffers.make("drive_delay", dtype=torch.int64)
            length = -(-steps // cfg.sim.decimation) + 1
            self.history = buffers["drive_history"] = self.neutral.repeat(engine.num_envs, length, 1)
            """Targets of this policy step and those before, newest first, [N, K, A]."""
        self.draws = 0 if self.delay is None else 1
        """Random numbers that a robot needs in a step."""
        self.law = self._make_law(engine, buffers)

    def _effort_changes(self, engine: Engine) -> None:
        if self.cfg.actuator == "net" and not self.cfg.drive.clip_net_torque:
            everyone = torch.ones(engine.num_envs, dtype=torch.bool, device=engine.device)
            engine.set_params(everyone, effort_limit=torch.full_like(engine.joint_torque, UNLIMITED))

    def _make_law(self, engine: Engine, buffers: Buffers) -> Law | None:
        robot, drive, kind = self.cfg.robot, self.cfg.drive, self.cfg.actuator
        if kind == "pd":
            return None
        if kind == "torque":
            return lambda targets, joint_pos, joint_vel: targets
        if kind == "velocity":
            gain = per_joint(robot.damping, engine)
            return VelocityDrive(
                gain if drive.velocity_gain == 0.0 else torch.full_like(gain, drive.velocity_gain)
            )
        if kind == "dc_motor":
            peak, speed = (per_joint(x, engine) for x in (robot.effort_limit, robot.velocity_limit))
            motor = DCMotor(
                stiffness=per_joint(robot.stiffness, engine).repeat(engine.num_envs, 1),
                damping=per_joint(robot.damping, engine).repeat(engine.num_envs, 1),
                stall_torque=torch.full_like(peak, drive.stall_torque) if drive.stall_torque else peak,
                no_load_speed=torch.full_like(speed, drive.no_load_speed) if drive.no_load_speed else speed,
            )
            buffers["drive_stiffness"], buffers["drive_damping"] = motor.stiffness, motor.damping
            return motor
        if not (drive.net or robot.actuator_net):
            raise ValueError(
                f"robot {robot.name} has no actuator network of its own; give env.drive.net a file"
            )
        net = load_net(drive.net or robot.actuator_net, engine.device)
        if net.info.timestep and abs(net.info.timestep - self.cfg.sim.timestep) > 1e-9:
            raise ValueError(
                f"env.sim.timestep must be {net.info.timestep:g} s, that of the actuator network, "
                f"not {self.cfg.sim.timestep:g}"
            )
        law = NetDrive(net, engine)
        self.memory = buffers["drive_memory"] = law.memory
        return law

    def reset(self, mask: Tensor, uniform: Uniform) -> None:
        """Clear the memory of the drives of robots in `mask` (bool, [N]) and draw their delays."""
        if self.memory is not None:
            self.memory[..., : len(mask)].masked_fill_(mask, 0.0)
        if self.delay is not None:
            delay = (uniform(self.cfg.drive.delay) / self.cfg.sim.timestep).round().long()
            self.delay.copy_(torch.where(mask, delay, self.delay))
            self.history.copy_(torch.where(mask[:, None, None], self.neutral, self.history))

    def step(self, engine: Engine, action: Tensor) -> None:
        """Drive all robots for a policy step.

        Args:
            engine: the robots.
            action: scaled action, rad, rad/s or N m, [N, A].
        """
        targets, decimation = self.neutral + action, self.cfg.sim.decimation
        previous = switch = None
        if self.delay is not None:
            targets, previous, switch = self._late(targets, self.delay)
        if self.law is None:
            engine.step(targets, decimation, previous, switch)
            return
        # joint by joint in memory, as the batched engine keeps positions and velocities
        targets, previous = _by_joint(targets), None if previous is None else _by_joint(previous)
        for substep in range(decimation):
            now = targets
            if previous is not None and switch is not None:
                now = torch.where((switch <= substep).unsqueeze(1), targets, previous)
            engine.step(self.law(now, engine.joint_pos, engine.joint_vel), 1)

    def _late(self, targets: Tensor, delay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Targets of delayed robots: the later one, the earlier one, and the physics step between them, [N]."""
        self.history[:, 1:] = self.history[:, :-1].clone()
        self.history[:, 0] = targets
        last = self.history.shape[1] - 1
        age = delay // self.cfg.sim.decimation

        def at(age: Tensor) -> Tensor:
            where = age.clamp(max=last)[:, None, None].expand(-1, 1, targets.shape[1])
            return self.history.gather(1, where).squeeze(1)

        return at(age), at(age + 1), delay % self.cfg.sim.decimation


def _by_joint(x: Tensor) -> Tensor:
    """The same [N, A] with the robots of a joint side by side in memory."""
    return x.T.contiguous().T


@dataclass
class VelocityDrive:
    """Torque = gain x (target speed - speed)."""

    gain: Tensor
    """N m s/rad, [A]."""

    def __call__(self, targets: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """Targets in rad/s; see `Law`."""
        return self.gain * (targets - joint_vel)


@dataclass
class DCMotor:
    """A PD controller's torque within what a motor at a limited voltage can give.

    At full voltage of either sign, torque = stall_torque x (+-1 - v / no_load_speed), a direct-current motor's
    line in all four quadrants: the motor loses torque as it runs with it, gains as it is driven against it
    (the effort limit then bounds it), and beyond the no-load speed it can only brake.
    """

    stiffness: Tensor
    """N m/rad, [N, A]."""
    damping: Tensor
    """N m s/rad, [N, A]."""
    stall_torque: Tensor
    """Torque at rest and full voltage, N m, [A]."""
    no_load_speed: Tensor
    """Speed at full voltage without load, rad/s, [A]."""

    def __call__(self, targets: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """See `Law`."""
        torque = self.stiffness * (targets - joint_pos) - self.damping * joint_vel
        back = self.stall_torque * (joint_vel / self.no_load_speed)
        return torque.clamp(-self.stall_torque - back, self.stall_torque - back)


class NetDrive:
    """A network's torques from position error and velocity."""

    def __init__(self, net: ActuatorNet, engine: Engine):
        """A fresh memory for the robots of `engine`."""
        self.net = net
        padded = -(-engine.num_envs // COLUMNS) * COLUMNS
        shape = len(engine.joint_names), padded
        self.memory = torch.zeros(*net.memory_shape, *shape, device=engine.device)
        self._inputs = torch.zeros(2, *shape, device=engine.device)
        self._torque = torch.zeros(*shape, device=engine.device)

    def __call__(self, targets: Tensor, joint_pos: Tensor, joint_vel: Tensor) -> Tensor:
        """See `Law`; advances the memory by a physics step."""
        robots = len(targets)
        torch.sub(targets.T, joint_pos.T, out=self._inputs[0, :, :robots])
        self._inputs[1, :, :robots].copy_(joint_vel.T)
        self.net(self._inputs, self.memory, self._torque)
        return self._torque[:, :robots].T
