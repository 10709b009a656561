from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import Cancelled, ReconstructionError
from backend.geometry.isosurface import extract
from backend.geometry.visual_hull import grid_points
from backend.methods.dvr import network_fit
from backend.methods.dvr.model import OccupancyColorNetwork
from backend.methods.dvr.network_fit import NetworkSettings, extract_mesh, fit_network
from backend.views import Camera, Similarity, Views

SIZE = 32
CENTRE = np.array([0.08, -0.06, 0.05])
RADIUS = 0.36
SIDES = [(1, 0, 0.3), (-1, 0, 0.3), (0, 1, 0.3), (0, -1, 0.3), (1, 1, -0.9), (-1, -1, 0.9)]
SHORT = NetworkSettings(hidden=32, steps=180, rays=256, learning_rate=4e-3)


def silent(fraction, message, preview=None):
    pass


def camera_from(side: tuple[float, ...], orthographic: bool) -> Camera:
    """Looks at the origin from the direction ``side``, upright."""
    forward = -np.array(side) / np.linalg.norm(side)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = [right, np.cross(forward, right), forward]
    world_to_camera[2, 3] = 2.0
    focal = SIZE * (0.9 if orthographic else 1.7)
    intrinsics = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
    return Camera(intrinsics, world_to_camera, (SIZE, SIZE), orthographic)


def sphere_colors(points: np.ndarray) -> np.ndarray:
    return 0.5 + 0.4 * (points - CENTRE) / RADIUS


def sphere_views() -> Views:
    """Pictures of a sphere whose colour is its normal, on white, by the quadratic formula."""
    cameras = tuple(camera_from(side, index == 0) for index, side in enumerate(SIDES))
    centres = np.arange(SIZE) + 0.5
    pixels = np.stack(np.meshgrid(centres, centres), axis=-1)
    images, masks = [], []
    for camera in cameras:
        origins, directions = camera.rays(pixels)
        offset = origins - CENTRE
        a, b = (directions**2).sum(-1), (directions * offset).sum(-1)
        discriminant = b**2 - a * ((offset**2).sum(-1) - RADIUS**2)
        hit = discriminant > 0
        depth = (-b - np.sqrt(np.where(hit, discriminant, 0))) / a
        colors = sphere_colors(origins + depth[..., None] * directions)
        images.append(np.where(hit[..., None], colors, 1.0))
        masks.append(hit)
    return Views(
        tuple(map(str, SIDES)),
        np.stack(images).astype(np.float32),
        np.stack(masks).astype(np.float32),
        np.ones((len(SIDES), SIZE, SIZE), bool),
        cameras,
        Similarity(),
    )


def iou_with_the_sphere(network: OccupancyColorNetwork) -> float:
    points = grid_points(40).reshape(-1, 3)
    expected = (points - torch.tensor(CENTRE)).norm(dim=-1) < RADIUS
    with torch.no_grad():
        found = network.occupancy_logit(points.to(network.fc_in.weight)) > 0
    return int((found & expected).sum()) / int((found | expected).sum())


def sphere_network(radius: float, hidden: int = 64) -> OccupancyColorNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OccupancyColorNetwork(hidden)
    network.initialise_sphere(radius)
    return network


def test_a_coloured_sphere_is_found_from_its_pictures():
    assert iou_with_the_sphere(sphere_network(SHORT.sphere_radius)) < 0.55
    network = fit_network(sphere_views(), SHORT, "cpu", 0, silent)
    assert iou_with_the_sphere(network) > 0.93
    mesh = extract_mesh(network, 40)
    assert mesh.is_closed_manifold()
    radii = np.linalg.norm(mesh.vertices - CENTRE, axis=1)
    assert np.abs(radii - RADIUS).mean() < 0.01
    assert mesh.vertex_colors is not None
    assert np.abs(mesh.vertex_colors - sphere_colors(mesh.vertices)).mean() < 0.06


def test_same_seed_same_weights_and_the_global_seed_does_not_matter():
    settings = replace(SHORT, steps=4, rays=64, dtype=torch.float64, mask_share=0.5)
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))
        network = fit_network(sphere_views(), settings, "cpu", seed, silent)
        weights.append(network.fc_out.weight.detach())
    assert weights[0].dtype == torch.float64
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_pixels_that_are_not_known_change_nothing():
    views = sphere_views()
    known = views.known.copy()
    known[:, :, SIZE // 2 :] = False
    spoilt = replace(
        views,
        known=known,
        images=np.where(known[..., None], views.images, 0.1).astype(np.float32),
        # The hull takes unknown pixels as inside whatever the mask says there.
        masks=np.where(known, views.masks, 1 - views.masks),
    )
    settings = replace(SHORT, steps=6, rays=128, mask_share=0.3)
    plain = fit_network(replace(views, known=known), settings, "cpu", 0, silent)
    other = fit_network(spoilt, settings, "cpu", 0, silent)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_progress_previews_and_cancelling():
    seen = []

    def cancelling(fraction, message, preview=None):
        seen.append((fraction, message, preview and preview()))
        if len(seen) == 15:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_network(sphere_views(), replace(SHORT, steps=100, rays=16), "cpu", 0, cancelling)
    assert [fraction for fraction, _, _ in seen] == pytest.approx([i / 100 for i in range(15)])
    previews = [preview for _, _, preview in seen if preview is not None]
    assert len(previews) == 1
    assert previews[0].is_closed_manifold()


def test_samples_double_with_the_steps():
    settings = NetworkSettings(steps=8)
    assert [settings.samples_at(step) for step in range(8)] == [16, 16, 32, 32, 64, 64, 64, 64]


@pytest.mark.parametrize(("resolution", "cells"), [(6, 6), (16, 16), (31, 32), (33, 36), (48, 48)])
def test_refined_extraction_is_that_of_the_whole_grid(monkeypatch, resolution, cells):
    monkeypatch.setattr(network_fit, "COARSEST", 8)
    network = bumpy_network()
    evaluated = []
    network.register_forward_hook(lambda _, inputs, __: evaluated.append(len(inputs[0])))
    mesh = extract_mesh(network, resolution)
    in_cells = sum(evaluated) - len(mesh.vertices)
    with torch.no_grad():
        whole = extract(network.occupancy_logit(grid_points(cells)).numpy())
    np.testing.assert_allclose(mesh.vertices, whole.vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, whole.faces)
    assert in_cells == cells**3 if resolution < 16 else in_cells < 0.7 * cells**3


def bumpy_network() -> OccupancyColorNetwork:
    network = sphere_network(0.3, hidden=16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in network.blocks:
            weight = block.get_submodule("fc_1").get_parameter("weight")
            weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))
    return network


def test_a_surface_beyond_the_cube_is_closed_at_its_sides():
    mesh = extract_mesh(sphere_network(0.6), 32)
    assert mesh.is_closed_manifold()
    assert np.abs(mesh.vertices).max() <= 0.5 + 1 / 32


def test_an_empty_network_has_no_mesh():
    with pytest.raises(ReconstructionError, match="empty"):
        extract_mesh(sphere_network(-1.0), 32)
