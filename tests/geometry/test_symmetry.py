"""Planes of symmetry found from silhouettes, and what mirrored grids are worth."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch

from backend.geometry.fair_hull import fair_hull, refined
from backend.geometry.isosurface import extract
from backend.geometry.silhouettes import (
    Silhouettes,
    folded,
    hull_near_surface,
    mirrored_grid,
    with_mirror_images,
)
from backend.geometry.symmetry import unfolded, with_mirrors
from backend.geometry.visual_hull import grid_points
from backend.views import Similarity, Views
from tests.shapes import Hit, agreement, ball, box, camera, cameras_around, in_unit_cube, views_of


def union(*shapes: Hit) -> Hit:
    return lambda origins, directions: reduce(
        np.logical_or, (shape(origins, directions) for shape in shapes)
    )


CHAIR = union(
    box((0.5, 0.5, 0.08)),
    box((0.5, 0.08, 0.4), (0, 0.21, 0.2)),
    *(box((0.07, 0.07, 0.4), (x, y, -0.2)) for x in (-0.21, 0.21) for y in (-0.21, 0.21)),
)
LEFT_ARM = box((0.06, 0.4, 0.06), (-0.22, 0, 0.2))
BOX = box((0.7, 0.4, 0.5))
SQUARE = box((0.6, 0.6, 0.4))


def seen(shape: Hit, size: int = 128, count: int = 8) -> Views:
    """From all around, with no two cameras each other's mirror image."""
    turns = 2.4 * np.arange(count) + 0.3
    heights = np.linspace(-0.8, 0.8, count)
    flat = np.sqrt(1 - heights**2)
    places = np.stack([flat * np.cos(turns), flat * np.sin(turns), heights], axis=1)
    return in_unit_cube(views_of(shape, [camera(2.5 * place, size) for place in places]))


def moved(views: Views, by: np.ndarray) -> Views:
    """The same object elsewhere in the cube."""
    cameras = tuple(one.in_unit_cube(Similarity(1.0, -by)) for one in views.cameras)
    return replace(views, cameras=cameras)


@pytest.mark.parametrize(
    ("shape", "mirrors"),
    [
        (CHAIR, ("x",)),
        (union(CHAIR, LEFT_ARM), ()),
        (BOX, ("x", "y")),
        (SQUARE, ("x", "y", "diagonal")),
        (ball(0.4), ("x", "y", "diagonal")),
        (union(ball(0.3), ball(0.12, (0.0, -0.3, 0.1))), ("x",)),
        (union(ball(0.3), ball(0.12, (0.3, 0.0, 0.1))), ("y",)),
        (union(ball(0.3), ball(0.12, (0.3, -0.1, 0.1))), ()),
    ],
    ids=["chair", "one arm", "box", "square", "ball", "nose", "ear", "off"],
)
def test_planes_are_those_of_the_shape(shape: Hit, mirrors: tuple[str, ...]):
    assert with_mirrors(seen(shape), "auto").mirrors == mirrors


def test_the_plane_is_found_beside_the_middle_and_the_world_stays():
    """Moved by two or three pixels; then the cube's middle lies on the plane to a tenth of one."""
    shift = np.array([0.021, -0.013, 0.01])
    there = moved(seen(BOX), shift)
    found = with_mirrors(there, "auto")
    np.testing.assert_allclose(found.to_world.offset[:2], shift[:2], atol=1e-3)
    assert found.mirrors == ("x", "y")
    point = np.array([0.1, 0.2, -0.3])
    inside = point - found.to_world.offset
    for before, after in zip(there.cameras, found.cameras, strict=True):
        np.testing.assert_allclose(before.project(point)[0], after.project(inside)[0], atol=1e-9)


def test_symmetric_cameras_are_not_told_twice():
    ring = in_unit_cube(views_of(BOX, cameras_around(8, 128)))
    found = with_mirrors(ring, "auto")
    assert found.mirrors == ()
    assert found.cameras == ring.cameras
    assert with_mirrors(ring, "x").mirrors == ("x",)


def test_what_is_asked_for_is_taken_though_the_silhouettes_differ():
    views = seen(union(CHAIR, LEFT_ARM))
    assert with_mirrors(views, "x").mirrors == ("x",)
    assert with_mirrors(views, "y").mirrors == ("y",)
    assert with_mirrors(views, "none") is views


@pytest.mark.parametrize("mirror", ["x", "y", "diagonal"])
def test_a_mirrored_grid_is_the_grid_of_the_mirrored_function(mirror: str):
    points = grid_points(6, "cpu").double()
    coefficients = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    images = with_mirror_images(points.reshape(-1, 3), (mirror,))[6**3 :]
    expected = (images @ coefficients).reshape(6, 6, 6).numpy()
    np.testing.assert_allclose(mirrored_grid((points @ coefficients).numpy(), mirror), expected)


def test_folding_equals_adding_the_mirrored_views():
    """The slow twin: every mirror image as a view of its own."""
    mirrors = ("x", "y", "diagonal")
    views = replace(seen(union(CHAIR, LEFT_ARM), 64, 3), mirrors=mirrors)
    twin = unfolded(views)
    assert len(twin) == 24
    assert twin.mirrors == ()
    folded_views, added = Silhouettes.of(views), Silhouettes.of(twin)
    assert folded_views.number_of_views == added.number_of_views == 24
    np.testing.assert_allclose(folded_views.hull(32), added.hull(32), atol=1e-4)
    points = torch.rand((200, 3), generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(
        folded_views.hull_at(points), added.hull_at(points), atol=1e-5, rtol=0
    )
    near, near_twin = hull_near_surface(folded_views, 48), hull_near_surface(added, 48)
    assert (near - near_twin).abs().amax() < 1e-3


def test_a_folded_grid_is_its_own_mirror_image():
    grid = np.random.default_rng(0).random((5, 5, 5))
    mirrors = ("x", "y", "diagonal")
    whole = folded(grid, mirrors, np.add)
    for mirror in mirrors:
        np.testing.assert_allclose(mirrored_grid(whole, mirror), whole)
    assert whole.sum() == pytest.approx(8 * grid.sum())


def test_the_fair_hull_is_symmetric_and_nearer_to_the_truth():
    views = with_mirrors(seen(BOX, 192), "auto")
    errors = []
    for mirrors in ((), views.mirrors):
        silhouettes = Silhouettes.of(replace(views, mirrors=mirrors))
        field = fair_hull(silhouettes, 48).field
        mesh = extract(refined(silhouettes, field))
        outside = np.abs(mesh.vertices) - np.array([0.35, 0.2, 0.25]) / views.to_world.scale
        errors.append(float(np.abs(outside.max(axis=1)).mean()))
        for mirror in mirrors:
            np.testing.assert_allclose(mirrored_grid(field, mirror), field, atol=2e-3)
        assert min(agreement(mesh, views)) > 0.97
    assert errors[1] < 0.75 * errors[0]


def test_thin_parts_that_many_views_erode_are_brought_back():
    """Of a rod of a few pixels the mirrored views' hull is too thin, the given views' is not."""
    rod = union(box((0.5, 0.5, 0.1), (0, 0, -0.35)), box((0.02, 0.02, 0.7)))
    views = with_mirrors(seen(rod, 256), "auto")
    assert {"x", "y"} <= set(views.mirrors)
    silhouettes = Silhouettes.of(views)
    mesh = extract(refined(silhouettes, fair_hull(silhouettes, 32).field))
    assert min(agreement(mesh, views)) > 0.975
