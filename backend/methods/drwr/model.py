"""One object's points: where they start, and how they reach the pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...geometry.cameras import Cameras
from .losses import NEAREST_DEPTH


class PointCloud(nn.Module):
    """N free points in the unit cube.

    Attributes:
        positions: ``[N, 3]``, learned.
    """

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.positions = nn.Parameter(positions.clone())

    def forward(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Project into every view, as :func:`project_visible`."""
        return project_visible(cameras, self.positions)


def project_visible(cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project points into every view and tell which lie in front of the camera.

    Args:
        cameras: V cameras.
        points: ``[N, 3]`` or ``[V, N, 3]``.

    Returns:
        Pixels ``[V, N, 2]`` and ``[V, N]`` bool. Parallel rays have no behind. Points behind a
        perspective camera get the pixel of the cube's centre, so that no infinity reaches their
        gradient.
    """
    pixels, depth = cameras.project(points)
    visible = cameras.orthographic[:, None] | (depth > NEAREST_DEPTH)
    if not bool(visible.all()):
        moved = torch.where(visible[..., None], points, torch.zeros_like(points))
        pixels, _ = cameras.project(moved)
    return pixels, visible
