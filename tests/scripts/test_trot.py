"""`trot`: every command by its name, from any folder, and from an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import trot

ROOT = Path(__file__).resolve().parents[2]


def run(*args: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(arg) for arg in args], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    asked = "import sys; sys.argv = ['trot']; from scripts import trot; trot.main(); print('torch' in sys.modules)"
    done = run(sys.executable, "-c", asked, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    for file in (ROOT / "scripts").glob("[!_]*.py"):
        assert file.stem == "trot" or f"\n  {file.stem.replace('_', '-')} " in done.stdout
    assert "\n  list " in done.stdout and done.stdout.endswith("False\n")
    assert all(len(what) > 10 for what in trot.commands().values())


def test_an_unknown_command_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trot", "trian"])
    assert trot.main() == 2
    error = capsys.readouterr().err
    assert "unknown command 'trian'" in error and "Did you mean train" in error and error.count("\n") == 1


def test_a_command_is_the_script(tmp_path: Path) -> None:
    calls = ["scripts/trot.py", "export"], ["scripts/export.py"]
    new, old = (run(sys.executable, *call, "--help", cwd=ROOT) for call in calls)
    assert new.returncode == old.returncode == 0
    assert new.stdout.startswith("usage: trot export ")
    assert new.stdout.split("\n")[1:] == old.stdout.split("\n")[1:]
    bad = run(sys.executable, ROOT / "scripts" / "trot.py", "train", "--num_envs", "0", cwd=tmp_path)
    assert bad.returncode == 2 and bad.stderr == "trot train: --num_envs must be at least 1, not 0\n"
    listed = run(sys.executable, ROOT / "scripts" / "trot.py", "list", cwd=tmp_path)
    assert listed.returncode == 0 and "anymal_c_rough" in listed.stdout


def test_a_command_starts_as_the_script_does(tmp_path: Path) -> None:
    ask = """
import os, runpy, sys
sys.argv = ["trot", *sys.argv[1:]]
try:
    runpy.run_module("scripts.trot", run_name="__main__")
except SystemExit as end:
    print(end.code, "torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"))
"""
    env = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    env["PYTHONPATH"] = str(ROOT)
    without = run(sys.executable, "-c", ask, "sim2sim", "--policy", "none", cwd=tmp_path, env=env)
    assert without.stdout == "2 False None\n" and without.stderr.startswith("sim2sim.py: ")
    with_torch = run(sys.executable, "-c", ask, "list", cwd=tmp_path, env=env)
    assert with_torch.stdout.endswith("\n0 True 20000\n"), with_torch.stderr


def test_a_shell_completes_commands_and_flags(tmp_path: Path) -> None:
    made = run(sys.executable, ROOT / "scripts" / "trot.py", "completion", "bash", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    script = tmp_path / "trot.sh"
    script.write_text(
        made.stdout
        + """
ask() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
  $(complete -p trot | sed 's/.*-F \\([^ ]*\\).*/\\1/') trot "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"
}
ask trot tra; ask trot train --num; ask trot play --poli
"""
    )
    done = run("bash", script, cwd=tmp_path)
    commands, train, play = done.stdout.splitlines()
    assert "train" in commands.split() and "play" not in commands
    assert train.split() == ["--num-envs", "--num-threads"] and play.split() == ["--policy"]
    assert (
        run(sys.executable, ROOT / "scripts" / "trot.py", "completion", "fish", cwd=tmp_path).returncode == 2
    )


@pytest.mark.slow
def test_an_installed_wheel_trains_plays_and_evaluates(tmp_path: Path) -> None:
    source, site, here = tmp_path / "source", tmp_path / "site", tmp_path / "here"
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # the lock holds setuptools, so that no index is asked
    here_alone = "-q", "--no-deps", "--no-build-isolation"
    built = run(*pip, "wheel", *here_alone, "-w", tmp_path / "dist", source, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    left_out = "tests/", "docs/", "benchmarks/results/"
    kinds = ".py", ".txt", ".xml", ".cpp", ".h", ".pt", ".yaml", "figures.json", "policy.json", "policy.onnx"
    read = {name for name in listed if "/" in name and name.endswith(kinds) and (source / name).is_file()}
    assert names == {name for name in read if not name.startswith((".", *left_out))}

    assert run(*pip, "install", "-q", "--no-deps", "--target", site, wheel, cwd=tmp_path).returncode == 0
    here.mkdir()
    env = {**os.environ, "PYTHONPATH": str(site)}
    where = run(sys.executable, "-P", "-c", "import envs; print(envs.__file__)", cwd=here, env=env)
    assert Path(where.stdout.strip()).is_relative_to(site)

    def trot(*args: str) -> str:
        done = run(sys.executable, "-P", site / "bin" / "trot", *args, cwd=here, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "train-actuator-net" in trot("--help") and "go2_rough" in trot("list")
    trot("train", "--num_envs", "32", "--max_iterations", "5", "--agent.eval_envs", "4")
    (checkpoint,) = here.glob("logs/anymal_c_flat/*/model_5.pt")
    assert "lin_vel_error=" in trot("play", "--num_envs", "2", "--seconds", "0.2")
    assert (checkpoint.parent / "exported" / "policy.onnx").is_file()
    before = {path: path.stat().st_mtime_ns for path in (site / "policies").rglob("*")}
    shipped = "--policy", "anymal_c_flat", "--num_envs", "8", "--seconds", "3", "--no-push"
    figures = dict(pair.split("=") for pair in trot("evaluate", *shipped).splitlines()[-1].split())
    assert float(figures["falls"]) == 0.0 and float(figures["lin_vel_error"]) < 0.3
    # it may lie where nobody can write
    assert {path: path.stat().st_mtime_ns for path in (site / "policies").rglob("*")} == before
    assert (here / "logs" / "policies" / "anymal_c_flat" / "evaluation.json").is_file()
