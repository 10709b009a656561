"""Cameras as plain formulas: what they see, and how they change with crop, cube and mirror."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.errors import InputError
from backend.views import Camera, Similarity, opengl_to_opencv
from tests.shapes import ball, camera, in_unit_cube, views_of

BOTH = pytest.mark.parametrize("orthographic", [False, True], ids=["perspective", "orthographic"])
POINTS = np.array([[0.1, 0.25, -0.3], [-0.4, 0.15, 0.2], [0.35, -0.45, 0.05], [0, 0, 0]])


def lopsided(orthographic: bool) -> Camera:
    """No symmetry anywhere: two focal lengths, a skew, and a principal point off the middle."""
    one = camera((1.2, -2.1, 0.8), 64, orthographic)
    intrinsics = one.intrinsics + np.array([[3.0, 1.5, 7.0], [0, -4.0, -5.0], [0, 0, 0]])
    return replace(one, intrinsics=intrinsics, image_size=(60, 84))


def test_perspective_by_hand():
    one = Camera(np.array([[100.0, 0, 32], [0, 50, 24], [0, 0, 1]]), np.eye(4), (48, 64))
    pixel, depth = one.project(np.array([0.5, -1.0, 2.0]))
    np.testing.assert_allclose(pixel, [100 * 0.25 + 32, -50 * 0.5 + 24])
    assert depth == 2.0


def test_orthographic_by_hand():
    intrinsics = np.array([[100.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    one = Camera(intrinsics, np.eye(4), (48, 64), orthographic=True)
    pixel, depth = one.project(np.array([0.5, -1.0, 2.0]))
    np.testing.assert_allclose(pixel, [100 * 0.5 + 32, -50 * 1.0 + 24])
    assert depth == 2.0


@BOTH
def test_rays_lead_back_to_the_points(orthographic: bool):
    one = lopsided(orthographic)
    pixels, depth = one.project(POINTS)
    origins, directions = one.rays(pixels)
    np.testing.assert_allclose(origins + depth[:, None] * directions, POINTS, atol=1e-12)
    np.testing.assert_allclose(directions @ one.forward, 1.0)


def test_perspective_rays_start_at_the_centre_and_parallel_rays_do_not_fan_out():
    pixels = np.array([[[3.0, 4.0], [50.0, 20.0]]])
    origins, _ = lopsided(False).rays(pixels)
    np.testing.assert_allclose(origins, np.broadcast_to([1.2, -2.1, 0.8], (1, 2, 3)), atol=1e-12)
    _, directions = lopsided(True).rays(pixels)
    np.testing.assert_allclose(directions[0, 0], directions[0, 1])


@BOTH
def test_the_target_is_in_the_middle_and_up_is_up(orthographic: bool):
    one = camera((0, -3, 0), 64, orthographic)
    pixels, _ = one.project(np.array([[0, 0, 0], [0, 0, 0.3], [0.3, 0, 0]]))
    np.testing.assert_allclose(pixels[0], [32, 32])
    np.testing.assert_allclose(pixels[1], [32, 32 - 0.3 / 1.2 * 64])
    np.testing.assert_allclose(pixels[2], [32 + 0.3 / 1.2 * 64, 32])


@BOTH
def test_crop_and_zoom_move_the_pixels_only(orthographic: bool):
    one = lopsided(orthographic)
    crop = one.resampled(10.0, -4.0, 2.5, (30, 40))
    np.testing.assert_allclose(
        crop.project(POINTS)[0], (one.project(POINTS)[0] - [10, -4]) * 2.5, atol=1e-9
    )
    np.testing.assert_allclose(crop.project(POINTS)[1], one.project(POINTS)[1])
    assert crop.image_size == (30, 40)


@BOTH
def test_a_point_of_the_cube_is_seen_where_its_place_in_the_world_is(orthographic: bool):
    one = lopsided(orthographic)
    to_world = Similarity(0.35, np.array([0.2, -0.1, 0.4]))
    pixels, depth = one.in_unit_cube(to_world).project(POINTS)
    in_world, world_depth = one.project(to_world.scale * POINTS + to_world.offset)
    np.testing.assert_allclose(pixels, in_world, atol=1e-9)
    np.testing.assert_allclose(depth * to_world.scale, world_depth)


@BOTH
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_mirrored_camera_sees_the_mirrored_point_at_the_flipped_pixel(
    orthographic: bool, axis: int
):
    one = lopsided(orthographic)
    twin = one.mirrored(axis, 0.15)
    mirrored = POINTS.copy()
    mirrored[:, axis] = 0.3 - mirrored[:, axis]
    pixels, depth = one.project(POINTS)
    twin_pixels, twin_depth = twin.project(mirrored)
    np.testing.assert_allclose(twin_pixels, [[84, 0]] + pixels * [[-1, 1]], atol=1e-9)
    np.testing.assert_allclose(twin_depth, depth)
    assert np.linalg.det(twin.world_to_camera[:3, :3]) > 0
    again = twin.mirrored(axis, 0.15)
    np.testing.assert_allclose(again.intrinsics, one.intrinsics)
    np.testing.assert_allclose(again.world_to_camera, one.world_to_camera, atol=1e-12)


def test_blender_axes_and_back():
    camera_to_world = np.linalg.inv(lopsided(False).world_to_camera)
    blender = opengl_to_opencv(camera_to_world)
    np.testing.assert_array_equal(blender[:3, 1:3], -camera_to_world[:3, 1:3])
    np.testing.assert_array_equal(blender[:3, [0, 3]], camera_to_world[:3, [0, 3]])
    np.testing.assert_array_equal(opengl_to_opencv(blender), camera_to_world)


def changed(matrix: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    matrix = matrix.copy()
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"intrinsics": changed(np.eye(3), 0, 2, np.nan)}, "not finite"),
        ({"world_to_camera": changed(np.eye(4), 1, 3, np.inf)}, "not finite"),
        ({"intrinsics": changed(np.eye(3), 0, 0, 0.0)}, "focal length is zero"),
        ({"world_to_camera": changed(np.eye(4), 2, 2, 0.0)}, "singular"),
        ({"world_to_camera": changed(np.eye(4), 0, 0, -1.0)}, "left-handed"),
        ({"world_to_camera": np.diag([2.0, 2, 2, 1])}, "not orthonormal"),
        ({"world_to_camera": changed(np.eye(4), 0, 1, 0.1)}, "not orthonormal"),
        ({"image_size": (0, 64)}, "empty"),
    ],
)
def test_impossible_cameras_are_refused(wrong: dict, words: str):
    good = {"intrinsics": np.eye(3), "world_to_camera": np.eye(4), "image_size": (48, 64)}
    Camera(**good)
    with pytest.raises(InputError, match=words):
        Camera(**(good | wrong))


def test_as_many_views_as_names():
    views = in_unit_cube(views_of(ball(0.3), [camera((0, -2, 0), 8), camera((2, 0, 0), 8)]))
    assert len(views) == 2
