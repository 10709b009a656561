"""Hulls of shapes whose silhouettes have a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.geometry.cameras import Cameras
from backend.geometry.isosurface import extract
from backend.geometry.visual_hull import (
    grid_points,
    mask_distance,
    signed_hull,
    silhouette_distances,
    unit_cube,
)
from backend.named_views import named_cameras
from backend.views import Similarity, View
from tests.shapes import ball, box, camera, cameras_around, in_unit_cube, view, views_of

RADIUS = 0.4


def disc(size: int, radius: float, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Coverage from 8 x 8 samples and the exact signed distance, of a disc around (x, y)."""
    fine = (np.arange(8 * size) + 0.5) / 8
    x, y = np.meshgrid(fine, fine)
    covered = np.hypot(x - centre[0], y - centre[1]) < radius
    middle = np.arange(size) + 0.5
    x, y = np.meshgrid(middle, middle)
    coverage = covered.reshape(size, 8, size, 8).mean(axis=(1, 3)).astype(np.float32)
    return coverage, radius - np.hypot(x - centre[0], y - centre[1])


def hull_of(views: list[View], resolution: int = 48) -> np.ndarray:
    unit = in_unit_cube(views)
    distances, cameras = silhouette_distances(unit), Cameras.stack(unit.cameras)
    return signed_hull(distances, cameras, grid_points(resolution)).numpy()


# The distance to a mask


@pytest.mark.parametrize("centre", [(32.0, 32.0), (30.3, 33.8)])
def test_distance_to_a_disc_is_right_to_a_part_of_a_pixel(centre: tuple[float, float]):
    coverage, exact = disc(64, 20.0, centre)
    error = mask_distance(coverage) - exact
    near = np.abs(exact) < 15  # the middle's distance has a kink
    assert np.abs(error[near]).max() < 0.5
    assert abs(error[near].mean()) < 0.05


def test_distance_to_a_straight_edge():
    """Half-covered pixels: the edge is in their middle."""
    mask = np.zeros((16, 16), np.float32)
    mask[:, 6:] = 1.0
    mask[:, 5] = 0.5
    columns = np.arange(16) + 0.5
    np.testing.assert_allclose(mask_distance(mask)[8], columns - 5.5, atol=0.26)


def test_unknown_counts_as_inside():
    coverage, exact = disc(64, 20.0, (32.0, 32.0))
    known = np.ones((64, 64), bool)
    known[:, 40:] = False
    distance = mask_distance(coverage, known)
    assert (distance[:, 40:] > 0).all()
    left = mask_distance(coverage)[:, :20]
    np.testing.assert_allclose(distance[:, :20][exact[:, :20] < 0], left[exact[:, :20] < 0])


def test_distance_has_the_same_bits_wherever_the_mask_lies_in_memory():
    coverage, _ = disc(61, 20.0, (30.3, 33.8))
    copies = []
    for shift in range(8):
        room = np.zeros(coverage.size + 8, np.float32)
        room[shift : shift + coverage.size] = coverage.ravel()
        aside = [np.zeros(1000 * shift + 1, np.uint8) for _ in range(20)]
        copies.append(mask_distance(room[shift : shift + coverage.size].reshape(61, 61)).tobytes())
        del aside
    assert len(set(copies)) == 1


@pytest.mark.parametrize(("value", "sign"), [(0.0, -1), (1.0, 1)])
def test_nothing_but_outside_or_inside_is_far_from_an_edge(value: float, sign: int):
    distance = mask_distance(np.full((20, 30), value, np.float32))
    assert distance.shape == (20, 30)
    assert (sign * distance >= 50).all()


# The hull's field


@pytest.mark.parametrize("orthographic", [False, True], ids=["perspective", "orthographic"])
def test_hull_of_a_ball_holds_the_ball_and_little_more(orthographic: bool):
    views = views_of(ball(RADIUS), cameras_around(8, 96, orthographic))
    field = hull_of(views)
    exact = RADIUS - np.linalg.norm(grid_points(48).numpy(), axis=-1)
    pixel = 1.2 / 96
    assert (field[exact > pixel / 2] > 0).all()
    assert (field >= exact - 1.5 * pixel)[exact > -0.2].all()
    # Eight cones leave ridges, as high as 12 % of the radius where three of them meet.
    assert (field[exact < -0.12 * RADIUS - pixel] < 0).all()


def test_field_is_zero_where_a_cones_ray_grazes_the_ball():
    """Tangent points of one camera lie in the other, orthogonal views' insides or on their rims."""
    place = np.array([0.0, -2.5, 0.0])
    one = camera(place.tolist(), 192)
    unit = in_unit_cube(views_of(ball(RADIUS), [one]))
    sine = RADIUS / 2.5
    turn = np.linspace(0, 2 * np.pi, 60)
    tangents = np.stack([np.cos(turn), 0 * turn - sine / np.sqrt(1 - sine**2), np.sin(turn)], 1)
    tangents *= RADIUS * np.sqrt(1 - sine**2)
    np.testing.assert_allclose(np.linalg.norm(tangents, axis=1), RADIUS)
    points = torch.as_tensor(tangents, dtype=torch.float32)
    field = signed_hull(silhouette_distances(unit), Cameras.stack(unit.cameras), points)
    assert field.abs().max() < 0.5 * 1.2 / 192


def test_box_from_front_right_and_top_is_exact():
    edges = (0.8, 0.5, 0.3)
    places = [(0, -2, 0), (2, 0, 0), (0, 0, 2)]
    field = hull_of(views_of(box(edges), [camera(p, 128, True) for p in places]), 64)
    exact = (np.array(edges) / 2 - np.abs(grid_points(64).numpy())).min(axis=-1)
    sure = np.abs(exact) > 0.5 * 1.2 / 128
    assert ((field > 0) == (exact > 0))[sure].all()
    inside = exact > 0
    np.testing.assert_allclose(field[inside], exact[inside], atol=0.5 * 1.2 / 128)
    mesh = extract(field)
    extents = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
    np.testing.assert_allclose(extents, edges, atol=1.2 / 128)


def test_points_behind_a_camera_are_outside():
    unit = in_unit_cube(views_of(ball(RADIUS), [camera((0, -0.2, 0), 32, target=(0, 1, 0))]))
    points = torch.tensor([[0.0, -0.5, 0.0], [0.0, 0.4, 0.0]])
    full = silhouette_distances(replace(unit, masks=np.ones_like(unit.masks)))
    behind, before = signed_hull(full, Cameras.stack(unit.cameras), points)
    assert behind < 0 < before


def test_shape_of_the_points_is_kept():
    unit = in_unit_cube(views_of(ball(RADIUS), cameras_around(2, 32)))
    points = torch.zeros(2, 3, 4, 3)
    field = signed_hull(silhouette_distances(unit), Cameras.stack(unit.cameras), points)
    assert field.shape == (2, 3, 4)


# The unit cube

OFF_CENTRE = np.array([0.15, -0.1, 0.08])


def check_cube(views: list[View], centre: np.ndarray, longest: float) -> None:
    """The hull takes nine tenths of the edge; ridges make it larger than the object."""
    found = unit_cube(views)
    cameras = [one.camera.in_unit_cube(found) for one in views]
    inside = hull_of([replace(v, camera=c) for v, c in zip(views, cameras, strict=True)], 96) > 0
    extents = [np.ptp(axis) + 1 for axis in inside.nonzero()]
    assert 0.84 < max(extents) / 96 < 0.9 + 1 / 96
    assert 1.0 < found.scale * 0.9 / longest < 1.2
    np.testing.assert_allclose(found.offset, centre, atol=0.03 * longest)


@pytest.mark.parametrize("orthographic", [False, True], ids=["perspective", "orthographic"])
def test_cube_around_an_off_centre_ball(orthographic: bool):
    cameras = cameras_around(6, 96, orthographic)
    check_cube(views_of(ball(0.2, OFF_CENTRE.tolist()), cameras), OFF_CENTRE, 0.4)


def scaled(one: View, factor: float, shift: np.ndarray) -> View:
    """The same picture of a world ``factor`` times as large, moved by ``shift``."""
    camera = one.camera.in_unit_cube(Similarity(1 / factor, -shift / factor))
    return replace(one, camera=camera)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("orthographic", [False, True], ids=["perspective", "orthographic"])
def test_cube_grows_and_moves_with_the_world(orthographic: bool, factor: float):
    views = views_of(ball(0.2, OFF_CENTRE.tolist()), cameras_around(5, 64, orthographic))
    shift = factor * np.array([40.0, -25.0, 3.0])
    plain = unit_cube(views)
    moved = unit_cube([scaled(one, factor, shift) for one in views])
    assert moved.scale == pytest.approx(factor * plain.scale, rel=0.02)
    centre = factor * plain.offset + shift
    np.testing.assert_allclose(moved.offset, centre, atol=0.02 * moved.scale)


def test_cube_from_drawings():
    hit = box((1.0, 0.6, 0.4))
    shown = [camera((0, -2, 0), 96, True), camera((2, 0, 0), 96, True)]
    drawn = views_of(hit, shown)
    cameras, _ = named_cameras(["front", "right"], [one.mask for one in drawn])
    found = unit_cube([replace(v, camera=c) for v, c in zip(drawn, cameras, strict=True)])
    assert found.scale * 0.9 == pytest.approx(2.0, rel=0.05)
    np.testing.assert_allclose(found.offset, 0, atol=0.05)


def test_object_cut_off_by_the_picture_goes_on():
    """One of four cameras sees a part only; the others still tell the size."""
    cameras = cameras_around(4, 96)
    near = cameras[0].resampled(0, 0, 1.0, (96, 50))
    views = views_of(ball(RADIUS), [near, *cameras[1:]])
    assert views[0].mask[:, -1].max() == 1
    found, whole = unit_cube(views), unit_cube(views_of(ball(RADIUS), cameras))
    assert found.scale == pytest.approx(whole.scale, rel=0.1)
    np.testing.assert_allclose(found.offset, whole.offset, atol=0.05)


@pytest.mark.parametrize("orthographic", [False, True], ids=["perspective", "orthographic"])
def test_views_along_one_line_are_refused(orthographic: bool):
    cameras = [camera((0, y, 0), 48, orthographic) for y in (-2.0, 2.0)]
    with pytest.raises(InputError, match="depth"):
        unit_cube(views_of(ball(RADIUS), cameras))


def test_the_view_that_contradicts_is_named():
    cameras = cameras_around(6, 64)
    views = views_of(ball(0.2), cameras)
    beside = 0.4 * cameras[2].world_to_camera[0, :3]
    views[2] = view("stranger", cameras[2], ball(0.1, beside.tolist()))
    with pytest.raises(InputError, match=r"Without stranger there would be one"):
        unit_cube(views)


def test_views_that_all_contradict_are_said_to():
    cameras = cameras_around(6, 64)
    centres = 0.4 * np.random.default_rng(0).permutation(np.eye(3).repeat(2, axis=0) - 0.5)
    views = [
        view(f"view {i}", one, ball(0.05, centre.tolist()))
        for i, (one, centre) in enumerate(zip(cameras, centres, strict=True))
    ]
    with pytest.raises(InputError, match="whichever view is left out"):
        unit_cube(views)


def test_an_empty_mask_is_named():
    views = views_of(ball(RADIUS), cameras_around(3, 32))
    views[1] = replace(views[1], mask=np.zeros_like(views[1].mask))
    with pytest.raises(InputError, match="view 1"):
        unit_cube(views)
