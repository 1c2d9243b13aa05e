"""scripts/train.py under torchrun: shared robots, refusals, restarts, stopping, and going on with fewer."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from algorithms import checkpoint
from algorithms.distributed import Ranks
from runs.command import set_threads
from runs.config import parse
from runs.memory import available, check_memory
from runs.resume import load_own_checkpoint, remember, remembered, set_aside
from scripts.train import validate

ROOT = Path(__file__).resolve().parents[2]
TRAIN = str(ROOT / "scripts" / "train.py")
SMALL = [
    "--num_envs", "16", "--agent.ppo.num_steps", "6", "--agent.save_interval", "3", "--agent.eval_envs", "4",
    "--agent.eval_seconds", "0.2", "--device", "cpu",
]  # fmt: skip


def torchrun(*flags: str, restarts: int = 0) -> list[str]:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return [*run, "--max_restarts", str(restarts), TRAIN, *SMALL, *flags]


def call(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, timeout=300
    )


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def end_what_was_started() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:  # a test failed
            process.terminate()
            process.communicate()


def start(log_dir: Path, *flags: str, restarts: int = 0) -> subprocess.Popen[str]:
    command = torchrun("--log_dir", str(log_dir), *flags, restarts=restarts)
    STARTED.append(
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    )
    return STARTED[-1]


def wait_for(process: subprocess.Popen[str], log_dir: Path, name: str) -> None:
    deadline = time.monotonic() + 120
    while not list(log_dir.glob(f"*/*/{name}")):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended by itself"
        time.sleep(0.05)


def worker(process: subprocess.Popen[str], rank: int) -> int:
    """Process id of one of torchrun's workers, 0 if it is another's."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    environments = {int(pid): Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in children}
    return next((pid for pid, entries in environments.items() if f"RANK={rank}" in entries), 0)


# ---------------------------------------------------------------------- what is decided before anything starts


def test_robots_that_cannot_be_shared_are_refused() -> None:
    cfg = parse(["--num_envs", "4095", "--device", "cpu"])
    validate(cfg)
    with pytest.raises(ValueError, match="8 processes cannot share --num_envs 4095 equally; .* is 4096"):
        validate(cfg, 8)
    with pytest.raises(ValueError, match="3 processes cannot share --num_envs 1 equally; .* is 3"):
        validate(parse(["--num_envs", "1", "--device", "cpu"]), 3)
    with pytest.raises(ValueError, match="rsl_rl trains in one process, not 2"):
        validate(parse(["--num_envs", "4", "--learner", "rsl_rl", "--device", "cpu"]), 2)
    few = ["--num_envs", "4", "--agent.policy.recurrent", "gru", "--agent.ppo.num_mini_batches", "4"]
    with pytest.raises(ValueError, match="2 robots of each process cannot make 4 mini-batches"):
        validate(parse([*few, "--device", "cpu"]), 2)


def test_processes_on_a_machine_share_its_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, memory, threads = parse(["--num_envs", "10000000"]), available("cpu"), torch.get_num_threads()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    assert available("cpu") == memory // 2
    try:
        assert set_threads(0) == 3 and set_threads(5) == 5
    finally:
        torch.set_num_threads(threads)
    with pytest.raises(ValueError, match="GiB, for each of 2 processes, this machine has") as refused:
        check_memory(cfg, "cpu", 2)
    cfg.num_envs = int(str(refused.value).split("at most ")[1].split()[0])
    assert cfg.num_envs % 2 == 0
    check_memory(cfg, "cpu", 2)


def test_a_restarted_process_finds_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    remember(tmp_path)
    assert remembered() is None, "not without torchrun"
    for attempt, local_rank in (("attempt_0", "1"), ("attempt_0", "0"), ("attempt_1", "1")):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / f"x/{attempt}/{local_rank}/error.json"))
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        if attempt == "attempt_0":
            (tmp_path / "x").mkdir(exist_ok=True)
            assert remembered() is None
            remember(tmp_path / "run")
    assert remembered() == tmp_path / "run"


def test_parts_of_a_checkpoint_stay_together(tmp_path: Path) -> None:
    metadata = {"task": "anymal_c_flat"}
    for iteration in (3, 6):
        path = tmp_path / f"model_{iteration}.pt"
        content = {"metadata": metadata, "policy": {}, "ranks": 2, "iteration": iteration, "env": 0}
        checkpoint.save(path, content)
        checkpoint.save(checkpoint.part(path, 1), {"env": 1})

    def env(rank: int, size: int) -> int:
        path = tmp_path / "model_3.pt"
        return load_own_checkpoint(path, "anymal_c_flat", "cpu", Ranks(rank, size))["env"]

    assert [env(0, 2), env(1, 2), env(0, 1), env(2, 3)] == [0, 1, 0, 0]
    aside = set_aside(tmp_path, 3)
    assert aside and {path.name for path in aside.iterdir()} == {"model_6.pt", "model_6.rank1.pt"}
    checkpoint.part(tmp_path / "model_3.pt", 1).unlink()
    with pytest.raises(ValueError, match="model_3.rank1.pt does not exist"):
        env(1, 2)


# ---------------------------------------------------------------------- through torchrun


@pytest.mark.slow
def test_a_refusal_is_one_sentence(tmp_path: Path) -> None:
    result = call(torchrun("--num_envs", "15", "--log_dir", str(tmp_path)))
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("train.py:")]
    assert lines == ["train.py: 2 processes cannot share --num_envs 15 equally; the nearest they can is 16"]
    assert result.stdout == "" and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_check_works(tmp_path: Path) -> None:
    result = call(torchrun("--check", "--log_dir", str(tmp_path)))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("memory") == 1 and "in each of 2 processes" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_processes_start_again_and_come_to_the_same_end(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = call(torchrun("--max_iterations", "60", "--log_dir", str(whole)))
    assert result.returncode == 0, result.stderr
    assert "robots     16 (8 in each of 2 processes)" in result.stdout
    assert result.stdout.count("run folder") == 1, "one process speaks"

    process = start(killed, "--max_iterations", "60", restarts=3)
    for rank, name in ((1, "model_6.pt"), (0, "model_18.pt")):
        wait_for(process, killed, name)
        os.kill(worker(process, rank), signal.SIGKILL)
        time.sleep(1.0)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert output.count("(resumed at iteration") == 2 and "trained 60 iterations" in output
    (folder,) = killed.glob("*/*")
    (other,) = whole.glob("*/*")
    ends = [checkpoint.load(run / "model_60.pt") for run in (other, folder)]
    for name, value in ends[0]["policy"].items():
        assert torch.equal(value, ends[1]["policy"][name]), name
    parts = [checkpoint.load(run / "model_60.rank1.pt") for run in (other, folder)]
    for name, value in parts[0]["env"]["engine"].items():
        assert torch.equal(value, parts[1]["env"]["engine"][name]), name
    with (folder / "progress.csv").open(newline="") as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == list(range(1, 61))


@pytest.mark.slow
def test_two_machines_go_on_when_a_process_of_one_is_killed(tmp_path: Path) -> None:
    """Two torchruns, as on two machines."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    meet = ["--rdzv_backend", "c10d", "--rdzv_endpoint", place, "--rdzv_id", "7", "--max_restarts", "3"]
    train = [
        TRAIN,
        *SMALL,
        "--max_iterations",
        "45",
        "--num_threads",
        "1",
        "--log_dir",
        str(tmp_path / "logs"),
    ]
    machines: list[subprocess.Popen[str]] = []
    for number in range(2):
        with (tmp_path / f"output_{number}").open("w") as output:
            command = [*run, *meet, *train]
            machines.append(
                subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True)
            )
    STARTED.extend(machines)
    wait_for(machines[0], tmp_path / "logs", "model_6.pt")
    os.kill(max(worker(machine, 1) for machine in machines), signal.SIGKILL)
    ends = [machine.wait(timeout=200) for machine in machines]
    text = "".join((tmp_path / f"output_{number}").read_text() for number in range(2))
    assert ends == [0, 0], text
    assert text.count("(resumed at iteration") == 1 and text.count("trained 45 iterations") == 1
    (folder,) = (tmp_path / "logs").glob("*/*")
    assert (folder / "model_45.pt").is_file() and (folder / "model_45.rank1.pt").is_file()


@pytest.mark.slow
def test_a_run_that_broke_off_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    folder, launch = tmp_path / "logs" / "task" / "run", tmp_path / "launch"
    folder.mkdir(parents=True)
    launch.mkdir()
    (launch / "trot_run_folder").write_text(str(folder))
    command = [sys.executable, TRAIN, *SMALL, "--max_iterations", "2", "--log_dir", str(tmp_path / "logs")]
    result = call(
        command, TORCHELASTIC_ERROR_FILE=str(launch / "attempt_1" / "0" / "error.json"), LOCAL_RANK="0"
    )
    assert result.returncode == 0, result.stderr
    assert str(folder) in result.stdout and "resumed" not in result.stdout
    assert list(checkpoint.available(folder)) == [0, 2]
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["task"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_fewer_processes_go_on(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "--max_iterations", "100000", "--task", "anymal_c_rough")
    wait_for(process, tmp_path, "model_12.pt")
    process.send_signal(number)
    output, _ = process.communicate(timeout=100)
    (folder,) = tmp_path.glob("*/*")
    last = list(checkpoint.available(folder))[-1]
    assert f"stopped at iteration {last} and saved" in output
    assert (folder / f"model_{last}.rank1.pt").is_file()
    with (folder / "curriculum.csv").open(newline="") as file:
        robots = [int(row["robots"]) for row in csv.DictReader(file) if row["iteration"] == "10"]
    assert sum(robots) == 16, "of both processes"
    end = ["--max_iterations", str(last + 2), "--log_dir", str(tmp_path)]
    result = call([sys.executable, TRAIN, "--resume", *end])
    assert result.returncode == 0, result.stderr
    sentence = "the checkpoint is of 2 processes, not 1: robots start anew, on the levels they had reached"
    assert sentence in result.stdout.splitlines()
    assert list(checkpoint.available(folder))[-1] == last + 2
