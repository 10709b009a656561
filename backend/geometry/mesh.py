"""Triangle mesh with optional colours and texture, as plain numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; right-handed, faces wound counter-clockwise seen from outside.

    Attributes:
        vertices: ``[V, 3]`` float32 positions.
        faces: ``[F, 3]`` int32 vertex indices.
        vertex_colors: ``[V, 3]`` float32 sRGB in [0, 1], or None.
        face_uvs: ``[F, 3, 2]`` float32 texture coordinates of each face's corners, origin at the
            bottom left as in Blender, or None. Given per corner, so that a seam does not have to
            split the closed surface.
        texture: ``[H, W, 3]`` uint8 sRGB, first row at the top, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_colors: np.ndarray | None = None
    face_uvs: np.ndarray | None = None
    texture: np.ndarray | None = None

    def transformed(self, scale: float, offset: np.ndarray) -> Mesh:
        """Return the mesh with ``vertices * scale + offset``; ``scale`` must be positive."""
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}")
        vertices = (self.vertices.astype(np.float64) * scale + offset).astype(np.float32)
        return replace(self, vertices=vertices)

    def face_normals(self) -> np.ndarray:
        """Unit normals ``[F, 3]``; zero where a face has no area."""
        corners = self.vertices.astype(np.float64)[self.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        return normals / np.where(lengths > 0, lengths, 1.0)

    def vertex_normals(self) -> np.ndarray:
        """Unit normals ``[V, 3]``: the area-weighted mean of the faces around each vertex."""
        corners = self.vertices.astype(np.float64)[self.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        sums = np.zeros((len(self.vertices), 3))
        for corner in range(3):
            for axis in range(3):
                sums[:, axis] += np.bincount(
                    self.faces[:, corner], normals[:, axis], minlength=len(sums)
                )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return sums / np.where(lengths > 0, lengths, 1.0)

    def signed_volume(self) -> float:
        """Enclosed volume by the divergence theorem; positive when faces look outward."""
        a, b, c = self.vertices.astype(np.float64)[self.faces].transpose(1, 0, 2)
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)

    def is_closed_manifold(self) -> bool:
        """Whether every edge is shared by exactly two faces that run along it in opposite ways."""
        if len(self.faces) == 0:
            return False
        starts = self.faces[:, [0, 1, 2]].ravel().astype(np.int64)
        ends = self.faces[:, [1, 2, 0]].ravel().astype(np.int64)
        count = len(self.vertices)
        forward = np.sort(starts * count + ends)
        backward = np.sort(ends * count + starts)
        each_once = bool(np.all(forward[1:] != forward[:-1]) and np.all(starts != ends))
        return each_once and bool(np.array_equal(forward, backward))
