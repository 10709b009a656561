"""Where a photograph's object is put: it must be seen at the photograph's own pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.geometry.mesh import Mesh
from backend.methods.interface import Report
from backend.placement import photographed
from backend.views import Camera, View, Views
from tests.shapes import ball, camera, view

BALL, SIZE = (0.3, (0.1, 0.05, -0.1)), 64


class Knows:
    """A method that knows the camera: that of the photograph, cut out as the photograph was."""

    def __init__(self, true: Camera) -> None:
        self.true = true

    def camera(self, views: Views) -> Camera:
        to_cut_out = views.cameras[0].intrinsics
        return replace(
            self.true, intrinsics=to_cut_out @ self.true.intrinsics, image_size=(SIZE, SIZE)
        )

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        raise NotImplementedError


def photograph(picture: Camera | None = None) -> tuple[View, Camera]:
    """A ball in the unit cube as a perspective camera from above sees it, and that camera."""
    true = camera((0.8, -2.0, 1.1), 128)
    taken = view("photo", true, ball(*BALL))
    return (taken if picture is None else replace(taken, camera=picture)), true


def pixels_of_the_cube(one: Camera, scale: float, offset: np.ndarray) -> np.ndarray:
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    return one.project(scale * corners + offset)[0]


def test_without_a_place_in_the_world_the_cube_is_the_worlds() -> None:
    taken, true = photograph()
    seen, to_world = photographed(taken, False, Knows(true), SIZE)
    assert (to_world.scale, tuple(to_world.offset)) == (1.0, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(seen.camera.world_to_camera, true.world_to_camera, atol=1e-9)
    np.testing.assert_allclose(seen.camera.intrinsics, true.intrinsics, atol=1e-9)


@pytest.mark.parametrize("orthographic", [True, False])
def test_it_stands_in_the_picture_as_large_as_there(orthographic: bool) -> None:
    """The picture's own camera sees the cube's middle, and a ball around it, at the same pixels."""
    picture = camera((4.0, -7.0, 2.0), 128, orthographic, target=(4.0, 0.0, 2.0), span=3.0)
    taken, true = photograph(picture)
    _, to_world = photographed(taken, True, Knows(true), SIZE)
    np.testing.assert_allclose(
        picture.project(to_world.offset)[0], true.project(np.zeros(3))[0], atol=1e-6
    )
    # Of the points on that line of sight it is the one nearest to the world's origin.
    along = picture.rays(true.project(np.zeros(3))[0])[1]
    assert abs(to_world.offset @ along) < 1e-9
    # One cube's edge across the line of sight is as many pixels as in the photograph.
    _, depth_there = true.project(np.zeros(3))
    _, depth_here = picture.project(to_world.offset)
    here = picture.intrinsics[0, 0] / (1.0 if orthographic else depth_here) * to_world.scale
    assert here == pytest.approx(true.intrinsics[0, 0] / depth_there)


def test_the_view_sees_the_placed_object_as_the_photograph_does() -> None:
    """Whatever its place, the new camera projects the placed cube to the photograph's pixels."""
    picture = camera((4.0, -7.0, 2.0), 128, True, target=(4.0, 0.0, 2.0), span=3.0)
    taken, true = photograph(picture)
    seen, to_world = photographed(taken, True, Knows(true), SIZE)
    np.testing.assert_allclose(
        pixels_of_the_cube(seen.camera, to_world.scale, to_world.offset),
        pixels_of_the_cube(true, 1.0, np.zeros(3)),
        atol=1e-6,
    )
