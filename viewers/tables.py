"""Figures of policies on the terminal: tables, and lines of `key=value`."""

from __future__ import annotations

from statistics import mean

from rich.console import Console
from rich.table import Table

from evaluation.commands import COMMANDS, CommandResult
from evaluation.terrain import AXES, Cell
from evaluation.walking import Evaluation

SHOWN = (
    "lin_vel_error",
    "ang_vel_error",
    "falls",
    "cost_of_transport",
    "foot_slip",
    "air_time",
    "collisions",
)
"""Figures of an evaluation's line, beside the mean duty factor and those of pushed robots."""


def print_evaluation(results: dict[str, Evaluation], title: str) -> None:
    """Print figures, a column for each condition."""
    table = Table(title=title)
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")

    def row(label: str, key: str, scale: float = 1.0, digits: int = 3) -> None:
        values = (getattr(result, key) for result in results.values())
        table.add_row(label, *(_cell(value, scale, digits) for value in values))

    row("velocity error, m/s", "lin_vel_error")
    row("  95th percentile", "lin_vel_error_p95")
    row("  without first second", "lin_vel_error_settled")
    row("yaw rate error, rad/s", "ang_vel_error")
    row("  95th percentile", "ang_vel_error_p95")
    row("  without first second", "ang_vel_error_settled")
    row("falls, %", "falls", 100.0, 2)
    row("cost of transport", "cost_of_transport", digits=2)
    row("foot slip, m/s", "foot_slip")
    row("swing, s", "air_time")
    row("duty factor", "duty_factor", digits=2)
    row("touchdowns, 1/s", "touchdowns", digits=2)
    row("knees or shanks down, %", "collisions", 100.0, 2)
    Console().print(table)


def _cell(value: float | list[float], scale: float, digits: int) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{scale * v:.{digits}f}" for v in values)


def evaluation_line(results: dict[str, Evaluation]) -> str:
    """The figures that matter most, as `key=value`, of conditions `nominal` and, if it was measured, `pushed`."""
    line = {name: getattr(results["nominal"], name) for name in SHOWN}
    line["duty_factor"] = mean(results["nominal"].duty_factor)
    if "pushed" in results:
        line |= {f"pushed_{name}": getattr(results["pushed"], name) for name in ("falls", "lin_vel_error")}
    return " ".join(f"{name}={value:.4f}" for name, value in line.items())


def print_success(cells: list[Cell], title: str) -> None:
    """Print the success test."""
    table = Table(title=f"success, %: {title}")
    for heading in ("terrain", "", "success", "95 % interval", "falls", "time, s"):
        table.add_column(heading, justify="left" if heading == "terrain" else "right")
    before = ""
    for cell in cells:
        name = "" if cell.shape == before else f"{cell.shape} ({AXES[cell.shape].label})"
        interval = f"{100 * cell.low:.1f} to {100 * cell.high:.1f}"
        shares = f"{100 * cell.success:.1f}", interval, f"{100 * cell.falls:.1f}"
        table.add_row(name, f"{cell.value:g}", *shares, f"{cell.time:.1f}")
        before = cell.shape
    Console().print(table)


def success_line(cells: list[Cell]) -> str:
    """Mean success on each kind of terrain, as `key=value`."""
    means: dict[str, list[float]] = {}
    for cell in cells:
        means.setdefault(cell.shape, []).append(cell.success)
    return " ".join(f"{name}={sum(values) / len(values):.3f}" for name, values in means.items())


def print_commands(results: list[CommandResult], title: str) -> None:
    """Print the test of classes of commands."""
    table = Table(title=f"commands followed, %: {title}")
    for heading in ("class", "vx, vy, yaw rate", "followed", "95 % interval", "tracked", "falls"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for result in results:
        shares = (f"{100 * share:.1f}" for share in (result.followed, result.tracked, result.falls))
        followed, tracked, falls = shares
        interval = f"{100 * result.low:.1f} to {100 * result.high:.1f}"
        command_text = " ".join(f"{value:g}" for value in COMMANDS[result.name])
        table.add_row(result.name, command_text, followed, interval, tracked, falls)
    Console().print(table)
