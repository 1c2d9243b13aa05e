"""What a run was made by, `run.yaml`: command line, commits, versions, machine and plugins."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from envs.plugins import LOADED, digest
from runs.machine import commit, describe_machine

FILE = "run.yaml"


def write_record(
    folder: Path, device: str, plugins: Sequence[str] = (), notes: str = "", iteration: int = 0
) -> None:
    """Note in a run's folder by what it begins, or goes on.

    Args:
        folder: the run's.
        device: where it trains.
        plugins: paths of those that the run was given.
        notes: what is said of a run that goes on; a new one has its notes in its configuration.
        iteration: where it goes on from.
    """
    record = read_record(folder)
    now = {
        "command": shlex.join(sys.argv),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        **commit(Path(__file__).parent),
    }
    machine = describe_machine(device)
    machine = {name: value for name, value in machine.items() if name not in ("load", "commit")}
    if "command" not in record:
        record |= {**now, "machine": machine, "plugins": _plugins(plugins)}
    else:
        begun = yaml.safe_load((folder / "config.yaml").read_text()).get("notes", "")
        said = {"notes": notes} if notes != begun else {}
        new = {"machine": machine} if machine != record.get("machine") else {}
        record.setdefault("resumed", []).append({"iteration": iteration, **now, **said, **new})
    save_record(folder, record)


def read_record(folder: Path) -> dict[str, Any]:
    """What a run's folder says of its making; nothing where it does not, or cannot be read."""
    try:
        record = yaml.safe_load((folder / FILE).read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return record if isinstance(record, dict) else {}


def save_record(folder: Path, record: dict[str, Any]) -> None:
    """Write it, whole or not at all."""
    temporary = folder / f".{FILE}.{os.getpid()}"
    temporary.write_text(yaml.safe_dump(record, sort_keys=False, width=1000))
    os.replace(temporary, folder / FILE)


def _plugins(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The plugins that are loaded: where they are, their contents' SHA-256 and the commit of their folder."""
    named = {Path(path).stem: Path(path) for path in paths}  # what is loaded may be a copy
    found = []
    for plugin in LOADED.values():
        source = named.get(plugin.name, plugin.source)
        entry = {"name": plugin.name, "from": str(source), "package": plugin.package, "holds": plugin.holds}
        entry["sha256"] = plugin.digest or digest(source)
        found.append(entry | commit(source if source.is_dir() else source.parent))
    return found


def origin_of(folder: Path, task: str) -> str:
    """Where a task came from that is not here: what to say of the installed plugin that brought it, or nothing."""
    for plugin in read_record(folder).get("plugins", ()):
        if task in plugin.get("holds", {}).get("task", ()):
            package = plugin.get("package", "")
            gone = f"the package {package}, which is not installed or cannot be loaded"
            return f"; it came from {gone if package else plugin['from']}"
    return ""
