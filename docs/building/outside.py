"""Pages link to reports in benchmarks/results/, which lie outside of docs/: the site gets them at the same path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = "benchmarks/results"


def on_files(files: Files, config: Any) -> Files:
    """Add the reports, with what they show."""
    root = Path(config.config_file_path).parent
    for path in sorted((root / RESULTS).rglob("*")):
        if path.is_file() and path.suffix in (".md", ".png", ".csv", ".yaml", ".jsonl"):
            name = path.relative_to(root).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link that leaves docs/ on the disk stays inside on the site."""
    return (
        markdown.replace("(../benchmarks/", "(benchmarks/") if page.file.src_uri.count("/") == 0 else markdown
    )
