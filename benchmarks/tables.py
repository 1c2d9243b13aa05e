"""Figures of benchmarks on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def summary(kind: type) -> str:
    """First sentence of a class's docstring."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


def line(values: dict[str, Any]) -> str:
    """Parameters or figures on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in values.items())


MANY = 5
"""More benchmarks of one kind than these are shown one a row."""


def print_table(columns: list[dict[str, Any]]) -> None:
    """Print parameters and figures of benchmarks of one kind, one a column, or one a row where they are many."""
    console = Console()
    if len(columns) <= MANY:
        console.print(table(columns))
        return
    names = list(columns[0])
    drawn = Table(*(name.replace("_", " ") for name in names))
    for column in columns:
        drawn.add_row(*(_cell(column[name]) for name in names))
    for each in drawn.columns:
        each.justify = "right"
    console.width = max(console.width, 200)
    console.print(drawn)


def table(columns: list[dict[str, Any]]) -> Table:
    """Parameters and figures of benchmarks of one kind, one a column."""
    drawn = Table(show_header=False)
    for name in columns[0]:
        drawn.add_row(name.replace("_", " "), *(_cell(column[name]) for column in columns))
    for column in drawn.columns[1:]:
        column.justify = "right"
    return drawn


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (tuple, list)):
        return "-".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items())
    return str(value)
