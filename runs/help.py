"""What `--help` prints of a configuration: its own flags and its groups, one group, or everything."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from robots.config import nearest

ALL = "--help-all"
WIDTH = 80


def take_help(args: list[str]) -> tuple[list[str], str | None]:
    """Arguments without those that ask for help, and what is asked for.

    That is a group's name, `--help-all` for everything, '' for the first page, and None where no help is asked for.
    """
    rest: list[str] = []
    asked: str | None = None
    for before, arg in zip(["", *args], args, strict=False):
        if arg in ("-h", "--help", ALL):
            asked = asked or (ALL if arg == ALL else "")
        elif before in ("-h", "--help") and not arg.startswith("-") and "=" not in arg:
            asked = arg
        else:
            rest.append(arg)
    return rest, asked


def show_help(default: Any, asked: str) -> None:
    """Print help about a dataclass, with its values as defaults; see `take_help`.

    Raises:
        ValueError: a group that does not exist, the sentence lists the nearest.
    """
    if asked == ALL:
        return _print(type(default), default)
    path = asked.replace("-", "_")
    value, hint = default, type(default)
    for name in path.split(".") if path else ():
        inside = _parts(value, hint)
        if name not in inside:
            raise ValueError(f"--help {asked}: there is no such group.{nearest(path, _all_groups(default))}")
        if not _parts(*inside[name]):  # a single value: it is shown with those beside it
            path = path.rpartition(".")[0]
            break
        value, hint = inside[name]
    groups = _groups(value, path)
    _print(_without_groups(value) if groups else hint, value, path)
    if groups:
        print("groups of values; each is a flag: --a.b.c 1 2, or a.b.c=[1,2]")
    for name, group in groups.items():
        print(
            textwrap.fill(_summary(group), WIDTH, initial_indent=f"  {name:18} ", subsequent_indent=" " * 21)
        )
    if groups:
        print(f"\n--help {list(groups)[-1]} prints that group's values, {ALL} those of all.")


def _parts(value: Any, hint: Any) -> dict[str, tuple[Any, Any]]:
    """What a dataclass or a dictionary holds: name -> value and its type."""
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value))
        return {f.name: (getattr(value, f.name), hints[f.name]) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: (item, get_args(hint)[1]) for name, item in value.items()}
    return {}


def _groups(value: Any, path: str) -> dict[str, Any]:
    """The groups in a dataclass, and those in them: path -> dataclass or dictionary of dataclasses."""
    found: dict[str, Any] = {}
    for name, (item, _) in _parts(value, dict).items() if dataclasses.is_dataclass(value) else ():
        where = f"{path}.{name}" if path else name
        held = list(item.values()) if isinstance(item, dict) else [item]
        if held and dataclasses.is_dataclass(held[0]):
            found |= {where: item, **_groups(item, where)}
    return found


def _all_groups(value: Any) -> list[str]:
    return list(_groups(value, ""))


def _summary(value: Any) -> str:
    """The first line of what a group's docstring says."""
    kind = type(next(iter(value.values()))) if isinstance(value, dict) else type(value)
    line = (kind.__doc__ or "").strip().split("\n")[0].rstrip(".")
    return f"{line}; {len(value)} terms" if isinstance(value, dict) else line


def _without_groups(value: Any) -> Any:
    """The dataclass of `value`, in which tyro does not show the groups."""
    hints = get_type_hints(type(value))
    names = {group.split(".")[0] for group in _groups(value, "")}
    hidden = [(n, Annotated[hints[n], tyro.conf.Suppress], dataclasses.field(default=None)) for n in names]
    kind = dataclasses.make_dataclass(type(value).__name__, hidden, bases=(type(value),))
    kind.__doc__ = type(value).__doc__
    return kind


def _print(kind: Any, value: Any, path: str = "") -> None:
    """Print tyro's help for a value of a type, whose flags begin with `path`."""
    if dataclasses.is_dataclass(kind) and kind is not type(value):  # what `_without_groups` made
        made: Any = kind
        value = made(**{f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    title = kind.__doc__ or ""
    if path:
        title = f"The values of {path}."
        part = Annotated[kind, tyro.conf.arg(name=path)]
        kind = dataclasses.make_dataclass("Part", [("part", part)])
        value = kind(value)
    try:
        tyro.cli(kind, default=value, args=["--help"], description=title)
    except SystemExit as end:
        if end.code:
            raise
