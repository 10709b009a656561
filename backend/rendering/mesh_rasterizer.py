"""Which face a camera sees at each pixel: a scan-line rasteriser in plain torch, without gradients.

Meshes on a CPU go to :mod:`.scanline`, which does the same in numpy.

Pixel centres lie at half-integers. A row of pixels meets a face between the two points where the
face's edges cross the row's centre line; those crossings are computed once for each edge, from the
vertex with the lower index, so that two faces that share an edge get the very same number and leave
no crack between them. Both orientations of a face are drawn.

``nearness`` below is the depth's monotone stand-in that is linear on the screen: the camera z for
parallel rays and -1/z for perspective; the smallest wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Cameras
from . import scanline

NEAR = scanline.NEAR
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Fragments:
    """What one view sees of a mesh.

    Attributes:
        face: ``[H, W]`` int64 index of the nearest face, -1 where there is none.
        barycentric: ``[H, W, 3]`` perspective-correct weights of that face's corners, zero where
            there is none.
        depth: ``[H, W]`` camera z, infinite where there is none.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor


@dataclass(frozen=True)
class _Screen:
    """A mesh on the screen: corners ``[F, 3, 2]`` in pixels and their nearness ``[F, 3]``."""

    corners: Tensor
    nearness: Tensor
    swapped: Tensor  # [F, 3] bool: edge i runs from corner i + 1 to corner i
    face: Tensor  # [F] index among the faces given
    image_size: tuple[int, int]
    parallel: bool


@dataclass(frozen=True)
class _Spans:
    """Rows of faces: the columns that they cover and the nearness at both ends, each ``[R]``."""

    face: Tensor
    row: Tensor
    left: Tensor
    right: Tensor
    left_nearness: Tensor
    right_nearness: Tensor


@torch.no_grad()
def rasterize(vertices: Tensor, faces: Tensor, cameras: Cameras, view: int) -> Fragments:
    """Find the nearest face behind every pixel centre.

    In a perspective view, faces with a corner at or behind the plane z = ``NEAR`` are dropped; in
    an orthographic view all faces are drawn, as its camera plane has no meaning. Of two faces at
    exactly the same depth the one with the lower index wins, so that results are repeatable.

    Args:
        vertices: ``[V, 3]`` in the world of the cameras.
        faces: ``[F, 3]`` vertex indices.
        cameras: On the same device as the mesh.
        view: Index among the cameras.

    Returns:
        Fragments in the dtype of ``vertices``.
    """
    if vertices.device.type != "cpu":
        return rasterize_with_torch(vertices, faces, cameras, view)
    height, width = cameras.image_size
    seen = _scanned(vertices, faces, cameras, view)
    sample = torch.as_tensor(seen.sample)
    face = torch.full((height * width,), -1)
    face[sample] = torch.as_tensor(seen.face)
    barycentric = vertices.new_zeros((height * width, 3))
    weights = seen.barycentric(np.arange(len(seen.sample)))
    barycentric[sample] = torch.as_tensor(weights.T).to(vertices.dtype)
    depth = _dense_depth(seen, vertices.dtype, (height, width))
    return Fragments(face.view(height, width), barycentric.view(height, width, 3), depth)


@torch.no_grad()
def depth_map(vertices: Tensor, faces: Tensor, cameras: Cameras, view: int) -> Tensor:
    """The depth ``[H, W]`` alone of what :func:`rasterize` finds."""
    if vertices.device.type != "cpu":
        return rasterize_with_torch(vertices, faces, cameras, view).depth
    seen = _scanned(vertices, faces, cameras, view)
    return _dense_depth(seen, vertices.dtype, cameras.image_size)


def _scanned(vertices: Tensor, faces: Tensor, cameras: Cameras, view: int) -> scanline.Fragments:
    one = _precise(cameras, view, torch.float64)
    pixels, depth = (projected[0].numpy() for projected in one.project(vertices.double()))
    parallel = bool(one.orthographic)
    return scanline.rasterize_projected(pixels, depth, faces.numpy(), one.image_size, parallel)


def _dense_depth(seen: scanline.Fragments, dtype: torch.dtype, size: tuple[int, int]) -> Tensor:
    depth = torch.full((size[0] * size[1],), torch.inf, dtype=dtype)
    depth[torch.as_tensor(seen.sample)] = torch.as_tensor(seen.depth).to(dtype)
    return depth.view(size)


def rasterize_with_torch(vertices: Tensor, faces: Tensor, cameras: Cameras, view: int) -> Fragments:
    """:func:`rasterize` on whatever device the mesh is."""
    height, width = cameras.image_size
    screen = _on_screen(vertices, faces, cameras, view)
    nearest = screen.nearness.new_full((height * width,), torch.inf)
    winner = torch.full_like(nearest, len(faces), dtype=torch.long)
    for spans in _spans(screen):
        for pixel, face, nearness in _pixels(spans, screen):
            _keep_nearest(nearest, winner, pixel, face, nearness)
    seen = winner < len(faces)
    position = torch.searchsorted(screen.face, winner[seen])
    barycentric = nearest.new_zeros((height * width, 3))
    barycentric[seen] = _barycentric(screen, position, seen.nonzero()[:, 0])
    depth = nearest if screen.parallel else torch.where(seen, -1.0 / nearest, nearest)
    return Fragments(
        winner.where(seen, winner.new_tensor(-1)).view(height, width),
        barycentric.view(height, width, 3).to(vertices.dtype),
        depth.view(height, width).to(vertices.dtype),
    )


@torch.no_grad()
def silhouette(
    vertices: Tensor, faces: Tensor, cameras: Cameras, view: int, supersample: int = 2
) -> Tensor:
    """Share of each pixel that the mesh covers.

    Args:
        vertices: ``[V, 3]`` in the world of the cameras.
        faces: ``[F, 3]`` vertex indices.
        cameras: On the same device as the mesh.
        view: Index among the cameras.
        supersample: Samples along each side of a pixel.

    Returns:
        ``[H, W]`` coverage in [0, 1], in steps of ``1 / supersample**2``.
    """
    fine = _enlarged(cameras, supersample)
    height, width = fine.image_size
    covered = depth_map(vertices, faces, fine, view).isfinite().to(vertices.dtype)
    blocks = covered.view(height // supersample, supersample, width // supersample, supersample)
    return blocks.mean(dim=(1, 3))


def _enlarged(cameras: Cameras, factor: int) -> Cameras:
    scale = torch.tensor([factor, factor, 1.0]).to(cameras.intrinsics)
    height, width = cameras.image_size
    return replace(
        cameras,
        intrinsics=cameras.intrinsics * scale[:, None],
        image_size=(height * factor, width * factor),
    )


def _precise(cameras: Cameras, view: int, dtype: torch.dtype) -> Cameras:
    return replace(
        cameras,
        intrinsics=cameras.intrinsics[view, None].to(dtype),
        world_to_camera=cameras.world_to_camera[view, None].to(dtype),
        orthographic=cameras.orthographic[view, None],
    )


def _on_screen(vertices: Tensor, faces: Tensor, cameras: Cameras, view: int) -> _Screen:
    # Double precision keeps slivers apart; Apple's devices do not have it.
    dtype = torch.float32 if vertices.device.type == "mps" else torch.float64
    one = _precise(cameras, view, dtype)
    pixels, depth = (projected[0] for projected in one.project(vertices.to(dtype)))
    faces = faces.long()
    parallel = bool(one.orthographic)
    keep = torch.isfinite(pixels).all(dim=1) if parallel else depth > NEAR
    kept = keep[faces].all(dim=1).nonzero()[:, 0]
    faces = faces[kept]
    return _Screen(
        pixels[faces],
        (depth if parallel else -1.0 / depth)[faces],
        faces > faces.roll(-1, dims=1),
        kept,
        cameras.image_size,
        parallel,
    )


def _spans(screen: _Screen) -> Iterator[_Spans]:
    """Every row that a face meets, in portions of bounded size."""
    y = screen.corners[..., 1]
    first, count = _centres_between(y.amin(dim=1), y.amax(dim=1), screen.image_size[0])
    for part in _portions(count, _CHUNK // 4):
        face, row = _enumerate(part, first, count)
        yield _cross_rows(screen, face, row)


def _cross_rows(screen: _Screen, face: Tensor, row: Tensor) -> _Spans:
    """Where the edges of ``face`` ``[R]`` cross the centre lines of ``row`` ``[R]``."""
    centre = row + 0.5
    left = centre.new_full(centre.shape, torch.inf)
    right, left_nearness, right_nearness = -left, left.clone(), left.clone()
    for edge in range(3):
        start, end = _edge(screen, edge)
        x0, y0, n0 = start[face].unbind(dim=1)
        x1, y1, n1 = end[face].unbind(dim=1)
        along = (centre - y0) / (y1 - y0)
        x, nearness = x0 + along * (x1 - x0), n0 + along * (n1 - n0)
        meets = (along >= 0) & (along <= 1)  # never for a level edge, whose quotient is not finite
        further_left, further_right = meets & (x < left), meets & (x > right)
        left, right = torch.where(further_left, x, left), torch.where(further_right, x, right)
        left_nearness = torch.where(further_left, nearness, left_nearness)
        right_nearness = torch.where(further_right, nearness, right_nearness)
    return _Spans(face, row, left, right, left_nearness, right_nearness)


def _edge(screen: _Screen, edge: int) -> tuple[Tensor, Tensor]:
    """Both ends ``[F, 3]`` (x, y, nearness) of an edge, the vertex with the lower index first."""
    corners = torch.cat([screen.corners, screen.nearness[..., None]], dim=2)
    one, other = corners[:, edge], corners[:, (edge + 1) % 3]
    swapped = screen.swapped[:, edge, None]
    return torch.where(swapped, other, one), torch.where(swapped, one, other)


def _pixels(spans: _Spans, screen: _Screen) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every pixel of the spans: its index, the face's index among those given, its nearness."""
    width = screen.image_size[1]
    first, count = _centres_between(spans.left, spans.right, width)
    extent = (spans.right - spans.left).clamp(min=torch.finfo(spans.left.dtype).tiny)
    slope = (spans.right_nearness - spans.left_nearness) / extent
    for part in _portions(count, _CHUNK):
        span, column = _enumerate(part, first, count)
        along = (column + 0.5 - spans.left[span]).clamp(min=0.0)
        nearness = spans.left_nearness[span] + along * slope[span]
        yield spans.row[span] * width + column, screen.face[spans.face[span]], nearness


def _centres_between(low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and number of the ``size`` half-integers in the closed intervals ``[low, high]``."""
    first = (low - 0.5).clamp(0, size).ceil()
    last = (high - 0.5).clamp(-1, size - 1).floor()
    count = torch.nan_to_num(last - first + 1).clamp(min=0)
    return torch.nan_to_num(first).long(), count.long()


def _portions(count: Tensor, limit: int) -> Iterator[tuple[int, int]]:
    """Cut a list into ranges whose counts add up to about ``limit`` at most."""
    total = count.cumsum(dim=0)
    start, length = 0, len(count)
    while start < length:
        done = int(total[start - 1]) if start else 0
        stop = int(torch.searchsorted(total, done + limit, right=True))
        stop = min(max(stop, start + 1), length)
        if int(total[stop - 1]) > done:
            yield start, stop
        start = stop


def _enumerate(part: tuple[int, int], first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """For items ``part``: the item and ``first, first + 1, ...``, each item ``count`` times."""
    counts = count[part[0] : part[1]]
    item = torch.repeat_interleave(counts) + part[0]
    before = (counts.cumsum(dim=0) - counts)[item - part[0]]
    return item, first[item] + torch.arange(len(item), device=item.device) - before


def _keep_nearest(
    nearest: Tensor, winner: Tensor, pixel: Tensor, face: Tensor, nearness: Tensor
) -> None:
    """Update both ``[H*W]`` buffers; two passes make ties go to the lower face."""
    before = nearest.clone()
    nearest.scatter_reduce_(0, pixel, nearness, "amin")
    winner[nearest < before] = torch.iinfo(torch.long).max
    best = nearness == nearest[pixel]
    winner.scatter_reduce_(0, pixel[best], face[best], "amin")


def _barycentric(screen: _Screen, position: Tensor, pixel: Tensor) -> Tensor:
    """Perspective-correct weights ``[N, 3]`` of the faces at ``position`` in pixels ``[N]``."""
    width = screen.image_size[1]
    centre = torch.stack([pixel % width, pixel // width], dim=1) + 0.5
    a, b, c = (screen.corners[position] - centre[:, None]).unbind(dim=1)
    areas = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=1)
    weights = (areas * areas.sum(dim=1, keepdim=True).sign()).clamp(min=0.0)
    if not screen.parallel:
        weights = weights * -screen.nearness[position]
    total = weights.sum(dim=1, keepdim=True)
    return torch.where(total > 0, weights / total, torch.full_like(weights, 1.0 / 3.0))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
