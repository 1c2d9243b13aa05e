"""Training and testing on rough ground, from the command line to files."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evaluation import commands as command_test
from evaluation import terrain as terrain_test
from runs import training
from runs.progress import CurriculumLog
from scripts import evaluate, train
from terrains.grid import TerrainConfig, build_terrain

SMALL = [
    "--task", "anymal_c_rough", "--num_envs", "8", "--num_threads", "1", "--headless",
    "--agent.eval_envs", "0", "--agent.save_interval", "1",
    "--agent.policy.actor_hidden", "16", "--agent.policy.critic_hidden", "16",
    "--env.episode_length", "0.5", "--env.terrain.levels", "3", "--env.terrain.columns", "4",
    "--env.curriculum.strategy", "progress",
]  # fmt: skip


def run(module: Any, monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    """A command as from the shell, in this process."""
    monkeypatch.setattr(sys, "argv", ["command", *flags])
    return int(module.main())


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "curriculum.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three iterations, with a row of levels for each."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "LOOK_INTERVAL", 1)
        assert run(train, patch, *SMALL, "--max_iterations", "3", "--log_dir", str(logs)) == 0
    (folder,) = (logs / "anymal_c_rough").iterdir()
    return folder


def test_a_run_leaves_levels_and_pictures(trained: Path) -> None:
    rows = table(trained)
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    assert "stairs_up" in shapes and len(rows) == 3 * 3 * len(shapes)
    for iteration in "123":
        assert sum(int(row["robots"]) for row in rows if row["iteration"] == iteration) == 8
    for name in ("map.png", "levels.png"):
        assert (trained / "plots" / name).read_bytes()[:4] == b"\x89PNG"
    with (trained / "progress.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert 0.0 <= float(last["Curriculum/level"]) <= 2.0
    assert {"Episode/success", "Episode/left_map", "Curriculum/level_stairs_up"} <= last.keys()


def test_a_resumed_run_ends_in_the_same_bits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "anymal_c_rough" / trained.name
    shutil.copytree(trained, folder)
    (folder / "model_3.pt").unlink()
    monkeypatch.setattr(training, "LOOK_INTERVAL", 1)
    flags = ["--task", "anymal_c_rough", "--resume", "--checkpoint", "1", "--max_iterations", "3"]
    assert run(train, monkeypatch, *flags, "--log_dir", str(tmp_path)) == 0
    assert table(folder) == table(trained), "rows after the resume point are written once"
    whole, resumed = (torch.load(path / "model_3.pt", weights_only=True) for path in (trained, folder))
    same, different = compare(whole, resumed)
    assert not different - {"train_time"} and same > 50


def compare(one: Any, other: Any, name: str = "") -> tuple[int, set[str]]:
    """Number of equal tensors, and names of what differs, in two nested dictionaries."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        parts = [compare(one[key], other[key], f"{name}.{key}".lstrip(".")) for key in one]
    elif isinstance(one, (list, tuple)):
        parts = [compare(a, b, f"{name}.{i}") for i, (a, b) in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, torch.Tensor):
        return (1, set()) if torch.equal(one.nan_to_num(7e7), other.nan_to_num(7e7)) else (0, {name})
    else:
        return 0, set() if one == other else {name}
    return sum(count for count, _ in parts), set().union(*(names for _, names in parts))


def test_levels_after_the_resume_point_and_broken_rows_are_left_out(tmp_path: Path) -> None:
    course: Any = SimpleNamespace(
        terrain=build_terrain(TerrainConfig(proportions={"pit": 1.0}, levels=2, columns=2, border=1.0)),
        table=lambda: (np.array([[3], [5]]), np.array([[0.5], [np.nan]])),
    )
    log = CurriculumLog(tmp_path, course, 0)
    log.draw(np.zeros((1, 2)))
    assert (tmp_path / "plots" / "map.png").exists(), "stopped before there are rows: no complaint"
    assert not (tmp_path / "plots" / "levels.png").exists()
    for iteration in (10, 20, 30):
        log.write(iteration)
    with (tmp_path / "curriculum.csv").open("a") as file:
        file.write("1")  # of 10, when the machine went down
    log = CurriculumLog(tmp_path, course, 20)
    log.write(30)
    rows = table(tmp_path)
    assert [(row["iteration"], row["level"]) for row in rows] == [
        (i, j) for i in ("10", "20", "30") for j in "01"
    ]
    assert rows[0] == {"iteration": "10", "shape": "pit", "level": "0", "robots": "3", "success": "0.5"}
    assert rows[1]["success"] == "nan"
    log.draw(np.zeros((1, 2)))
    assert (tmp_path / "plots" / "levels.png").stat().st_size > 1000


def test_the_success_test_leaves_figures_and_a_picture(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terrain_test, "SECONDS", 0.2)
    flags = ["--task", "anymal_c_rough", "--load_run", str(trained), "--num_threads", "1", "--terrain"]
    flags += ["--robots", "2", "--shapes", "stairs_up", "gap", "--json", str(tmp_path / "out.json")]
    assert run(evaluate, monkeypatch, *flags) == 0
    report = json.loads((trained / "terrain_gap_stairs_up.json").read_text())
    assert json.loads((tmp_path / "out.json").read_text()) == report
    assert [cell["shape"] for cell in report["cells"]] == ["stairs_up"] * 5 + ["gap"] * 6
    assert report["iteration"] == 3 and report["cells"][3]["value"] == 0.2
    assert all(cell["success"] == 0.0 and cell["robots"] == 2 for cell in report["cells"])
    assert (trained / "plots" / "terrain_gap_stairs_up.png").read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out.strip().splitlines()[-1] == "stairs_up=0.000 gap=0.000"


def test_figures_of_a_checkpoint_stand_beside_those_of_the_best(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terrain_test, "SECONDS", 0.2)
    monkeypatch.setattr(command_test, "SECONDS", 0.2)
    flags = ["--load_run", str(trained), "--num_threads", "1"]
    before = set(trained.rglob("*.*"))
    few = ["--robots", "2", "--terrain", "--shapes", "gap", "--commands"]
    assert run(evaluate, monkeypatch, *flags, "--checkpoint", "1", *few) == 0
    short = ["--num_envs", "2", "--seconds", "0.2", "--no-push"]
    assert run(evaluate, monkeypatch, *flags, "--checkpoint", "1", *short) == 0
    made = {path.relative_to(trained).as_posix() for path in set(trained.rglob("*.*")) - before}
    assert made == {
        "terrain_model_1_gap.json",
        "plots/terrain_model_1_gap.png",
        "commands_model_1.json",
        "evaluation_model_1.json",
        "plots/evaluation_model_1.png",
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--shapes gap", "--shapes needs --terrain"),
        ("--commands --shapes gap", "--shapes needs --terrain"),
        ("--robots 20", "--robots needs --terrain or --commands"),
        ("--terrain --limit 1 0 0", "--limit is not for --terrain or --commands"),
        ("--commands --no-push", "--no-push is not for"),
        ("--commands --num_envs 64", "--num_envs is not for"),
        ("--terrain --seconds 5", "--seconds is not for"),
        ("--terrain --segment 2", "--segment is not for"),
    ],
)
def test_flags_of_another_test_are_refused(flags: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=message):
        run(evaluate, monkeypatch, *flags.split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--policy", "anymal_c_rough", "--shapes", "stairs"],
            "no success test for terrain 'stairs'.*Did you mean stairs_up",
        ),
        (["--robots", "0"], "--robots must be at least 1"),
    ],
)
def test_bad_flags_get_one_sentence(flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=message):
        run(evaluate, monkeypatch, "--task", "anymal_c_rough", "--terrain", *flags)
