"""Fit an actuator network to logs of a drive: `python scripts/train_actuator_net.py --out robots/my_drive.pt`.

Without `--data` the logs come from a model of a series-elastic drive (envs/drives/series_elastic.py).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

from envs.drives.actuator_fit import (
    FitConfig,
    check_logs,
    fit,
    made_up_logs,
    pd_rms_error,
    read_logs,
    rms_error,
    split,
)
from envs.drives.actuator_net import save_net
from envs.drives.series_elastic import KINDS
from robots import ROBOTS
from robots.config import nearest
from runs.command import check_output, command, set_threads, typed
from runs.flags import parse_flags


@dataclass
class Flags:
    """Fit an actuator network and compare it with an ideal PD drive."""

    out: str = "actuator.pt"
    """File to write: TorchScript with metadata."""
    data: str = ""
    """Logs, NPZ or CSV, with position_error (rad), velocity (rad/s), torque (N m); empty for made-up ones."""
    test_data: str = ""
    """Logs to judge by; empty for the last fifth of `data`, or a made-up excitation of another kind and seed."""
    robot: str = "anymal_c"
    """Robot whose gains the ideal PD drive has."""
    drives: int = 256
    """Made-up logs: drives per kind of excitation."""
    seconds: float = 2.0
    """Made-up logs: length, s."""
    num_threads: int = 1
    """Threads of torch, 0 for one per core."""
    fit: FitConfig = field(default_factory=FitConfig)


def main() -> int:
    """Fit, judge and save; returns the exit status."""
    flags = parse_flags(Flags())
    if flags.robot not in ROBOTS:
        raise ValueError(
            f"unknown robot {flags.robot!r}; choose from {', '.join(ROBOTS)}.{nearest(flags.robot, list(ROBOTS))}"
        )
    if min(flags.drives, flags.fit.hidden, flags.fit.layers, flags.fit.updates) < 1 or flags.seconds <= 0:
        raise ValueError("--drives, --seconds, --fit.hidden, --fit.layers and --fit.updates must be positive")
    check_output(Path(flags.out), "--out")
    set_threads(flags.num_threads)
    start = time.perf_counter()
    if flags.data:
        logs = read_logs(Path(flags.data))
        logs, test = (logs, read_logs(Path(flags.test_data))) if flags.test_data else split(logs)
        held_out = flags.test_data or "the last fifth of each sequence"
    else:
        # the last kind is never trained on
        logs = made_up_logs(KINDS[:-1], flags.drives, flags.seconds, flags.fit.seed)
        test = made_up_logs(KINDS[-1:], flags.drives, flags.seconds, flags.fit.seed + 1000)
        held_out = f"made-up {KINDS[-1]}"
    check_logs(test, f"logs to judge by ({held_out})")
    print(f"logs       {logs.torque.shape[0]} x {logs.torque.shape[1]} samples of {logs.timestep:g} s")
    net = fit(logs, flags.fit)
    robot = ROBOTS[flags.robot]
    gains = (next(iter(x.values())) for x in (robot.stiffness, robot.damping, robot.effort_limit))
    ours, ideal = rms_error(net, test), pd_rms_error(test, *gains)
    verdict = f"RMS torque error on {held_out}: {ours:.2f} N m; of an ideal PD drive: {ideal:.2f} N m"
    net.info.made_by = f"python scripts/train_actuator_net.py {' '.join(sys.argv[1:])}; {verdict}"
    save_net(net.module, net.info, Path(flags.out))
    print(f"fitted in  {time.perf_counter() - start:.0f} s\nheld out   {verdict}\nsaved      {flags.out}")
    print(f"use it     {typed('train')} --env.actuator net --env.drive.net {flags.out}")
    return 0


if __name__ == "__main__":
    command(main)
