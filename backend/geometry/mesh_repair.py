"""Turning the raw surface of a method into one clean solid: no stray pieces, closed, manifold.

A *half-edge* is one side of a face: number ``3 * f + i`` runs from corner ``i`` of face ``f`` to
corner ``i + 1``. Corners are numbered the same way. A surface is manifold when its half-edges are
matched in opposite pairs and the faces around each vertex form a single ring.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..errors import ReconstructionError
from .mesh import Mesh

# How far the copies of a split vertex move into their own piece, as a share of the distance to its
# neighbours: enough that merging vertices by position, as importers do, keeps them apart.
_SPLIT_GAP = 0.01


def keep_solid_parts(mesh: Mesh, smallest_share: float = 0.01) -> Mesh:
    """Drop stray pieces, cavities and whatever lies inside another piece.

    If the largest piece is wound inside out, the whole mesh is turned.

    Args:
        mesh: Closed pieces, each wound consistently; texture coordinates are kept.
        smallest_share: Pieces with less than this share of the largest piece's volume are dropped.

    Returns:
        The remaining pieces, without unused vertices.

    Raises:
        ReconstructionError: Nothing of any volume is there.
    """
    piece = _piece_of_face(mesh)
    volumes = np.bincount(piece, _signed_volumes(mesh))
    if len(volumes) == 0 or np.abs(volumes).max() <= 0:
        raise ReconstructionError("the reconstructed surface encloses no volume.")
    if volumes[np.abs(volumes).argmax()] < 0:
        mesh, volumes = _turned(mesh), -volumes
    solid = np.flatnonzero(volumes >= max(smallest_share, 1e-9) * volumes.max())
    parts = [_select_faces(mesh, piece == index) for index in solid]
    outer = [
        index
        for index, part in zip(solid, parts, strict=True)
        if not any(_contains(other, part) for other in parts if other is not part)
    ]
    return _select_faces(mesh, np.isin(piece, outer))


def make_closed_manifold(mesh: Mesh) -> Mesh:
    """Make every edge belong to two faces and the faces at every vertex a single ring.

    Vertices at the same position are merged, collapsed and doubled faces removed, edges and
    vertices where several sheets meet are split and drawn slightly apart, holes are filled, and
    the whole is turned outward. A mesh that is in order already is returned as it is. Texture
    coordinates are dropped when faces change.

    Args:
        mesh: Wound consistently.

    Returns:
        A mesh whose vertices, edges and orientation are those of a closed solid.

    Raises:
        ReconstructionError: The faces' orientations contradict each other, or nothing is left.
    """
    if _is_finished(mesh):
        return mesh
    if len(mesh.faces) == 0:
        raise ReconstructionError("the reconstructed surface is empty.")
    mesh = replace(mesh, face_uvs=None, texture=None)
    mesh = _fill_holes(_split(_without_doubled_faces(_weld(mesh))))
    if mesh.signed_volume() < 0:
        mesh = _turned(mesh)
    if not _is_finished(mesh):
        raise ReconstructionError(
            "the reconstructed surface could not be closed: its faces contradict each other; "
            "a different quality or seed may help."
        )
    return mesh


def is_manifold(mesh: Mesh) -> bool:
    """Whether edges and vertices are manifold, the surface closed and no two vertices coincide."""
    if not mesh.is_closed_manifold():
        return False
    used = len(np.unique(mesh.faces))
    rings = int(_rings(_match(mesh)).max()) + 1
    return rings == used == len(mesh.vertices) == int(_positions(mesh).max()) + 1


def _is_finished(mesh: Mesh) -> bool:
    return is_manifold(mesh) and mesh.signed_volume() >= 0


# Pieces ------------------------------------------------------------------------------------------


def _piece_of_face(mesh: Mesh) -> np.ndarray:
    """``[F]`` number of the connected piece that each face belongs to."""
    links = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    label = _components(links, len(mesh.vertices))[mesh.faces[:, 0]]
    return np.unique(label, return_inverse=True)[1].reshape(-1)


def _components(links: np.ndarray, count: int) -> np.ndarray:
    """Label ``[count]`` things so that those joined by ``links`` ``[L, 2]`` share a number."""
    ones = np.ones(len(links), dtype=np.int8)
    graph = coo_matrix((ones, (links[:, 0], links[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _signed_volumes(mesh: Mesh) -> np.ndarray:
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].transpose(1, 0, 2)
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0


def _contains(outer: Mesh, inner: Mesh) -> bool:
    """Whether a vertex of ``inner`` lies inside ``outer``: the winding number, from solid angles.

    The solid angle of a triangle is that of Van Oosterom and Strackee, "The Solid Angle of a Plane
    Triangle", IEEE Trans. Biomed. Eng. 1983, equation 8.
    """
    point = inner.vertices[0].astype(np.float64)
    if (point < outer.vertices.min(axis=0)).any() or (point > outer.vertices.max(axis=0)).any():
        return False
    a, b, c = (outer.vertices[outer.faces] - point).transpose(1, 0, 2)
    la, lb, lc = (np.linalg.norm(corner, axis=1) for corner in (a, b, c))
    numerator = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = (np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a)))
    ab, bc, ca = dots
    angles = 2.0 * np.arctan2(numerator, la * lb * lc + ab * lc + bc * la + ca * lb)
    return bool(angles.sum() / (4.0 * np.pi) > 0.5)


def _select_faces(mesh: Mesh, keep: np.ndarray) -> Mesh:
    """The faces ``keep`` ``[F]`` bool and the vertices that they use."""
    face_uvs = None if mesh.face_uvs is None else mesh.face_uvs[keep]
    return _compact(replace(mesh, faces=mesh.faces[keep], face_uvs=face_uvs))


def _compact(mesh: Mesh) -> Mesh:
    """Drop the vertices that no face uses."""
    used = np.zeros(len(mesh.vertices), dtype=bool)
    used[mesh.faces] = True
    faces = (np.cumsum(used) - 1)[mesh.faces].astype(np.int32)
    return replace(_take_vertices(mesh, np.flatnonzero(used)), faces=faces)


def _take_vertices(mesh: Mesh, index: np.ndarray) -> Mesh:
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[index]
    return replace(mesh, vertices=mesh.vertices[index], vertex_colors=colors)


def _turned(mesh: Mesh) -> Mesh:
    face_uvs = None if mesh.face_uvs is None else np.ascontiguousarray(mesh.face_uvs[:, ::-1])
    return replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1]), face_uvs=face_uvs)


# Welding -----------------------------------------------------------------------------------------


def _positions(mesh: Mesh) -> np.ndarray:
    """``[V]`` numbers that are equal for vertices at exactly the same position."""
    bits = np.ascontiguousarray(mesh.vertices + np.float32(0.0), dtype=np.float32).view(np.uint32)
    high = bits[:, 0].astype(np.uint64) << np.uint64(32) | bits[:, 1]
    pairs = np.unique(high, return_inverse=True)[1].astype(np.uint64)
    whole = pairs << np.uint64(32) | bits[:, 2]
    return np.unique(whole, return_inverse=True)[1].reshape(-1)


def _weld(mesh: Mesh) -> Mesh:
    """Merge vertices at the same position and drop faces that thereby lose a side."""
    _, first, number = np.unique(_positions(mesh), return_index=True, return_inverse=True)
    faces = first[number.reshape(-1)][mesh.faces]
    a, b, c = faces.T
    return replace(mesh, faces=faces[(a != b) & (b != c) & (c != a)].astype(np.int32))


def _without_doubled_faces(mesh: Mesh) -> Mesh:
    """Cancel pairs of faces that lie back to back on the same three vertices."""
    ordered = np.sort(mesh.faces, axis=1)
    rotations = (np.roll(mesh.faces, shift, axis=1) for shift in range(3))
    even = np.any([(rotation == ordered).all(axis=1) for rotation in rotations], axis=0)
    group = _row_groups(ordered)
    doubled = np.flatnonzero(np.bincount(group)[group] > 1)
    keep = np.ones(len(mesh.faces), dtype=bool)
    for number in np.unique(group[doubled]):
        members = doubled[group[doubled] == number]
        one, other = members[even[members]], members[~even[members]]
        pairs = min(len(one), len(other))
        keep[one[:pairs]] = keep[other[:pairs]] = False
    return _select_faces(mesh, keep)


def _row_groups(rows: np.ndarray) -> np.ndarray:
    """Number the rows of ``[N, 3]`` nonnegative indices; equal rows share a number."""
    base = int(rows.max(initial=0)) + 1
    pairs = rows[:, 0].astype(np.int64) * base + rows[:, 1]
    pairs = np.unique(pairs, return_inverse=True)[1].reshape(-1)
    whole = pairs.astype(np.int64) * base + rows[:, 2]
    return np.unique(whole, return_inverse=True)[1].reshape(-1)


# Splitting ---------------------------------------------------------------------------------------


def _split(mesh: Mesh) -> Mesh:
    """Give every ring of faces around a vertex a vertex of its own."""
    ring = _rings(_match(mesh))
    doubled = _doubled_edges(mesh, ring)
    if len(doubled):
        # One ring passes the same edge twice. Joined across the air, it falls into two rings.
        ring = _rings(_match(mesh, doubled))
    _, corner = np.unique(ring, return_index=True)
    origin = mesh.faces.reshape(-1)[corner]
    faces = ring.reshape(-1, 3).astype(np.int32)
    copies = np.bincount(origin, minlength=len(mesh.vertices))[origin] > 1
    mesh = replace(_take_vertices(mesh, origin), faces=faces)
    return replace(mesh, vertices=_drawn_apart(mesh, copies))


def _edge_keys(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Number ``[3 F]`` of each half-edge's edge, and whether it runs to the higher vertex."""
    start = mesh.faces.reshape(-1).astype(np.int64)
    end = np.roll(mesh.faces, -1, axis=1).reshape(-1).astype(np.int64)
    return np.minimum(start, end) * len(mesh.vertices) + np.maximum(start, end), start < end


def _match(mesh: Mesh, through_air: np.ndarray | None = None) -> np.ndarray:
    """The opposite half-edge ``[3 F]`` of every half-edge, -1 at the border of a hole.

    Where an edge has more than two faces, those are matched that enclose solid between them; at
    the edges ``through_air`` those that enclose air.
    """
    key, ahead = _edge_keys(mesh)
    order = np.argsort(key, kind="stable")
    start = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0])
    count = np.diff(np.r_[start, len(order)])
    mate = np.full(len(key), -1, dtype=np.int64)
    one, other = order[start[count == 2]], order[start[count == 2] + 1]
    opposite = ahead[one] != ahead[other]
    mate[one[opposite]], mate[other[opposite]] = other[opposite], one[opposite]
    _refuse_contradictions(count[count == 2], opposite)
    for first, size in zip(start[count > 2], count[count > 2], strict=True):
        half_edges = order[first : first + size]
        air = through_air is not None and key[half_edges[0]] in through_air
        _match_around(mesh, half_edges, ahead[half_edges], air, mate)
    return mate


def _refuse_contradictions(count: np.ndarray, opposite: np.ndarray) -> None:
    if not opposite.all():
        raise ReconstructionError(
            f"the reconstructed surface is wound inconsistently at {(~opposite).sum()} of "
            f"{len(count)} edges and has no inside."
        )


def _match_around(
    mesh: Mesh, half_edges: np.ndarray, ahead: np.ndarray, air: bool, mate: np.ndarray
) -> None:
    """Match the faces around one edge like brackets, in the order of their angles.

    Seen along the edge, solid follows a face that runs backward and ends at one that runs ahead.
    """
    turn = np.argsort(_angles(mesh, half_edges, ahead), kind="stable")
    half_edges, opens = half_edges[turn], ahead[turn] if air else ~ahead[turn]
    level = np.cumsum(np.where(opens, 1, -1))
    begin = int(level.argmin()) + 1
    waiting: list[int] = []
    for index in np.roll(np.arange(len(turn)), -begin):
        if opens[index]:
            waiting.append(half_edges[index])
        elif waiting:
            partner = waiting.pop()
            mate[partner], mate[half_edges[index]] = half_edges[index], partner


def _angles(mesh: Mesh, half_edges: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Angle of each half-edge's face about the edge, counted from an arbitrary face."""
    vertices, corners = mesh.vertices.astype(np.float64), mesh.faces.reshape(-1)
    start, end = corners[half_edges], corners[_next(half_edges)]
    low, high = (start[0], end[0]) if ahead[0] else (end[0], start[0])
    axis = vertices[high] - vertices[low]
    axis = axis / max(np.linalg.norm(axis), np.finfo(float).tiny)
    outward = vertices[corners[_next(_next(half_edges))]] - vertices[low]
    outward = outward - (outward @ axis)[:, None] * axis
    return np.arctan2(outward @ np.cross(axis, outward[0]), outward @ outward[0])


def _next(half_edge: np.ndarray) -> np.ndarray:
    """The half-edge that follows in the same face."""
    return half_edge - half_edge % 3 + (half_edge + 1) % 3


def _rings(mate: np.ndarray) -> np.ndarray:
    """``[3 F]`` number of the ring of faces around a vertex that each corner belongs to."""
    matched = np.flatnonzero(mate >= 0)
    links = np.stack([matched, _next(mate[matched])], axis=1)
    return _components(links, len(mate))


def _doubled_edges(mesh: Mesh, ring: np.ndarray) -> np.ndarray:
    """The edges of ``mesh`` that still have more than two faces once its rings are vertices."""
    key, _ = _edge_keys(mesh)
    start = ring.astype(np.int64)
    half_edge = start * (ring.max(initial=0) + 1) + start[_next(np.arange(len(ring)))]
    _, number, count = np.unique(half_edge, return_inverse=True, return_counts=True)
    return np.unique(key[count[number.reshape(-1)] > 1])


def _drawn_apart(mesh: Mesh, copies: np.ndarray) -> np.ndarray:
    """Vertices, those in ``copies`` ``[V]`` moved a little towards the mean of their neighbours."""
    if not copies.any():
        return mesh.vertices
    vertices = mesh.vertices.astype(np.float64)
    neighbours = np.roll(mesh.faces, -1, axis=1).reshape(-1), np.roll(mesh.faces, 1, axis=1).ravel()
    sums = np.zeros_like(vertices)
    for neighbour in neighbours:
        np.add.at(sums, mesh.faces.reshape(-1), vertices[neighbour])
    means = sums / (2.0 * np.bincount(mesh.faces.reshape(-1), minlength=len(sums)))[:, None]
    moved = vertices + _SPLIT_GAP * (means - vertices)
    return np.where(copies[:, None], moved, vertices).astype(np.float32)


# Holes -------------------------------------------------------------------------------------------


def _fill_holes(mesh: Mesh) -> Mesh:
    """Close every hole with a fan of triangles around its middle, or with one triangle."""
    vertices, faces = [mesh.vertices], [mesh.faces]
    colors = None if mesh.vertex_colors is None else [mesh.vertex_colors]
    count = len(mesh.vertices)
    for loop in _hole_loops(mesh):
        if len(loop) == 3:
            faces.append(loop[None, ::-1])
            continue
        middle = np.full(len(loop), count)
        faces.append(np.stack([np.roll(loop, -1), loop, middle], axis=1))
        vertices.append(mesh.vertices[loop].mean(axis=0, keepdims=True))
        if colors is not None and mesh.vertex_colors is not None:
            colors.append(mesh.vertex_colors[loop].mean(axis=0, keepdims=True))
        count += 1
    return replace(
        mesh,
        vertices=np.concatenate(vertices).astype(np.float32),
        faces=np.concatenate(faces).astype(np.int32),
        vertex_colors=None if colors is None else np.concatenate(colors).astype(np.float32),
    )


def _hole_loops(mesh: Mesh) -> list[np.ndarray]:
    """Vertices along every hole's border, in the direction of the half-edges that lie there."""
    border = np.flatnonzero(_match(mesh) < 0)
    corners = mesh.faces.reshape(-1)
    following = dict(zip(corners[border].tolist(), corners[_next(border)].tolist(), strict=True))
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop, dtype=np.int32))
    return loops
