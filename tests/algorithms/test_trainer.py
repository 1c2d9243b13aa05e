"""The training loop: reproducible, resumable to the bit, robust; and it learns."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms import LearnerConfig, PolicyConfig, Trainer, checkpoint
from algorithms.trainer import BEST, NonFiniteError
from envs import LeggedEnv, get_task

ROOT = Path(__file__).resolve().parents[2]


def make_trainer(
    run_dir: Path | None = None, num_envs: int = 16, seed: int = 3, blind: bool = False, **changes: object
) -> Trainer:
    cfg = LearnerConfig()
    cfg.ppo.num_steps = 6
    cfg.save_interval = 2
    for name, value in changes.items():
        setattr(cfg, name, value)
    env_cfg = get_task("anymal_c_flat").recipe("reference").env()
    env_cfg.episode_length = 0.5  # several resets in a short test
    env_cfg.randomisation.push_interval = 0.3
    if blind:
        env_cfg.observations["base_lin_vel"].group = "critic"
    env = LeggedEnv(env_cfg, num_envs, num_threads=1, seed=seed)
    return Trainer(env, cfg, run_dir, seed, {"task": "anymal_c_flat"})


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.policy.parameters()])


def ignore(iteration: int, numbers: dict[str, float]) -> None:
    pass


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    runs = []
    for seed in (3, 3, 4):
        trainer = make_trainer(seed=seed)
        trainer.train(4, ignore)
        runs.append(weights(trainer))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


RECURRENT = {"blind": True, "policy": PolicyConfig((8,), (8,), recurrent="lstm", recurrent_hidden=8)}


@pytest.mark.parametrize(("stop", "changes"), [(2, {}), (4, {}), (4, RECURRENT)])
def test_resume_continues_to_the_same_bits(tmp_path: Path, stop: int, changes: dict[str, Any]) -> None:
    whole = make_trainer(tmp_path, **changes)
    logs: list[dict[str, float]] = []
    whole.train(6, lambda iteration, numbers: logs.append(numbers))
    resumed = make_trainer(seed=3, **changes)
    resumed.load_state_dict(checkpoint.load(tmp_path / f"model_{stop}.pt"))
    resumed_logs: list[dict[str, float]] = []
    resumed.train(6, lambda iteration, numbers: resumed_logs.append(numbers))
    assert torch.equal(weights(whole), weights(resumed))
    for ours, theirs in zip(resumed_logs, logs[stop:], strict=True):
        for name in ours:
            if not name.startswith("Perf/"):
                assert ours[name] == theirs[name] or ours[name] != ours[name], name


def test_a_killed_run_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """SIGKILL in the middle, through the command itself."""
    command = [
        sys.executable, "scripts/train.py", "--num_envs", "16", "--num_threads", "1", "--agent.ppo.num_steps", "6",
        "--agent.save_interval", "3", "--agent.eval_envs", "4", "--agent.eval_seconds", "0.2",
        "--max_iterations", "12",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--log_dir", str(whole)], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, "--log_dir", str(killed), "--max_iterations", "100000"], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    while not list(killed.glob("*/*/model_6.pt")):
        assert process.poll() is None, "the run ended by itself"
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next(killed.glob("*/*"))
    for path in folder.glob("model_*.pt"):
        if path.name not in ("model_3.pt", "model_6.pt", BEST):
            path.unlink()  # as if killed just after iteration 6
    subprocess.run(
        [*command, "--log_dir", str(killed), "--resume"], cwd=ROOT, check=True, capture_output=True
    )
    ends = [checkpoint.load(next(run.glob("*/*/model_12.pt"))) for run in (whole, killed)]
    for name, value in ends[0]["policy"].items():
        assert torch.equal(value, ends[1]["policy"][name]), name
    for name, value in ends[0]["env"]["engine"].items():
        assert torch.equal(value, ends[1]["env"]["engine"][name]), name
    rows = [(next(run.glob("*/*/progress.csv"))).read_text().splitlines() for run in (whole, killed)]
    assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_the_critic_learns_from_what_the_policy_does_not_see(recurrent: str) -> None:
    policy = PolicyConfig((8,), (8,), recurrent=recurrent, recurrent_hidden=8)  # type: ignore[arg-type]
    trainer = make_trainer(blind=True, policy=policy)
    trainer.env.reset(seed=3)
    rollout, before = trainer.rollout, weights(trainer)
    assert rollout.obs.shape[-1] == 45 and rollout.critic_obs.shape[-1] == rollout.final_obs.shape[-1] == 48
    first = trainer.env.get_observations()["critic"].clone()
    trainer.collector.collect()
    assert torch.equal(rollout.critic_obs[0], first)
    trainer.collector.evaluate()
    values, means = rollout.values.clone(), rollout.means.clone()
    rollout.critic_obs[..., :3] += 1.0  # another velocity
    trainer.collector.evaluate()
    assert (rollout.values - values).abs().max() > 1e-3 and torch.equal(rollout.means, means)
    losses = trainer.ppo.update(rollout, trainer.generator)
    assert losses["skipped"] == 0 and not torch.equal(weights(trainer), before)


def test_ctrl_c_saves_and_ends(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(iteration: int, numbers: dict[str, float]) -> None:
        if iteration == 3:
            signal.raise_signal(signal.SIGINT)

    assert trainer.train(1000, interrupt)
    assert trainer.iteration == 3
    saved = checkpoint.load(tmp_path / "model_3.pt")
    assert saved["iteration"] == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_the_best_evaluation_is_kept(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    scores = iter([5.0, 1.0, 3.0, 2.0])
    trainer.evaluator = lambda policy: {"score": next(scores)}
    trainer.train(6, ignore)
    assert trainer.best_score == 1.0
    assert checkpoint.load(tmp_path / BEST)["iteration"] == 2
    assert checkpoint.load(tmp_path / "model_6.pt")["best_score"] == 1.0


def test_of_near_equals_the_last_is_kept_without_drifting_away_from_the_best(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    scores = iter([2.0, 1.0, 1.08, 1.16])  # each within 0.1 of the one before, but the last not of the best
    trainer.evaluator = lambda policy: {"score": next(scores), "score_error": 0.1}
    trainer.train(6, ignore)
    assert trainer.best_score == 1.0
    assert checkpoint.load(tmp_path / BEST)["iteration"] == 4


def test_the_run_stops_with_a_clear_message_when_numbers_stay_non_finite(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_bad_updates=3)
    before = weights(trainer)
    step = trainer.env.step

    def broken(actions: torch.Tensor):
        obs, reward, terminated, truncated, info = step(actions)
        return obs, reward * float("nan"), terminated, truncated, info

    trainer.env.step = broken  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="3 iterations in a row"):
        trainer.train(10, ignore)
    assert torch.equal(weights(trainer), before)


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path).train(2, ignore)
    other = make_trainer(num_envs=8)
    with pytest.raises(ValueError, match="num_envs"):
        other.load_state_dict(checkpoint.load(tmp_path / "model_2.pt"))


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path).train(2, ignore)
    data = (tmp_path / "model_2.pt").read_bytes()
    (tmp_path / "model_2.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(tmp_path / "model_2.pt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "model_9.pt")
    with pytest.raises(ValueError, match="not written by this program"):
        checkpoint.load(tmp_path / "model_9.pt")
    with pytest.raises(ValueError, match="iterations 0, 2, 9"):
        checkpoint.load(tmp_path / "model_5.pt")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model_1.pt"
    checkpoint.save(path, {"iteration": 1})
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode, "others may read it as any file"
    (tmp_path / "plain").unlink()
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(path, {"iteration": lambda: None})
    assert checkpoint.load(path)["iteration"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model_1.pt"]


def test_the_average_follows_the_policy_is_evaluated_saved_and_resumed(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, average_decay=0.75)
    assert trainer.average is not None
    seen: list[object] = []

    def evaluate(policy: object) -> dict[str, float]:
        seen.append(policy)
        return {"score": 1.0}

    trainer.evaluator = evaluate
    expected = weights(trainer)

    def follow(iteration: int, numbers: dict[str, float]) -> None:
        nonlocal expected
        decay = min(0.75, iteration / (9 + iteration))
        expected = decay * expected + (1.0 - decay) * weights(trainer)

    trainer.train(4, follow)
    average = torch.cat([p.detach().flatten() for p in trainer.average.parameters()])
    torch.testing.assert_close(average, expected)
    assert not torch.equal(average, weights(trainer))
    assert seen and all(policy is trainer.average for policy in seen)

    resumed = make_trainer(average_decay=0.75)
    resumed.load_state_dict(checkpoint.load(tmp_path / "model_2.pt"))
    resumed.train(4, ignore)
    assert resumed.average is not None
    for mine, theirs in zip(resumed.average.parameters(), trainer.average.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_run_ends_where_its_evaluations_are_good_enough(tmp_path: Path) -> None:
    trainer, plain = make_trainer(tmp_path), make_trainer()
    trainer.evaluator = lambda policy: {"score": -float(trainer.iteration)}
    assert trainer.train(10, ignore, enough=lambda figures: figures["score"] <= -4) is False, (
        "nobody stopped it"
    )
    plain.train(4, ignore)
    assert trainer.iteration == 4 and trainer.solved
    assert torch.equal(weights(trainer), weights(plain)), "asking changes nothing"
    content = checkpoint.load(tmp_path / "model_4.pt")
    assert content["solved"] and not checkpoint.load(tmp_path / "model_2.pt")["solved"]
    again = make_trainer(tmp_path)
    again.load_state_dict(content)
    assert again.solved
    again.train(6, ignore)
    assert again.iteration == 6 and not again.solved, "who goes on is not done"
