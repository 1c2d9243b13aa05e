"""The ground: shapes, tiles, height look-up and the curriculum over them."""

from terrains.ground import Ground, Plane

__all__ = ["Ground", "Plane"]
