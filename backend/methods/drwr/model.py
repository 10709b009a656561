"""One object's points: where they start, and how they reach the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...geometry.cameras import Cameras
from ...geometry.silhouettes import with_mirror_images
from .losses import NEAREST_DEPTH


class PointCloud(nn.Module):
    """N free points in the unit cube, and their mirror images.

    Attributes:
        positions: ``[N, 3]``, learned.
        mirrors: The object's planes of symmetry; see ``views.Views``.
    """

    def __init__(self, positions: Tensor, mirrors: Sequence[str] = ()) -> None:
        super().__init__()
        self.positions = nn.Parameter(positions.clone())
        self.mirrors = tuple(mirrors)

    @property
    def points(self) -> Tensor:
        """``[2^M N, 3]`` for M planes."""
        return with_mirror_images(self.positions, self.mirrors)

    def forward(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Project into every view, as :func:`project_visible`."""
        return project_visible(cameras, self.points)


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
