"""Compare ways to train: `python scripts/experiment.py --experiment curriculum --jobs 2`.

Trains every variant with every seed, tests what came out, and writes one report. Run again after an interruption, it
goes on where it was.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

from evaluation.terrain import check_shapes
from runs.command import command, typed
from runs.flags import parse_flags, refuse
from runs.plugins import load_more
from studies.report import write_report
from studies.running import Flags, run_all, train_command
from studies.study import Experiment, get_experiment, make_runs, prepare


def main() -> int:
    """Prepare, train, test and report; returns the exit status."""
    flags = parse_flags(Flags())
    flags.plugin = load_more(flags.plugin)
    experiment = changed(get_experiment(flags.experiment, flags.batch), flags)
    validate(flags)
    folder = Path(flags.folder or Path("experiments") / experiment.name)
    # other machines train, which may have what this one lacks
    elsewhere = flags.prepare or flags.report or flags.ray
    runs = make_runs(experiment, folder, flags.threads, here=not elsewhere)
    if not flags.report:
        for run in runs:
            prepare(run)
    if flags.prepare:
        for run in runs:
            print(shlex.join(train_command(run)))
        return 0
    outcome = 0 if flags.report else run_all(experiment, runs, folder, flags)
    if outcome == 130:
        print("stopped; the same command goes on from here")
        return outcome
    asked = f"{typed('experiment')} {shlex.join(sys.argv[1:])}"
    print(f"report: {write_report(experiment, runs, folder, asked, flags)}")
    return outcome


def changed(experiment: Experiment, flags: Flags) -> Experiment:
    """The experiment with what the flags say; ValueError for a flag that every variant overrules."""
    experiment.seeds = flags.seeds or experiment.seeds
    experiment.plugin = tuple(dict.fromkeys([*experiment.plugin, *flags.plugin]))
    for name in ("task", "num_envs", "max_iterations", "device"):
        value = getattr(flags, name)
        if not value:
            continue
        if any(name in values for values in experiment.variants.values()):
            raise ValueError(f"--{name} {value}: the variants of {experiment.name} have values of their own")
        experiment.common[name] = value
    return experiment


def validate(flags: Flags) -> None:
    """ValueError with one sentence for values that cannot work."""
    for name, least in (("jobs", 0), ("threads", 1), ("robots", 2), ("num_envs", 0), ("max_iterations", 0)):
        if getattr(flags, name) < least:
            raise ValueError(f"--{name} must be at least {least}, not {getattr(flags, name)}")
    check_shapes(flags.shapes)
    if flags.experiment != "batch":
        refuse(flags, "needs --experiment batch", "batch")
    if not flags.evaluate:
        refuse(flags, "is for the tests, which --no-evaluate leaves out", "robots")


if __name__ == "__main__":
    command(main)
