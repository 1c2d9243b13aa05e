"""How fast a policy is updated: this project's PPO beside rsl_rl's, on the same samples."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from tensordict import TensorDict
from torch import Tensor

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from algorithms.mlp import MLP
from algorithms.networks import ActorCritic
from algorithms.ppo import PPO, log_prob
from algorithms.rollout import RolloutBuffer
from benchmarks.common import Options, Results, capture, interleave, ratio, seconds
from runs.rsl_rl_runner import algorithm_config, model_config

NUM_OBS, NUM_ACTIONS = 48, 12
CPU = torch.device("cpu")


@dataclass
class Samples:
    """A synthetic rollout of T steps of N robots: every tensor [T, N] or [T, N, k]."""

    obs: Tensor
    actions: Tensor
    means: Tensor
    std: Tensor
    """Standard deviation of the actions, [A]."""
    log_probs: Tensor
    values: Tensor
    advantages: Tensor

    @property
    def returns(self) -> Tensor:
        """[T, N]."""
        return self.values + self.advantages


@torch.no_grad()
def synthesise(policy: ActorCritic, num_steps: int, num_envs: int, seed: int = 0) -> Samples:
    """Samples on the policy: its own means and values at random observations, random advantages."""
    generator, device = torch.Generator().manual_seed(seed), policy.log_std.device
    shape = (num_steps, num_envs)
    obs = torch.randn(*shape, NUM_OBS, generator=generator).to(device)
    means, std = policy.mean(obs), policy.log_std.exp()
    actions = means + torch.randn(means.shape, generator=generator).to(device) * std
    advantages = torch.randn(shape, generator=generator).to(device)
    log_probs = log_prob(actions, means, policy.log_std)
    return Samples(obs, actions, means, std, log_probs, policy.value(obs), advantages)


def make_ours(agent: LearnerConfig, num_envs: int, device: torch.device = CPU) -> tuple[PPO, RolloutBuffer]:
    """Our PPO and an empty rollout."""
    policy = ActorCritic(NUM_OBS, NUM_OBS, NUM_ACTIONS, agent.policy).to(device)
    rollout = RolloutBuffer(agent.ppo.num_steps, num_envs, NUM_OBS, None, NUM_ACTIONS, device)
    return PPO(policy, agent.ppo, device), rollout


def fill_ours(rollout: RolloutBuffer, samples: Samples) -> None:
    """Write samples into a rollout, in place."""
    for name in ("obs", "actions", "means", "log_probs", "values", "advantages", "returns"):
        getattr(rollout, name).copy_(getattr(samples, name))


def make_rsl_rl(agent: LearnerConfig, num_envs: int, device: torch.device = CPU) -> Any:
    """rsl_rl's PPO with the same networks and hyper-parameters, and an empty storage."""
    from rsl_rl.algorithms import PPO as RslRlPPO
    from rsl_rl.models import MLPModel
    from rsl_rl.storage import RolloutStorage

    obs = TensorDict({"policy": torch.zeros(num_envs, NUM_OBS, device=device)}, [num_envs], device=device)
    groups = {"actor": ["policy"], "critic": ["policy"]}
    actor_cfg, critic_cfg = model_config(agent.policy, True), model_config(agent.policy, False)
    algorithm_cfg = algorithm_config(agent)
    for cfg in (actor_cfg, critic_cfg, algorithm_cfg):
        del cfg["class_name"]
    actor = MLPModel(obs, groups, "actor", NUM_ACTIONS, **actor_cfg).to(device)
    critic = MLPModel(obs, groups, "critic", 1, **critic_cfg).to(device)
    storage = RolloutStorage("rl", num_envs, agent.ppo.num_steps, obs, [NUM_ACTIONS], str(device))
    return RslRlPPO(actor, critic, storage, device=str(device), **algorithm_cfg)


def fill_rsl_rl(algorithm: Any, samples: Samples) -> None:
    """Write samples into an rsl_rl storage, in place."""
    storage = algorithm.storage
    storage.observations["policy"].copy_(samples.obs)
    storage.actions.copy_(samples.actions)
    for name, value in (
        ("actions_log_prob", samples.log_probs),
        ("values", samples.values),
        ("returns", samples.returns),
        ("advantages", samples.advantages),
    ):
        getattr(storage, name).copy_(value.unsqueeze(-1))
    if storage.distribution_params is None:
        storage.distribution_params = tuple(torch.empty_like(samples.means) for _ in range(2))
    mean, std = storage.distribution_params
    mean.copy_(samples.means)
    std.copy_(samples.std.expand_as(std))
    storage.step = storage.num_transitions_per_env


@torch.no_grad()
def copy_weights(policy: ActorCritic, algorithm: Any) -> None:
    """Give rsl_rl's networks the weights of ours."""
    pairs: tuple[tuple[MLP, Any], ...] = (
        (policy.actor, algorithm.actor.mlp),
        (policy.critic, algorithm.critic.mlp),
    )
    for ours, theirs in pairs:
        theirs.load_state_dict(ours.plain().state_dict())
    algorithm.actor.distribution.log_std_param.copy_(policy.log_std)


@dataclass(frozen=True)
class UpdateBenchmark:
    """Time of a whole PPO update, ours beside rsl_rl's: same samples, same initial weights."""

    suite: ClassVar[str] = "update"
    num_envs: int
    """Robots; with `num_steps` steps each."""
    hidden: tuple[int, ...]
    """Hidden layers of actor and critic."""
    rounds: int
    """Timed updates of each."""
    num_steps: int = 24
    """Steps of each robot."""

    @property
    def samples(self) -> int:
        """Samples of an update."""
        return self.num_envs * self.num_steps

    def quick(self) -> UpdateBenchmark:
        """The same at a size that only shows that it runs."""
        return replace(self, num_envs=self.num_envs // 32, rounds=2)

    def run(self, options: Options) -> Results:
        """Measure."""
        return {"samples": self.samples} | compare_updates(
            self.num_envs, self.num_steps, self.hidden, self.rounds, options
        )


def compare_updates(
    num_envs: int,
    num_steps: int,
    hidden: tuple[int, ...],
    rounds: int,
    options: Options,
    compiled: bool = False,
) -> Results:
    """Durations of updates of ours and of rsl_rl's, made in turn; on a GPU ours is a graph, as in training."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    policy_cfg = PolicyConfig(actor_hidden=hidden, critic_hidden=hidden)
    agent = LearnerConfig(policy=policy_cfg, ppo=PPOConfig(num_steps=num_steps))
    ours, rollout = make_ours(agent, num_envs, device)
    theirs = make_rsl_rl(agent, num_envs, device)
    if compiled:
        ours.compile()
    copy_weights(ours.policy, theirs)
    samples = synthesise(ours.policy, num_steps, num_envs)
    start = {"ours": _snapshot(ours), "theirs": _snapshot(theirs)}
    generator = torch.Generator(device)
    generator.manual_seed(0)

    # Every update starts from the same weights and samples: none drifts away from the data.
    def timed_ours(update: Callable[[], Any]) -> float:
        start["ours"]()
        fill_ours(rollout, samples)
        return seconds(update)

    def timed_theirs() -> float:
        start["theirs"]()
        fill_rsl_rl(theirs, samples)
        return seconds(theirs.update)

    def update() -> None:
        ours.update(rollout, generator)

    fill_ours(rollout, samples)
    calls: dict[str, Callable[[], float]] = {
        "ours": partial(timed_ours, capture(update, device, generator)),
        "rsl_rl": timed_theirs,
    }
    if device.type == "cuda":
        calls["ours_launched"] = partial(timed_ours, update)
    times = interleave(calls, rounds)
    medians: Results = {f"{name}_s": statistics.median(values) for name, values in times.items()}
    return medians | ratio(times["ours"], times["rsl_rl"])


def _snapshot(algorithm: Any) -> Callable[[], None]:
    """A function that puts the weights and the learning rate of a PPO back to what they are now."""
    parameters = [parameter for group in algorithm.optimizer.param_groups for parameter in group["params"]]
    weights = [parameter.detach().clone() for parameter in parameters]
    rate = float(algorithm.learning_rate)

    @torch.no_grad()
    def restore() -> None:
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
        if isinstance(algorithm.learning_rate, Tensor):
            algorithm.learning_rate.fill_(rate)
        else:
            algorithm.learning_rate = rate

    return restore
