"""What an object or an asset file looks like when it is rendered: copies of its meshes.

Only a render engine is given the scene as renders see it (levels of subdivision, instances,
generated geometry), so one is registered for the moment of the capture. The copies keep their
place in the world, because materials may depend on it, and share the artist's materials.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from ..backend.dataset_files import unit_cube_of
from ..backend.errors import InputError
from ..backend.lazy_numpy import np
from ..backend.views import Similarity
from .pictures import file_of

_WITH_FACES = ("MESH", "CURVE", "SURFACE", "FONT", "META")
_OTHERS_SEEN = {
    "CURVES": "hair curves",
    "POINTCLOUD": "a point cloud",
    "VOLUME": "a volume",
    "GREASEPENCIL": "a grease pencil drawing",
    "GPENCIL": "a grease pencil drawing",
}
"""Kinds of objects that renders show and meshes do not."""


@dataclass
class Captured:
    """An object as it is rendered.

    Attributes:
        parts: Copied meshes and where each stands, ``[4, 4]`` to the world.
        vertices: ``[V, 3]`` float64 in the unit cube: the middle of the box is the origin, its
            longest edge is 1. Only those of faces, each part's after the other's.
        faces: ``[F, 3]`` int32.
        to_world: From the unit cube to the world.
        problems: What the user should know about.
        transparent: Whether a material lets light through, so that faces may not be seen.
    """

    parts: list[tuple[bpy.types.Mesh, Any]]
    vertices: np.ndarray
    faces: np.ndarray
    to_world: Similarity
    problems: list[str]
    transparent: bool


# The data of the file, before and after -----------------------------------------------------------


def all_data() -> set[Any]:
    """Every data-block of the file."""
    collections = (
        getattr(bpy.data, prop.identifier)
        for prop in bpy.data.bl_rna.properties
        if prop.type == "COLLECTION"
    )
    return {block for collection in collections for block in collection}


@contextlib.contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Remove what was added to the file meanwhile, whatever happens."""
    before = all_data()
    try:
        yield
    finally:
        remove_new(before)


def remove_new(before: set[Any]) -> None:
    """Remove every data-block that is not in ``before``."""
    remove(all_data() - before)


def remove(blocks: Iterable[Any]) -> None:
    """Remove data-blocks; of scenes, those that no window shows.

    ``bpy.data.scenes.remove`` ends Blender 4.3 where the context has no window, as in a command
    that was started together with a file.
    """
    bpy.data.batch_remove(list(blocks))


@contextlib.contextmanager
def temporary_scene(like: bpy.types.Scene | None = None) -> Iterator[bpy.types.Scene]:
    """A new scene at the time of another one, removed afterwards."""
    scene = bpy.data.scenes.new("Image to Mesh")
    try:
        if like is not None:
            scene.frame_set(like.frame_current, subframe=like.frame_subframe)
            for name in ("use_simplify", "simplify_subdivision_render"):
                setattr(scene.render, name, getattr(like.render, name))
        yield scene
    finally:
        remove([scene])


# Capturing ----------------------------------------------------------------------------------------


def capture(
    objects: Iterable[bpy.types.Object], like: bpy.types.Scene | None, name: str
) -> Captured:
    """Copy what objects show in a render.

    Args:
        objects: They and nothing else, except what they instance.
        like: The scene whose time it is; None for a new scene's.
        name: How messages call them.

    Raises:
        InputError: They have no faces, no size, or vertices that are not numbers.
    """
    with temporary_scene(like) as scene:
        for item in dict.fromkeys(objects):
            scene.collection.objects.link(item)
        found = _evaluated(scene)
    parts = found.parts
    pieces = [_triangles(mesh, np.array(matrix, dtype=np.float64)) for mesh, matrix in parts]
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    faces = [piece + start for (_, piece), start in zip(pieces, starts, strict=False)]
    if not sum(map(len, faces)):
        raise InputError(f"'{name}' has no faces that are rendered; choose a mesh.")
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    to_world = unit_cube_of(vertices, name)
    materials = {m for mesh, _ in parts for m in mesh.materials if m is not None}
    return Captured(
        parts,
        (vertices - to_world.offset) / to_world.scale,
        np.concatenate(faces).astype(np.int32),
        to_world,
        [*found.problems, *_missing_textures(materials)],
        any(map(_lets_light_through, materials)),
    )


@dataclass
class _Found:
    parts: list[tuple[bpy.types.Mesh, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    error: Exception | None = None


def _evaluated(scene: bpy.types.Scene) -> _Found:
    """Copies of all meshes in a scene as a render engine is given them."""
    found = _Found()

    class Capture(bpy.types.RenderEngine):
        bl_idname = "IMAGE_TO_MESH_CAPTURE"
        bl_label = "Image to Mesh"

        def render(self, depsgraph: Any) -> None:
            try:
                _copy_all(depsgraph, found)
            except Exception as error:
                found.error = error

    camera = bpy.data.cameras.new("Image to Mesh")
    scene.camera = bpy.data.objects.new("Image to Mesh", camera)
    scene.collection.objects.link(scene.camera)
    scene.render.resolution_x = scene.render.resolution_y = 4
    bpy.utils.register_class(Capture)
    try:
        render: Any = scene.render
        render.engine = Capture.bl_idname
        with without_render_result():
            bpy.ops.render.render(scene=scene.name)
    finally:
        bpy.utils.unregister_class(Capture)
        bpy.data.cameras.remove(camera)  # takes its object along
    if found.error is not None:
        raise found.error
    return found


def _copy_all(depsgraph: Any, found: _Found) -> None:
    """A copy of each mesh, which instances share, and where it stands."""
    known: dict[int, bpy.types.Mesh] = {}
    for instance in depsgraph.object_instances:
        item = instance.object
        if kind := _OTHERS_SEEN.get(item.type):
            found.problems.append(f"'{item.name}' is {kind}; datasets show meshes alone.")
        if item.type not in _WITH_FACES or not instance.show_self:
            continue
        shared = item.data.as_pointer() if instance.is_instance and item.data else 0
        mesh = known.get(shared) if shared else None
        if mesh is None:
            mesh = _copy(item, depsgraph)
            known[shared] = mesh
        if len(mesh.polygons):
            found.parts.append((mesh, instance.matrix_world.copy()))


def _copy(item: bpy.types.Object, depsgraph: Any) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new_from_object(item, preserve_all_data_layers=True, depsgraph=depsgraph)
    for number, slot in enumerate(item.material_slots):
        if slot.link == "OBJECT" and number < len(mesh.materials):
            mesh.materials[number] = slot.material and slot.material.original
    return mesh


def _triangles(mesh: bpy.types.Mesh, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``[V, 3]`` in the world, those of faces alone, and triangles ``[F, 3]``."""
    mesh.calc_loop_triangles()
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)  # pyright: ignore[reportArgumentType]
    faces = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)  # pyright: ignore[reportArgumentType]
    used, faces = np.unique(faces, return_inverse=True)
    vertices = places.reshape(-1, 3)[used].astype(np.float64)
    faces = faces.reshape(-1, 3)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]  # mirrored instances keep their outside outside
    return vertices @ matrix[:3, :3].T + matrix[:3, 3], faces


# Materials ----------------------------------------------------------------------------------------


def _missing_textures(materials: Iterable[bpy.types.Material]) -> list[str]:
    found = []
    for material in sorted(materials, key=lambda m: m.name):
        for node in _nodes(material.node_tree):
            image = getattr(node, "image", None) if node.type == "TEX_IMAGE" else None
            if image is not None and _is_missing(image):
                found.append(
                    f"the texture '{Path(image.filepath).name or image.name}' of the material "
                    f"'{material.name}' is missing; it is rendered in Blender's pink."
                )
    return list(dict.fromkeys(found))


def _is_missing(image: bpy.types.Image) -> bool:
    in_memory = image.packed_file is not None or image.has_data
    return image.source == "FILE" and not in_memory and not file_of(image).is_file()


def show_invisible(objects: Iterable[bpy.types.Object]) -> list[str]:
    """Make imported materials opaque if all of them are wholly transparent; says so.

    Exporters exist that write an alpha of 0 with opaque materials.
    """
    materials = {slot.material for item in objects for slot in item.material_slots}
    alphas = [alpha for material in materials for alpha in _alphas(material)]
    if not alphas or any(alpha.is_linked or alpha.default_value > 0 for alpha in alphas):
        return []
    for alpha in alphas:
        alpha.default_value = 1.0
    return ["all its materials are wholly transparent in the file; they are rendered opaque."]


def _alphas(material: bpy.types.Material | None) -> list[Any]:
    nodes = _nodes(material.node_tree) if material else ()
    return [node.inputs["Alpha"] for node in nodes if node.type == "BSDF_PRINCIPLED"]


def _lets_light_through(material: bpy.types.Material) -> bool:
    if any(alpha.is_linked or alpha.default_value < 1.0 for alpha in _alphas(material)):
        return True
    kinds = {node.type for node in _nodes(material.node_tree)}
    return bool(kinds & {"BSDF_TRANSPARENT", "BSDF_GLASS", "BSDF_REFRACTION", "HOLDOUT"})


def _nodes(tree: Any) -> Iterator[Any]:
    """All nodes of a tree and of the groups in it."""
    for node in tree.nodes if tree else ():
        yield node
        if node.type == "GROUP":
            yield from _nodes(node.node_tree)


# Rendering without leaving the picture ------------------------------------------------------------


@contextlib.contextmanager
def without_render_result() -> Iterator[None]:
    """Remove the image "Render Result" afterwards unless it was there before."""
    before = {image.name for image in bpy.data.images if image.type == "RENDER_RESULT"}
    try:
        yield
    finally:
        for image in [i for i in bpy.data.images if i.type == "RENDER_RESULT"]:
            if image.name not in before:
                bpy.data.images.remove(image)


# Objects of the scene -----------------------------------------------------------------------------


def with_descendants(item: bpy.types.Object) -> list[bpy.types.Object]:
    """An object and all that hangs on it."""
    return [item, *item.children_recursive]


def could_have_faces(item: bpy.types.Object) -> bool:
    """Whether an object is of a kind that can show faces itself or by its children. Quick."""
    return item.type in (*_WITH_FACES, "EMPTY", "ARMATURE")


def may_have_faces(item: bpy.types.Object) -> bool:
    """Whether an object, or what hangs on it, can show faces in a render."""
    if item.type in _WITH_FACES or item.instance_type != "NONE":
        return True
    return any(map(may_have_faces, item.children))


# Asset files --------------------------------------------------------------------------------------


def import_asset(path: Path, up_axis: str = "") -> list[bpy.types.Object]:
    """Import a file; its objects are in no scene but a new one, and in the file's data.

    Args:
        path: Of a kind in ``ASSET_SUFFIXES``.
        up_axis: "y" or "z" for OBJ, PLY and STL, which do not say; empty for what is usual.

    Raises:
        InputError: It cannot be read or holds no objects.
    """
    before = set(bpy.data.objects)
    try:
        with temporary_scene() as scene, _in_scene(scene):
            _IMPORTERS[path.suffix.lower()](path, up_axis.upper())
            kept = bpy.data.collections.new("Image to Mesh")
            for item in scene.objects:
                kept.objects.link(item)
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise InputError(f"'{path.name}' cannot be read: {_reason(error, path)}.") from error
    objects = [item for item in bpy.data.objects if item not in before]
    if not objects:
        raise InputError(f"'{path.name}' cannot be read, or holds no objects.")
    return objects


def _reason(error: Exception, path: Path) -> str:
    """An importer's last words, without places that only this machine has."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = lines[-1] if lines else type(error).__name__
    if "Traceback" in str(error):  # of an importer in Python; ends with Blender's own place in it
        words = next((w for w in reversed(lines) if "Error: " in w or "error: " in w), words)
    words = words.replace(os.fspath(path), path.name).removeprefix("Error:").strip()
    return words.rstrip(".")[:300]


def _in_scene(scene: bpy.types.Scene) -> Any:
    """Importers put objects into the scene of the context, select them and make one active."""
    return bpy.context.temp_override(
        scene=scene, view_layer=scene.view_layers[0], collection=scene.collection
    )


def _import_gltf(path: Path, _: str) -> None:
    bpy.ops.import_scene.gltf(filepath=os.fspath(path))


def _import_obj(path: Path, up_axis: str) -> None:
    bpy.ops.wm.obj_import(filepath=os.fspath(path), **_axes(up_axis or "Y"))


def _import_ply(path: Path, up_axis: str) -> None:
    bpy.ops.wm.ply_import(filepath=os.fspath(path), **_axes(up_axis or "Z"))


def _import_stl(path: Path, up_axis: str) -> None:
    bpy.ops.wm.stl_import(filepath=os.fspath(path), **_axes(up_axis or "Z"))


def _import_fbx(path: Path, _: str) -> None:
    bpy.ops.import_scene.fbx(filepath=os.fspath(path))


def _import_usd(path: Path, _: str) -> None:
    bpy.ops.wm.usd_import(filepath=os.fspath(path), set_frame_range=False)


def _import_blend(path: Path, _: str) -> None:
    """Append the objects of the first scene, or of the whole file where there is none."""
    libraries: Any = bpy.data.libraries
    with libraries.load(os.fspath(path)) as (source, target):
        target.scenes = source.scenes[:1]
        if not source.scenes:
            target.objects = source.objects


def _import_off(path: Path, _: str) -> None:
    """Read the Object File Format, which Blender does not."""
    words = path.read_text("ascii").replace("OFF", "OFF ", 1).split()
    if words[0] != "OFF":
        raise ValueError("it does not begin with OFF")
    count, faces = int(words[1]), int(words[2])
    vertices = np.array(words[4 : 4 + 3 * count], dtype=np.float64).reshape(count, 3)
    polygons, position = [], 4 + 3 * count
    for _number in range(faces):
        corners = int(words[position])
        polygons.append([int(w) for w in words[position + 1 : position + 1 + corners]])
        position += 1 + corners
    if any(not 0 <= corner < count for polygon in polygons for corner in polygon):
        raise ValueError("a face names a vertex that is not there")
    mesh = bpy.data.meshes.new(path.stem)
    mesh.from_pydata(vertices.tolist(), [], polygons)
    mesh.validate()
    bpy.data.objects.new(path.stem, mesh)


def _axes(up_axis: str) -> dict[str, Any]:
    if up_axis == "Y":
        return {"forward_axis": "NEGATIVE_Z", "up_axis": "Y"}
    return {"forward_axis": "Y", "up_axis": "Z"}


_IMPORTERS = {
    ".glb": _import_gltf,
    ".gltf": _import_gltf,
    ".obj": _import_obj,
    ".ply": _import_ply,
    ".stl": _import_stl,
    ".fbx": _import_fbx,
    ".usd": _import_usd,
    ".usda": _import_usd,
    ".usdc": _import_usd,
    ".usdz": _import_usd,
    ".off": _import_off,
    ".blend": _import_blend,
}


ASSET_SUFFIXES = tuple(_IMPORTERS)


ASSET_SUFFIXES = tuple(_IMPORTERS)


def lamps(objects: Sequence[bpy.types.Object]) -> list[bpy.types.Object]:
    """The light sources among objects that a render would use."""
    return [item for item in objects if item.type == "LIGHT" and not item.hide_render]
