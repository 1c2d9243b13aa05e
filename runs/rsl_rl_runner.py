"""Training with rsl_rl's own `OnPolicyRunner`: the baseline, and a way back for users of it."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from typing import Any

import torch

from algorithms.config import LearnerConfig, PolicyConfig
from envs.legged_env import LeggedEnv
from envs.rsl_rl import RslRlVecEnv
from physics import choose_device
from runs import memory
from runs.config import RunConfig, save_config
from runs.folders import create_run_folder, tell
from runs.record import write_record
from runs.tracking import Events, begin_log
from runs.verdict import print_verdict

# rsl_rl imports GitPython, which refuses to be imported on a machine without git unless told not to.
HAS_GIT = shutil.which("git") is not None
if not HAS_GIT:
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from rsl_rl.runners import OnPolicyRunner  # noqa: E402
from rsl_rl.utils.log_writer import LogWriter  # noqa: E402

LEARNING_RATE_RANGE = (1e-5, 1e-2)
"""Bounds of the adaptive learning rate, fixed inside rsl_rl."""


def check_supported(agent: LearnerConfig) -> None:
    """ValueError with one sentence for what rsl_rl's PPO cannot do."""
    if agent.policy.symmetry != "none":
        raise ValueError(
            f"rsl_rl is run without {agent.policy.symmetry} symmetry; give --agent.policy.symmetry none or "
            "--learner trot"
        )
    if agent.policy.recurrent != "none":
        raise ValueError(
            "recurrent policies are trained by --learner trot only; give --agent.policy.recurrent none"
        )
    bounds = tuple(agent.ppo.learning_rate_range)
    if agent.ppo.schedule == "adaptive" and bounds != LEARNING_RATE_RANGE:
        raise ValueError(
            f"rsl_rl's adaptive learning rate always stays within {LEARNING_RATE_RANGE}, not {bounds}; "
            "leave --agent.ppo.learning_rate_range alone or give --learner trot"
        )
    if agent.ppo.entropy_half_life or (agent.ppo.schedule == "adaptive" and agent.ppo.kl_half_life):
        raise ValueError(
            "rsl_rl keeps desired_kl and entropy_coef constant; give --agent.ppo.kl_half_life 0 "
            "--agent.ppo.entropy_half_life 0, or --learner trot"
        )


def model_config(policy: PolicyConfig, is_actor: bool) -> dict[str, Any]:
    """Keywords (and class name) of rsl_rl's `MLPModel` for our actor or critic."""
    cfg: dict[str, Any] = {
        "class_name": "MLPModel",
        "hidden_dims": list(policy.actor_hidden if is_actor else policy.critic_hidden),
        "activation": "elu",
        "obs_normalization": policy.normalise_obs,
    }
    if is_actor:
        cfg["distribution_cfg"] = {
            "class_name": "GaussianDistribution",
            "init_std": policy.init_std,
            "std_range": list(policy.std_range),
            "std_type": "log",
        }
    return cfg


def algorithm_config(agent: LearnerConfig) -> dict[str, Any]:
    """Keywords (and class name) of rsl_rl's `PPO` for our hyper-parameters.

    One differs in meaning: rsl_rl clips the gradients of actor and critic separately, each to `max_grad_norm`.
    """
    ppo = agent.ppo
    return {
        "class_name": "PPO",
        "num_learning_epochs": ppo.num_epochs,
        "num_mini_batches": ppo.num_mini_batches,
        "clip_param": ppo.clip,
        "use_clipped_value_loss": ppo.clip_value,
        "gamma": ppo.gamma,
        "lam": ppo.lam,
        "entropy_coef": ppo.entropy_coef,
        "value_loss_coef": ppo.value_coef,
        "learning_rate": ppo.learning_rate,
        "schedule": ppo.schedule,
        "desired_kl": ppo.desired_kl,
        "max_grad_norm": ppo.max_grad_norm,
    }


class Figures(LogWriter):
    """Our loggers for rsl_rl, in place of its own writers: files stay where they are."""

    def __init__(self, events: Events):
        self._events = events

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int) -> None:
        """Take a figure; those over the time in seconds, not the iteration, are left out."""
        value = float(scalar_value)
        if not math.isnan(value) and not tag.endswith("/time"):
            self._events.write(global_step, {tag: value})

    def stop(self) -> None:
        """The training ends."""
        self._events.close()


def runner_config(
    agent: LearnerConfig, obs_groups: dict[str, list[str]], run_name: str = ""
) -> dict[str, Any]:
    """The dictionary that rsl_rl's `OnPolicyRunner` is configured with.

    Args:
        agent: our hyper-parameters.
        obs_groups: which observations actor and critic see, `RslRlVecEnv.obs_groups`.
        run_name: shown by rsl_rl's log.

    Raises:
        ValueError: something that rsl_rl cannot do.
    """
    check_supported(agent)
    return {
        "num_steps_per_env": agent.ppo.num_steps,
        "save_interval": agent.save_interval,
        "run_name": run_name,
        "logger": "tensorboard",
        "obs_groups": obs_groups,
        "actor": model_config(agent.policy, is_actor=True),
        "critic": model_config(agent.policy, is_actor=False),
        "algorithm": algorithm_config(agent),
    }


def make_runner(
    env: RslRlVecEnv, agent: LearnerConfig, seed: int, log_dir: str | None, run_name: str = ""
) -> OnPolicyRunner:
    """rsl_rl's runner with our networks and hyper-parameters, its initial weights drawn from `seed`."""
    cfg = runner_config(agent, env.obs_groups, run_name)
    torch.manual_seed(seed)
    runner = OnPolicyRunner(env, cfg, log_dir, str(env.device))
    if agent.policy.init == "orthogonal":
        for model, gain in ((runner.alg.actor, 0.01), (runner.alg.critic, 1.0)):
            model.mlp.init_weights((math.sqrt(2.0),) * (len(model.mlp) - 1) + (gain,))
    if not HAS_GIT:
        runner.logger.git_status_repos.clear()
    return runner


def train_rsl_rl(cfg: RunConfig, threads: int) -> int:
    """Train with rsl_rl; returns the exit status.

    The run folder gets `config.yaml`, and from rsl_rl its TensorBoard events and checkpoints. Those have
    rsl_rl's own format, so by default they go to an experiment of their own, `<task>_rsl_rl`.

    Args:
        cfg: the run.
        threads: threads of the physics.

    Raises:
        ValueError: something that rsl_rl cannot do.
    """
    check_supported(cfg.agent)
    device, _ = choose_device(cfg.device, cfg.engine, cfg.env.robot)
    env = RslRlVecEnv(LeggedEnv(cfg.env, cfg.num_envs, cfg.engine, device, threads, cfg.seed), seed=cfg.seed)
    if cfg.check:
        return _check(cfg, env, device)
    folder = create_run_folder(
        dataclasses.replace(cfg, experiment_name=cfg.experiment_name or f"{cfg.task}_rsl_rl")
    )
    save_config(cfg, folder / "config.yaml")
    tell(folder)
    runner = make_runner(env, cfg.agent, cfg.seed, str(folder), cfg.run_name)
    if cfg.logger == "tensorboard":  # as rsl_rl writes them
        write_record(folder, device, cfg.plugin)
    else:
        events = begin_log(cfg, folder, device)
        runner.logger.cfg["logger"] = {"class_name": lambda log_dir: Figures(events)}
    print(f"task       {cfg.task} (recipe {cfg.recipe}), trained by rsl_rl")
    print(f"engine     {env.env.engine_choice}, {threads} threads")
    print(f"run folder {folder}", flush=True)
    try:
        runner.learn(cfg.max_iterations)
    except KeyboardInterrupt:
        path = folder / f"model_{runner.current_learning_iteration}.pt"
        runner.save(str(path))
        runner.logger.stop_logging_writer()
        print(f"stopped and saved: {path}")
        print_verdict(cfg, folder, {}, cfg.max_iterations, stopped=True)
        return 130
    print(f"trained {cfg.max_iterations} iterations: {folder}")
    print_verdict(cfg, folder, {}, cfg.max_iterations)
    return 0


def _check(cfg: RunConfig, env: RslRlVecEnv, device: str) -> int:
    """Two iterations, the second of them timed."""
    runner = make_runner(env, cfg.agent, cfg.seed, None)
    runner.learn(1)
    start = time.perf_counter()
    runner.learn(1)
    seconds = time.perf_counter() - start
    samples = cfg.agent.ppo.num_steps * cfg.num_envs
    print(f"iteration  {seconds:.2f} s, {samples / seconds:.0f} env-steps/s")
    print(f"memory     {memory.report(cfg, device)}")
    print(f"expected   {seconds * cfg.max_iterations / 60:.1f} min for {cfg.max_iterations} iterations")
    return 0
