import importlib
import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from backend.errors import Cancelled, InputError, ReconstructionError
from backend.geometry.cameras import Cameras
from backend.geometry.mesh import Mesh
from backend.geometry.point_cloud import points_to_density, splat
from backend.methods.drwr import SPEC
from backend.methods.drwr.losses import (
    LossForm,
    LossTerms,
    SilhouetteTargets,
    default_terms,
    drwr_loss,
    silhouette_targets,
)
from backend.methods.drwr.model import project_visible
from backend.methods.drwr.reconstruct import DrwrReconstructor, load
from backend.methods.drwr.repulsion import exact_energy, grid_energy, pair_sums
from backend.methods.interface import MakePreview
from backend.views import Camera, Similarity, Views

RADIUS = 0.3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def camera_towards(forward: np.ndarray, size: int, focal: float, distance: float, flat: bool):
    """A camera that looks at the origin along ``forward``."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.1, 0.2, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[2, 3] = distance
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    return Camera(intrinsics, pose, (size, size), orthographic=flat)


def directions(count: int) -> np.ndarray:
    """Spread over the half-sphere, none opposite to another."""
    z = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def orthographic_cameras(count: int, size: int) -> list[Camera]:
    return [camera_towards(d, size, size, 2.0, True) for d in directions(count)]


def perspective_cameras(count: int, size: int) -> list[Camera]:
    return [camera_towards(d, size, 1.875 * size, 2.0, False) for d in directions(count)]


def in_sphere(origins: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Whether rays come within RADIUS of the origin."""
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.linalg.norm(np.cross(origins, unit), axis=-1) < RADIUS


def in_torus(origins: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Whether parallel rays meet a torus with radii 0.26 and 0.1, found by small steps."""
    depths = 2.0 + np.linspace(-0.4, 0.4, 81)
    points = origins[..., None, :] + depths[:, None] * rays[..., None, :]
    ring = np.linalg.norm(points[..., :2], axis=-1) - 0.26
    return (ring**2 + points[..., 2] ** 2 < 0.1**2).any(axis=-1)


def make_views(cameras: list[Camera], shape=in_sphere, oversampling: int = 2) -> Views:
    """Masks of an analytic shape, as covered by several rays for each pixel."""
    masks = []
    for camera in cameras:
        size = camera.image_size[0]
        centres = (np.arange(size * oversampling) + 0.5) / oversampling
        pixels = np.stack(np.meshgrid(centres, centres), axis=-1)
        covered = shape(*camera.rays(pixels)).astype(np.float32)
        masks.append(covered.reshape(size, oversampling, size, oversampling).mean(axis=(1, 3)))
    stack = np.stack(masks)
    return Views(
        tuple(f"view {i}" for i in range(len(cameras))),
        np.full((*stack.shape, 3), 0.5, np.float32),
        stack,
        np.ones(stack.shape, bool),
        tuple(cameras),
        Similarity(),
    )


def box_targets(form: LossForm = "recommended", size: int = 8) -> SilhouetteTargets:
    """One mask: rows 2 to 4 and columns 3 to 6 of 8; lopsided, so that exchanged axes show."""
    mask = np.zeros((1, size, size))
    mask[0, 2:5, 3:7] = 1
    return silhouette_targets(mask, np.ones(mask.shape, bool), form, dtype=torch.float64)


def pull_at(targets: SilhouetteTargets, x: float, y: float) -> float:
    terms = LossTerms(alpha=1.0, beta=0.0, sigma=0.1)
    pixels = torch.tensor([[[x, y]]], dtype=torch.float64)
    return float(drwr_loss(targets, terms, pixels, torch.ones(1, 1, dtype=torch.bool)))


# Repulsion


@pytest.mark.parametrize(("energy", "tolerance"), [(exact_energy, 1e-12), (grid_energy, 0.03)])
def test_two_points_repel_as_the_gaussian_says(energy, tolerance):
    for distance in (0.05, 0.7, 1.0, 2.5):
        points = torch.tensor([[[3.1, -0.4], [3.1 + distance, -0.4]]], dtype=torch.float64)
        expected = 2 * math.exp(-(distance**2) / 2)
        assert float(energy(points, ones(1, 2))) == pytest.approx(expected, abs=tolerance)
        points.requires_grad_()
        energy(points, ones(1, 2)).sum().backward()
        assert points.grad is not None
        push = points.grad[0, 0].tolist()
        assert push == pytest.approx([distance * expected, 0], abs=tolerance)


@pytest.mark.parametrize("energy", [exact_energy, grid_energy])
def test_a_point_alone_neither_costs_nor_moves(energy):
    points = random(3, 1, 2).requires_grad_()
    value = energy(points, ones(3, 1))
    value.sum().backward()
    torch.testing.assert_close(value.detach(), torch.zeros_like(value), atol=1e-6, rtol=0)
    torch.testing.assert_close(points.grad, torch.zeros_like(points), atol=1e-6, rtol=0)


def test_exact_energy_is_the_triple_loop():
    points, weights = 3 * random(2, 6, 2), random(2, 6, seed=1)
    for view, energy in enumerate(exact_energy(points, weights).tolist()):
        total = 0.0
        for j in range(6):
            for k in range(6):
                if j != k:
                    squared = sum(
                        float(points[view, j, a] - points[view, k, a]) ** 2 for a in (0, 1)
                    )
                    total += float(weights[view, j] * weights[view, k]) * math.exp(-squared / 2)
        assert energy == pytest.approx(total, rel=1e-12)


def test_blocks_of_rows_change_nothing():
    points, weights = (5 * random(30, 2)).requires_grad_(), random(30, seed=1)
    whole = pair_sums(points, weights, lambda d2: torch.exp(-d2))
    blocks = pair_sums(points, weights, lambda d2: torch.exp(-d2), pairs_at_once=70)
    torch.testing.assert_close(blocks, whole, rtol=1e-12, atol=0)
    one, other = (torch.autograd.grad(sums.square().sum(), points)[0] for sums in (whole, blocks))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def even_disc(views: int, count: int, radius: float) -> torch.Tensor:
    """Points spread over a disc like sunflower seeds: forces nearly cancel, the harder case."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    angle = math.pi * (1 + 5**0.5) * index + torch.arange(views)[:, None]
    distance = radius * (index / count).sqrt()
    return torch.stack([distance * angle.cos(), distance * angle.sin()], dim=-1)


@pytest.mark.parametrize("cloud", [20 * random(3, 600, 2), even_disc(3, 600, 9.0)])
def test_grid_agrees_with_all_pairs(cloud):
    weights = 0.5 + random(3, 600, seed=2)
    gradients, values = [], []
    for energy in (exact_energy, grid_energy):
        points = cloud.clone().requires_grad_()
        value = energy(points, weights)
        value.sum().backward()
        values.append(value.detach())
        gradients.append(points.grad.flatten())
    torch.testing.assert_close(values[1], values[0], rtol=2e-4, atol=0)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.9995
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 0.03


def test_grid_gradient_is_the_derivative_of_its_value():
    points = (4 * random(2, 7, 2)).requires_grad_()
    weights = random(2, 7, seed=3)
    assert gradcheck(lambda p: grid_energy(p, weights), (points,))
    assert gradcheck(lambda p: grid_energy(p, weights).square(), (points,))


def test_grid_forgets_where_the_cloud_lies():
    cloud, weights = 6 * random(1, 50, 2), ones(1, 50)
    here = grid_energy(cloud, weights)
    moved = cloud + torch.tensor([2 * 17.0, -2 * 5.0])  # whole cells, there are 3 in 2 lengths
    torch.testing.assert_close(grid_energy(moved, weights), here, rtol=1e-9, atol=0)
    between = cloud + torch.tensor([0.213, 0.471])
    torch.testing.assert_close(grid_energy(between, weights), here, rtol=1e-3, atol=0)


def test_far_sides_of_the_grid_do_not_meet():
    points = torch.tensor([[[0.0, 0.0], [40.0, 0.0], [0.0, 25.0]]], dtype=torch.float64)
    assert abs(float(grid_energy(points, ones(1, 3)))) < 1e-6


def test_weights_count_as_copies():
    points = 3 * random(1, 2, 2)
    doubled = grid_energy(points, torch.tensor([[2.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(doubled, 6 * grid_energy(points, ones(1, 2)), rtol=0, atol=1e-6)


# The loss


def test_pull_is_the_distance_to_the_mask_in_image_widths():
    targets = box_targets()
    assert pull_at(targets, 4.5, 3.5) == 0
    assert pull_at(targets, 2.5, 3.5) == pytest.approx(1 / 8)
    assert pull_at(targets, 4.5, 6.5) == pytest.approx(2 / 8)
    assert pull_at(targets, 1.5, 0.5) == pytest.approx(math.hypot(2, 2) / 8)
    assert pull_at(targets, 4.5, -1.5) == pytest.approx(4 / 8)  # off the frame


def test_pull_has_no_end():
    targets = box_targets()
    at, beyond = pull_at(targets, 4.5, 500), pull_at(targets, 4.5, 508)
    assert beyond - at == pytest.approx(1.0)


def test_literal_pulls_as_published():
    paper, released = box_targets("paper"), box_targets("released")
    assert pull_at(paper, 4.5, 3.5) == pull_at(released, 4.5, 3.5) == 0
    # Just outside the paper's field is still 1, farthest away 0; the released one has a step.
    assert pull_at(paper, 2.5, 3.5) == 0
    assert pull_at(paper, 0.5, 7.5) == pytest.approx(1)
    slope = 128 / 8 / (64 * math.sqrt(2))
    assert pull_at(released, 2.5, 3.5) == pytest.approx(35 / 255 + slope)


@pytest.mark.parametrize("form", get_args(LossForm))
def test_loss_is_the_formula(form):
    targets, pixels = box_targets(form), 1 + 6 * random(1, 5, 2)
    terms = replace(default_terms(targets, 5), alpha=2.0, beta=0.5)
    visible = torch.ones(1, 5, dtype=torch.bool)
    value = float(drwr_loss(targets, terms, pixels, visible, exact=True))
    pull = np.mean([pull_at(targets, *pixel) for pixel in pixels[0].tolist()])
    assert value == pytest.approx(2 * pull + 0.5 * push_by_loops(targets, terms, pixels[0]))


def push_by_loops(targets: SilhouetteTargets, terms: LossTerms, pixels: torch.Tensor) -> float:
    """The mean push over points, as the module's head has it."""
    count, size, total = len(pixels), targets.size, 0.0
    norm = float(targets.area[0]) / (2 * math.pi * terms.sigma**2 * (count - 1))
    for j in range(count):
        for k in range(count):
            distance = math.dist(pixels[j].tolist(), pixels[k].tolist()) / size
            if targets.form == "recommended":
                total += norm * math.exp(-((distance / terms.sigma) ** 2) / 2) * (j != k)
                continue
            omega, delta = corner_mean(targets, pixels[j], 1), corner_mean(targets, pixels[j], 5)
            other = corner_mean(targets, pixels[k], 1)
            if targets.form == "paper":
                total += omega * other * math.exp(-distance / terms.sigma + delta)
            else:
                squared_pixels = (distance * size) ** 2 / (size / 32)
                total += omega * other * math.exp(-squared_pixels / 5 + 3.5 + delta) / count
    return total / count


def corner_mean(targets: SilhouetteTargets, pixel: torch.Tensor, scales: int) -> float:
    """Bilinear mask at a pixel position, averaged over ``scales`` widening squares."""
    x, y = float(pixel[0]) - 0.5, float(pixel[1]) - 0.5
    left, top, total = math.floor(x), math.floor(y), 0.0
    for scale in range(scales):
        for column, share_x in ((left - scale, 1 - x + left), (left + scale + 1, x - left)):
            for row, share_y in ((top - scale, 1 - y + top), (top + scale + 1, y - top)):
                place = min(max(row, 0), 7), min(max(column, 0), 7)
                total += share_x * share_y * float(targets.mask[0][place])
    return total / scales


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("form", get_args(LossForm))
def test_loss_has_the_right_gradient(form, exact):
    targets = box_targets(form)
    terms = default_terms(targets, 6)
    visible = torch.ones(1, 6, dtype=torch.bool)
    pixels = (8 * random(1, 6, 2, seed=4)).requires_grad_()
    assert gradcheck(lambda p: drwr_loss(targets, terms, p, visible, exact), (pixels,))


def test_even_coverage_has_density_one():
    count, size = 4000, 64
    centres = np.arange(size) + 0.5 - size / 2
    disc = np.hypot(*np.meshgrid(centres, centres)) < 24
    targets = silhouette_targets(disc[None], np.ones((1, size, size), bool), dtype=torch.float64)
    pixels = even_disc(1, count, 24.0) + size / 2
    terms = LossTerms(alpha=0.0, beta=1.0, sigma=0.7 / size)
    density = float(drwr_loss(targets, terms, pixels, torch.ones(1, count, dtype=torch.bool)))
    # Near the rim half of each Gaussian finds no points, and no point counts itself.
    rim = 2 * terms.sigma * size / math.sqrt(math.pi) / 24
    itself = math.pi * (24 / size) ** 2 / (2 * math.pi * terms.sigma**2 * count)
    assert density == pytest.approx(1 - rim - itself, abs=0.01)


def test_points_behind_the_camera_take_no_part():
    camera = perspective_cameras(1, 8)[0]
    cameras = Cameras.stack([camera], dtype=torch.float64)
    points = 0.2 * random(5, 3) - 0.1
    behind = torch.as_tensor(camera.centre - 0.5 * camera.forward)
    at_centre = torch.as_tensor(camera.centre)
    points = torch.cat([points, behind[None], at_centre[None]]).requires_grad_()
    targets, terms = box_targets(), LossTerms(20.0, 1.0, 0.2)
    pixels, visible = project_visible(cameras, points)
    assert visible[0].tolist() == [True] * 5 + [False] * 2
    loss = drwr_loss(targets, terms, pixels, visible)
    loss.backward()
    alone = drwr_loss(targets, terms, *project_visible(cameras, points[:5]))
    torch.testing.assert_close(loss, alone, rtol=1e-4, atol=0)
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
    assert (points.grad[:5].abs().sum(1) > 0).all()
    assert (points.grad[5:] == 0).all()


@pytest.mark.parametrize("form", get_args(LossForm))
def test_unknown_pixels_neither_pull_nor_push(form):
    mask, known = np.zeros((1, 8, 8)), np.ones((1, 8, 8), bool)
    mask[0, 2:5, 3:6] = 1
    known[0, :, 6:] = False
    targets = silhouette_targets(mask, known, form, dtype=torch.float64)
    terms = replace(default_terms(targets, 3), sigma=0.3)
    pixels = torch.tensor([[[4.2, 3.1], [4.9, 3.9], [6.8, 7.5]]], dtype=torch.float64)
    pixels.requires_grad_()
    both = torch.ones(1, 3, dtype=torch.bool)
    loss = drwr_loss(targets, terms, pixels, both)
    without = drwr_loss(targets, terms, pixels[:, :2], both[:, :2])
    torch.testing.assert_close(loss, without, rtol=1e-3, atol=0)
    loss.backward()
    assert pixels.grad is not None
    assert pixels.grad[0, 2].tolist() == [0, 0]
    # The object may go on there, so a stray point may as well go there as to the mask.
    one = LossTerms(alpha=1.0, beta=0.0, sigma=1.0)
    stray = torch.tensor([[[5.5, 7.5]]], dtype=torch.float64)
    cost = float(drwr_loss(targets, one, stray, torch.ones(1, 1, dtype=torch.bool)))
    assert cost <= (0.2 if form == "released" else 1 / 8) + 35 / 255


def test_an_empty_mask_is_named():
    masks = np.zeros((2, 8, 8))
    masks[0, 3, 3] = 1
    with pytest.raises(InputError, match="view 2 of 2 is empty"):
        silhouette_targets(masks, np.ones(masks.shape, bool))


# Which form holds the points


def fitted(form: LossForm, shape, count: int, steps: int, rate: float) -> tuple[float, float]:
    """Mean shares of points more than a pixel outside, and of mask pixels with a point."""
    views = make_views(orthographic_cameras(4, 32), shape)
    cameras = Cameras.stack(views.cameras)
    targets = silhouette_targets(views.masks, views.known, form)
    points = (0.1 * (random(count, 3) - 0.5)).float().requires_grad_()
    terms, optimizer = default_terms(targets, count), torch.optim.Adam([points], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        drwr_loss(targets, terms, *project_visible(cameras, points)).backward()
        optimizer.step()
    return coverage(project_visible(cameras, points.detach())[0].numpy(), views.masks >= 0.5)


def coverage(pixels: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    size, outside, covered = masks.shape[-1], [], []
    for places, mask in zip(pixels, masks, strict=True):
        inside = np.argwhere(mask)[:, ::-1] + 0.5
        nearest = np.linalg.norm(places[:, None] - inside, axis=-1).min(axis=1)
        # One pixel from the edge of a mask pixel, not from its centre.
        outside.append((nearest > 1 + math.sqrt(0.5)).mean())
        hit = np.zeros_like(mask)
        cell = np.floor(places).astype(int)
        cell = cell[((cell >= 0) & (cell < size)).all(axis=1)]
        hit[cell[:, 1], cell[:, 0]] = True
        covered.append((hit & mask).sum() / mask.sum())
    return float(np.mean(outside)), float(np.mean(covered))


@pytest.mark.parametrize("shape", [in_sphere, in_torus])
def test_recommended_loss_fills_the_silhouettes(shape):
    outside, covered = fitted("recommended", shape, count=1000, steps=250, rate=3e-3)
    assert outside <= 0.01
    assert covered >= 0.85


@pytest.mark.parametrize("form", ["paper", "released"])
def test_literal_losses_expel_the_points(form):
    outside, covered = fitted(form, in_sphere, count=300, steps=150, rate=0.02)
    assert outside > 0.5
    assert covered < 0.5


# From points to a surface


def test_splat_shares_a_point_among_eight_cells():
    grid = splat(torch.tensor([[-0.5 + 1.75 / 4, 0.125, 0.375]], dtype=torch.float64), 4)
    assert grid.shape == (4, 4, 4)
    assert grid[1, 2, 3].item() == pytest.approx(0.75)
    assert grid[2, 2, 3].item() == pytest.approx(0.25)
    assert grid.sum().item() == pytest.approx(1.0)
    points = (0.8 * random(5, 3) - 0.4).requires_grad_()
    assert gradcheck(lambda p: splat(p, 6), (points,))


def test_density_keeps_count_and_centre():
    points = 0.3 * random(50, 3) - torch.tensor([0.2, 0.1, 0.0])
    density = points_to_density(points, 48, 1.5)
    assert density.sum() == pytest.approx(50, rel=1e-4)
    axis = (np.arange(48) + 0.5) / 48 - 0.5
    centre = [np.tensordot(density, axis, ([dim], [0])).sum() / 50 for dim in range(3)]
    assert centre == pytest.approx(points.mean(0).tolist(), abs=1e-4)


def silent(fraction: float, message: str, preview: MakePreview | None = None) -> None:
    pass


def draft(**values: object) -> DrwrReconstructor:
    method = load(None, SPEC.make_params("draft", values), "cpu", seed=3)
    assert isinstance(method, DrwrReconstructor)
    return method


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    return draft().reconstruct(make_views(perspective_cameras(8, 96)), silent)


def test_reconstructed_sphere_is_closed_and_round(sphere):
    assert sphere.is_closed_manifold()
    assert sphere.signed_volume() == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.06)
    radii = np.linalg.norm(sphere.vertices, axis=1)
    # Eight views' hull stands out at its corners.
    assert radii.min() > 0.9 * RADIUS
    assert radii.max() < 1.15 * RADIUS
    assert np.linalg.norm(sphere.vertices.mean(axis=0)) < 0.02


def test_reconstructed_sphere_meets_its_silhouettes(sphere):
    for camera in perspective_cameras(8, 96):
        pixels, _ = camera.project(sphere.vertices.astype(np.float64))
        reach = np.linalg.norm(pixels - 48, axis=1).max()
        tangent = RADIUS / math.sqrt(4 - RADIUS**2)  # of the cone around a sphere 2 away
        assert reach == pytest.approx(1.875 * 96 * tangent, abs=1.0)


def test_reconstructed_torus_keeps_its_hole():
    mesh = draft().reconstruct(make_views(orthographic_cameras(8, 64), in_torus), silent)
    assert mesh.is_closed_manifold()
    axis_distance = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    assert axis_distance.min() > 0.1
    edges = len(mesh.faces) * 3 // 2
    assert len(mesh.vertices) - edges + len(mesh.faces) == 0


def test_same_seed_gives_the_same_bytes(sphere):
    again = draft().reconstruct(make_views(perspective_cameras(8, 96)), silent)
    assert again.vertices.tobytes() == sphere.vertices.tobytes()
    assert again.faces.tobytes() == sphere.faces.tobytes()


def test_cancel_ends_the_fit_between_steps():
    fractions: list[float] = []

    def cancel(fraction: float, message: str, preview: MakePreview | None = None) -> None:
        fractions.append(fraction)
        if message == "fitting points" and len(fractions) > 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        draft(points=200).reconstruct(make_views(perspective_cameras(2, 32)), cancel)
    assert len(fractions) == 4
    assert fractions == sorted(fractions)
    assert fractions[-1] < 0.5


def test_silhouettes_without_a_common_point_are_refused():
    views = make_views(orthographic_cameras(1, 32) * 2)
    apart = views.masks.copy()
    apart[0, :, 15:] = 0
    apart[1, :, :17] = 0
    with pytest.raises(ReconstructionError, match="no point lies inside all silhouettes"):
        draft().reconstruct(replace(views, masks=apart), silent)


def test_params_offer_every_form():
    words = {f.name: f.metadata["choices"] for f in SPEC.params.__dataclass_fields__.values()}
    assert words["loss"] == get_args(LossForm)


# The benchmark


def test_benchmark_measures_the_same_loss_twice(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    benchmark = importlib.import_module("drwr_loss")
    problem = benchmark.make_problem(700)
    loss, gradient = benchmark.pairwise(problem)
    pixels, visible = project_visible(problem.cameras, problem.points.requires_grad_())
    exact = drwr_loss(problem.targets, problem.terms, pixels, visible, exact=True)
    exact.backward()
    assert loss == pytest.approx(exact.item(), rel=1e-5)
    torch.testing.assert_close(gradient, problem.points.grad, rtol=1e-3, atol=1e-7)
    row = benchmark.measure(700)
    assert row["gradient_cosine"] > 0.999
    assert row["loss_relative_error"] < 1e-3
