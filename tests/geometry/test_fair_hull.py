"""The fair hull of a ball, which costs no energy, and the bounds that it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.errors import Cancelled
from backend.geometry.fair_hull import Contacts, Energy, Fairing, Target, fair_hull
from backend.geometry.isosurface import extract
from backend.geometry.silhouettes import Silhouettes, sample_grid
from backend.geometry.visual_hull import grid_points
from backend.views import Views
from tests.shapes import agreement, ball, box, camera, cameras_around, in_unit_cube, views_of

RADIUS, RESOLUTION = 0.3, 48


@pytest.fixture(scope="module")
def views() -> Views:
    return in_unit_cube(views_of(ball(RADIUS), cameras_around(8, 128)))


@pytest.fixture(scope="module")
def silhouettes(views: Views) -> Silhouettes:
    return Silhouettes.of(views)


@pytest.fixture(scope="module")
def fair(silhouettes: Silhouettes) -> np.ndarray:
    return fair_hull(silhouettes, RESOLUTION).field


def mean_radius_error(field: np.ndarray) -> float:
    return float(np.abs(np.linalg.norm(extract(field).vertices, axis=1) - RADIUS).mean())


def test_ball_is_rounder_than_its_exact_hull(silhouettes: Silhouettes, fair: np.ndarray):
    assert mean_radius_error(fair) < 0.5 * mean_radius_error(silhouettes.hull(RESOLUTION))
    assert mean_radius_error(fair) < 0.1 / RESOLUTION


def test_it_stays_inside_the_hull(silhouettes: Silhouettes, fair: np.ndarray):
    assert fair.dtype == np.float32
    assert fair.shape == (RESOLUTION,) * 3
    assert (fair <= silhouettes.hull(RESOLUTION)).all()


def test_silhouettes_are_kept(views: Views, fair: np.ndarray):
    assert min(agreement(extract(fair), views)) >= 0.98


def test_every_ray_on_a_contour_comes_within_a_cell_of_the_surface(
    silhouettes: Silhouettes, fair: np.ndarray
):
    contacts = Contacts(silhouettes, silhouettes.hull(RESOLUTION))
    values = sample_grid(torch.as_tensor(fair), contacts.rims.points).numpy()
    deepest = values[contacts.rims.largest(values)]
    assert len(deepest) > 8 * np.pi * 2 * RADIUS * RESOLUTION * 0.5
    assert float(deepest.min()) > -1.0
    assert float(deepest.max()) < 1.0


def test_a_thin_plate_keeps_its_silhouettes():
    """Least bending alone would lose it: it is thinner than two cells."""
    cameras = [camera(p, 96, True) for p in [(0, -2, 0), (2, 0, 0), (0, 0, 2)]]
    views = in_unit_cube(views_of(box((0.8, 0.7, 0.06)), cameras))
    mesh = extract(fair_hull(Silhouettes.of(views), 32).field)
    assert mesh.is_closed_manifold()
    assert min(agreement(mesh, views)) > 0.8


@pytest.fixture(scope="module")
def cube() -> Silhouettes:
    """Half an edge is 0.4, and the grid's border is five cells away."""
    views = in_unit_cube(views_of(box([0.8, 0.8, 0.8]), cameras_around(24, 128)))
    return Silhouettes.of(views)


@pytest.fixture(scope="module")
def fair_cube(cube: Silhouettes) -> np.ndarray:
    return fair_hull(cube, RESOLUTION).field


def test_a_cube_keeps_its_flat_sides(fair_cube: np.ndarray):
    vertices = np.abs(extract(fair_cube).vertices)
    sides = vertices[np.sort(vertices, axis=1)[:, 1] < 0.3]
    assert len(sides) > 1000
    assert RESOLUTION * (sides.max(axis=1).min() - 0.4) > -0.6  # with a mirrored border -1.1


def test_bending_is_free_on_edges_and_at_the_border_only(
    cube: Silhouettes, fair_cube: np.ndarray, silhouettes: Silhouettes, fair: np.ndarray
):
    inner = (slice(4, -4),) * 3
    on_edge = (np.abs(grid_points(RESOLUTION).numpy()) > 0.4 - 3 / RESOLUTION).sum(axis=3) >= 2
    of_cube = Contacts(cube, cube.hull(RESOLUTION)).bound(fair_cube).edges
    of_ball = Contacts(silhouettes, silhouettes.hull(RESOLUTION)).bound(fair).edges
    assert of_ball[:, :, :4].all()
    assert of_ball[inner].mean() < 0.01
    assert of_cube[inner].sum() > 0.5 * on_edge[inner].sum()
    assert (of_cube & on_edge)[inner].sum() > 0.95 * of_cube[inner].sum()


def test_the_energy_step_solves_its_equation():
    """Against a dense matrix: ``(penalty + (-laplacian)^3) f = penalty * field``."""
    size, penalty = 8, 0.05
    ends = np.diff(np.eye(size), axis=0)
    along, one = ends.T @ ends, np.eye(size)  # minus the Laplacian with mirrored ends
    laplacian = np.kron(np.kron(along, one), one)
    laplacian += np.kron(np.kron(one, along), one) + np.kron(np.kron(one, one), along)
    field = np.random.default_rng(0).normal(size=size**3)
    matrix = penalty * np.eye(size**3) + np.linalg.matrix_power(laplacian, 3)
    expected = np.linalg.solve(matrix, penalty * field).reshape(size, size, size)
    given = torch.tensor(field.reshape(size, size, size), dtype=torch.float32)
    np.testing.assert_allclose(Energy(size, penalty).smoothed(given), expected, atol=1e-6)


def test_long_waves_alone_are_smoothed_alike_and_short_ones_left_out():
    size = 40
    energy = Energy(size, 1e-3)
    x = (torch.arange(size) + 0.5) / size
    long = torch.cos(3 * torch.pi * x)[:, None, None] * torch.cos(2 * torch.pi * x)[:, None]
    long = long + torch.cos(5 * torch.pi * x)
    short = torch.cos(0.8 * size * torch.pi * x)[:, None].expand(size, size, size)
    coarse = energy.smoothed_coarsely(long + short)
    np.testing.assert_allclose(coarse, energy.smoothed(long.clone()), atol=1e-5)
    assert float(coarse.abs().max()) > 0.5


def test_pulls_join_to_their_weighted_mean():
    ones = np.ones((2, 2, 2), np.float32)
    joined = Target(ones, 3 * ones).joined(Target(5 * ones, ones))
    np.testing.assert_allclose(joined.field, 2.0)
    np.testing.assert_allclose(joined.weight, 4.0)
    nothing = Target(0 * ones, 0 * ones).joined(Target(5 * ones, 0 * ones))
    assert np.isfinite(nothing.field).all()


def test_same_bytes_twice(silhouettes: Silhouettes):
    first, second = (fair_hull(silhouettes, 24).field.tobytes() for _ in range(2))
    assert first == second


def test_progress_rises_to_one(silhouettes: Silhouettes):
    told: list[float] = []
    fair_hull(silhouettes, 40, progress=told.append)
    assert told == sorted(told)
    assert 0 < told[0] < 0.1
    assert told[-1] == pytest.approx(1.0)


def test_progress_may_stop_it(silhouettes: Silhouettes):
    calls: list[float] = []

    def progress(fraction: float) -> None:
        calls.append(fraction)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fair_hull(silhouettes, 40, progress=progress)
    assert len(calls) == 3


def test_grid_is_read_where_its_cells_are():
    grid = torch.as_tensor(grid_points(10).numpy() @ np.array([1.0, 10.0, 100.0], np.float32))
    points = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.44, -0.44]])
    expected = points @ torch.tensor([1.0, 10.0, 100.0])
    torch.testing.assert_close(sample_grid(grid, points), expected, rtol=1e-4, atol=1e-3)


def test_many_views_hold_the_surface_near_their_hull():
    """48 views' hull is closer to the ball than least bending knows; 8 views' hull is not."""

    def gap(count: int, faith: float) -> float:
        around = in_unit_cube(views_of(ball(RADIUS), cameras_around(count, 128)))
        hull = Silhouettes.of(around).hull(RESOLUTION)
        # From a start that sags by a cell, as it does where no ray holds it up.
        fairing = Fairing(Silhouettes.of(around), hull, hull - 1, is_solution=True)
        fairing.advance(20, faith=np.full_like(hull, faith))
        near = np.abs(hull) < 2
        return float((hull - fairing.field)[near].mean())

    assert gap(48, 1.0) < 0.9 * gap(48, 0.0)
    assert gap(8, 1.0) == pytest.approx(gap(8, 0.0), rel=0.01)
