"""What is drawn is what physics has."""

from __future__ import annotations

import json
import struct

import mujoco
import numpy as np

from physics.scene import build_scene
from robots import ANYMAL_C, ROBOTS
from terrains.grid import single_terrain
from terrains.ground import HeightField, Plane
from viewers.web.scene import body_poses, ground_surface
from viewers.web.shapes import geom_surface, to_glb


def test_ground_has_the_heights_and_walls_of_physics() -> None:
    ground = single_terrain("stairs_up", 0.5).ground
    surface = ground_surface(ground)
    corners = surface.vertices[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    level = np.linalg.norm(normals[:, :2], axis=1) < 1e-9
    middles = corners[level].mean(1)
    assert np.allclose(ground.height_at(middles[:, :2]), middles[:, 2], atol=1e-5)
    walls = corners[(abs(normals[:, 2]) < 1e-9) & (np.linalg.norm(normals, axis=1) > 0.0)]
    rises = walls[..., 2].max(1) - walls[..., 2].min(1)
    assert np.allclose(rises, 0.14, atol=1e-4)  # a step at this difficulty


def test_large_maps_are_drawn_more_coarsely() -> None:
    ground = HeightField.centred(np.zeros((1200, 1200)), 0.1)
    surface = ground_surface(ground)
    assert len(surface.vertices) < 2_000_000
    assert np.allclose(surface.vertices[:, :2].min(0), -59.95)


def test_geoms_reach_as_far_as_mujocos() -> None:
    for robot in ROBOTS.values():
        model = build_scene(robot, Plane(), visuals=True)
        for geom in np.flatnonzero(model.geom_bodyid):
            surface = geom_surface(model, int(geom))
            assert surface is not None and surface.normals is not None
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
            local = (surface.vertices - model.geom_pos[geom]) @ turn.reshape(3, 3)
            middle, half = model.geom_aabb[geom].reshape(2, 3)
            assert np.allclose(abs(local - middle).max(0), half, atol=0.05 * half.max())
            assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1.0)


def test_binary_gltf_is_whole() -> None:
    surface = ground_surface(single_terrain("waves", 0.5).ground)
    content = to_glb(surface)
    magic, version, length, json_length, kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    described = json.loads(content[20 : 20 + json_length])
    assert described["accessors"][0]["count"] == len(surface.vertices)
    assert described["buffers"][0]["byteLength"] == length - 28 - json_length


def test_body_poses_are_those_of_physics() -> None:
    model = build_scene(ANYMAL_C, Plane(), visuals=True)
    rng = np.random.default_rng(1)
    base_pos, joints = rng.normal(size=(2, 3)), rng.uniform(-1, 1, (2, 12))
    quat = np.array([[1.0, 0, 0, 0], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]])
    positions, quats = body_poses(model, base_pos, quat, joints)
    assert positions.shape == (2, model.nbody, 3) and np.allclose(positions[:, 1], base_pos)
    feet = positions[1] - positions[1, 1]
    turned = body_poses(model, base_pos[:1], quat[:1], joints[1:])[0][0] - base_pos[0]
    assert np.allclose(feet[1:, 0], -turned[1:, 1]) and np.allclose(feet[1:, 1], turned[1:, 0])
    assert np.allclose(np.linalg.norm(quats[:, 1:], axis=-1), 1.0)
