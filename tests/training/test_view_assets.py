"""The same object from every kind of file, and what is said about files that are not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from backend.errors import InputError
from backend.files import png
from backend.geometry.mesh import Mesh
from backend.mesh_files import write_mesh
from training.view_assets import ASSET_SUFFIXES, ColoredMesh, read_asset, sample_texture

PLACES = np.array(
    [(0, 0, 0), (3, 0, 0), (3, 1, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (2, 0.3, 2.2)], np.float32
)
FACES = np.array(
    [(2, 1, 0), (3, 2, 0), (0, 1, 4), (2, 3, 5), (0, 4, 5), (0, 5, 3), (1, 6, 4), (4, 6, 5)], int
)
"""A wedge with a spike, unlike each of its mirror images."""
RED, DARK = (255, 0, 0), (64, 32, 16)


def lopsided() -> Any:
    return trimesh.Trimesh(PLACES, FACES, process=False)


def y_up(mesh: Any) -> Any:
    mesh = mesh.copy()
    mesh.vertices = np.stack([mesh.vertices[:, 0], mesh.vertices[:, 2], -mesh.vertices[:, 1]], 1)
    return mesh


def exported(folder: Path, suffix: str) -> Path:
    path = folder / f"thing{suffix}"
    turned = suffix in (".glb", ".gltf", ".obj")
    (y_up(lopsided()) if turned else lopsided()).export(path)
    return path


def linear(bytes_: Any) -> np.ndarray:
    values = np.asarray(bytes_, float) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def corners_in_world(mesh: ColoredMesh) -> np.ndarray:
    return (mesh.vertices * mesh.to_world.scale + mesh.to_world.offset)[mesh.faces]


@pytest.mark.parametrize("suffix", ASSET_SUFFIXES)
def test_every_format_gives_the_same_triangles_in_the_unit_cube(
    tmp_path: Path, suffix: str
) -> None:
    mesh = read_asset(exported(tmp_path, suffix))
    np.testing.assert_allclose(corners_in_world(mesh), PLACES[FACES], atol=1e-5)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low + high, 0.0, atol=1e-6)
    assert abs((high - low).max() - 1.0) < 1e-6
    assert mesh.problems == ()


def test_an_index_may_say_which_axis_is_up(tmp_path: Path) -> None:
    for suffix, up in ((".ply", "z"), (".obj", "y")):
        path = exported(tmp_path, suffix)
        usual, other = read_asset(path), read_asset(path, "z" if up == "y" else "y")
        np.testing.assert_array_equal(read_asset(path, up).vertices, usual.vertices)
        turned = usual.vertices[:, [0, 2, 1]] * ([1, -1, 1] if up == "z" else [1, 1, -1])
        np.testing.assert_allclose(other.vertices, turned, atol=1e-6)
    glb = exported(tmp_path, ".glb")  # which says itself
    np.testing.assert_array_equal(read_asset(glb, "z").vertices, read_asset(glb).vertices)


def test_vertices_of_no_face_do_not_count(tmp_path: Path) -> None:
    places = np.concatenate([[[100.0, 0, 0]], PLACES])
    trimesh.Trimesh(places, FACES + 1, process=False).export(tmp_path / "thing.off")
    mesh = read_asset(tmp_path / "thing.off")
    assert mesh.to_world.scale == pytest.approx(3.0)
    np.testing.assert_allclose(corners_in_world(mesh), PLACES[FACES], atol=1e-6)


def test_instances_stand_where_the_file_puts_them_and_mirrored_ones_keep_their_outside(
    tmp_path: Path,
) -> None:
    scene, box = trimesh.Scene(), trimesh.creation.box((1.0, 1.0, 1.0))
    scene.add_geometry(box, geom_name="box")
    mirrored = np.diag([-1.0, 2.0, 1.0, 1.0])
    mirrored[0, 3] = 5.0
    scene.graph.update("again", matrix=mirrored, geometry="box")
    scene.export(tmp_path / "two.glb")
    mesh = read_asset(tmp_path / "two.glb")
    whole = trimesh.Trimesh(corners_in_world(mesh).reshape(-1, 3), np.arange(72).reshape(-1, 3))
    assert sorted(round(part.volume, 4) for part in whole.split()) == [1.0, 2.0]
    np.testing.assert_allclose(np.ptp(whole.vertices, axis=0), [6.0, 1.0, 2.0], atol=1e-5)


# Colours ------------------------------------------------------------------------------------------


def test_colours_of_vertices_faces_and_materials(tmp_path: Path) -> None:
    by_vertex, by_face, plain = lopsided(), lopsided(), lopsided()
    by_vertex.visual.vertex_colors = np.where(PLACES[:, 2:] > 0.5, [RED], [DARK])
    by_vertex.export(tmp_path / "vertex.ply")
    found = read_asset(tmp_path / "vertex.ply").colors
    expected = np.where(PLACES[FACES][..., 2:] > 0.5, linear(RED), linear(DARK))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    colors = np.array([RED] * 3 + [DARK] * 5)
    by_face.visual.face_colors = colors
    by_face.export(tmp_path / "face.ply")
    found = read_asset(tmp_path / "face.ply").colors
    np.testing.assert_allclose(found, linear(colors)[:, None].repeat(3, axis=1), atol=1e-6)
    material = PBRMaterial(baseColorFactor=[128, 64, 255, 255])  # of glTF, so it is linear
    plain.visual = TextureVisuals(material=material)
    y_up(plain).export(tmp_path / "plain.glb")
    found = read_asset(tmp_path / "plain.glb").colors
    np.testing.assert_allclose(found, np.broadcast_to([128 / 255, 64 / 255, 1], found.shape), 1e-2)
    lopsided().export(tmp_path / "bare.ply")
    assert (read_asset(tmp_path / "bare.ply").colors == np.float32(0.8)).all()


def test_textures_are_kept_apart_and_shrunk_by_averaging(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    rng = np.random.default_rng(0)
    uv = rng.random((7, 2)) * 3 - 1  # beyond [0, 1]: it repeats
    for name, color in (("one", RED), ("two", DARK)):
        mesh = lopsided()
        image = Image.fromarray(np.full((64, 32, 3), color, np.uint8))
        mesh.visual = TextureVisuals(uv=uv, material=PBRMaterial(baseColorTexture=image))
        scene.add_geometry(mesh, geom_name=name)
    scene.export(tmp_path / "two.glb")
    mesh = read_asset(tmp_path / "two.glb", texture_size=16)
    assert [texture.shape for texture in mesh.textures] == [(16, 8, 3)] * 2
    assert sorted(np.unique(mesh.texture, return_counts=True)[1]) == [8, 8]
    np.testing.assert_allclose(mesh.uvs[:8], uv[FACES], atol=1e-5)
    seen = {tuple(np.round(mesh.textures[i][0, 0], 4)) for i in (0, 1)}
    assert seen == {tuple(np.round(linear(c).astype(np.float32), 4)) for c in (RED, DARK)}


def test_faces_at_one_place_of_a_palette_take_its_colour(tmp_path: Path) -> None:
    """What the project's own shapes and many published models do."""
    pixels = np.array([[RED, DARK, (0, 255, 0)]], np.uint8)
    u = (np.array([0, 1, 2, 0, 1, 2, 0, 1]) + 0.5) / 3
    uvs = np.stack([u, np.full(8, 0.5)], axis=1)[:, None].repeat(3, axis=1).astype(np.float32)
    shape = Mesh(PLACES, FACES.astype(np.int32), face_uvs=uvs, texture=pixels)
    for suffix in (".glb", ".obj"):
        write_mesh(tmp_path / f"palette{suffix}", shape, {})
        mesh = read_asset(tmp_path / f"palette{suffix}")
        assert (mesh.texture == -1).all()
        expected = linear(pixels[0])[[0, 1, 2, 0, 1, 2, 0, 1]][:, None].repeat(3, axis=1)
        np.testing.assert_allclose(mesh.colors, expected, atol=1e-5)


def test_a_sampled_texture_is_bilinear_and_repeats() -> None:
    texture = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    middles = np.array([[(c + 0.5) / 4, 1 - (r + 0.5) / 2] for r in (0, 1) for c in range(4)])
    np.testing.assert_allclose(sample_texture(texture, middles), texture.reshape(8, 3), atol=1e-5)
    shifted = middles + [2.0, -3.0]
    np.testing.assert_allclose(sample_texture(texture, shifted), texture.reshape(8, 3), atol=1e-5)
    between = sample_texture(texture, np.array([[0.25, 0.75], [0.125, 0.5], [0.0, 0.75]]))
    expected = [texture[0, :2].mean(axis=0), texture[:, 0].mean(axis=0), texture[0, [0, 3]].mean(0)]
    np.testing.assert_allclose(between, expected, atol=1e-5)


# Problems and errors ------------------------------------------------------------------------------


def test_transparency_and_missing_textures_are_told(tmp_path: Path) -> None:
    glass = lopsided()
    material = PBRMaterial(baseColorFactor=[255, 255, 255, 100], alphaMode="BLEND")
    glass.visual = TextureVisuals(material=material)
    glass.export(tmp_path / "glass.glb")
    assert read_asset(tmp_path / "glass.glb").problems == (
        "a material lets light through; it is rendered opaque.",
    )
    picture = SimpleMaterial(image=Image.fromarray(np.zeros((4, 4, 3), np.uint8)))
    wood = lopsided()
    wood.visual = TextureVisuals(uv=PLACES[:, :2], material=picture)
    wood.export(tmp_path / "wood.obj", mtl_name="wood.mtl")
    assert read_asset(tmp_path / "wood.obj").problems == ()
    for image in tmp_path.glob("*.png"):
        image.unlink()
    (problem,) = read_asset(tmp_path / "wood.obj").problems
    assert "the texture 'material_0.png' is missing" in problem
    (tmp_path / "wood.mtl").unlink()
    (problem,) = read_asset(tmp_path / "wood.obj").problems
    assert "the material file 'wood.mtl' is missing" in problem


def test_files_that_cannot_be_rendered(tmp_path: Path) -> None:
    write_mesh(tmp_path / "whole.glb", Mesh(PLACES, FACES.astype(np.int32)), {})
    contents = {
        "torn.glb": (tmp_path / "whole.glb").read_bytes()[:600],
        "other.obj": b"hello",
        "empty.ply": b"",
        "picture.glb": png(np.zeros((4, 4), np.uint8)),
        "faceless.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\n",
        "point.obj": b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n",
        "nan.obj": b"v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n",
        "far.off": b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
    }
    words = {"point.obj": "has no size", "nan.obj": "are no numbers", "faceless.obj": "no faces"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            InputError, match=words.get(name, "cannot be read|no faces|damaged")
        ) as caught:
            read_asset(tmp_path / name)
        assert str(caught.value).startswith(f"'{name}'")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        read_asset(tmp_path / "nowhere.glb")
