"""What the documentation prints: blocks, commands, links, and a copy of the program to try them in."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.architecture import ROOMS, ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
FENCE = re.compile(r"^```(?P<language>\w*)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    file: str
    """Where the page says that it goes; empty for nowhere."""
    text: str


def pages() -> list[Path]:
    """README and every page of the documentation."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """A page as its test is called."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = FENCE.finditer(page.read_text())
    return [Block(each["language"], each["file"] or "", each["text"]) for each in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def files(page: Path) -> dict[str, str]:
    """The files that a page tells its reader to write."""
    return {block.file: block.text for block in blocks(page) if block.file}


def write_files(page: Path, folder: Path) -> None:
    """Do as the page says."""
    for name, text in files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def lines(text: str) -> Iterator[list[str]]:
    """Words of each command of a block: continued lines joined, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def commands(page: Path) -> list[list[str]]:
    """Every command that a page prints for a shell, in order: blocks that name a language are no shell's but `sh`."""
    shell = [block.text for block in blocks(page) if block.language in ("", "sh")]
    return [words for text in shell for words in lines(text)]


def copy_of_the_program(folder: Path) -> Path:
    """The rooms' files alone, where a test may write what a page says; returns the folder."""
    left_out = shutil.ignore_patterns("__pycache__", "results", "logs")
    for room in (*ROOMS, "policies"):
        shutil.copytree(ROOT / room, folder / room, ignore=left_out)
    return folder
