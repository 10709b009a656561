"""Rounding: what two or three drawings leave open becomes round.

Two parallel projections at right angles tell, in every slice that both cut along a line, an
interval each. The hull fills their rectangle; the ellipse through the middles of its sides meets
the same silhouettes. Here ``q`` is a point's place in its interval, 0 in the middle and 1 at the
ends, and the rectangle max(q1, q2) <= 1 becomes the superellipse (q1^p + q2^p)^(1/p) <= 1,
p = 2 / rounding.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ...geometry.fair_hull import Target
from ...geometry.silhouettes import Silhouettes, folded
from ...geometry.visual_hull import grid_points

_STRENGTH = 0.03
"""Weight of the pull beside the bending energy."""

_RIGHT_ANGLE = 0.2
"""Largest |cosine| of two viewing directions that still count as perpendicular."""


def round_target(silhouettes: Silhouettes, resolution: int, rounding: float) -> Target | None:
    """The rounded cross-sections as a pull on the fair hull.

    A pull, no bound: where one pair's ellipse would miss another drawing's silhouette, the
    silhouette wins.

    Args:
        silhouettes: Views in the unit cube.
        resolution: Cells along the cube.
        rounding: 0 pulls nowhere, 1 pulls to ellipses.

    Returns:
        None where there is nothing to round: only pairs of orthographic views at right angles
        leave such cross-sections open.
    """
    pairs = _perpendicular_pairs(silhouettes)
    if rounding <= 0 or not pairs:
        return None
    points = grid_points(resolution, silhouettes.distances.device).reshape(-1, 3)
    field = silhouettes.hull(resolution)
    near = field > -2.0
    for one, other in pairs:
        place_one, width_one = _place(silhouettes, one, other, points)
        place_other, width_other = _place(silhouettes, other, one, points)
        power = 2.0 / rounding
        radius = (place_one**power + place_other**power) ** (1 / power)
        half_width = torch.minimum(width_one, width_other) * resolution / 2
        inside = ((1 - radius) * half_width).reshape(field.shape).cpu().numpy()
        field = np.minimum(field, inside)
    field = folded(field, silhouettes.mirrors, np.minimum)
    return Target(field, (_STRENGTH * near).astype(np.float32))


def _perpendicular_pairs(silhouettes: Silhouettes) -> list[tuple[int, int]]:
    forward = silhouettes.cameras.world_to_camera[:, 2, :3]
    cosine = (forward @ forward.T).abs()
    parallel = silhouettes.cameras.orthographic
    count = len(forward)
    return [
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if bool(parallel[i] & parallel[j]) and float(cosine[i, j]) < _RIGHT_ANGLE
    ]


def _place(
    silhouettes: Silhouettes, view: int, other: int, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Each point's ``q`` in its interval of ``view`` along the other's direction, and its width.

    Returns:
        ``[N]`` place, 0 in the middle and 1 at the ends; ``[N]`` width in units of the cube.
    """
    cameras = silhouettes.cameras
    along = cameras.world_to_camera[view, :2, :3] @ cameras.world_to_camera[other, 2, :3]
    along = cameras.intrinsics[view, :2, :2] @ along
    degrees = float(torch.rad2deg(torch.atan2(along[1], along[0])))
    distance = silhouettes.distances[view].cpu().numpy()
    size = distance.shape[0]
    turn = cv2.getRotationMatrix2D((size / 2 - 0.5, size / 2 - 0.5), degrees, 1.0)
    level = cv2.warpAffine(distance, turn, (size, size), borderValue=(float(distance.min()),))
    place, width = _intervals(level)
    pixels = cameras.project(points)[0][view].cpu().numpy() - 0.5
    turned = pixels @ turn[:, :2].T + turn[:, 2]
    lookup = turned.astype(np.float32)
    columns, rows = lookup[:, 0].reshape(1, -1), lookup[:, 1].reshape(1, -1)
    q = _remapped(place, columns, rows, 2.0)
    pixel = 1 / float(cameras.intrinsics[view, :2, :2].det().abs().sqrt())
    device = points.device
    return torch.as_tensor(q, device=device), torch.as_tensor(
        _remapped(width, columns, rows, 0.0) * pixel, device=device
    )


def _remapped(
    image: np.ndarray, columns: np.ndarray, rows: np.ndarray, outside: float
) -> np.ndarray:
    """Bilinear values ``[N]``; OpenCV allows 32,767 columns, so the list is folded."""
    fold = 4096
    padding = -columns.size % fold
    shape = (-1, fold)
    folded = [np.pad(c.ravel(), (0, padding)).reshape(shape) for c in (columns, rows)]
    values = np.concatenate(
        [
            cv2.remap(
                image, folded[0][i : i + 8192], folded[1][i : i + 8192], cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,),
            ).ravel()
            for i in range(0, len(folded[0]), 8192)
        ]
    )  # fmt: skip
    return values[: columns.size]


def _intervals(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of a signed distance field, its place in its run of inside along the row.

    Returns:
        ``[H, W]`` place (growing past 1 outside) and ``[H, W]`` width of the nearest run, pixels.
    """
    height, width = level.shape
    place = np.full((height, width), 2.0, np.float32)
    widths = np.zeros((height, width), np.float32)
    inside = np.pad(level > 0, ((0, 0), (1, 1)))
    for row in np.flatnonzero(inside.any(axis=1)):
        steps = np.flatnonzero(np.diff(inside[row].astype(np.int8)))
        for start, end in zip(steps[::2], steps[1::2], strict=True):
            low, high = _crossing(level[row], start - 1), _crossing(level[row], end - 1)
            reach = slice(max(0, start - 2), min(width, end + 2))
            columns = np.arange(reach.start, reach.stop)
            here = np.abs(2 * (columns - low) / max(high - low, 1e-3) - 1)
            widths[row, reach] = np.where(here < place[row, reach], high - low, widths[row, reach])
            place[row, reach] = np.minimum(place[row, reach], here)
    return place, widths


def _crossing(values: np.ndarray, left: int) -> float:
    """Where the linear interpolation between ``left`` and ``left + 1`` is zero."""
    if left < 0 or left + 1 >= len(values):
        return float(left) + 0.5
    a, b = values[left], values[left + 1]
    return left + float(a / (a - b))
