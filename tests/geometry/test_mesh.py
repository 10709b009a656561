"""Meshes small enough to know everything about."""

from __future__ import annotations

import numpy as np
import pytest

from backend.geometry.mesh import Mesh

CORNERS = np.array(
    [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32
)  # corner 4 x + 2 y + z
CUBE_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5],
        [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
        [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ],
    np.int32,
)  # fmt: skip
CUBE = Mesh(CORNERS, CUBE_FACES)
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
)


def test_volumes_by_hand():
    assert CUBE.signed_volume() == pytest.approx(1.0)
    assert TETRAHEDRON.signed_volume() == pytest.approx(1.0)


@pytest.mark.parametrize("mesh", [CUBE, TETRAHEDRON], ids=["cube", "tetrahedron"])
def test_turned_faces_enclose_the_negative_volume(mesh: Mesh):
    turned = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    assert turned.signed_volume() == pytest.approx(-mesh.signed_volume())
    assert turned.is_closed_manifold()
    np.testing.assert_allclose(turned.face_normals(), -mesh.face_normals())


def test_normals_of_the_cube_look_away_from_its_middle():
    normals = CUBE.face_normals()
    np.testing.assert_allclose(np.abs(normals).max(axis=1), 1.0)
    centres = CORNERS[CUBE_FACES].mean(axis=1) - 0.5
    np.testing.assert_allclose((normals * centres).sum(axis=1), 0.5)


def test_vertex_normals_are_weighted_by_area():
    """At the tetrahedron's right angle: three faces of areas 1, 1.5 and 3 along the axes."""
    expected = -np.array([3.0, 1.5, 1.0])
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(TETRAHEDRON.vertex_normals()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(CUBE.vertex_normals(), axis=1), 1.0)


def test_normals_of_nothing_are_zero():
    mesh = Mesh(np.zeros((4, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    assert (mesh.face_normals() == 0).all()
    assert (mesh.vertex_normals() == 0).all()


def test_moved_and_scaled():
    moved = CUBE.transformed(2.0, np.array([1.0, -1.0, 5.0]))
    assert moved.signed_volume() == pytest.approx(8.0)
    np.testing.assert_allclose(moved.vertices.min(axis=0), [1, -1, 5])
    assert moved.vertices.dtype == np.float32
    with pytest.raises(ValueError, match="positive"):
        CUBE.transformed(-1.0, np.zeros(3))


def test_colours_travel_with_the_vertices():
    coloured = Mesh(CORNERS, CUBE_FACES, vertex_colors=CORNERS)
    assert coloured.transformed(3.0, np.zeros(3)).vertex_colors is coloured.vertex_colors


def test_closed():
    assert CUBE.is_closed_manifold()
    assert TETRAHEDRON.is_closed_manifold()


two_cubes_on_one_edge = Mesh(
    np.concatenate([CORNERS, CORNERS + [1, 1, 0]]).astype(np.float32),
    np.concatenate([CUBE_FACES, np.array([6, 7, 10, 11, 12, 13, 14, 15])[CUBE_FACES]]),
)


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(CORNERS, np.zeros((0, 3), np.int32)),
        Mesh(CORNERS, CUBE_FACES[1:]),
        Mesh(CORNERS, np.concatenate([CUBE_FACES[:1, ::-1], CUBE_FACES[1:]])),
        Mesh(CORNERS, np.concatenate([CUBE_FACES, CUBE_FACES[:1]])),
        Mesh(CORNERS, np.concatenate([CUBE_FACES, [[0, 0, 1]]])),
        Mesh(CORNERS, np.array([[2, 2, 5]])),
        two_cubes_on_one_edge,
    ],
    ids=["empty", "hole", "turned face", "face twice", "spike", "line", "edge of four faces"],
)
def test_not_closed(mesh: Mesh):
    assert not mesh.is_closed_manifold()
