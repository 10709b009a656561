"""Poisson surfaces of clouds whose shape is known, and the laws of the solver."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor
from torch.autograd import gradcheck

from backend.errors import ReconstructionError
from backend.geometry import poisson
from backend.geometry.cameras import Cameras
from backend.geometry.point_cloud import sample_surface
from backend.geometry.poisson import (
    poisson_field,
    poisson_mesh,
    surface_of_volume,
    turned_outward,
)
from backend.geometry.visual_hull import grid_points, silhouette_distances
from tests.dataset_parts import from_trimesh
from tests.shapes import ball, cameras_around, in_unit_cube, views_of

Distance = Callable[[np.ndarray], np.ndarray]


def sphere_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points, axis=1) - 0.35


def torus_distance(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.3, points[:, 2]) - 0.1


def box_distance(points: np.ndarray) -> np.ndarray:
    q = np.abs(points) - np.array([0.35, 0.25, 0.15])
    return np.linalg.norm(q.clip(0), axis=1) + q.max(axis=1).clip(max=0)


# The mesh, its distance, and how far in cells the reconstruction may be from it: the Gaussian of
# one cell and random sampling leave some, and a box loses its corners.
SHAPES: dict[str, tuple[Callable[[], trimesh.Trimesh], Distance, float]] = {
    "sphere": (lambda: trimesh.creation.icosphere(5, 0.35), sphere_distance, 0.15),
    "torus": (
        lambda: trimesh.creation.torus(0.3, 0.1, major_sections=128, minor_sections=64),
        torus_distance,
        0.25,
    ),
    "box": (lambda: trimesh.creation.box((0.7, 0.5, 0.3)), box_distance, 1.0),
}


def oriented(name: str, count: int = 20_000, dtype: torch.dtype = torch.float32):
    mesh = from_trimesh(SHAPES[name][0]())
    points, normals = sample_surface(mesh, count, np.random.default_rng(0))
    return torch.as_tensor(points, dtype=dtype), torch.as_tensor(normals, dtype=dtype)


def few(count: int = 40) -> tuple[Tensor, Tensor]:
    """Points and normals that bound nothing."""
    random = torch.Generator().manual_seed(3)
    points = torch.rand(count, 3, dtype=torch.float64, generator=random) * 0.5 - 0.25
    return points, torch.randn(count, 3, dtype=torch.float64, generator=random)


def assert_proportional(one: Tensor, other: Tensor) -> None:
    """The same but for a factor: the scale comes from one far cell, which has its place too."""
    largest = other.abs().argmax()
    factor = one.flatten()[largest] / other.flatten()[largest]
    torch.testing.assert_close(one / factor, other)


# Known shapes


@pytest.mark.parametrize("name", SHAPES)
def test_surface_is_where_the_points_are(name: str) -> None:
    make, distance, tolerance = SHAPES[name]
    mesh = poisson_mesh(*oriented(name), resolution=64, sigma=1.0)
    assert np.abs(distance(mesh.vertices.astype(float))).max() * 64 < tolerance
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() == pytest.approx(make().volume, rel=5e-3)


def test_field_of_a_ball_is_that_of_a_blurred_indicator() -> None:
    """A ball of radius r, blurred by s, has 1/2 - s / (sqrt(2 pi) r) at its surface, 1 and 0 apart.

    The way to the grid and back adds two hats, of variance 1/6 each.
    """
    field = poisson_field(*oriented("sphere", 100_000), resolution=48, sigma=2.0).numpy()
    radius = np.linalg.norm(grid_points(48).numpy(), axis=-1)
    blur, clear = math.sqrt(2.0**2 + 2 / 6) / 48, 4 * 2.0 / 48
    level = 0.5 - blur / (math.sqrt(2 * math.pi) * 0.35)
    np.testing.assert_allclose(field[radius > 0.35 + clear], -0.5, atol=0.01)
    np.testing.assert_allclose(field[radius < 0.35 - clear], 0.5 * (1 - level) / level, atol=0.01)


def test_field_is_the_winding_number_of_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """sum_i n_i . (x_i - x) / (4 pi |x_i - x|^3), Barill et al. 2018, up to level and scale.

    Beyond the Gaussians' reach, and with the periodic images far away, whatever the points.
    """
    monkeypatch.setattr(poisson, "MARGIN", 1.5)
    points, normals = few()
    field = poisson_field(points, normals, 32, sigma=1.0)
    apart = points - grid_points(32).double().reshape(-1, 1, 3)  # [R^3, N, 3]
    distance = apart.norm(dim=-1)
    winding = ((apart * normals).sum(-1) / (4 * math.pi * distance**3)).sum(-1)
    clear = distance.amin(1) > 4 / 32
    ours, theirs = field.flatten()[clear].numpy(), winding[clear].numpy()
    scale, level = np.polyfit(theirs, ours, 1)
    assert clear.sum() > 1000
    np.testing.assert_allclose(ours, scale * theirs + level, atol=0.02 * np.ptp(ours))


# Laws


def test_moving_the_points_by_cells_moves_the_field() -> None:
    points, normals = few()
    step = torch.tensor([2.0, -1, 3], dtype=torch.float64) / 24
    field = poisson_field(points, normals, 24, sigma=1.5)
    moved = poisson_field(points + step, normals, 24, sigma=1.5)
    assert_proportional(moved[2:, :-1, 3:], field[:-2, 1:, :-3])


@pytest.mark.parametrize("resolution", [16, 17])
def test_mirrored_and_turned_points_give_the_mirrored_and_turned_field(resolution: int) -> None:
    points, normals = few()
    field = poisson_field(points, normals, resolution, sigma=0.7)
    sign = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    mirrored = poisson_field(sign * points, sign * normals, resolution, sigma=0.7)
    assert_proportional(mirrored, field.flip(0))
    turned = poisson_field(points[:, [1, 2, 0]], normals[:, [1, 2, 0]], resolution, sigma=0.7)
    assert_proportional(turned, field.permute(1, 2, 0))


def test_only_the_normals_ratios_matter_and_their_common_sign_does_not() -> None:
    points, normals = oriented("torus", 500, torch.float64)
    field = poisson_field(points, normals, 24)
    torch.testing.assert_close(poisson_field(points, 7.5 * normals, 24), field)
    torch.testing.assert_close(poisson_field(points, -normals, 24), field)


def test_two_halves_of_an_area_weigh_as_much_as_the_whole() -> None:
    points, normals = oriented("torus", 500, torch.float64)
    first = points[:, 0] > 0
    doubled = torch.cat([points, points[first]])
    halved = torch.cat([torch.where(first[:, None], normals / 2, normals), normals[first] / 2])
    one, other = poisson_field(points, normals, 24), poisson_field(doubled, halved, 24)
    # The level is the mean at the points, which are not the same.
    slope = (one - one.mean()) / (one.max() - one.min())
    torch.testing.assert_close((other - other.mean()) / (other.max() - other.min()), slope)


def test_gradients_at_points_and_normals() -> None:
    points, normals = few(6)
    inputs = points.requires_grad_(), normals.requires_grad_()
    assert gradcheck(lambda p, n: poisson_field(p, n, 6, sigma=1.0), inputs, atol=1e-4)


def test_single_precision_is_enough() -> None:
    points, normals = oriented("torus", 4000, torch.float64)
    exact = poisson_field(points, normals, 48)
    single = poisson_field(points.float(), normals.float(), 48)
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("resolution", [20, 31, 64, 97, 128])
def test_the_cube_lies_in_the_middle_of_the_padded_grid(resolution: int) -> None:
    margin = (poisson._padded_size(resolution) - resolution) / 2
    assert margin == int(margin)
    assert margin >= poisson.MARGIN * resolution


@pytest.mark.parametrize("count", [0, 50])
def test_points_without_normals_are_refused(count: int) -> None:
    points, _ = few(50)
    with pytest.raises(ReconstructionError, match="no normals"):
        poisson_mesh(points[:count], torch.zeros(count, 3, dtype=torch.float64), 16)


# Clouds that fill a volume


def filled_ball(crowded_rim: bool, count: int = 20_000, radius: float = 0.35) -> Tensor:
    """A ball's volume, evenly filled, or as silhouettes fill it: evenly in every projection.

    Half of the points then lie beyond 0.87 of the radius, and the density has no end at the rim.
    """
    random = np.random.default_rng(0)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    share = random.random((count, 1))
    radii = np.sqrt(1 - share**2) if crowded_rim else share ** (1 / 3)
    return torch.as_tensor(radius * radii * directions, dtype=torch.float32)


@pytest.mark.parametrize("crowded_rim", [False, True])
def test_skin_of_a_filled_ball_and_its_normals(crowded_rim: bool) -> None:
    cloud = filled_ball(crowded_rim)
    points, normals = surface_of_volume(cloud, 64, sigma=2.0)
    radii = points.norm(dim=1)
    cosines = (points / radii[:, None] * normals).sum(1)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(normals)))
    assert radii.min() > 0.35 - 2 * 2.0 / 64
    assert cosines.min() > 0.9
    rim = cloud.norm(dim=1) > 0.35 - 0.5 / 64
    assert len(points) > rim.sum()


@pytest.mark.parametrize("crowded_rim", [False, True])
def test_filled_ball_becomes_a_ball(crowded_rim: bool) -> None:
    """Half a skin smaller at most; the cut through the density alone would be larger."""
    mesh = poisson_mesh(*surface_of_volume(filled_ball(crowded_rim), 64, 2.0), 64)
    depth = 64 * (0.35 - np.linalg.norm(mesh.vertices, axis=1))
    assert mesh.is_closed_manifold()
    assert depth.min() > -0.5
    assert depth.max() < 2.0


def test_cavities_of_a_cloud_have_no_skin() -> None:
    cloud = filled_ball(False)
    cloud = cloud[cloud.norm(dim=1) > 0.2]
    points, _ = surface_of_volume(cloud, 64, sigma=1.5)
    assert points.norm(dim=1).min() > 0.25


def test_silhouettes_turn_normals_outward() -> None:
    cameras = cameras_around(8, 96)
    views = in_unit_cube(views_of(ball(0.35), cameras))
    distances = silhouette_distances(views)
    # Where some silhouette's outline passes: elsewhere the hull is wider than the ball.
    points, normals = oriented("sphere", 4000)
    to_eye = torch.as_tensor(
        np.stack([c.rays(np.zeros(2))[0] for c in cameras]), dtype=torch.float32
    )
    to_eye = torch.nn.functional.normalize(to_eye[:, None] - points, dim=-1)  # [V, N, 3]
    rim = ((to_eye * normals).sum(-1).abs() < 0.02).any(0)
    points, normals = points[rim], normals[rim]
    assert len(points) > 300
    mixed = torch.where((torch.arange(len(points)) % 3 == 0)[:, None], -normals, normals)
    turned = turned_outward(points, mixed, distances, Cameras.stack(views.cameras), 0.03)
    torch.testing.assert_close(turned, normals)


def test_silhouettes_say_nothing_of_what_lies_within_them() -> None:
    views = in_unit_cube(views_of(ball(0.35), cameras_around(6, 48)))
    points = 0.3 * oriented("sphere", 200)[0]
    normals = -torch.nn.functional.normalize(points, dim=1)
    distances, cameras = silhouette_distances(views), Cameras.stack(views.cameras)
    assert torch.equal(turned_outward(points, normals, distances, cameras, 0.03), normals)
