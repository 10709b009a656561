from __future__ import annotations

import numpy as np
import pytest

from backend.geometry.point_cloud import sample_surface
from tests.dataset_parts import box, sphere
from training.baselines import constant_cloud, mean_chamfer, nearest_images


def surface(mesh, seed: int = 0) -> np.ndarray:
    return sample_surface(mesh, 1500, np.random.default_rng(seed))[0]


def test_mean_chamfer_is_the_loops():
    random = np.random.default_rng(0)
    cloud, shapes = random.random((7, 3)), [random.random((n, 3)) for n in (5, 9)]
    total = 0.0
    for shape in shapes:
        there = [min(np.linalg.norm(p - q) for q in shape) for p in cloud]
        back = [min(np.linalg.norm(p - q) for p in cloud) for q in shape]
        total += 100 * (np.mean(there) + np.mean(back))
    assert mean_chamfer(cloud, shapes) == pytest.approx(total / 2)


def test_the_best_constant_of_one_shape_is_that_shape():
    ball = surface(sphere(0.4))
    cloud = constant_cloud([ball], 1500)
    fresh = mean_chamfer(surface(sphere(0.4), seed=1), [ball])
    assert mean_chamfer(cloud, [ball]) < fresh
    np.testing.assert_allclose(np.linalg.norm(cloud, axis=1), 0.4, atol=0.03)


def test_the_best_constant_of_two_balls_lies_between_them():
    """Any radius between costs both together the same, and no other cloud costs less."""
    shapes = [surface(sphere(radius)) for radius in (0.2, 0.4)] * 5
    cloud = constant_cloud(shapes, 1000)
    # Along each ray one ball is a and the other 0.2 - a away, there and back.
    middle = surface(sphere(0.3))
    assert mean_chamfer(cloud, shapes) < min(
        mean_chamfer(other, shapes) for other in (middle, shapes[0], shapes[1])
    )
    radii = np.linalg.norm(cloud, axis=1)
    assert 0.15 < radii.min() < radii.max() < 0.45


def test_the_same_seed_gives_the_same_constant():
    shapes = [surface(box((0.8, 0.2 * k, 0.3))) for k in (1, 2)]
    one, other = (constant_cloud(shapes, 200, seed=4) for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_nearest_images_are_found_by_hand():
    random = np.random.default_rng(0)
    images, queries = random.random((20, 4, 5, 5)), random.random((6, 4, 5, 5))
    wanted = [min(range(20), key=lambda i: ((q - images[i]) ** 2).sum()) for q in queries]
    assert nearest_images(queries, images).tolist() == wanted
    assert nearest_images(images, images).tolist() == list(range(20))
