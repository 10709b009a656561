"""Point clouds in the unit cube: spreading them over a grid of cells.

Grids are ``[R, R, R]``, indexed ``[x, y, z]``; cell i of an axis has its centre at
(i + 0.5) / R - 0.5.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor


def splat(points: Tensor, resolution: int) -> Tensor:
    """Share every point among the eight cells around it, trilinearly.

    Differentiable in ``points``. What falls on cells outside the cube is dropped, so the grid's sum
    is the number of points that lie half a cell or more inside it.

    Args:
        points: ``[N, 3]``.
        resolution: Cells along each axis.

    Returns:
        ``[R, R, R]``.
    """
    cells = (points + 0.5) * resolution - 0.5
    low = cells.detach().floor()
    high_share = cells - low  # [N, 3]
    grid = torch.zeros(resolution**3, dtype=points.dtype, device=points.device)
    for corner in torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3):
        share = torch.where(corner > 0, high_share, 1 - high_share).prod(dim=1)
        cell = low + corner
        inside = ((cell >= 0) & (cell < resolution)).all(dim=1)
        x, y, z = cell.clamp(0, resolution - 1).long().unbind(1)
        grid = grid.index_add(0, (x * resolution + y) * resolution + z, share * inside)
    return grid.view(resolution, resolution, resolution)


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
