"""Draws how speed grows with the number of robots, and where it stops to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CURVES = {
    "GpuTrainBenchmark": ("training samples per second", "samples_per_s", ("task", "recipe", "launch")),
    "GpuEnvBenchmark": ("steps of the environment per second", "env_steps_per_s", ("task",)),
    "GpuPhysicsBenchmark": ("physics steps per second", "physics_steps_per_s", ("ground",)),
}
"""Benchmark -> title, figure, and the parameters that tell its curves apart."""
KNEE = 0.9
"""Share of the best speed that is as good as it."""

Curve = dict[int, float]
"""Number of robots -> speed."""


def read_curves(lines: Iterable[str]) -> dict[str, dict[str, Curve]]:
    """Benchmark -> label -> curve, from JSON lines; of two measurements of the same the later counts."""
    found: dict[str, dict[str, Curve]] = {}
    for line in lines:
        record = json.loads(line)
        name, parameters = record["benchmark"], record["parameters"]
        if name in CURVES:
            _, figure, keys = CURVES[name]
            label = ", ".join(str(parameters[key]) for key in keys)
            curve = found.setdefault(name, {}).setdefault(label, {})
            curve[parameters["num_envs"]] = record["results"][figure]
    return found


def knee(curve: Mapping[int, float]) -> int:
    """Smallest number of robots that is nearly as fast as the best one."""
    return min(n for n, speed in curve.items() if speed >= KNEE * max(curve.values()))


def draw(json_path: Path, png_path: Path) -> None:
    """Draw every curve of a file of JSON lines, with its knee as a ring; nothing where there is none."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from viewers.plots import COLOURS, STYLE

    found = read_curves(json_path.read_text().splitlines())
    if not found:
        return
    style: Any = {**STYLE, "axes.prop_cycle": plt.cycler(color=COLOURS)}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            1, len(found), figsize=(5.0 * len(found), 5.0), squeeze=False, layout="constrained"
        )
        for axis, (name, curves) in zip(axes[0], found.items(), strict=True):
            for label, curve in curves.items():
                sizes = sorted(curve)
                (line,) = axis.plot(sizes, [curve[n] for n in sizes], ".-", label=label)
                best = knee(curve)
                axis.plot(best, curve[best], "o", markersize=10, fillstyle="none", color=line.get_color())
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_title(CURVES[name][0])
            axis.set_xlabel(f"robots (ring: {100 * KNEE:.0f} % of the best)")
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))
        png_path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png_path, dpi=110)
        plt.close(figure)
