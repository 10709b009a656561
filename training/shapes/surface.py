"""Parts to one closed, coloured surface in the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from manifold3d import Manifold, OpType
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.geometry.mesh import Mesh

from .solids import Color, Part

LONGEST_EDGE = 0.9  # of the bounding box in the unit cube
_TOLERANCE = 1e-5  # in the unit cube; keeps vertices further apart than float32 rounds
_CREASE = 50.0  # degrees between the normals of faces that meet in a visible edge


def unite(parts: Sequence[Part]) -> Mesh:
    """Unite parts into one closed surface.

    Colours are kept face by face: every face's three texture coordinates are the middle of its
    colour's pixel. Vertex colours would either bleed from part to part or cut the surface open.

    Args:
        parts: In metres; each overlaps another.

    Returns:
        Centred in the unit cube, longest edge of the bounding box ``LONGEST_EDGE``.

    Raises:
        ValueError: The parts do not hang together.
    """
    originals = [part.solid.as_original() for part in parts]
    whole = _combined(originals, [part.cut for part in parts])
    mesh = _one_piece(_in_unit_cube(whole)).to_mesh64()
    colors = {solid.original_id(): part.color for solid, part in zip(originals, parts, strict=True)}
    lengths = np.diff(mesh.run_index) // 3
    face_uvs, texture = _palette([colors[run] for run in mesh.run_original_id], lengths)
    faces = np.asarray(mesh.tri_verts, dtype=np.int32)
    vertices = np.asarray(mesh.vert_properties[:, :3], dtype=np.float32)
    return Mesh(_apart(vertices, faces), faces, face_uvs=face_uvs, texture=texture)


def _combined(solids: Sequence[Manifold], cuts: Sequence[bool]) -> Manifold:
    """Everything in one, in order; stretches without cuts in one go, which is quicker."""
    whole = Manifold()
    for cut, group in groupby(zip(solids, cuts, strict=True), key=lambda pair: pair[1]):
        ours = [solid for solid, _ in group]
        operation = OpType.Subtract if cut else OpType.Add
        whole = Manifold.batch_boolean([whole, *ours], operation)
    return whole


def _in_unit_cube(solid: Manifold) -> Manifold:
    low, high = np.reshape(solid.bounding_box(), (2, 3))
    scale = LONGEST_EDGE / float((high - low).max())
    centred = solid.translate(tuple(-(low + high) / 2)).scale((scale, scale, scale))
    return centred.simplify(_TOLERANCE)


def _one_piece(solid: Manifold) -> Manifold:
    """The only piece of a solid, with the holes filled that nothing leads to."""
    pieces = [piece for piece in solid.decompose() if piece.volume() > 0]
    if len(pieces) != 1:
        raise ValueError(f"the parts make {len(pieces)} pieces instead of one; let them overlap.")
    return pieces[0]


def _apart(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices ``[V, 3]`` of which no two are at one place.

    Where solids touch in a point or along an edge, a closed surface has a vertex for each of them,
    which whoever merges vertices by their place would make one. They are drawn back a little.
    """
    _, place, count = np.unique(vertices, axis=0, return_inverse=True, return_counts=True)
    doubled = np.flatnonzero(count[place.reshape(-1)] > 1)
    moved = vertices.copy()
    for vertex in doubled:
        around = vertices[faces[(faces == vertex).any(axis=1)]].reshape(-1, 3).mean(axis=0)
        away = around - vertices[vertex]
        moved[vertex] += 3 * _TOLERANCE * away / np.linalg.norm(away)
    return moved


def _palette(colors: Sequence[Color], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``face_uvs`` ``[F, 3, 2]`` and texture ``[1, C, 3]`` for runs of faces of one colour each."""
    bytes_ = np.round(255 * np.clip(np.array(colors), 0.0, 1.0)).astype(np.uint8)
    texture, pixel = np.unique(bytes_, axis=0, return_inverse=True)
    u = ((pixel.reshape(-1) + 0.5) / len(texture)).repeat(lengths)
    uvs = np.stack([u, np.full_like(u, 0.5)], axis=1).astype(np.float32)
    return uvs[:, None].repeat(3, axis=1), texture[None]


def with_sharp_edges(mesh: Mesh) -> Mesh:
    """Give a vertex one copy for each smooth stretch of surface around it.

    Normals that are averaged over each copy's own faces, as mesh files do, then leave creases and
    colour borders sharp. Merging vertices at one place closes the surface again.

    Args:
        mesh: Closed, from :func:`unite`.
    """
    assert mesh.face_uvs is not None
    faces, count = mesh.faces.astype(np.int64), len(mesh.faces)
    corner = np.arange(3 * count).reshape(count, 3)
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    # Each edge is met twice, in opposite directions: once sorted, the pairs stand together.
    order = np.argsort(np.minimum(start, end) * len(mesh.vertices) + np.maximum(start, end))
    one, other = order.reshape(-1, 2).T
    normals, colors = mesh.face_normals(), mesh.face_uvs[:, 0, 0]
    cosines = (normals[one // 3] * normals[other // 3]).sum(axis=1)
    smooth = (cosines > np.cos(np.radians(_CREASE))) & (colors[one // 3] == colors[other // 3])
    one, other = one[smooth], other[smooth]
    following = np.roll(corner, -1, axis=1).reshape(-1)
    joined = np.concatenate([one, following[one]]), np.concatenate([following[other], other])
    graph = coo_array((np.ones(len(joined[0])), joined), shape=(3 * count, 3 * count))
    copies, copy = connected_components(graph, directed=False)
    vertices = np.zeros((copies, 3), dtype=np.float32)
    vertices[copy] = mesh.vertices[faces.reshape(-1)]
    return replace(mesh, vertices=vertices, faces=copy.reshape(count, 3).astype(np.int32))
