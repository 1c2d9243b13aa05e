"""Train a policy: `python scripts/train.py --task anymal_c_flat --num_envs 4096`.

On several GPUs or machines: `torchrun --nproc_per_node 8 scripts/train.py ...`, see algorithms/distributed.py.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

# Idle torch threads give way soon: beside another program, spinning ones slow a run down fivefold.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from algorithms.checkpoint import available
from algorithms.distributed import Ranks, connected
from envs.legged_env import LeggedEnv
from physics import choose_device
from runs import memory
from runs.choices import show_choices
from runs.command import command, set_threads
from runs.config import parse, save_config
from runs.folders import checkpoint_path, create_run_folder, find_run, initial_weights, locked
from runs.resume import (
    asked_to_resume,
    go_on,
    load_own_checkpoint,
    more_than_done,
    remember,
    remembered,
    resume_config,
    settle,
)
from runs.tracking import begin_log
from runs.training import (
    announce,
    check,
    make_evaluator,
    make_trainer,
    nothing_to_do,
    train,
    validate,
    wants_compiling,
)
from runs.watching import watched


def main() -> int:
    """Train, resume, check or list; returns the exit status."""
    if "--list" in sys.argv:
        return show_choices(sys.argv[1:])
    with ExitStack() as lock:
        ranks = lock.enter_context(connected())
        return run(lock, ranks)


def run(lock: ExitStack, ranks: Ranks) -> int:
    """Train, resume or check, with the run folder in `lock`; returns the exit status."""
    interrupted = ranks.agree(remembered())  # torchrun started these processes in place of others
    with ranks.together():
        flags = asked_to_resume()
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
    if flags.more_iterations:  # all of them, whatever the run was told before
        cfg.max_iterations, cfg.until_solved = more_than_done(flags, state, interrupted), flags.until_solved
    if cfg.learner == "rsl_rl":
        from runs.rsl_rl_runner import train_rsl_rl

        return train_rsl_rl(cfg, threads)
    with ranks.together():
        robots = cfg.num_envs // ranks.size
        env = LeggedEnv(cfg.env, robots, cfg.engine, device, threads, ranks.seed(cfg.seed))
    metadata = {"task": cfg.task, "recipe": cfg.recipe, "engine": env.engine_choice, "seed": cfg.seed}
    metadata |= {"device": f"{device} ({why})", "threads": threads}
    metadata["compiled"] = compiled = wants_compiling(cfg, device, state)
    if cfg.check:
        return check(cfg, env, threads, device, compiled, ranks)
    with ranks.together():
        weights = initial_weights(cfg, env) if cfg.init_from and not state else None
        if ranks.first and not folder:
            folder = create_run_folder(cfg)
            lock.enter_context(locked(folder))
    folder = ranks.agree(folder)
    with ranks.together():
        if not folder or not folder.is_dir():
            raise ValueError(f"--log_dir {cfg.log_dir} must be on a disk that all machines share")
        evaluator = make_evaluator(cfg, device, threads) if ranks.first else None
        trainer = make_trainer(cfg, env, folder, metadata, evaluator, compiled, ranks, weights)
    if state:
        with ranks.together():
            go_on(trainer, state, device, ranks)
    if ranks.first and not state:
        save_config(cfg, folder / "config.yaml")
    if ends := nothing_to_do(cfg, trainer, bool(flags.more_iterations)):
        ranks.say(ends)
        return 0
    if ranks.first:
        announce(cfg, env, threads, folder, trainer)
    if not state:
        remember(folder)
    with ranks.together():
        events = begin_log(cfg, folder, device, trainer.iteration) if ranks.first else None
    with watched(cfg, trainer, env, folder):
        with ranks.together():
            if state and ranks.first:
                settle(cfg, folder, trainer.iteration)
        remember(folder)  # one that goes on no sooner: until now --checkpoint says where it does
        return train(trainer, env, folder, cfg, events)


if __name__ == "__main__":
    command(main)
