"""Overlays of shapes whose silhouette has a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from backend.geometry.mesh import Mesh
from backend.overlays import BOTH, LONGEST_SIDE, ONLY_MASK, ONLY_MESH, overlay
from backend.views import View
from tests.shapes import ball, camera, coverage, view


def ball_mesh(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    sphere = trimesh.creation.icosphere(4, radius)
    vertices = (sphere.vertices + np.array(centre)).astype(np.float32)
    return Mesh(vertices, np.asarray(sphere.faces, np.int32))


def shares(pixels: np.ndarray) -> list[float]:
    """Share of the picture in each colour: both, only mask, only mesh, neither."""
    colors = (BOTH, ONLY_MASK, ONLY_MESH, (0, 0, 0, 0))
    found = [float((pixels == color).all(axis=-1).mean()) for color in colors]
    assert sum(found) == pytest.approx(1)  # no other colours
    return found


def test_a_mesh_beside_its_mask() -> None:
    """Circles of radius 0.3 at x = 0 and x = 0.2 in a picture 1.2 wide; the lens has a formula."""
    one = view("front", camera((0, -2, 0), 240, True), ball(0.3))
    pixels = overlay(ball_mesh(0.3, (0.2, 0, 0)), one)
    radius, distance = 0.3, 0.2
    angle = 2 * np.arccos(distance / (2 * radius))
    lens, circle = radius**2 * (angle - np.sin(angle)), np.pi * radius**2
    expected = np.array([lens, circle - lens, circle - lens]) / 1.2**2
    np.testing.assert_allclose(shares(pixels)[:3], expected, rtol=0.02)
    middle = pixels[120]
    columns = [int(np.flatnonzero((middle == c).all(axis=-1)).mean()) for c in (ONLY_MASK, BOTH)]
    assert columns[0] < columns[1] < np.flatnonzero((middle == ONLY_MESH).all(axis=-1)).mean()


def test_agreement_is_all_there_is() -> None:
    for one in (camera((1.5, -2, 0.7), 160), camera((0, 0, 2), 160, True)):
        both, mask, mesh, _ = shares(overlay(ball_mesh(0.4), view("", one, ball(0.4))))
        assert both > 0.2
        assert mask + mesh < 0.01


def test_a_picture_that_is_not_square_keeps_its_size() -> None:
    square = camera((0, -2, 0), 120, True)
    wide = square.resampled(0, 30, 1.0, (60, 120))
    one = View("", np.zeros((60, 120, 3), np.float32), coverage(wide, ball(0.4)), wide)
    pixels = overlay(ball_mesh(0.4), one)
    assert pixels.shape == (60, 120, 4)
    assert sum(shares(pixels)[1:3]) < 0.02


def test_a_large_picture_is_made_smaller() -> None:
    large = camera((0, -2, 0), 2 * LONGEST_SIDE, True)
    one = view("", large, ball(0.4), samples=1)
    narrow = replace(
        one,
        mask=one.mask[:, 512:1536],
        camera=large.resampled(512, 0, 1.0, (2 * LONGEST_SIDE, LONGEST_SIDE)),
    )
    pixels = overlay(ball_mesh(0.4), narrow)
    assert pixels.shape == (LONGEST_SIDE, LONGEST_SIDE // 2, 4)
    assert sum(shares(pixels)[1:3]) < 0.01
