"""Drives: which torque reaches the joints, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from envs import LeggedEnv
from envs.config import EnvConfig
from envs.drives.actuator_net import NetInfo, save_net
from envs.drives.actuators import DCMotor
from robots import ANYMAL_C
from tests.envs.common import Listener, calm, lively, make, random_actions
from tests.envs.speed_guard import SpeedGuard, UnguardedEngine
from tests.envs.test_continuation import (
    CONSTANTS,
    RECOMPUTED,
    outcome,
    restored,
    saved,
    tensors,
    unregistered,
)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
KINDS = ("pd", "torque", "velocity", "dc_motor", "net")


def driven(kind: str, cfg: EnvConfig | None = None, **drive: Any) -> EnvConfig:
    """A task with another drive."""
    cfg = cfg or calm()
    cfg.actuator = kind  # type: ignore[assignment]
    for name, value in drive.items():
        assert hasattr(cfg.drive, name)
        setattr(cfg.drive, name, value)
    if kind in ("torque", "velocity"):
        cfg.control.action_scale = 10.0
    return cfg


def late_net() -> EnvConfig:
    """A network, late targets, and everything that happens to robots."""
    return driven("net", lively(), delay=(0.0, 0.03))


def engine_steps(env: LeggedEnv) -> list[tuple]:
    """A list that fills with the arguments of the engine's steps."""
    heard: list[tuple] = []

    def hook(name: str, args: tuple) -> None:
        if name == "step":
            heard.append(tuple(x.clone() if isinstance(x, Tensor) else x for x in args))

    env.engine = Listener(env.engine, hook)
    return heard


def springs(path: Path, timestep: float = 0.005) -> str:
    """A network file: torque = 1000 N m/rad x position error."""
    module = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1000.0, 0.0]]))  # type: ignore[operator]
        module[0].bias.zero_()  # type: ignore[operator]
    save_net(torch.jit.script(module), NetInfo("mlp", timestep, [0]), path)
    return str(path)


def test_the_default_is_the_engines_own_pd_at_no_cost() -> None:
    env = make(calm())
    heard = engine_steps(env)
    (actions,) = random_actions(env, 1)
    env.step(actions)
    ((targets, substeps, previous, switch),) = heard
    assert torch.equal(targets, env.default_joint_pos + 0.5 * actions)
    assert substeps == 4 and previous is None and switch is None
    assert not [name for name in env._buffers if name.startswith("drive")]


@pytest.mark.parametrize("kind", ["pd", "dc_motor"])
@pytest.mark.parametrize("late", [1, 3, 4, 6, 9])
def test_targets_arrive_late_by_whole_physics_steps(kind: str, late: int) -> None:
    cfg = driven(kind, delay=(late * 0.005, late * 0.005))
    env, twin = make(cfg), make(driven(kind))
    actions = random_actions(env, 6, spread=0.3)
    for engine_state in (env.engine, twin.engine):  # the same robots
        assert torch.equal(engine_state.joint_pos, env.engine.joint_pos)
    sent = [env.default_joint_pos.expand(8, -1)] * late
    for action in actions:
        sent += [env.default_joint_pos + 0.5 * action] * 4
    for step, action in enumerate(actions):
        env.actuator.step(env.engine, 0.5 * action)
        for target in sent[4 * step : 4 * step + 4]:
            law = twin.actuator.law
            engine = twin.engine
            engine.step(law(target, engine.joint_pos, engine.joint_vel) if law else target, 1)
        torch.testing.assert_close(env.engine.joint_pos, twin.engine.joint_pos, rtol=0, atol=1e-6)


def test_each_robot_has_its_own_delay_and_a_new_one_when_it_starts_again() -> None:
    env = make(driven("pd", delay=(0.01, 0.03)), 64)
    delay = env.actuator.delay
    assert delay is not None and set(delay.tolist()) == {2, 3, 4, 5, 6}
    before, mask = delay.clone(), torch.arange(64) < 32
    env.step(random_actions(env, 1)[0])
    assert (env.actuator.history[:, 0] != env.default_joint_pos).any()
    env.actuator.reset(mask, env._draws.uniform)
    assert torch.equal(delay[~mask], before[~mask]) and not torch.equal(delay[mask], before[mask])
    assert (env.actuator.history[mask] == env.default_joint_pos).all()
    assert (env.actuator.history[~mask, 0] != env.default_joint_pos).any()


def test_a_torque_is_what_the_joint_gets_within_its_limit() -> None:
    env = make(driven("torque"))
    (actions,) = random_actions(env, 1, spread=10.0)
    env.step(actions)
    assert (actions.abs() > 8.0).any()
    torch.testing.assert_close(env.state.joint_torque, (10.0 * actions).clamp(-80.0, 80.0))


@pytest.mark.parametrize(("gain", "expected"), [(0.0, 2.0), (3.0, 3.0)])
def test_velocity_drives_pull_towards_their_speed(gain: float, expected: float) -> None:
    env = make(driven("velocity", velocity_gain=gain))
    heard = engine_steps(env)
    (actions,) = random_actions(env, 1, spread=0.1)
    speed = env.engine.joint_vel.clone()
    env.step(actions)
    assert len(heard) == 4 and all(args[1] == 1 for args in heard)
    torch.testing.assert_close(heard[0][0], expected * (10.0 * actions - speed))
    torch.testing.assert_close(env.state.joint_torque, heard[-1][0].clamp(-80.0, 80.0))


def test_a_motor_has_less_torque_the_faster_it_runs() -> None:
    ones = torch.ones(1)
    motor = DCMotor(1000.0 * ones, 0.0 * ones, stall_torque=100.0 * ones, no_load_speed=20.0 * ones)
    speed = torch.tensor([0.0, 10.0, 20.0, 30.0, -10.0])
    forward = motor(torch.ones(5), torch.zeros(5), speed)
    backward = motor(-torch.ones(5), torch.zeros(5), speed)
    torch.testing.assert_close(forward, torch.tensor([100.0, 50.0, 0.0, -50.0, 150.0]))
    torch.testing.assert_close(backward, torch.tensor([-100.0, -150.0, -200.0, -250.0, -50.0]))
    weak = motor(torch.full((5,), 0.01), torch.zeros(5), speed)
    torch.testing.assert_close(weak, torch.tensor([10.0, 10.0, 0.0, -50.0, 10.0]))


def test_a_motors_lines_default_to_the_robots_limits() -> None:
    law = make(driven("dc_motor")).actuator.law
    assert isinstance(law, DCMotor)
    assert (law.stall_torque == 80.0).all() and (law.no_load_speed == 20.0).all()
    law = make(driven("dc_motor", stall_torque=120.0, no_load_speed=12.0)).actuator.law
    assert isinstance(law, DCMotor)
    assert (law.stall_torque == 120.0).all() and (law.no_load_speed == 12.0).all()


@pytest.mark.parametrize("engine", ["auto", "mujoco"])
def test_a_network_may_exceed_the_effort_limit_unless_it_is_clipped(tmp_path: Path, engine: str) -> None:
    file = springs(tmp_path / "springs.pt")
    (actions,) = random_actions(make(calm()), 1, spread=2.0)
    free, clipped = (
        make(driven("net", net=file, clip_net_torque=clip), engine=engine) for clip in (False, True)
    )
    heard = engine_steps(free)
    for env in (free, clipped):
        env.step(actions)
    assert free.state.joint_torque.abs().max() > 200.0
    torch.testing.assert_close(free.state.joint_torque, heard[-1][0])
    assert clipped.state.joint_torque.abs().max() == 80.0


def test_anymal_stands_on_its_network() -> None:
    cfg = driven("net")
    cfg.init.joint_scale, cfg.init.base_velocity = (1.0, 1.0), 0.0
    env = make(cfg, 4)
    for _ in range(100):
        _, _, terminated, _, _ = env.step(torch.zeros(4, 12))
        assert not terminated.any()
    assert (env.engine.base_pos[:, 2] > 0.4).all() and (env.state.projected_gravity[:, 2] < -0.99).all()
    assert env.engine.joint_vel.abs().max() < 1.0


def test_a_networks_memory_ends_with_the_episode() -> None:
    env = make(driven("net"), 5)
    for action in random_actions(env, 3):
        env.step(action)
    memory = env.actuator.memory
    assert memory is not None
    mask = torch.tensor([True, False, False, True, False])
    env._reset_robots(mask)
    robots = memory[..., :5].abs().amax((0, 1, 2, 3))
    assert torch.equal(robots == 0.0, mask)


def test_a_run_with_network_and_delays_continues_exactly() -> None:
    env, state = saved(late_net())
    copy = restored(state, late_net())
    resets = 0
    for actions in random_actions(env, 25, seed=80):
        expected = outcome(env, actions)
        for name, tensor in outcome(copy, actions).items():
            assert torch.equal(tensor, expected[name]), name
        resets += int(expected["truncated"].sum())
    assert resets


def test_no_memory_of_a_drive_is_forgotten() -> None:
    scratch = {"actuator.law._inputs", "actuator.law._torque"}
    assert unregistered(make(late_net())) - CONSTANTS - RECOMPUTED == scratch
    motor = {"actuator.law.no_load_speed", "actuator.law.stall_torque"}
    assert unregistered(make(driven("dc_motor", lively()))) - CONSTANTS - RECOMPUTED == motor
    _, state = saved(late_net())
    env, poisoned = restored(state, late_net()), restored(state, late_net())
    for actions in random_actions(env, 3):
        for name in scratch:
            tensors(poisoned)[name].fill_(float("nan"))
        assert torch.equal(env.step(actions)[0]["policy"], poisoned.step(actions)[0]["policy"])


@pytest.mark.parametrize("kind", [*KINDS, "net without compiled code"])
def test_a_step_is_free_of_slow_operations(kind: str) -> None:
    guard = SpeedGuard()
    env = make(driven(kind.split()[0], lively(), delay=(0.0, 0.03)))
    env.engine = UnguardedEngine(env.engine, guard)
    if kind.startswith("net without"):
        env.actuator.law.net.kernel = None  # type: ignore[union-attr]
    for action in random_actions(env, 10):
        with guard:
            env.step(action)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"env\.actuator must be one of pd, .* not 'nett'\. Did you mean net"
    ):
        make(driven("nett"))
    with pytest.raises(ValueError, match="no actuator network 'nothing'"):
        make(driven("net", net="nothing"))
    with pytest.raises(ValueError, match=r"env\.sim\.timestep must be 0\.002 s"):
        make(driven("net", net=springs(tmp_path / "springs.pt", timestep=0.002)))
    cfg = driven("net")
    cfg.robot = type(ANYMAL_C)(**{**vars(ANYMAL_C), "actuator_net": ""})
    with pytest.raises(ValueError, match="anymal_c has no actuator network of its own"):
        make(cfg)
