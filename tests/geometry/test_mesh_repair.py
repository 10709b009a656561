import numpy as np
import pytest

from backend.errors import ReconstructionError
from backend.geometry.mesh import Mesh
from backend.geometry.mesh_repair import is_manifold, keep_solid_parts, make_closed_manifold

SQUARES = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
BOX_FACES = np.array([t for a, b, c, d in SQUARES for t in ((a, b, c), (a, c, d))], dtype=np.int32)


def box(size: float, centre=(0.0, 0.0, 0.0), inside_out: bool = False) -> Mesh:
    corners = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]) - 0.5
    vertices = (corners * size + centre).astype(np.float32)
    return Mesh(vertices, BOX_FACES[:, ::-1] if inside_out else BOX_FACES)


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes])
    faces = [m.faces + offset for m, offset in zip(meshes, offsets[:-1], strict=True)]
    return Mesh(np.concatenate([m.vertices for m in meshes]), np.concatenate(faces))


def welded_edges_are_even(mesh: Mesh) -> bool:
    """What an importer sees that merges vertices by position."""
    _, number = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = number.reshape(-1)[mesh.faces]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


def test_boxes_of_these_tests_are_solid():
    assert box(2.0).signed_volume() == pytest.approx(8.0)
    assert is_manifold(box(1.0))


def test_only_outer_solid_parts_remain():
    whole = joined(
        box(0.05, (3, 0, 0)),  # stray, 1/8000 of the volume
        box(1.0),
        box(0.8, inside_out=True),  # a cavity
        box(0.5),  # floats in the cavity
        box(0.4, (2, 0, 0)),  # a second part
    )
    kept = keep_solid_parts(whole)
    expected = joined(box(1.0), box(0.4, (2, 0, 0)))
    np.testing.assert_array_equal(kept.vertices, expected.vertices)
    np.testing.assert_array_equal(kept.faces, expected.faces)
    assert len(keep_solid_parts(whole, smallest_share=0.1).faces) == 12


def test_a_mesh_inside_out_is_turned_before_parts_are_judged():
    whole = joined(box(1.0, inside_out=True), box(0.8))
    kept = keep_solid_parts(whole)
    assert kept.signed_volume() == pytest.approx(1.0)


def test_colours_and_uvs_follow_their_part():
    whole = joined(box(0.05, (3, 0, 0)), box(1.0))
    colors = np.repeat([[1.0, 0, 0], [0, 0, 1.0]], 8, axis=0).astype(np.float32)
    uvs = np.arange(24 * 6, dtype=np.float32).reshape(24, 3, 2)
    kept = keep_solid_parts(Mesh(whole.vertices, whole.faces, colors, uvs))
    assert kept.vertex_colors is not None and kept.face_uvs is not None
    np.testing.assert_array_equal(kept.vertex_colors, colors[8:])
    np.testing.assert_array_equal(kept.face_uvs, uvs[12:])


@pytest.mark.parametrize("mesh", [Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))])
def test_nothing_is_no_solid(mesh):
    with pytest.raises(ReconstructionError, match="no volume"):
        keep_solid_parts(mesh)
    with pytest.raises(ReconstructionError, match="empty"):
        make_closed_manifold(mesh)


def test_a_good_mesh_comes_back_untouched():
    mesh = box(1.0)
    assert make_closed_manifold(mesh) is mesh


def test_inside_out_is_turned():
    assert make_closed_manifold(box(1.0, inside_out=True)).signed_volume() == pytest.approx(1.0)


def test_a_triangle_soup_is_welded():
    solid = box(1.0)
    soup = Mesh(solid.vertices[solid.faces].reshape(-1, 3), np.arange(36).reshape(12, 3))
    mended = make_closed_manifold(soup)
    assert len(mended.vertices) == 8 and is_manifold(mended)


@pytest.mark.parametrize("offset", [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0)], ids=["edge", "vertex"])
def test_boxes_that_touch_are_parted(offset):
    """They share one edge or one vertex; both stay whole and near where they were."""
    mended = make_closed_manifold(joined(box(1.0), box(1.0, offset)))
    assert is_manifold(mended) and welded_edges_are_even(mended)
    assert len(mended.vertices) == 16 and len(mended.faces) == 24
    assert mended.signed_volume() == pytest.approx(2.0, rel=0.02)
    distances = np.linalg.norm(
        mended.vertices[:, None] - joined(box(1.0), box(1.0, offset)).vertices, axis=2
    )
    assert 0 < distances.min(axis=1).max() < 0.02


def test_two_edges_of_one_solid_that_touch_are_parted():
    """An open ring of boxes whose ends meet along an edge: one piece, an edge with four faces."""
    ring = [(x, y) for x in range(3) for y in range(3) if (x, y) not in [(1, 1), (2, 2)]]
    whole = voxels([(x, y, 0) for x, y in ring])
    assert not welded_edges_are_even(whole)  # the corners of (1, 2) and (2, 1) meet in an edge
    mended = make_closed_manifold(whole)
    assert is_manifold(mended) and welded_edges_are_even(mended)
    assert mended.signed_volume() == pytest.approx(7.0, rel=0.02)


def voxels(cells: list[tuple[int, int, int]]) -> Mesh:
    """The outer squares of unit boxes."""
    whole = joined(*[box(1.0, cell) for cell in cells])
    centres = whole.vertices[whole.faces].reshape(-1, 6, 3).mean(axis=1)
    doubled = np.round(centres * 4).astype(int).tolist()
    keep = np.repeat([doubled.count(centre) == 1 for centre in doubled], 2)
    return Mesh(whole.vertices, whole.faces[keep])


def test_random_voxels_become_manifold_with_their_volume():
    """Voxels touch along edges and at vertices in every possible way."""
    rng = np.random.default_rng(1)
    cells = [tuple(cell) for cell in np.argwhere(rng.random((6, 6, 6)) < 0.4).tolist()]
    whole = voxels(cells)
    assert not welded_edges_are_even(whole)
    mended = make_closed_manifold(whole)
    assert is_manifold(mended) and welded_edges_are_even(mended)
    assert mended.signed_volume() == pytest.approx(len(cells), rel=0.02)


def test_a_tube_pinched_flat_is_parted():
    """Two of three vertices of its middle ring meet: one ring of faces passes an edge twice."""
    angles = 2 * np.pi * np.arange(3) / 3
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    vertices = np.concatenate([np.pad(ring, ((0, 0), (0, 1)), constant_values=z) for z in range(3)])
    sides = [
        triangle
        for base in (0, 3)
        for i in range(3)
        for a, b in [(base + i, base + (i + 1) % 3)]
        for triangle in ((a, b, b + 3), (a, b + 3, a + 3))
    ]
    faces = np.array([*sides, (0, 2, 1), (6, 7, 8)], dtype=np.int32)
    assert is_manifold(Mesh(vertices.astype(np.float32), faces))
    vertices[5] = vertices[4]
    mended = make_closed_manifold(Mesh(vertices.astype(np.float32), faces))
    assert is_manifold(mended) and welded_edges_are_even(mended)


def test_holes_are_filled():
    solid = box(1.0)
    open_box = Mesh(solid.vertices, solid.faces[:-3])  # one square and one triangle are missing
    mended = make_closed_manifold(open_box)
    assert is_manifold(mended)
    assert mended.signed_volume() == pytest.approx(1.0, rel=0.2)


def test_a_filled_square_hole_restores_the_box():
    solid = box(1.0)
    colors = np.tile(np.array([0.2, 0.4, 0.6], dtype=np.float32), (8, 1))
    mended = make_closed_manifold(Mesh(solid.vertices, solid.faces[:-2], colors))
    assert mended.signed_volume() == pytest.approx(1.0) and len(mended.faces) == 14
    assert mended.vertex_colors is not None
    np.testing.assert_allclose(mended.vertex_colors, np.tile(colors[0], (9, 1)))


def test_faces_back_to_back_cancel():
    solid = box(1.0)
    flap = np.array([[0, 3, 5], [5, 3, 0]], dtype=np.int32)
    mended = make_closed_manifold(Mesh(solid.vertices, np.concatenate([solid.faces, flap])))
    np.testing.assert_array_equal(mended.vertices[mended.faces], solid.vertices[solid.faces])


def test_contradicting_orientations_are_refused():
    faces = BOX_FACES.copy()
    faces[3] = faces[3][::-1]
    with pytest.raises(ReconstructionError, match="wound inconsistently"):
        make_closed_manifold(Mesh(box(1.0).vertices, faces))
