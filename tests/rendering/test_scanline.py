"""The rasteriser against the torch one, which is itself tested against single rays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.geometry.cameras import Cameras
from backend.rendering import mesh_rasterizer, scanline
from backend.rendering.scanline import rasterize
from backend.views import Camera
from tests.dataset_parts import sphere
from tests.shapes import camera, cameras_around


def compare_with_torch(vertices: np.ndarray, faces: np.ndarray, one: Camera) -> float:
    """Check every pixel; returns the share of those that see a face."""
    cameras = Cameras.stack([one], dtype=torch.float64)
    twin = mesh_rasterizer.rasterize_with_torch(
        torch.tensor(vertices), torch.tensor(faces), cameras, 0
    )
    seen = rasterize(vertices, faces, one)
    height, width = one.image_size
    face = np.full(height * width, -1)
    depth = np.full(height * width, np.inf)
    weights = np.zeros((height * width, 3))
    face[seen.sample], depth[seen.sample] = seen.face, seen.depth
    weights[seen.sample] = seen.barycentric(np.arange(len(seen.sample))).T
    np.testing.assert_array_equal(face.reshape(height, width), twin.face.numpy())
    np.testing.assert_allclose(depth.reshape(height, width), twin.depth.numpy(), rtol=1e-9)
    np.testing.assert_allclose(weights, twin.barycentric.numpy().reshape(-1, 3), atol=1e-6)
    return float((face >= 0).mean())


@pytest.mark.parametrize("orthographic", [False, True])
def test_agrees_with_torch_on_triangles_that_pierce_each_other(orthographic: bool) -> None:
    rng = np.random.default_rng(0)
    for size in (17, 64):
        vertices = rng.uniform(-0.8, 0.8, (90, 3))
        faces = rng.permutation(90).reshape(30, 3)
        one = camera([1.0, -2.5, 1.5], size, orthographic)
        assert compare_with_torch(vertices, faces, one) > 0.3


@pytest.mark.parametrize("orthographic", [False, True])
def test_agrees_with_torch_on_a_fine_mesh(orthographic: bool) -> None:
    """Faces are about as large as a pixel, and many smaller."""
    mesh = sphere(0.45, 4)
    for one in cameras_around(3, 48, orthographic):
        assert compare_with_torch(mesh.vertices.astype(float), mesh.faces, one) > 0.3


def test_agrees_with_torch_where_edges_pass_through_pixel_centres() -> None:
    """A lopsided grid of corners at half-integers: level edges, rows through corners, ties."""
    rng = np.random.default_rng(1)
    corners = np.concatenate([rng.integers(0, 12, (60, 2)) + 0.5, np.ones((60, 1))], axis=1)
    faces = rng.permutation(60).reshape(20, 3)
    flat = Camera(np.eye(3), np.eye(4), (12, 12), orthographic=True)
    assert compare_with_torch(corners, faces, flat) > 0.5


def test_of_coplanar_faces_the_first_is_seen() -> None:
    square = np.array([[1.0, 1, 2], [7, 1, 2], [7, 7, 2], [1, 7, 2]])
    flat = Camera(np.eye(3), np.eye(4), (8, 8), orthographic=True)
    for faces in ([[0, 1, 2], [0, 2, 1]], [[2, 1, 0], [0, 1, 2], [1, 2, 0]]):
        seen = rasterize(square, np.array(faces), flat)
        assert (seen.face == 0).all()


def test_no_cracks_between_faces() -> None:
    """Every line of a ball's picture is covered without a gap."""
    mesh = sphere(0.45, 5)
    for one in cameras_around(4, 200):
        covered = np.zeros(200 * 200, bool)
        covered[rasterize(mesh.vertices.astype(float), mesh.faces, one).sample] = True
        covered = covered.reshape(200, 200)
        for lines in (covered, covered.T):
            turns = np.abs(np.diff(lines.astype(int), axis=1, prepend=0, append=0)).sum(axis=1)
            assert set(turns.tolist()) == {0, 2}


def test_faces_behind_the_camera_and_beside_the_picture_are_dropped() -> None:
    one = camera([0.0, -2.0, 0.0], 16)
    behind = np.array([[0.0, -3, 0], [1, -3, 0], [0, -3, 1]])
    through = np.array([[0.0, -2, 0], [1, 3, 0], [0, 3, 1]])
    beside = np.array([[50.0, 0, 0], [51, 0, 0], [50, 0, 1]])
    seen = rasterize(np.concatenate([behind, through, beside]), np.arange(9).reshape(3, 3), one)
    assert len(seen.sample) == 0
    before = np.array([[-1.0, 0, -1], [1, 0, -1], [0, 0, 1]])
    assert len(rasterize(before, np.array([[0, 1, 2]]), one).sample) > 50


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    vertices, faces = rng.uniform(-0.8, 0.8, (90, 3)), np.arange(90).reshape(30, 3)
    faces = np.concatenate([faces, faces])  # ties across portions too
    one = camera([1.0, -2.5, 1.5], 40)
    whole = rasterize(vertices, faces, one)
    monkeypatch.setattr(scanline, "_PORTION", 100)
    screen = scanline._on_screen(*one.project(vertices), faces, one.image_size, one.orthographic)
    assert len(list(scanline._portions(screen))) > 10
    parts = rasterize(vertices, faces, one)
    np.testing.assert_array_equal(whole.sample, parts.sample)
    np.testing.assert_array_equal(whole.face, parts.face)
    np.testing.assert_array_equal(whole.depth, parts.depth)
    assert whole.face.max() < 30
