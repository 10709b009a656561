"""What the edges of a mesh tell: where it is smooth, and which parts of it are closed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class EdgePairs:
    """Edges of exactly two faces, which run along it in opposite ways, as of a closed surface.

    Corner ``3 * f + k`` is corner k of face f, and stands for the edge from there to the next
    corner as well. Vertices at one place count as one.

    Attributes:
        one: ``[E]`` corner of one face.
        other: ``[E]`` corner of the other face.
        faces: Number of faces of the mesh.
    """

    one: np.ndarray
    other: np.ndarray
    faces: int


def edge_pairs(vertices: np.ndarray, faces: np.ndarray) -> EdgePairs:
    """Find them.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.
    """
    place = np.unique(vertices, axis=0, return_inverse=True)[1].reshape(-1)[faces]
    start, end = place.reshape(-1), np.roll(place, -1, axis=1).reshape(-1)
    edge = np.minimum(start, end) * len(vertices) + np.maximum(start, end)
    order = edge.argsort(kind="stable")
    same = np.concatenate([[False], edge[order][1:] == edge[order][:-1], [False]])
    first = np.flatnonzero(same[1:-1] & ~same[:-2] & ~same[2:])
    one, other = order[first], order[first + 1]
    opposite = start[one] != start[other]
    return EdgePairs(one[opposite], other[opposite], len(faces))


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """``[F, 3]``, twice as long as the faces are large."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def corner_normals(normals: np.ndarray, pairs: EdgePairs, crease_angle: float) -> np.ndarray:
    """Unit normals of each face's corners, smooth but for sharp edges.

    Corners at one place belong together when a chain of faces leads from one to the other across
    edges whose two faces' normals differ by less than the crease angle; their normal is the mean of
    these faces', by area.

    Args:
        normals: ``[F, 3]`` from :func:`face_normals`.
        pairs: Of the same faces.
        crease_angle: In degrees.

    Returns:
        ``[F, 3, 3]`` float32; zero where a face has no area.
    """
    lengths = np.linalg.norm(normals, axis=1)
    one, other = pairs.one // 3, pairs.other // 3
    dots = (normals[one] * normals[other]).sum(axis=1)
    smooth = dots > math.cos(math.radians(crease_angle)) * lengths[one] * lengths[other]
    one, other = pairs.one[smooth], pairs.other[smooth]
    following = np.roll(np.arange(3 * pairs.faces).reshape(-1, 3), -1, axis=1).reshape(-1)
    number, group = _connected(
        np.concatenate([one, following[one]]),
        np.concatenate([following[other], other]),
        3 * pairs.faces,
    )
    spread = np.repeat(normals, 3, axis=0)
    sums = np.stack([np.bincount(group, spread[:, i], number) for i in range(3)], axis=1)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return unit[group].reshape(-1, 3, 3).astype(np.float32)


def in_closed_parts(vertices: np.ndarray, faces: np.ndarray, pairs: EdgePairs) -> np.ndarray:
    """Whether each face ``[F]`` belongs to a closed part that is wound outwards.

    From outside, no face of such a part is seen from behind: another one hides it.
    """
    number, part = _connected(pairs.one // 3, pairs.other // 3, len(faces))
    paired = np.bincount(part[pairs.one // 3], minlength=number)
    paired += np.bincount(part[pairs.other // 3], minlength=number)
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    volume = np.bincount(part, (a * np.cross(b, c)).sum(axis=1), number)
    closed = paired == 3 * np.bincount(part, minlength=number)
    return (closed & (volume > 0))[part]


def _connected(one: np.ndarray, other: np.ndarray, count: int) -> tuple[int, np.ndarray]:
    """Number of the groups that pairs make of ``count`` things, and each thing's group."""
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)
