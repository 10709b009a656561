"""Colours for a mesh from the photographs that it was made from.

Every point of the surface takes the weighted mean of the views that see it. A view counts by the
sixth power of the cosine between its ray and the surface normal, so that the most frontal view
dominates and seams stay soft; less near its outline and near whatever stands in front, as no mesh
fits its photographs to the pixel; and less where it contradicts the other views. What no view sees
takes the mesh's own vertex colours, or else the colours around it, spread over the surface as heat
would spread (a harmonic function).

Colours are sRGB in [0, 1] throughout. *Premultiplied* pictures are (red, green, blue, 1) times the
mask, so that filtering never mixes the background in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
import xatlas
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from torch import Tensor

from .geometry.cameras import Cameras
from .geometry.mesh import Mesh
from .geometry.visual_hull import to_nearest_zero
from .rendering.mesh_rasterizer import Fragments, depth_map, rasterize
from .threads import in_threads
from .views import Camera, View

_SHARPNESS = 6
_LEAST_COSINE = 0.15
_DOUBT = 1e-3  # what a view counts at outlines, where it is used only for want of a better one
_FALLBACK = 0.1 * _DOUBT  # at outlines the vertices know better: their pictures are shrunk
_UNSEEN = 1e-9  # a total weight below which a point rather takes its fallback colour
_DISAGREEMENT = 0.2  # colour distance at which a view counts half
_LARGEST_DEPTH_MAP = 1024
_PADDING = 4  # texels between charts
_LARGEST_CHART = 1 / 50  # of the surface: unwrapping takes more than linear time in a chart's size


@dataclass(frozen=True)
class _Surface:
    """The mesh as tensors: ``[V, 3]``, ``[F, 3]``, unit normals ``[V, 3]``, diagonal of its box."""

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    size: float


@dataclass(frozen=True)
class _Points:
    """Places on the surface: ``[N, 3]`` world, ``[N, 3]`` unit normals, and their mutual spacing.

    ``trust`` ``[K, N]`` is what each view counts there beyond what its own geometry says.
    """

    positions: Tensor
    normals: Tensor
    spacing: float
    trust: Tensor | None = None


@dataclass(frozen=True)
class _Sight:
    """A view, and what it sees from ``camera``, which has the resolution of the maps ``[h, w]``.

    Attributes:
        view: In the world.
        camera: The view's, perhaps with fewer pixels.
        nearest: Depth map.
        around: The smallest depth within two pixels.
        calm: Trust in [0, 1] that grows with the distance from the mask's outline.
    """

    view: View
    camera: Camera
    nearest: Tensor
    around: Tensor
    calm: Tensor


def vertex_colors(mesh: Mesh, views: Sequence[View], device: torch.device | str) -> Mesh:
    """Colour the vertices.

    Args:
        mesh: Closed and outward, in the world. Its vertex colours, if any, stay where no view
            sees it.
        views: In the world.
        device: Where to work.

    Returns:
        The mesh with vertex colours.
    """
    surface = _surface(mesh, device)
    sights = _sights(surface, views)
    return replace(mesh, vertex_colors=_colors_of_vertices(mesh, surface, sights)[0])


def bake_texture(
    mesh: Mesh, views: Sequence[View], resolution: int, device: torch.device | str
) -> Mesh:
    """Unwrap the mesh and paint its texture.

    Args:
        mesh: Closed and outward, in the world. Its vertex colours, if any, stay where no view
            sees it.
        views: In the world.
        resolution: Texels along each side of the texture.
        device: Where to work.

    Returns:
        The mesh with ``face_uvs``, ``texture``, and vertex colours as well.
    """
    surface = _surface(mesh, device)
    sights = _sights(surface, views)
    fallback, trust = _colors_of_vertices(mesh, surface, sights)
    face_uvs = _unwrap(mesh, resolution)
    atlas = _rasterize_atlas(face_uvs, resolution, surface.vertices.device)
    covered = (atlas.face >= 0).view(-1)
    corners = surface.faces[atlas.face.view(-1)[covered]]  # [N, 3]
    weights = atlas.barycentric.view(-1, 3)[covered]
    parts = [surface.vertices, surface.normals, torch.as_tensor(fallback).to(weights), trust.T]
    of_texels = _interpolate(torch.cat(parts, dim=1), corners, weights)
    positions, normals, start, texel_trust = of_texels.split([p.shape[1] for p in parts], dim=1)
    spacing = _texel_size(mesh, face_uvs, resolution)
    points = _Points(positions, functional.normalize(normals, dim=1), spacing, texel_trust.T)
    colors = _blend(surface, points, sights, start).cpu().numpy()
    texture = np.zeros((resolution, resolution, 3), dtype=np.float32)
    inside = covered.view(resolution, resolution).cpu().numpy()
    texture[inside] = colors
    return replace(
        mesh,
        vertex_colors=fallback,
        face_uvs=face_uvs,
        texture=_to_bytes(_pad(texture, inside)),
    )


def _surface(mesh: Mesh, device: torch.device | str) -> _Surface:
    vertices = torch.as_tensor(mesh.vertices, dtype=torch.float32, device=device)
    return _Surface(
        vertices,
        torch.as_tensor(mesh.faces, device=device).long(),
        torch.as_tensor(mesh.vertex_normals(), dtype=torch.float32, device=device),
        float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))),
    )


def _interpolate(values: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """``values`` ``[V, C]`` at the places ``weights`` ``[N, 3]`` of the triangles ``corners``."""
    result = values[corners[:, 0]] * weights[:, :1]
    for corner in (1, 2):
        result.addcmul_(values[corners[:, corner]], weights[:, corner, None])
    return result


# What a view sees -------------------------------------------------------------------------------


def _sights(surface: _Surface, views: Sequence[View]) -> list[_Sight]:
    return in_threads(partial(_sight, surface), views)


def _sight(surface: _Surface, view: View) -> _Sight:
    height, width = view.camera.image_size
    zoom = min(1.0, _LARGEST_DEPTH_MAP / max(height, width))
    size = max(1, round(height * zoom)), max(1, round(width * zoom))
    camera = view.camera.resampled(0.0, 0.0, zoom, size)
    nearest = depth_map(surface.vertices, surface.faces, _stack(camera, surface), 0)
    around = -functional.max_pool2d(-nearest[None, None], 5, stride=1, padding=2)[0, 0]
    inside = _distance_to_outline(view.mask, size, nearest.device)
    calm = ((inside - 1.0) / (0.01 * max(size) + 1.0)).clamp(0.0, 1.0)
    return _Sight(view, camera, nearest, around, calm * calm * (3.0 - 2.0 * calm))


def _look(surface: _Surface, points: _Points, sight: _Sight) -> tuple[Tensor, Tensor, Tensor]:
    """Which points a view sees.

    Returns:
        Indices ``[M]`` of the points seen, their colours ``[M, 3]`` and weights ``[M]``.
    """
    view, camera = sight.view, sight.view.camera
    cosine = _cosine(camera, points)
    index = (cosine > _LEAST_COSINE).nonzero()[:, 0]
    cosine = cosine[index]
    pixels, depth = (p[0] for p in _stack(camera, surface).project(points.positions[index]))
    sharp = _visibility(surface, sight, pixels, depth, cosine)
    picture = _premultiplied(view, _zoom(camera, points), surface.vertices.device)
    sampled = _sample(picture, pixels / pixels.new_tensor(camera.image_size[::-1]))
    colors = sampled[:, :3] / sampled[:, 3:].clamp(min=1e-6)
    facing = ((cosine - _LEAST_COSINE) / (1 - _LEAST_COSINE)) ** _SHARPNESS
    weight = facing * sharp * (sampled[:, 3] > 0.5)
    seen = weight > 0
    return index[seen], colors[seen].clamp(0.0, 1.0), weight[seen]


def _stack(camera: Camera, surface: _Surface) -> Cameras:
    return Cameras.stack([camera], surface.vertices.device)


def _cosine(camera: Camera, points: _Points) -> Tensor:
    """Cosine ``[N]`` between the outward normal and the direction towards the camera."""
    if camera.orthographic:
        towards = -torch.as_tensor(camera.forward).to(points.normals)
        return points.normals @ towards
    towards = torch.as_tensor(camera.centre).to(points.positions) - points.positions
    return (points.normals * functional.normalize(towards, dim=1)).sum(dim=1)


def _pixel_length(camera: Camera, depth: Tensor) -> Tensor:
    """Length in the world that one pixel spans at ``depth``."""
    focal = float(np.sqrt(abs(np.linalg.det(camera.intrinsics[:2, :2]))))
    return (torch.ones_like(depth) if camera.orthographic else depth) / focal


def _visibility(
    surface: _Surface, sight: _Sight, pixels: Tensor, depth: Tensor, cosine: Tensor
) -> Tensor:
    """Trust in [0, 1] that a view sees points: 0 = hidden, ``_DOUBT`` = close to an outline."""
    camera, size = sight.camera, sight.camera.image_size
    zoom = max(size) / max(sight.view.camera.image_size)
    column = (pixels[:, 0] * zoom).long().clamp(0, size[1] - 1)
    row = (pixels[:, 1] * zoom).long().clamp(0, size[0] - 1)
    # A slanted surface is itself nearer at the next pixel.
    slope = _pixel_length(camera, depth) * (1 / cosine.square() - 1).clamp(min=0).sqrt()
    limit = depth - 0.005 * surface.size
    nothing_before = sight.nearest[row, column] >= limit - 1.5 * slope
    nothing_beside = sight.around[row, column] >= limit - 4.0 * slope
    trust = (nothing_beside * sight.calm[row, column]).clamp(min=_DOUBT)
    return trust * nothing_before * _in_picture(sight.view.camera, pixels, depth)


def _in_picture(camera: Camera, pixels: Tensor, depth: Tensor) -> Tensor:
    edge = pixels.new_tensor(camera.image_size[::-1])
    within = ((pixels >= 0) & (pixels <= edge)).all(dim=1)
    return within if camera.orthographic else within & (depth > 0)


def _distance_to_outline(mask: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    """Distance ``[h, w]`` in pixels from every pixel of the object to the nearest one outside it.

    Where the object goes on beyond the picture, the picture's border is no outline.
    """
    small = functional.interpolate(torch.as_tensor(mask)[None, None].float(), size, mode="area")
    distance = to_nearest_zero((small[0, 0].numpy() > 0.5).astype(np.uint8))
    return torch.as_tensor(distance, dtype=torch.float32, device=device)


def _zoom(camera: Camera, points: _Points) -> float:
    """How much a picture shrinks so that its pixels are about as far apart as the points."""
    if camera.orthographic:
        depth = torch.ones(1)
    else:
        centre = torch.as_tensor(camera.centre).to(points.positions)
        depth = (points.positions - centre).norm(dim=1).mean()
    return min(1.0, float(_pixel_length(camera, depth)) / max(points.spacing, 1e-12))


def _premultiplied(view: View, zoom: float, device: torch.device) -> Tensor:
    """``[4, h, w]`` picture, shrunk by averaging."""
    mask = torch.as_tensor(view.mask, dtype=torch.float32, device=device)[..., None]
    image = torch.as_tensor(view.image, dtype=torch.float32, device=device)
    whole = torch.cat([image * mask, mask], dim=2).permute(2, 0, 1)
    if zoom > 0.99:
        return whole
    size = [max(1, round(length * zoom)) for length in mask.shape[:2]]
    return functional.interpolate(whole[None], size, mode="area")[0]


def _sample(picture: Tensor, places: Tensor) -> Tensor:
    """Bilinear samples ``[N, C]`` at ``places`` ``[N, 2]`` from (0, 0) top left to (1, 1)."""
    grid = (2.0 * places - 1.0)[None, :, None]
    sampled = functional.grid_sample(
        picture[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, :, :, 0].T


# Blending ---------------------------------------------------------------------------------------


def _blend(
    surface: _Surface, points: _Points, sights: Sequence[_Sight], fallback: Tensor
) -> Tensor:
    """Weighted mean ``[N, 3]`` of the views; ``fallback`` ``[N, 3]`` where all are in doubt."""
    total = torch.full_like(fallback[:, :1], _FALLBACK)
    colors = fallback * _FALLBACK
    for number, sight in enumerate(sights):
        index, seen, weight = _look(surface, points, sight)
        if points.trust is not None:
            weight = weight * points.trust[number, index]
        colors[index] += seen * weight[:, None]
        total[index] += weight[:, None]
    return colors / total


def _colors_of_vertices(
    mesh: Mesh, surface: _Surface, sights: Sequence[_Sight]
) -> tuple[np.ndarray, Tensor]:
    """Colours ``[V, 3]`` of all vertices and how far each view agrees with the rest ``[K, V]``."""
    count = len(mesh.vertices)
    edges = mesh.vertices[mesh.faces[:, 0]] - mesh.vertices[mesh.faces[:, 1]]
    spacing = float(np.linalg.norm(edges, axis=1).mean())
    points = _Points(surface.vertices, surface.normals, spacing)
    colors = surface.vertices.new_zeros((len(sights), count, 3))
    weights = surface.vertices.new_zeros((len(sights), count))
    for number, sight in enumerate(sights):
        index, seen, weight = _look(surface, points, sight)
        colors[number, index], weights[number, index] = seen, weight
    trust = _agreement(colors, weights)
    weights = weights * trust
    total = weights.sum(dim=0)
    mean = (colors * weights[..., None]).sum(dim=0) / total.clamp(min=1e-30)[:, None]
    known = (total > _UNSEEN).cpu().numpy()
    return _fill_unseen(mesh, mean.cpu().numpy(), known), trust


def _agreement(colors: Tensor, weights: Tensor) -> Tensor:
    """How far each view ``[K, N]`` agrees with the weighted median of all, in (0, 1]."""
    if len(colors) < 3:
        return torch.ones_like(weights)
    order = colors.argsort(dim=0, stable=True)  # [K, N, 3]
    ranked = weights[..., None].expand_as(colors).gather(0, order).cumsum(dim=0)
    middle = (ranked < 0.5 * ranked[-1:]).sum(dim=0, keepdim=True).clamp(max=len(colors) - 1)
    median = colors.gather(0, order.gather(0, middle))
    distance = (colors - median).norm(dim=-1)
    return 1.0 / (1.0 + (distance / _DISAGREEMENT) ** 4)


def _fill_unseen(mesh: Mesh, colors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours ``[V, 3]`` for the vertices that are not ``known`` ``[V]``."""
    if mesh.vertex_colors is not None:
        return np.where(known[:, None], colors, mesh.vertex_colors).astype(np.float32)
    filled = colors.astype(np.float64)
    filled[~known] = colors[known].mean(axis=0) if known.any() else 0.5
    links = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    shape = (len(known), len(known))
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=shape).tocsr()
    graph = csr_matrix(graph + graph.T)
    piece = connected_components(graph, directed=False)[1]
    unknown = np.flatnonzero(~known & np.isin(piece, piece[known]))
    if len(unknown):
        laplacian = csr_matrix(diags(np.asarray(graph.sum(axis=1)).ravel()) - graph)[unknown]
        right = -(laplacian[:, np.flatnonzero(known)] @ filled[known])
        filled[unknown] = np.asarray(spsolve(laplacian[:, unknown].tocsc(), right))
    return filled.clip(0.0, 1.0).astype(np.float32)


# The atlas --------------------------------------------------------------------------------------


def _unwrap(mesh: Mesh, resolution: int) -> np.ndarray:
    """Texture coordinates ``[F, 3, 2]`` of charts that do not overlap."""
    # The unwrapper's thresholds are absolute, so it works on a mesh of unit size.
    low, size = mesh.vertices.min(axis=0), float(np.ptp(mesh.vertices, axis=0).max())
    unit = replace(mesh, vertices=(mesh.vertices - low) / np.float32(size))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    charts.max_chart_area = float(_areas(unit.vertices[unit.faces]).sum() * _LARGEST_CHART)
    packing.resolution, packing.padding = resolution, _PADDING
    atlas = xatlas.Atlas()
    atlas.add_mesh(unit.vertices, unit.faces.astype(np.uint32))
    atlas.generate(charts, packing)
    _, corners, uvs = atlas[0]
    return np.ascontiguousarray(uvs[corners], dtype=np.float32)


def _areas(corners: np.ndarray) -> np.ndarray:
    """Areas ``[F]`` of triangles ``[F, 3, 3]``."""
    sides = corners[:, 1:] - corners[:, :1]
    return 0.5 * np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1)


def _texel_size(mesh: Mesh, face_uvs: np.ndarray, resolution: int) -> float:
    """Length in the world that a texel spans."""
    flat = np.pad(face_uvs, ((0, 0), (0, 0), (0, 1)))
    share = max(float(_areas(flat).sum()), 1e-12)
    return float(np.sqrt(_areas(mesh.vertices[mesh.faces]).sum() / share) / resolution)


def _rasterize_atlas(face_uvs: np.ndarray, resolution: int, device: torch.device) -> Fragments:
    """Which face, and where in it, each texel belongs to; the first row is the top one."""
    corners = torch.as_tensor(face_uvs, device=device).reshape(-1, 2)
    places = torch.stack([corners[:, 0], 1.0 - corners[:, 1], 0 * corners[:, 0]], dim=1)
    flat = Camera(np.eye(3), np.eye(4), (resolution, resolution), orthographic=True)
    scale = places.new_tensor([resolution, resolution, 1.0])
    faces = torch.arange(len(places), device=device).view(-1, 3)
    return rasterize(places * scale, faces, Cameras.stack([flat], device), 0)


def _pad(texture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Continue the charts outward, so that filtering meets no foreign colour at their seams."""
    if not inside.any():
        return np.full_like(texture, 0.5)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    color = np.zeros((nearest.max() + 1, 3), np.float32)
    color[nearest[inside]] = texture[inside]
    mean = texture[inside].mean(axis=0)
    return np.where(distance[..., None] > 2 * _PADDING, mean, color[nearest])


def _to_bytes(colors: np.ndarray) -> np.ndarray:
    return np.round(colors.clip(0.0, 1.0) * 255.0).astype(np.uint8)
