"""A closed surface from a field on a grid of cells."""

from __future__ import annotations

import numpy as np
from skimage.measure import marching_cubes

from ..errors import ReconstructionError
from .mesh import Mesh

_LEAST = 2e-3  # of the field's change from cell to cell
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
    height = (field - field.dtype.type(level)).astype(np.float32, copy=False)
    # Just outside: a far value would pull the surface to the last layer of cells.
    outside = -max(float(np.abs(height).mean()), 1e-6)
    padded = _distinct(np.pad(height, 1, constant_values=outside))
    vertices, faces, _, _ = marching_cubes(padded, 0.0, allow_degenerate=False)
    centred = (vertices - 0.5) / resolution - 0.5
    return Mesh(centred.astype(np.float32), np.ascontiguousarray(faces[:, ::-1], np.int32))


def _distinct(field: np.ndarray) -> np.ndarray:
    """Move values near zero away from it, each to its own side and by its own amount.

    Where several vertices fall together in one cell's centre, merging them could tear or pinch the
    surface.
    """
    step = _step_at_zero(field)
    near = np.flatnonzero(np.abs(field) < 2 * _LEAST * step)
    values = field.ravel()[near]
    own = (_LEAST * (1 + near * _GOLDEN % 1) * step).astype(np.float32)
    field.ravel()[near] = np.where(values < 0, np.minimum(values, -own), np.maximum(values, own))
    return field


def _step_at_zero(field: np.ndarray) -> float:
    """Mean difference of neighbours between which the field changes its sign.

    The field is outside all around, so that a row's last cell and the next one's first are as well.
    """
    values, outside = field.ravel(), field.ravel() < 0
    steps = []
    for stride in (field.shape[1] * field.shape[2], field.shape[2], 1):
        crossed = np.flatnonzero(outside[:-stride] != outside[stride:])
        steps.append(np.abs(values[crossed + stride] - values[crossed]))
    return float(np.concatenate(steps).mean(dtype=np.float64))
