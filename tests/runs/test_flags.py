"""Overrides `a.b=c` beside flags, and what --help prints."""

from __future__ import annotations

import pytest

from runs.config import default_config, parse
from runs.flags import as_flags, parse_flags, peek, refuse
from runs.help import take_help
from scripts import evaluate, quickstart


def test_an_override_is_the_flag_of_its_name() -> None:
    words = "task=anymal_c_rough num_envs=64 env.commands.lin_vel_x=[-1,0.5] agent.ppo.entropy_coef=0.003"
    more = "env.rewards.torques.weight=-1e-4 env.noise.enabled=false resume=true agent.policy.actor_hidden=[64,32]"
    cfg = parse([*words.split(), *more.split(), "--seed", "3"])
    assert (cfg.task, cfg.num_envs, cfg.seed, cfg.resume) == ("anymal_c_rough", 64, 3, True)
    assert cfg.env.commands.lin_vel_x == (-1.0, 0.5) and cfg.agent.ppo.entropy_coef == 0.003
    assert cfg.env.rewards["torques"].weight == -1e-4 and cfg.env.noise.enabled is False
    assert cfg.agent.policy.actor_hidden == (64, 32)
    assert parse(["recipe=reference"]).env == default_config("anymal_c_flat", "reference").env
    assert parse_flags(evaluate.Flags(), ["num_envs=7", "limit=[1, 0.5, 1]", "push=no"]).limit == (
        1.0,
        0.5,
        1.0,
    )


def test_a_flag_of_another_mode_is_refused_unless_it_says_what_is_the_default() -> None:
    flags = parse_flags(evaluate.Flags(), ["--seconds", "20", "--no-push"])
    refuse(flags, "needs --that", "seconds", "limit")
    with pytest.raises(ValueError, match="^--no-push needs --that$"):
        refuse(flags, "needs --that", "seconds", "push")


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_is_the_choice_of_that_name_or_nothing(word: str) -> None:
    cfg = parse([f"agent.policy.symmetry={word}", f"load_run={word}", "run_name='a b'"])
    assert (cfg.agent.policy.symmetry, cfg.load_run, cfg.run_name) == ("none", "", "a b")


def test_the_value_of_a_flag_is_no_override() -> None:
    cfg = parse(["--run_name", "num_envs=3", "--headless", "num_envs=5"])
    assert (cfg.run_name, cfg.num_envs) == ("num_envs=3", 5)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "env.comands.lin_vel_x=[1,2]",
            "unknown argument env.comands.lin_vel_x. Did you mean env.commands.lin_vel_x",
        ),
        ("env.rewards.torques.weigt=1", "Did you mean env.rewards.torques.weight"),
        ("lin_vel_x=[0,1]", "Did you mean env.commands.lin_vel_x?"),
        ("--lin_vel_x 1 2", "Did you mean --env.commands.lin-vel-x?"),
        ("agent.policy.actor_hidden=[] bogus=3", "unknown argument bogus"),
        ("env.commands=3", "env.commands is a group of values: give one of them, env.commands.lin_vel_x"),
        ("env.noise.enabled=maybe", "env.noise.enabled must be true or false, not 'maybe'"),
        ("env.commands.lin_vel_x=[1]", "Expected 2 values"),
        ("task=go3", "unknown task 'go3'.*Did you mean go2"),
        ("--agent.policy.actor_hidden big", "its default is 128 64 32"),
        ("--env.commands.lin_vel_x 1", "Expected 2 values; its default is -1.2 1.2"),
        ("--check --num_env 3", "unknown flag --num_env. Did you mean --num-envs"),
        ("--check nm_envs=3", "unknown argument nm_envs. Did you mean num_envs"),
        (
            "--env.commands.heading maybe",
            "heading is a switch: give it alone, or with True or False, not 'maybe'",
        ),
        ("--env.commands.heading=maybe", "heading is a switch: .* not 'maybe'"),
    ],
)
def test_a_bad_override_is_one_sentence(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("[", r"\[")) as caught:
        parse(line.split())
    assert "\n" not in str(caught.value)


def test_what_a_command_does_not_know_goes_to_the_next() -> None:
    flags, rest = peek(quickstart.Flags(), ["eval_envs=5", "num_envs=64", "--seed", "2"])
    assert flags.eval_envs == 5 and parse(rest).num_envs == 64 and parse(rest).seed == 2
    assert as_flags(["env.rewards.torques.weight=1"], quickstart.Flags()) == ["env.rewards.torques.weight=1"]


def _help(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        parse(line.split())
    assert not end.value.code
    return capsys.readouterr().out


def test_help_is_short_and_leads_to_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _help("--help", capsys, monkeypatch)
    assert "--num-envs INT" in first and "--env." not in first and len(first.splitlines()) < 150
    assert max(map(len, first.splitlines())) <= 80 and "\x1b" not in first
    group = _help("--task go2_flat --help env.commands", capsys, monkeypatch)
    assert "--env.commands.lin-vel-x FLOAT FLOAT" in group and "--num-envs" not in group
    assert "(default: 0.3)" in group, "as the task has it"
    assert "--env.rewards.trot.weight" in _help("--help env.rewards", capsys, monkeypatch)
    own = _help("--help env", capsys, monkeypatch)
    assert "--env.episode-length" in own and "--env.sim." not in own and "  env.sim " in own
    assert "--env.sim.decimation" in _help("--help env.sim.timestep", capsys, monkeypatch)
    for name in ("env.sim", "env.rewards", "agent.ppo"):
        assert f"  {name} " in first
    with pytest.raises(ValueError, match="no such group. Did you mean env.curriculum"):
        parse(["--help", "env.curiculum"])


@pytest.mark.slow
def test_the_whole_help_has_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = _help("--help-all", capsys, monkeypatch)
    assert "--env.sim.timestep" in everything and "--env.rewards.trot.weight" in everything


def test_help_is_taken_out_of_a_line() -> None:
    assert take_help(["--seed", "1"]) == (["--seed", "1"], None)
    assert take_help(["--help", "--seed", "1"]) == (["--seed", "1"], "")
    assert take_help(["-h", "env.sim", "num_envs=1"]) == (["num_envs=1"], "env.sim")
    assert take_help(["--help", "num_envs=1"]) == (["num_envs=1"], "")
