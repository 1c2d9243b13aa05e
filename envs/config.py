"""Everything about a task that a user may change; each field is a command-line flag (`--env.commands...`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Any, Literal, get_args

from envs.randomisation import RandomisationConfig
from robots import ANYMAL_C, RobotConfig
from robots.config import check_numbers, nearest
from terrains.curriculum import CurriculumConfig
from terrains.grid import TerrainConfig
from terrains.scan import ScanConfig

ActuatorKind = Literal["pd", "torque", "velocity", "dc_motor", "net"]


@dataclass
class RewardTerm:
    """One reward: `func(state, **params)` x weight x step duration."""

    func: Callable[..., Any]
    """A function of `RobotState` from envs/rewards.py, or your own; or a `TermWithMemory` of envs/terms.py."""
    weight: float
    """Reward per second and unit of the term; 0 switches the term off."""
    params: dict[str, float] = field(default_factory=dict)
    """Parameters of the function."""


@dataclass
class ObservationTerm:
    """One part of the observation: (func(state) + noise) x scale."""

    func: Callable[..., Any]
    """A function of `RobotState` from envs/observations.py, or your own; or a `TermWithMemory` of envs/terms.py."""
    scale: tuple[float, ...]
    """Factor, one for all columns or one each."""
    noise: float
    """Half width of uniform noise, in the term's own unit."""
    mirror: str
    """How it looks in the mirror: vector, axial, command, joints, feet, scan or scalar (envs/symmetry.py)."""
    group: Literal["both", "policy", "critic"] = "both"
    """Who sees it. With a term of one alone, the critic has an observation of its own, which is free of noise."""


@dataclass
class SimConfig:
    """Time steps."""

    timestep: float = 0.005
    """Physics time step, s."""
    decimation: int = 4
    """Physics steps per policy step."""


@dataclass
class ControlConfig:
    """From actions to joint targets."""

    action_scale: float = 0.5
    """Joint target = nominal angle + action_scale x action, rad; without the nominal angle where the actuator takes
    a speed (rad/s) or a torque (N m)."""
    clip_actions: float = 100.0
    """Largest magnitude of an action."""


@dataclass
class DriveConfig:
    """What the drives add to an ideal controller; see envs/drives/actuators.py for the kinds."""

    delay: tuple[float, float] = (0.0, 0.0)
    """Time until the drives follow a new target, s; drawn for each robot at its reset, in whole physics steps."""
    velocity_gain: float = 0.0
    """`velocity`: torque per error of speed, N m s/rad; 0 for the robot's damping."""
    stall_torque: float = 0.0
    """`dc_motor`: torque at rest and full voltage, N m; 0 for the robot's effort limits."""
    no_load_speed: float = 0.0
    """`dc_motor`: speed at full voltage without load, rad/s; 0 for the robot's velocity limits."""
    net: str = ""
    """`net`: TorchScript file, or name of one in robots/; empty for the robot's own."""
    clip_net_torque: bool = False
    """`net`: limit torques to the robot's effort limits; the reference does not."""


DRIVEN_BY = {
    "velocity_gain": "velocity",
    "stall_torque": "dc_motor",
    "no_load_speed": "dc_motor",
    "net": "net",
    "clip_net_torque": "net",
}
"""Field of `DriveConfig` -> the actuator that it belongs to; the others do without."""


@dataclass
class CommandConfig:
    """Velocity commands, base frame; uniform in the ranges."""

    lin_vel_x: tuple[float, float] = (-1.0, 1.0)
    """Forward velocity, m/s."""
    lin_vel_y: tuple[float, float] = (-1.0, 1.0)
    """Sideways velocity, m/s."""
    ang_vel_yaw: tuple[float, float] = (-1.5, 1.5)
    """Yaw rate, rad/s; with `heading`, its limits."""
    resampling_time: float = 4.0
    """Time between new commands, s."""
    min_speed: float = 0.2
    """Horizontal commands slower than this become zero, m/s."""
    single_axis_share: float = 0.0
    """Share of commands that are forward, sideways or turning alone, or to stand, equally often: what robots are told
    most, and uniform commands almost never are."""
    heading: bool = False
    """Command a heading in +-pi instead; yaw rate = heading_gain x error, kept within `ang_vel_yaw`."""
    heading_gain: float = 0.5
    """Yaw rate per heading error, 1/s."""
    judge_next_heading: bool = False
    """heading: judge a step by the yaw rate that follows it, as the published code does, instead of by the one that
    the policy acted on."""
    curriculum: bool = False
    """Widen `lin_vel_x` whenever robots follow it well."""
    max_lin_vel_x: float = 2.0
    """curriculum: fastest command forwards and backwards, m/s."""


@dataclass
class NoiseConfig:
    """Observation noise."""

    enabled: bool = True
    """Add noise to the policy's observation."""
    level: float = 1.0
    """Factor on every term's noise."""
    clean_share: float = 0.0
    """Share of the robots that observe without it: a policy that only ever saw noise may come to need it."""


@dataclass
class InitConfig:
    """State after a reset."""

    joint_scale: tuple[float, float] = (0.5, 1.5)
    """Joint angles = nominal x uniform in this range, within the joint limits."""
    nominal_share: float = 0.0
    """Share of robots that start at rest in the nominal stance, as they do outside of training."""
    base_velocity: float = 0.5
    """All six base velocities uniform in +- this, m/s and rad/s."""
    base_position: float = 1.0
    """Horizontal position uniform in +- this, m."""
    yaw: float = 0.0
    """Heading uniform in +- this, rad."""
    random_first_episode: bool = True
    """First episodes start at random lengths, so that robots do not time out together."""


@dataclass
class EnvConfig:
    """A task: a robot, what it senses, what it is asked to do and what it is rewarded for."""

    robot: RobotConfig = field(default_factory=lambda: copy.deepcopy(ANYMAL_C))
    """The robot and its drives."""
    sim: SimConfig = field(default_factory=SimConfig)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    actuator: ActuatorKind = "pd"
    """What an action drives: an ideal PD controller, a torque, a speed, a DC motor or an actuator network."""
    drive: DriveConfig = field(default_factory=DriveConfig)
    commands: CommandConfig = field(default_factory=CommandConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    init: InitConfig = field(default_factory=InitConfig)
    rewards: dict[str, RewardTerm] = field(default_factory=dict)
    """Reward terms by name."""
    observations: dict[str, ObservationTerm] = field(default_factory=dict)
    """Observation terms by name, in order."""
    clean_critic: bool = False
    """Spare the critic the observation noise, even where it sees the same terms as the policy."""
    clip_observations: float = 100.0
    """Largest magnitude of an observation."""
    only_positive_rewards: bool = True
    """Clip negative totals to zero (the termination term is added afterwards)."""
    episode_length: float = 20.0
    """Time limit, s; reaching it is a truncation, not a failure."""
    fatal_contact_force: float = 1.0
    """Contact force on a fatal body that ends the episode, N."""

    @property
    def step_dt(self) -> float:
        """Duration of a policy step, s."""
        return self.sim.timestep * self.sim.decimation

    def terms_of(self, group: str) -> dict[str, ObservationTerm]:
        """Observation terms that `policy` or `critic` sees, in order."""
        return {name: term for name, term in self.observations.items() if term.group in ("both", group)}

    @property
    def own_critic(self) -> bool:
        """Whether the critic has an observation of its own."""
        return self.clean_critic or any(term.group != "both" for term in self.observations.values())

    def validate(self) -> None:
        """Check ranges; ValueError with one sentence that names the field."""
        check_numbers(self, "env")
        self.terrain.validate()
        self.scan.validate()
        self.curriculum.validate()
        step = self.step_dt
        rules: list[tuple[str, Callable[[Any], bool], str]] = [
            ("be greater than 0", lambda x: x > 0,
             "sim.timestep sim.decimation control.clip_actions clip_observations commands.max_lin_vel_x"),
            ("be at most 0.02 s, beyond which contacts are not resolved", lambda x: x <= 0.02, "sim.timestep"),
            ("be at most 100", lambda x: x <= 100, "sim.decimation"),
            ("be at most 1 s", lambda x: x[1] <= 1.0, "drive.delay"),
            ("be at most an hour", lambda x: x <= 3600.0, "episode_length"),
            (f"be at least a policy step ({step:g} s)", lambda x: x >= step,
             "episode_length commands.resampling_time"),
            ("be a range LOW HIGH with LOW <= HIGH", lambda x: x[0] <= x[1],
             "drive.delay commands.lin_vel_x commands.lin_vel_y commands.ang_vel_yaw init.joint_scale"),
            ("not be negative", lambda x: x[0] >= 0, "drive.delay"),
            ("lie in 0 to 1", lambda x: 0 <= x <= 1,
             "commands.single_axis_share init.nominal_share noise.clean_share"),
            ("not be negative", lambda x: x >= 0,
             "drive.velocity_gain drive.stall_torque drive.no_load_speed commands.min_speed noise.level "
             "init.base_velocity init.base_position init.yaw fatal_contact_force"),
            ("not be negative, and finite", lambda x: 0 <= x < inf,
             "randomisation.push_interval randomisation.push_velocity randomisation.push_ang_vel "
             "randomisation.push_force randomisation.push_force_interval"),
        ]  # fmt: skip
        for rule, holds, names in rules:
            for name in names.split():
                value = attrgetter(name)(self)
                if not holds(value):
                    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
                    raise ValueError(f"env.{name} must {rule}, not {shown}")
        for name, reward in self.rewards.items():
            if not (sigma := reward.params.get("sigma", 1.0)) > 0.0:
                raise ValueError(f"env.rewards.{name}.params.sigma must be greater than 0, not {sigma}")
        tracking = self.rewards.get("tracking_lin_vel")
        if self.commands.curriculum and not (tracking and tracking.weight > 0.0):
            raise ValueError(
                "env.commands.curriculum needs the reward tracking_lin_vel with a weight greater than 0"
            )
        fastest = max(map(abs, self.commands.lin_vel_x))
        if self.commands.curriculum and fastest > self.commands.max_lin_vel_x:
            raise ValueError(
                f"env.commands.max_lin_vel_x must be at least {fastest:g}, the fastest of env.commands.lin_vel_x, "
                f"not {self.commands.max_lin_vel_x:g}"
            )
        kinds = get_args(ActuatorKind)
        if self.actuator not in kinds:
            near = nearest(str(self.actuator), kinds)
            raise ValueError(f"env.actuator must be one of {', '.join(kinds)}, not {self.actuator!r}.{near}")
        for name, kind in DRIVEN_BY.items():
            if self.actuator != kind and getattr(self.drive, name) != getattr(DriveConfig, name):
                raise ValueError(f"env.drive.{name} is for env.actuator {kind}, not {self.actuator}")
        for name, term in self.observations.items():
            if term.group not in ("both", "policy", "critic"):
                raise ValueError(
                    f"env.observations.{name}.group must be both, policy or critic, not {term.group!r}"
                )
        for group in ("policy", "critic"):
            if self.observations and not self.terms_of(group):
                raise ValueError(f"env.observations needs a term whose group is both or {group}")
        self.randomisation.validate(self.step_dt)
        for name in ("stiffness_factor", "damping_factor"):
            if self.actuator != "pd" and getattr(self.randomisation, name) != (1.0, 1.0):
                raise ValueError(
                    f"env.randomisation.{name} changes the gains of env.actuator pd, not {self.actuator}"
                )
