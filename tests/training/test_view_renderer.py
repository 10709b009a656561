"""Pictures, coverage, depth and normals against shapes whose every ray has a formula."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trimesh

from backend.geometry.mesh import Mesh
from backend.studio_lights import SKY, STUDIO
from backend.views import Similarity
from tests.dataset_parts import box, from_trimesh, sphere, together
from tests.shapes import ball, camera, cameras_around, coverage
from tests.shapes import box as box_hit
from training.mesh_edges import corner_normals, edge_pairs, face_normals, in_closed_parts
from training.view_assets import ColoredMesh
from training.view_renderer import ViewRenderer, irradiance


def colored(mesh: Mesh, color: Any = (0.8, 0.8, 0.8)) -> ColoredMesh:
    count = len(mesh.faces)
    return ColoredMesh(
        mesh.vertices.astype(float),
        mesh.faces.astype(np.int64),
        Similarity(),
        np.broadcast_to(np.array(color, np.float32), (count, 3, 3)).copy(),
        np.zeros((count, 3, 2), np.float32),
        np.full(count, -1),
    )


def srgb_bytes(linear: Any) -> np.ndarray:
    linear = np.asarray(linear, float)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * curved.clip(0, 1))


# Coverage, depth and normals ----------------------------------------------------------------------


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("samples", [1, 3, 5])
def test_coverage_of_a_ball_is_that_of_its_formula(samples: int, orthographic: bool) -> None:
    renderer = ViewRenderer(colored(sphere(0.4, 5)), samples=samples)
    for one in cameras_around(2, 48, orthographic):
        mask = renderer.render(one, STUDIO, 0.25).mask / 255.0
        exact = coverage(one, ball(0.4), samples=16)
        assert np.abs(mask - exact).max() <= 0.75 / samples + 0.05
        assert abs(mask.sum() / exact.sum() - 1.0) < 0.01
        iou = ((mask >= 0.5) & (exact >= 0.5)).sum() / ((mask >= 0.5) | (exact >= 0.5)).sum()
        assert iou > 0.98


def test_coverage_of_a_box_is_exact_at_the_samples() -> None:
    """Slow twin: a ray through each of a pixel's nine samples."""
    renderer = ViewRenderer(colored(box((0.7, 0.5, 0.3))))
    for one in cameras_around(4, 40):
        mask = renderer.render(one, STUDIO, 0.25).mask
        np.testing.assert_array_equal(
            mask, np.round(255 * coverage(one, box_hit((0.7, 0.5, 0.3)), 3))
        )


@pytest.mark.parametrize("orthographic", [False, True])
def test_depth_and_normals_of_a_ball(orthographic: bool) -> None:
    renderer = ViewRenderer(colored(sphere(0.4, 5)))
    for one in cameras_around(2, 64, orthographic):
        view = renderer.render(one, STUDIO, 0.25, with_normals=True)
        rows, columns = np.nonzero(np.isfinite(view.depth))
        origins, directions = one.rays(np.stack([columns, rows], axis=-1) + 0.5)
        points = origins + view.depth[rows, columns, None] * directions
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.4, atol=1e-3)
        assert view.normal is not None
        normals = view.normal[rows, columns]
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
        cosines = (normals * points).sum(axis=1) / 0.4
        assert np.degrees(np.arccos(cosines.min().clip(-1, 1))) < 3
        assert (view.normal[~np.isfinite(view.depth)] == 0).all()


def test_depth_is_that_at_the_pixels_middle() -> None:
    """A tilted plane: the depth of the ray through each pixel's middle, by its equation."""
    plane = np.array([[-2.0, -1, -2], [2, 0.5, -2], [2, 1, 2], [-2, -0.5, 2]])
    mesh = Mesh(plane.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    one = camera([0.2, -2.5, 0.3], 16)
    view = ViewRenderer(colored(mesh)).render(one, STUDIO, 0.25)
    pixels = np.stack(np.meshgrid(np.arange(16), np.arange(16)), axis=-1) + 0.5
    origins, directions = one.rays(pixels)
    depths = []
    for corners in (plane[[0, 1, 2]], plane[[0, 2, 3]]):
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        depths.append(((corners[0] - origins) @ normal) / (directions @ normal))
    error = np.abs(np.stack(depths) - view.depth).min(axis=0)
    assert error.max() < 1e-5
    assert (view.mask == 255).all()


def test_both_sides_of_a_face_are_seen_and_face_the_camera() -> None:
    square = np.array([[-0.4, 0, -0.4], [0.4, 0, -0.4], [0.4, 0, 0.4], [-0.4, 0, 0.4]], np.float32)
    renderer = ViewRenderer(colored(Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))))
    for y in (-2.5, 2.5):
        view = renderer.render(camera([0.0, y, 0.0], 20), STUDIO, 0.25, with_normals=True)
        assert view.normal is not None
        np.testing.assert_allclose(view.normal[10, 10], [0, np.sign(y), 0], atol=1e-6)


@pytest.mark.parametrize("inside_out", [False, True])
def test_what_is_left_out_of_closed_parts_was_hidden(inside_out: bool) -> None:
    """Beside an open copy, of which both sides are drawn; parts may be wound inwards."""
    solid = together(sphere(0.3, 2), box((0.9, 0.1, 0.2), (0.05, 0, 0)), box((0.1, 0.1, 0.9)))
    if inside_out:
        solid = replace(solid, faces=np.concatenate([solid.faces[:-24], solid.faces[-24:, ::-1]]))
    soup = colored(solid)
    renderer, all_drawn = ViewRenderer(soup), ViewRenderer(soup)
    all_drawn._closed = np.zeros(len(soup.faces), bool)
    assert renderer._closed.sum() == len(soup.faces) - 24 * inside_out
    for one in (*cameras_around(3, 64), *cameras_around(2, 64, orthographic=True)):
        ours, theirs = (r.render(one, STUDIO, 0.25, True) for r in (renderer, all_drawn))
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.depth, theirs.depth)
        np.testing.assert_allclose(ours.color, theirs.color, atol=1)


def test_a_camera_within_sees_the_inside() -> None:
    view = ViewRenderer(colored(sphere(0.45, 3))).render(camera([0.1, 0.1, 0], 24), STUDIO, 0.25)
    assert (view.mask == 255).all()


def test_parts_are_closed_or_not() -> None:
    ball, lid = sphere(0.2, 1), box((0.2, 0.2, 0.2), (0.4, 0, 0))
    open_box = replace(box((0.2, 0.2, 0.2)), faces=lid.faces[1:])
    for mesh, expected in (
        (ball, [True] * 80),
        (replace(ball, faces=ball.faces[:, ::-1]), [False] * 80),
        (together(ball, open_box, lid), [True] * 80 + [False] * 11 + [True] * 12),
    ):
        vertices = mesh.vertices.astype(float)
        pairs = edge_pairs(vertices, mesh.faces)
        assert in_closed_parts(vertices, mesh.faces, pairs).tolist() == expected


# Creases ------------------------------------------------------------------------------------------


def normals_of(vertices: np.ndarray, faces: np.ndarray, crease_angle: float) -> np.ndarray:
    normals = face_normals(vertices, faces)
    return corner_normals(normals, edge_pairs(vertices, faces), crease_angle)


def test_a_box_is_flat_and_a_ball_is_smooth() -> None:
    for mesh in (box((0.5, 0.6, 0.7)), sphere(0.4, 3)):
        vertices, faces = mesh.vertices.astype(float), mesh.faces
        smooth = normals_of(vertices, faces, 40.0)
        flat = np.repeat(mesh.face_normals()[:, None], 3, axis=1)
        np.testing.assert_allclose(normals_of(vertices, faces, 0.0), flat, atol=1e-6)
        if len(faces) == 12:
            np.testing.assert_allclose(smooth, flat, atol=1e-6)
        else:
            np.testing.assert_allclose(smooth, mesh.vertex_normals()[faces], atol=1e-6)


def test_a_cylinder_is_smooth_around_and_sharp_at_its_ends() -> None:
    cylinder = trimesh.creation.cylinder(0.3, 0.8, sections=24)
    normals = normals_of(np.asarray(cylinder.vertices), np.asarray(cylinder.faces), 40.0)
    ends = np.abs(cylinder.face_normals[:, 2]) > 0.5
    np.testing.assert_allclose(np.abs(normals[ends][..., 2]), 1.0, atol=1e-6)
    around = cylinder.vertices[cylinder.faces[~ends]] * [1, 1, 0] / 0.3
    # By area, so that triangles on one side of a corner may count twice as much.
    cosines = (normals[~ends] * around).sum(axis=-1)
    assert np.degrees(np.arccos(cosines.min())) < 4
    np.testing.assert_allclose(normals[~ends][..., 2], 0.0, atol=1e-6)


def test_seams_are_smoothed_over() -> None:
    """Vertices that stand twice at one place, as where a texture is cut, change nothing."""
    mesh = sphere(0.4, 2)
    apart = mesh.vertices[mesh.faces].reshape(-1, 3).astype(float)
    split = normals_of(apart, np.arange(len(apart)).reshape(-1, 3), 60.0)
    whole = normals_of(mesh.vertices.astype(float), mesh.faces, 60.0)
    np.testing.assert_allclose(split, whole, atol=1e-6)


# Colours ------------------------------------------------------------------------------------------


def test_irradiance_of_one_beam_follows_the_cosine() -> None:
    angles = np.radians(np.arange(0, 181, 5))
    normals = np.stack([np.sin(angles), -np.cos(angles), 0 * angles], axis=1).astype(np.float32)
    sharp = irradiance(normals, [(0.0, 0.0, math.pi, 1e-3)], 0.0)
    np.testing.assert_allclose(sharp, np.maximum(np.cos(angles), 0), atol=1e-4)
    soft = irradiance(normals, [(0.0, 0.0, math.pi, 40.0)], 0.0)
    assert (np.diff(soft) <= 1e-6).all()
    far = np.abs(np.cos(angles)) > math.sin(math.radians(20))
    np.testing.assert_allclose(soft[far], sharp[far], atol=1e-4)
    assert soft[18] > 0.05  # at 90 degrees half of the disc has risen


def test_colours_are_srgb_with_straight_alpha() -> None:
    """In a sky alone a level surface has its colour times the sky, at its border too."""
    square = np.array([[-0.3, -0.4, 0], [0.4, -0.3, 0], [0.3, 0.4, 0], [-0.4, 0.3, 0]], np.float32)
    mesh = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    color = (0.5, 0.2, 0.05)
    view = ViewRenderer(colored(mesh, color)).render(camera([0, 0, 2.5], 40), (), 0.5)
    up = float(irradiance(np.array([0.0, 0, 1]), (), 0.5))
    seen = view.color[view.mask > 0]
    assert np.abs(seen[:, :3].astype(int) - srgb_bytes(np.array(color) * up)).max() <= 1
    assert ((view.mask > 0) & (view.mask < 255)).any()
    assert (view.color[view.mask == 0] == 0).all()
    np.testing.assert_array_equal(view.color[..., 3], view.mask)


def test_a_borders_colour_is_the_mean_of_its_sides_in_linear_light() -> None:
    """Two level squares, one before the other, whose border halves pixels."""
    mesh = colored(together(box((0.4, 0.4, 0.1), (-0.2, 0, 0)), box((0.4, 0.4, 0.1), (0.2, 0, 0))))
    mesh.colors[: len(mesh.faces) // 2] = (1.0, 0.0, 0.0)
    mesh.colors[len(mesh.faces) // 2 :] = (0.0, 1.0, 0.0)
    one = camera([0, 0, 2.5], 41, orthographic=True)  # odd: the middle column is cut in halves
    view = ViewRenderer(mesh).render(one, (), 1.0 / float(irradiance(np.array([0, 0, 1.0]), (), 1)))
    border = view.color[20, 20].astype(int)
    # Of three samples the middle one lies on the border, and the red face comes first.
    assert np.abs(border[:3] - srgb_bytes([2 / 3, 1 / 3, 0])).max() <= 1


@pytest.mark.parametrize("crease_angle", [0.0, 40.0])
def test_a_texture_stands_upright_and_is_seen_in_perspective(crease_angle: float) -> None:
    """A checkered wall receding from the camera: each pixel's colour by the ray's own place."""
    corners = np.array([[-0.4, -0.4, -0.4], [0.4, 0.4, -0.4], [0.4, 0.4, 0.4], [-0.4, -0.4, 0.4]])
    mesh = Mesh(corners.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    rng = np.random.default_rng(0)
    texture = rng.random((5, 4, 3)).astype(np.float32)
    place = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    textured = replace(
        colored(mesh, (1, 1, 1)),
        uvs=place[mesh.faces],
        texture=np.zeros(2, np.int64),
        textures=(texture.repeat(64, axis=0).repeat(64, axis=1),),
    )
    one = camera([0.3, -1.4, 0.2], 60)
    view = ViewRenderer(textured, crease_angle, samples=1).render(one, (), 1.0)
    rows, columns = np.nonzero(view.mask)
    origins, directions = one.rays(np.stack([columns, rows], axis=-1) + 0.5)
    normal = np.array([1.0, -1.0, 0.0])
    distance = -(origins @ normal) / (directions @ normal)
    points = origins + distance[:, None] * directions
    u, v = (points[:, 0] + 0.4) / 0.8, (points[:, 2] + 0.4) / 0.8
    inside = (np.abs(u * 4 % 1 - 0.5) < 0.45) & (np.abs(v * 5 % 1 - 0.5) < 0.45)
    expected = texture[((1 - v) * 5).astype(int).clip(0, 4), (u * 4).astype(int).clip(0, 3)]
    error = np.abs(view.color[rows, columns, :3][inside] - srgb_bytes(expected[inside]))
    assert inside.sum() > 300
    assert error.max() <= 1


def test_corner_colours_blend_over_a_face() -> None:
    triangle = np.array([[-0.4, 0, -0.3], [0.4, 0, -0.3], [0, 0, 0.5]], np.float32)
    mesh = colored(Mesh(triangle, np.array([[0, 1, 2]], np.int32)))
    mesh.colors[0] = np.eye(3)
    view = ViewRenderer(mesh).render(camera([0, -2.5, 0], 61, orthographic=True), (), 1.0)
    middle = np.round(camera([0, -2.5, 0], 61, True).project(triangle.mean(axis=0))[0] - 0.5)
    column, row = middle.astype(int)
    assert np.abs(view.color[row, column, :3].astype(int) - srgb_bytes(1 / 3)).max() <= 3


def test_lights_come_from_where_they_say() -> None:
    """The studio's key light stands at the front left; the back left is darker."""
    renderer = ViewRenderer(colored(from_trimesh(trimesh.creation.icosphere(3, 0.4))))
    view = renderer.render(camera([0, -2.5, 0], 64), STUDIO, SKY["studio"])
    brightness = view.color[..., :3].sum(axis=-1).astype(float)
    full = view.mask == 255
    left, right = brightness[:, :32][full[:, :32]].mean(), brightness[:, 32:][full[:, 32:]].mean()
    upper, lower = brightness[:32][full[:32]].mean(), brightness[32:][full[32:]].mean()
    assert left > right + 20
    assert upper > lower + 50


def test_an_even_number_of_samples_has_no_middle() -> None:
    with pytest.raises(ValueError, match="odd"):
        ViewRenderer(colored(box((1, 1, 1))), samples=2)
