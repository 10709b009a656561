"""Points taken from surfaces, and their way to a grid and back."""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd import gradcheck

from backend.geometry.mesh import Mesh
from backend.geometry.point_cloud import interpolate, sample_surface, splat
from backend.geometry.visual_hull import grid_points
from tests.dataset_parts import box


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_surface_points_are_spread_by_area_and_lie_on_their_faces() -> None:
    edges = np.array([0.2, 0.4, 0.8])
    points, normals = sample_surface(box(tuple(edges)), 60_000, np.random.default_rng(0))
    axis, side = np.abs(normals).argmax(axis=1), normals.sum(axis=1)
    np.testing.assert_allclose(points[np.arange(60_000), axis], side * edges[axis] / 2, atol=1e-7)
    assert (np.abs(points) <= edges / 2 + 1e-7).all()
    area = edges.prod() / edges
    counts = np.bincount(2 * axis + (side > 0), minlength=6) / 60_000
    np.testing.assert_allclose(counts, np.repeat(area / area.sum() / 2, 2), atol=0.01)
    for one in range(3):  # evenly over the two sides along the face, too
        where = np.delete(points[axis == one] / edges, one, axis=1)
        np.testing.assert_allclose(np.cov(where.T), np.eye(2) / 12, atol=3e-3)


def test_faces_without_area_get_no_points() -> None:
    mesh = box((1.0, 1, 1))
    flat = np.array([[0, 0, 1], [2, 2, 2]], np.int32)
    doubled = Mesh(mesh.vertices, np.concatenate([flat, mesh.faces, flat]))
    points, normals = sample_surface(doubled, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    np.testing.assert_allclose(np.abs(points).max(axis=1), 0.5)


def test_splat_of_values_is_one_grid_for_each_column() -> None:
    points, values = random(40, 3) * 1.2 - 0.6, random(40, 2, seed=1)
    grids = splat(points, 5, values)
    assert grids.shape == (2, 5, 5, 5)
    for column in range(2):
        one_by_one = [v * splat(p[None], 5) for p, v in zip(points, values[:, column], strict=True)]
        torch.testing.assert_close(grids[column], torch.stack(one_by_one).sum(0))


def test_reading_a_grid_is_the_transpose_of_splatting() -> None:
    points, values, grids = random(40, 3) * 1.2 - 0.6, random(40, 2, seed=1), random(2, 5, 5, 5)
    forward = (splat(points, 5, values) * grids).sum()
    backward = (values * interpolate(grids, points)).sum()
    torch.testing.assert_close(forward, backward)


def test_a_linear_field_is_read_exactly() -> None:
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    points = random(30, 3) * 0.8 - 0.4
    field = grid_points(12).double() @ slope
    torch.testing.assert_close(interpolate(field[None], points)[:, 0], points @ slope)


def test_gradients_of_grids_and_points() -> None:
    points, values = (random(5, 3) * 0.8 - 0.4).requires_grad_(), random(5, 2).requires_grad_()
    grids = random(2, 4, 4, 4).requires_grad_()
    assert gradcheck(lambda p, v: splat(p, 4, v), (points, values))
    assert gradcheck(interpolate, (grids, points))
