"""Values out of range are refused with a sentence that names the field; the task has the published values."""

from __future__ import annotations

from typing import Any

import pytest

from envs import LeggedEnv
from envs.randomisation import differing
from tests.envs.common import reference

WRONG = [
    ("sim.timestep", 0.0),
    ("sim.timestep", float("nan")),
    ("sim.decimation", 0),
    ("control.clip_actions", -1.0),
    ("clip_observations", 0.0),
    ("episode_length", -1.0),
    ("episode_length", 0.001),
    ("commands.resampling_time", 0.0),
    ("commands.resampling_time", 0.005),
    ("commands.lin_vel_x", (1.0, -1.0)),
    ("commands.lin_vel_y", (0.5, 0.4)),
    ("commands.ang_vel_yaw", (0.1, -0.1)),
    ("commands.min_speed", -0.1),
    ("actuator", "pdd"),
    ("drive.delay", (0.02, 0.01)),
    ("drive.delay", (-0.01, 0.01)),
    ("drive.velocity_gain", -1.0),
    ("drive.stall_torque", -1.0),
    ("drive.no_load_speed", -1.0),
    ("randomisation.friction", (1.0, 0.5)),
    ("randomisation.friction", (-0.5, 0.5)),
    ("randomisation.added_base_mass", (5.0, -5.0)),
    ("randomisation.redraw", "always"),
    ("randomisation.friction", (0.5, float("inf"))),
    ("randomisation.base_com_shift", (0.0, -0.1, 0.0)),
    ("randomisation.stiffness_factor", (-0.1, 1.0)),
    ("randomisation.damping_factor", (1.2, 0.8)),
    ("randomisation.armature_factor", (-1.0, 1.0)),
    ("randomisation.added_joint_damping", (-0.1, 0.1)),
    ("randomisation.added_friction_loss", (-0.1, 0.1)),
    ("randomisation.encoder_offset", -0.01),
    ("randomisation.encoder_offset", float("nan")),
    ("randomisation.gravity_tilt", 1.6),
    ("randomisation.push_ang_vel", -1.0),
    ("randomisation.push_force", float("inf")),
    ("randomisation.push_force_interval", -1.0),
    ("randomisation.push_interval", -1.0),
    ("randomisation.push_velocity", -1.0),
    ("init.joint_scale", (1.5, 0.5)),
    ("init.base_velocity", -0.5),
    ("init.base_position", -1.0),
    ("noise.level", -1.0),
    ("fatal_contact_force", -1.0),
]


def change(cfg: Any, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        cfg = getattr(cfg, parent)
    assert hasattr(cfg, name)
    setattr(cfg, name, value)


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda x: str(x))
def test_a_wrong_value_names_its_field(field: str, value: Any) -> None:
    cfg = reference()
    cfg.validate()
    change(cfg, field, value)
    with pytest.raises(ValueError, match=rf"^env\.{field} must [^\n]*$"):
        cfg.validate()
    with pytest.raises(ValueError, match=field):
        LeggedEnv(cfg, 1, num_threads=1)


@pytest.mark.parametrize("duration", [0.0, 0.01, 20.0])
def test_a_push_by_force_lasts_a_step_at_least_and_its_interval_at_most(duration: float) -> None:
    cfg = reference()
    cfg.randomisation.push_force_duration = duration
    cfg.validate()  # there are no such pushes
    cfg.randomisation.push_force = 50.0
    with pytest.raises(ValueError, match=r"^env\.randomisation\.push_force_duration must be between [^\n]*$"):
        cfg.validate()


def test_no_robot_may_weigh_less_than_nothing() -> None:
    cfg = reference()
    cfg.randomisation.added_base_mass = (-30.0, 0.0)
    with pytest.raises(ValueError, match=r"env\.randomisation\.added_base_mass must leave .* 26\.3732 kg"):
        LeggedEnv(cfg, 1, num_threads=1)


def test_scales_must_fit_their_term() -> None:
    cfg = reference()
    cfg.observations["command"].scale = (2.0, 2.0)
    with pytest.raises(ValueError, match=r"env\.observations\.command\.scale needs 1 or 3 values"):
        LeggedEnv(cfg, 1, num_threads=1)


def test_published_values_of_the_flat_task() -> None:
    # Rudin et al. 2021 and its code, flat task
    cfg = reference()
    assert cfg.step_dt == pytest.approx(0.02) and cfg.episode_length == 20.0
    assert cfg.control.action_scale == 0.5 and cfg.control.clip_actions == 100.0
    assert cfg.clip_observations == 100.0 and cfg.only_positive_rewards
    weights = {name: term.weight for name, term in cfg.rewards.items() if term.weight}
    assert weights == {
        "tracking_lin_vel": 1.0,
        "tracking_ang_vel": 0.5,
        "lin_vel_z": -2.0,
        "ang_vel_xy": -0.05,
        "orientation": -5.0,
        "torques": -2.5e-5,
        "dof_acc": -2.5e-7,
        "action_rate": -0.01,
        "collision": -1.0,
        "feet_air_time": 2.0,
    }
    assert cfg.commands.lin_vel_x == cfg.commands.lin_vel_y == (-1.0, 1.0)
    assert cfg.commands.ang_vel_yaw == (-1.5, 1.5) and cfg.commands.resampling_time == 4.0
    assert not cfg.commands.heading and cfg.commands.min_speed == 0.2
    assert cfg.randomisation.friction == (0.5, 1.25) and cfg.randomisation.added_base_mass == (-5.0, 5.0)
    assert cfg.randomisation.push_interval == 15.0 and cfg.randomisation.push_velocity == 1.0
    assert cfg.init.joint_scale == (0.5, 1.5) and cfg.init.base_velocity == 0.5
    assert differing(cfg.randomisation) == ["friction", "added_base_mass"]
    assert cfg.randomisation.push_ang_vel == cfg.randomisation.push_force == 0.0
    noise = {name: term.noise for name, term in cfg.observations.items()}
    assert noise == {
        "base_lin_vel": 0.1,
        "base_ang_vel": 0.2,
        "projected_gravity": 0.05,
        "command": 0.0,
        "joint_pos": 0.01,
        "joint_vel": 1.5,
        "previous_action": 0.0,
    }


@pytest.mark.parametrize(
    ("field", "value", "actuator"),
    [
        ("net", "my_drive.pt", "net"),
        ("clip_net_torque", True, "net"),
        ("stall_torque", 30.0, "dc_motor"),
        ("no_load_speed", 30.0, "dc_motor"),
        ("velocity_gain", 3.0, "velocity"),
    ],
)
def test_an_option_of_another_drive_is_refused(field: str, value: Any, actuator: Any) -> None:
    cfg = reference()
    setattr(cfg.drive, field, value)
    with pytest.raises(ValueError, match=f"env.drive.{field} is for env.actuator {actuator}, not pd"):
        cfg.validate()
    cfg.actuator = actuator
    cfg.validate()


def test_faster_commands_need_a_reward_for_following_them() -> None:
    cfg = reference()
    cfg.commands.curriculum = True
    cfg.validate()
    cfg.rewards["tracking_lin_vel"].weight = -1.0
    with pytest.raises(ValueError, match="needs the reward tracking_lin_vel"):
        cfg.validate()
    del cfg.rewards["tracking_lin_vel"]
    with pytest.raises(ValueError, match="needs the reward tracking_lin_vel"):
        cfg.validate()
