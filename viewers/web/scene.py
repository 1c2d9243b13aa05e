"""What is seen in the browser: the ground, and N copies of a robot that body poses move.

It knows neither environments nor policies: whoever has an `mujoco.MjModel` and where its bodies are can draw with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import mujoco
import numpy as np
import viser
from viser import SceneNodePointerEvent

from terrains.ground import Ground, HeightField
from viewers.shapes import shown_geoms
from viewers.web.shapes import Surface, geom_surface, joined, to_glb

MOST_CELLS = 300_000
"""A larger map is drawn with coarser cells."""
_LEAST_RANGE = 0.4
"""Ground that varies less does not take up all colours, m."""
_COLOURS = (
    np.array(
        [(94, 122, 150), (142, 170, 186), (205, 211, 207), (226, 205, 170), (205, 152, 112), (168, 105, 84)]
    )
    / 255.0
)
"""From the lowest to the highest ground."""
_WALL = 0.8
"""How bright a wall is compared with its top."""


WORLD = "/world"
"""Everything that is drawn hangs on this node."""


def set_stage(server: viser.ViserServer) -> viser.FrameHandle:
    """Light, sky and shadows.

    Returns:
        the node on which all else hangs: a camera that follows a robot stands still, and this moves to minus the
        robot's position, so that whoever orbits it is not disturbed.
    """
    scene = server.scene
    top, bottom = np.array([188, 211, 235.0]), np.array([246, 248, 250.0])
    share = np.linspace(0.0, 1.0, 256)[:, None, None] ** 0.8
    scene.set_background_image(((1 - share) * top + share * bottom).repeat(2, 1).astype(np.uint8))
    scene.configure_default_lights(enabled=True, cast_shadow=True)
    scene.configure_environment_map("studio", environment_intensity=0.55)
    scene.world_axes.visible = False
    return scene.add_frame(WORLD, show_axes=False)


def draw_ground(server: viser.ViserServer, ground: Ground) -> None:
    """Draw the ground, instead of what was drawn before."""
    with server.atomic():
        if isinstance(ground, HeightField):
            server.scene.remove_by_name(f"{WORLD}/ground/plane")
            surface = ground_surface(ground)
            server.scene.add_glb(f"{WORLD}/ground/field", to_glb(surface, 0.95), cast_shadow=False)
            return
        server.scene.remove_by_name(f"{WORLD}/ground/field")
        server.scene.add_grid(
            f"{WORLD}/ground/plane",
            infinite_grid=True,
            cell_size=0.5,
            section_size=2.0,
            cell_color=(196, 200, 204),
            section_color=(160, 168, 176),
            plane_color=(222, 225, 226),
            plane_opacity=1.0,
            fade_distance=45.0,
            shadow_opacity=0.35,
        )


def ground_surface(ground: HeightField) -> Surface:
    """Cells as two triangles each, as physics has them, walls between them; coloured by height."""
    corners, cell, origin = ground.corners, ground.cell, ground.origin
    coarser = int(np.ceil(np.sqrt(corners.shape[0] * corners.shape[1] / MOST_CELLS)))
    if coarser > 1:
        coarse = HeightField(
            ground.heights[::coarser, ::coarser], cell * coarser, origin, ground.slope_threshold
        )
        corners, cell = coarse.corners, coarse.cell
    nx, ny = corners.shape[:2]
    i, j, a, b = np.indices((nx, ny, 2, 2))
    vertices = np.stack((origin[0] + cell * (i + a), origin[1] + cell * (j + b), corners), -1).reshape(-1, 3)
    index = np.arange(len(vertices)).reshape(nx, ny, 2, 2)
    p00, p01, p10, p11 = (index[..., s, t] for s in (0, 1) for t in (0, 1))
    faces = [np.stack((p00, p10, p11), -1), np.stack((p00, p11, p01), -1)]
    colours = height_colours(vertices[:, 2])
    sides = []
    for one, other in (
        (index[:-1, :, 1, :], index[1:, :, 0, :]),
        (index[:, :-1, :, 1], index[:, 1:, :, 0]),
    ):
        one, other = one.reshape(-1, 2), other.reshape(-1, 2)
        steep = (vertices[one, 2] != vertices[other, 2]).any(1)
        sides.append(np.concatenate((one[steep], other[steep]), 1))
    wall = np.concatenate(sides)  # its corners again: they are darker there
    w = len(vertices) + np.arange(wall.size).reshape(-1, 4)
    faces += [w[:, [0, 1, 3]], w[:, [0, 3, 2]]]
    return Surface(
        np.concatenate((vertices, vertices[wall.ravel()])),
        np.concatenate([face.reshape(-1, 3) for face in faces]),
        np.concatenate((colours, _WALL * colours[wall.ravel()])),
    )


def height_colours(heights: np.ndarray) -> np.ndarray:
    """A colour for each height (m, [V]), from the lowest to the highest of them, [V, 3]."""
    low, high = float(heights.min()), float(heights.max())
    missing = max(0.0, _LEAST_RANGE - (high - low))
    low, high = low - missing / 2, high + missing / 2
    knots = np.linspace(low, high, len(_COLOURS))
    return np.stack([np.interp(heights, knots, channel) for channel in _COLOURS.T], -1)


class Robots:
    """N copies of a model's robot: one node in the browser for each of its bodies, with N instances."""

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel, num_robots: int):
        """Draw them, instead of robots drawn before; `pose` says where.

        Args:
            server: whose pages show them.
            model: robot with its visual geoms, as `build_scene(..., visuals=True)` makes it; what is in its world
                body is not drawn.
            num_robots: N.
        """
        self._server, self.num_robots = server, num_robots
        self._bodies: list[int] = []
        self._handles: list[viser.BatchedGlbHandle] = []
        positions, quats = np.zeros((num_robots, 3)), np.tile([1.0, 0.0, 0.0, 0.0], (num_robots, 1))
        with server.atomic():
            server.scene.remove_by_name(f"{WORLD}/robots")
            for body in range(1, model.nbody):
                surface = _body_surface(model, body)
                if surface:
                    handle = server.scene.add_batched_glb(
                        f"{WORLD}/robots/{body}", to_glb(surface), quats, positions, lod="off"
                    )
                    self._bodies.append(body)
                    self._handles.append(handle)

    def pose(self, positions: np.ndarray, quats: np.ndarray) -> None:
        """Move all bodies, in one frame.

        Args:
            positions: world frame, m, [N, nbody, 3].
            quats: body to world, w x y z, [N, nbody, 4].
        """
        with self._server.atomic():
            for body, handle in zip(self._bodies, self._handles, strict=True):
                handle.batched_positions = positions[:, body].astype(np.float32)
                handle.batched_wxyzs = quats[:, body].astype(np.float32)

    def on_click(
        self, clicked: Callable[[int, SceneNodePointerEvent], None], modifier: Literal["shift"] | None = None
    ) -> None:
        """Call `clicked(robot, event)`, in a thread of its own, whenever somebody clicks on a robot.

        Args:
            clicked: what to call.
            modifier: key that is held meanwhile, if any.
        """

        def tell(event: SceneNodePointerEvent) -> None:
            if event.instance_index is not None and 0 <= event.instance_index < self.num_robots:
                clicked(event.instance_index, event)

        for handle in self._handles:
            handle.on_click(modifier=modifier)(tell)


def _body_surface(model: mujoco.MjModel, body: int) -> Surface | None:
    """The visible geoms of a body as one surface in its frame, None if there are none."""
    own = [g for g in shown_geoms(model) if model.geom_bodyid[g] == body]
    surfaces = [surface for g in own if (surface := geom_surface(model, g)) is not None]
    return joined(surfaces) if surfaces else None


def body_poses(
    model: mujoco.MjModel, base_pos: np.ndarray, base_quat: np.ndarray, joint_pos: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where all bodies of N robots are.

    Args:
        model: a robot with a free joint and A hinges.
        base_pos: world frame, m, [N, 3].
        base_quat: base to world, w x y z, [N, 4].
        joint_pos: rad, in the MJCF's order, [N, A].

    Returns:
        positions, world frame, m, [N, nbody, 3]; quaternions, body to world, w x y z, [N, nbody, 4].
    """
    data = mujoco.MjData(model)
    positions, quats = np.zeros((len(base_pos), model.nbody, 3)), np.zeros((len(base_pos), model.nbody, 4))
    for robot, qpos in enumerate(np.concatenate((base_pos, base_quat, joint_pos), axis=1)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        positions[robot], quats[robot] = data.xpos, data.xquat
    return positions, quats
