"""Terms with a memory, and the worked task of the documentation."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import envs.tasks
from envs import LeggedEnv, get_task
from envs.config import ObservationTerm, RewardTerm
from envs.terms import TermWithMemory
from runs.config import load_config, parse, save_config
from runs.folders import open_run
from tests.envs.common import calm, make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_task.md"


class since_reset(TermWithMemory):
    """Steps since the episode began, and a target drawn then, [N, 2]."""

    draws = 1

    def __init__(self, state, remember):
        super().__init__(state, remember)
        self.steps, self.target = remember("steps"), remember("target")

    def update(self, state):
        self.steps.add_(1.0)

    def begin(self, mask, state, uniform):
        self.target.copy_(torch.where(mask, uniform((0.2, 0.5)), self.target))

    def __call__(self, state):
        return torch.stack((self.steps, self.target), 1)


class steps_alone(since_reset):
    """The first of these, [N]."""

    def __call__(self, state):
        return self.steps


def remembering(num_envs: int = 8) -> LeggedEnv:
    cfg = calm()
    cfg.episode_length, cfg.commands.resampling_time = 0.2, 0.2
    cfg.init.random_first_episode = True
    cfg.observations["memory"] = ObservationTerm(since_reset, (1.0,), 0.0, "scalar")
    cfg.rewards = {"steps": RewardTerm(steps_alone, 1.0), "tracking_lin_vel": cfg.rewards["tracking_lin_vel"]}
    env = make(cfg, num_envs)
    env.reset(seed=1)
    return env


def test_terms_of_a_wrong_shape_are_named() -> None:
    cfg = calm()
    cfg.rewards["each_joint"] = RewardTerm(lambda state: state.joint_vel, 1.0)
    env = make(cfg, 4)
    env.reset(seed=1)
    with pytest.raises(ValueError, match=r"reward each_joint gives \[4, 12\], not a number for each robot"):
        env.step(torch.zeros(4, 12))
    cfg = calm()
    cfg.observations["height"] = ObservationTerm(lambda state: state.base_pos[:, 2], (1.0,), 0.0, "scalar")
    with pytest.raises(ValueError, match=r"observation height gives \[4\], not numbers for each robot"):
        make(cfg, 4)


def test_a_term_remembers_until_its_episode_ends() -> None:
    env = remembering()
    steps, before = torch.zeros(8), env.get_observations()["policy"][:, -2:].clone()
    for _ in range(25):
        obs, reward, terminated, truncated, info = env.step(torch.zeros(8, 12))
        done, steps = terminated | truncated, steps + 1
        # the episode that ends is judged by what is remembered of it
        assert torch.equal(info["final_obs"]["policy"][:, -2], steps)
        assert (reward > 0.9 * steps * env.step_dt).all()
        steps = steps * ~done
        seen = obs["policy"][:, -2:]
        assert torch.equal(seen[:, 0], steps)
        assert ((seen[:, 1] != before[:, 1]) == done).all()
        assert ((seen[:, 1] >= 0.2) & (seen[:, 1] < 0.5)).all()
        before = seen.clone()


def test_what_a_term_remembers_is_saved() -> None:
    env, twin = remembering(), remembering()
    for _ in range(7):
        env.step(torch.zeros(8, 12))
    twin.load_state_dict(env.state_dict())
    for _ in range(9):
        a, b = (each.step(torch.zeros(8, 12)) for each in (env, twin))
        assert torch.equal(a[0]["policy"], b[0]["policy"]) and torch.equal(a[1], b[1])


def test_each_use_of_a_term_has_a_memory_of_its_own() -> None:
    cfg = calm()
    for name in ("one", "two"):
        cfg.observations[name] = ObservationTerm(since_reset, (1.0,), 0.0, "scalar")
    env = make(cfg, 4)
    obs, _ = env.reset(seed=1)
    assert (obs["policy"][:, -3] != obs["policy"][:, -1]).all()


# ---------------------------------------------------------------------- the documentation's task


@pytest.fixture
def go2_beat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The page's task, as a file that envs/tasks/ finds."""
    block = re.search(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "go2_beat.py").write_text(block[1])
    monkeypatch.setattr(envs.tasks, "__path__", [*envs.tasks.__path__, str(tmp_path / "tasks")])
    monkeypatch.setattr(envs.tasks, "_tasks", {})
    yield "go2_beat"
    sys.modules.pop("envs.tasks.go2_beat", None)


def test_the_worked_task_runs(go2_beat: str) -> None:
    cfg = parse(["--task", go2_beat, "--env.rewards.smooth_tracking.params.sigma", "0.5"])
    env = LeggedEnv(cfg.env, 16, engine="batched", num_threads=1)
    obs, _ = env.reset(seed=1)
    assert obs["policy"].shape == (16, 50)
    for _ in range(5):
        obs, reward, _, _, info = env.step(torch.zeros(16, 12))
    assert torch.isfinite(reward).all()
    assert {"Episode/rew_on_the_beat", "Episode/rew_smooth_tracking"} <= set(info["log"])
    old = ~(info["_final_obs"])
    angle = 2.0 * torch.pi * 2.0 * env.state.time
    torch.testing.assert_close(obs["policy"][old, -2], torch.sin(angle)[old], atol=1e-5, rtol=1e-5)


def test_older_runs_of_a_task_keep_the_terms_they_had(go2_beat: str, tmp_path: Path) -> None:
    """Its file changes: a term goes, another comes, two change places."""
    file, cfg = tmp_path / "config.yaml", parse(["--task", go2_beat])
    save_config(cfg, file)
    recipe = get_task(go2_beat).recipe("fast")
    before = recipe.env

    def changed():
        new = before()
        terms = new.observations
        terms["more"] = ObservationTerm(envs.observations.friction, (1.0,), 0.0, "scalar")
        del terms["beat"]
        new.observations = dict(reversed(terms.items()))
        del new.rewards["smooth_tracking"], new.rewards["on_the_beat"]
        new.rewards["new"] = RewardTerm(envs.rewards.dof_vel, -9.0)
        return new

    changed.__module__ = before.__module__
    object.__setattr__(recipe, "env", changed)
    assert "more" in parse(["--task", go2_beat]).env.observations
    loaded = load_config(file).env
    assert list(loaded.observations) == list(cfg.env.observations)
    assert loaded.observations["beat"] == cfg.env.observations["beat"]
    assert loaded.rewards == cfg.env.rewards
    text = file.read_text().split("\n", 1)[1]
    file.write_text(text.replace("func: smooth_tracking", "func: smoth_trackin"))
    with pytest.raises(ValueError, match="smoth_trackin.*no longer there. Did you mean smooth_tracking"):
        load_config(file)


def test_shipped_policies_do_not_notice_a_new_term(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("go2_flat")
    recipe = task.recipe("fast")
    plain = recipe.env

    def more():
        cfg = plain()
        cfg.observations = {
            "friction": ObservationTerm(envs.observations.friction, (1.0,), 0.0, "scalar")
        } | cfg.observations
        return cfg

    monkeypatch.setitem(task.recipes, "fast", type(recipe)(more, recipe.agent))
    run = open_run(load_run="policies/go2_flat")
    assert (
        "friction" not in run.cfg.env.observations
        and "friction" in parse(["--task", "go2_flat"]).env.observations
    )
    env = LeggedEnv(run.cfg.env, 2, engine="batched", num_threads=1)
    assert env.num_obs == 48
