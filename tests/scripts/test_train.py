"""scripts/train.py as a user meets it: flags, run folders, bad input."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from algorithms import checkpoint
from runs.config import default_config, load_config, parse, save_config

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--num_envs", "8", "--max_iterations", "2", "--num_threads", "1", "--agent.eval_envs", "0"]


def train(*flags: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log folder with one tiny trained run."""
    logs = tmp_path_factory.mktemp("logs")
    result = train(*SMALL, "--log_dir", str(logs), "--run_name", "tiny", "--headless")
    assert result.returncode == 0, result.stderr
    return logs


def test_a_run_leaves_configuration_log_events_and_checkpoints(trained: Path) -> None:
    (folder,) = (trained / "anymal_c_flat").iterdir()
    assert folder.name.endswith("_tiny")
    assert {"config.yaml", "progress.csv", "model_0.pt", "model_2.pt"} <= {p.name for p in folder.iterdir()}
    assert list(folder.glob("events.out.tfevents.*"))
    rows = list(csv.DictReader((folder / "progress.csv").open()))
    assert [row["iteration"] for row in rows] == ["1", "2"]
    for name in ("Train/mean_reward", "Train/lin_vel_error", "Episode/rew_tracking_lin_vel", "Loss/kl"):
        assert name in rows[0]
    assert (
        float(rows[1]["Perf/samples"])
        == 2 * 8 * yaml.safe_load((folder / "config.yaml").read_text())["agent"]["ppo"]["num_steps"]
    )


def test_it_says_what_it_is_about_to_do(tmp_path: Path) -> None:
    result = train(*SMALL, "--log_dir", str(tmp_path))
    for word in ("task", "engine", "device", "robots", "samples", "run folder", "batched"):
        assert word in result.stdout
    device = "cuda (" if torch.cuda.is_available() else "cpu (no CUDA device)"
    assert result.stdout.startswith(f"device     {device}")
    (path,) = tmp_path.glob("*/*/config.yaml")
    assert load_config(path).device == "auto", "it goes on wherever it is"


def test_check_builds_everything_and_writes_nothing(tmp_path: Path) -> None:
    result = train(*SMALL, "--check", "--log_dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "memory" in result.stdout and "predicted" in result.stdout and "expected" in result.stdout
    assert not list(tmp_path.iterdir())


def test_the_saved_configuration_reads_back_the_same(tmp_path: Path) -> None:
    flags = ["--env.observations.base_lin_vel.group", "critic", "--agent.policy.recurrent", "gru"]
    cfg = parse(["--env.commands.lin-vel-x", "-1.5", "1.5", "--env.rewards.torques.weight", "-1e-5", *flags])
    assert cfg.env.own_critic and list(cfg.env.terms_of("policy"))[0] == "base_ang_vel"
    save_config(cfg, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == cfg
    assert cfg.env.commands.lin_vel_x == (-1.5, 1.5)
    assert cfg.env.rewards["torques"].weight == -1e-5


def test_every_field_is_a_flag_with_underscores_or_hyphens() -> None:
    assert parse(["--num-envs", "7"]).num_envs == parse(["--num_envs", "7"]).num_envs == 7
    assert parse(["--agent.ppo.num_epochs", "9"]).agent.ppo.num_epochs == 9
    assert parse(["--sim_device", "cuda:0"]).device == "cuda:0"
    assert parse(["--recipe", "reference"]).env == default_config("anymal_c_flat", "reference").env


def test_a_configuration_with_an_unknown_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    save_config(parse([]), path)
    plain = yaml.safe_load(path.read_text())
    plain["env"]["comands"] = {}
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(ValueError, match="env.comands.*commands"):
        load_config(path)
    path.write_text("task: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--task", "anymal_c_flt"], ["unknown task", "anymal_c_flat"]),
        (["--recipe", "referenc"], ["no recipe", "reference"]),
        (["--engine", "mujco"], ["unknown engine", "mujoco"]),
        (["--device", "gpu"], ["unknown device", "cpu"]),
        (["--num_env", "4"], ["unknown flag --num_env", "--num-envs"]),
        (["--env.rewards.feet_air_tme.weight", "1"], ["unknown flag", "feet-air-time"]),
        (["--num_envs", "0"], ["--num_envs must be at least 1"]),
        (["--num_envs", "-5"], ["--num_envs must be at least 1"]),
        (["--num_envs", "3", "--agent.policy.recurrent", "gru"], ["4 mini-batches of whole sequences"]),
        (["--num_envs", "1000000000"], ["GiB", "robots fit"]),
        (["--max_iterations", "0"], ["--max_iterations"]),
        (["--env.sim.decimation", "0"], ["env.sim.decimation"]),
        (["--env.commands.lin_vel_x", "1", "-1"], ["env.commands.lin_vel_x", "LOW HIGH"]),
        (["--agent.ppo.gamma", "1.5"], ["agent.ppo.gamma"]),
        (["--task", "go3"], ["unknown task", "Did you mean go2 or go1?"]),
        (["--num_envs", "x"], ["--num-envs", "invalid literal"]),
        (["--agent.policy.symmetry", "non"], ["--agent.policy.symmetry", "'none', 'equivariant'"]),
        (["--resume"], ["no trained run"]),
        (["--resume", "--load_run", "nothing"], ["no run 'nothing'"]),
    ],
)
def test_bad_input_is_one_sentence_and_a_failure(tmp_path: Path, flags: list[str], words: list[str]) -> None:
    result = train("--log_dir", str(tmp_path / "logs"), *flags)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert not (tmp_path / "logs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_is_refused(tmp_path: Path) -> None:
    result = train("--device", "cuda", "--log_dir", str(tmp_path))
    assert len(result.stderr.splitlines()) == 1
    assert result.returncode == 2 and "no CUDA device" in result.stderr


def test_an_unwritable_log_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = train(*SMALL, "--log_dir", str(tmp_path / "file"))
    assert result.returncode == 2
    assert "cannot be made" in result.stderr and "Traceback" not in result.stderr


def test_resume_refuses_what_would_not_be_the_same_run(trained: Path) -> None:
    logs = ["--log_dir", str(trained)]
    changed = train("--resume", "--num_envs", "9", *logs)
    assert changed.returncode == 2 and "num_envs cannot change" in changed.stderr
    missing = train("--resume", "--checkpoint", "7", *logs)
    assert missing.returncode == 2 and "it has 0, 2" in missing.stderr
    done = train("--resume", "--max_iterations", "2", *logs)
    assert done.returncode == 0 and "nothing to do" in done.stdout
    alone = train("--more_iterations", "2", *logs)
    assert alone.returncode == 2 and "give --resume" in alone.stderr
    less = train("--resume", "--more_iterations", "-1", *logs)
    assert less.returncode == 2 and "at least 1" in less.stderr


def test_more_iterations_are_counted_from_where_a_run_is(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "logs")
    (folder,) = (tmp_path / "logs" / "anymal_c_flat").iterdir()
    flags = ("--resume", "--more_iterations", "1", "--num_threads", "3", "--log_dir", str(tmp_path / "logs"))
    result = train(*flags)
    assert result.returncode == 0, result.stderr
    assert list(checkpoint.available(folder)) == [0, 2, 3]
    assert "threads, not 3" in result.stdout and "goes on to the same bits" in result.stdout


def test_branching_off_keeps_what_it_leaves_behind(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "logs")
    (folder,) = (tmp_path / "logs" / "anymal_c_flat").iterdir()
    flags = ("--resume", "--checkpoint", "0", "--max_iterations", "1", "--log_dir", str(tmp_path / "logs"))
    result = train(*flags)
    assert result.returncode == 0, result.stderr
    (aside,) = folder.glob("set_aside_*")
    assert str(aside) in result.stdout and (aside / "model_2.pt").is_file()
    assert list(checkpoint.available(folder)) == [0, 1], "the next --resume goes on with the branch"


def test_a_run_cannot_go_on_in_another_engine(trained: Path) -> None:
    flags = ("--resume", "--max_iterations", "3", "--engine", "mujoco", "--log_dir", str(trained))
    result = train(*flags)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "engine" in result.stderr and "must be those of the saved run" in result.stderr


def test_damaged_and_foreign_checkpoints_are_refused(trained: Path, tmp_path: Path) -> None:
    source = next((trained / "anymal_c_flat").iterdir())
    folder = tmp_path / "anymal_c_flat" / "run"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text((source / "config.yaml").read_text())
    data = (source / "model_2.pt").read_bytes()
    flags = ["--resume", "--max_iterations", "3", "--log_dir", str(tmp_path)]
    (folder / "model_2.pt").write_bytes(data[:1000])
    result = train(*flags)
    assert result.returncode == 2 and "damaged" in result.stderr
    content = torch.load(source / "model_2.pt", weights_only=True)
    content["metadata"]["task"] = "another"
    torch.save(content, folder / "model_2.pt")
    result = train(*flags)
    assert result.returncode == 2 and "trained on another" in result.stderr
    torch.save([1, 2], folder / "model_2.pt")
    result = train(*flags)
    assert result.returncode == 2 and "not written by this program" in result.stderr


def test_an_existing_run_folder_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    from runs import folders as runs

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Frozen:
            return cls(2026, 1, 1)

    monkeypatch.setattr(runs, "datetime", Frozen)
    cfg = parse(["--log_dir", str(tmp_path), "--run_name", "mine"])
    names = [runs.create_run_folder(cfg).name for _ in range(3)]
    assert names == [f"2026-01-01_00-00-00_mine{end}" for end in ("", "_2", "_3")]
    (tmp_path / "anymal_c_flat" / "2026-01-01_00-00-00_mine_4").write_text("")
    with pytest.raises(ValueError, match="there is a file"):
        runs.create_run_folder(cfg)


@pytest.mark.parametrize(
    "name",
    [
        "--run_name=../../x",
        "--run_name=a/b",
        "--run_name=a\nb",
        "--experiment_name=../x",
        "--experiment_name=/x",
    ],
)
def test_names_stay_in_the_folder_of_logs(name: str, tmp_path: Path) -> None:
    result = train(*SMALL, "--log_dir", str(tmp_path), name)
    assert result.returncode == 2 and "must be a name" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_going_on_from_nothing_writes_over_nothing(trained: Path, tmp_path: Path) -> None:
    source = next((trained / "anymal_c_flat").iterdir())
    folder = tmp_path / "anymal_c_flat" / "run"
    folder.mkdir(parents=True)
    for name, copy in (("config.yaml", "config.yaml"), ("model_2.pt", "model_best.pt")):
        (folder / copy).write_bytes((source / name).read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = train("--resume", "--max_iterations", "3", "--load_run", str(folder))
    assert result.returncode == 2 and "has no checkpoint to go on from" in result.stderr
    shipped = train("--resume", "--load_run", str(ROOT / "policies" / "go2_flat"))
    assert shipped.returncode == 2 and "played and evaluated, not resumed" in shipped.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == before


def test_ctrl_c_before_training_is_one_word(tmp_path: Path) -> None:
    script = [str(ROOT / "scripts" / "train.py"), *SMALL, "--log_dir", str(tmp_path)]
    command = [sys.executable, "-X", "importtime", *script]
    # before the first of them Python itself starts; NumPy swallows what is raised after the next two
    moments = [("runs.interrupt", 0.0), (" numpy.exceptions", 0.0), (" numpy.linalg", 0.0)]
    for imported, seconds in [*moments, ("runs.interrupt", 1.0), ("runs.interrupt", 2.0)]:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert program.stdout is not None and program.stderr is not None
        while imported not in (line := program.stderr.readline()):
            assert line, f"{imported} was not imported"
        time.sleep(seconds)
        program.send_signal(signal.SIGINT)
        error, out = program.stderr.read(), program.stdout.read()
        assert "Traceback" not in error, error
        assert program.wait(timeout=60) in (130, -signal.SIGINT, 0), out


def test_a_run_may_begin_with_the_weights_of_another(trained: Path, tmp_path: Path) -> None:
    source = next((trained / "anymal_c_flat").iterdir())
    flags = [*SMALL, "--log_dir", str(tmp_path), "--env.rewards.torques.weight", "-1e-4"]
    result = train(*flags, "--init_from", str(source))
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / "anymal_c_flat").iterdir()
    begun = checkpoint.load(folder / "model_0.pt")
    old = checkpoint.load(source / "model_2.pt")
    weights = old["average"] or old["policy"]
    assert all(torch.equal(value, weights[name]) for name, value in begun["policy"].items())
    assert begun["iteration"] == 0 and load_config(folder / "config.yaml").init_from == str(source)
    other = train(*flags, "--init_from", "anymal_c_flat", "--agent.policy.actor_hidden", "8", "8")
    assert other.returncode == 2 and "does not fit this task and its networks" in other.stderr
    assert other.stderr.count("\n") == 1
    assert len(list((tmp_path / "anymal_c_flat").iterdir())) == 1, "what is refused leaves no run behind"
    nobody = train(*flags, "--init_from", "nobody")
    assert nobody.returncode == 2 and "no run 'nobody'" in nobody.stderr
