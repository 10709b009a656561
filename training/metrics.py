"""Scores, each normalised as in the paper that it comes from. Never compare across variants.

Point clouds are ``[N, 3]`` arrays, and distances are Euclidean, not squared, unless said. Distances
between two clouds are found once, by :func:`cloud_distances`; the Chamfer distances and the F-score
are arithmetic on them::

    between = cloud_distances(prediction, truth)
    scores = {"cd_dpc": chamfer_dpc(between), "f_score_1": f_score(between, 0.01 * edge)}

:data:`DEFINITIONS` lists the names under which scores are kept and what each one means;
:func:`records` writes that beside the numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import igl
import numpy as np
from scipy.ndimage import correlate1d, maximum_filter
from scipy.spatial import KDTree

from backend.geometry.mesh import Mesh
from backend.geometry.point_cloud import sample_surface

from .ground_truth import Solid

CHAMFER_L1_OF_NOTHING = 10 * math.sqrt(3)
"""What Occupancy Networks count for a reconstruction that failed: both distances are sqrt 3."""


# Point clouds and surfaces ------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """How far two shapes are from one another.

    Attributes:
        to_truth: ``[P]`` from each point of the prediction to the truth (accuracy).
        to_prediction: ``[Q]`` from each point of the truth to the prediction (completeness).
    """

    to_truth: np.ndarray
    to_prediction: np.ndarray


def cloud_distances(prediction: np.ndarray, truth: np.ndarray) -> Distances:
    """Distances of each point to the nearest point of the other cloud.

    Args:
        prediction: ``[P, 3]``.
        truth: ``[Q, 3]`` in the same coordinates.

    Raises:
        ValueError: A cloud is empty, of another shape, or not finite.
    """
    prediction, truth = _checked(prediction), _checked(truth)
    to_truth, _ = KDTree(truth).query(prediction, workers=-1)
    to_prediction, _ = KDTree(prediction).query(truth, workers=-1)
    return Distances(to_truth, to_prediction)


def surface_distances(
    prediction: Mesh, truth: Mesh, count: int = 10_000, seed: int = 0
) -> Distances:
    """Distances of points on each surface to the other surface itself, for :func:`chamfer_mesh`.

    Args:
        prediction: Reconstructed mesh.
        truth: In the same coordinates.
        count: Points on each; PIFuHD takes 10,000.
        seed: Of the points.
    """
    random = np.random.default_rng(seed)
    from_prediction, _ = sample_surface(prediction, count, random)
    from_truth, _ = sample_surface(truth, count, random)
    return Distances(
        point_to_surface(from_prediction, truth), point_to_surface(from_truth, prediction)
    )


def point_to_surface(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Distances ``[N]`` of ``[N, 3]`` points to the nearest place on a mesh.

    The mean over a reconstruction's points to the true mesh is PIFu's and PIFuHD's P2S.
    """
    squared = igl.point_mesh_squared_distance(
        _checked(points), mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    )[0]
    return np.sqrt(squared)


def chamfer_dpc(between: Distances) -> float:
    """100 (mean accuracy + mean completeness), in the units of the dataset: ``cd_dpc``.

    E. Insafutdinov and A. Dosovitskiy, "Unsupervised Learning of Shape and Pose with Differentiable
    Point Clouds", NeurIPS 2018; table 1 of DRWR and of Effective Loss. Shapes are not rescaled. The
    truth is a dense scan thinned to a spacing of 0.01, see :func:`thinned`. ShapeNet's units, where
    the longest diagonal is 1, are not ours, where the longest edge is at most 0.9: only ratios can
    be compared with the papers' tables. For several input views see :func:`mean_and_best`.
    """
    return float(100 * (between.to_truth.mean() + between.to_prediction.mean()))


def mean_and_best(scores: np.ndarray) -> tuple[float, float]:
    """Reduce scores ``[N, V]`` of N objects from V input views each, lower being better.

    Returns:
        The mean over views and objects, as DPC evaluates, and the mean over objects of the best
        view, as the released program of DRWR does.
    """
    return float(scores.mean()), float(scores.min(axis=1).mean())


def chamfer_bbox(prediction: np.ndarray, truth: np.ndarray, seed: int = 0) -> float:
    """Mean accuracy + mean completeness of clouds with a box diagonal of 1: ``cd_bbox``.

    S. Sridhar et al., "Multiview Aggregation for Learning Category-Specific Shape Reconstruction",
    NeurIPS 2019 (NOX); table 3 of DRWR, table 4 of Effective Loss. Of a truth with more than 8,000
    points that many are drawn. The papers scale the prediction alone, as ShapeNet's shapes have
    that diagonal already; ours get it here. Nothing is moved: scaling is about the origin.

    Args:
        prediction: ``[P, 3]``, 8,000 points in the papers.
        truth: ``[Q, 3]``.
        seed: Of the points that are drawn.
    """
    prediction, truth = _checked(prediction), _checked(truth)
    prediction, truth = prediction / _diagonal(prediction), truth / _diagonal(truth)
    if len(truth) > 8000:
        chosen = np.random.default_rng(seed).choice(len(truth), 8000, replace=False)
        truth = truth[chosen]
    between = cloud_distances(prediction, truth)
    return float(between.to_truth.mean() + between.to_prediction.mean())


def chamfer_l1(between: Distances, longest_edge: float) -> float:
    """Half the sum of both means, in tenths of the truth's longest edge: ``cd_l1``.

    L. Mescheder et al., "Occupancy Networks", CVPR 2019; table 1 of DVR. Both take 100,000 points
    of each surface; the truth's include what is hidden inside. A reconstruction that failed counts
    :data:`CHAMFER_L1_OF_NOTHING`.

    Args:
        between: Distances between points on the two surfaces.
        longest_edge: Of the true shape's bounding box, in the units of the distances.
    """
    half_sum = (between.to_truth.mean() + between.to_prediction.mean()) / 2
    return float(10 * half_sum / longest_edge)


def chamfer_mesh(between: Distances) -> float:
    """Half the sum of both mean point-to-surface distances, in the units given: ``cd_mesh``.

    S. Saito et al., "PIFuHD", CVPR 2020, in centimetres. Take :func:`surface_distances`.
    """
    return float((between.to_truth.mean() + between.to_prediction.mean()) / 2)


def chamfer_squared(between: Distances, scale: float = 1.0) -> float:
    """Sum of both means of squared distances: ``cd_sq``, what most libraries call Chamfer distance.

    W. Chen et al., "DIB-R", NeurIPS 2019, whose script takes 2,500 points; Kaolin's default.

    Args:
        between: Distances between two clouds.
        scale: Of the lengths; for DIB-R 0.45 over the extent of the mesh that its script scales so.
    """
    squares = (between.to_truth**2).mean() + (between.to_prediction**2).mean()
    return float(scale**2 * squares)


def f_score(between: Distances, threshold: float) -> float:
    """Harmonic mean of precision and recall, distances of up to ``threshold`` being right.

    M. Tatarchenko et al., "What Do Single-view 3D Reconstruction Networks Learn?", CVPR 2019, who
    take 1 % of the reconstruction volume's side; we take 1 %, 2 % and 5 % of the truth's longest
    edge. The threshold is a distance, not a squared one.
    """
    precision = float((between.to_truth <= threshold).mean())
    recall = float((between.to_prediction <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def normal_consistency(
    prediction: np.ndarray,
    prediction_normals: np.ndarray,
    truth: np.ndarray,
    truth_normals: np.ndarray,
) -> float:
    """Mean |cosine| between a point's normal and its nearest neighbour's, averaged both ways.

    L. Mescheder et al., "Occupancy Networks", CVPR 2019; 100,000 points on each surface.

    Args:
        prediction: ``[P, 3]`` points on the surface.
        prediction_normals: ``[P, 3]`` unit vectors.
        truth: ``[Q, 3]`` points on the surface.
        truth_normals: ``[Q, 3]`` unit vectors.
    """
    prediction, truth = _checked(prediction), _checked(truth)
    _, in_truth = KDTree(truth).query(prediction, workers=-1)
    _, in_prediction = KDTree(prediction).query(truth, workers=-1)
    accuracy = np.abs((prediction_normals * truth_normals[in_truth]).sum(axis=1)).mean()
    completeness = np.abs((truth_normals * prediction_normals[in_prediction]).sum(axis=1)).mean()
    return float((accuracy + completeness) / 2)


def thinned(points: np.ndarray, spacing: float = 0.01) -> np.ndarray:
    """One point, the mean, for each occupied cell of a lattice; DPC's truth has a spacing of 0.01.

    Args:
        points: ``[N, 3]``.
        spacing: Edge of the lattice's cells.

    Returns:
        ``[M, 3]`` float64.
    """
    points = _checked(points)
    cells = np.floor(points / spacing).astype(np.int64)
    cells -= cells.min(axis=0)
    _, cell, count = np.unique(
        np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1)),
        return_inverse=True,
        return_counts=True,
    )
    sums = [np.bincount(cell, points[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / count[:, None]


def longest_edge(points: np.ndarray) -> float:
    """The longest edge of the bounding box of ``[N, 3]`` points or vertices."""
    return float(np.ptp(points, axis=0).max())


def _diagonal(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.ascontiguousarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"a point cloud is [N, 3] with at least one point, not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("a point cloud has coordinates that are not finite")
    return points


# Occupancy and silhouettes ------------------------------------------------------------------------


def iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boolean arrays of one shape; 1 when both are empty.

    On grids of 32^3 cells this is the measure of DRWR, Effective Loss and DIB-R, whose tables give
    100 times it, the mean of the categories' means (:func:`mean_of_categories`). Truth is solid:
    what is inside at the cells' centres. On samples that are even over a volume it is Occupancy
    Networks' and DVR's, see :func:`mesh_iou`.
    """
    return float(_iou(prediction, truth, axes=None))


def silhouette_iou(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of masks; DVR's ``mask_iou``.

    Args:
        prediction: ``[..., H, W]`` bool, or coverage, of which 0.5 and more is object.
        truth: The same.

    Returns:
        ``[...]``.
    """
    return _iou(prediction >= 0.5, truth >= 0.5, axes=(-2, -1))


def _iou(prediction: np.ndarray, truth: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    if prediction.shape != truth.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {truth.shape}")
    if prediction.dtype != bool or truth.dtype != bool:
        raise ValueError(f"arrays must be bool, not {prediction.dtype} and {truth.dtype}")
    union = np.count_nonzero(prediction | truth, axis=axes)
    intersection = np.count_nonzero(prediction & truth, axis=axes)
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def iou_best_shift(prediction: np.ndarray, truth: np.ndarray, reach: int = 1) -> float:
    """The best IoU when the prediction may move by up to ``reach`` cells along each axis.

    For diagnosis only: thin parts lose a third of their IoU by one cell. What leaves the grid is
    lost.

    Args:
        prediction: ``[X, Y, Z]`` bool.
        truth: ``[X, Y, Z]`` bool.
        reach: In cells.
    """
    padded = np.pad(prediction, reach)
    shifts = itertools.product(range(2 * reach + 1), repeat=3)
    return max(
        iou(padded[tuple(slice(s, s + n) for s, n in zip(shift, truth.shape, strict=True))], truth)
        for shift in shifts
    )


def mesh_iou(prediction: Mesh, points: np.ndarray, inside: np.ndarray) -> float:
    """Volumetric IoU of a mesh, on samples of the truth's occupancy.

    L. Mescheder et al., "Occupancy Networks", CVPR 2019, with 100,000 points. The points must be
    even over the volume: of a dataset's ``points.npz`` the first ``uniform`` ones. What is inside
    the prediction is said by its winding number, as it was for the truth.

    Args:
        prediction: In the unit cube.
        points: ``[N, 3]``.
        inside: ``[N]`` bool, of the truth.

    Raises:
        InputError: The mesh has no face with an area, or reaches far out of the unit cube.
    """
    return iou(Solid(prediction).occupancy(points), np.asarray(inside, bool))


def voxelised(points: np.ndarray, resolution: int = 32) -> np.ndarray:
    """Which cells of the unit cube hold a point: ``[R, R, R]`` bool, indexed ``[x, y, z]``.

    DRWR scores clouds of 16,000 points so, at 32^3. Points outside the cube are dropped.
    """
    cells = np.floor((points + 0.5) * resolution).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < resolution)).all(axis=1)]
    grid = np.zeros((resolution,) * 3, bool)
    grid[tuple(cells.T)] = True
    return grid


def mean_of_categories(
    scores: Sequence[float], categories: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """The mean of the categories' means, and those; so that large categories weigh no more.

    Args:
        scores: N numbers.
        categories: The category of each.
    """
    grouped: dict[str, list[float]] = {}
    for score, category in zip(scores, categories, strict=True):
        grouped.setdefault(category, []).append(score)
    means = {category: float(np.mean(grouped[category])) for category in sorted(grouped)}
    return float(np.mean(list(means.values()))), means


# SSIM-3D ------------------------------------------------------------------------------------------


def ssim3d(
    prediction: np.ndarray, truth: np.ndarray, window: int = 11, masked: bool = False
) -> float:
    """Structural similarity of two voxel grids, in [-1, 1]: ``ssim3d``.

    Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004, eq. 13, as the 3D-VAE-GAN thesis takes it to grids: Gaussian windows with a standard
    deviation of 1.5 cells, zeros around the grid, C1 = 0.01^2, C2 = 0.03^2 (the thesis prints C2 =
    0.03, which is a slip), the mean over all cells. Empty space dominates: report
    :func:`ssim3d_blank` beside it, and the masked score.

    Args:
        prediction: ``[X, Y, Z]`` bool, or occupancy in [0, 1].
        truth: The same.
        window: Cells along the window's edge, odd; on 32^3 take 7 as well, as 11 are a third of it.
        masked: Whether to average only where the window holds a cell that is occupied (0.5 or more)
            in either grid: ``ssim3d_masked``. Two empty grids then score 1.
    """
    x, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    mean_x, mean_y = _blurred(x, window), _blurred(y, window)
    variance_x = _blurred(x * x, window) - mean_x**2
    variance_y = _blurred(y * y, window) - mean_y**2
    covariance = _blurred(x * y, window) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    if not masked:
        return float(similarity.mean())
    occupied = (x >= 0.5) | (y >= 0.5)
    near = maximum_filter(occupied, window, mode="constant", cval=0)
    return float(similarity[near].mean()) if near.any() else 1.0


def ssim3d_blank(truth: np.ndarray, window: int = 11, masked: bool = False) -> float:
    """What an empty prediction scores against ``truth``: often above 0.8, and 0.5 masked."""
    return ssim3d(np.zeros(truth.shape), truth, window, masked)


def _blurred(grid: np.ndarray, window: int) -> np.ndarray:
    radius = window // 2
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / 1.5) ** 2)
    kernel /= kernel.sum()
    for axis in range(3):
        grid = correlate1d(grid, kernel, axis, mode="constant")
    return grid


# Sets of pictures ---------------------------------------------------------------------------------


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the features of two sets of pictures: FID.

    M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, eq. 6. What the
    number means depends on the network that made the features: those of our own
    (``feature_network``) give ``fid_lite``, which compares with no published FID. It falls with the
    number of pictures; take 10,000 and the same number of both, or quote
    :func:`kernel_distance`.

    Args:
        first: ``[N, D]`` features, N at least 2.
        second: ``[M, D]`` features, M at least 2.
    """
    first, second = _features(first), _features(second)
    (mean_1, root_1), (mean_2, root_2) = _moments(first), _moments(second)
    # With S = R^T R the eigenvalues of S1 S2 are the squared singular values of R1 R2^T: no root
    # of a matrix, and exact also where there are fewer pictures than features.
    cross = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    spread = (root_1**2).sum() + (root_2**2).sum() - 2 * cross
    return float(((mean_1 - mean_2) ** 2).sum() + spread)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``[D]`` and R ``[min(N, D), D]`` with R^T R the sample covariance."""
    mean = features.mean(axis=0)
    root = np.asarray(np.linalg.qr(features - mean, mode="r"))
    return mean, root / math.sqrt(len(features) - 1)


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, unbiased: KID.

    M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018, section 4. Its expectation does not
    depend on the number of pictures; equal sets can give a value below zero. The authors average
    over random subsets of 1,000, which has the same expectation; here all pairs are taken.

    Args:
        first: ``[N, D]`` features, N at least 2.
        second: ``[M, D]`` features, M at least 2.
    """
    first, second = _features(first), _features(second)
    n, m = len(first), len(second)
    within_first = _kernel_sum(first, first) - _kernel(np.square(first).sum(axis=1), first).sum()
    within_second = (
        _kernel_sum(second, second) - _kernel(np.square(second).sum(axis=1), second).sum()
    )
    across = _kernel_sum(first, second) / (n * m)
    return float(within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across)


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    """Over all pairs, in blocks of rows that stay small."""
    blocks = range(0, len(first), 1000)
    return sum(float(_kernel(first[b : b + 1000] @ second.T, first).sum()) for b in blocks)


def _kernel(products: np.ndarray, features: np.ndarray) -> np.ndarray:
    return (products / features.shape[1] + 1) ** 3


def _features(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features are [N, D] with N at least 2, not {features.shape}")
    return features


# What is kept beside a number ---------------------------------------------------------------------


@dataclass(frozen=True)
class Definition:
    """What a score's name means.

    Attributes:
        metric: The quantity.
        variant: Whose form of it.
        normalisation: Units and scale of space.
        better: Which way.
    """

    metric: str
    variant: str
    normalisation: str
    better: Literal["lower", "higher"]


_AS_IS, _EDGE = "units of the dataset", "longest edge of the truth = 1"
_SAMPLES = "samples even in [-0.55, 0.55]^3"
DEFINITIONS = {
    "cd_dpc_mean": Definition("Chamfer", "DPC x100, mean over views", _AS_IS, "lower"),
    "cd_dpc_best": Definition("Chamfer", "DPC x100, best view", _AS_IS, "lower"),
    "cd_bbox": Definition("Chamfer", "NOX", "box diagonal = 1", "lower"),
    "cd_l1": Definition("Chamfer", "Occupancy Networks x10", _EDGE, "lower"),
    "cd_mesh": Definition("Chamfer", "PIFuHD, point to surface", _AS_IS, "lower"),
    "cd_sq": Definition("Chamfer", "squared", _AS_IS, "lower"),
    "p2s": Definition("point to surface", "PIFuHD", _AS_IS, "lower"),
    "f_score_1": Definition("F-score", "1 %, distance", _EDGE, "higher"),
    "f_score_2": Definition("F-score", "2 %, distance", _EDGE, "higher"),
    "f_score_5": Definition("F-score", "5 %, distance", _EDGE, "higher"),
    "normal_consistency": Definition("normal consistency", "|cosine|", "none", "higher"),
    "iou_32": Definition("IoU", "32^3, solid truth", "unit cube", "higher"),
    "iou_32_best_shift": Definition("IoU", "32^3, best of 27 shifts", "unit cube", "higher"),
    "iou": Definition("IoU", "Occupancy Networks", _SAMPLES, "higher"),
    "mask_iou": Definition("IoU", "silhouettes", "pixels", "higher"),
    "ssim3d": Definition("SSIM-3D", "11-wide", "voxel grid", "higher"),
    "ssim3d_blank": Definition("SSIM-3D", "11-wide, of an empty grid", "voxel grid", "higher"),
    "ssim3d_masked": Definition("SSIM-3D", "11-wide, masked", "voxel grid", "higher"),
    "ssim3d_7": Definition("SSIM-3D", "7-wide", "voxel grid", "higher"),
    "fid_lite": Definition("FID", "own feature network", "its features", "lower"),
    "kid_lite": Definition("KID", "own feature network", "its features", "lower"),
}


def records(
    scores: Mapping[str, float], points: int, ground_truth: str, seed: int
) -> list[dict[str, Any]]:
    """Scores with what must be known to compare them, ready for JSON.

    Args:
        scores: By their names in :data:`DEFINITIONS`.
        points: Of the prediction; 0 where there are none.
        ground_truth: Where the truth comes from, such as ``pointcloud.npz thinned at 0.01``.
        seed: Of the points that were drawn.

    Raises:
        KeyError: A name has no definition.
    """
    return [
        {"name": name, "value": float(value), **asdict(DEFINITIONS[name])}
        | {"n_points": points, "gt_source": ground_truth, "seed": seed}
        for name, value in scores.items()
    ]
