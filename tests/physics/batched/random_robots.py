"""Star-shaped robots of all kinds: what a robot may look like is drawn, its numbers come from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from robots import RobotConfig


@dataclass(frozen=True)
class Link:
    """A link of a limb."""

    spheres: int
    carries_body: bool
    """A body without joint, with a sphere of its own, is fixed to it."""


@dataclass(frozen=True)
class Design:
    """What a robot has; everything else follows from the seed."""

    limbs: tuple[tuple[Link, ...], ...]
    base_spheres: int
    base_carries_body: bool
    limits: bool
    friction_loss: bool
    tidy: bool
    """Axes along x, y or z, anchors at the origin and parallel frames, as models made by hand have them."""
    seed: int
    concentric: bool = False
    """All joints of a limb meet in the base's origin."""


_links = st.builds(Link, st.integers(0, 2), st.booleans())
_limbs = st.lists(_links, min_size=1, max_size=5).map(tuple)
_stars = st.lists(st.tuples(_limbs, st.integers(1, 2)), min_size=1, max_size=3).map(
    lambda kinds: tuple(limb for limb, count in kinds for _ in range(count))[:5]
)
DESIGNS = st.builds(
    Design,
    limbs=_stars,
    base_spheres=st.integers(0, 2),
    seed=st.integers(0, 10**6),
    concentric=st.booleans(),
)  # the rest are booleans too


class _Writer:
    def __init__(self, design: Design):
        self.design, self.random = design, np.random.default_rng(design.seed)
        self.joints: list[str] = []
        self.spheres: list[str] = []

    def numbers(self, scale: float, size: int = 3) -> str:
        return " ".join(f"{x:.6g}" for x in scale * self.random.normal(size=size))

    def uniform(self, low: float, high: float) -> float:
        return round(float(self.random.uniform(low, high)), 6)

    def place(self, scale: float) -> str:
        pos = self.numbers(scale)
        return f'pos="{pos}"' if self.design.tidy else f'pos="{pos}" quat="{self.numbers(1.0, 4)}"'

    def inertial(self, mass: float) -> str:
        a, b, c = mass * 0.01 * np.exp(self.random.normal(size=3))  # of a cloud of points along three axes
        moments = f"{b + c:.6g} {a + c:.6g} {a + b:.6g}"
        place = f'pos="{self.numbers(0.05)}" quat="{self.numbers(1.0, 4)}"'
        return f'<inertial {place} mass="{mass}" diaginertia="{moments}"/>'

    def sphere(self) -> str:
        name = f"sphere{len(self.spheres)}"
        self.spheres.append(name)
        bounds = ((0.3, 0.9), (0.9, 0.99), (0.0, 0.02), (0.1, 0.9))
        solimp = " ".join(str(self.uniform(*x)) for x in bounds) + " 2"
        return (
            f'<geom name="{name}" size="{self.uniform(0.02, 0.1)}" pos="{self.numbers(0.1)}" '
            f'priority="{self.random.integers(2)}" friction="{self.uniform(0.1, 1.5)} 0 0" '
            f'solmix="{self.uniform(0.1, 2.0)}" solref="{self.uniform(0.005, 0.05)} {self.uniform(0.5, 1.5)}" '
            f'solimp="{solimp}"/>'
        )

    def fixed_body(self) -> str:
        return f"<body {self.place(0.1)}>{self.inertial(self.uniform(0.1, 1.0))}{self.sphere()}</body>"

    def joint(self) -> str:
        name, tidy = f"joint{len(self.joints)}", self.design.tidy
        self.joints.append(name)
        axis = ("1 0 0", "0 1 0", "0 0 1")[self.random.integers(3)] if tidy else self.numbers(1.0)
        text = f'<joint name="{name}" axis="{axis}" '
        text += f'damping="{self.uniform(0.0, 0.5)}" armature="{self.uniform(0.01, 0.1)}" '
        if not tidy:
            text += f'pos="{self.numbers(0.05)}" ref="{self.uniform(-1.0, 1.0)}" '
            text += f'stiffness="{self.uniform(0.0, 10.0)}" springref="{self.uniform(-1.0, 1.0)}" '
        if self.design.limits and self.random.random() < 0.7:
            text += f'range="{self.uniform(-0.5, 0.0)} {self.uniform(0.1, 0.5)}" '
        if self.design.friction_loss and self.random.random() < 0.7:
            text += f'frictionloss="{self.uniform(0.0, 2.0)}" '
        return text + "/>"

    def limb(self, links: tuple[Link, ...]) -> str:
        if not links:
            return ""
        link = links[0]
        parts = [
            f"<body {self.place(0.0 if self.design.concentric else 0.2)}>",
            self.inertial(self.uniform(0.2, 3.0)),
            self.joint(),
        ]
        parts += [self.sphere() for _ in range(link.spheres)]
        parts += [self.fixed_body() for _ in range(link.carries_body)]
        return "".join([*parts, self.limb(links[1:]), "</body>"])

    def robot(self) -> str:
        design = self.design
        parts = [self.inertial(self.uniform(2.0, 20.0)), '<freejoint name="root"/>']
        parts += [self.sphere() for _ in range(design.base_spheres)]
        parts += [self.fixed_body() for _ in range(design.base_carries_body)]
        parts += [self.limb(links) for links in design.limbs]
        return (
            '<mujoco><compiler angle="radian"/><default><geom type="sphere" contype="1" conaffinity="0" mass="0"/>'
            '<joint solreflimit="0.03 0.8" solimplimit="0.5 0.95 0.1 0.4 2"/></default>'
            f'<worldbody><body name="base">{"".join(parts)}</body></worldbody></mujoco>'
        )


def make_robot(design: Design, folder: Path) -> RobotConfig:
    """Write the MJCF of a robot; its feet are all of its spheres."""
    writer = _Writer(design)
    path = folder / "robot.xml"
    path.write_text(writer.robot())
    return RobotConfig(
        name="random",
        mjcf=str(path),
        init_height=0.5,
        default_joint_pos={".*": 0.0},
        stiffness={name: 20.0 + 5.0 * i for i, name in enumerate(writer.joints)},
        damping={".*": 1.0},
        effort_limit={".*": 8.0},
        velocity_limit={".*": 20.0},
        feet=tuple(writer.spheres),
        contact_groups={name: (name,) for name in writer.spheres},
        penalised_contacts=(),
        fatal_contacts=(),
    )
