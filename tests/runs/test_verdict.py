"""--until_solved, and what a run says of itself when it ends."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from algorithms import ActorCritic, Trainer
from envs import LeggedEnv
from envs.targets import FLAT, ROUGH
from envs.tasks import all_tasks
from runs.config import RunConfig, parse
from runs.training import nothing_to_do, train, validate
from runs.verdict import Goal, judge, print_verdict

GOOD = {"lin_vel_error": 0.09, "ang_vel_error": 0.07, "falls": 0.005, "score": 0.2}
FALLS = GOOD | {"falls": 0.031}
STANDS = {"lin_vel_error": 0.75, "ang_vel_error": 0.5, "falls": 0.0, "score": 1.3}


def small(*flags: str) -> RunConfig:
    sizes = "--recipe fast --num_envs 4 --agent.ppo.num_steps 4 --agent.save_interval 2 --agent.eval_envs 2"
    return parse([*sizes.split(), "--num_threads", "1", *flags])


def small_run(cfg: RunConfig, folder: Path, figures: list[dict[str, float]]) -> Trainer:
    """A training whose evaluations say what they are told to."""
    env = LeggedEnv(copy.deepcopy(cfg.env), cfg.num_envs, num_threads=1)

    def evaluate(policy: ActorCritic) -> dict[str, float]:
        return figures.pop(0) if len(figures) > 1 else figures[0]

    trainer = Trainer(env, cfg.agent, folder, 1, {}, evaluate)
    assert train(trainer, env, folder, cfg) == 0
    return trainer


def test_two_evaluations_in_a_row_meet_the_targets() -> None:
    goal = Goal(FLAT)
    assert [goal(f) for f in (GOOD, FALLS, GOOD, STANDS, GOOD, GOOD)] == [False] * 5 + [True]
    assert FLAT.missed(GOOD | {"falls": float("nan")}) == ["falls"], "what is not known is not met"


def test_a_run_that_goes_on_counts_the_evaluation_before_it() -> None:
    assert Goal(FLAT, GOOD)(GOOD) and not Goal(FLAT, FALLS)(GOOD) and not Goal(FLAT, {})(GOOD)


def test_every_task_that_comes_along_has_targets() -> None:
    for task in all_tasks().values():
        assert task.targets == (ROUGH if task.name.endswith("_rough") else FLAT)
        assert set(task.samples_needed) <= set(task.recipes)


def test_a_run_ends_when_it_is_solved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = small("--until_solved", "--max_iterations", "20")
    trainer = small_run(cfg, tmp_path, [STANDS, GOOD, FALLS, GOOD])
    out = capsys.readouterr().out
    assert trainer.iteration == 8 and (tmp_path / "model_8.pt").is_file()
    assert (
        "targets met: it ends here" in out and "follows commands within 0.09 m/s (target 0.20): good" in out
    )
    assert "play" in out and "--more_iterations" not in out and max(map(len, out.splitlines())) < 200
    assert "the targets were met, at iteration 8" in nothing_to_do(cfg, trainer, go_on=False)
    assert nothing_to_do(cfg, trainer, go_on=True) == ""
    assert nothing_to_do(replace(cfg, until_solved=False), trainer, go_on=False) == ""


def test_a_run_that_is_not_solved_goes_on_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = small_run(small("--until_solved", "--max_iterations", "5"), tmp_path, [FALLS])
    out = capsys.readouterr().out
    assert trainer.iteration == 5 and not trainer.solved and "the targets were not met" in out
    assert "falls 3.1 % (target 1 %): not yet" in out and "falls are learned last; train longer" in out
    assert f"--resume --load_run {tmp_path} --more_iterations 300" in out


def test_a_run_that_is_not_asked_to_ends_where_it_was_told(tmp_path: Path) -> None:
    assert small_run(small("--max_iterations", "5"), tmp_path, [GOOD]).iteration == 5


def test_the_next_step_depends_on_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def says(cfg: RunConfig, figures: dict[str, float], **more: bool) -> str:
        print_verdict(cfg, tmp_path, figures, 100, **more)
        return capsys.readouterr().out

    flat = parse(["--recipe", "fast"])
    assert "--more_iterations 450" in says(flat, STANDS), "what the measured run took"
    assert "it still learns" in says(flat, STANDS) and "evaluate" in says(flat, GOOD)
    stopped = says(flat, STANDS, stopped=True)
    assert "--more_iterations" not in stopped and "play" in stopped
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "levels.png").touch()
    assert "levels.png" in says(parse(["--task", "anymal_c_rough"]), FALLS | {"falls": 0.2})
    assert "nothing was evaluated" in says(flat, {})
    assert judge(GOOD, None)[0] == "follows commands within 0.09 m/s"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--agent.eval_envs 0", "--until_solved needs evaluations: give --agent.eval_envs 128"),
        ("--learner rsl_rl", "--learner rsl_rl has none"),
    ],
)
def test_what_never_ends_is_refused(flags: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        validate(parse(["--until_solved", *flags.split()]))


def test_a_task_without_targets_cannot_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = all_tasks()
    monkeypatch.setitem(tasks, "anymal_c_flat", replace(tasks["anymal_c_flat"], targets=None))
    with pytest.raises(ValueError, match="task anymal_c_flat declares no targets; these do: .*go2_flat"):
        validate(parse(["--until_solved"]))
