"""The ground: shapes, tiles, height look-up and the curriculum over them."""

from terrains.ground import Ground, HeightField, Plane

__all__ = ["Ground", "HeightField", "Plane"]
