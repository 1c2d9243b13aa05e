"""Where a model of a robot differs from what `policy.json` says of the one that was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from deploy.added import FIELDS, UNITS

CLOSE = 1e-4
"""Values that differ relatively by less are the same."""
Values = float | tuple[float, ...] | str | None


@dataclass
class Difference:
    """A quantity that the model has otherwise."""

    what: str
    """The quantity and its unit."""
    who: str
    """Joint or body, or what there is to say of the whole robot."""
    trained: Values
    """In training; None for none."""
    model: Values
    """In the model."""


def differences(facts: dict[str, Any], model: mujoco.MjModel, mjcf: Path) -> list[Difference]:
    """Rows that differ; a quantity's joints and bodies follow one another.

    Args:
        facts: contents of `policy.json`, with the block `assumed`.
        model: as it is driven, see `deploy.robot.Robot`.
        mjcf: its file, for the limits of drives that it brings along.
    """
    return [*_names(facts, model), *_of_bodies(facts["assumed"], model), *_of_joints(facts, model, mjcf)]


def compare(facts: dict[str, Any], model: mujoco.MjModel, mjcf: Path) -> list[str]:
    """What to print about another model than the policy's own; arguments as above."""
    if "assumed" not in facts:
        return [
            "policy.json says nothing of the model that was trained on; export the policy again to compare"
        ]
    return table(differences(facts, model, mjcf))


def _names(facts: dict[str, Any], model: mujoco.MjModel) -> Iterable[Difference]:
    trained, bodies = facts["joint_names"], [body["name"] for body in facts["assumed"]["bodies"]]
    hinges = [
        model.joint(i).name for i in range(model.njnt) if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_HINGE
    ]
    driven = [name for name in hinges if name in trained]
    if driven != trained:
        yield Difference("order of joints", " ".join(driven), "joint_names", "other, put right")
    for name in hinges:
        if name not in trained:
            yield Difference("joint without a drive", name, "none", "there")
    there = [model.body(i).name for i in range(1, model.nbody)]
    for name in [*bodies, *(name for name in there if name not in bodies)]:
        if name not in bodies or name not in there:
            yield Difference(
                "body", name or "(no name)", *("there" if name in x else "none" for x in (bodies, there))
            )


def _of_bodies(assumed: dict[str, Any], model: mujoco.MjModel) -> Iterable[Difference]:
    ids = {model.body(i).name: i for i in range(1, model.nbody)}
    common = [(body, ids[body["name"]]) for body in assumed["bodies"] if body["name"] in ids]
    yield from _unequal("mass, kg", [("all", assumed["mass"], float(model.body_mass.sum()))])
    yield from _unequal("mass, kg", [(body["name"], body["mass"], model.body_mass[i]) for body, i in common])
    for what, name, values, least in (
        ("centre of mass, m", "com", model.body_ipos, 1e-5),
        (
            "inertia xx yy zz xy xz yz, kg m^2",
            "inertia",
            [inertia(model, i) for i in range(model.nbody)],
            1e-9,
        ),
    ):
        yield from _unequal(what, [(body["name"], body[name], values[i]) for body, i in common], least)


def _of_joints(facts: dict[str, Any], model: mujoco.MjModel, mjcf: Path) -> Iterable[Difference]:
    names, assumed = facts["joint_names"], facts["assumed"]
    joints = [model.joint(name).id for name in names]
    dofs = model.jnt_dofadr[joints]
    for name, field in FIELDS.items():
        what = f"{name.replace('_', ' ')}, {UNITS[name]}"
        yield from _unequal(what, zip(names, assumed[name], getattr(model, field)[dofs], strict=True))
    for end, (what, key) in enumerate((("lower limit, rad", "low"), ("upper limit, rad", "high"))):
        own = [model.jnt_range[i, end] if model.jnt_limited[i] else None for i in joints]
        yield from _unequal(what, zip(names, assumed["joint_pos_limits"][key], own, strict=True))
    given = _effort_limits(mjcf)
    limits = [
        (name, limit, given[name])
        for name, limit in zip(names, facts["effort_limit"], strict=True)
        if name in given
    ]
    yield from _unequal("effort limit, N m (the policy's is used)", limits)


def inertia(model: mujoco.MjModel, body: int) -> np.ndarray:
    """About the centre of mass, along the body frame's axes: xx yy zz xy xz yz, kg m^2, [6]."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.body_iquat[body])
    full = axes.reshape(3, 3) @ np.diag(model.body_inertia[body]) @ axes.reshape(3, 3).T
    return full[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _effort_limits(mjcf: Path) -> dict[str, float]:
    """Largest torque of joints that the file limits, by a drive of its own or at the joint, N m."""
    try:
        model = mujoco.MjModel.from_xml_path(str(mjcf))
    except ValueError:  # it compiles only without its own drives and poses, see deploy.robot
        return {}
    limits = {
        model.joint(i).name: float(np.abs(model.jnt_actfrcrange[i]).max())
        for i in np.flatnonzero(model.jnt_actfrclimited)
    }
    for i in np.flatnonzero(model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT):
        limit, gain, joint = (
            math.inf,
            abs(model.actuator_gear[i, 0]),
            model.joint(model.actuator_trnid[i, 0]).name,
        )
        if model.actuator_forcelimited[i]:
            limit = gain * np.abs(model.actuator_forcerange[i]).max()
        motor = model.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_NONE
        if motor and model.actuator_ctrllimited[i]:
            most = np.abs(model.actuator_ctrlrange[i]).max()
            limit = min(limit, gain * abs(model.actuator_gainprm[i, 0]) * most)
        limits[joint] = min(limits.get(joint, math.inf), float(limit))
    return {joint: limit for joint, limit in limits.items() if math.isfinite(limit)}


def _unequal(what: str, rows: Iterable[tuple[str, Any, Any]], least: float = 1e-9) -> Iterable[Difference]:
    """Rows (who, trained, model) whose numbers are not close, or of which one has none."""
    for who, trained, own in rows:
        if trained is None or own is None:
            same = trained is own
        else:
            scale = max(np.abs(trained).max(), np.abs(own).max())
            same = bool(np.abs(np.subtract(trained, own)).max() <= CLOSE * scale + least)
        if not same:
            yield Difference(
                what, who, *(None if x is None else tuple(np.atleast_1d(x)) for x in (trained, own))
            )


def table(rows: list[Difference]) -> list[str]:
    """Lines to print: joints and bodies that differ alike share one."""
    if not rows:
        return ["the model is as trained"]
    merged: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        merged.setdefault((row.what, _text(row.trained), _text(row.model)), []).append(row.who)
    cells = [
        ("the model differs", "trained", "model", ""),
        *((*key, ", ".join(who)) for key, who in merged.items()),
    ]
    wide = [max(len(line[i]) for line in cells) for i in range(3)]
    return [f"{a:{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}  {who}".rstrip() for a, b, c, who in cells]


def _text(value: Values) -> str:
    if value is None or isinstance(value, str):
        return value or "none"
    return " ".join(f"{x:.5g}" for x in (value if isinstance(value, tuple) else (value,)))
