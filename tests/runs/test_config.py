"""Which recipe a command line means."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runs import config
from runs.config import default_config, load_config, overlay, parse, save_config, to_plain
from runs.flags import parse_flags
from scripts import evaluate


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
    lines = [line for line in file.read_text().splitlines()[1:] if "slope_threshold" not in line]
    file.write_text("\n".join(lines))
    assert load_config(file).env.terrain.slope_threshold == 0.0


def test_what_is_newer_than_a_run_does_nothing_in_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    cfg = parse(["--task", "go2_flat"])
    assert cfg.env.commands.single_axis_share > 0.0 and cfg.agent.average_decay > 0.0
    save_config(cfg, file)
    newer = ("single_axis_share", "nominal_share", "average_decay")
    lines = [line for line in file.read_text().splitlines()[1:] if not any(name in line for name in newer)]
    file.write_text("\n".join(lines))
    loaded = load_config(file)
    assert loaded.env.commands.single_axis_share == loaded.env.init.nominal_share == 0.0
    assert loaded.agent.average_decay == 0.0
    assert loaded.env.robot == cfg.env.robot and loaded.env.rewards == cfg.env.rewards


def test_a_run_from_before_headings_had_limits_keeps_its_own(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    cfg = default_config("anymal_c_rough")
    cfg.env.commands.ang_vel_yaw = (-1.5, 1.5)
    save_config(cfg, file)
    assert load_config(file).env.commands.ang_vel_yaw == (-1.5, 1.5)
    assert not load_config(file).env.commands.judge_next_heading
    lines = [line for line in file.read_text().splitlines()[1:] if "judge_next_heading" not in line]
    file.write_text("\n".join(lines))
    assert load_config(file).env.commands.ang_vel_yaw == (-1.0, 1.0)
    assert load_config(file).env.commands.judge_next_heading


@pytest.mark.parametrize("keep", [1, 20, 100])
def test_a_configuration_that_was_cut_or_changed_is_refused(keep: int, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    save_config(parse(["--task", "anymal_c_flat"]), file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:keep]))
    with pytest.raises(ValueError, match="damaged, or was changed"):
        load_config(file)
    file.write_text("".join(lines).replace("seed: 1", "seed: 2"))
    with pytest.raises(ValueError, match="delete its first line"):
        load_config(file)
    file.write_text("".join(lines[1:]).replace("seed: 1", "seed: 2"))
    assert load_config(file).seed == 2


def every_number(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Path of every number of a plain configuration."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from every_number(item, (*path, name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from every_number(item, (*path, str(i)))
    elif isinstance(value, float):
        yield path


def test_no_number_of_a_file_may_be_nan_or_infinite(tmp_path: Path) -> None:
    plain = to_plain(default_config("anymal_c_rough"))
    paths = list(every_number(plain))
    assert len(paths) > 150
    for i, path in enumerate(paths):
        changed = copy.deepcopy(plain)
        inner: Any = changed
        for name in path[:-1]:
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        inner[int(path[-1]) if isinstance(inner, list) else path[-1]] = (math.nan, math.inf, -math.inf)[i % 3]
        file = tmp_path / "config.yaml"
        file.write_text(yaml.dump(changed, Dumper=yaml.CSafeDumper))
        with pytest.raises(ValueError, match=r"must be finite|must "):
            load_config(file)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--env.rewards.tracking_lin_vel.weight nan", "env.rewards.tracking_lin_vel.weight must be finite"),
        ("--env.commands.lin_vel_x inf inf", "env.commands.lin_vel_x must be finite"),
        ("--env.episode_length inf", "env.episode_length must be finite"),
        ("--agent.ppo.learning_rate 1e30", "agent.ppo.learning_rate must be between"),
        ("--env.robot.init_height nan", "env.robot.init_height must be finite"),
    ],
)
def test_no_number_of_a_flag_may_be_nan_or_infinite(flags: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(["--task", "anymal_c_rough", *flags.split()])


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("sim.timestep", 0.5, "at most 0.02 s"),
        ("sim.decimation", 1000, "at most 100"),
        ("drive.delay", (0.0, 1000.0), "at most 1 s"),
        ("episode_length", 1e6, "at most an hour"),
        ("terrain.levels", 100_000, "more than 100,000,000 vertices"),
        ("rewards.tracking_lin_vel.params.sigma", 0.0, "sigma must be greater than 0"),
    ],
)
def test_what_no_simulation_can_do_is_refused(name: str, value: Any, sentence: str) -> None:
    nested: Any = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    with pytest.raises(ValueError, match=sentence):
        overlay(default_config("anymal_c_rough").env, nested).validate()


@pytest.mark.parametrize("flags", [["--task", ""], ["--task="]])
def test_an_empty_task_is_not_the_default(flags: list[str]) -> None:
    with pytest.raises(ValueError, match="--task is empty"):
        parse(flags)


def test_the_newest_run_may_be_asked_for_as_elsewhere() -> None:
    assert parse(["--load_run=-1"]).load_run == parse(["--load_run", "-1"]).load_run == "-1"


@pytest.mark.parametrize("flags", ["--load_run mine", "--checkpoint 300", "--init_from mine --checkpoint 0"])
def test_a_run_that_is_named_goes_on_only_if_told_to(flags: str) -> None:
    with pytest.raises(ValueError, match="say which run goes on: give --resume, or --init_from alone"):
        parse(flags.split())
    if "--init_from" not in flags:
        assert parse([*flags.split(), "--resume"]).resume


@pytest.mark.parametrize("word", ["True", "true", "1", "yes"])
@pytest.mark.parametrize("spelled", ["--env.commands.curriculum {}", "--env.commands.curriculum={}"])
def test_switches_take_the_words_that_others_type(word: str, spelled: str) -> None:
    assert parse(spelled.format(word).split()).env.commands.curriculum is True
    no = {"True": "False", "true": "false", "1": "0", "yes": "no"}[word]
    assert parse(["--env.commands.curriculum", *spelled.format(no).split()]).env.commands.curriculum is False
    assert parse(["--headless", no]).headless is False
    assert parse(["--seed", "1", "--num_envs", "1"]).num_envs == 1, "numbers of other flags are theirs"
    assert parse_flags(evaluate.Flags(), ["--push", no]).push is False
