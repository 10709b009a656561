"""Fewer triangles for the same shape.

Quadric edge collapse (Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics",
SIGGRAPH 1997) in the threshold-driven form of fast-simplification. A low ``agg`` spends its
collapses where they cost least, which keeps outlines and thin parts, but may stop early; the gentle
settings are therefore tried first.
"""

from __future__ import annotations

from dataclasses import replace

import fast_simplification
import numpy as np

from ..errors import ReconstructionError
from .mesh import Mesh
from .mesh_repair import make_closed_manifold

_AGGRESSIVENESS = (3.0, 5.0, 7.0, 9.0)


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """Reduce a closed manifold mesh to at most ``faces`` triangles; it stays closed and manifold.

    Vertex colours are carried over; texture coordinates and texture are dropped, as they belong to
    the faces that go. A mesh that is small enough is returned as it is.

    Args:
        mesh: Closed and manifold, outward.
        faces: Largest number of triangles of the result, at least 4.

    Raises:
        ReconstructionError: The shape cannot be had with so few triangles.
    """
    if len(mesh.faces) <= faces:
        return mesh
    for aggressiveness in _AGGRESSIVENESS:
        # Repairing what a collapse broke can add faces again; a second try leaves room for them.
        for target in (faces, int(0.98 * faces)):
            simple = _collapse(mesh, target, aggressiveness)
            if simple is not None and len(simple.faces) <= faces:
                return _with_colors_of(mesh, simple)
    raise ReconstructionError(
        f"the mesh of {len(mesh.faces)} faces cannot be reduced to {faces}; allow more faces."
    )


def _collapse(mesh: Mesh, target: int, aggressiveness: float) -> Mesh | None:
    """One run of the simplifier, repaired; None when that cannot be repaired."""
    # The simplifier's error threshold is absolute, so it works on a mesh of unit size.
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    size = float((high - low).max())
    points = ((mesh.vertices.astype(np.float64) - low) / size).astype(np.float64)
    vertices, faces = fast_simplification.simplify(
        points, mesh.faces, target_count=max(target, 4), agg=aggressiveness
    )[:2]
    vertices = (vertices * size + low).astype(np.float32)
    try:
        return make_closed_manifold(Mesh(vertices, faces.astype(np.int32)))
    except ReconstructionError:
        return None


def _with_colors_of(mesh: Mesh, simple: Mesh) -> Mesh:
    """Colour ``simple`` by the nearest vertices of ``mesh``, nearer ones counting more."""
    if mesh.vertex_colors is None:
        return simple
    # Here, as it takes a tenth of a second and few meshes have colors.
    from scipy.spatial import KDTree

    distance, index = KDTree(mesh.vertices).query(simple.vertices, k=4)
    weights = 1.0 / np.maximum(distance, 1e-9 * float(np.ptp(mesh.vertices)))
    weights = weights / weights.sum(axis=1, keepdims=True)
    colors = np.einsum("nk,nkc->nc", weights, mesh.vertex_colors[index])
    return replace(simple, vertex_colors=colors.astype(np.float32))
