"""Plugins of a run: on the command line, and kept in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from algorithms import checkpoint
from envs import all_tasks, plugins
from robots import GO2
from runs.config import default_config, load_config, parse, save_config
from runs.flags import parse_flags
from runs.folders import RunFlags, find_run, saved_value
from runs.plugins import check_keepable, differing, hand_on, of_line, say_differing, together
from studies.study import get_experiment, make_runs, prepare
from tests.envs.test_plugins import HEAD, HOPPER, write


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test leaves a plugin behind."""
    yield
    forget()


def forget() -> None:
    """As a new program begins."""
    for plugin in list(plugins.LOADED.values()):
        plugins.unload(plugin, all_tasks())


def test_the_flag_takes_several_values_and_may_be_repeated() -> None:
    args = ["--plugin", "a.py", "b", "--task", "x", "--plugin=c.py", "seed=3", "--plugin", "d.py", "seed=4"]
    assert of_line(args) == ["a.py", "b", "c.py", "d.py"]
    rest = ["--task", "x", "seed=3", "seed=4"]
    assert together(args) == [*rest, "--plugin", "a.py", "b", "c.py", "d.py"]
    flags = parse_flags(RunFlags(), ["--plugin", "a.py", "--plugin", "b.py", "--device", "cpu"])
    assert flags.plugin == ("a.py", "b.py") and flags.device == "cpu"
    with pytest.raises(ValueError, match="--plugin needs"):
        together(["--plugin", "--task", "x"])


def test_a_run_goes_by_its_own_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = write(tmp_path / "hopping.py", HOPPER), tmp_path / "logs" / "hop" / "one"
    cfg = parse(["--plugin", str(path), "--task", "hop"])
    assert cfg.plugin == (str(path),) and cfg.env.robot.name == "hopper"
    run.mkdir(parents=True)
    save_config(cfg, run / "config.yaml")
    assert not differing(run, cfg.plugin)
    write(path, HOPPER.replace("base_lin_vel", "base_ang_vel"))
    say_differing(run, cfg.plugin)
    assert "hopping.py has changed since the run began" in capsys.readouterr().err
    path.unlink()
    forget()
    assert "hop" not in all_tasks()
    loaded = load_config(run / "config.yaml")
    assert replace(loaded, env=cfg.env) == cfg
    mine = loaded.env.rewards["mine"].func
    assert mine.__module__ == "hopping", "not the term of the same name that is built in"
    assert "base_lin_vel" in mine.__code__.co_names
    # a plugin of that name on the command line does not take its place
    write(path, HOPPER.replace('"hop"', '"other"'))
    assert parse(["--plugin", str(path)], default=loaded).task == "hop" and "other" not in all_tasks()


def test_runs_of_a_plugins_task_are_found_before_it_is_loaded(tmp_path: Path) -> None:
    path, run = write(tmp_path / "hopping.py", HOPPER), tmp_path / "logs" / "hop" / "one"
    cfg = parse(["--plugin", str(path), "--task", "hop"])
    run.mkdir(parents=True)
    save_config(cfg, run / "config.yaml")
    checkpoint.save(run / "model_1.pt", {"iteration": 1})
    forget()
    for task in ("", "hop"):
        assert find_run(RunFlags(task, log_dir=str(tmp_path / "logs"))) == run
    with pytest.raises(ValueError, match="unknown task 'hopp'"):
        find_run(RunFlags("hopp", log_dir=str(tmp_path / "logs")))


def test_the_environment_names_plugins_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "hopping.py", HOPPER)
    monkeypatch.setenv("TROT_PLUGINS", f"{path}:")
    assert parse(["--task", "hop"]).plugin == (str(path),)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name / "task.py", HOPPER) for name in ("dog", "cat"))
    with pytest.raises(ValueError, match="have the same name; rename one of them"):
        parse(["--plugin", str(one), str(other), "--task", "hop"])
    assert parse(["--plugin", str(one), str(one), "--task", "hop"]).plugin == (str(one),)


def test_a_package_may_be_named_by_its_init(tmp_path: Path) -> None:
    path = write(tmp_path / "hopping" / "__init__.py", HOPPER)
    assert parse(["--plugin", str(path), "--task", "hop"]).plugin == (str(path.parent),)


def test_a_file_that_needs_another_beside_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dog.xml", GO2.mjcf_path.read_text())
    robot = 'DOG = replace(GO2, name="dog", mjcf="dog.xml")\n'
    task = 'TASKS = (Task("dog_flat", {"fast": Recipe(env)}, "Mine/Dog-v0"),)\n'
    env = 'def env():\n    return replace(get_task("go2_flat").recipe("").env(), robot=DOG)\n'
    path = write(tmp_path / "dog_task.py", HEAD + robot + env + task)
    with pytest.raises(ValueError, match="needs dog.xml, which a run would not keep: make a folder of both"):
        parse(["--plugin", str(path), "--task", "dog_flat"])


def test_a_packages_robot_follows_into_the_run_and_into_policies(tmp_path: Path) -> None:
    write(tmp_path / "kennel" / "dog.xml", GO2.mjcf_path.read_text())
    robot = 'DOG = replace(GO2, name="dog", mjcf="dog.xml")\n'
    task = 'TASKS = (Task("dog_flat", {"fast": Recipe(env)}, "Mine/Dog-v0"),)\n'
    env = 'def env():\n    return replace(get_task("go2_flat").recipe("").env(), robot=DOG)\n'
    package = write(tmp_path / "kennel" / "__init__.py", HEAD + robot + env + task).parent
    cfg, run = parse(["--plugin", str(package), "--task", "dog_flat"]), tmp_path / "run"
    assert cfg.env.robot.mjcf == str(package / "dog.xml")
    run.mkdir()
    save_config(cfg, run / "config.yaml")
    package.rename(tmp_path / "elsewhere")
    forget()
    loaded = load_config(run / "config.yaml")
    assert loaded.env.robot.mjcf == str(run / "plugins" / "kennel" / "dog.xml")
    policy = tmp_path / "policies" / "dog"
    paths, robot_there = hand_on(run, loaded.plugin, loaded.env.robot, policy)
    assert paths == ("policies/dog/plugins/kennel",)
    anywhere = replace(loaded, plugin=paths, env=replace(loaded.env, robot=robot_there))
    save_config(anywhere, policy / "config.yaml")
    assert str(tmp_path) not in (policy / "config.yaml").read_text()
    forget()
    assert (
        load_config(policy / "config.yaml").env.robot.mjcf_path == policy / "plugins" / "kennel" / "dog.xml"
    )


def test_a_kind_of_terrain_that_had_no_part_in_a_run_is_not_missed(tmp_path: Path) -> None:
    """An installed plugin's is named in the configuration of every run; the plugin may be gone by then."""
    before = default_config("anymal_c_rough").env
    save_config(parse(["--task", "anymal_c_rough"]), tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text().partition("\n")[2]
    plain = yaml.safe_load(text)
    plain["env"]["terrain"]["proportions"]["ridges"] = 0.0
    plain["env"]["terrain"]["parameters"]["ridges"] = {"height": 0.2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    assert load_config(tmp_path / "config.yaml").env == before
    plain["env"]["terrain"]["proportions"] |= {"ridges": 0.05, "slope_up": 0.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(ValueError, match="unknown terrain shape 'ridges'"):
        load_config(tmp_path / "config.yaml").env.validate()


def test_a_data_set_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "hopping.py", HOPPER)
    monkeypatch.setattr("runs.plugins.LARGEST", 100)
    with pytest.raises(ValueError, match="a run keeps a copy: leave at most"):
        check_keepable([str(path)])


def test_an_experiment_keeps_one_plugin_for_all_its_runs(tmp_path: Path) -> None:
    path = write(tmp_path / "own" / "hopping.py", HOPPER)
    declared: dict[str, Any] = {
        "task": "hop",
        "plugin": "hopping.py",
        "seeds": [1],
        "variants": {"a": {}, "b": {"num_envs": 8}},
    }
    experiment = get_experiment(str(write(tmp_path / "own" / "test.yaml", yaml.safe_dump(declared))))
    assert experiment.plugin == (str(path),)
    runs = make_runs(experiment, tmp_path / "out")
    for run in runs:
        prepare(run)
        prepare(run)
        assert saved_value(run.folder, "task") == "hop" and (run.folder / "plugins" / "hopping.py").is_file()
    write(path, HOPPER + "# more\n")
    with pytest.raises(ValueError, match="has changed since .* was made"):
        prepare(runs[0])
    declared |= {"plugin": 3}
    with pytest.raises(ValueError, match="plugin must be a path or a list of them, not 3"):
        get_experiment(str(write(tmp_path / "own" / "test.yaml", yaml.safe_dump(declared))))
