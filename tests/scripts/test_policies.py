"""The policies that come with the repository are what their figures say."""

from __future__ import annotations

import json
import shlex

import pytest
import torch

from runs.config import load_config, parse
from runs.folders import POLICIES, RunFlags, open_flags

NAMES = sorted(path.parent.name for path in POLICIES.glob("*/config.yaml"))


def test_there_are_policies() -> None:
    assert {"anymal_c_flat", "anymal_c_rough", "cassie_flat"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_opens_and_its_command_makes_its_configuration(name: str) -> None:
    run = open_flags(RunFlags(policy=name))
    figures = json.loads((POLICIES / name / "figures.json").read_text())
    assert run.content["iteration"] == figures["iteration"] and run.cfg.task == figures["task"]
    weights = run.content["policy"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    told = parse(shlex.split(figures["train"])[2:])
    cfg = load_config(POLICIES / name / "config.yaml")
    assert told.env == cfg.env and told.agent == cfg.agent
    assert (told.num_envs, told.max_iterations, told.seed) == (cfg.num_envs, cfg.max_iterations, cfg.seed)
    nominal = figures["evaluation"]["nominal"]
    assert nominal["lin_vel_error"] < 0.15 or name.endswith("_rough")
