"""README and the documentation: links lead somewhere, commands and flags exist, every page is found from the site."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown.extensions.toc import slugify  # type: ignore[import-untyped]

from deploy.flags import UNITS
from runs.config import default_config
from runs.flags import values
from tests.architecture import ROOMS, ROOT
from tests.docs.pages import DOCS, README, commands, files, name_of, pages, prose

LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")
OTHERS = (
    "torchrun",
    "srun",
    "pip",
    "python3",
    "make",
    "tensorboard",
    "git",
    "apt",
    "g++",
    "./deploy",
    "export",
)
"""Commands that are not ours."""
SIM2SIM = (
    "policy model terrain difficulty heights cell ground contact_time episodes seconds seed threads json help"
)
OF_TERMS = "--env.rewards.", "--env.observations.", "--env.terrain.parameters.", "--env.terrain.proportions."
ELSEWHERE = "docs/migration/"
"""Pages that name other projects' flags."""


# ---------------------------------------------------------------------- README


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 100


def test_a_sentence_is_said_once() -> None:
    """README points to the pages instead of repeating them."""

    def sentences(page: Path) -> set[str]:
        text = re.sub(r"^\|.*$|^#.*$", "", prose(page), flags=re.M)
        return {" ".join(s.split()) for s in re.split(r"(?<=[.:])\s", text) if len(s) > 60}

    said = sentences(README)
    assert said
    for page in pages():
        assert page == README or not said & sentences(page), name_of(page)


# ---------------------------------------------------------------------- links


def links(page: Path) -> list[str]:
    return [link for link in LINK.findall(prose(page)) if not re.match(r"https?:", link)]


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as the site and hosts of repositories make them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {slugify(re.sub(r"[`*]", "", title), "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        # what the API's pages have is made of docstrings: `make check` builds the site and looks
        if anchor and "api" not in target.parts and "." not in anchor:
            assert anchor.strip("-") in {name.strip("-") for name in anchors(target)}, link


def test_links_are_found() -> None:
    assert len(links(README)) > 15 and sum(len(links(page)) for page in pages()) > 80


# ---------------------------------------------------------------------- the site


def test_every_page_is_found_from_the_site() -> None:
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text())
    site: dict[str, Any] = yaml.safe_load(text)

    def named(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for item in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from named(item)

    unfinished = {line.strip("/ ") for line in site["not_in_nav"].split()} - {"benchmarks"}
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(named(site["nav"])) == there - unfinished
    for name in unfinished:  # headings alone, until there is something to say
        assert not re.sub(r"^#.*$", "", (DOCS / name).read_text(), flags=re.M).strip(), (
            f"{name} belongs into the nav"
        )


def test_nothing_is_fetched() -> None:
    for page in pages():
        assert "```mermaid" not in page.read_text(), f"{name_of(page)}: the theme would fetch what draws it"
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["theme"]["font"] is False


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=name_of)
def test_the_api_names_what_there_is(page: Path) -> None:
    named = re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    assert named
    for name in named:
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found: Any = importlib.import_module(".".join(parts[:cut]))
            except ModuleNotFoundError as error:
                if error.name and error.name.split(".")[0] not in ROOMS:
                    return  # a library that is not installed here
                continue
            for part in parts[cut:]:
                found = getattr(found, part)
            assert found.__doc__, name
            break
        else:
            raise AssertionError(name)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert not fetched, f"{page.name} fetches {fetched}"
    assert (tmp_path / "benchmarks/results/curriculum/report.html").is_file()


# ---------------------------------------------------------------------- commands and flags


@cache
def flags_of_command(name: str) -> frozenset[str]:
    """Flags that a command of ours takes, with underscores."""
    if name == "sim2sim":
        return frozenset({f"--{flag}" for flag in (*SIM2SIM.split(), *UNITS)})
    if name == "train":
        default = default_config("anymal_c_rough")
        found = [*dict(values(default)), "--list", "--help", "--help-all"]
    elif name == "quickstart":
        return flags_of_command("train") | {"--eval_envs"}
    else:
        module = importlib.import_module(f"scripts.{name}")
        found = list(dict(values(module.Flags())))
    known = {flag.replace("-", "_").replace("__", "--", 1) for flag in found} | {"--help"}
    return frozenset(known | {re.sub(r"(--|\.)(?=\w+$)", r"\1no_", flag) for flag in known})


def unknown(flag: str, name: str, page: Path) -> bool:
    """Whether a command has no such flag; flags of what a page itself adds are looked for in its text."""
    flag = flag.split("=")[0]
    plain = "--" + flag[2:].replace("-", "_")
    if plain in flags_of_command(name):
        return False
    term = plain.split(".")[3 if plain.startswith("--env.terrain.p") else 2 :][:1]
    own = "".join(files(page).values())
    return not (term and term[0] in own and plain.startswith(OF_TERMS))


def our_command(words: list[str]) -> tuple[str, list[str]] | None:
    """Name and flags of a command of ours; None for others."""
    for i, word in enumerate(words):
        if found := re.fullmatch(r"(?:\S*/)?scripts/(\w+)\.py", word):
            return found[1], words[i + 1 :]
    if words[0] == "trot" and len(words) > 1 and words[1] not in ("list", "completion", "...", "--help"):
        return words[1].replace("-", "_"), words[2:]
    return None


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_flags_in_commands_exist(page: Path) -> None:
    inline = re.findall(r"`((?:python scripts/|trot )[^`]+)`", prose(page))
    spoken = [line.split() for line in inline if "..." not in line]
    for words in [*commands(page), *spoken]:
        if call := our_command(words):
            name, flags = call
            assert (ROOT / "scripts" / f"{name}.py").is_file(), words
            wrong = [flag for flag in flags if flag.startswith("--") and unknown(flag, name, page)]
            assert not wrong, f"{' '.join(words)}: {wrong}"
        else:
            assert words[0] in (*OTHERS, "#", "trot", "python"), words


@pytest.mark.parametrize("page", [p for p in pages() if ELSEWHERE not in name_of(p)], ids=name_of)
def test_flags_in_the_text_exist(page: Path) -> None:
    ours = [file.stem for file in (ROOT / "scripts").glob("[!_]*.py") if file.stem != "trot"]
    theirs = {"--max_restarts", "--nproc_per_node", "--strict", "--no-deps", "--nodes"}
    for code in re.findall(r"`([^`]*--[^`]*)`", prose(page)):
        if re.match(r"sbatch|pip|-I|mkdocs", code):
            continue
        for flag in re.findall(r"(?<![\w-])--[a-zA-Z][\w.*-]*", code):
            if flag in theirs or flag.endswith((".", "_")):
                continue
            assert not all(unknown(flag, name, page) for name in ours), f"{code}: {flag}"


@pytest.mark.parametrize("page", sorted((DOCS / "migration").glob("*.md")), ids=name_of)
def test_fields_that_migration_pages_name_exist(page: Path) -> None:
    """The right column names ours, such as `env.commands.heading`."""
    known = {flag.removeprefix("--") for flag in flags_of_command("train")}
    groups = {".".join(name.split(".")[:i]) for name in known for i in range(1, name.count(".") + 1)}
    columns = [row.split(" | ")[-1] for row in re.findall(r"^\| .+ \|$", page.read_text(), re.M)]
    named = [
        code.split()[0] for column in columns for code in re.findall(r"`((?:env|agent)\.[^`]+)`", column)
    ]
    assert len(named) > 15
    assert not [
        name for name in named if name not in known | groups and ".X." not in name and ".params" not in name
    ]


# ---------------------------------------------------------------------- what is quoted


@cache
def said() -> str:
    """Every text in the code, a line each, with ... for what differs."""
    texts: list[str] = []
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(" ".join(text.split()) for text in texts)


def test_quoted_sentences_are_the_program_s() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = re.findall(r"^\*\*`([^`]+)`", page, re.M) + re.findall(
        r"^\| `([^`]+)`(?:, `[^`]+`)? \|", page, re.M
    )
    assert len(quoted) > 18
    for sentence in quoted:
        pieces = [re.escape(piece) for piece in re.split(r"\s*\.\.\.\s*", sentence.strip(" ,."))]
        assert re.search(".*".join(pieces), said()), sentence


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    rooms = "|".join((*ROOMS, "tests", "docs", "policies"))
    kinds = "py|md|xml|cpp|yaml|jsonl"
    for path in re.findall(rf"`((?:{rooms})/[\w/.-]+\.(?:{kinds}))`", prose(page)):
        assert (ROOT / path).exists() or path in files(page), path
