"""Flags of a command: every value of a dataclass, as `--a.b c` or as `a.b=c`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro

from robots.config import check_numbers, nearest
from runs import plugins

T = TypeVar("T")


def parse_flags(default: T, argv: Sequence[str] | None = None) -> T:
    """A copy of a dataclass changed by flags (the command line's by default); `_` and `-` are the same.

    Raises:
        ValueError: a flag that does not exist, the sentence lists the nearest valid ones; or a bad value.
    """
    config, unknown = peek(default, argv)
    for arg in unknown:
        raise ValueError(_unknown(arg.split("=")[0], default))
    return config


def refuse(flags: Any, why: str, *names: str) -> None:
    """ValueError for the first of these flags whose value is not the default's: what is asked for has no use for it.

    Args:
        flags: a dataclass, as the command line changed it.
        why: how the sentence ends that the flag begins.
        names: of its values.
    """
    default = type(flags)()
    for name in names:
        if (value := getattr(flags, name)) != getattr(default, name):
            raise ValueError(f"--{'no-' if value is False else ''}{name} {why}")


def peek(default: T, argv: Sequence[str] | None = None) -> tuple[T, list[str]]:
    """A dataclass changed by its flags, and the rest of the line; ValueError with what tyro says of a bad value."""
    translated = _translated(plugins.together(sys.argv[1:] if argv is None else argv), default)
    # an override that is not known: a list that comes before it would take it for its own
    strays = [arg for part, stray in translated if stray for arg in part]
    args = _plain_switches([arg for part, stray in translated if not stray for arg in part], default)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            config, unknown = tyro.cli(type(default), args=args, default=default, return_unknown_args=True)
    except SystemExit as end:
        if not end.code:  # --help
            raise
        lines = "\n".join(line.strip("│ ") for line in box.getvalue().splitlines()[1:])
        sentence = re.split(r"\n[─-]*\n", lines.lstrip("─-\n"))[0]  # up to an empty or a drawn line
        raise ValueError(_with_default(" ".join(sentence.split()), default)) from end
    for name, value in vars(config).items():
        check_numbers(value, name if dataclasses.is_dataclass(value) else f"--{name}")
    return config, [*unknown, *strays]


def _with_default(sentence: str, default: Any) -> str:
    """What tyro says of a flag's value, and what a good one looks like where it does not list the choices."""
    known = dict(values(default))
    value = next((known[name] for name in re.findall(r"--[\w.-]*\w", sentence) if name in known), None)
    if value in (None, "", ()) or "one of" in sentence:
        return sentence
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"{sentence.rstrip('.')}; its default is {shown}"


# ---------------------------------------------------------------------- a.b=c


def as_flags(args: list[str], default: Any) -> list[str]:
    """Overrides `a.b=c` of a dataclass's values as flags; those that it does not know come first, as they are.

    A list is [1,2], what is switched true or false, and none (or null) is none, or nothing where text is asked for.
    """
    parts = sorted(_translated(args, default), key=lambda part: not part[1])
    return [arg for part, _ in parts for arg in part]


def _translated(args: list[str], default: Any) -> list[tuple[list[str], bool]]:
    """For each argument what it stands for, and whether it is an override that is not known."""
    known = dict(values(default))
    parts: list[tuple[list[str], bool]] = []
    for arg, override in zip(args, _overrides(args, default), strict=True):
        name, _, value = arg.partition("=")
        flag = f"--{name.replace('_', '-')}"
        if not override or flag not in known:
            parts.append(([arg], override))
        elif value[:1] + value[-1:] in ("[]", "()"):
            items = [_unquoted(item.strip()) for item in value[1:-1].split(",")]
            parts.append(([flag, *(item for item in items if item)], False))
        elif isinstance(known[flag], bool) and value.lower() not in (*_YES, *_NO):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        else:
            if value.lower() in ("none", "null"):
                value = "none" if known[flag] else ""
            parts.append(([f"{flag}={_unquoted(value)}"], False))
    return parts


def _overrides(args: list[str], default: Any) -> list[bool]:
    """Which arguments look like `a.b=c`; what follows a flag that takes a value is that value."""
    switches = _switches(default)
    before = ["", *args]
    return [
        "=" in arg
        and not arg.startswith("-")
        and not (flag.startswith("--") and "=" not in flag and flag.replace("_", "-") not in switches)
        for flag, arg in zip(before, args, strict=False)
    ]


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _unknown(name: str, default: Any) -> str:
    """The sentence for an argument that names nothing."""
    known = [flag for flag, _ in values(default)]
    if name.startswith("-"):
        kind, path = "flag", name.replace("_", "-")
    else:  # as overrides are spelled
        kind, path = "argument", name.lstrip("+~")
        known = [flag.removeprefix("--").replace("-", "_") for flag in known]
    if inside := [flag for flag in known if flag.startswith(f"{path}.")]:
        return f"{name} is a group of values: give one of them, {inside[0]} for example"
    ends = [flag for flag in known if flag.endswith(f".{path.lstrip('-')}")]
    near = f" Did you mean {' or '.join(ends[:3])}?" if ends else nearest(path, sorted(known))
    return f"unknown {kind} {name}.{near}"


# ---------------------------------------------------------------------- what there is

_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def _plain_switches(args: list[str], default: Any) -> list[str]:
    """`--switch True` and `--switch=0`, as others type them, as `--switch` and `--no-switch`."""
    switches = _switches(default)
    plain: list[str] = []
    for arg in args:
        flag, equals, word = arg.partition("=")
        if not equals and not arg.startswith("-") and plain and plain[-1].replace("_", "-") in switches:
            flag, word = plain.pop(), arg
        elif not equals or flag.replace("_", "-") not in switches:
            plain.append(arg)
            continue
        if word.lower() not in (*_YES, *_NO):
            raise ValueError(f"{flag} is a switch: give it alone, or with True or False, not {word!r}")
        if word.lower() in _NO:
            group, dot, name = flag.removeprefix("--").rpartition(".")
            flag = f"--{group}{dot}no-{name}"
        plain.append(flag)
    return plain


def values(value: Any, prefix: str = "-") -> Iterator[tuple[str, Any]]:
    """Every flag of a dataclass, with hyphens, and its value."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        yield prefix, value
        return
    joint = "-" if prefix == "-" else "."
    for name, item in value.items():  # as tyro spells them
        yield from values(item, f"{prefix}{joint}{name.lstrip('.').replace('_', '-')}")


def _switches(default: Any) -> set[str]:
    """The flags that stand for yes."""
    return {flag for flag, value in values(default) if isinstance(value, bool)}
