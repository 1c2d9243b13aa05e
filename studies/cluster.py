"""Programs on the machines of a Ray cluster (`experiment.py --ray`), for experiments larger than one machine.

Ray (Apache 2.0, the extra `cluster`) places each program where its cores and its share of a GPU are free. This
repository, its environment and the experiment's folder must lie on a disk that all machines share, under one path.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class ClusterPrograms:
    """`experiment.Programs` on a cluster."""

    def __init__(self, address: str, threads: int):
        """Join a cluster, or begin one on this machine.

        Args:
            address: `local`, `auto` (the one that this machine belongs to) or Ray's address.
            threads: cores of each program.

        Raises:
            ValueError: there is no Ray, or no cluster there.
        """
        try:
            import ray
        except ImportError as error:
            raise ValueError("--ray needs the package ray: pip install ray") from error
        self._ray, self._threads = ray, threads
        self._tasks: list[Any] = []
        self.stopped = False
        paths = {"env_vars": {"PYTHONPATH": str(ROOT)}}
        try:
            ray.init(None if address == "local" else address, log_to_driver=False, runtime_env=paths)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f"no Ray cluster at {address!r}: begin one with `ray start --head`") from error

    def call(self, args: list[str], log: Path, gpus: float = 0.0) -> int:
        """Run a program to its end where there is room, its output appended to `log`; returns its exit status.

        Raises:
            ValueError: no machine of the cluster is large enough.
        """
        total = self._ray.cluster_resources()
        for what, need, have in (
            ("cores", self._threads, total.get("CPU", 0.0)),
            ("GPUs", gpus, total.get("GPU", 0.0)),
        ):
            if need > have:
                raise ValueError(f"a run asks for {need:g} {what}, the whole cluster has {have:g}")
        if self.stopped:
            return 130
        task = self._ray.remote(_run).options(num_cpus=self._threads, num_gpus=gpus, max_retries=0)
        reference = task.remote(args, str(log.resolve()), str(Path.cwd()))
        self._tasks.append(reference)
        try:
            return self._ray.get(reference)
        except (self._ray.exceptions.TaskCancelledError, self._ray.exceptions.RayTaskError):
            return 130
        except self._ray.exceptions.RayError:  # its machine went away
            return 1

    def stop(self) -> None:
        """Ask all to end (a training writes its checkpoint first), and start no more."""
        self.stopped = True
        for task in self._tasks:
            self._ray.cancel(task)


def _run(args: list[str], log: str, folder: str) -> int:
    """On one of the machines."""
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(args)}\n".encode())
        file.flush()
        child = subprocess.Popen(
            [sys.executable, *args[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            while (status := child.poll()) is None:  # `wait` would not hear of a cancellation
                time.sleep(0.2)
            return status
        except KeyboardInterrupt:  # cancelled
            child.terminate()
            child.wait()
            raise
