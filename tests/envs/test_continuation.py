"""A restored environment has the same future, and no tensor of it escapes `state_dict`."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from envs import LeggedEnv
from envs.commands import Commands
from envs.config import EnvConfig
from envs.course import Course
from envs.draws import Draws
from envs.drives.actuators import Actuator, NetDrive
from envs.observer import Observer
from envs.perception import Perception
from envs.pushes import Pushes
from envs.randomisation import Randomisation
from envs.starts import Footing
from envs.terms import Terms
from terrains.curriculum import CommandCurriculum, Curriculum
from terrains.scan import HeightScan
from tests.envs.common import calm, lively, make, random_actions, reference, rugged, varied

STEPS = 30

CONSTANTS = {
    "_all",
    "commands._low",
    "commands._width",
    "observer._noise_scale",
    "observer.scales.policy",
    "perception.scan._heights",
    "perception.scan.points",
    "footing.scan.points",
    "ground._on_device.cpu",
    "footing.scan._heights",
    "commands._axes",
    "actuator.neutral",
    "course._high",
    "course._low",
    "course._origins",
    "course._shape_of_column",
    "default_joint_pos",
    "effort_limits",
    "obs_scale",
    "state.default_joint_pos",
    "state.effort_limits",
    "state.fatal",
    "state.feet",
    "state.joint_vel_limits",
    "state.penalised",
}
"""Tensors that never change."""

RECOMPUTED = {
    "_draws.numbers",
    "_final_obs.critic",
    "_final_obs.policy",
    "observer._noise",
    "perception.dropped",
    "perception.ground_height",
    "perception.height_scan",
    "perception.heights",
    "_obs.critic",
    "_obs.policy",
    "state.base_lin_vel",
    "state.first_contact",
    "state.foot_contact",
    "state.ground_height",
    "state.height_scan",
    "state.joint_acc",
    "state.projected_gravity",
    "state.terminated",
}
"""Tensors that every step computes anew before it looks at them."""

SCRATCH = {"footing._around", "footing._ground"}
"""Tensors of which a step reads the rows alone that it has just written."""

PARTS = (
    LeggedEnv,
    Footing,
    Terms,
    Actuator,
    NetDrive,
    Course,
    Curriculum,
    HeightScan,
    Perception,
    Commands,
    Pushes,
    Observer,
    Randomisation,
    CommandCurriculum,
    Draws,
)
"""Objects whose attributes may hold tensors."""


def walk(item: Any, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Path and value of all that an object holds, through attributes, containers and dataclasses."""
    seen = set() if seen is None else seen
    yield path, item
    if id(item) in seen or isinstance(item, Tensor):
        return
    seen.add(id(item))
    parts: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(item, dict):
        parts = iter(item.items())
    elif isinstance(item, (list, tuple)):
        parts = iter(enumerate(item))
    elif dataclasses.is_dataclass(item) or isinstance(item, PARTS):
        parts = iter(vars(item).items())
    for name, part in parts:
        if isinstance(item, (LeggedEnv, Actuator)) and name in ("engine", "cfg", "_initial"):
            continue  # the engine has a state_dict of its own; the registry as it was at first never changes
        yield from walk(part, f"{path}.{name}" if path else str(name), seen)


def tensors(env: LeggedEnv) -> dict[str, Tensor]:
    """Path -> tensor of all that an environment holds, the engine's own left out."""
    engine = {
        part.untyped_storage().data_ptr() for part in vars(env.engine).values() if isinstance(part, Tensor)
    }
    found = {path: item for path, item in walk(env) if isinstance(item, Tensor)}
    return {path: item for path, item in found.items() if item.untyped_storage().data_ptr() not in engine}


def unregistered(env: LeggedEnv) -> set[str]:
    """Paths of tensors that are not the memory of a registered buffer."""
    registered = {buffer.untyped_storage().data_ptr() for buffer in env._buffers.values()}
    return {
        path for path, item in tensors(env).items() if item.untyped_storage().data_ptr() not in registered
    }


def numbers(env: LeggedEnv) -> dict[str, Any]:
    """Path -> value of everything in an environment that is a plain number, name or flag."""
    plain = (bool, int, float, str, type(None))
    return {path: item for path, item in walk(env) if isinstance(item, plain)}


def restored(state: dict[str, Any], cfg: EnvConfig, num_envs: int = 8) -> LeggedEnv:
    """A new environment, of another seed and past, that continues from `state`."""
    env = make(cfg, num_envs, seed=77)
    for actions in random_actions(env, 3, seed=78):
        env.step(actions)
    env.load_state_dict(state)
    return env


def saved(cfg: EnvConfig, steps: int = 17) -> tuple[LeggedEnv, dict[str, Any]]:
    """An environment that has run, and its state as read back from a file."""
    env = make(cfg)
    for actions in random_actions(env, steps, seed=79):
        env.step(actions)
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    return env, torch.load(file, weights_only=True)


def outcome(env: LeggedEnv, actions: Tensor) -> dict[str, Tensor]:
    """All that a step returns and leaves behind, copied."""
    obs, reward, terminated, truncated, info = env.step(actions)
    result = {
        "returned obs": obs["policy"],
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
    }
    result |= {"returned final_obs": info["final_obs"]["policy"]} | info["log"] | tensors(env)
    result |= {f"engine.{name}": tensor for name, tensor in env.engine.state_dict().items()}
    result["generator"] = env.generator.get_state()
    return {name: tensor.clone() for name, tensor in result.items() if name not in SCRATCH}


@pytest.mark.parametrize("make_cfg", [reference, lively, varied, rugged, calm])
def test_two_restored_copies_and_the_original_have_one_future(make_cfg) -> None:
    env, state = saved(make_cfg())
    copies = [restored(state, make_cfg()) for _ in range(2)]
    for copy in copies:
        assert torch.equal(copy.get_observations()["policy"], env.get_observations()["policy"])
    resets, first_command, commands = 0, env.command.clone(), 0
    for k, actions in enumerate(random_actions(env, STEPS, seed=80)):
        expected = outcome(env, actions)
        for copy in copies:
            for name, tensor in outcome(copy, actions).items():
                assert torch.equal(tensor, expected[name]), f"{name} after {k + 1} steps"
        resets += int(expected["truncated"].sum())
        commands += int((expected["command"] != first_command).any())
    if make_cfg in (lively, varied):
        assert resets and commands, "the steps must exercise resets and new commands"


def test_every_tensor_is_registered_constant_or_recomputed() -> None:
    env = make(rugged())
    assert unregistered(env) == CONSTANTS | RECOMPUTED | SCRATCH


def test_the_walk_finds_what_is_hidden() -> None:
    env = make(rugged())
    env.memory = {"deep": [torch.zeros(8)]}  # type: ignore[attr-defined]
    assert unregistered(env) - CONSTANTS - RECOMPUTED - SCRATCH == {"memory.deep.0"}


def test_constants_are_constant_and_no_plain_number_changes() -> None:
    env = make(rugged())
    env.step(random_actions(env, 1)[0])  # tells the names of the log
    before = {name: tensors(env)[name].clone() for name in CONSTANTS}
    counted = numbers(env)
    for actions in random_actions(env, STEPS):
        env.step(actions)
    for name in CONSTANTS:
        assert torch.equal(tensors(env)[name], before[name]), name
    # a count kept outside tensors would be lost by state_dict, and frozen in a captured graph
    assert numbers(env) == counted


@pytest.mark.parametrize("victim", sorted(RECOMPUTED))
def test_scratch_tensors_carry_nothing_from_step_to_step(victim: str) -> None:
    _, state = saved(rugged())
    env, poisoned = restored(state, rugged()), restored(state, rugged())
    for k, actions in enumerate(random_actions(env, 15, seed=81)):
        scratch = tensors(poisoned)[victim]
        scratch.fill_(True if scratch.dtype is torch.bool else float("nan"))
        expected = outcome(env, actions)
        for name, tensor in outcome(poisoned, actions).items():
            assert torch.equal(tensor, expected[name]), f"{name} after {k + 1} steps"


def test_state_dict_holds_copies() -> None:
    env, _ = saved(lively())
    state, again = env.state_dict(), env.state_dict()
    for actions in random_actions(env, 3):
        env.step(actions)
    for name, tensor in state["buffers"].items():
        assert torch.equal(tensor, again["buffers"][name]), name
    assert torch.equal(state["obs"], again["obs"]) and torch.equal(state["generator"], again["generator"])


def test_saving_changes_nothing() -> None:
    env, twin = make(lively()), make(lively())
    for actions in random_actions(env, 5):
        env.state_dict()
        assert torch.equal(env.step(actions)[0]["policy"], twin.step(actions)[0]["policy"])


def test_a_state_that_does_not_fit_is_refused() -> None:
    _, state = saved(calm())
    with pytest.raises(ValueError, match="does not fit this task or num_envs"):
        restored(state, calm(), num_envs=4)
    fewer = calm()
    fewer.rewards.pop("torques")
    with pytest.raises(ValueError, match="'episode_sums' does not fit"):
        restored(state, fewer)


def test_a_checkpoint_from_before_a_buffer_existed_can_be_loaded() -> None:
    env = make(lively(), 4)
    env.reset(seed=1)
    state = env.state_dict()
    assert state["buffers"].pop("first_age").any()
    env.load_state_dict(state)
    assert not env.first_age.any()
    state["buffers"].pop("feet_air_time")
    with pytest.raises(ValueError, match="'feet_air_time' does not fit"):
        env.load_state_dict(state)
