"""The notebook of the quick start: without outputs as it is committed, and it runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.architecture import ROOT

PATH = ROOT / "docs" / "notebooks" / "quickstart.ipynb"
SMALL = """
REPOSITORY, TASK, ROBOTS, ITERATIONS, EVALUATED, SECONDS = "", "anymal_c_flat", 16, 3, 4, 0.2
MORE = "num_threads=1 agent.eval_envs=2 agent.eval_seconds=0.2"
"""


def test_it_is_committed_without_outputs() -> None:
    for file in ROOT.glob("docs/**/*.ipynb"):
        notebook = nbformat.read(file, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None, file
            assert set(cell.metadata) <= {"tags"}, file
        assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_it_says_that_there_is_no_public_address_yet() -> None:
    cells = nbformat.read(PATH, as_version=4).cells
    (parameters,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert 'REPOSITORY = ""' in parameters and "no public address yet" in parameters
    assert set(re.findall(r"^([A-Z]+) =", parameters, re.M)) == set(
        re.findall(r"\b[A-Z]{4,}\b(?=[,= ])", SMALL)
    )


@pytest.mark.slow
def test_it_trains_evaluates_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = SMALL
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "iteration 3/3" in text and "follows commands within" in text
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert any("<video" in output.get("data", {}).get("text/html", "") for output in outputs)
    (folder,) = tmp_path.glob("logs/anymal_c_flat/*_notebook")
    assert (folder / "model_3.pt").is_file() and (folder / "evaluation.json").is_file()
