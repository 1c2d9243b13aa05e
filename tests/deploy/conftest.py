"""Exports that tests of this folder share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envs.legged_env import LeggedEnv
from tests.deploy.common import export_flat, export_rough, nominal_env, rough_env


@pytest.fixture(scope="session")
def env() -> LeggedEnv:
    """One nominal robot that keeps its first command."""
    return nominal_env()


@pytest.fixture(scope="session")
def run_folder(env: LeggedEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a small random policy that moves its legs, and its export."""
    folder = tmp_path_factory.mktemp("run")
    export_flat(env, folder)
    return folder


@pytest.fixture
def exported(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may spoil."""
    return Path(shutil.copytree(run_folder / "exported", tmp_path / "exported"))


@pytest.fixture(scope="session")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export of a policy with a height scan."""
    return export_rough(rough_env("minimum"), tmp_path_factory.mktemp("rough"))
