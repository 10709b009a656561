"""Ground truth of one mesh: what is solid, how far the surface is, points on it.

The meshes are artists': open, of overlapping and intersecting parts, sometimes with parts inside
out or doubled. What is solid is therefore said by the generalised winding number w (Jacobson et
al. 2013; the fast evaluation of Barill et al. 2018 from libigl): a point is inside where w > 1/2.
For closed parts that is exact, overlaps counting once; an open surface is closed by the cap on
which w = 1/2; a flat sheet holds nothing.

Signed distances are negative inside. Outside, the distance is to the nearest of all triangles.
Inside, walls that run through the solid do not count: only what has the solid on exactly one side.
Across the cap of an open surface the sign changes without the distance being zero.

Everything is in the coordinates of the mesh; grids are indexed ``[x, y, z]`` as in
``backend.geometry.point_cloud``. Results depend on mesh and seed alone.
"""

from __future__ import annotations

from dataclasses import replace

import igl
import numpy as np

from backend.errors import InputError
from backend.geometry.mesh import Mesh

BOX = 0.55  # half the box of the uniform samples: the unit cube and the published 10 % around it
NEAR_SURFACE = (0.01, 0.05)  # standard deviations; a quarter of the occupancy samples each
_STEP = 1e-4  # from a wall to both of its sides
_LONGEST_EDGE = 0.06  # of the pieces in which walls are judged
_FINEST_EDGE = 0.02  # of those along the curves where walls enter the solid
_MOST_PIECES = 400_000


class Solid:
    """A mesh that can be asked for occupancy and signed distance.

    Attributes:
        mesh: Without faces of no area and doubled faces, and with each part wound outwards.
    """

    def __init__(self, mesh: Mesh) -> None:
        """Clean the mesh and build the search trees.

        Args:
            mesh: In or near the unit cube; welded, so that faces of one part share vertices.

        Raises:
            InputError: A vertex that is not finite or far outside the cube, or no face with an
                area.
        """
        if not np.abs(mesh.vertices).max(initial=0.0) <= 2 * BOX:
            raise InputError("the mesh has vertices that are not finite or outside the unit cube.")
        self.mesh = wound_outwards(without_doubles(mesh))
        vertices = self.mesh.vertices.astype(np.float64)
        pieces = _subdivided(vertices[self.mesh.faces], _LONGEST_EDGE)
        # Long triangles make the tree of winding numbers slow; cutting them changes no number.
        self._winding = igl.FastWindingNumberBVH()
        self._winding.init(*_soup(pieces))
        self._all = vertices, self.mesh.faces.astype(np.int64)
        outer = self._outer(pieces)
        self._outer_walls = _soup(outer) if len(outer) else self._all

    def occupancy(self, points: np.ndarray) -> np.ndarray:
        """Whether ``[N, 3]`` points are inside: ``[N]`` bool."""
        return self.winding_number(points) > 0.5

    def winding_number(self, points: np.ndarray) -> np.ndarray:
        """Generalised winding number ``[N]`` of ``[N, 3]`` points, within about 0.02."""
        queries = np.ascontiguousarray(points, dtype=np.float64)
        return np.asarray(self._winding.winding_number(queries))

    def signed_distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances ``[N]``, negative inside, and occupancies ``[N]`` of ``[N, 3]`` points."""
        points = np.ascontiguousarray(points, dtype=np.float64)
        inside = self.occupancy(points)
        distances = np.zeros(len(points))
        for which, walls in ((~inside, self._all), (inside, self._outer_walls)):
            if which.any():
                squared = igl.point_mesh_squared_distance(points[which], *walls)[0]
                distances[which] = np.sqrt(squared)
        return np.where(inside, -distances, distances), inside

    def surface_points(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points and normals ``[N, 3]``, spread evenly over all faces, hidden ones included.

        The published protocols (Occupancy Networks, DVR) sample the whole mesh in the same way.
        """
        corners = self.mesh.vertices.astype(np.float64)[self.mesh.faces]
        reach = np.cumsum(_areas(corners))
        face = np.searchsorted(reach, rng.random(count) * reach[-1], side="right")
        u, v = rng.random((2, count, 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = corners[face.clip(max=len(corners) - 1)].transpose(1, 0, 2)
        normals = self.mesh.face_normals()[face.clip(max=len(corners) - 1)]
        return a + u * (b - a) + v * (c - a), normals

    def sample_points(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``[N, 3]`` points: one half evenly in the box, then quarters near the surface."""
        uniform = rng.uniform(-BOX, BOX, (count - 2 * (count // 4), 3))
        near = [
            self.surface_points(count // 4, rng)[0] + rng.normal(0.0, sigma, (count // 4, 3))
            for sigma in NEAR_SURFACE
        ]
        return np.concatenate([uniform, *near])

    def voxel_grid(self, resolution: int) -> np.ndarray:
        """``[R, R, R]`` bool, whether the centres of the unit cube's cells are inside."""
        axis = (np.arange(resolution) + 0.5) / resolution - 0.5
        centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        return self.occupancy(centres.reshape(-1, 3)).reshape((resolution,) * 3)

    def _outer(self, pieces: np.ndarray) -> np.ndarray:
        """The pieces ``[N, 3, 3]`` with the solid on one side only; cut finer where that changes.

        The smallest are judged at their middle, larger ones near their corners too.
        """
        kept = []
        while len(pieces):
            is_small = _longest_edges(pieces) <= _FINEST_EDGE
            small, pieces = pieces[is_small], pieces[~is_small]
            middles = small.mean(axis=1)
            kept.append(small[self._solid_on_one_side(small, middles[:, None])[:, 0]])
            middles = pieces.mean(axis=1, keepdims=True)
            probes = np.concatenate([middles, 0.02 * middles + 0.98 * pieces], axis=1)
            votes = self._solid_on_one_side(pieces, probes)  # [N, 4]
            kept.append(pieces[votes.all(axis=1)])
            mixed = pieces[votes.any(axis=1) & ~votes.all(axis=1)]
            pieces = _subdivided(mixed, 0.6 * float(_longest_edges(mixed).max(initial=0.0)))
            if len(pieces) == len(mixed):
                break
        return np.concatenate([*kept, pieces])

    def _solid_on_one_side(self, pieces: np.ndarray, probes: np.ndarray) -> np.ndarray:
        """``[N, K]`` bool at ``probes`` ``[N, K, 3]`` on the pieces ``[N, 3, 3]``.

        Winding numbers rise by one from the front of a face to its back.
        """
        normals = np.cross(pieces[:, 1] - pieces[:, 0], pieces[:, 2] - pieces[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        front = self.winding_number((probes + _STEP * normals[:, None]).reshape(-1, 3))
        return ((front > -0.5) & (front <= 0.5)).reshape(probes.shape[:2])


# Cleaning -----------------------------------------------------------------------------------------


def without_doubles(mesh: Mesh) -> Mesh:
    """Drop faces without area and those that have the same corners as an earlier one.

    Raises:
        InputError: Nothing is left.
    """
    areas = _areas(mesh.vertices.astype(np.float64)[mesh.faces])
    faces = mesh.faces[areas > 1e-14]
    first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)[1]
    if len(first) == 0:
        raise InputError("the mesh has no face with an area.")
    return replace(mesh, faces=faces[np.sort(first)], face_uvs=None, texture=None)


def wound_outwards(mesh: Mesh) -> Mesh:
    """Wind the faces of each part alike, and turn parts that are inside out.

    A part is what hangs together over edges of two faces. Open parts are judged as if closed by a
    cone over their border. A part inside out that lies within the others is a cavity and stays.
    """
    faces, part = map(np.asarray, igl.bfs_orient(mesh.faces.astype(np.int64)))
    vertices = mesh.vertices.astype(np.float64)
    faces = _majority_kept(mesh.faces, faces, part)
    volumes = _part_volumes(vertices, faces, part)
    flip = ((volumes < 0) & ~_cavities(vertices, faces, part, volumes))[part]
    faces[flip] = faces[flip][:, ::-1]
    return replace(mesh, faces=faces.astype(np.int32))


def _majority_kept(before: np.ndarray, after: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Turn whole parts back in which most faces were turned; what had been wound well stays so."""
    position = (after == before[:, :1]).argmax(axis=1)
    following = after[np.arange(len(after)), (position + 1) % 3]
    turned = np.bincount(part, following != before[:, 1]) > 0.5 * np.bincount(part)
    return np.where(turned[part][:, None], after[:, ::-1], after)


def _part_volumes(vertices: np.ndarray, faces: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Signed volume ``[P]`` of each part and of the cones over its border.

    Seen from the border's middle the cones of a single border are flat. Volumes that are nothing
    beside the part's area, as of sheets, are 0.
    """
    count = int(part.max()) + 1
    edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    keys = np.sort(edges, axis=1) @ np.array([len(vertices), 1])
    keys = np.repeat(part, 3).astype(np.int64) * len(vertices) ** 2 + keys
    _, inverse, times = np.unique(keys, return_inverse=True, return_counts=True)
    border = times[inverse] == 1
    # The border's middle; a closed part's volume is the same from anywhere, say from its middle.
    open_parts = np.bincount(np.repeat(part, 3)[border], minlength=count) > 0
    used = np.where(open_parts[np.repeat(part, 3)], border, True)
    middles = np.zeros((count, 3))
    points = vertices[edges].mean(axis=1)
    owner = np.repeat(part, 3)[used]
    for axis in range(3):
        sums = np.bincount(owner, points[used, axis], minlength=count)
        middles[:, axis] = sums / np.bincount(owner, minlength=count)
    corners = vertices[faces] - middles[part][:, None]
    six = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    volumes = np.bincount(part, six, minlength=count) / 6
    areas = np.bincount(part, _areas(vertices[faces]), minlength=count)
    return np.where(np.abs(volumes) > 1e-4 * areas**1.5, volumes, 0.0)


def _cavities(
    vertices: np.ndarray, faces: np.ndarray, part: np.ndarray, volumes: np.ndarray
) -> np.ndarray:
    """``[P]`` bool: parts inside out all of whose vertices are inside the parts that are not."""
    outwards, inwards = volumes[part] > 0, volumes[part] < 0
    if not (outwards.any() and inwards.any()):
        return np.zeros(len(volumes), dtype=bool)
    owner, vertex = np.unique(
        np.stack([np.repeat(part[inwards], 3), faces[inwards].reshape(-1)]), axis=1
    )
    winding = np.asarray(igl.fast_winding_number(vertices, faces[outwards], vertices[vertex]))
    outside = np.bincount(owner, winding <= 0.5, minlength=len(volumes)) > 0
    return (volumes < 0) & ~outside


# Triangles ----------------------------------------------------------------------------------------


def _areas(corners: np.ndarray) -> np.ndarray:
    """``[F]`` of ``[F, 3, 3]``."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return 0.5 * np.linalg.norm(cross, axis=1)


def _longest_edges(corners: np.ndarray) -> np.ndarray:
    """``[F]`` of ``[F, 3, 3]``."""
    return np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).max(axis=1)


def _soup(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of triangles ``[F, 3, 3]`` that share nothing."""
    return corners.reshape(-1, 3), np.arange(3 * len(corners), dtype=np.int64).reshape(-1, 3)


def _subdivided(corners: np.ndarray, longest_edge: float) -> np.ndarray:
    """Halve the longest edge of triangles ``[F, 3, 3]`` until none is longer.

    Stops at a number of triangles that is still quick, whatever size the mesh has.
    """
    done = []
    while len(corners):
        lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)  # of edge i, i + 1
        long = lengths.max(axis=1) > longest_edge
        done.append(corners[~long])
        if sum(map(len, done)) + 2 * long.sum() > _MOST_PIECES:
            done.append(corners[long])
            break
        corners, edge = corners[long], lengths[long].argmax(axis=1)
        rows = np.arange(len(corners))
        a, b, c = (corners[rows, (edge + i) % 3] for i in range(3))
        middle = 0.5 * (a + b)
        halves = np.stack([np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)])
        corners = halves.reshape(-1, 3, 3)
    return np.concatenate(done) if done else corners
