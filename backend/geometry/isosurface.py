"""A closed surface from a field on a grid of cells."""

from __future__ import annotations

import numpy as np
from skimage.measure import marching_cubes

from ..errors import ReconstructionError
from .mesh import Mesh


def extract(field: np.ndarray, level: float = 0.0) -> Mesh:
    """Triangulate where ``field`` passes ``level``; inside is above it.

    The surface is closed even where the inside reaches the grid's border: a layer of outside is
    put around. Marching cubes after T. Lewiner et al., "Efficient Implementation of Marching
    Cubes' Cases with Topological Guarantees", 2003.

    Args:
        field: ``[R, R, R]`` values at the cell centres of the unit cube, indexed ``[x, y, z]``.
        level: The surface's value.

    Raises:
        ReconstructionError: Nothing is inside.
    """
    if not (field > level).any():
        raise ReconstructionError("the surface is empty: nothing is left inside it.")
    resolution = field.shape[0]
    # Just outside: a far value would pull the surface to the last layer of cells.
    outside = level - max(float(np.abs(field - level).mean()), 1e-6)
    padded = np.pad(field.astype(np.float32), 1, constant_values=outside)
    # A value equal to the level gives triangles without area.
    padded[padded == level] = np.nextafter(np.float32(level), np.float32(np.inf))
    vertices, faces, _, _ = marching_cubes(padded, level, allow_degenerate=False)
    centred = (vertices - 0.5) / resolution - 0.5
    return Mesh(centred.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], np.int32))
