"""A training run: what is refused before it begins, what it is made of, and what it says."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from algorithms import Actor, ActorCritic, Trainer
from algorithms.distributed import Ranks
from algorithms.trainer import LOOK_INTERVAL, NonFiniteError
from envs.legged_env import LeggedEnv
from envs.tasks import get_task
from evaluation.walking import evaluate, evaluation_config
from native.launch import WARM_UP
from physics import choose_device
from runs import memory
from runs.config import RunConfig
from runs.estimate import expectation, pace_of
from runs.folders import check_names
from runs.health import Health
from runs.machine import Crowd
from runs.progress import CurriculumLog, ProgressLog
from runs.tracking import Events, check_logger
from runs.verdict import IN_A_ROW, Goal, check_until_solved, print_verdict
from runs.watching import check_watching

SELECTION = 10_000
"""Added to the seed of evaluations in training."""
CROWD_AFTER = 5
"""Iterations after which a busy machine is noticed."""
WORTH_COMPILING = 1000
"""Iterations from which on torch.compile saves more time than it takes."""


def validate(cfg: RunConfig, processes: int = 1, here: bool = True) -> None:
    """Refuse what cannot work before anything long starts; ValueError with one sentence.

    Not `here`: another machine trains, whose devices and memory are not known.
    """
    if cfg.num_envs < 1:
        raise ValueError(f"--num_envs must be at least 1, not {cfg.num_envs}")
    if cfg.num_envs % processes:
        near = max(1, round(cfg.num_envs / processes)) * processes
        raise ValueError(
            f"{processes} processes cannot share --num_envs {cfg.num_envs} equally; the nearest they can is {near}"
        )
    if cfg.learner == "rsl_rl" and processes > 1:
        raise ValueError(f"--learner rsl_rl trains in one process, not {processes}: leave torchrun out")
    if cfg.learner == "rsl_rl" and (cfg.graphs, cfg.compile) != ("auto", "auto"):
        raise ValueError("--learner rsl_rl launches operator by operator: leave --graphs and --compile out")
    if cfg.learner == "rsl_rl" and cfg.init_from:
        raise ValueError("--init_from is for --learner trot: rsl_rl's checkpoints are of another kind")
    if cfg.max_iterations < 1:
        raise ValueError(f"--max_iterations must be at least 1, not {cfg.max_iterations}")
    if cfg.num_threads < 0:
        raise ValueError(f"--num_threads must not be negative, not {cfg.num_threads}")
    check_names(cfg)
    check_logger(cfg)
    check_until_solved(cfg)
    check_watching(cfg)
    cfg.env.validate()
    cfg.agent.validate()
    robots, each = cfg.num_envs // processes, " of each process" if processes > 1 else ""
    samples = robots * cfg.agent.ppo.num_steps
    if samples < cfg.agent.ppo.num_mini_batches:
        raise ValueError(
            f"{samples} samples an iteration{each} cannot make {cfg.agent.ppo.num_mini_batches} mini-batches; "
            "raise --num_envs"
        )
    if cfg.agent.policy.recurrent != "none" and robots < cfg.agent.ppo.num_mini_batches:
        raise ValueError(
            f"{robots} robots{each} cannot make {cfg.agent.ppo.num_mini_batches} mini-batches of whole sequences, "
            "as a recurrent policy needs them; raise --num_envs"
        )
    if here:
        device, _ = choose_device(cfg.device, cfg.engine, cfg.env.robot)
        memory.check_memory(cfg, device, processes)


def wants_compiling(cfg: RunConfig, device: str, state: dict | None) -> bool:
    """Whether torch.compile is used; on one kind of device a run goes on as before: results differ by rounding."""
    if cfg.compile != "auto":
        return cfg.compile == "on"
    if state and state["metadata"].get("device", "").startswith(device.split(":")[0]):
        return state["metadata"].get("compiled", False)
    return device != "cpu" and cfg.max_iterations >= WORTH_COMPILING


Evaluator = Callable[[ActorCritic], dict[str, float]]


def make_trainer(
    cfg: RunConfig,
    env: LeggedEnv,
    folder: Path | None,
    metadata: dict[str, Any],
    evaluator: Evaluator | None,
    compiled: bool,
    ranks: Ranks,
    weights: dict[str, Any] | None = None,
) -> Trainer:
    """A trainer as the flags want it launched, with `weights` to begin with, if any; see `Trainer`."""
    trainer = Trainer(env, cfg.agent, folder, cfg.seed, metadata, evaluator, cfg.graphs != "off", ranks)
    for policy in (trainer.policy, trainer.average):
        if weights and policy:
            policy.load_state_dict(weights)
    if compiled:
        env.compile()
        trainer.compile()
    return trainer


def make_evaluator(cfg: RunConfig, device: str, threads: int) -> Evaluator | None:
    """A short evaluation in an environment of its own, the same every time."""
    if cfg.agent.eval_envs < 1:
        return None
    env_cfg = evaluation_config(copy.deepcopy(cfg.env), cfg.agent.eval_seconds)
    env = LeggedEnv(env_cfg, cfg.agent.eval_envs, cfg.engine, device, threads, cfg.seed)

    def run(policy: ActorCritic) -> dict[str, float]:
        # Commands change twice as often as in scripts/evaluate.py, since reversals are what makes robots fall, and
        # are others than there, where the checkpoint that was best here is judged.
        figures = evaluate(env, Actor(policy), cfg.agent.eval_seconds, segment=2.5, seed=SELECTION + cfg.seed)
        names = ("lin_vel_error", "ang_vel_error", "falls", "score", "score_error")
        return {name: getattr(figures, name) for name in names}

    return run


def announce(cfg: RunConfig, env: LeggedEnv, threads: int, folder: Path, trainer: Trainer) -> None:
    """Say what is about to happen."""
    done = trainer.iteration
    samples = (cfg.max_iterations - done) * cfg.agent.ppo.num_steps * cfg.num_envs
    print(f"task       {cfg.task} (recipe {cfg.recipe})")
    print(f"engine     {env.engine_choice}, {threads} threads")
    how = ["CUDA graphs"] if trainer.graphs.on else []
    if trainer.metadata["compiled"]:
        how.append("compiled (half a minute the first time)")
    if how:
        print(f"launches   {', '.join(how)}")
    shared = f" ({env.num_envs} in each of {trainer.ranks.size} processes)" if trainer.ranks.size > 1 else ""
    print(f"robots     {cfg.num_envs}{shared}")
    if cfg.until_solved and (targets := get_task(cfg.task).targets):
        bounds = f"{targets.lin_vel_error:g} m/s, {targets.ang_vel_error:g} rad/s, falls {targets.falls:.0%}"
        print(f"until      {IN_A_ROW} evaluations in a row are within {bounds}")
    print(f"samples    {samples / 1e6:.1f} M in {cfg.max_iterations - done} iterations")
    print(f"run folder {folder}" + (f" (resumed at iteration {done})" if done else ""), flush=True)


def check(cfg: RunConfig, env: LeggedEnv, threads: int, device: str, compiled: bool, ranks: Ranks) -> int:
    """An iteration, after those that prepare it; prints memory and expected time."""
    trainer = make_trainer(cfg, env, None, {}, None, compiled, ranks)
    env.reset(seed=trainer.seed)
    for _ in range(WARM_UP + 1 if trainer.graphs.on else 1):
        trainer.iterate()
    numbers = trainer.iterate()
    if not ranks.first:
        return 0
    seconds = numbers["Perf/collection_time"] + numbers["Perf/learning_time"]
    print(f"task       {cfg.task} (recipe {cfg.recipe})\nengine     {env.engine_choice}, {threads} threads")
    print(f"iteration  {seconds:.2f} s, {numbers['Perf/total_fps']:.0f} env-steps/s")
    each = f" in each of {ranks.size} processes" if ranks.size > 1 else ""
    print(f"memory     {memory.report(replace(cfg, num_envs=env.num_envs), device)}{each}")
    print(f"expected   {seconds * cfg.max_iterations / 60:.1f} min for {cfg.max_iterations} iterations")
    return 0


def nothing_to_do(cfg: RunConfig, trainer: Trainer, go_on: bool) -> str:
    """What to say to who resumes a run that has come to its end, and does not say how to `go_on`; '' for others."""
    if trainer.iteration >= cfg.max_iterations:
        return (
            f"nothing to do: {trainer.iteration} of {cfg.max_iterations} iterations are done\n"
            "--max_iterations counts all of a run's iterations: give a larger one, or --more_iterations"
        )
    if trainer.solved and cfg.until_solved and not go_on:
        return f"nothing to do: the targets were met, at iteration {trainer.iteration}; --more_iterations goes on"
    return ""


def train(
    trainer: Trainer, env: LeggedEnv, folder: Path, cfg: RunConfig, events: Events | None = None
) -> int:
    """Train as far as a configuration says, with logs in the run folder and figures to `events`; returns the exit
    status.

    Raises:
        NonFiniteError: on the first process only; the others return 2.
    """
    ranks = trainer.ranks
    health = Health(env, trainer.cfg.ppo.num_steps * env.num_envs * ranks.size, ranks.first)
    levels = CurriculumLog(folder, env.course, trainer.iteration, ranks) if env.course else None
    max_iterations, told = cfg.max_iterations, False
    targets = get_task(cfg.task).targets
    pace = pace_of(cfg, trainer.train_time, trainer.graphs.on)
    first = trainer.iteration
    own_log = ProgressLog(folder, max_iterations, first, pace, events) if ranks.first else nullcontext()
    with own_log as log:
        crowd = Crowd(torch.get_num_threads())

        def report(iteration: int, numbers: dict[str, float]) -> None:
            nonlocal told
            if log:
                log.write(iteration, numbers)
                if pace.ready and not told and iteration < max_iterations:
                    told = True
                    print(*expectation(cfg, pace, iteration), sep="\n", flush=True)
            if iteration == first + CROWD_AFTER and env.device.type == "cpu" and (word := crowd.sentence()):
                ranks.say(word)
            health.note(iteration, numbers)
            if iteration % LOOK_INTERVAL == 0 or iteration == max_iterations:
                health.look(iteration)
                if levels:
                    levels.write(iteration)

        try:
            # the first evaluation, before any update, counts in no run
            judged = first >= cfg.agent.save_interval and not trainer.solved
            goal = (
                Goal(targets, trainer.evaluation if judged else None)
                if cfg.until_solved and targets
                else None
            )
            stopped = trainer.train(max_iterations, report, goal)
        except NonFiniteError:  # on all
            if ranks.first:
                raise
            return 2
    if not ranks.first:
        return 0
    if levels:
        levels.draw(env.engine.base_pos[:, :2].cpu().numpy())
    if stopped:
        print(
            f"stopped at iteration {trainer.iteration} and saved; "
            f"go on with --resume --load_run {shlex.quote(str(folder))}"
        )
        print_verdict(cfg, folder, trainer.evaluation, trainer.iteration, stopped=True)
        # torchrun takes 130 for a crash, and starts again
        return 0 if torch.distributed.is_torchelastic_launched() else 130
    print(f"trained {trainer.iteration} iterations in {trainer.train_time:.0f} s: {folder}")
    if cfg.until_solved:
        print("targets met: it ends here" if trainer.solved else "the targets were not met")
    print_verdict(cfg, folder, trainer.evaluation, trainer.iteration)
    return 0
