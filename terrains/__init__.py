"""The ground: shapes, tiles, height look-up and the curriculum over them."""

from terrains.grid import Terrain, TerrainConfig, build_terrain, load_terrain, single_terrain
from terrains.ground import Ground, HeightField, Plane
from terrains.shapes import SHAPES, make_tile

__all__ = [
    "SHAPES",
    "Ground",
    "HeightField",
    "Plane",
    "Terrain",
    "TerrainConfig",
    "build_terrain",
    "load_terrain",
    "make_tile",
    "single_terrain",
]
