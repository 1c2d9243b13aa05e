"""Which recipe a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import config
from runs.config import load_config, parse, save_config


@pytest.mark.parametrize(
    ("args", "device", "recipe"),
    [
        ([], "cpu", "fast"),
        ([], "cuda", "gpu"),
        (["--task", "go2_rough"], "cuda:1", "gpu"),
        (["--recipe", "reference"], "cuda", "reference"),
    ],
)
def test_the_recipe_follows_the_device(
    args: list[str], device: str, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "choose_device", lambda name, engine, robot: (device, "for the test"))
    assert parse(args).recipe == recipe


@pytest.mark.parametrize("flag", ["--device", "--sim_device", "--sim-device", "--rl_device"])
def test_the_device_that_is_asked_for_counts(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "choose_device", lambda name, engine, robot: (name, "for the test"))
    assert parse([flag, "cuda:0"]).recipe == "gpu" and parse([flag, "cpu"]).recipe == "fast"


def test_a_device_that_is_not_there_leaves_the_default() -> None:
    assert parse(["--device", "tpu"]).recipe == "fast"  # training itself refuses it


def test_a_run_from_before_there_were_walls_keeps_its_slopes(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    save_config(parse(["--task", "anymal_c_rough"]), file)
    assert load_config(file).env.terrain.slope_threshold == 0.75
    lines = [line for line in file.read_text().splitlines() if "slope_threshold" not in line]
    file.write_text("\n".join(lines))
    assert load_config(file).env.terrain.slope_threshold == 0.0
