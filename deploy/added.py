"""What a test adds to the passive dynamics of a robot's joints, to see how much a policy bears."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Added:
    """Ranges (low, high), drawn from uniformly for each episode; every driven joint gets the same."""

    joint_damping: tuple[float, float] = (0.0, 0.0)
    """Viscous friction, N m s/rad."""
    friction_loss: tuple[float, float] = (0.0, 0.0)
    """Dry friction, N m."""
    armature: tuple[float, float] = (0.0, 0.0)
    """Inertia of the rotor at the joint, kg m^2."""

    def __str__(self) -> str:
        """What is more than nothing, with its unit; empty if nothing is."""
        return ", ".join(
            f"{name} {low:g}{f' to {high:g}' if high > low else ''} {UNITS[name]}"
            for name, (low, high) in vars(self).items()
            if high > 0.0
        )


UNITS = {"joint_damping": "N m s/rad", "friction_loss": "N m", "armature": "kg m^2"}
FIELDS = {"joint_damping": "dof_damping", "friction_loss": "dof_frictionloss", "armature": "dof_armature"}
"""Where MuJoCo's model keeps them."""
NOTHING = Added()


def as_range(flag: str, values: list[float] | None) -> tuple[float, float]:
    """What a flag with one value or LOW HIGH says; ValueError with one sentence for what no joint can have."""
    if values is None:
        return 0.0, 0.0
    if len(values) > 2 or not all(0.0 <= value < math.inf for value in values) or values[0] > values[-1]:
        raise ValueError(
            f"--{flag} must be one value or a range LOW HIGH with LOW <= HIGH, finite and not negative, "
            f"not {' '.join(f'{value:g}' for value in values)}"
        )
    return values[0], values[-1]
