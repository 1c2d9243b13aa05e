"""Several processes train as one would: same gradients, statistics and weights, same future after a resume.

Two processes of a pool, connected by Gloo, do each test's work side by side.
"""

from __future__ import annotations

import copy
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from algorithms import LearnerConfig, PolicyConfig, PPOConfig, Trainer, checkpoint
from algorithms.distributed import ALONE, APART, Ranks, _meet, connected
from algorithms.networks import ActorCritic, RunningNormaliser
from algorithms.ppo import PPO, log_prob
from algorithms.rollout import RolloutBuffer
from envs import EnvConfig, LeggedEnv
from tests.algorithms.common import RecallEnv
from tests.envs.common import rugged
from tests.native.graph_emulation import emulate_graphs

T, N, OBS, A = 6, 16, 5, 3
MIRROR = (torch.tensor([1, 0, 2, 3, 4]), torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0]))
ACTION_MIRROR = (torch.tensor([1, 0, 2]), torch.tensor([-1.0, -1.0, 1.0]))
Work = Callable[..., Any]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        yield processes


def side_by_side(pool: ProcessPoolExecutor, work: Work, *args: Any) -> list[Any]:
    """What `work(ranks, *args)` returns in each of two connected processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    futures = [pool.submit(connect_and_do, rank, port, work, args) for rank in range(2)]
    return [future.result(timeout=120) for future in futures]


def connect_and_do(rank: int, port: int, work: Work, args: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    try:
        with connected() as ranks:
            assert (ranks.rank, ranks.size, ranks.first) == (rank, 2, rank == 0)
            return work(ranks, *args)
    except BaseException:
        if dist.is_initialized():  # as if this process had ended: the other must not wait for it
            dist.destroy_process_group()
        raise


# ---------------------------------------------------------------------- one update


def make_ppo(policy_cfg: PolicyConfig, ranks: Ranks, native: bool) -> PPO:
    torch.manual_seed(0)
    policy = ActorCritic(OBS, OBS, A, policy_cfg, MIRROR, ACTION_MIRROR)
    ppo = PPO(
        policy, PPOConfig(num_epochs=1, num_mini_batches=1, max_grad_norm=1e9), torch.device("cpu"), ranks
    )
    ppo._native = ppo._native if native else None
    return ppo


@torch.no_grad()
def make_rollout(policy: ActorCritic, robots: slice) -> RolloutBuffer:
    """Some robots' part of one and the same rollout."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    obs, noise, shift, advantages = random(T, N, OBS), random(T, N, A), random(T, N, A), random(T, N)
    dones, surprise = (random(T, N) > 1.0).float(), random(T, N)
    hidden = random(2, N, policy.hidden_size)
    obs, noise, shift = obs[:, robots], noise[:, robots], shift[:, robots]
    rollout = RolloutBuffer(T, obs.shape[1], OBS, None, A, "cpu", policy.hidden_size)
    rollout.obs.copy_(obs)
    rollout.dones.copy_(dones[:, robots])
    rollout.actor_hidden.copy_(hidden[0, robots])
    rollout.critic_hidden.copy_(hidden[1, robots])
    rollout.means.copy_(policy.mean_sequence(obs, rollout.actor_hidden, rollout.dones) + 0.1 * shift)
    rollout.actions.copy_(rollout.means + noise)
    rollout.log_probs.copy_(log_prob(rollout.actions, rollout.means, policy.log_std))
    rollout.values.copy_(policy.value_sequence(obs, rollout.critic_hidden, rollout.dones)[0])
    rollout.advantages.copy_(advantages[:, robots])
    rollout.returns.copy_(rollout.values + surprise[:, robots])
    return rollout


def learn(ranks: Ranks, policy_cfg: PolicyConfig, native: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Gradients and figures of an update from this process's share of the robots."""
    ppo = make_ppo(policy_cfg, ranks, native)
    share = N // ranks.size
    rollout = make_rollout(ppo.policy, slice(ranks.rank * share, (ranks.rank + 1) * share))
    figures = ppo.update(rollout, torch.Generator().manual_seed(ranks.rank))
    gradients = [parameter.grad.clone() for parameter in ppo.parameters if parameter.grad is not None]
    return gradients, figures


@pytest.mark.parametrize(
    ("policy", "native"),
    [
        ({}, True),
        ({}, False),
        ({"symmetry": "equivariant"}, True),
        ({"symmetry": "equivariant"}, False),
        ({"symmetry": "augmentation"}, False),
        ({"recurrent": "gru", "recurrent_hidden": 4}, False),
        ({"recurrent": "lstm", "recurrent_hidden": 4, "symmetry": "equivariant"}, False),
    ],
)
def test_halves_of_the_robots_give_the_gradient_of_all(
    pool: ProcessPoolExecutor, policy: dict[str, Any], native: bool
) -> None:
    cfg = PolicyConfig((8, 6), (8, 6), **policy)
    expected, expected_figures = learn(ALONE, cfg, native)
    assert max(float(gradient.abs().max()) for gradient in expected) > 0.05
    halves = side_by_side(pool, learn, cfg, native)
    for gradients, figures in halves:
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-5)
        for name, wanted in expected_figures.items():
            torch.testing.assert_close(figures[name], wanted, rtol=1e-5, atol=1e-6, msg=name)
    for one, other in zip(*(gradients for gradients, _ in halves), strict=True):
        assert torch.equal(one, other)


def skip(ranks: Ranks) -> tuple[float, bool]:
    ppo = make_ppo(PolicyConfig((8,), (8,)), ranks, True)
    before = copy.deepcopy(ppo.policy.state_dict())
    rollout = make_rollout(ppo.policy, slice(ranks.rank, N, 2))
    if ranks.rank == 1:
        rollout.advantages[2, 3] = torch.nan
    figures = ppo.update(rollout, torch.Generator())
    same = all(torch.equal(x, before[name]) for name, x in ppo.policy.state_dict().items())
    return float(figures["skipped"]), same


def test_where_one_gradient_is_not_finite_all_skip_it(pool: ProcessPoolExecutor) -> None:
    assert side_by_side(pool, skip) == [(1.0, True), (1.0, True)]


# ---------------------------------------------------------------------- statistics


def count_up(ranks: Ranks) -> tuple[dict[str, Tensor], Tensor]:
    """A normaliser's statistics and normalised advantages of this process's share of the same numbers."""
    generator = torch.Generator().manual_seed(2)
    normaliser = RunningNormaliser(OBS, MIRROR)
    share = N // ranks.size
    own = slice(ranks.rank * share, (ranks.rank + 1) * share)
    for step in range(3):
        samples = 100.0 + (step + 1.0) * torch.randn(N, OBS, generator=generator)
        normaliser.update(samples[own], ranks)
    rollout = RolloutBuffer(T, share, OBS, None, A, "cpu")
    rewards = 5.0 + torch.randn(T, N, generator=generator) * torch.arange(N)
    rollout.rewards.copy_(rewards[:, own])
    rollout.compute_advantages(torch.zeros(share), 0.9, 0.8, normalise=ranks.size == 1)
    if ranks.size > 1:
        rollout.normalise_advantages(ranks)
    return normaliser.state_dict(), rollout.advantages


def test_statistics_are_those_of_all_samples(pool: ProcessPoolExecutor) -> None:
    expected, advantages = count_up(ALONE)
    halves = side_by_side(pool, count_up)
    for statistics, _ in halves:
        for name, wanted in expected.items():
            torch.testing.assert_close(statistics[name], wanted, rtol=1e-5, atol=1e-5, msg=name)
    found = torch.cat([part for _, part in halves], 1)
    torch.testing.assert_close(found, advantages, rtol=1e-5, atol=1e-5)


def talk(ranks: Ranks) -> dict[str, Any]:
    one, two = torch.full((2, 3), ranks.rank + 1.0), torch.tensor([10.0 * ranks.rank])
    ranks.average([one.T, two])  # a view, and not contiguous
    own = torch.full((2,), float(ranks.rank + 5))
    ranks.broadcast([own])
    error = None
    try:
        with ranks.together():
            if ranks.rank == 1:
                raise ValueError("the second")
    except (ValueError, SystemExit) as caught:
        error = type(caught).__name__
    with ranks.together():
        pass
    ranks.wait()
    return {
        "one": one.unique().tolist(),
        "two": two.tolist(),
        "own": own.tolist(),
        "gathered": ranks.gather(ranks.rank),
        "agreed": ranks.agree("yes" if ranks.rank else None),
        "seed": ranks.seed(7),
        "error": error,
    }


def test_processes_agree(pool: ProcessPoolExecutor) -> None:
    shared = {"one": [1.5], "two": [5.0], "own": [5.0, 5.0], "gathered": [0, 1], "agreed": "yes"}
    first, second = side_by_side(pool, talk)
    assert first == shared | {"seed": 7, "error": "SystemExit"}
    assert second == shared | {"seed": 7 + APART, "error": "ValueError"}


def test_processes_do_not_take_what_killed_ones_left_for_their_own() -> None:
    store = dist.HashStore()
    for rank in (1, 2):
        store.set(f"greeting_{rank}", f"of a killed process {rank}")
        store.set(f"of a killed process {rank}", "an earlier attempt")
    with ThreadPoolExecutor(3) as threads:
        names = list(threads.map(_meet, [store] * 3, range(3), [3] * 3))
        again = list(threads.map(_meet, [store] * 3, range(3), [3] * 3))
    assert len(set(names)) == len(set(again)) == 1
    assert len({names[0], again[0], "an earlier attempt"}) == 3


def test_alone_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(2)
    with connected() as ranks:
        assert ranks is ALONE and not dist.is_initialized()
    ALONE.sum([x])
    ALONE.average([x])
    ALONE.pool(x, x)
    ALONE.broadcast([x])
    ALONE.wait()
    assert x.tolist() == [1.0, 1.0] and ALONE.gather(3) == [3] and ALONE.agree(None) is None
    with pytest.raises(ValueError, match="its own"), ALONE.together():
        raise ValueError("its own")
    ALONE.say("heard")
    Ranks(1, 2).say("not heard")
    assert capsys.readouterr().out == "heard\n"


# ---------------------------------------------------------------------- training


def make_cfg() -> EnvConfig:
    """A map, both curricula, and episodes of 20 steps."""
    cfg = rugged()
    cfg.commands.curriculum, cfg.commands.heading = True, False
    cfg.commands.lin_vel_x = (-0.5, 0.5)
    return cfg


def make_trainer(ranks: Ranks, run_dir: Path | None = None, num_envs: int = N) -> Trainer:
    cfg = LearnerConfig(average_decay=0.9, save_interval=2)
    cfg.policy.actor_hidden = cfg.policy.critic_hidden = (8,)
    cfg.policy.normalise_obs = True
    cfg.ppo.num_steps, cfg.ppo.num_epochs, cfg.ppo.num_mini_batches = 6, 2, 2
    env = LeggedEnv(make_cfg(), num_envs // ranks.size, num_threads=1, seed=ranks.seed(3))
    assert env.footing
    env.perception.scan._library = env.footing.scan._library = None
    trainer = Trainer(env, cfg, run_dir, 3, ranks=ranks)
    trainer.ppo._native = None
    return trainer


def env_of(trainer: Trainer) -> LeggedEnv:
    assert isinstance(trainer.env, LeggedEnv)
    return trainer.env


def shared_state(trainer: Trainer) -> dict[str, Any]:
    """What must be the same in all processes."""
    state = {k: v for k, v in trainer.state_dict().items() if k in ("policy", "average", "ppo", "iteration")}
    buffers = env_of(trainer).state_dict()["buffers"]
    return state | {name: x for name, x in buffers.items() if "curriculum" in name}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        for i, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}.{i}")
    else:
        assert one == other or one != one, where


def train(ranks: Ranks, iterations: int) -> dict[str, Any]:
    trainer = make_trainer(ranks)
    ended = level = 0.0
    step = trainer.env.step

    def counted(actions: Tensor) -> Any:
        nonlocal ended, level
        outcome = step(actions)
        ended += float((outcome[2] | outcome[3]).sum())
        level += float(outcome[4]["log"]["Curriculum/level"])
        return outcome

    trainer.env.step = counted  # type: ignore[method-assign]
    logs: list[dict[str, float]] = []
    trainer.train(iterations, lambda iteration, numbers: logs.append(numbers))
    return {
        "shared": shared_state(trainer),
        "logs": [{k: v for k, v in log.items() if not k.startswith("Perf/")} for log in logs],
        "samples": logs[-1]["Perf/samples"],
        "ended": ended,
        "level": level / (iterations * 6),
        "obs": trainer.env.get_observations()["policy"].clone(),
    }


def test_weights_and_log_stay_equal_to_the_bit(pool: ProcessPoolExecutor) -> None:
    one, other = side_by_side(pool, train, 20)
    assert_same(one["shared"], other["shared"])
    assert_same(one["logs"], other["logs"])
    assert not torch.equal(one["obs"], other["obs"]), "robots are others"
    assert one["samples"] == 20 * 6 * N
    logs = one["logs"]
    assert sum(log["Episode/finished"] for log in logs) == one["ended"] + other["ended"] > 2 * N
    level = sum(log["Curriculum/level"] for log in logs) / len(logs)
    assert level == pytest.approx((one["level"] + other["level"]) / 2, rel=1e-5)
    assert "stops" not in logs[0]
    assert one["shared"]["curriculum_slow"].abs().sum() > 0.0, "the curriculum learned"


def train_with_graphs(ranks: Ranks, graphs: bool) -> tuple[dict[str, Any], int]:
    from tests.native.test_launch import OUTSIDE

    with pytest.MonkeyPatch.context() as patch:
        captured = emulate_graphs(patch, *OUTSIDE, (dist, "all_reduce")) if graphs else []
        trainer = make_trainer(ranks)
        trainer.env.reset(seed=trainer.seed)
        for _ in range(6):
            trainer.iterate()
        return shared_state(trainer), len(captured)


def test_calls_between_processes_can_be_in_graphs(pool: ProcessPoolExecutor) -> None:
    (plain, _), _ = side_by_side(pool, train_with_graphs, False)
    replayed = side_by_side(pool, train_with_graphs, True)
    for state, captured in replayed:
        assert captured == 2
        assert_same(state, plain)


def train_compiled(ranks: Ranks, compiled: bool) -> tuple[dict[str, Any], int]:
    torch.compiler.reset()
    trainer = make_trainer(ranks)
    trainer.env.reset(seed=trainer.seed)
    if compiled:
        trainer.compile("aot_eager")
    for _ in range(3):
        trainer.iterate()
    return shared_state(trainer), sum(torch._dynamo.utils.counters["graph_break"].values())


@pytest.mark.slow
def test_calls_between_processes_are_outside_of_compiled_pieces(pool: ProcessPoolExecutor) -> None:
    (plain, _), _ = side_by_side(pool, train_compiled, False)
    for state, breaks in side_by_side(pool, train_compiled, True):
        assert breaks == 0
        assert_same(state, plain)


def train_recurrent(ranks: Ranks) -> Tensor:
    cfg = LearnerConfig(policy=PolicyConfig((8,), (8,), recurrent="gru", recurrent_hidden=4))
    cfg.ppo.num_steps = 6
    trainer = Trainer(RecallEnv(8, seed=ranks.rank), cfg, None, 1, ranks=ranks)
    trainer.train(20, lambda iteration, numbers: None)
    return torch.cat([parameter.detach().flatten() for parameter in trainer.policy.parameters()])


def test_recurrent_policies_stay_equal_too(pool: ProcessPoolExecutor) -> None:
    one, other = side_by_side(pool, train_recurrent)
    assert torch.equal(one, other)


# ---------------------------------------------------------------------- checkpoints


def whole_state(trainer: Trainer) -> dict[str, Any]:
    state = trainer.state_dict()
    del state["train_time"]
    return state


def load(trainer: Trainer, path: Path, ranks: Ranks) -> None:
    content = checkpoint.load(path)
    if not ranks.first:
        content |= checkpoint.load(checkpoint.part(path, ranks.rank))
    trainer.load_state_dict(content)


def train_and_resume(ranks: Ranks, folder: Path) -> None:
    whole = make_trainer(ranks, folder)
    whole.train(6, lambda iteration, numbers: None)
    resumed = make_trainer(ranks)
    load(resumed, folder / "model_4.pt", ranks)
    resumed.train(6, lambda iteration, numbers: None)
    assert_same(whole_state(whole), whole_state(resumed))
    ranks.wait()


def test_resume_continues_to_the_same_bits_and_with_fewer_processes(
    pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    side_by_side(pool, train_and_resume, tmp_path)
    files = {f"model_{i}{part}.pt" for i in (0, 2, 4, 6) for part in ("", ".rank1")}
    assert {path.name for path in tmp_path.iterdir()} == files
    assert list(checkpoint.available(tmp_path)) == [0, 2, 4, 6]

    saved = checkpoint.load(tmp_path / "model_6.pt")
    assert saved["ranks"] == 2
    alone = make_trainer(ALONE)
    alone.load_state_dict(saved)
    env, buffers = env_of(alone), saved["env"]["buffers"]
    assert env.course and env.course.level.tolist() == buffers["terrain_level"].repeat_interleave(2).tolist()
    for name, value in env.state_dict()["buffers"].items():
        if "curriculum" in name:
            assert_same(value, buffers[name], name)
    assert_same(alone.policy.state_dict(), saved["policy"])
    height = env.engine.base_pos[:, 2] - env.course.origins()[:, 2]
    assert (height - env.cfg.robot.init_height).abs().max() < 0.3  # they stand on their tiles' middles
    alone.train(8, lambda iteration, numbers: None)
    assert alone.iteration == 8 and all(p.isfinite().all() for p in alone.policy.parameters())


def continue_alone_run(ranks: Ranks, path: Path) -> dict[str, Any]:
    trainer = make_trainer(ranks)
    trainer.load_state_dict(checkpoint.load(path))
    trainer.train(4, lambda iteration, numbers: None)
    return shared_state(trainer)


def test_more_processes_go_on_with_what_one_learned(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    make_trainer(ALONE, tmp_path).train(2, lambda iteration, numbers: None)
    one, other = side_by_side(pool, continue_alone_run, tmp_path / "model_2.pt")
    assert_same(one, other)
    assert one["iteration"] == 4


def stop_early(ranks: Ranks, folder: Path) -> tuple[bool, int]:
    trainer = make_trainer(ranks, folder)

    def report(iteration: int, numbers: dict[str, float]) -> None:
        if iteration == 3 and ranks.rank == 1:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # schedulers may say it twice

    stopped = trainer.train(1000, report)
    return stopped, trainer.iteration


def end_when_good(ranks: Ranks, folder: Path) -> tuple[bool, int, bool]:
    trainer = make_trainer(ranks, folder)
    trainer.evaluator = (lambda policy: {"score": -float(trainer.iteration)}) if ranks.first else None
    stopped = trainer.train(1000, lambda iteration, numbers: None, lambda figures: figures["score"] <= -4)
    return stopped, trainer.iteration, trainer.solved


def test_all_end_together_when_the_first_finds_it_good(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert side_by_side(pool, end_when_good, tmp_path) == [(False, 4, True), (False, 4, True)]
    assert (tmp_path / "model_4.pt").is_file() and (tmp_path / "model_4.rank1.pt").is_file()


def test_all_stop_together_whoever_is_told(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert side_by_side(pool, stop_early, tmp_path) == [(True, 4), (True, 4)]
    assert (tmp_path / "model_4.pt").is_file() and (tmp_path / "model_4.rank1.pt").is_file()
