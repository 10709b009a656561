"""The batched cameras against those of ``backend.views``, one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.geometry.cameras import Cameras
from tests.shapes import camera, cameras_around

MIXED = [*cameras_around(3, 48), *cameras_around(2, 48, orthographic=True)]
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))


def test_project_agrees_with_each_camera():
    batch = Cameras.stack(MIXED, dtype=torch.float64)
    assert len(batch) == len(MIXED)
    pixels, depth = batch.project(torch.as_tensor(POINTS))
    for index, one in enumerate(MIXED):
        expected, expected_depth = one.project(POINTS)
        np.testing.assert_allclose(pixels[index].numpy(), expected, atol=1e-10)
        np.testing.assert_allclose(depth[index].numpy(), expected_depth, atol=1e-12)


def test_points_of_their_own_for_every_view():
    batch = Cameras.stack(MIXED, dtype=torch.float64)
    own = torch.as_tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (len(MIXED), 7, 3)))
    pixels, depth = batch.project(own)
    for index in range(len(MIXED)):
        each, each_depth = batch.project(own[index])
        torch.testing.assert_close(pixels[index], each[index])
        torch.testing.assert_close(depth[index], each_depth[index])


def test_rays_agree_with_each_camera():
    batch = Cameras.stack(MIXED, dtype=torch.float64)
    random = np.random.default_rng(2)
    view = random.integers(len(MIXED), size=30)
    pixels = random.uniform(0, 48, (30, 2))
    origins, directions = batch.rays(torch.as_tensor(view), torch.as_tensor(pixels))
    for ray in range(30):
        origin, direction = MIXED[view[ray]].rays(pixels[ray])
        np.testing.assert_allclose(origins[ray].numpy(), origin, atol=1e-12)
        np.testing.assert_allclose(directions[ray].numpy(), direction, atol=1e-12)


def test_pixels_follow_the_points_with_the_right_slope():
    batch = Cameras.stack(MIXED, dtype=torch.float64)
    points = torch.as_tensor(POINTS[:3]).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: batch.project(p)[0], points)


def test_one_image_size_for_all():
    with pytest.raises(ValueError, match="one image size"):
        Cameras.stack([camera((0, -2, 0), 48), camera((2, 0, 0), 32)])
