"""Checkpoints: written atomically, read without executing code, refused with one sentence."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

FORMAT = "trot-checkpoint-1"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a crash leaves either the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: the file is missing, truncated, or not one of ours.
    """
    content = read(path, device)
    if content.get("format") != FORMAT:
        raise ValueError(f"checkpoint {path} was not written by this program (format {FORMAT} expected)")
    return content


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint, whoever wrote it; ValueError if it is missing or damaged, or no dictionary."""
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist{_choices(path.parent)}")
    try:
        # torch does not look at the checksums that it writes
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise ValueError(f"checksum of {broken}")
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        reason = str(error).split("\n")[0][:100]
        raise ValueError(f"checkpoint {path} is damaged or not a checkpoint ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint {path} was not written by this program (format {FORMAT} expected)")
    return content


def part(path: Path, rank: int) -> Path:
    """Beside a checkpoint, the file of one of the other processes that made it."""
    return path.with_suffix(f".rank{rank}.pt")


def available(folder: Path) -> dict[int, Path]:
    """Iteration -> path of every `model_<iteration>.pt` in a folder, ascending."""
    found = ((re.fullmatch(r"model_(\d+)\.pt", path.name), path) for path in folder.glob("model_*.pt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _choices(folder: Path) -> str:
    iterations = list(available(folder))
    return f"; {folder} has iterations {', '.join(map(str, iterations))}" if iterations else ""
