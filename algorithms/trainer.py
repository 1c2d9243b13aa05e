"""The training loop: collect, update, log, checkpoint."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from algorithms import checkpoint
from algorithms.collector import Collector
from algorithms.config import LearnerConfig
from algorithms.distributed import ALONE, Ranks
from algorithms.environment import Environment
from algorithms.networks import ActorCritic
from algorithms.ppo import PPO
from native.launch import Graphs


class NonFiniteError(RuntimeError):
    """Numbers kept being non-finite, so that going on would learn nothing."""


def make_policy(env: Environment, cfg: LearnerConfig) -> ActorCritic:
    """An `ActorCritic` that fits an environment, whose mirrors are asked for where symmetry needs them."""
    sizes = env.num_obs, env.num_critic_obs, env.num_actions
    if cfg.policy.symmetry == "none":
        return ActorCritic(*sizes, cfg.policy).to(env.device)
    mirrors = env.obs_mirror, env.action_mirror, env.critic_mirror
    return ActorCritic(*sizes, cfg.policy, *mirrors).to(env.device)


class Trainer:
    """Trains one policy in one environment, on the environment's device.

    On a CPU two runs with one seed and as many threads give the same bits, and so does a run that was interrupted and
    continued from a checkpoint. Where several processes train together each has a trainer, with robots of its own.
    """

    def __init__(
        self,
        env: Environment,
        cfg: LearnerConfig,
        run_dir: Path | None,
        seed: int,
        metadata: dict[str, Any] | None = None,
        evaluator: Callable[[ActorCritic], dict[str, float]] | None = None,
        graphs: bool = True,
        ranks: Ranks = ALONE,
    ):
        """Prepare; nothing is stepped yet.

        Args:
            env: the environment.
            cfg: hyper-parameters.
            run_dir: where checkpoints go; None for none.
            seed: seed of initial weights, exploration and mini-batch order.
            metadata: plain values kept in each checkpoint (task, engine, ...).
            evaluator: called before each checkpoint; its figures are logged as `Eval/...`, and the
                last policy whose `score` is within its `score_error` (0 if it has none) of the smallest so far
                is kept as `model_best.pt` (one standard error; Breiman et al. 1984). It must not touch `env`.
            graphs: on a GPU, replay rollout and update as CUDA graphs from the third iteration on.
            ranks: the processes that train together; only the first has an evaluator.
        """
        cfg.validate()
        self.env, self.cfg, self.run_dir, self.ranks = env, cfg, run_dir, ranks
        self.metadata = metadata or {}
        self.evaluator = evaluator
        self.evaluation: dict[str, float] = {}
        """The last evaluation."""
        self.best_score = math.inf
        self.solved = False
        """Whether `enough` of `train` ended the last part of the run."""
        torch.manual_seed(seed)
        self.policy = make_policy(env, cfg)
        ranks.broadcast(list(self.policy.state_dict().values()))
        self.average = copy.deepcopy(self.policy) if cfg.average_decay else None
        """Running average of the policy's weights, if asked for."""
        self.ppo = PPO(self.policy, cfg.ppo, env.device, ranks)
        self.seed = ranks.seed(seed)
        self.generator = torch.Generator(env.device)
        self.generator.manual_seed(self.seed)
        self.iteration = 0
        """Updates done so far."""
        self.train_time = 0.0
        """Seconds spent in rollouts, updates and evaluations so far, over all resumed parts."""
        self._stop = self._told_to_stop = False
        self._bad_updates = 0
        self._counts = env.pool_counts(ranks.size) if ranks.size > 1 else []
        self.collector = Collector(env, self.policy, cfg.ppo, self.generator, ranks)
        self.rollout = self.collector.rollout
        self._mean_return = torch.zeros(2, device=env.device)  # last known mean return and length
        self._stops = torch.zeros(1, device=env.device)  # processes that were told to stop
        self.graphs = Graphs(env.device, (self.generator, env.generator), graphs)
        self._make_queues()
        self._clock = _Clock(env.device)
        self._names: list[list[str]] = [[], []]  # of the figures of rollout and update

    def _make_queues(self) -> None:
        """Both halves of an iteration, to be captured anew."""
        self._queue_rollout, self._queue_update = self.graphs(self._rollout), self.graphs(self._update)

    def compile(self, backend: str = "inductor") -> None:
        """From now on let torch.compile make few kernels of what surrounds the environment's steps.

        The environment has a method of its own. A policy with a memory is left as it is.

        Args:
            backend: of torch.compile.
        """
        self.collector.compile(backend)
        self.ppo.compile(backend)

    # ------------------------------------------------------------------ one iteration

    def iterate(self) -> dict[str, float]:
        """One rollout and one update; returns everything to log."""
        self._start_iteration()
        return self._finish_iteration()

    def _start_iteration(self) -> None:
        """Queue a rollout and an update; on a GPU this returns long before they are done."""
        if self.ranks.size > 1:
            self._stops.fill_(self._told_to_stop)
        self._clock.mark("start")
        rollout = self._queue_rollout()
        self._clock.mark("middle")
        self._figures = torch.cat((rollout, self._queue_update()))
        self._clock.mark("end")

    def _rollout(self) -> Tensor:
        """The first half of an iteration; returns its figures, [K]."""
        log = self.collector.collect()
        log["Train/surplus_timeouts"] = self.collector.evaluate()
        figures = self._stack(0, log)
        self.ranks.sum([figures])
        return figures

    def _update(self) -> Tensor:
        """The second half; returns its figures, [L]."""
        losses = self.ppo.update(self.rollout, self.generator)
        if self.policy.obs_normaliser is not None and self.policy.critic_normaliser is not None:
            self.policy.obs_normaliser.update(self.rollout.obs.flatten(0, 1), self.ranks)
            self.policy.critic_normaliser.update(self.rollout.critic_obs.flatten(0, 1), self.ranks)
        self._follow()
        finished = self.collector.finished
        self.ranks.sum([finished, self._stops, *self._counts])
        if self._counts:
            self.env.learn_from_counts()
        known = (finished[2] > 0).expand(2)
        mean = finished[:2] / finished[2].clamp(min=1.0)
        self._mean_return.copy_(torch.where(known, mean, self._mean_return))
        log = dict(zip(("Train/mean_reward", "Train/mean_episode_length"), self._mean_return, strict=True))
        if self.ranks.size > 1:
            log[_STOPS] = self._stops[0]
        return self._stack(1, log | {f"Loss/{name}": value for name, value in losses.items()})

    def _stack(self, half: int, log: dict[str, Tensor]) -> Tensor:
        self._names[half] = list(log)
        return torch.stack([value.float() for value in log.values()])

    def _finish_iteration(self) -> dict[str, float]:
        """Wait for what was queued; returns everything to log."""
        # the one transfer of the iteration; it also waits for the device, so that times are true
        values = self._figures.tolist()
        collection, learning = self._clock.seconds("start", "middle"), self._clock.seconds("middle", "end")
        self.iteration += 1
        self.train_time += collection + learning
        numbers = dict(zip(self._names[0] + self._names[1], values, strict=True))
        self._stop = numbers.pop(_STOPS, 0.0) > 0.0 or self._stop
        samples = self.rollout.num_steps * self.env.num_envs * self.ranks.size
        numbers["Perf/total_fps"] = samples / (collection + learning)
        numbers["Perf/collection_time"] = collection
        numbers["Perf/learning_time"] = learning
        numbers["Perf/train_time"] = self.train_time
        numbers["Perf/samples"] = float(samples * self.iteration)
        self._guard(numbers)
        for watcher in self.collector.watchers:
            watcher.look(self.iteration)
        return numbers

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the policy."""
        if self.average is not None:
            # of a policy that still changes fast, only the last few: the warm-up of TensorFlow's moving average
            updates = self.ppo.updates  # this one counted
            decay = (updates / (9.0 + updates)).clamp(max=self.cfg.average_decay)
            mine = list(self.average.state_dict().values())
            way = torch._foreach_sub(list(self.policy.state_dict().values()), mine)
            torch._foreach_mul_(way, 1.0 - decay)
            torch._foreach_add_(mine, way)

    def _guard(self, numbers: dict[str, float]) -> None:
        self._bad_updates = self._bad_updates + 1 if numbers["Loss/skipped"] else 0
        if self._bad_updates >= self.cfg.max_bad_updates:
            raise NonFiniteError(
                f"losses or gradients were not finite in {self._bad_updates} iterations in a row (weights "
                "were not touched): lower agent.ppo.learning_rate or look at the rewards"
            )

    # ------------------------------------------------------------------ the whole run

    def train(
        self,
        max_iterations: int,
        report: Callable[[int, dict[str, float]], None],
        enough: Callable[[dict[str, float]], bool] | None = None,
    ) -> bool:
        """Go on until `max_iterations` updates are done; returns whether Ctrl-C (or SIGTERM) ended it early.

        A checkpoint is written every `save_interval` iterations, at the end, and on the way out. Several processes
        stop after the same iteration, whichever of them was told to.

        Args:
            max_iterations: total number of updates, earlier parts of a resumed run counted.
            report: called after each iteration with its number and its log; on a GPU, but for every tenth and
                those with a checkpoint, while the next iteration is under way, so that it must not look at `env`.
            enough: told each evaluation from now on, says whether to end there, as `solved` does from then on. Of
                several processes all have one, and the first one's counts.
        """
        self.solved = False
        previous = [(number, signal.signal(number, self._on_signal)) for number in _SIGNALS]
        try:
            if self.iteration == 0:
                self.env.reset(seed=self.seed)
                self._evaluate()
                self.save()
            late: tuple[int, dict[str, float]] | None = None
            while self.iteration < max_iterations and not self._stop and not self.solved:
                self._start_iteration()
                if late:  # while a GPU is busy with this iteration, the one before is reported
                    report(*late)
                numbers = self._finish_iteration()
                due = self.iteration % self.cfg.save_interval == 0 or self.iteration == max_iterations
                if due:
                    self._evaluate()
                    if enough:  # all know whether to go on before any of them does
                        verdict = enough(self.evaluation) if self.ranks.first else None
                        self.solved = bool(self.ranks.agree(verdict))
                    self.save()
                late = self.iteration, numbers | {f"Eval/{k}": v for k, v in self.evaluation.items()}
                if due or not self.graphs.on or self.iteration % LOOK_INTERVAL == 0:
                    report(*late)
                    late = None
            if late:
                report(*late)
            if self._stop:
                self.save()
        finally:
            for number, handler in previous:
                signal.signal(number, handler)
        return self._stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.ranks.size > 1:  # they agree on it in the next update; schedulers may send a signal twice
            self._told_to_stop = True
            return
        self._stop = True
        # a second Ctrl-C ends the program at once
        signal.signal(number, signal.SIG_DFL)

    def _evaluate(self) -> None:
        if self.evaluator is None:
            return
        start = time.perf_counter()
        self.evaluation = self.evaluator(self.average or self.policy)
        self.train_time += time.perf_counter() - start
        score, chance = self.evaluation["score"], self.evaluation.get("score_error", 0.0)
        best = score <= self.best_score + chance
        self.best_score = min(self.best_score, score)
        if best and self.run_dir is not None:
            checkpoint.save(self.run_dir / BEST, self.state_dict())

    def save(self) -> None:
        """Write a checkpoint, `model_<iteration>.pt`; it is there when those of all other processes are."""
        if self.run_dir is None:
            return
        path = self.run_dir / f"model_{self.iteration}.pt"
        if not self.ranks.first:
            checkpoint.save(checkpoint.part(path, self.ranks.rank), self._own_state())
        self.ranks.wait()
        if self.ranks.first:
            checkpoint.save(path, self.state_dict())
        self.ranks.wait()

    def _own_state(self) -> dict[str, Any]:
        """What differs between processes: robots and random numbers."""
        return {
            "env": self.env.state_dict(),
            "generator": self.generator.get_state(),
            "hidden": [self.collector.actor_hidden, self.collector.critic_hidden],
            "counters": {
                "episode_return": self.collector.episode_return,
                "episode_steps": self.collector.episode_steps,
                "mean_return": self._mean_return,
            },
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that shapes the future; of several processes, all that they share and what is this one's own."""
        return {
            "ranks": self.ranks.size,
            "metadata": self.metadata,
            "iteration": self.iteration,
            "train_time": self.train_time,
            "evaluation": self.evaluation,
            "best_score": self.best_score,
            "solved": self.solved,
            "policy": self.policy.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "ppo": self.ppo.state_dict(),
            **self._own_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken; ValueError where it does not fit.

        That of another number of processes gives what was learned; robots start anew, on the levels they had reached.
        """
        self._make_queues()  # captured ones would go on with what the optimiser's state was
        try:
            self.policy.load_state_dict(state["policy"])
            if self.average is not None:
                self.average.load_state_dict(state["average"] or state["policy"])
        except RuntimeError as error:
            raise ValueError("the checkpoint's networks differ in shape from this configuration's") from error
        self.ppo.load_state_dict(state["ppo"])
        self.iteration, self.train_time = state["iteration"], state["train_time"]
        self.ppo.updates.fill_(self.iteration)  # which older checkpoints do not hold
        self.evaluation, self.best_score = state["evaluation"], state["best_score"]
        self.solved = state.get("solved", False)
        self._mean_return.copy_(state["counters"]["mean_return"])
        if state.get("ranks", 1) != self.ranks.size:
            seed = self.seed + self.iteration  # which no part of the run had
            self.generator.manual_seed(seed)
            self.env.carry_over(state["env"], seed)
            return
        self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())
        if self.policy.recurrent:
            for mine, saved in zip(
                (self.collector.actor_hidden, self.collector.critic_hidden), state["hidden"], strict=True
            ):
                mine.copy_(saved)
        self.collector.episode_return.copy_(state["counters"]["episode_return"])
        self.collector.episode_steps.copy_(state["counters"]["episode_steps"])


LOOK_INTERVAL = 10
"""After every so many iterations a report may look at the environment, see `Trainer.train`."""
BEST = "model_best.pt"
"""The checkpoint with the best evaluation, beside `model_<iteration>.pt`."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOPS = "stops"
"""Figure of an update that is not for the log."""


class _Clock:
    """Times of marks in a stream of work: on a GPU those at which it gets there."""

    def __init__(self, device: torch.device):
        self._on_gpu = device.type == "cuda"
        self._marks: dict[str, Any] = {}

    def mark(self, name: str) -> None:
        if not self._on_gpu:
            self._marks[name] = time.perf_counter()
            return
        event = self._marks.setdefault(name, torch.cuda.Event(enable_timing=True))
        event.record()

    def seconds(self, first: str, last: str) -> float:
        """From one mark to another, which the device has passed."""
        if self._on_gpu:
            return self._marks[first].elapsed_time(self._marks[last]) / 1e3
        return self._marks[last] - self._marks[first]
