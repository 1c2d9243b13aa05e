"""The height that a robot begins at: as far above the ground, where it is nearest to it, as on level ground."""

from __future__ import annotations

from itertools import product

import mujoco
import numpy as np

from deploy.ground import Field

CORNERS = np.sqrt(0.5) * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])  # 1 from the middle


class Footing:
    """Where a robot touches the ground: spheres (centres of spheres, ends of capsules), else corners of boxes."""

    def __init__(self, model: mujoco.MjModel, base: int):
        """Find them on body `base` and all that hangs on it."""
        geoms: list[int] = []
        places: list[np.ndarray] = []
        radii: list[float] = []
        touching = ((model.geom_contype | model.geom_conaffinity) != 0) & (
            model.body_rootid[model.geom_bodyid] == base
        )
        for geom in np.flatnonzero(touching):
            kind, size, local = model.geom_type[geom], model.geom_size[geom], np.zeros((1, 3))
            if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
                local = np.array([[0, 0, -size[1]], [0, 0, size[1]]])
            elif kind != mujoco.mjtGeom.mjGEOM_SPHERE:
                middle, half = model.geom_aabb[geom].reshape(2, 3)
                local, size = middle + half * np.array(list(product((-1, 1), repeat=3))), [0.0]
            geoms += [int(geom)] * len(local)
            places += list(local)
            radii += [float(size[0])] * len(local)
        self._geoms, self._places, self._radii = geoms, np.array(places), np.array(radii)

    def clearance(self, data: mujoco.MjData, field: Field | None) -> float:
        """How far above the ground the robot is, where it is nearest to it, m; positions of geoms must be up to date.

        Args:
            data: the robot.
            field: the ground; z = 0 without.
        """
        turns = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        centres = data.geom_xpos[self._geoms] + np.einsum("pij,pj->pi", turns, self._places)
        ground = np.zeros(len(centres))
        if field is not None:
            x, y = (centres[:, None, :2] + self._radii[:, None, None] * CORNERS).reshape(-1, 2).T
            ground = field.look_up(x, y, "bilinear").reshape(-1, len(CORNERS)).max(1)
        return float((centres[:, 2] - self._radii - ground).min())
