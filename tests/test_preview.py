import numpy as np
import pytest
from PIL import Image
from skimage.measure import marching_cubes

from backend.errors import InputError
from backend.geometry.mesh import Mesh
from backend.preview import render_preview


def ball() -> Mesh:
    axis = np.linspace(-1.2, 1.2, 30)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    field = np.sqrt(x * x + y * y + z * z) - 1.0
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    return Mesh((vertices * (axis[1] - axis[0]) - 1.2).astype(np.float32), faces.astype(np.int32))


def tiles(path) -> np.ndarray:
    """``[2, 3, h, w, 3]``: colours above, clay below."""
    picture = np.asarray(Image.open(path)).astype(int)
    height, width = picture.shape[:2]
    return picture.reshape(2, height // 2, 3, width // 3, 3).transpose(0, 2, 1, 3, 4)


def test_directions_and_colours(tmp_path):
    """A ball with a red front (-Y), a blue back and a green top, 100 m away from the origin."""
    mesh = ball()
    _, y, z = mesh.vertices.T
    colors = np.stack([y < 0, z > 0.8, y >= 0], axis=1).astype(np.float32)
    moved = Mesh(mesh.vertices + np.float32(100), mesh.faces, vertex_colors=colors)
    render_preview(moved, tmp_path / "preview.png", (200, 300))
    picture = tiles(tmp_path / "preview.png")
    front, _, back = (picture[0, column, 50, 50] for column in range(3))
    assert front[0] > 150 > 100 > front[2] and back[2] > 150 > 100 > back[0]
    # The green cap lies at the top of every coloured tile, and the clay below has no colour.
    for column in range(3):
        green = (picture[0, column, :, :, 1] - picture[0, column, :, :, 0]) > 60
        assert green.any() and green.nonzero()[0].mean() < 40
    assert np.ptp(picture[1, :, 50, 50], axis=-1).max() < 20


def test_the_object_fills_its_tile_and_light_comes_from_above(tmp_path):
    render_preview(ball(), tmp_path / "preview.png", (200, 300))
    picture = tiles(tmp_path / "preview.png")
    np.testing.assert_array_equal(picture[0], picture[1])  # no colours: clay in both rows
    backdrop = picture[0, 0, :, :1]
    for tile in picture[0]:
        rows = (np.abs(tile - backdrop).max(axis=(1, 2)) > 8).nonzero()[0]
        assert 5 <= rows.min() <= 9 and 91 <= rows.max() <= 94
        assert tile[25, 50].mean() > tile[75, 50].mean() + 15


def test_texture_wins_over_vertex_colours(tmp_path):
    mesh = ball()
    uvs = np.full((len(mesh.faces), 3, 2), 0.75, dtype=np.float32)  # right above: the green texel
    texture = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8)
    textured = Mesh(mesh.vertices, mesh.faces, np.zeros_like(mesh.vertices), uvs, texture)
    render_preview(textured, tmp_path / "preview.png", (200, 300))
    middle = tiles(tmp_path / "preview.png")[0, :, 50, 50]
    assert (middle[:, 1] > 120).all() and (middle[:, [0, 2]] < 10).all()


def test_any_size_and_the_same_bytes(tmp_path):
    for name in ("one.png", "other.png"):
        render_preview(ball(), tmp_path / name, (101, 203))
    assert Image.open(tmp_path / "one.png").size == (203, 101)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        render_preview(ball(), tmp_path / "missing" / "preview.png", (60, 90))
