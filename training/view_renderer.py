"""Views of a coloured mesh: a picture with coverage, depth and normals, on one core, by numpy.

What it leaves out of what Blender renders: shadows, light from surface to surface, highlights and
transparency. What it keeps: where everything is, to the sample, and the same lights (see
``backend.studio_lights``), so that the brightness of a surface that nothing shades is about the
same.

Shading is Lambert's: the light of a surface of normal n is its colour times
``sky (1 + g n_z) + sum_i strength_i / pi * max(n . l_i, 0)``, where a beam's disc rounds the
corner of the maximum, and g makes the sky brighter than the ground. It is worked out at the
corners of each face and spread over it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.rendering.scanline import Fragments, rasterize
from backend.studio_lights import Beam, beam_direction
from backend.views import Camera

from .mesh_edges import corner_normals, edge_pairs, face_normals, in_closed_parts
from .view_assets import ColoredMesh, sample_texture

_OUTSIDE = 0.5 + 1e-3  # a camera further out along any axis is not within the unit cube
_SKY_GRADIENT = 0.3  # straight up this share brighter, straight down darker
_LEVELS = 1 << 14  # of linear light, of which the darkest still differ by less than a byte
_STEPS = (np.arange(_LEVELS) + 0.5) / _LEVELS
_SRGB = np.round(
    255 * np.where(_STEPS <= 0.0031308, 12.92 * _STEPS, 1.055 * _STEPS ** (1 / 2.4) - 0.055)
).astype(np.uint8)
"""sRGB byte by linear light, IEC 61966-2-1."""


@dataclass(frozen=True)
class RenderedView:
    """What a camera sees.

    Attributes:
        color: ``[H, W, 4]`` uint8 sRGB, straight alpha, 0 beside the object.
        mask: ``[H, W]`` uint8 coverage, the same as the alpha.
        depth: ``[H, W]`` float32 camera z at the pixels' middles, infinite beside the object.
        normal: ``[H, W, 3]`` float32 of length 1 at the pixels' middles, in the world, towards the
            camera; 0 beside the object. None if not asked for.
    """

    color: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    normal: np.ndarray | None


class ViewRenderer:
    """Renders one mesh from any number of cameras."""

    def __init__(self, mesh: ColoredMesh, crease_angle: float = 40.0, samples: int = 3) -> None:
        """Work out what all views have in common.

        Args:
            mesh: In the unit cube.
            crease_angle: In degrees; where the normals of two faces differ by more, their common
                edge stays sharp. 0 for flat faces.
            samples: Along each side of a pixel; an odd number, so that one lies in the middle.
        """
        if samples < 1 or samples % 2 == 0:
            raise ValueError(f"samples must be an odd number, got {samples}")
        self._mesh, self._samples = mesh, samples
        pairs = edge_pairs(mesh.vertices, mesh.faces)
        self._closed = in_closed_parts(mesh.vertices, mesh.faces, pairs)
        self._face_normals = face_normals(mesh.vertices, mesh.faces)
        self._normals = corner_normals(self._face_normals, pairs, crease_angle)
        corners = np.concatenate([self._normals, mesh.colors], axis=2)
        self._uneven = (corners != corners[:, :1]).any(axis=(1, 2))  # lit differently at corners

    def render(
        self, camera: Camera, beams: Sequence[Beam], sky: float, with_normals: bool = False
    ) -> RenderedView:
        """See the mesh.

        Args:
            camera: In unit-cube coordinates.
            beams: Of light.
            sky: Its brightness.
            with_normals: Whether normals are wanted.
        """
        (height, width), samples = camera.image_size, self._samples
        fine = (height * samples, width * samples)
        sampled = camera.resampled(0.0, 0.0, samples, fine)
        side = self._side(camera)
        fragments = self._visible(sampled, side)
        row, column = np.divmod(fragments.sample, fine[1])
        (row, row_within), (column, column_within) = (np.divmod(i, samples) for i in (row, column))
        pixel = row * width + column
        light = self._light(fragments, side, beams, sky)
        color, mask = _resolved(pixel, light, samples**2, camera.image_size)
        middle = (row_within == samples // 2) & (column_within == samples // 2)
        chosen = np.flatnonzero(middle)
        depth = np.full(height * width, np.inf, np.float32)
        depth[pixel[chosen]] = fragments.depth[chosen]
        normal = None
        if with_normals:
            normal = np.zeros((height * width, 3), np.float32)
            normal[pixel[chosen]] = self._normals_at(fragments, chosen, side)
            normal = normal.reshape(height, width, 3)
        return RenderedView(color, mask, depth.reshape(height, width), normal)

    def _side(self, camera: Camera) -> np.ndarray:
        """1 where a camera sees the outside of a face, -1 where it sees its inside, ``[F]``."""
        if camera.orthographic:
            outside = self._face_normals @ camera.forward <= 0
        else:
            towards = camera.centre - self._mesh.vertices[self._mesh.faces[:, 0]]
            outside = np.einsum("fi,fi->f", self._face_normals, towards) >= 0
        return np.where(outside, np.float32(1.0), np.float32(-1.0))

    def _visible(self, camera: Camera, side: np.ndarray) -> Fragments:
        """The fragments, without drawing faces that others are known to hide."""
        drawn = np.arange(len(side))
        if camera.orthographic or np.abs(camera.centre).max() > _OUTSIDE:
            drawn = np.flatnonzero((side > 0) | ~self._closed)
        fragments = rasterize(self._mesh.vertices, self._mesh.faces[drawn], camera)
        return replace(fragments, face=drawn[fragments.face])

    def _light(
        self, fragments: Fragments, side: np.ndarray, beams: Sequence[Beam], sky: float
    ) -> np.ndarray:
        """Linear colours ``[N, 3]`` of the fragments."""
        mesh = self._mesh
        seen, face = _numbered(fragments.face, len(mesh.faces))
        normals = self._normals[seen] * side[seen, None, None]
        lit = mesh.colors[seen] * irradiance(normals, beams, sky)[..., None]  # [S, 3, 3]
        light = lit[:, 0].take(face, axis=0)
        texture = mesh.texture[seen]
        uneven = np.flatnonzero((self._uneven[seen] | (texture >= 0)).take(face))
        weights = fragments.barycentric(uneven)
        light[uneven] = _spread(lit, face[uneven], weights)
        used = texture.take(face[uneven])
        for number in np.unique(texture[texture >= 0]):
            some = np.flatnonzero(used == number)
            chosen = uneven[some]
            uvs = _spread(mesh.uvs, fragments.face[chosen], weights[:, some])
            light[chosen] *= sample_texture(mesh.textures[number], uvs)
        return light

    def _normals_at(self, fragments: Fragments, chosen: np.ndarray, side: np.ndarray) -> np.ndarray:
        face = fragments.face[chosen]
        normals = _spread(self._normals, face, fragments.barycentric(chosen))
        normals *= side[face, None]
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        return normals / np.maximum(lengths, 1e-12)


def _numbered(face: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces that occur among ``face`` ``[N]``, and where in that list each stands."""
    occurs = np.zeros(count, bool)
    occurs[face] = True
    seen = np.flatnonzero(occurs)
    number = np.empty(count, np.int64)
    number[seen] = np.arange(len(seen))
    return seen, number[face]


def _resolved(
    pixel: np.ndarray, light: np.ndarray, samples: int, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Means of the pixels' samples: colour ``[H, W, 4]`` and mask ``[H, W]`` as bytes.

    Args:
        pixel: ``[N]`` of each sample that shows the object.
        light: ``[N, 3]`` linear.
        samples: In a pixel.
        image_size: Of the picture.
    """
    size = image_size[0] * image_size[1]
    count = np.bincount(pixel, minlength=size)
    covered = np.flatnonzero(count)
    color = np.zeros((size, 4), np.uint8)
    color[covered, 3] = np.round(count[covered] * (255.0 / samples))
    for channel in range(3):
        mean = np.bincount(pixel, light[:, channel], size)[covered] / count[covered]
        color[covered, channel] = _SRGB[np.minimum(mean * _LEVELS, _LEVELS - 1).astype(np.int64)]
    color = color.reshape(*image_size, 4)
    return color, color[..., 3].copy()


def irradiance(normals: np.ndarray, beams: Sequence[Beam], sky: float) -> np.ndarray:
    """Light ``[...]`` that a white surface of unit normals ``[..., 3]`` gives back.

    Args:
        normals: Of the side that is seen.
        beams: Of light.
        sky: Its brightness.
    """
    total = np.float32(sky) * (1.0 + np.float32(_SKY_GRADIENT) * normals[..., 2])
    for azimuth, elevation, strength, angle in beams:
        cosine = normals @ np.array(beam_direction(azimuth, elevation), np.float32)
        # The sun's disc rises over as many degrees as it is wide.
        rim = max(math.sin(math.radians(angle) / 2), 1e-6)
        risen = np.maximum(cosine, np.maximum(cosine + rim, 0.0) ** 2 / (4 * rim))
        shown = np.where(cosine < rim, np.where(cosine > -rim, risen, 0.0), cosine)
        total += (strength / math.pi) * shown
    return total


def _spread(values: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values ``[F, 3, C]`` of faces' corners at places of weights ``[3, N]``, ``[N, C]``."""
    result = values[:, 0].take(face, axis=0) * weights[0, :, None]
    for corner in (1, 2):
        result += values[:, corner].take(face, axis=0) * weights[corner, :, None]
    return result
