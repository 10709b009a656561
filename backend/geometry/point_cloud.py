"""Point clouds in the unit cube: taken from a surface, spread over a grid of cells.

Grids are ``[R, R, R]``, indexed ``[x, y, z]``; cell i of an axis has its centre at
(i + 0.5) / R - 0.5.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from .mesh import Mesh


def sample_surface(
    mesh: Mesh, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points spread evenly over the area of all faces.

    Args:
        mesh: With at least one face that has an area.
        count: Number of points N.
        random: Where they fall.

    Returns:
        Points and their faces' unit normals, ``[N, 3]`` float64 each.
    """
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    reach = np.cumsum(np.linalg.norm(cross, axis=1))
    face = np.searchsorted(reach, random.random(count) * reach[-1], side="right")
    face = face.clip(max=len(reach) - 1)
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = corners[face].transpose(1, 0, 2)
    return a + u * (b - a) + v * (c - a), mesh.face_normals()[face]


def splat(points: Tensor, resolution: int, values: Tensor | None = None) -> Tensor:
    """Share every point among the eight cells around it, trilinearly.

    Differentiable in ``points`` and ``values``. What falls on cells outside the cube is dropped, so
    the grid's sum is the number of points that lie half a cell or more inside it.

    Args:
        points: ``[N, 3]``.
        resolution: Cells along each axis.
        values: ``[N, C]`` to share instead of 1 for each point.

    Returns:
        ``[R, R, R]``, or ``[C, R, R, R]`` of values.
    """
    cell, share = _corners(points, resolution)
    if values is None:
        grid = torch.zeros(resolution**3, dtype=points.dtype, device=points.device)
        grid = grid.index_add(0, cell.flatten(), share.flatten())
        return grid.view((resolution,) * 3)
    shares = (share[..., None] * values).flatten(0, 1)  # [8 N, C]
    grid = torch.zeros(resolution**3, shares.shape[1], dtype=shares.dtype, device=shares.device)
    return grid.index_add(0, cell.flatten(), shares).T.reshape(-1, *(resolution,) * 3)


def interpolate(grids: Tensor, points: Tensor) -> Tensor:
    """Read grids ``[C, R, R, R]`` at ``[N, 3]`` points, trilinearly: ``[N, C]``.

    The transpose of :func:`splat`: cells outside the cube count as zero. Differentiable in both.
    """
    cell, share = _corners(points, grids.shape[-1])
    nearby = grids.flatten(1)[:, cell.flatten()].view(len(grids), *cell.shape)  # [C, 8, N]
    return (nearby * share).sum(1).T


def _corners(points: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The eight cells around each point, flat, and its shares in them, ``[8, N]`` each.

    Cells outside the cube have share 0.
    """
    cells = (points + 0.5) * resolution - 0.5
    low = cells.detach().floor()
    high_share = cells - low  # [N, 3]
    corner = torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3)[
        :, None
    ]  # [8, 1, 3]
    share = torch.where(corner > 0, high_share, 1 - high_share).prod(dim=-1)
    cell = low + corner
    inside = ((cell >= 0) & (cell < resolution)).all(dim=-1)
    x, y, z = cell.clamp(0, resolution - 1).long().unbind(-1)
    return (x * resolution + y) * resolution + z, share * inside


def points_to_density(points: Tensor, resolution: int, sigma: float) -> np.ndarray:
    """Points per cell, smoothed by a Gaussian; outside the cube there is nothing.

    Args:
        points: ``[N, 3]``.
        resolution: Cells along each axis.
        sigma: The Gaussian's standard deviation in cells.

    Returns:
        ``[R, R, R]`` float32.
    """
    counts = splat(points.detach().float(), resolution).cpu().numpy()
    return gaussian_filter(counts, sigma, mode="constant", truncate=3.5)
