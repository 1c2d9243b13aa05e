"""Memory of a training: predicted from its configuration, measured, and what would fit where it does not."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import mujoco
import torch

from envs.config import EnvConfig
from envs.symmetry import observation_width
from physics.mjcf import load_mjcf
from runs.config import RunConfig

FLOAT = 4
"""Bytes of a number."""
FIXED = {"cpu": 0.4e9, "cuda": 1.0e9}
"""What does not grow with the robots, bytes: libraries, map, networks. Of a GPU it is an estimate."""
CGROUP = Path("/sys/fs/cgroup/memory.max")
"""A container's own limit, bytes, where it has one."""


def bytes_per_robot(cfg: RunConfig, device: str) -> dict[str, float]:
    """Memory that grows with the robots, bytes a robot, by what takes it.

    With T steps of a rollout, O and C columns of the policy's and the critic's observation, A joints, 4 bytes a
    number:

    - `env`: 2,000 numbers for physics, buffers and terms, and 8 copies of each observation; on engine `mujoco` 8 kB
      more.
    - `rollout`: T x (O + 2 A + 7, and C if it differs), and what the critic sees at 1/16 of the steps again.
    - `draw`: a robot's inertia in float64 while differences between robots are drawn: 160 (6 + A)^2 bytes.
    - `values`: of all T steps at once, the largest two neighbouring layers of the critic, and a memory's gates.
    - `update`: a mini-batch's samples, and twice what each layer of both networks gives, and a memory's gates. On a
      CPU a mini-batch goes through in chunks that do not grow; instead, the networks' inputs of all samples, two
      sets of them, where weights are tied by a mirror.

    The last three come one after another: a CPU needs the largest of them, a GPU all, since CUDA graphs keep their
    memory. The CPU's figures were measured (ANYmal, flat and rough, both recipes, both engines: 0.9 to 1.1 times the
    growth from 1,024 to 4,096 robots). On an H100 torch reserved 104 kB a robot from 4,096 to 32,768 of them (flat,
    `fast`, compiled; 114 predicted), and in all at 4,096 robots 0.53, 0.68 and 1.01 GiB (flat and rough `fast`, rough
    `reference`; 1.4, 1.5 and 1.9 predicted, the driver's own part included). `train.py --check` prints both.
    """
    agent, policy = cfg.agent, cfg.agent.policy
    joints = joint_names(cfg.env)
    obs, critic_obs = (columns(cfg.env, group, joints) for group in ("policy", "critic"))
    own = critic_obs if cfg.env.own_critic else 0
    steps, actions = agent.ppo.num_steps, len(joints)
    sample = obs + own + 2 * actions + 7
    actor, critic = (*policy.actor_hidden, actions), (*policy.critic_hidden, 1)
    memory = policy.recurrent_hidden if policy.recurrent != "none" else 0
    twice = 2 if policy.symmetry == "augmentation" else 1
    on_cpu = device == "cpu"

    layers = (max(map(sum, zip(critic, critic[1:], strict=False)), default=1)) + 8 * memory
    if on_cpu and not memory:
        update = 2.2 * steps * (obs + critic_obs) if policy.symmetry == "equivariant" else 0.0
    else:
        chunk = sample + 6 * actions + 20 + 2 * (sum(actor) + sum(critic)) + 2 * 24 * memory
        update = twice * steps / agent.ppo.num_mini_batches * chunk
    if twice == 2:  # all samples, their images, and both side by side
        update += 3 * steps * sample
    parts = {
        "env": FLOAT * (2000 + 8 * (obs + own)) + (8000 if on_cpu and cfg.engine == "mujoco" else 0),
        "rollout": FLOAT * steps * (sample + (critic_obs + 3) / 16),
        "draw": 0.0 if on_cpu and cfg.engine == "mujoco" else 160.0 * (6 + actions) ** 2,
        "values": FLOAT * steps * layers,
        "update": FLOAT * update,
    }
    if on_cpu:
        largest = max(("draw", "values", "update"), key=parts.__getitem__)
        parts = {name: parts[name] for name in ("env", "rollout", largest)}
    return parts


def joint_names(cfg: EnvConfig) -> tuple[str, ...]:
    """Hinges of the robot's MJCF, in order."""
    joints = load_mjcf(cfg.robot)[0].joints
    return tuple(joint.name for joint in joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE)


def columns(cfg: EnvConfig, group: str, joints: tuple[str, ...]) -> int:
    """Columns of the observation of `policy` or `critic`."""
    kinds = [term.mirror for term in cfg.terms_of(group).values()]
    return sum(observation_width(kind, cfg.robot, len(joints), cfg.scan.shape) for kind in kinds)


def predict(cfg: RunConfig, device: str) -> float:
    """Memory of the whole training, bytes."""
    return FIXED[device.split(":")[0]] + cfg.num_envs * sum(bytes_per_robot(cfg, device).values())


def largest_fit(cfg: RunConfig, device: str, have: float) -> int:
    """Robots that `have` bytes hold."""
    room = have - FIXED[device.split(":")[0]]
    return max(0, int(room / sum(bytes_per_robot(cfg, device).values())))


def available(device: str) -> int:
    """Memory that a training may take, bytes: what a GPU has free, all that a machine or its container has.

    Processes that torchrun started on this machine share the latter.
    """
    if device != "cpu":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no file, or `max`
        memory = min(memory, int(CGROUP.read_text()))
    return memory // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def check_memory(cfg: RunConfig, device: str, processes: int = 1) -> None:
    """ValueError with one sentence that names what would fit, if the robots, shared by processes, do not."""
    need, have = predict(replace(cfg, num_envs=cfg.num_envs // processes), device), available(device)
    if need > have:
        where = "this machine has" if device == "cpu" else "the GPU has free"
        if processes > 1:
            where = f"for each of {processes} processes, {where}"
        raise ValueError(
            f"--num_envs {cfg.num_envs} needs about {need / 2**30:.1f} GiB, {where} {have / 2**30:.1f} GiB: "
            f"at most {largest_fit(cfg, device, have) * processes} robots fit"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is exhausted, on whatever device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    signs = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def explained(cfg: RunConfig, device: str, processes: int = 1) -> Iterator[None]:
    """Turn an exhausted memory into a ValueError: one sentence that names what was asked for and what would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # the prediction, by which the robots fit, was too low: no more than half of them are promised
        fit = min(cfg.num_envs // 2, largest_fit(cfg, device, available(device)) * processes)
        raise ValueError(
            f"out of memory on {device} with --num_envs {cfg.num_envs}: about {fit} robots would fit"
        ) from error


def report(cfg: RunConfig, device: str) -> str:
    """Measured and predicted memory of the training so far, in words."""
    predicted = f"predicted {predict(cfg, device) / 2**30:.2f}"
    if device == "cpu":
        return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB ({predicted})"
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return f"{allocated / 2**30:.2f} GiB on the GPU, {reserved / 2**30:.2f} reserved ({predicted})"
