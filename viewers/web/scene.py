"""What is seen in the browser: the ground, and N copies of a robot that body poses move.

It knows neither environments nor policies: whoever has an `mujoco.MjModel` and where its bodies are can draw with it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import mujoco
import numpy as np
import viser
from PIL import Image
from viser import SceneNodePointerEvent

from terrains.ground import Ground, HeightField
from viewers.ground_mesh import ground_mesh, ground_texture, texture_places
from viewers.shapes import shown_geoms
from viewers.web.shapes import Surface, geom_surface, joined, to_glb

MOST_TRIANGLES = 250_000
"""Ground of more is drawn with coarser cells."""

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
    scene.configure_environment_map("studio", environment_intensity=0.2)
    scene.world_axes.visible = False
    return scene.add_frame(WORLD, show_axes=False)


def draw_ground(server: viser.ViserServer, ground: Ground) -> None:
    """Draw the ground, instead of what was drawn before."""
    with server.atomic():
        if isinstance(ground, HeightField):
            server.scene.remove_by_name(f"{WORLD}/ground/plane")
            server.scene.add_glb(f"{WORLD}/ground/field", ground_glb(ground), cast_shadow=False)
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


def ground_glb(ground: HeightField) -> bytes:
    """The ground as in films, with vertical walls and coloured by height, as binary glTF."""
    mesh, cells = ground_mesh(ground), 1
    while len(mesh.points) > MOST_TRIANGLES:
        cells = max(cells + 1, int(cells * np.sqrt(len(mesh.points) / MOST_TRIANGLES)))
        heights = ground.heights[::cells, ::cells]
        mesh = ground_mesh(HeightField(heights, cells * ground.cell, ground.origin, ground.slope_threshold))
    places = texture_places(mesh, ground).reshape(-1, 2)
    corners = np.concatenate((mesh.points.reshape(-1, 3), places), -1).astype(np.float32)
    rows, index = np.unique(corners, axis=0, return_inverse=True)
    surface = Surface(rows[:, :3], index.reshape(-1, 3), np.ones((len(rows), 3)), places=rows[:, 3:])
    file = io.BytesIO()
    Image.fromarray(ground_texture(ground)).save(file, "PNG")
    return to_glb(surface, 0.95, file.getvalue())


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
