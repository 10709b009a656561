"""Procedural shapes: the solids they are built from, and laws that every shape obeys."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("manifold3d", reason="needs the extra train")

import igl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.dataset_files import ObjectRecord, near_duplicates, shape_descriptor
from backend.errors import InputError
from backend.geometry.mesh import Mesh
from backend.mesh_files import read_mesh, write_mesh
from training.shapes import SHAPES, make_shape, write_shapes
from training.shapes.contact_sheet import contact_sheet
from training.shapes.solids import (
    Part,
    both_sides,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    extrude,
    loft,
    mirrored,
    placed,
    rectangle,
    revolve,
    rounded,
    sheet,
    smooth_curve,
    sphere,
    stretched,
    superellipse,
    sweep,
    warped,
)
from training.shapes.surface import unite, with_sharp_edges

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
COUNT = 12


@cache
def shapes(category: str) -> list[Mesh]:
    return [make_shape(category, 0, index) for index in range(COUNT)]


def every_category(test):
    return pytest.mark.parametrize("category", SHAPES)(test)


def genus(mesh: Mesh) -> int:
    edges = len(mesh.faces) * 3 // 2
    return 1 - (len(mesh.vertices) - edges + len(mesh.faces)) // 2


def face_areas(mesh: Mesh) -> np.ndarray:
    a, b, c = mesh.vertices.astype(float)[mesh.faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def face_colors(mesh: Mesh) -> np.ndarray:
    assert mesh.face_uvs is not None and mesh.texture is not None
    return mesh.texture[0, (mesh.face_uvs[:, 0, 0] * mesh.texture.shape[1]).astype(int)]


def inside(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    vertices, faces = mesh.vertices.astype(float), mesh.faces.astype(np.int64)
    return np.asarray(igl.fast_winding_number(vertices, faces, points)) > 0.5


def bounds(solid) -> np.ndarray:
    return np.reshape(solid.bounding_box(), (2, 3))


# Laws of every category ---------------------------------------------------------------------------


@every_category
def test_every_shape_is_one_closed_surface_around_a_volume(category):
    for mesh in shapes(category):
        assert mesh.is_closed_manifold()
        assert mesh.signed_volume() > 1e-4
        a, b = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
        graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(mesh.vertices),) * 2)
        assert connected_components(graph, directed=False)[0] == 1


@every_category
def test_every_shape_fills_the_unit_cube_as_the_methods_expect(category):
    for mesh in shapes(category):
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(0.9, abs=1e-4)
        assert np.abs(low + high).max() < 2e-4


@every_category
def test_each_face_has_one_color_and_most_shapes_several(category):
    several = [len(np.unique(face_colors(mesh), axis=0)) > 1 for mesh in shapes(category)]
    assert np.mean(several) > 0.5
    for mesh in shapes(category):
        assert mesh.face_uvs is not None and mesh.texture is not None
        assert (mesh.face_uvs == mesh.face_uvs[:, :1]).all()
        pixel = mesh.face_uvs[:, 0, 0] * mesh.texture.shape[1] - 0.5
        assert np.abs(pixel - np.round(pixel)).max() < 1e-3


@every_category
def test_a_written_shape_is_closed_again_when_read(category, tmp_path):
    for mesh in shapes(category)[:4]:
        write_mesh(tmp_path / "shape.glb", with_sharp_edges(mesh), {})
        again = read_mesh(tmp_path / "shape.glb")
        assert again.is_closed_manifold()
        assert genus(again) == genus(mesh)
        assert again.signed_volume() == pytest.approx(mesh.signed_volume(), rel=1e-5)
        assert np.array_equal(face_colors(again), face_colors(mesh))


@every_category
def test_the_variants_are_different_designs(category):
    descriptors = [shape_descriptor(mesh.vertices, mesh.faces) for mesh in shapes(category)]
    records = [
        ObjectRecord(f"{category}/{index}", settings="", descriptor=descriptor)
        for index, descriptor in enumerate(descriptors)
    ]
    assert len(set(near_duplicates(records).values())) >= 0.7 * COUNT


@every_category
def test_the_same_seed_gives_the_same_bytes_whatever_else_was_made(category, tmp_path):
    write_shapes(category, 2, tmp_path / "short", seed=5)
    make_shape(category, 6, 0)
    write_shapes(category, 3, tmp_path / "long", seed=5)
    names = [path.name for path in sorted((tmp_path / "long").iterdir())]
    assert names == [f"{category}_000{i}.glb" for i in range(3)]
    files = [(tmp_path / "long" / name).read_bytes() for name in names]
    assert [p.read_bytes() for p in sorted((tmp_path / "short").iterdir())] == files[:2]
    assert len(set(files)) == 3


@every_category
def test_another_seed_gives_other_shapes(category):
    one, other = make_shape(category, 0, 0), make_shape(category, 1, 0)
    assert one.vertices.shape != other.vertices.shape or not np.array_equal(
        one.vertices, other.vertices
    )


# Furniture ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("category", "least"), [("chair", 5), ("table", 4), ("sofa", 3)])
def test_the_topology_of_furniture_varies(category, least):
    assert len(Counter(map(genus, shapes(category)))) >= least


@pytest.mark.parametrize("category", ["chair", "sofa"])
def test_backs_stand_behind_so_that_seats_face_the_front(category):
    for mesh in shapes(category):
        middles = mesh.vertices[mesh.faces].mean(axis=1)
        low, high = mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()
        upper = middles[:, 2] > low + 0.8 * (high - low)
        areas = face_areas(mesh)[upper]
        assert areas @ middles[upper, 1] / areas.sum() > 0.05


def test_a_table_has_a_level_top_that_covers_it_and_is_not_deeper_than_wide():
    for mesh in shapes("table"):
        size = np.ptp(mesh.vertices, axis=0)
        top = mesh.vertices[:, 2].max()
        middles = mesh.vertices[mesh.faces].mean(axis=1)
        level = (mesh.face_normals()[:, 2] > 0.99) & (middles[:, 2] > top - 0.005)
        # Round tops fill pi / 4 of their rectangle, those of picnic tables leave room for benches.
        assert face_areas(mesh)[level].sum() > 0.35 * size[0] * size[1]
        assert size[1] < 1.35 * size[0]


def test_water_stays_in_a_bathtub():
    """Above the middle of the floor nothing is in the way, and around it is a wall."""
    for mesh in shapes("bathtub"):
        low, high = mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()
        heights = np.linspace(low, high, 100)
        floor = heights[inside(mesh, np.outer(heights, [0.0, 0.0, 1.0]))].max()
        assert floor < low + 0.45 * (high - low)
        angle, reach = np.meshgrid(np.linspace(0, 2 * np.pi, 24), np.linspace(0, 0.6, 200))
        water = np.full_like(reach, floor + 0.15 * (high - low))
        points = np.stack([reach * np.cos(angle), reach * np.sin(angle), water], axis=-1)
        assert inside(mesh, points.reshape(-1, 3)).reshape(reach.shape).any(axis=0).all()


# Parts to one surface -----------------------------------------------------------------------------


def test_faces_keep_the_color_of_their_part():
    mesh = unite(
        [Part(box((2, 1, 1), (0, 0, 0)), RED), Part(box((2, 0.5, 0.5), (1.5, 0, 0)), BLUE)]
    )
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    inside = np.isclose(
        np.abs(middles[:, 1]), 0.9 * 0.25 / 3.5, atol=1e-5
    )  # the smaller one's sides
    assert (face_colors(mesh)[inside] == [0, 0, 255]).all()
    left = np.isclose(middles[:, 0], -0.45, atol=1e-5)
    assert left.any() and (face_colors(mesh)[left] == [255, 0, 0]).all()


def test_a_cut_leaves_its_color_on_what_it_bares():
    mesh = unite([Part(box((1, 1, 1)), RED), Part(box((0.5, 0.5, 1), (0, 0, 0.3)), BLUE, cut=True)])
    assert mesh.signed_volume() == pytest.approx(0.9**3 * (1 - 0.25 * 0.7), rel=1e-5)
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    inner = (np.abs(middles[:, :2]) < 0.45 * 0.52).all(axis=1) & (middles[:, 2] > -0.4)
    assert (face_colors(mesh)[inner] == [0, 0, 255]).all()
    assert (face_colors(mesh)[~inner] == [255, 0, 0]).all()


def test_parts_that_do_not_touch_are_refused():
    with pytest.raises(ValueError, match="2 pieces"):
        unite([Part(box((1, 1, 1)), RED), Part(box((1, 1, 1), (3, 0, 0)), BLUE)])


def test_a_space_that_nothing_leads_to_is_filled():
    hollow = box((1, 1, 1)) - box((0.5, 0.5, 0.5))
    assert unite([Part(hollow, RED)]).signed_volume() == pytest.approx(0.9**3, rel=1e-5)


def test_solids_that_share_only_an_edge_stay_closed_when_vertices_are_merged(tmp_path):
    stairs = (
        box((1, 1, 1)) - box((0.5, 0.5, 2), (0.25, 0.25, 0)) - box((0.5, 0.5, 2), (-0.25, -0.25, 0))
    )
    bridge = box((1, 1, 0.2), (0, 0, 0.55))
    mesh = unite([Part(stairs + bridge, RED)])
    write_mesh(tmp_path / "touching.glb", with_sharp_edges(mesh), {})
    assert read_mesh(tmp_path / "touching.glb").is_closed_manifold()


def test_sharp_edges_split_a_cube_into_its_sides_and_leave_a_ball_whole():
    cube, ball = unite([Part(box((1, 1, 1)), RED)]), unite([Part(sphere(1.0), RED)])
    assert len(with_sharp_edges(cube).vertices) == 24
    assert len(with_sharp_edges(ball).vertices) == len(ball.vertices)
    normals = with_sharp_edges(cube).vertex_normals()
    assert np.allclose(np.sort(np.abs(normals), axis=1), [0, 0, 1], atol=1e-6)


def test_colors_split_where_they_meet_even_on_a_smooth_surface():
    two = [Part(sphere(1.0), RED), Part(sphere(1.0, (0.05, 0, 0)), BLUE)]
    mesh = with_sharp_edges(unite(two))
    colors = face_colors(mesh)
    for vertex in range(len(mesh.vertices)):
        around = colors[(mesh.faces == vertex).any(axis=1)]
        assert (around == around[0]).all()


# Solids -------------------------------------------------------------------------------------------


def test_a_box_with_rounded_edges_loses_what_the_rounding_takes():
    assert box((1, 2, 3), (4, 5, 6)).volume() == pytest.approx(6.0)
    assert np.allclose(bounds(box((1, 2, 3), (4, 5, 6), 0.2)), [[3.5, 4, 4.5], [4.5, 6, 7.5]])
    radius, (a, b, c) = 0.2, (1.0, 2.0, 3.0)
    inner = np.array([a, b, c]) - 2 * radius
    exact = (
        inner.prod()
        + 2 * radius * (inner[0] * inner[1] + inner[1] * inner[2] + inner[2] * inner[0])
        + np.pi * radius**2 * inner.sum()
        + 4 / 3 * np.pi * radius**3
    )
    assert box((a, b, c), rounding=radius, segments=12).volume() == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("end", [(0, 0, 2), (0, 0, -2), (2, 0, 0), (1, -1, 1), (0, 3, 0.001)])
def test_a_cylinder_reaches_from_start_to_end(end):
    start = np.array([1.0, 2.0, 3.0])
    length = np.linalg.norm(np.array(end))
    solid = cylinder(0.5, start, start + end, segments=16)
    section = 8 * 0.25 * np.sin(2 * np.pi / 16)
    assert solid.volume() == pytest.approx(section * length)
    assert np.allclose(bounds(solid).mean(axis=0), start + np.array(end) / 2, atol=1e-6)
    cone = cylinder(0.5, start, start + end, 0.25, 16)
    assert cone.volume() == pytest.approx(section * length * (1 + 0.5 + 0.25) / 3)


def test_an_ellipsoid_has_its_radii():
    solid = ellipsoid((1, 2, 3), (1, 1, 1), 64)
    assert np.allclose(bounds(solid), [[0, -1, -2], [2, 3, 4]])
    assert solid.volume() == pytest.approx(8 * np.pi, rel=0.01)


def test_a_lathed_ring_obeys_pappus():
    square = [(1.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0)]
    for profile in (square, square[::-1]):
        solid = revolve(profile, 200)
        assert solid.genus() == 1
        assert solid.volume() == pytest.approx(2 * np.pi * 1.5, rel=1e-3)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("x", [[5, 0, 0], [6, 2, 1]]),
        ("y", [[0, 5, 0], [2, 6, 1]]),
        ("z", [[0, 0, 5], [2, 1, 6]]),
    ],
)
def test_an_outline_is_extruded_along_its_axis(axis, expected):
    outline = [(0, 0), (2, 0), (2, 1)]
    for rounding in (0.0, 0.05):
        solid = extrude(outline, 5, 6, axis, rounding)
        assert np.allclose(bounds(solid), expected)
    assert extrude(outline, 5, 6, axis).volume() == pytest.approx(1.0)
    assert 0.9 < extrude(outline, 5, 6, axis, 0.05).volume() < 1.0


def test_an_extruded_letter_keeps_its_notch():
    letter = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]
    assert extrude(letter, 0, 1).volume() == pytest.approx(3.0)


def test_a_skin_between_a_tip_and_a_ring_is_a_cone():
    ring = np.insert(ellipse(1, 1, 64), 2, 0.0, axis=1)
    solid = loft(np.stack([ring, 0 * ring + [0, 0, 3]]))
    assert solid.volume() == pytest.approx(32 * np.sin(2 * np.pi / 64))
    assert solid.num_vert() == 65


def test_a_tube_along_a_closed_path_is_a_ring():
    path = np.insert(ellipse(2, 2, 96), 2, 0.0, axis=1)
    solid = sweep(path, 0.25, closed=True)
    assert solid.genus() == 1
    section = 6 * 0.25**2 * np.sin(2 * np.pi / 12)
    assert solid.volume() == pytest.approx(2 * np.pi * 2 * section, rel=2e-3)


def test_a_section_keeps_its_upward_side_around_a_bend():
    path = rounded([(0, 0, 0), (2, 0, 0), (2, 2, 0)], 0.5, closed=False)
    low, high = bounds(sweep(path, rectangle(0.1, 0.4), up=(0, 0, 1)))
    assert (low[2], high[2]) == pytest.approx((-0.2, 0.2))
    assert low[1] == pytest.approx(-0.05, abs=1e-6)


def test_a_bent_sheet_has_the_volume_of_its_area_times_its_thickness():
    angle, height = np.meshgrid(np.linspace(0, np.pi, 60), np.linspace(0, 1, 5), indexing="ij")
    solid = sheet(np.stack([np.cos(angle), np.sin(angle), height], axis=-1), 0.02)
    assert solid.volume() == pytest.approx(np.pi * 0.02, rel=2e-3)


def test_moving_and_mirroring():
    solid = placed(box((2, 1, 1), (1, 0, 0)), (0, 0, 5), (0, 0, 90))
    assert np.allclose(bounds(solid), [[-0.5, 0, 4.5], [0.5, 2, 5.5]])
    assert np.allclose(bounds(mirrored(solid, "y")), [[-0.5, -2, 4.5], [0.5, 0, 5.5]])
    assert both_sides(box((1, 1, 1), (2, 0, 0))).volume() == pytest.approx(2.0)
    assert mirrored(solid).volume() > 0
    assert np.allclose(
        bounds(stretched(box((1, 1, 1), (0, 0, 0.5)), (1, 0, 0), (5, 0, 0)))[:, 0], [1, 5]
    )


def test_a_sheared_box_keeps_its_volume():
    sheared = warped(box((1, 1, 2)), lambda points: points + np.outer(points[:, 2], [0.5, 0, 0]))
    assert sheared.volume() == pytest.approx(2.0)
    assert np.allclose(bounds(sheared)[:, 0], [-1, 1])


def test_a_skin_with_a_fault_is_refused():
    ring = np.insert(ellipse(1, 1, 8), 2, 0.0, axis=1)
    with pytest.raises(ValueError, match="closed solid"):
        loft(np.stack([ring, ring * np.nan]))


# Curves -------------------------------------------------------------------------------------------


def test_rounded_corners_touch_the_sides_in_arcs():
    points = rounded([(1, -1), (1, 1), (-1, 1), (-1, -1)], 0.25, segments=16)
    assert len(points) == 4 * 17
    middle = np.sign(points) * 0.75
    assert np.allclose(np.linalg.norm(points - middle, axis=1), 0.25)
    path = rounded([(0, 0, 0), (1, 0, 0), (1, 1, 0)], 5.0, closed=False)
    assert np.allclose(path[[0, -1]], [(0, 0, 0), (1, 1, 0)])
    assert np.allclose(path[1], (0.51, 0, 0))  # no more than about half of a side is given up


def test_superellipses_lie_on_their_equation():
    points = superellipse(2.0, 1.0, 4.0, 40)
    assert np.allclose((points[:, 0] / 2) ** 4 + points[:, 1] ** 4, 1.0)
    assert np.allclose(points[0], (2, 0))


def test_a_smooth_curve_through_a_circle_stays_on_it():
    curve = smooth_curve(ellipse(1, 1, 8), 100, closed=True)
    assert np.abs(np.linalg.norm(curve, axis=1) - 1).max() < 5e-3
    arc = smooth_curve([(0, 0), (1, 1), (2, 4), (3, 9)], 50)
    assert np.allclose(arc[[0, -1]], [(0, 0), (3, 9)])


# Files and sheets ---------------------------------------------------------------------------------


def test_writing_again_changes_nothing(tmp_path):
    seen: list[tuple[int, int]] = []
    write_shapes("table", 2, tmp_path, 3, lambda done, total: seen.append((done, total)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "table_0001.glb").write_bytes(b"damaged")
    write_shapes("table", 2, tmp_path, 3)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("category", "count", "seed", "said"),
    [
        ("chiar", 1, 0, "no shapes called 'chiar'; choose chair, table"),
        ("chair", 0, 0, "number of shapes must be 1 or more, got 0"),
        ("chair", 1, -1, "must be 0 or more, got -1"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_written(tmp_path, category, count, seed, said):
    with pytest.raises(InputError, match=said):
        write_shapes(category, count, tmp_path / "shapes", seed)
    assert not (tmp_path / "shapes").exists()


def test_a_file_in_the_folders_place_is_named(tmp_path):
    place = Path(tmp_path / "shapes")
    place.write_text("")
    with pytest.raises(InputError, match=r"cannot make the folder .*shapes"):
        write_shapes("chair", 1, place)


def test_a_contact_sheet_shows_each_shape_in_its_colors():
    red = unite([Part(box((1, 1, 1)), RED)])
    blue = unite([Part(sphere(1.0), BLUE)])
    picture = contact_sheet([red, blue, red], columns=2)
    half = picture.shape[0] // 2
    assert picture.dtype == np.uint8 and picture.shape == (2 * half, 2 * half, 3)
    tiles = [picture[:half, :half], picture[:half, half:], picture[half:, :half]]
    background = picture[-1, -1]
    for tile, channel in zip(tiles, (0, 2, 0), strict=True):
        shown = (tile != background).any(axis=2)
        assert 0.3 < shown.mean() < 0.8
        assert (tile[half // 2, half // 2] > 60).tolist() == [i == channel for i in range(3)]
    assert (picture[half:, half:] == background).all()
    assert np.array_equal(tiles[0], tiles[2])
