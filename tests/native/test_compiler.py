"""Generated code is compiled once, whoever asks for it, and a machine that cannot compile says so."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from native import NoCompiler, build, compiler


def answer(value: int, padding: int = 0) -> str:
    """A small library; `padding` bytes make it long to write."""
    table = f"extern const char table[{padding}] = {{1}};\n" if padding else ""
    return f'{table}extern "C" int answer() {{ return {value}; }}\n'


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a compiler looked for anew."""
    monkeypatch.setenv("TROT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    compiler.find_compiler.cache_clear()
    yield tmp_path / "cache"
    compiler.find_compiler.cache_clear()


def fake_compiler(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_second_build_loads_what_the_first_compiled(cache_folder: Path, monkeypatch) -> None:
    assert build(answer(7)).answer() == 7
    (library,) = cache_folder.iterdir()
    written = library.stat().st_mtime_ns

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the compiler was called again")

    monkeypatch.setattr(compiler.subprocess, "run", refuse)
    assert build(answer(7)).answer() == 7
    assert list(cache_folder.iterdir()) == [library] and library.stat().st_mtime_ns == written
    with pytest.raises(AssertionError, match="called again"):
        build(answer(8))


def test_whatever_changes_the_code_changes_the_library(cache_folder: Path, monkeypatch) -> None:
    assert build(answer(1)).answer() == 1
    assert build(answer(2)).answer() == 2
    assert build(answer(1), "plain").answer() == 1
    assert len(list(cache_folder.iterdir())) == 3
    path, version = compiler.find_compiler()
    for name, changed in (("find_compiler", (path, version + ".1")), ("cpu_features", "another processor")):
        before = len(list(cache_folder.iterdir()))
        with monkeypatch.context() as patch:
            patch.setattr(compiler, name, lambda changed=changed: changed)
            assert build(answer(1)).answer() == 1
        assert len(list(cache_folder.iterdir())) == before + 1, name


def _build_at_once(barrier: Any, results: Any) -> None:
    barrier.wait()
    results.put(build(answer(11, padding=4_000_000)).answer())


def test_many_processes_leave_one_complete_library(cache_folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_build_at_once, args=(barrier, results)) for _ in range(8)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert answers == [11] * 8 and not any(process.exitcode for process in processes)
    (library,) = cache_folder.iterdir()
    assert library.suffix == ".so" and library.stat().st_size > 4_000_000


def test_a_build_that_is_killed_leaves_nothing_that_is_loaded(cache_folder: Path, monkeypatch) -> None:
    def die(command: list[str], **_: Any) -> None:
        Path(command[-1]).write_bytes(b"half a library")
        raise KeyboardInterrupt

    compiler.find_compiler()
    with monkeypatch.context() as patch:
        patch.setattr(compiler.subprocess, "run", die)
        with pytest.raises(KeyboardInterrupt):
            build(answer(5))
    assert not list(cache_folder.glob("*.so"))
    assert build(answer(5)).answer() == 5


def one_sentence(error: pytest.ExceptionInfo[NoCompiler]) -> str:
    message = str(error.value)
    assert "\n" not in message and 10 < len(message) < 300
    return message


def test_no_compiler(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler) as error:
        build(answer(1))
    assert "install g++" in one_sentence(error)


def test_cxx_names_the_compiler(tmp_path: Path, monkeypatch) -> None:
    real, _ = compiler.find_compiler()
    compiler.find_compiler.cache_clear()
    log = tmp_path / "log"
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "mine", f'echo "$@" >> {log}\nexec {real} "$@"'))
    assert build(answer(3)).answer() == 3
    assert "-march=native" in log.read_text()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch) -> None:
    script = (
        '[ "$1" = --version ] && echo version 1 && exit\necho "note" >&2; echo "error: no room" >&2; exit 1'
    )
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "broken", script))
    with pytest.raises(NoCompiler) as error:
        build(answer(1))
    assert "broken fails: error: no room" in one_sentence(error)


def test_without_openmp_the_code_is_compiled_all_the_same(
    tmp_path: Path, cache_folder: Path, monkeypatch
) -> None:
    real, _ = compiler.find_compiler()
    compiler.find_compiler.cache_clear()
    script = f'case "$*" in *-fopenmp*) echo "error: no openmp" >&2; exit 1;; esac\nexec {real} "$@"'
    monkeypatch.setenv("CXX", fake_compiler(tmp_path / "simple", script))
    assert build(answer(4)).answer() == 4
    assert len(list(cache_folder.iterdir())) == 1


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_cache_folder_that_cannot_be_written(below: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TROT_CACHE", str(tmp_path / "file" / below))
    with pytest.raises(NoCompiler) as error:
        build(answer(1))
    assert str(tmp_path / "file") in one_sentence(error) and "set TROT_CACHE" in one_sentence(error)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TROT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(NoCompiler, match="set TROT_CACHE"):
        build(answer(1))


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
def test_a_cache_folder_of_somebody_else(mode: int, monkeypatch) -> None:
    compiler.find_compiler()
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TROT_CACHE", folder)
        Path(folder).chmod(mode)
        me = os.geteuid()
        try:
            if me == 0:  # root may write everywhere
                os.seteuid(65534)
            with pytest.raises(NoCompiler) as error:
                build(answer(1))
        finally:
            os.seteuid(me)
            Path(folder).chmod(0o700)
        assert folder in one_sentence(error)


def test_a_library_that_cannot_be_loaded(tmp_path: Path, cache_folder: Path, monkeypatch) -> None:
    # as on a disk that is mounted noexec
    build(answer(6))
    (library,) = cache_folder.iterdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / library.name).write_bytes(b"nothing that can be loaded")
    monkeypatch.setenv("TROT_CACHE", str(other))
    with pytest.raises(NoCompiler) as error:
        build(answer(6))
    assert library.name in one_sentence(error)
