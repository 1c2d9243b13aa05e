"""Every how-to page: its files, written where it says, make what it promises, and its commands run as printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import envs.tasks
from envs import LeggedEnv
from envs.tasks import all_tasks
from runs.config import RunConfig, default_config, parse
from terrains.curriculum import STRATEGIES, CurriculumConfig, make_curriculum
from terrains.shapes import SHAPES, make_tile
from tests.docs.pages import DOCS, commands, copy_of_the_program, files, name_of, write_files
from tests.terrains.test_curriculum import episodes

PAGES = [*sorted((DOCS / "howto").glob("*.md")), DOCS / "own_task.md"]
SMALL = {
    "train": "--num_envs 8 --max_iterations 2 --num_threads 1 --agent.eval_envs 0",
    "play": "--num_envs 1 --seconds 0.2 --num_threads 1 --no-video",
    "evaluate": "--num_envs 2 --seconds 1 --num_threads 1 --no-push",
    "experiment": "--num_envs 8 --max_iterations 1 --robots 2 --seeds 1 --shapes slope_up",
    "train_actuator_net": "--fit.updates 5",
    "export": "",
}
"""What is added to a printed command, so that it is done soon."""


def printed(page: Path, script: str) -> list[list[str]]:
    """Flags of each printed call of a script."""
    return [words[2:] for words in commands(page) if words[:2] == ["python", f"scripts/{script}.py"]]


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose envs/tasks/ is looked through like ours; what files register there is forgotten afterwards."""
    monkeypatch.setattr(envs.tasks, "__path__", [*envs.tasks.__path__, str(tmp_path / "envs" / "tasks")])
    monkeypatch.setattr(envs.tasks, "_tasks", {})
    registries: list[dict[str, Any]] = [SHAPES, STRATEGIES]
    before = [dict(registry) for registry in registries]
    yield tmp_path
    for registry, old in zip(registries, before, strict=True):
        registry.clear()
        registry.update(old)
    for name in [name for name in sys.modules if name.startswith("envs.tasks.")]:
        if str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def walk(cfg: RunConfig) -> LeggedEnv:
    """A few steps of four robots."""
    env = LeggedEnv(cfg.env, 4, engine="batched", num_threads=1)
    env.reset(seed=1)
    for _ in range(5):
        obs, reward, *_ = env.step(torch.zeros(4, 12))
    assert torch.isfinite(reward).all() and torch.isfinite(obs["policy"]).all()
    return env


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_makes_can_be_stepped(page: Path, own_tasks: Path) -> None:
    write_files(page, own_tasks)
    assert files(page), "a how-to has a file to write"
    calls = [flags for flags in printed(page, "train") if "my_drive.pt" not in flags]
    assert calls
    cfg = parse([flag for flag in calls[0] if flag != "--check"])
    walk(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_s_commands_run_as_printed(page: Path, tmp_path: Path) -> None:
    write_files(page, copy_of_the_program(tmp_path))
    for words in commands(page):
        assert words[0] == "python", words
        script = Path(words[1]).stem
        # the folder alone is on the path: nothing of the repository is imported in its place
        added = SMALL[script].split() if words[1].startswith("scripts/") else []
        line = [sys.executable, *words[1:], *added]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


# ---------------------------------------------------------------------- what the pages promise


def test_power_counts_only_beyond_the_allowance(own_tasks: Path) -> None:
    write_files(DOCS / "howto" / "reward.md", own_tasks)
    cfg = parse(["--task", "go2_power"])
    power = cfg.env.rewards["power"].func
    env = walk(cfg)
    watts = power(env.state, free=0.0)
    assert (watts > 0.0).all() and (power(env.state, free=1e6) == 0.0).all()


def test_the_policy_sees_where_joints_were(own_tasks: Path) -> None:
    write_files(DOCS / "howto" / "observation.md", own_tasks)
    cfg = parse(["--task", "go2_blind", "--env.noise.no-enabled", "--env.init.no-random-first-episode"])
    env = LeggedEnv(cfg.env, 4, engine="batched", num_threads=1)
    env.reset(seed=1)
    seen = [env.step(torch.randn(4, 12))[0]["policy"].clone() for _ in range(6)]
    names = list(cfg.env.terms_of("policy"))
    assert "base_lin_vel" not in names and "base_lin_vel" in cfg.env.terms_of("critic")
    # the last twelve columns are the joints three steps ago; angular velocity, gravity, command: nine before them
    assert torch.allclose(seen[5][:, -12:], seen[2][:, 9:21])


def test_ridges_grow_with_difficulty(own_tasks: Path) -> None:
    write_files(DOCS / "howto" / "terrain.md", own_tasks)
    cfg = default_config("go2_ridges")
    assert cfg.env.terrain.column_shapes().count("ridges") == cfg.env.terrain.columns // 2
    easy, hard = (make_tile("ridges", d, 8.0, 0.1, np.random.default_rng(1)) for d in (0.0, 1.0))
    assert easy.max() == 0.02 and hard.max() == 0.15
    assert (hard > 0.0).mean() > (easy > 0.0).mean()
    assert (hard[30:50, 30:50] == 0.0).all()


def test_patience_waits_for_the_others(own_tasks: Path) -> None:
    write_files(DOCS / "howto" / "curriculum.md", own_tasks)
    all_tasks()  # looks into the files
    patient = make_curriculum(CurriculumConfig("patient"), 10, 1, torch.device("cpu"))
    done, random = torch.ones(2, dtype=torch.bool), torch.zeros(2)
    followed = episodes(2)
    assert (patient.next_levels(followed, done, random) == followed.level).all()
    patient.buffers["episodes"].fill_(100.0)
    patient.buffers["successes"].fill_(90.0)
    assert (patient.next_levels(followed, done, random) == followed.level + 1).all()
