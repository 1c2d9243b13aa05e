"""Train a policy: `python scripts/train.py --task anymal_c_flat --num_envs 4096`.

On several GPUs or machines: `torchrun --nproc_per_node 8 scripts/train.py ...`, see algorithms/distributed.py.
"""

from __future__ import annotations

import copy
import os
import shlex
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch

from algorithms import Actor, ActorCritic, Trainer
from algorithms.checkpoint import available
from algorithms.distributed import Ranks, connected
from algorithms.trainer import LOOK_INTERVAL, NonFiniteError
from envs.legged_env import LeggedEnv
from envs.tasks import all_tasks
from evaluation.walking import evaluate, evaluation_config
from native.launch import WARM_UP
from physics import choose_device
from robots import ROBOTS
from runs import memory
from runs.config import RunConfig, changes, load_config, parse, peek, save_config, to_plain
from runs.folders import (
    RunFlags,
    checkpoint_path,
    command,
    create_run_folder,
    find_run,
    load_own_checkpoint,
    locked,
    move_checkpoint,
    remember,
    remembered,
    set_aside,
    set_threads,
    shipped,
)
from runs.progress import CurriculumLog, ProgressLog
from terrains.curriculum import STRATEGIES
from terrains.shapes import SHAPES

SELECTION = 10_000
"""Added to the seed of evaluations in training."""
WORTH_COMPILING = 1000
"""Iterations from which on torch.compile saves more time than it takes."""


@dataclass
class ResumeFlags(RunFlags):
    """Flags that name the run to go on with; where it is, the rest of its configuration is too."""

    resume: bool = False


APPLIED = {"max_iterations", "device", "engine", "num_threads", "check", "graphs", "compile"}
"""Flags that may change a run that goes on."""
ACCEPTED = {f.name for f in fields(ResumeFlags)} | {"headless", "sim_device", "rl_device"}
"""Flags that are no part of a run."""


def main() -> int:
    """Train, resume, check or list; returns the exit status."""
    if "--list" in sys.argv:
        return show_choices()
    with ExitStack() as lock:
        ranks = lock.enter_context(connected())
        return run(lock, ranks)


def run(lock: ExitStack, ranks: Ranks) -> int:
    """Train, resume or check, with the run folder in `lock`; returns the exit status."""
    interrupted = ranks.agree(remembered())  # torchrun started these processes in place of others
    with ranks.together():
        flags, _ = peek(ResumeFlags(), [arg for arg in sys.argv[1:] if arg not in ("-h", "--help")])
        folder = interrupted or (find_run(flags) if flags.resume else None)
        cfg = resume_config(folder) if folder and flags.resume else parse()
        validate(cfg, ranks.size)
        threads = set_threads(cfg.num_threads)
        device, why = choose_device(cfg.device, cfg.engine, cfg.env.robot)
    ranks.say(f"device     {device} ({why})")
    kinds = set(ranks.gather(device.split(":")[0]))
    lock.enter_context(memory.explained(cfg, device, ranks.size))
    state = None
    with ranks.together():
        if len(kinds) > 1:
            raise ValueError("some processes have a GPU and some have none: give --device cpu, or cuda")
        if folder and ranks.first:
            lock.enter_context(locked(folder))
        # a folder with a configuration and no checkpoint yet is a run that has not begun
        if folder and (available(folder) or (flags.checkpoint >= 0 and not interrupted)):
            path = checkpoint_path(folder, -1 if interrupted else flags.checkpoint)
            state = load_own_checkpoint(path, cfg.task, device, ranks)
    if cfg.learner == "rsl_rl":
        from runs.rsl_rl_runner import train_rsl_rl

        return train_rsl_rl(cfg, threads)
    with ranks.together():
        robots = cfg.num_envs // ranks.size
        env = LeggedEnv(cfg.env, robots, cfg.engine, device, threads, ranks.seed(cfg.seed))
    metadata = {"task": cfg.task, "recipe": cfg.recipe, "engine": env.engine_choice, "seed": cfg.seed}
    metadata["device"] = f"{device} ({why})"
    metadata["compiled"] = compiled = wants_compiling(cfg, device, state)
    if cfg.check:
        return check(cfg, env, threads, device, compiled, ranks)
    with ranks.together():
        if ranks.first and not folder:
            folder = create_run_folder(cfg)
            lock.enter_context(locked(folder))
    folder = ranks.agree(folder)
    with ranks.together():
        if not folder or not folder.is_dir():
            raise ValueError(f"--log_dir {cfg.log_dir} must be on a disk that all machines share")
        evaluator = make_evaluator(cfg, device, threads) if ranks.first else None
    trainer = make_trainer(cfg, env, folder, metadata, evaluator, compiled, ranks)
    if state:
        with ranks.together():
            if move_checkpoint(state, device, ranks.seed(cfg.seed)):
                ranks.say("the checkpoint is from another kind of device: random numbers start anew")
            if (before := state.get("ranks", 1)) != ranks.size:
                ranks.say(
                    f"the checkpoint is of {before} processes, not {ranks.size}: robots start anew, "
                    "on the levels they had reached"
                )
            trainer.load_state_dict(state)
    if ranks.first:
        if not state:
            save_config(cfg, folder / "config.yaml")
        elif aside := set_aside(folder, trainer.iteration):
            print(f"checkpoints after iteration {trainer.iteration} now lie in {aside}")
        announce(cfg, env, threads, folder, trainer)
    if trainer.iteration >= cfg.max_iterations:
        ranks.say(f"nothing to do: {trainer.iteration} of {cfg.max_iterations} iterations are done")
        return 0
    remember(folder)
    levels = CurriculumLog(folder, env.course, trainer.iteration, ranks) if env.course else None
    own_log = ProgressLog(folder, cfg.max_iterations, trainer.iteration) if ranks.first else nullcontext()
    with own_log as log:

        def report(iteration: int, numbers: dict[str, float]) -> None:
            if log:
                log.write(iteration, numbers)
            if levels and (iteration % LOOK_INTERVAL == 0 or iteration == cfg.max_iterations):
                levels.write(iteration)

        try:
            stopped = trainer.train(cfg.max_iterations, report)
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
        # torchrun takes 130 for a crash, and starts again
        return 0 if torch.distributed.is_torchelastic_launched() else 130
    print(f"trained {trainer.iteration} iterations in {trainer.train_time:.0f} s: {folder}")
    print(f"watch it: python scripts/play.py --load_run {shlex.quote(str(folder))}")
    return 0


Evaluator = Callable[[ActorCritic], dict[str, float]]


def make_trainer(
    cfg: RunConfig,
    env: LeggedEnv,
    folder: Path | None,
    metadata: dict[str, Any],
    evaluator: Evaluator | None,
    compiled: bool,
    ranks: Ranks,
) -> Trainer:
    """A trainer as the flags want it launched; see `Trainer`."""
    trainer = Trainer(env, cfg.agent, folder, cfg.seed, metadata, evaluator, cfg.graphs != "off", ranks)
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
        return {name: getattr(figures, name) for name in ("lin_vel_error", "ang_vel_error", "falls", "score")}

    return run


def resume_config(folder: Path) -> RunConfig:
    """The saved configuration with the flags that may change on resume; everything else must stay.

    The run goes on where it was, or by `--device auto` on a machine that lacks the device it was given.
    """
    saved = replace(load_config(folder / "config.yaml"), sim_device="", rl_device="")
    if saved.learner == "rsl_rl":
        raise ValueError(f"run {folder} is rsl_rl's; --resume continues runs of --learner trot only")
    try:
        choose_device(saved.device, saved.engine)
    except ValueError:
        saved.device = "auto"
    cfg = parse(default=saved)
    changed = changes(to_plain(saved), to_plain(cfg)).keys() - APPLIED - ACCEPTED
    if changed:
        raise ValueError(
            f"--resume continues {folder.name} as it was; {', '.join(sorted(changed))} cannot change "
            "(start a new run)"
        )
    return replace(saved, **{name: getattr(cfg, name) for name in APPLIED})


def validate(cfg: RunConfig, processes: int = 1) -> None:
    """Refuse what cannot work before anything long starts; ValueError with one sentence."""
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
    if cfg.max_iterations < 1:
        raise ValueError(f"--max_iterations must be at least 1, not {cfg.max_iterations}")
    if cfg.num_threads < 0:
        raise ValueError(f"--num_threads must not be negative, not {cfg.num_threads}")
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
    device, _ = choose_device(cfg.device, cfg.engine, cfg.env.robot)
    memory.check_memory(cfg, device, processes)


def show_choices() -> int:
    """Print all that can be chosen by name; returns the exit status."""
    tasks = defaultdict(list)
    for task in all_tasks().values():
        tasks[f"--task, with --recipe {' or '.join(task.recipes)}"].append(task.name)
    for title, names in {
        **tasks,
        "robots": list(ROBOTS),
        "--env.terrain.shape": list(SHAPES),
        "--env.curriculum.strategy": list(STRATEGIES),
        "--policy (play, evaluate, sim2sim)": shipped(),
    }.items():
        print(f"{title}\n    " + "\n    ".join(textwrap.wrap(", ".join(names), 110)))
    return 0


def wants_compiling(cfg: RunConfig, device: str, state: dict | None) -> bool:
    """Whether torch.compile is used; on one kind of device a run goes on as before: results differ by rounding."""
    if cfg.compile != "auto":
        return cfg.compile == "on"
    if state and state["metadata"].get("device", "").startswith(device.split(":")[0]):
        return state["metadata"].get("compiled", False)
    return device != "cpu" and cfg.max_iterations >= WORTH_COMPILING


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


if __name__ == "__main__":
    command(main)
