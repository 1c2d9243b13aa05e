"""Where figures go; nothing here uses the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from algorithms import Trainer, checkpoint
from envs.legged_env import LeggedEnv
from runs import tracking
from runs.config import RunConfig, default_config, save_config
from runs.record import read_record
from runs.tracking import begin_log, check_logger
from runs.training import train


def trained(folder: Path, logger: str, iterations: int = 2, resume: bool = False) -> Trainer:
    """A tiny training, as scripts/train.py makes it."""
    cfg = default_config("anymal_c_flat")
    cfg.logger, cfg.notes, cfg.wandb_project = logger, "windy", "walks" if logger == "wandb" else ""  # type: ignore[assignment]
    cfg.agent.ppo.num_steps, cfg.agent.eval_envs, cfg.max_iterations = 4, 0, iterations
    check_logger(cfg)
    if not resume:
        folder.mkdir()
        save_config(cfg, folder / "config.yaml")
    env = LeggedEnv(cfg.env, 16, num_threads=1, seed=1)
    trainer = Trainer(env, cfg.agent, folder, 1)
    if resume:
        trainer.load_state_dict(checkpoint.load(folder / "model_2.pt", "cpu"))
    events = begin_log(cfg, folder, "cpu", trainer.iteration)
    assert train(trainer, env, folder, cfg, events) == 0
    return trainer


def equal(one: Trainer, other: Trainer) -> bool:
    a, b = one.policy.state_dict(), other.policy.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_is_the_same_with_and_without_a_logger(tmp_path: Path) -> None:
    runs = {logger: trained(tmp_path / logger, logger) for logger in ("tensorboard", "none")}
    assert equal(*runs.values())
    for logger in runs:
        rows = (tmp_path / logger / "progress.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["iteration", "1", "2"]
    assert [bool(list((tmp_path / logger).glob("events.*"))) for logger in runs] == [True, False]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("Train/mean_reward")] == [1, 2]


@pytest.mark.slow
def test_wandb_gets_all_there_is_to_say_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "wandb"
    assert equal(trained(run, "wandb"), trained(tmp_path / "none", "none"))
    own = read_record(run)["wandb"]
    assert own["project"] == "walks"
    trained(run, "wandb", 3, resume=True)
    assert read_record(run)["wandb"] == own
    files = sorted((run / "wandb").glob(f"offline-run-*-{own['id']}/run-{own['id']}.wandb"))
    assert len(files) == 2
    begun = files[0].read_bytes()
    for words in (b"windy", b"walks", b"tracking_lin_vel", b"Train/mean_reward"):
        assert words in begun, words
    assert len((run / "progress.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"logger": "wandb"}, "needs the package wandb: pip install wandb"),
        ({"wandb_project": "walks"}, "--wandb_project is for --logger wandb"),
    ],
)
def test_what_could_not_log_is_refused_before_anything_starts(
    flags: dict, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=sentence):
        check_logger(RunConfig(**flags))


def test_wandb_without_an_account_or_with_a_bad_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")

    def login() -> None:
        raise wandb.errors.UsageError("No API key configured.\nMore.")

    monkeypatch.setattr(wandb, "login", login)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match="No API key configured. WANDB_MODE=offline logs without an account"):
        check_logger(RunConfig(logger="wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_logger(RunConfig(logger="wandb"))
    with pytest.raises(ValueError, match="'a/b' must be a name"):
        check_logger(RunConfig(logger="wandb", wandb_project="a/b"))
