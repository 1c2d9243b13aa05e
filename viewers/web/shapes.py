"""Surfaces as triangles, from which robots and ground are drawn, and the binary glTF that carries them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import mujoco
import numpy as np

_AROUND = 16
"""Corners of a circle."""
_RINGS = 3
"""Rings from a sphere's equator to its pole."""


@dataclass
class Surface:
    """V vertices and F triangles, counterclockwise seen from outside."""

    vertices: np.ndarray
    """m, [V, 3]."""
    faces: np.ndarray
    """Indices of vertices, [F, 3]."""
    colours: np.ndarray
    """Red, green, blue as on a screen (sRGB), 0 to 1, [V, 3]."""
    normals: np.ndarray | None = None
    """Unit vectors, [V, 3]; None: every triangle is flat."""


def joined(parts: list[Surface]) -> Surface:
    """Several surfaces with normals as one."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Surface(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.colours for part in parts]),
        np.concatenate([part.normals for part in parts if part.normals is not None]),
    )


def geom_surface(model: mujoco.MjModel, geom: int) -> Surface | None:
    """Surface of a geom in the frame of its body, None for a kind that is not drawn (planes, height fields)."""
    kinds, size = mujoco.mjtGeom, model.geom_size[geom]
    match model.geom_type[geom]:
        case kinds.mjGEOM_SPHERE:
            shape = _round(size[0], 0.0)
        case kinds.mjGEOM_CAPSULE:
            shape = _round(size[0], size[1])
        case kinds.mjGEOM_ELLIPSOID:
            vertices, faces, normals = _round(1.0, 0.0)
            normals = normals / size
            shape = vertices * size, faces, normals / np.linalg.norm(normals, axis=1, keepdims=True)
        case kinds.mjGEOM_CYLINDER:
            shape = _cylinder(size[0], size[1])
        case kinds.mjGEOM_BOX:
            shape = _box(size)
        case kinds.mjGEOM_MESH:
            shape = _mesh(model, int(model.geom_dataid[geom]))
        case _:
            return None
    vertices, faces, normals = shape
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, model.geom_quat[geom])
    turn = matrix.reshape(3, 3)
    material = model.geom_matid[geom]
    rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
    colours = np.tile(rgba[:3], (len(vertices), 1))
    return Surface(vertices @ turn.T + model.geom_pos[geom], faces, colours, normals @ turn.T)


_Shape = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Vertices [V, 3], faces [F, 3] and normals [V, 3]."""


def _turned(profile: np.ndarray) -> _Shape:
    """Turn a line around z: radius, z and its normal's radius and z, upwards, [K, 4]."""
    angle = np.linspace(0.0, 2.0 * np.pi, _AROUND + 1)
    cos, sin = np.cos(angle), np.sin(angle)
    r, z, nr, nz = profile.T[..., None]
    vertices = np.stack((r * cos, r * sin, np.broadcast_to(z, (len(profile), len(angle)))), -1)
    normals = np.stack((nr * cos, nr * sin, np.broadcast_to(nz, (len(profile), len(angle)))), -1)
    index = np.arange(vertices.shape[0] * vertices.shape[1]).reshape(vertices.shape[:2])
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack((np.stack((a, b, c), -1), np.stack((a, c, d), -1))).reshape(-1, 3)
    return vertices.reshape(-1, 3), faces, normals.reshape(-1, 3)


def _round(radius: float, half: float) -> _Shape:
    """A sphere whose halves are `half` above and below the middle: a capsule."""
    lower, upper = np.linspace(-np.pi / 2, 0.0, _RINGS + 1), np.linspace(0.0, np.pi / 2, _RINGS + 1)
    halves = [
        np.stack((radius * np.cos(a), radius * np.sin(a) + shift, np.cos(a), np.sin(a)), -1)
        for a, shift in ((lower, -half), (upper, half))
    ]
    return _turned(np.concatenate(halves))


def _cylinder(radius: float, half: float) -> _Shape:
    profile = [(0, -half, 0, -1), (radius, -half, 0, -1), (radius, -half, 1, 0)]
    mirrored = [(r, -z, nr, -nz) for r, z, nr, nz in reversed(profile)]
    return _turned(np.array(profile + mirrored, float))


def _box(half: np.ndarray) -> _Shape:
    vertices, normals = [], []
    for axis in range(3):
        u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        for sign in (1.0, -1.0):
            normal = sign * np.eye(3)[axis]
            corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)][:: int(sign)]
            vertices += [half * (normal + s * u + t * v) for s, t in corners]
            normals += [normal] * 4
    first = 4 * np.arange(6)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    return np.array(vertices), faces, np.array(normals)


def _mesh(model: mujoco.MjModel, mesh: int) -> _Shape:
    first, number = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    corner = model.mesh_face[first : first + number].ravel() + model.mesh_vertadr[mesh]
    normal = model.mesh_facenormal[first : first + number].ravel() + model.mesh_normaladr[mesh]
    faces = np.arange(3 * number).reshape(-1, 3)
    return model.mesh_vert[corner].astype(float), faces, model.mesh_normal[normal].astype(float)


def to_glb(surface: Surface, roughness: float = 0.65) -> bytes:
    """A surface as binary glTF 2.0 (Khronos), seen from both sides, its colours in its vertices."""
    colours = np.clip(surface.colours, 0.0, 1.0)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    rgba = np.concatenate((linear, np.ones((len(linear), 1))), axis=1)
    vertices = surface.vertices.astype("<f4")
    arrays = [
        ("POSITION", vertices, 5126, "VEC3"),
        ("COLOR_0", np.round(65535 * rgba).astype("<u2"), 5123, "VEC4"),
    ]
    if surface.normals is not None:
        arrays.append(("NORMAL", surface.normals.astype("<f4"), 5126, "VEC3"))
    arrays.append(("indices", surface.faces.astype("<u4").ravel(), 5125, "SCALAR"))
    views, accessors, binary = [], [], b""
    for name, array, kind, layout in arrays:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        accessor = {"bufferView": len(views) - 1, "componentType": kind, "count": len(array), "type": layout}
        if name == "COLOR_0":
            accessor["normalized"] = True
        if name == "POSITION":
            accessor |= {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
        accessors.append(accessor)
        binary += array.tobytes()  # every array is a whole number of 4 bytes long
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {name: i for i, (name, *_) in enumerate(arrays[:-1])},
                        "indices": len(arrays) - 1,
                        "material": 0,
                    }
                ]
            }
        ],
        "materials": [
            {
                "doubleSided": True,
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": roughness},
            }
        ],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0")
    return header + chunks + binary
