"""A run that rsl_rl trained is used like any other: it acts as rsl_rl's own policy does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from tensordict import TensorDict

from algorithms.config import LearnerConfig, PolicyConfig, PPOConfig
from envs.legged_env import LeggedEnv
from envs.rsl_rl import RslRlVecEnv
from runs.config import RunConfig, default_config
from runs.folders import RunFlags, find_run, load_policy, open_run
from runs.rsl_rl_runner import make_runner, train_rsl_rl
from scripts import evaluate, export, play

SMALL = ["--num_envs", "2", "--seconds", "0.2", "--num_threads", "1"]


def tiny(logs: Path, own_critic: bool = False) -> RunConfig:
    cfg = default_config("anymal_c_flat", "reference")
    cfg.num_envs, cfg.max_iterations, cfg.log_dir, cfg.learner = 6, 3, str(logs), "rsl_rl"
    sizes = PolicyConfig(actor_hidden=(16, 8), critic_hidden=(8,), normalise_obs=True)
    cfg.agent = LearnerConfig(
        sizes, PPOConfig(num_steps=4, num_epochs=2, learning_rate=1e-2, schedule="fixed")
    )
    cfg.env.clean_critic = own_critic
    return cfg


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of experiments with one run."""
    folder = tmp_path_factory.mktemp("logs")
    assert train_rsl_rl(tiny(folder, own_critic=True), threads=1) == 0
    return folder


def test_the_policy_is_rsl_rls(logs: Path) -> None:
    run = open_run(log_dir=str(logs))
    env = LeggedEnv(run.cfg.env, 6, num_threads=1)
    ours = load_policy(run, env)
    runner = make_runner(RslRlVecEnv(env), run.cfg.agent, seed=5, log_dir=None)
    runner.load(str(run.checkpoint_path))
    theirs, alg = runner.get_inference_policy(), runner.alg
    obs = TensorDict({"policy": 3 * torch.randn(32, 48), "critic": 3 * torch.randn(32, 48)}, [32])
    with torch.no_grad():
        torch.testing.assert_close(ours.mean(obs["policy"]), theirs(obs), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.value(obs["critic"]), alg.critic(obs)[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.log_std, alg.actor.distribution.log_std_param)
    assert run.content["iteration"] == 2 and ours.mean(obs["policy"]).std() > 1e-3


def test_it_is_played_evaluated_and_exported(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (logs / "anymal_c_flat_rsl_rl").iterdir()
    monkeypatch.setattr(sys, "argv", ["play.py", "--log_dir", str(logs), "--no_video", "--no_plots", *SMALL])
    assert play.main() == 0
    policy = onnxruntime.InferenceSession(str(folder / "exported" / "policy.onnx"))
    assert policy.get_inputs()[0].shape[1] == 48
    assert json.loads((folder / "exported" / "policy.json").read_text())["training"]["run"] == folder.name
    monkeypatch.setattr(sys, "argv", ["export.py", "--log_dir", str(logs), "--load_run", folder.name])
    assert export.main() == 0
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--log_dir", str(logs), "--checkpoint", "0", *SMALL])
    capsys.readouterr()
    assert evaluate.main() == 0
    assert folder.name in capsys.readouterr().out


def test_resume_still_passes_them_by(logs: Path) -> None:
    with pytest.raises(ValueError, match="no trained run"):
        find_run(RunFlags(log_dir=str(logs)))


def test_other_networks_are_refused(logs: Path) -> None:
    run = open_run(log_dir=str(logs))
    content = torch.load(run.checkpoint_path, weights_only=True)
    content["actor_state_dict"]["rnn.rnn.weight_ih_l0"] = torch.zeros(3, 3)
    other = run.folder / "model_99.pt"
    torch.save(content, other)
    try:
        with pytest.raises(ValueError, match="model_99.pt has an actor with rnn; .* only MLPs"):
            open_run(log_dir=str(logs))
    finally:
        other.unlink()
