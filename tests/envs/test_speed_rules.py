"""Steps, rollouts and updates never make a GPU wait for the host; guarded here without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from algorithms import LearnerConfig, Trainer
from envs import LeggedEnv
from envs.config import EnvConfig, RewardTerm
from envs.drives.actuators import NetDrive
from envs.state import RobotState
from tests.envs.common import calm, lively, make, random_actions, reference, rugged, varied
from tests.envs.speed_guard import SlowOperationError, SpeedGuard, UnguardedEngine


def guarded(cfg: EnvConfig, guard: SpeedGuard, num_envs: int = 8) -> LeggedEnv:
    env = make(cfg, num_envs)
    env.engine = UnguardedEngine(env.engine, guard)
    return env


def everything() -> EnvConfig:
    """Every reward term, with resets, pushes, headings, noise and everything random."""
    cfg = varied()
    for term in cfg.rewards.values():
        term.weight = term.weight or 1e-3
    return cfg


def net_driven() -> EnvConfig:
    """Drives that are a network."""
    cfg = calm()
    cfg.actuator = "net"
    return cfg


def as_on_a_gpu(env: LeggedEnv) -> None:
    """Do without the compiled code that takes torch's place on a CPU."""
    env.perception.scan._library = None
    if env.footing:
        env.footing.scan._library = None
    law = env.actuator.law
    if isinstance(law, NetDrive):
        law.net.kernel = None


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("make_cfg", [reference, everything, calm, rugged, net_driven])
def test_a_step_is_free_of_slow_operations(make_cfg: Callable[[], EnvConfig], compiled: bool) -> None:
    guard = SpeedGuard()
    env = guarded(make_cfg(), guard)
    if not compiled:
        as_on_a_gpu(env)
    actions, resets = random_actions(env, 25), 0
    for action in actions:
        with guard:
            _, _, terminated, truncated, _ = env.step(action)
        resets += int((terminated | truncated).sum())
    if make_cfg is everything:
        assert resets, "the steps must exercise resets"


PLANTS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "if": lambda x: 1 if x.any() else 0,
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "where without values": lambda x: torch.where(x > 0),
    "read by mask": lambda x: x[x > 0],
    "write by mask": lambda x: x.clone().__setitem__(x > 0, 0.0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x + 1),
    "new tensor": lambda x: x + torch.tensor([1.0], device=x.device),
    "other device": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_the_guard_finds_a_planted_slow_operation(plant: str) -> None:
    def slow_reward(state: RobotState) -> Tensor:
        PLANTS[plant](state.base_lin_vel[:, 0])
        return state.base_lin_vel[:, 0]

    cfg = calm()
    cfg.rewards["slow"] = RewardTerm(slow_reward, 1.0)
    guard = SpeedGuard()
    env = guarded(cfg, guard)
    with pytest.raises(SlowOperationError), guard:
        env.step(torch.zeros(8, 12))
    env.step(torch.zeros(8, 12))  # and lets go of it outside


def test_the_guard_looks_away_within_the_engine_only() -> None:
    guard = SpeedGuard()
    env = guarded(calm(), guard)
    mask = torch.ones(8, dtype=torch.bool)
    with guard:
        env.engine.set_base_velocity(mask, torch.zeros(8, 3), torch.zeros(8, 3))
        with pytest.raises(SlowOperationError, match="nonzero"):
            mask.nonzero()


@pytest.mark.parametrize(
    ("symmetry", "recurrent"),
    [
        ("none", "none"),
        ("equivariant", "none"),
        ("augmentation", "none"),
        ("none", "lstm"),
        ("equivariant", "gru"),
    ],
)
@pytest.mark.parametrize("other", [False, True])
def test_rollout_and_update_are_free_of_slow_operations(symmetry: str, recurrent: str, other: bool) -> None:
    """With `other`, options differ and gradients are torch's, as on a GPU."""
    cfg, env_cfg = LearnerConfig(), lively()
    cfg.policy.symmetry, cfg.policy.recurrent = symmetry, recurrent  # type: ignore[assignment]
    cfg.policy.recurrent_hidden = 8
    cfg.policy.normalise_obs = env_cfg.clean_critic = other
    cfg.ppo.num_steps, cfg.ppo.num_epochs = 12, 2
    guard = SpeedGuard()
    trainer = Trainer(guarded(env_cfg, guard), cfg, None, seed=1)
    if other:
        trainer.ppo._native = None
    for _ in range(2):  # Adam makes its state in the first update
        with guard:
            log = trainer.collector.collect()
            trainer.collector.evaluate()
            losses = trainer.ppo.update(trainer.rollout, trainer.generator)
    assert log["Episode/finished"] > 0 and losses["skipped"] == 0


def test_the_guard_finds_a_slow_operation_in_the_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = SpeedGuard()
    trainer = Trainer(guarded(calm(), guard), LearnerConfig(), None, seed=1)
    bound = trainer.policy.bound_std

    def slow_bound() -> None:
        bound()
        trainer.policy.log_std.max().item()

    monkeypatch.setattr(trainer.policy, "bound_std", slow_bound)
    with guard:
        trainer.collector.collect()
        trainer.collector.evaluate()
        with pytest.raises(SlowOperationError):
            trainer.ppo.update(trainer.rollout, trainer.generator)
