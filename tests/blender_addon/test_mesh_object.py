"""From a mesh file to an object: geometry, colours, material, place, remeshing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.blender

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)
COLORS = np.array(
    [[255, 0, 0, 255], [0, 128, 7, 255], [9, 60, 200, 255], [77, 77, 77, 255]], np.uint8
)
UVS = np.random.default_rng(0).random((4, 3, 2)).astype(np.float32)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def mesh_file(path: Path, **arrays: Any) -> Path:
    metadata = np.array(json.dumps({"method": "visual_hull"}))
    np.savez(path, vertices=CORNERS, faces=FACES, metadata=metadata, **arrays)
    return path


def add(blender: Any, path: Path, **words: Any) -> Any:
    module = blender.mesh_object
    placement = module.Placement(scene=blender.scene.name, **words)
    return module.add_mesh_object(
        module.read_mesh(path), placement, {"references": "[]", "seed": 3}
    )


def base_color(item: Any) -> Any:
    """The node that colours the material's surface."""
    [surface] = [n for n in item.data.materials[0].node_tree.nodes if n.type == "BSDF_PRINCIPLED"]
    links = surface.inputs["Base Color"].links
    return links[0].from_node if links else None


def test_geometry_and_vertex_colors_are_the_files(blender: Any, tmp_path: Path) -> None:
    item = add(blender, mesh_file(tmp_path / "mesh é.npz", colors=COLORS), name="Egg")
    mesh = item.data
    np.testing.assert_array_equal([v.co[:] for v in mesh.vertices], CORNERS)
    np.testing.assert_array_equal([p.vertices[:] for p in mesh.polygons], FACES)
    assert item.matrix_world.is_identity
    assert not mesh.validate()
    attribute = mesh.color_attributes["Color"]
    assert (attribute.domain, attribute.data_type) == ("POINT", "BYTE_COLOR")
    stored = np.array([value.color_srgb[:] for value in attribute.data])
    np.testing.assert_allclose(stored * 255, COLORS, atol=0.01)
    assert mesh.color_attributes.active_color.name == "Color"
    assert base_color(item).layer_name == "Color"
    assert item["image_to_mesh"]["seed"] == 3
    assert all(polygon.use_smooth for polygon in mesh.polygons)


def test_a_texture_is_packed_and_mapped(blender: Any, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 16, 3), np.uint8)
    path = mesh_file(tmp_path / "mesh.npz", uvs=UVS, texture=np.frombuffer(png(pixels), np.uint8))
    item = add(blender, path, smooth=False)
    image = base_color(item).image
    assert tuple(image.size) == (16, 8)
    assert image.packed_file is not None
    assert image.colorspace_settings.name == "sRGB"
    found = np.array(image.pixels[:]).reshape(8, 16, 4)[::-1, :, :3] * 255
    np.testing.assert_allclose(found, pixels, atol=0.01)
    uvs = np.array([loop.uv[:] for loop in item.data.uv_layers["UVMap"].data])
    np.testing.assert_array_equal(uvs.reshape(4, 3, 2), UVS)
    assert not any(polygon.use_smooth for polygon in item.data.polygons)


def test_without_colors_the_material_is_plain(blender: Any, tmp_path: Path) -> None:
    assert base_color(add(blender, mesh_file(tmp_path / "mesh.npz"))) is None


def test_it_is_selected_and_active_alone(blender: Any, tmp_path: Path) -> None:
    path = mesh_file(tmp_path / "mesh.npz")
    first, second = add(blender, path), add(blender, path)
    assert blender.bpy.context.selected_objects == [second]
    assert blender.bpy.context.active_object == second
    assert first.name != second.name


def test_it_goes_where_it_was_ordered(blender: Any, tmp_path: Path) -> None:
    path = mesh_file(tmp_path / "mesh.npz")
    inside = blender.bpy.data.collections.new("Inside")
    blender.scene.collection.children.link(inside)
    elsewhere = blender.bpy.data.collections.new("Elsewhere")
    assert add(blender, path, collection="Inside").users_collection == (inside,)
    root = blender.scene.collection
    assert add(blender, path, collection="gone").users_collection == (root,)
    assert root in add(blender, path, collection="Elsewhere").users_collection
    assert len(elsewhere.objects) == 1


def test_another_scene_keeps_its_selection(blender: Any, tmp_path: Path) -> None:
    module, ordered = blender.mesh_object, blender.scene
    other = blender.bpy.data.scenes.new("Other")
    blender.bpy.context.window.scene = other
    arrays = module.read_mesh(mesh_file(tmp_path / "mesh.npz"))
    item = module.add_mesh_object(arrays, module.Placement(scene=ordered.name), {"references": ""})
    assert list(ordered.objects) == [item]
    assert not len(other.objects)
    assert ordered.view_layers[0].objects.active == item
    module.add_mesh_object(arrays, module.Placement(scene="gone"), {"references": ""})
    assert len(other.objects) == 1


def test_an_artist_in_edit_mode_is_not_disturbed(blender: Any, tmp_path: Path) -> None:
    path = mesh_file(tmp_path / "mesh.npz")
    first = add(blender, path)
    blender.bpy.ops.object.mode_set(mode="EDIT")
    second = add(blender, path)
    assert blender.bpy.context.active_object == first
    assert first.mode == "EDIT"
    assert not second.select_get()
    blender.bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize(
    "words", [{"remesh": "quads", "remesh_faces": 300}, {"remesh": "voxels", "remesh_voxels": 24}]
)
def test_remeshing_keeps_shape_and_colors(
    blender: Any, tmp_path: Path, words: dict[str, Any]
) -> None:
    blender.bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=4, radius=0.5, location=(2, 0, 0))
    ball = blender.bpy.context.active_object
    vertices = np.array([ball.matrix_world @ v.co for v in ball.data.vertices], np.float32)
    faces = np.array([p.vertices[:] for p in ball.data.polygons], np.int32)
    colors = np.full((len(vertices), 4), 255, np.uint8)
    colors[:, 0] = np.where(vertices[:, 0] < 2, 0, 255)
    np.savez(tmp_path / "ball.npz", vertices=vertices, faces=faces, colors=colors)
    item = add(blender, tmp_path / "ball.npz", **words)
    assert len(item.data.polygons) != len(faces)
    assert all(len(p.vertices) == 4 for p in item.data.polygons)
    found = np.array([v.co[:] for v in item.data.vertices])
    distance = np.linalg.norm(found - [2, 0, 0], axis=1)
    assert distance.min() > 0.45
    assert distance.max() < 0.53
    red = np.array([value.color_srgb[0] for value in item.data.color_attributes["Color"].data])
    assert (red[found[:, 0] < 1.8] < 0.1).all()
    assert (red[found[:, 0] > 2.2] > 0.9).all()


def test_a_file_without_a_mesh_is_refused(blender: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", points=CORNERS)
    with pytest.raises(ValueError, match="holds no mesh"):
        blender.mesh_object.read_mesh(tmp_path / "other.npz")
