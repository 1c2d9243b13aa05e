"""The runs of an experiment trained and tested side by side, each by programs of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from algorithms.checkpoint import available
from evaluation.terrain import PAPER
from physics import choose_device
from runs.folders import locked
from studies.cluster import ClusterPrograms
from studies.results import read_tests
from studies.study import BATCH, Experiment, StudyRun

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@dataclass
class Flags:
    """Run an experiment: variants x seeds, each an ordinary run of scripts/train.py."""

    experiment: str = "curriculum"
    """curriculum, batch (robots x steps at one number of samples an update), or a YAML file."""
    folder: str = ""
    """Where everything goes; empty for experiments/<name>."""
    task: str = ""
    """Task, if not the experiment's own."""
    seeds: tuple[int, ...] = ()
    """Seeds, if not the experiment's own."""
    num_envs: int = 0
    """Robots of every run; 0 for the experiment's own."""
    max_iterations: int = 0
    """Policy updates of every run; 0 for the experiment's own."""
    batch: int = BATCH
    """batch: samples an update, robots x steps."""
    device: str = ""
    """auto, cpu, cuda or cuda:N; empty for the experiment's own, which is auto unless it says otherwise."""
    jobs: int = 0
    """Runs at a time; 0 for as many as the cores allow, or one on a GPU."""
    threads: int = 1
    """Threads of each run."""
    ray: str = ""
    """Run on a Ray cluster: local, auto or its address. Runs ask for `threads` cores, and for the `gpus` that the
    experiment or the variant declares (0.5: half of one)."""
    evaluate: bool = True
    """Test each trained run: success on kinds of terrain (tasks on a map) and classes of commands."""
    robots: int = 100
    """Robots for each kind and difficulty of terrain, and each class of commands, in those tests."""
    shapes: tuple[str, ...] = PAPER
    """Kinds of terrain that are tested."""
    prepare: bool = False
    """Make the run folders, print the command that trains each, one a line for a cluster's scheduler, and stop."""
    plugin: tuple[str, ...] = ()
    """Files or packages of your own with tasks, robots, terrains or curricula."""
    report: bool = False
    """Only write the report, of what there is."""


class Programs:
    """Programs that run side by side and can be stopped together."""

    def __init__(self, lock: int | None = None):
        """`lock`: a file descriptor that every program holds open."""
        self._children: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._lock = lock
        self.stopped = False

    def call(self, args: list[str], log: Path, gpus: float = 0.0) -> int:
        """Run a program to its end, its output appended to `log`; returns its exit status. `gpus` are a cluster's."""
        with log.open("ab") as file:
            with self._guard:
                if self.stopped:
                    return 130
                file.write(f"$ {shlex.join(args)}\n".encode())
                file.flush()
                child = subprocess.Popen(
                    args,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    pass_fds=() if self._lock is None else (self._lock,),
                )
                self._children.add(child)
            code = child.wait()
            with self._guard:
                self._children.discard(child)
        return code

    def stop(self) -> None:
        """Ask all to end (a training writes its checkpoint first), and start no more."""
        with self._guard:
            self.stopped = True
            for child in self._children:
                child.terminate()


def run_all(experiment: Experiment, runs: list[StudyRun], folder: Path, flags: Flags) -> int:
    """Do what is left of every run; returns 0, 1 if one failed, or 130 if Ctrl-C (or SIGTERM) ended it.

    Raises:
        ValueError: another program is at work in the folder.
    """
    samples = sum(r.cfg.num_envs * r.cfg.agent.ppo.num_steps * r.cfg.max_iterations for r in runs)
    jobs = min(flags.jobs or (len(runs) if flags.ray else default_jobs(runs, flags.threads)), len(runs))
    print(f"experiment {experiment.name}: {len(runs)} runs, {samples / 1e6:,.1f} M samples in all")
    if flags.ray:
        print(f"cluster    {flags.ray}")
    else:
        device, why = choose_device(runs[0].cfg.device, runs[0].cfg.engine, runs[0].cfg.env.robot)
        print(f"device     {device} ({why})")
    print(f"folder     {folder}, {jobs} runs at a time, {flags.threads} threads each", flush=True)
    with locked(folder) as lock:
        programs = ClusterPrograms(flags.ray, flags.threads) if flags.ray else Programs(lock.fileno())
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            with ThreadPoolExecutor(jobs) as executor:
                futures = [executor.submit(finish, run, programs, flags) for run in runs]
                try:
                    done = [future.result() for future in futures]
                except BaseException:
                    programs.stop()
                    raise
        except KeyboardInterrupt:
            return 130
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0 if all(done) else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def default_jobs(runs: list[StudyRun], threads: int) -> int:
    """Runs at a time that keep the cores busy; one if a GPU does the work."""
    if any(choose_device(run.cfg.device, run.cfg.engine)[0] != "cpu" for run in runs):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def finish(run: StudyRun, programs: Programs | ClusterPrograms, flags: Flags) -> bool:
    """Train and test a run as far as that is left to do; returns whether it succeeded."""
    for what, is_done, make in (("trained", is_trained, train_command), ("tested", is_tested, test_command)):
        if is_done(run, flags):
            continue
        start = time.perf_counter()
        code = programs.call(make(run, flags), run.log, run.gpus)
        if programs.stopped:
            return False
        if code:
            lines = run.log.read_text(errors="replace").splitlines()
            print(f"{run.name} could not be {what} (status {code}, see {run.log}): {lines[-1]}", flush=True)
            return False
        print(f"{run.name} {what} in {time.perf_counter() - start:.0f} s", flush=True)
    return True


def is_trained(run: StudyRun, flags: Flags) -> bool:
    """Whether all iterations are done."""
    return max(available(run.folder), default=-1) >= run.cfg.max_iterations


def is_tested(run: StudyRun, flags: Flags) -> bool:
    """Whether the results of these tests, of the last checkpoint, are there, or not wanted."""
    if not flags.evaluate:
        return True
    cells, classes = read_tests(run, flags.shapes)
    counts = {item["robots"] for item in (*classes, *cells)}
    return bool(classes) and counts == {flags.robots} and (not run.on_map or bool(cells))


def train_command(run: StudyRun, flags: Flags | None = None) -> list[str]:
    """Begins or continues a run."""
    cfg = run.cfg
    return [
        *(sys.executable, str(SCRIPTS / "train.py"), "--task", cfg.task),
        *("--resume", "--load_run", str(run.folder), "--max_iterations", str(cfg.max_iterations)),
        *("--device", cfg.device, "--engine", cfg.engine, "--num_threads", str(cfg.num_threads)),
    ]


def test_command(run: StudyRun, flags: Flags) -> list[str]:
    """Tests a run's last checkpoint, once it is trained."""
    last = max([*available(run.folder), run.cfg.max_iterations])
    args = [sys.executable, str(SCRIPTS / "evaluate.py"), "--task", run.cfg.task]
    args += ["--load_run", str(run.folder), "--checkpoint", str(last), "--commands"]
    if run.on_map:
        args += ["--terrain", "--shapes", *flags.shapes]
    args += ["--robots", str(flags.robots), "--num_threads", str(flags.threads)]
    return [*args, "--device", run.cfg.device]
