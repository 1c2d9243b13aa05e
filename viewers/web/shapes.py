"""Surfaces as triangles, from which robots and ground are drawn, and the binary glTF that carries them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from viewers.shapes import geom_rgba, geom_triangles

_AROUND = 16
"""Corners of a circle."""
_CLAMP = 33071
"""glTF's number for pictures that end at their borders."""


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
    places: np.ndarray | None = None
    """Where on a picture that it is covered with each vertex lies, from its upper left corner, 0 to 1, [V, 2]."""


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
    made = geom_triangles(model, geom, _AROUND)
    if made is None:
        return None
    corners = np.concatenate((made.points, made.normals), -1).reshape(-1, 6).round(7)
    rows, index = np.unique(corners, axis=0, return_inverse=True)
    colours = np.tile(geom_rgba(model, geom)[:3], (len(rows), 1))
    return Surface(rows[:, :3], index.reshape(-1, 3), colours, rows[:, 3:])


def to_glb(surface: Surface, roughness: float = 0.65, picture: bytes = b"") -> bytes:
    """A surface as binary glTF 2.0 (Khronos), seen from both sides, its colours in its vertices.

    Args:
        surface: what to write.
        roughness: of its material, 0 to 1.
        picture: a PNG file that it is covered with, times its colours.
    """
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
    if surface.places is not None:
        arrays.append(("TEXCOORD_0", surface.places.astype("<f4"), 5126, "VEC2"))
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
    material: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": roughness}
    content: dict[str, Any] = {
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
        "materials": [{"doubleSided": True, "pbrMetallicRoughness": material}],
        "bufferViews": views,
        "accessors": accessors,
    }
    if picture:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(picture)})
        binary += picture + b"\0" * (-len(picture) % 4)
        content |= {"images": [{"bufferView": len(views) - 1, "mimeType": "image/png"}]}
        content |= {
            "samplers": [{"wrapS": _CLAMP, "wrapT": _CLAMP}],
            "textures": [{"source": 0, "sampler": 0}],
        }
        material["baseColorTexture"] = {"index": 0}
    content["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0")
    return header + chunks + binary
