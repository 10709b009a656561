"""Scores against formulas, slow twins and other programs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from tests.dataset_parts import box, sphere
from training import metrics


def lattice(count: int = 5, spacing: float = 0.1) -> np.ndarray:
    axis = (np.arange(count) - (count - 1) / 2) * spacing
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def cloud(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 3))


def slow_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.array([min(np.sqrt(((p - q) ** 2).sum()) for q in others) for p in points])


# Point clouds and surfaces


def test_distances_are_those_of_a_double_loop() -> None:
    prediction, truth = cloud(40, 0), cloud(70, 1)
    between = metrics.cloud_distances(prediction, truth)
    np.testing.assert_allclose(between.to_truth, slow_distances(prediction, truth))
    np.testing.assert_allclose(between.to_prediction, slow_distances(truth, prediction))


def test_every_chamfer_distance_of_a_shifted_lattice() -> None:
    """Every point is 0.02 from its twin; edges are 0.4, the diagonal 0.4 sqrt 3."""
    truth = lattice()
    prediction = truth + [0.02, 0, 0]
    between = metrics.cloud_distances(prediction, truth)
    assert metrics.chamfer_dpc(between) == pytest.approx(100 * 0.04)
    assert metrics.chamfer_l1(between, metrics.longest_edge(truth)) == pytest.approx(
        10 * 0.02 / 0.4
    )
    assert metrics.chamfer_mesh(between) == pytest.approx(0.02)
    assert metrics.chamfer_squared(between) == pytest.approx(2 * 0.02**2)
    assert metrics.chamfer_squared(between, scale=0.5) == pytest.approx(2 * 0.01**2)
    assert metrics.chamfer_bbox(prediction, truth) == pytest.approx(0.04 / (0.4 * 3**0.5))


def test_chamfer_is_a_mean_for_each_side() -> None:
    """Three points against one: 0, 0 and 0.3 one way, 0 the other."""
    prediction = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0.3, 0]])
    between = metrics.cloud_distances(prediction, np.zeros((1, 3)))
    assert metrics.chamfer_dpc(between) == pytest.approx(100 * 0.1)
    assert metrics.chamfer_squared(between) == pytest.approx(0.03)


def test_box_chamfer_does_not_know_sizes_but_knows_places() -> None:
    prediction, truth = cloud(300, 0), cloud(200, 1)
    score = metrics.chamfer_bbox(prediction, truth)
    assert metrics.chamfer_bbox(3 * prediction, 0.2 * truth) == pytest.approx(score)
    assert metrics.chamfer_bbox(7 * truth, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.chamfer_bbox(truth + [0.5, 0, 0], truth) > 0.3


def test_box_chamfer_draws_8000_points_of_the_truth() -> None:
    """All of the prediction's points are in the truth; those that were not drawn are off it."""
    truth = cloud(10_000, 0)
    scaled = truth / np.linalg.norm(np.ptp(truth, axis=0))
    chosen = np.random.default_rng(4).choice(10_000, 8000, replace=False)
    expected = metrics.cloud_distances(scaled, scaled[chosen])
    assert np.count_nonzero(expected.to_truth) == 2000
    assert metrics.chamfer_bbox(truth, truth, seed=4) == pytest.approx(expected.to_truth.mean())


def test_mean_and_best_view() -> None:
    scores = np.array([[1.0, 2, 3], [5, 4, 9]])
    assert metrics.mean_and_best(scores) == (4.0, 2.5)


def test_spheres_inside_one_another() -> None:
    """Facets of 20,480 triangles lie at most 0.001 deep."""
    between = metrics.surface_distances(sphere(0.3, 5), sphere(0.4, 5), 2000)
    np.testing.assert_allclose(between.to_truth, 0.1, atol=1e-3)
    np.testing.assert_allclose(between.to_prediction, 0.1, atol=1e-3)
    assert metrics.chamfer_mesh(between) == pytest.approx(0.1, abs=1e-3)


def test_distance_to_a_surface_is_to_its_faces_not_its_vertices() -> None:
    points = np.array([[0.1, -0.2, 0.5], [0.6, 0.1, 0.1], [0.5, 0.5, 0.5], [0.05, 0, 0]])
    distances = metrics.point_to_surface(points, box((0.8, 0.8, 0.8)))
    np.testing.assert_allclose(distances, [0.1, 0.2, 0.1 * 3**0.5, 0.35], atol=1e-7)


def test_f_score_counts_distances_up_to_the_threshold() -> None:
    """Two of four predicted points and one of two true points are within 0.1."""
    prediction = np.array([[0.0, 0, 0], [0.05, 0, 0], [1, 0, 0], [2, 0, 0]])
    truth = np.array([[0.0, 0, 0], [5, 0, 0]])
    between = metrics.cloud_distances(prediction, truth)
    assert metrics.f_score(between, 0.1) == pytest.approx(0.5)
    assert metrics.f_score(between, 0.01) == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    far = metrics.cloud_distances(prediction, truth + [0, 9, 0])
    assert metrics.f_score(far, 0.1) == 0.0


def test_normal_consistency_is_the_cosine_whatever_the_sign() -> None:
    points = lattice(4)
    normals = np.tile([0.0, 0, 1], (len(points), 1))
    tilted = np.tile([0, np.sin(0.4), -np.cos(0.4)], (len(points), 1))
    tilted[::3] *= -1
    score = metrics.normal_consistency(points, normals, points + 0.01, tilted)
    assert score == pytest.approx(np.cos(0.4))


def test_normal_consistency_is_that_of_a_loop() -> None:
    random = np.random.default_rng(5)
    points, others = cloud(30, 2), cloud(50, 3)
    normals, others_normals = random.normal(size=(30, 3)), random.normal(size=(50, 3))

    def one_way(a, a_normals, b, b_normals) -> float:
        near = [int(np.argmin(((b - p) ** 2).sum(axis=1))) for p in a]
        return float(np.mean([abs(n @ b_normals[k]) for n, k in zip(a_normals, near, strict=True)]))

    expected = one_way(points, normals, others, others_normals)
    expected += one_way(others, others_normals, points, normals)
    score = metrics.normal_consistency(points, normals, others, others_normals)
    assert score == pytest.approx(expected / 2)


def test_thinning_keeps_the_mean_of_each_cell() -> None:
    points = cloud(4000, 6)
    cells: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point in points:
        cells.setdefault(tuple(int(c) for c in np.floor(point / 0.1)), []).append(point)
    expected = np.array([np.mean(cells[key], axis=0) for key in sorted(cells)])
    np.testing.assert_allclose(metrics.thinned(points, 0.1), expected)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((0, 3)), "at least one point"),
        (np.zeros((4, 2)), "at least one point"),
        (np.array([[0, np.nan, 0]]), "not finite"),
    ],
)
def test_what_is_no_cloud_is_refused(points: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        metrics.cloud_distances(points, lattice())
    with pytest.raises(ValueError, match=said):
        metrics.cloud_distances(lattice(), points)


# Occupancy and silhouettes


def slab(start: int, stop: int, resolution: int = 16) -> np.ndarray:
    grid = np.zeros((resolution,) * 3, bool)
    grid[start:stop, 4:12, 4:12] = True
    return grid


def test_iou_of_slabs() -> None:
    assert metrics.iou(slab(2, 8), slab(4, 10)) == pytest.approx(4 / 8)
    assert metrics.iou(slab(2, 4), slab(4, 10)) == 0.0
    assert metrics.iou(slab(0, 0), slab(0, 0)) == 1.0
    assert metrics.iou(slab(0, 0), slab(0, 1)) == 0.0


def test_iou_refuses_what_it_would_misread() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.iou(np.zeros((4, 4), bool), np.zeros(4, bool))
    with pytest.raises(ValueError, match="must be bool"):
        metrics.iou(np.zeros(4), np.zeros(4, bool))


def test_silhouettes_are_scored_each_for_itself() -> None:
    random = np.random.default_rng(0)
    prediction, truth = random.random((2, 3, 8, 9)), random.random((2, 3, 8, 9)) > 0.3
    prediction[1, 2], truth[1, 2] = 0.49, False
    scores = metrics.silhouette_iou(prediction, truth)
    assert scores.shape == (2, 3)
    assert scores[1, 2] == 1.0
    for place in np.ndindex(2, 3):
        assert scores[place] == metrics.iou(prediction[place] >= 0.5, truth[place])


def test_best_shift_undoes_a_shift_and_does_not_go_round() -> None:
    truth = slab(3, 6)
    assert metrics.iou_best_shift(np.roll(truth, (1, -1, 1), (0, 1, 2)), truth) == 1.0
    assert metrics.iou_best_shift(np.roll(truth, 2, 0), truth) == pytest.approx(2 / 4)
    assert metrics.iou_best_shift(np.roll(truth, 2, 0), truth, reach=2) == 1.0
    assert metrics.iou_best_shift(slab(15, 16), slab(0, 1)) == 0.0


def test_mesh_iou_of_boxes() -> None:
    """They share 0.3 of 0.5 + 0.5 - 0.3 lengths; 50,000 samples are good to about 0.01."""
    points = np.random.default_rng(0).uniform(-0.55, 0.55, (50_000, 3))
    inside = (np.abs(points - [-0.1, 0, 0]) < [0.25, 0.4, 0.3]).all(axis=1)
    score = metrics.mesh_iou(box((0.5, 0.8, 0.6), (0.1, 0, 0)), points, inside)
    assert score == pytest.approx(3 / 7, abs=0.015)


def test_voxels_are_the_cells_that_hold_a_point() -> None:
    points = np.concatenate([cloud(500, 7) * 1.4, [[-0.5, -0.5, -0.5], [0.5, 0, 0]]])
    counts, _ = np.histogramdd(points[:-1], 8, [(-0.5, 0.5)] * 3)
    assert np.array_equal(metrics.voxelised(points, 8), counts > 0)


def test_voxels_keep_the_order_of_the_axes() -> None:
    grid = metrics.voxelised((np.array([[1, 2, 5]]) + 0.5) / 8 - 0.5, 8)
    assert np.argwhere(grid).tolist() == [[1, 2, 5]]


def test_mean_of_categories() -> None:
    mean, each = metrics.mean_of_categories([1.0, 3, 10], ["chair", "chair", "car"])
    assert (mean, each) == (6.0, {"car": 10.0, "chair": 2.0})


# SSIM-3D


def blob(seed: int, size: int = 20) -> np.ndarray:
    """Something random that is zero for six cells from the border."""
    noise = gaussian_filter(np.random.default_rng(seed).random((size - 12,) * 3), 1)
    return np.pad((noise - noise.min()) / np.ptp(noise), 6)


def slow_ssim(x: np.ndarray, y: np.ndarray, window: int) -> np.ndarray:
    """Window by window, ``[X, Y, Z]``."""
    radius = window // 2
    offsets = np.arange(window) - radius
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = line[:, None, None] * line[:, None] * line
    weights /= weights.sum()
    padded_x, padded_y = np.pad(x, radius), np.pad(y, radius)
    values = np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        where = tuple(slice(p, p + window) for p in place)
        a, b = padded_x[where], padded_y[where]
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
        cov = (weights * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        values[place] = luminance * (2 * cov + 9e-4) / (var_a + var_b + 9e-4)
    return values


def test_ssim_agrees_with_scikit_image() -> None:
    """Where there are zeros at the border, its mirrored border is the same as our zeros."""
    x, y = blob(0, 32), blob(1, 32)
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "full": True}
    values = structural_similarity(x, y, data_range=1.0, **settings)[1]
    assert metrics.ssim3d(x, y) == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("window", [7, 11])
def test_ssim_is_that_of_a_loop(window: int) -> None:
    random = np.random.default_rng(2)
    x, y = random.random((8, 9, 10)), random.random((8, 9, 10)) > 0.6
    values = slow_ssim(x, y.astype(float), window)
    assert metrics.ssim3d(x, y, window) == pytest.approx(values.mean(), abs=1e-9)


def test_masked_ssim_is_that_of_a_loop() -> None:
    truth, prediction = np.zeros((2, 16, 16, 16))
    truth[2, 3, 4] = 1.0
    prediction[3, 3, 4], prediction[15, 15, 15] = 0.7, 0.4
    values = slow_ssim(prediction, truth, 7)
    occupied = (prediction >= 0.5) | (truth >= 0.5)
    near = [
        p
        for p in np.ndindex(16, 16, 16)
        if occupied[tuple(slice(max(i - 3, 0), i + 4) for i in p)].any()
    ]
    expected = np.mean([values[p] for p in near])
    assert metrics.ssim3d(prediction, truth, 7, masked=True) == pytest.approx(expected, abs=1e-9)


def test_ssim_laws() -> None:
    x, y = blob(3), blob(4)
    assert metrics.ssim3d(x, x) == pytest.approx(1.0)
    assert metrics.ssim3d(x, y) == pytest.approx(metrics.ssim3d(y, x))
    checkers = np.indices((12, 12, 12)).sum(axis=0) % 2 > 0
    assert metrics.ssim3d(checkers, ~checkers) < -0.5
    empty = np.zeros((12, 12, 12), bool)
    assert metrics.ssim3d_blank(empty) == metrics.ssim3d(empty, empty, masked=True) == 1.0


def test_a_blank_grid_scores_high_by_the_empty_space() -> None:
    """The leg fills 0.2 % of the grid; all windows but 12 x 12 x 26 hold none of it and count 1."""
    leg = np.zeros((32, 32, 32), bool)
    leg[15:17, 15:17, 6:22] = True
    blank, masked = metrics.ssim3d_blank(leg), metrics.ssim3d_blank(leg, masked=True)
    assert blank > 0.8
    assert 1 - blank == pytest.approx((1 - masked) * 12 * 12 * 26 / 32**3)


# Sets of pictures


def features(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Features whose sample mean and sample covariance are exactly these."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    whitened = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_gaussians_with_shared_axes() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 of the standard deviations, whatever the common rotation."""
    s1, s2 = np.array([1.0, 2, 0.5]), np.array([1.5, 1, 0.5])
    m1, m2 = np.array([0.0, 1, 2]), np.array([0.5, 1, 0])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    first = features(60, m1, np.diag(s1**2), 1) @ turn
    second = features(90, m2, np.diag(s2**2), 2) @ turn
    assert metrics.frechet_distance(first, second) == pytest.approx(4.25 + 1.25)


@pytest.mark.parametrize("counts", [(50, 40), (6, 40), (5, 4)], ids=str)
def test_frechet_distance_is_that_of_the_matrix_root(counts: tuple[int, int]) -> None:
    """Also with fewer pictures than features, when the covariances are singular."""
    random = np.random.default_rng(3)
    first = random.normal(size=(counts[0], 8)) @ random.normal(size=(8, 8)) + 1
    second = random.normal(size=(counts[1], 8)) @ random.normal(size=(8, 8))
    s1, s2 = np.cov(first.T), np.cov(second.T)
    root = np.asarray(sqrtm(sqrtm(s1) @ s2 @ sqrtm(s1))).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert metrics.frechet_distance(first, second) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_a_set_to_itself_is_nothing() -> None:
    one = np.random.default_rng(0).normal(size=(30, 12))
    assert metrics.frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_that_of_a_loop() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(7, 4)), random.normal(size=(5, 4)) + 0.3

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / 4 + 1) ** 3

    within = [
        np.mean([kernel(a, b) for a, b in itertools.permutations(one, 2)])
        for one in (first, second)
    ]
    across = np.mean([kernel(a, b) for a in first for b in second])
    expected = sum(within) - 2 * across
    assert metrics.kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_adds_up_over_blocks() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2100, 3)), random.normal(size=(1500, 3)) + 0.2
    k = {
        (i, j): (a @ b.T / 3 + 1) ** 3
        for (i, a), (j, b) in itertools.product(enumerate((first, second)), repeat=2)
    }
    expected = (k[0, 0].sum() - np.trace(k[0, 0])) / (2100 * 2099)
    expected += (k[1, 1].sum() - np.trace(k[1, 1])) / (1500 * 1499) - 2 * k[0, 1].mean()
    assert metrics.kernel_distance(first, second) == pytest.approx(expected)


def test_kernel_distance_of_equal_distributions_is_zero_on_average_however_few() -> None:
    """Unlike the Frechet distance, which is above zero by its bias."""
    random = np.random.default_rng(2)
    pairs = [random.normal(size=(2, 10, 4)) for _ in range(800)]
    kernel = np.array([metrics.kernel_distance(a, b) for a, b in pairs])
    assert abs(kernel.mean()) < 3 * kernel.std() / np.sqrt(len(kernel))
    assert np.mean([metrics.frechet_distance(a, b) for a, b in pairs]) > 0.5


@pytest.mark.parametrize("score", [metrics.frechet_distance, metrics.kernel_distance])
def test_one_picture_is_no_set(score) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        score(np.zeros((1, 4)), np.zeros((5, 4)))


# What is kept beside a number


def test_records_tell_variants_apart_and_go_into_json() -> None:
    kept = metrics.records({"cd_dpc_mean": 2.5, "cd_l1": 0.25}, 8000, "scan", 3)
    assert json.loads(json.dumps(kept)) == kept
    assert [one["value"] for one in kept] == [2.5, 0.25]
    assert kept[0]["metric"] == kept[1]["metric"] == "Chamfer"
    assert kept[0]["normalisation"] != kept[1]["normalisation"]
    assert (kept[0]["n_points"], kept[0]["gt_source"], kept[0]["seed"]) == (8000, "scan", 3)
    with pytest.raises(KeyError, match="chamfer"):
        metrics.records({"chamfer": 1.0}, 0, "", 0)


def test_no_two_names_mean_the_same() -> None:
    assert len(set(metrics.DEFINITIONS.values())) == len(metrics.DEFINITIONS)
