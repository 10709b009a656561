"""DPC's differentiable projection: the loss that DRWR is compared with, and warms up on.

E. Insafutdinov and A. Dosovitskiy, "Unsupervised Learning of Shape and Pose with Differentiable
Point Clouds", NeurIPS 2018, section 3. Each view gets a grid of its own, whose columns are the
view's rays: a point lands at its pixel and its depth, is shared among the eight cells around it and
blurred by a Gaussian; the cells, clipped to [0, 1], are how likely a ray ends there. A ray that
ends nowhere sees the background, so

    silhouette = 1 - prod_i (1 - o_i),        L = 1/2 sum over pixels (silhouette - mask)^2

for each view (equations 4 to 8). As the silhouette asks for no depth, the order along the ray does
not matter.

DPC-V, the papers' second baseline, has voxels in place of points: one grid for all views, indexed
[x, y, z] over the unit cube, is read along each view's rays, after X. Yan et al., "Perspective
Transformer Nets", NeurIPS 2016; silhouette and loss are the same.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ...geometry.cameras import Cameras

RESOLUTION = 64
"""DPC's cells along each axis of the grid."""

DEPTH_RANGE = math.sqrt(3.0)
"""Of the grid, in cubes: the unit cube fits, however it is turned."""

LARGEST_OCCUPANCY = 1 - 1e-5
"""Keeps the logarithm of 1 - o finite."""

_REACH = 3.0  # of the Gaussian, in standard deviations


def projection_losses(
    points: Tensor, cameras: Cameras, masks: Tensor, sigma: float, resolution: int = RESOLUTION
) -> Tensor:
    """DPC's loss of each view.

    Args:
        points: ``[V, N, 3]``.
        cameras: V cameras.
        masks: ``[V, S, S]`` coverage in [0, 1]; S is a multiple of ``resolution`` or equal to it.
        sigma: Standard deviation of the Gaussian, in cells; DPC lowers it from 3 to 0.2.
        resolution: Cells along each axis.

    Returns:
        ``[V]``, sums over the pixels.
    """
    return _silhouette_losses(project_silhouettes(points, cameras, sigma, resolution), masks)


def voxel_losses(occupancy: Tensor, cameras: Cameras, masks: Tensor) -> Tensor:
    """DPC's loss of each view of a voxel grid.

    Args:
        occupancy: ``[V, R, R, R]`` in [0, 1].
        cameras: V cameras.
        masks: ``[V, S, S]`` coverage in [0, 1]; S is a multiple of R or equal to it.

    Returns:
        ``[V]``, sums over R × R pixels.
    """
    return _silhouette_losses(voxel_silhouettes(occupancy, cameras), masks)


def _silhouette_losses(silhouettes: Tensor, masks: Tensor) -> Tensor:
    """``[V]`` of silhouettes ``[V, R, R]`` and masks ``[V, S, S]``."""
    wanted = functional.interpolate(masks[:, None], silhouettes.shape[1:], mode="area")[:, 0]
    return 0.5 * (silhouettes - wanted).square().sum((1, 2))


def project_silhouettes(
    points: Tensor, cameras: Cameras, sigma: float, resolution: int = RESOLUTION
) -> Tensor:
    """Soft silhouettes ``[V, R, R]`` of clouds ``[V, N, 3]``; see :func:`projection_losses`."""
    pixels, depth = cameras.project(points)
    middle = cameras.world_to_camera[:, 2, 3, None]  # depth of the cube's centre
    scale = pixels.new_tensor([resolution / size for size in reversed(cameras.image_size)])
    along = ((depth - middle) / DEPTH_RANGE + 0.5) * resolution
    occupancy = _splat(torch.cat([pixels * scale, along[..., None]], dim=-1), resolution)
    return _ended(_blurred(occupancy, sigma), dim=1)


def voxel_silhouettes(occupancy: Tensor, cameras: Cameras) -> Tensor:
    """Soft silhouettes ``[V, R, R]`` of voxel grids ``[V, R, R, R]`` in [0, 1].

    Each ray reads its grid trilinearly, at depths of the camera no further apart than cells are;
    outside of the cube there is nothing. Differentiable in the grids and in the cameras' poses.
    """
    views, resolution = len(occupancy), occupancy.shape[-1]
    points = _along_rays(cameras, resolution)  # [V, R R, D, 3]
    places = 2 * points.flip(-1)[:, None]  # the grid's last axis first, its faces at -1 and 1
    seen = functional.grid_sample(occupancy[:, None], places, align_corners=False)
    return _ended(seen[:, 0, 0], dim=-1).view(views, resolution, resolution)


def _along_rays(cameras: Cameras, resolution: int) -> Tensor:
    """Points ``[V, R R, D, 3]`` along the rays through R × R pixels, in the whole cube."""
    pose, (height, width) = cameras.world_to_camera, cameras.image_size
    middles = (torch.arange(resolution).to(pose) + 0.5) / resolution
    pixels = torch.cartesian_prod(height * middles, width * middles).flip(-1)  # (x, y)
    view = torch.arange(len(pose), device=pose.device).repeat_interleave(len(pixels))
    rays = cameras.rays(view, pixels.repeat(len(pose), 1))
    origins, directions = (part.view(len(pose), -1, 1, 3) for part in rays)
    steps = math.ceil(DEPTH_RANGE * resolution)
    beyond = ((torch.arange(steps).to(pose) + 0.5) / steps - 0.5) * DEPTH_RANGE
    depth = pose[:, 2, 3, None] + beyond  # [V, D]
    return origins + depth[:, None, :, None] * directions


def _ended(occupancy: Tensor, dim: int) -> Tensor:
    """How likely the rays along one axis end somewhere."""
    return 1 - torch.log1p(-occupancy.clamp(max=LARGEST_OCCUPANCY)).sum(dim).exp()


def _splat(cells: Tensor, resolution: int) -> Tensor:
    """Share points ``[V, N, 3]`` (x, y, depth in cells) among ``[V, R, R, R]`` (depth, y, x).

    What falls on cells outside is dropped.
    """
    views = len(cells)
    place = (cells - 0.5).transpose(1, 2)  # [V, 3, N]
    low = place.detach().floor()
    shares = torch.stack([1 - (place - low), place - low])  # [2, V, 3, N]
    first = low.long()
    axes = torch.stack([first, first + 1])
    inside = (axes >= 0) & (axes < resolution)
    shares, axes = shares * inside, axes.clamp(0, resolution - 1)
    start = torch.arange(views, device=cells.device)[:, None] * resolution
    across = [
        ((start + axes[i, :, 2]) * resolution + axes[j, :, 1], shares[i, :, 2] * shares[j, :, 1])
        for i in (0, 1)
        for j in (0, 1)
    ]
    corners = [
        (row * resolution + axes[k, :, 0], share * shares[k, :, 0])
        for row, share in across
        for k in (0, 1)
    ]
    index, share = (torch.stack(part).flatten() for part in zip(*corners, strict=True))
    grid = torch.zeros(views * resolution**3, dtype=cells.dtype, device=cells.device)
    return grid.index_add(0, index, share).view(views, resolution, resolution, resolution)


def _blurred(grids: Tensor, sigma: float) -> Tensor:
    """Grids ``[V, R, R, R]`` under a separable Gaussian; a point's sum stays 1."""
    matrix = _gaussian_matrix(grids.shape[-1], sigma, grids.dtype, grids.device)
    for _ in range(3):  # each time the next axis comes last
        grids = (grids @ matrix).permute(0, 3, 1, 2)
    return grids


@lru_cache(maxsize=8)
def _gaussian_matrix(cells: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[R, R]`` symmetric: convolution with a Gaussian, zero outside, as one matrix product."""
    reach = max(1, math.ceil(_REACH * sigma))
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    place = torch.arange(cells, dtype=torch.float64)
    matrix = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    matrix = torch.where((place[:, None] - place).abs() <= reach, matrix, 0.0)
    return (matrix / weights.sum()).to(dtype=dtype, device=device)
