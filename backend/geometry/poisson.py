"""Poisson surface reconstruction of oriented points, differentiable, on a grid by FFT.

M. Kazhdan, M. Bolitho, H. Hoppe, "Poisson Surface Reconstruction", SGP 2006, as a spectral solver
after S. Peng et al., "Shape As Points: A Differentiable Poisson Solver", NeurIPS 2021. The gradient
of a solid's indicator chi is minus the surface's outward normals, so that

    laplacian chi = - div n,    in frequencies k:    chi^ = i k . n^ / |k|^2

with n the normals, spread over the cells around their points and smoothed by a Gaussian. A cloud
that fills its volume, as silhouette losses leave it, has no normals: :func:`surface_of_volume`
finds its skin.

Grids are those of ``point_cloud``: ``[R, R, R]``, cell centres in the unit cube.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.ndimage import binary_fill_holes, gaussian_filter
from torch import Tensor

from ..errors import ReconstructionError
from .cameras import Cameras
from .isosurface import extract
from .mesh import Mesh
from .mesh_repair import keep_solid_parts
from .point_cloud import interpolate, points_to_density, splat
from .visual_hull import signed_hull

MARGIN = 0.125
"""Empty space on each side in cubes, which holds off the FFT's periodic images. With a piece of the
surface missing they move the field by 1.5 % of its range; with 0.25 by 0.5 %, in twice the time."""

SOLID_SHARE = 0.25
"""A cloud's solid is where its density is above this share of its median at the points."""

SKIN = 0.1
"""The skin are the points where the blurred solid falls by this or more over one standard deviation
of the Gaussian that blurs it. At its border that is 0.4, but the border lies outside the points."""


def poisson_field(points: Tensor, normals: Tensor, resolution: int, sigma: float = 1.5) -> Tensor:
    """The indicator of the solid that oriented points bound, as a field with its surface at 0.

    Differentiable in points and normals. The mean at the points is 0 and far outside it is -1/2, so
    that the inside of a well sampled solid is near 1/2 (Shape As Points, eq. 7).

    Args:
        points: ``[N, 3]`` on the surface, in the unit cube.
        normals: ``[N, 3]``, all outward or all inward. A length is the area that a point stands
            for, in any unit: points that are evenly spread have unit normals.
        resolution: Cells R along each axis.
        sigma: Standard deviation in cells of the Gaussian; 1 or more.

    Returns:
        ``[R, R, R]`` in the dtype of ``points``; not finite when there is no normal to go by.
    """
    padded = _padded_size(resolution)
    shrink = resolution / padded
    spread = splat(points * shrink, padded, normals)  # [3, P, P, P]
    indicator = _integrated(spread, sigma)
    surface = interpolate(indicator[None], points * shrink).mean()
    margin = (padded - resolution) // 2
    inner = slice(margin, margin + resolution)
    # The padded grid's corner is as far from everything as it gets, the images included.
    outside = indicator[0, 0, 0]
    return 0.5 * (indicator[inner, inner, inner] - surface) / (surface - outside)


def _padded_size(resolution: int) -> int:
    """Cells along the cube and its margins, as many on both sides, and quick to transform."""
    size = resolution + 2 * math.ceil(MARGIN * resolution)
    while next_fast_len(size, real=True) != size:
        size += 2
    return size


def _integrated(spread: Tensor, sigma: float) -> Tensor:
    """The field ``[P, P, P]`` that best has minus the smoothed ``spread`` as its gradient.

    Its mean is 0. ``spread`` is ``[3, P, P, P]``.
    """
    size = spread.shape[-1]
    full = 2 * math.pi * torch.fft.fftfreq(size, dtype=spread.dtype, device=spread.device)
    axes = full[:, None, None], full[:, None], full[: size // 2 + 1]  # the last up to +-pi
    squared = axes[0] ** 2 + (axes[1] ** 2 + axes[2] ** 2)
    smooth = [torch.exp(-0.5 * (sigma * k) ** 2) for k in axes]
    response = smooth[0] * (smooth[1] * smooth[2]) / squared.clamp(min=float(full[1]) ** 2)
    # An odd function has no value at the highest frequency of an even grid.
    slopes = [1j * torch.where(k.abs() < math.pi * (1 - 1 / size), k, 0) for k in axes]
    transformed = torch.fft.rfftn(spread, dim=(1, 2, 3))
    divergence = sum(slope * one for slope, one in zip(slopes, transformed, strict=True))
    return torch.fft.irfftn(response * divergence, s=(size,) * 3)


def poisson_mesh(points: Tensor, normals: Tensor, resolution: int, sigma: float = 1.5) -> Mesh:
    """The closed surface of oriented points; see :func:`poisson_field`.

    Raises:
        ReconstructionError: There are no points, or they have no normals.
    """
    field = poisson_field(points.detach(), normals.detach(), resolution, sigma)
    if not bool(torch.isfinite(field).all()):
        raise ReconstructionError("the points have no normals: nothing tells what is inside.")
    return keep_solid_parts(extract(field.cpu().numpy()))


def surface_of_volume(points: Tensor, resolution: int, sigma: float) -> tuple[Tensor, Tensor]:
    """The skin of a cloud that fills its volume, with outward normals, for :func:`poisson_mesh`.

    The cloud's own density does not tell: silhouette losses pile points up at the rim, so that
    there it falls inward too. Hence it is cut to a solid without cavities, which is blurred once
    more; that falls outward only. The skin is where it is steep, and its normals run down it. The
    solid reaches beyond the points, but the surface comes to lie where they are.

    Args:
        points: ``[N, 3]`` in the unit cube.
        resolution: Cells along each axis, in which the density is taken.
        sigma: Standard deviation in cells of both Gaussians; it should reach the neighbouring
            points, about 0.6 times the distance to the eighth, so that no gap becomes a hole.

    Returns:
        The points of the skin and their unit normals, ``[M, 3]`` each.
    """
    density = points_to_density(points, resolution, sigma)
    at_points = interpolate(torch.as_tensor(density)[None].to(points), points)
    solid = binary_fill_holes(density > SOLID_SHARE * float(at_points.median()))
    blurred = gaussian_filter(np.asarray(solid, np.float32), sigma)
    slope = torch.as_tensor(np.stack(np.gradient(blurred))).to(points)
    gradient = interpolate(slope, points)
    steepness = gradient.norm(dim=1)
    skin = sigma * steepness > SKIN
    return points[skin], -gradient[skin] / steepness[skin, None]


def turned_outward(
    points: Tensor, normals: Tensor, distances: Tensor, cameras: Cameras, step: float
) -> Tensor:
    """Turn the normals that silhouettes say point inward: what is outside a mask is outside.

    A normal is turned where one step along it stays inside all silhouettes and one step against it
    leaves one. In a hollow, where silhouettes say nothing, it stays as it is.

    Args:
        points: ``[N, 3]``.
        normals: ``[N, 3]`` unit vectors.
        distances: ``[V, S, S]`` of ``visual_hull.silhouette_distances``.
        cameras: V cameras.
        step: In cubes; less than the thinnest part.

    Returns:
        ``[N, 3]``.
    """
    ahead = signed_hull(distances, cameras, points + step * normals)
    behind = signed_hull(distances, cameras, points - step * normals)
    inward = (ahead > 0) & (behind < 0)
    return torch.where(inward[:, None], -normals, normals)
