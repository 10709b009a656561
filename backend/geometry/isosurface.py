"""A closed surface from a field on a grid of cells."""

from __future__ import annotations

import numpy as np
from skimage.measure import marching_cubes

from ..errors import ReconstructionError
from .mesh import Mesh

_LEAST = 3e-4  # share of the mean magnitude; for a distance field about a hundredth of a cell
_GOLDEN = 0.6180339887


def extract(field: np.ndarray, level: float = 0.0) -> Mesh:
    """Triangulate where ``field`` passes ``level``; inside is above it.

    The surface is closed even where the inside reaches the grid's border: a layer of outside is
    put around. Marching cubes after T. Lewiner et al., "Efficient Implementation of Marching
    Cubes' Cases with Topological Guarantees", 2003. Four faces may still share an edge where a
    field is as rough as its grid; ``mesh_repair`` parts them.

    Args:
        field: ``[R, R, R]`` values at the cell centres of the unit cube, indexed ``[x, y, z]``.
        level: The surface's value.

    Raises:
        ReconstructionError: Nothing is inside.
    """
    if not (field > level).any():
        raise ReconstructionError("the surface is empty: nothing is left inside it.")
    resolution = field.shape[0]
    height = field.astype(np.float64) - level
    mean = float(np.abs(height).mean())
    # Just outside: a far value would pull the surface to the last layer of cells.
    padded = np.pad(height / mean, 1, constant_values=-1.0)
    vertices, faces, _, _ = marching_cubes(_distinct(padded), 0.0, allow_degenerate=False)
    centred = (vertices - 0.5) / resolution - 0.5
    return Mesh(centred.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], np.int32))


def _distinct(field: np.ndarray) -> np.ndarray:
    """A field of mean magnitude 1 as marching cubes can tell its cases apart, float32.

    Values near zero move away from it, each to its own side and by its own amount: where several
    vertices fall together in one cell's centre, merging them could tear or pinch the surface.
    """
    own = _LEAST * (1 + (np.arange(field.size) * _GOLDEN % 1).reshape(field.shape))
    moved = np.where(np.abs(field) < own, np.where(field < 0, -own, own), field)
    return moved.astype(np.float32)
