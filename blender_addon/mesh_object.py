"""A result file -> a Blender object with its material; what is stored on it.

The file's vertices are in Blender's world, so the object's transform stays the identity. Colours
are sRGB bytes, as Blender's byte colour attributes and its PNG textures are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..backend.lazy_numpy import np

COLOR_ATTRIBUTE = "Color"
UV_MAP = "UVMap"
PROPERTY = "image_to_mesh"
"""Name of the custom property that holds what made the object."""

_ROUGHNESS = 0.9  # photographs hold their own light; a shiny surface would add a second one


@dataclass(frozen=True)
class MeshArrays:
    """A mesh file's content.

    Attributes:
        vertices: ``[V, 3]`` float32 in the world.
        faces: ``[F, 3]`` int32.
        colors: ``[V, 4]`` uint8 sRGB, or None.
        uvs: ``[F, 3, 2]`` float32, a position in the texture for each corner, v up; or None.
        texture: A PNG file's bytes, or empty.
        metadata: What the backend says of its making.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray | None
    texture: bytes
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Placement:
    """Where the result goes and how it is finished; names, as Blender's data may be gone by then.

    Attributes:
        scene: The scene's name.
        collection: The collection's name, or empty for the scene's own.
        name: Of the object.
        smooth: Whether it is shaded smooth.
        remesh: none, quads or voxels.
        remesh_faces: About as many quads.
        remesh_voxels: Voxels along the longest edge.
    """

    scene: str
    collection: str = ""
    name: str = "Reconstruction"
    smooth: bool = True
    remesh: str = "none"
    remesh_faces: int = 4000
    remesh_voxels: int = 96


def read_mesh(path: Path) -> MeshArrays:
    """Read the mesh file that the backend wrote.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds something else.
    """
    with np.load(path, allow_pickle=False) as data:
        if "vertices" not in data or "faces" not in data:
            raise ValueError(f"{path} holds no mesh.")
        return MeshArrays(
            vertices=data["vertices"],
            faces=data["faces"],
            colors=data.get("colors"),
            uvs=data.get("uvs"),
            texture=data["texture"].tobytes() if "texture" in data else b"",
            metadata=json.loads(str(data["metadata"])) if "metadata" in data else {},
        )


def add_mesh_object(
    arrays: MeshArrays, placement: Placement, stored: Mapping[str, Any]
) -> bpy.types.Object:
    """Add the mesh to its scene, selected and active, with its material.

    Args:
        arrays: The mesh.
        placement: Where it goes. A scene or collection that is gone is replaced by what is there.
        stored: Kept on the object as custom property :data:`PROPERTY`; numbers and text.
    """
    scene: Any = bpy.data.scenes.get(placement.scene) or bpy.context.scene
    mesh = build_mesh(placement.name, arrays)
    item = bpy.data.objects.new(placement.name, mesh)
    (bpy.data.collections.get(placement.collection) or scene.collection).objects.link(item)
    if item.name not in scene.objects:  # the collection belongs to another scene
        scene.collection.objects.link(item)
    mesh.materials.append(make_material(item.name, arrays))
    shade(mesh, placement.smooth)
    item[PROPERTY] = dict(stored)
    _remesh(item, placement, float(np.ptp(arrays.vertices, axis=0).max()))
    _select_only(item, scene)
    return item


def stored_on(item: bpy.types.Object) -> Mapping[str, Any] | None:
    """What :func:`add_mesh_object` kept on an object; None for any other object."""
    stored = item.get(PROPERTY)
    return stored if stored is not None and "references" in stored else None


def build_mesh(name: str, arrays: MeshArrays) -> bpy.types.Mesh:
    """Make Blender's mesh, with colour attribute and UV map where the arrays have them."""
    mesh = bpy.data.meshes.new(name)
    corners = len(arrays.faces) * 3
    mesh.vertices.add(len(arrays.vertices))
    mesh.loops.add(corners)
    mesh.polygons.add(len(arrays.faces))
    _fill(mesh.vertices, "co", arrays.vertices, np.float32)
    _fill(mesh.loops, "vertex_index", arrays.faces, np.int32)
    _fill(mesh.polygons, "loop_start", np.arange(0, corners, 3), np.int32)
    mesh.update(calc_edges=True)
    if arrays.colors is not None:
        attribute = mesh.color_attributes.new(COLOR_ATTRIBUTE, "BYTE_COLOR", "POINT")
        _fill(attribute.data, "color_srgb", arrays.colors / 255.0, np.float32)  # pyright: ignore[reportAttributeAccessIssue]
    if arrays.uvs is not None:
        _fill(mesh.uv_layers.new(name=UV_MAP).data, "uv", arrays.uvs, np.float32)
    return mesh


def make_material(name: str, arrays: MeshArrays) -> bpy.types.Material:
    """A Principled BSDF with the texture, else the colour attribute, else plain."""
    material = bpy.data.materials.new(name)
    if not material.node_tree:  # from 5.0 on every material has one
        material.use_nodes = True
    tree = material.node_tree
    assert tree is not None
    surface = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    surface.inputs["Roughness"].default_value = _ROUGHNESS  # pyright: ignore[reportAttributeAccessIssue]
    if arrays.texture:
        colors: Any = tree.nodes.new("ShaderNodeTexImage")
        colors.image = _packed_image(f"{name} Colors", arrays.texture)
    elif arrays.colors is not None:
        colors = tree.nodes.new("ShaderNodeVertexColor")
        colors.layer_name = COLOR_ATTRIBUTE
    else:
        return material
    colors.location = (surface.location.x - 320, surface.location.y)
    tree.nodes.active = colors  # Solid mode's texture colours show the active one
    tree.links.new(colors.outputs["Color"], surface.inputs["Base Color"])
    return material


def shade(mesh: bpy.types.Mesh, smooth: bool) -> None:
    """Shade every face smooth or flat."""
    if smooth:
        mesh.shade_smooth()
    else:
        mesh.shade_flat()


def acting_on(item: bpy.types.Object) -> Any:
    """A context in which Blender's operators act on an object alone.

    ``blender --command`` runs without a window, and so without an active object.
    """
    words: dict[str, Any] = {"object": item, "active_object": item}
    words |= {"selected_objects": [item], "selected_editable_objects": [item]}
    manager: Any = bpy.context.window_manager
    if bpy.context.window is None and manager and len(manager.windows):
        words["window"] = manager.windows[0]
    return bpy.context.temp_override(**words)


def _fill(items: Any, attribute: str, values: np.ndarray, kind: type) -> None:
    items.foreach_set(attribute, np.ascontiguousarray(values, kind).ravel())


def _packed_image(name: str, content: bytes) -> bpy.types.Image:
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=content, data_len=len(content))  # pyright: ignore[reportArgumentType]
    image.source = "FILE"
    return image


def _remesh(item: bpy.types.Object, placement: Placement, longest_edge: float) -> None:
    """Rebuild the surface with Blender's own tools; colour attributes are carried over."""
    mesh: Any = item.data
    if placement.remesh == "none":
        return
    with acting_on(item):
        if placement.remesh == "quads":
            bpy.ops.object.quadriflow_remesh(
                target_faces=placement.remesh_faces,
                use_mesh_symmetry=False,
                preserve_attributes=True,
                smooth_normals=placement.smooth,
            )
        else:
            mesh.remesh_voxel_size = longest_edge / placement.remesh_voxels
            mesh.use_remesh_preserve_attributes = True
            bpy.ops.object.voxel_remesh()
    shade(mesh, placement.smooth)


def _select_only(item: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Select it alone and make it active, unless the artist is busy in another mode."""
    context: Any = bpy.context
    is_current = context.scene == scene and context.view_layer is not None
    layer: Any = context.view_layer if is_current else scene.view_layers[0]
    layer.update()  # a scene that is not shown knows nothing of a new object yet
    if item.name not in layer.objects:  # its collection is excluded from the layer
        return
    active = layer.objects.active
    if active is not None and active.mode != "OBJECT":
        return
    for other in layer.objects.selected:
        other.select_set(False, view_layer=layer)
    item.select_set(True, view_layer=layer)
    layer.objects.active = item
