"""What a prediction of shape must beat: the best constant answer, and the nearest training object.

Both know the training split alone. The constant tells how much a category's common shape is worth
by itself, the nearest object what remembering is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from .metrics import chamfer_dpc, cloud_distances

OCCUPIED_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
CELLS = 32

FITTING_STEPS = 80
SHAPES_IN_STEP = 12
SHAPES_IN_SCORE = 48
LEARNING_RATE = 4e-3


def constant_cloud(surfaces: Sequence[np.ndarray], count: int, seed: int = 0) -> np.ndarray:
    """The cloud that is nearest, in mean Chamfer distance, to all training shapes at once.

    Starts are the union of all surfaces, the cells that a share of the surfaces meet, and the
    training shapes nearest to the others; the best is then moved downhill.

    Args:
        surfaces: Points ``[P, 3]`` on the surface of each training shape.
        count: Points of the cloud.
        seed: Of the random choices.

    Returns:
        ``[count, 3]``.
    """
    random = np.random.default_rng(seed)
    scored = [surfaces[i] for i in _some(len(surfaces), SHAPES_IN_SCORE, random)]
    starts = list(_starts(surfaces, scored, count, random))
    best = starts[int(np.argmin([mean_chamfer(start, scored) for start in starts]))]
    fitted = _moved_downhill(best, surfaces, random)
    return min(best, fitted, key=lambda cloud: mean_chamfer(cloud, scored))


def mean_chamfer(cloud: np.ndarray, surfaces: Sequence[np.ndarray]) -> float:
    """Mean ``cd_dpc`` of one cloud ``[P, 3]`` and many surfaces ``[Q, 3]``."""
    return float(np.mean([chamfer_dpc(cloud_distances(cloud, one)) for one in surfaces]))


def _some(number: int, limit: int, random: np.random.Generator) -> np.ndarray:
    return random.permutation(number)[:limit]


def _drawn(points: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    return points[random.choice(len(points), count, replace=len(points) < count)]


def _starts(
    surfaces: Sequence[np.ndarray],
    scored: Sequence[np.ndarray],
    count: int,
    random: np.random.Generator,
) -> Iterator[np.ndarray]:
    union = np.concatenate([_drawn(points, count, random) for points in surfaces])
    yield _drawn(union, count, random)
    share = np.mean([_occupied(points) for points in surfaces], axis=0)
    for least in OCCUPIED_SHARES:
        cells = np.argwhere(share >= least)
        if len(cells):
            inside = _drawn(cells, count, random) + random.random((count, 3))
            yield inside / CELLS - 0.5
    few = [_drawn(points, min(count, 500), random) for points in scored]
    typical = np.argsort([mean_chamfer(one, few) for one in few])[:3]
    yield from (_drawn(scored[index], count, random) for index in typical)


def _occupied(points: np.ndarray) -> np.ndarray:
    grid = np.zeros((CELLS,) * 3, bool)
    cells = np.floor((points + 0.5) * CELLS).astype(int).clip(0, CELLS - 1)
    grid[tuple(cells.T)] = True
    return grid


@torch.enable_grad()
def _moved_downhill(
    start: np.ndarray, surfaces: Sequence[np.ndarray], random: np.random.Generator
) -> np.ndarray:
    """Adam on the cloud's points, on some surfaces at a time."""
    cloud = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([cloud], LEARNING_RATE)
    trees: dict[int, KDTree] = {}
    for step in range(FITTING_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / FITTING_STEPS)
        own = KDTree(cloud.detach().numpy())
        optimizer.zero_grad()
        for index in _some(len(surfaces), SHAPES_IN_STEP, random).tolist():
            tree = trees.setdefault(index, KDTree(surfaces[index]))
            _chamfer(cloud, own, tree).backward()
        optimizer.step()
    return cloud.detach().numpy()


def _chamfer(cloud: Tensor, own: KDTree, other: KDTree) -> Tensor:
    """Chamfer distance of a cloud to a surface's points, differentiable in the cloud."""
    points = torch.as_tensor(other.data)
    nearest = torch.as_tensor(other.query(own.data)[1])
    covering = torch.as_tensor(own.query(other.data)[1])
    there, back = cloud - points[nearest], cloud[covering] - points
    return sum(_lengths(offsets).mean() for offsets in (there, back))  # pyright: ignore[reportReturnType]


def _lengths(offsets: Tensor) -> Tensor:
    # A length has no gradient at 0.
    return (offsets.square().sum(-1) + 1e-12).sqrt()


def nearest_images(queries: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The most similar image, by squared differences, of each query.

    Args:
        queries: ``[Q, ...]``.
        images: ``[M, ...]``.

    Returns:
        ``[Q]`` indices.
    """
    one = queries.reshape(len(queries), -1).astype(np.float32)
    many = images.reshape(len(images), -1).astype(np.float32)
    return ((many**2).sum(axis=1) - 2 * one @ many.T).argmin(axis=1)
