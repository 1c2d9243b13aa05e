"""Train a policy: `python scripts/train.py --task anymal_c_flat --num_envs 4096`."""

from __future__ import annotations

import copy
import os
import shlex
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from algorithms import Actor, ActorCritic, Trainer
from algorithms.checkpoint import available
from algorithms.trainer import LOOK_INTERVAL
from envs.evaluation import evaluate, evaluation_config
from envs.legged_env import LeggedEnv
from envs.tasks import all_tasks
from physics import choose_device
from robots import ROBOTS
from scripts import memory
from scripts.config import RunConfig, changes, load_config, parse, peek, save_config, to_plain
from scripts.progress import CurriculumLog, ProgressLog
from scripts.runs import (
    RunFlags,
    checkpoint_path,
    command,
    create_run_folder,
    find_run,
    load_checkpoint,
    locked,
    move_checkpoint,
    set_aside,
    set_threads,
    shipped,
)
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
        return run(lock)


def run(lock: ExitStack) -> int:
    """Train, resume or check, with the run folder in `lock`; returns the exit status."""
    flags, _ = peek(ResumeFlags(), [arg for arg in sys.argv[1:] if arg not in ("-h", "--help")])
    folder = find_run(flags) if flags.resume else None
    cfg = resume_config(folder) if folder else parse()
    validate(cfg)
    threads = set_threads(cfg.num_threads)
    device, why = choose_device(cfg.device, cfg.engine, cfg.env.robot)
    print(f"device     {device} ({why})", flush=True)
    lock.enter_context(memory.explained(cfg, device))
    state = None
    if folder:
        lock.enter_context(locked(folder))
        # a folder with a configuration and no checkpoint yet is a run that has not begun
        if flags.checkpoint >= 0 or available(folder):
            state = load_checkpoint(checkpoint_path(folder, flags.checkpoint), cfg.task, device)
    if cfg.learner == "rsl_rl":
        from scripts.rsl_rl_runner import train_rsl_rl

        return train_rsl_rl(cfg, threads)
    env = LeggedEnv(cfg.env, cfg.num_envs, cfg.engine, device, threads, cfg.seed)
    metadata = {"task": cfg.task, "recipe": cfg.recipe, "engine": env.engine_choice, "seed": cfg.seed}
    metadata["device"] = f"{device} ({why})"
    metadata["compiled"] = compiled = wants_compiling(cfg, device, state)
    if cfg.check:
        return check(cfg, env, threads, device)
    if not folder:
        folder = create_run_folder(cfg)
        lock.enter_context(locked(folder))
    evaluator = make_evaluator(cfg, device, threads)
    trainer = Trainer(env, cfg.agent, folder, cfg.seed, metadata, evaluator, cfg.graphs != "off")
    if compiled:
        env.compile()
        trainer.compile()
    if state:
        if move_checkpoint(state, device, cfg.seed):
            print("the checkpoint is from another kind of device: random numbers start anew")
        trainer.load_state_dict(state)
        if aside := set_aside(folder, trainer.iteration):
            print(f"checkpoints after iteration {trainer.iteration} now lie in {aside}")
    else:
        save_config(cfg, folder / "config.yaml")
    announce(cfg, env, threads, folder, trainer)
    if trainer.iteration >= cfg.max_iterations:
        print(f"nothing to do: {trainer.iteration} of {cfg.max_iterations} iterations are done")
        return 0
    levels = CurriculumLog(folder, env.course, trainer.iteration) if env.course else None
    with ProgressLog(folder, cfg.max_iterations, trainer.iteration) as log:

        def report(iteration: int, numbers: dict[str, float]) -> None:
            log.write(iteration, numbers)
            if levels and (iteration % LOOK_INTERVAL == 0 or iteration == cfg.max_iterations):
                levels.write(iteration)

        interrupted = trainer.train(cfg.max_iterations, report)
    if levels:
        levels.draw(env.engine.base_pos[:, :2].cpu().numpy())
    if interrupted:
        print(
            f"stopped at iteration {trainer.iteration} and saved; "
            f"go on with --resume --load_run {shlex.quote(str(folder))}"
        )
        return 130
    print(f"trained {trainer.iteration} iterations in {trainer.train_time:.0f} s: {folder}")
    print(f"watch it: python scripts/play.py --load_run {shlex.quote(str(folder))}")
    return 0


def make_evaluator(
    cfg: RunConfig, device: str, threads: int
) -> Callable[[ActorCritic], dict[str, float]] | None:
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


def validate(cfg: RunConfig) -> None:
    """Refuse what cannot work before anything long starts; ValueError with one sentence."""
    if cfg.num_envs < 1:
        raise ValueError(f"--num_envs must be at least 1, not {cfg.num_envs}")
    if cfg.max_iterations < 1:
        raise ValueError(f"--max_iterations must be at least 1, not {cfg.max_iterations}")
    if cfg.num_threads < 0:
        raise ValueError(f"--num_threads must not be negative, not {cfg.num_threads}")
    cfg.env.validate()
    cfg.agent.validate()
    samples = cfg.num_envs * cfg.agent.ppo.num_steps
    if samples < cfg.agent.ppo.num_mini_batches:
        raise ValueError(
            f"{samples} samples an iteration cannot make {cfg.agent.ppo.num_mini_batches} mini-batches; "
            "raise --num_envs"
        )
    if cfg.agent.policy.recurrent != "none" and cfg.num_envs < cfg.agent.ppo.num_mini_batches:
        raise ValueError(
            f"{cfg.num_envs} robots cannot make {cfg.agent.ppo.num_mini_batches} mini-batches of whole sequences, "
            "as a recurrent policy needs them; raise --num_envs"
        )
    device, _ = choose_device(cfg.device, cfg.engine, cfg.env.robot)
    memory.check_memory(cfg, device)


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
    """Whether torch.compile is used; a run that goes on does as before, since results differ by rounding."""
    if cfg.compile != "auto":
        return cfg.compile == "on"
    if state and "compiled" in state["metadata"]:
        return state["metadata"]["compiled"]
    return device != "cpu" and cfg.max_iterations >= WORTH_COMPILING


def announce(cfg: RunConfig, env: LeggedEnv, threads: int, folder: Path, trainer: Trainer) -> None:
    """Say what is about to happen."""
    done = trainer.iteration
    samples = (cfg.max_iterations - done) * cfg.agent.ppo.num_steps * cfg.num_envs
    print(f"task       {cfg.task} (recipe {cfg.recipe})")
    print(f"engine     {env.engine_choice}, {threads} threads")
    if trainer.graphs.on:
        pieces = ", compiled (a minute the first time)" if trainer.metadata["compiled"] else ""
        print(f"launches   CUDA graphs{pieces}")
    print(f"robots     {cfg.num_envs}")
    print(f"samples    {samples / 1e6:.1f} M in {cfg.max_iterations - done} iterations")
    print(f"run folder {folder}" + (f" (resumed at iteration {done})" if done else ""), flush=True)


def check(cfg: RunConfig, env: LeggedEnv, threads: int, device: str) -> int:
    """One rollout and one update; prints memory and expected time."""
    trainer = Trainer(env, cfg.agent, None, cfg.seed)
    env.reset(seed=cfg.seed)
    trainer.iterate()
    numbers = trainer.iterate()
    seconds = numbers["Perf/collection_time"] + numbers["Perf/learning_time"]
    print(f"task       {cfg.task} (recipe {cfg.recipe})\nengine     {env.engine_choice}, {threads} threads")
    print(f"iteration  {seconds:.2f} s, {numbers['Perf/total_fps']:.0f} env-steps/s")
    print(f"memory     {memory.report(cfg, device)}")
    print(f"expected   {seconds * cfg.max_iterations / 60:.1f} min for {cfg.max_iterations} iterations")
    return 0


if __name__ == "__main__":
    command(main)
