"""ANYmal C follows velocity commands over slopes, rubble and stairs, which it sees as a height scan.

Values are the reference method's (code column, rough task; Rudin et al. 2021).
"""

from __future__ import annotations

import math

from envs import observations as obs
from envs.config import EnvConfig, ObservationTerm
from envs.targets import ROUGH
from envs.tasks import Recipe, Task, anymal_c_flat, for_gpu


def reference() -> EnvConfig:
    """The task with the published values."""
    cfg = on_rough_ground(anymal_c_flat.reference())
    cfg.commands.judge_next_heading = True
    return cfg


def on_rough_ground(cfg: EnvConfig) -> EnvConfig:
    """What the reference changes of a flat task; returns the same object."""
    cfg.terrain.type = "tiles"
    cfg.curriculum.strategy = "game"
    cfg.observations["height_scan"] = ObservationTerm(obs.height_scan, (5.0,), 0.1, "scan")
    cfg.commands.heading = True
    cfg.commands.ang_vel_yaw = (-1.0, 1.0)
    cfg.commands.resampling_time = 10.0
    for name, weight in {"orientation": 0.0, "torques": -1e-5, "feet_air_time": 1.0}.items():
        cfg.rewards[name].weight = weight
    cfg.rewards["feet_contact_forces"].params["max_force"] = 500.0
    return cfg


def fast() -> EnvConfig:
    """The flat task's balance of rewards, a fair curriculum that begins on its first levels.

    A robot that may tilt as it likes goes down steep stairs nose first until it tumbles. One that may move its joints
    as fast as it likes climbs by slamming its feet down at 9 m/s, faster than its drives can and than physics steps
    of 5 ms resolve. The reference's look-up of heights leans to one side, which a mirrored network cannot know.
    """
    cfg = on_rough_ground(anymal_c_flat.fast())
    cfg.curriculum.strategy = "fair"
    cfg.curriculum.max_initial_level = 1
    cfg.scan.lookup = "bilinear"
    cfg.init.yaw = math.pi
    cfg.commands.resampling_time = 5.0
    cfg.commands.lin_vel_x = cfg.commands.lin_vel_y = (-1.0, 1.0)  # faster ones delay stairs down
    cfg.rewards["orientation"].weight = -1.5
    cfg.rewards["dof_vel_limits"].weight = -1.0
    cfg.rewards["feet_air_time"].weight = 2.5
    return cfg


# Exploring finds steps up sooner; its reward fades at the end, when the policy learns to do without its noise.
LEARNER = anymal_c_flat.LEARNER | {"ppo": anymal_c_flat.LEARNER["ppo"] | {"num_epochs": 4}}
FADING = {"entropy_half_life": 615, "entropy_hold": 4900}

FAST = Recipe(
    env=fast,
    agent=anymal_c_flat.eager(LEARNER | {"ppo": LEARNER["ppo"] | FADING}, kl_half_life=4000),
    num_envs=1024,
    max_iterations=8000,
)


def tall() -> EnvConfig:
    """`fast` with steps of up to 0.28 m: at a curriculum's end robots are fewest, and 0.25 m is asked of them."""
    cfg = fast()
    for shape in ("stairs_up", "stairs_down", "obstacles"):
        cfg.terrain.parameters[shape]["height"] = (0.05, 0.28)
    return cfg


# Twice as wide costs a GPU little. Updates end up a fourth as large as they began: the last policy is a settled one.
WIDE = Recipe(
    env=tall,
    agent=LEARNER
    | {
        "policy": LEARNER["policy"] | {"actor_hidden": (256, 128, 64), "critic_hidden": (256, 128, 64)},
        "ppo": LEARNER["ppo"] | {"kl_half_life": 700, "entropy_half_life": 100, "entropy_hold": 800},
    },
)

TASKS = (
    Task(
        name="anymal_c_rough",
        recipes={
            "fast": FAST,
            "gpu": for_gpu(WIDE, max_iterations=1300, save_interval=325),
            "reference": Recipe(
                env=reference,
                agent={
                    "policy": {"actor_hidden": (512, 256, 128), "critic_hidden": (512, 256, 128)},
                },
                num_envs=4096,
                max_iterations=1500,
            ),
        },
        gym_id="Trot/AnymalCRough-v0",
        targets=ROUGH,
        samples_needed={"gpu": 49.2e6},
    ),
)
