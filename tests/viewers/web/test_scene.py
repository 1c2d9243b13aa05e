"""What is drawn is what physics has."""

from __future__ import annotations

import io
import json
import struct

import mujoco
import numpy as np
from PIL import Image

from physics.scene import build_scene
from robots import ANYMAL_C, ROBOTS
from terrains.grid import single_terrain
from terrains.ground import HeightField, Plane
from viewers.web.scene import MOST_TRIANGLES, body_poses, ground_glb
from viewers.web.shapes import geom_surface, to_glb

MODEL = build_scene(ANYMAL_C, Plane(), visuals=True)


def test_ground_has_the_heights_and_walls_of_physics() -> None:
    ground = single_terrain("stairs_up", 0.5).ground
    content, arrays = read_glb(ground_glb(ground))
    corners = arrays["POSITION"][arrays["indices"].reshape(-1, 3)].astype(float)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    low = np.array(ground.origin)
    inside = ((corners[..., :2] > low - 0.1) & (corners[..., :2] < -low + 0.1)).all((1, 2))
    level = (np.linalg.norm(normals[:, :2], axis=1) < 1e-9) & inside
    middles = corners[level].mean(1)
    assert np.allclose(ground.height_at(middles[:, :2].copy()), middles[:, 2], atol=1e-5)
    walls = corners[(abs(normals[:, 2]) < 1e-9) & (np.linalg.norm(normals, axis=1) > 0.0)]
    rises = walls[..., 2].max(1) - walls[..., 2].min(1)
    assert np.allclose(rises, 0.14, atol=2e-3)  # a step at this difficulty
    assert (np.abs(arrays["TEXCOORD_0"] - 0.5) < 0.501).all()
    picture = Image.open(io.BytesIO(arrays["picture"]))
    assert picture.size == tuple(4 * (n - 1) for n in ground.heights.shape[::-1])


def test_large_rough_maps_are_drawn_more_coarsely() -> None:
    heights = np.random.default_rng(1).uniform(-0.05, 0.05, (600, 500))
    _, arrays = read_glb(ground_glb(HeightField.centred(heights, 0.1)))
    assert 50_000 < len(arrays["indices"]) // 3 < MOST_TRIANGLES


def read_glb(glb: bytes) -> tuple[dict, dict]:
    """Its description, and its arrays by what they are for."""
    (length,) = struct.unpack_from("<I", glb, 12)
    content = json.loads(glb[20 : 20 + length])
    binary = glb[28 + length :]

    def part(view: int) -> bytes:
        begin, size = (content["bufferViews"][view][key] for key in ("byteOffset", "byteLength"))
        return binary[begin : begin + size]

    (primitive,) = content["meshes"][0]["primitives"]
    arrays: dict = {}
    for name, index in {**primitive["attributes"], "indices": primitive["indices"]}.items():
        accessor = content["accessors"][index]
        kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        array = np.frombuffer(part(accessor["bufferView"]), kind)
        arrays[name] = array.reshape(accessor["count"], -1)
    if "images" in content:
        arrays["picture"] = part(content["images"][0]["bufferView"])
    return content, arrays


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
    leg = geom_surface(MODEL, 5)
    assert leg
    for glb in (ground_glb(single_terrain("waves", 0.5).ground), to_glb(leg)):
        magic, version, length, json_length, kind = struct.unpack_from("<4sIII4s", glb)
        assert (magic, version, length, kind) == (b"glTF", 2, len(glb), b"JSON")
        described, arrays = read_glb(glb)
        assert described["buffers"][0]["byteLength"] == length - 28 - json_length
        assert arrays["indices"].max() == len(arrays["POSITION"]) - 1


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
