"""What the artist sets, kept in the scene as ``scene.image_to_mesh``.

Words that the backend also knows (methods, qualities, textures, symmetries) are spelt as in
``protocol.Reconstruct``, so nothing translates between them.
"""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..backend.methods import METHODS
from ..backend.methods.interface import QUALITIES, MethodSpec
from ..backend.named_views import ALIGNMENTS, NAMED_VIEWS
from ..backend.protocol import Reconstruct
from .reference_views import is_image_empty

_LARGEST_INT = 2**31 - 1

_VIEW_ICONS = {
    "front": "AXIS_FRONT",
    "back": "AXIS_FRONT",
    "left": "AXIS_SIDE",
    "right": "AXIS_SIDE",
    "top": "AXIS_TOP",
    "bottom": "AXIS_TOP",
}
VIEW_ITEMS = [
    (
        "EMPTY",
        "Image Empty",
        "Seen as the image empty stands in the scene, from where its Z axis points, without "
        "perspective",
        "OUTLINER_OB_IMAGE",
        0,
    ),
    *(
        (
            name.upper(),
            name.title(),
            f"A drawing of the {name}; scale and position are found from all drawings together",
            _VIEW_ICONS[name],
            number + 1,
        )
        for number, name in enumerate(NAMED_VIEWS)
    ),
    (
        "CAMERA",
        "Camera",
        "Seen by a camera of the scene, whose frame the picture fills",
        "OUTLINER_OB_CAMERA",
        10,
    ),
    (
        "STORED",
        "Camera File",
        "Seen by the camera that came with the picture's folder",
        "FILE",
        11,
    ),
]
MASK_ITEMS = [
    ("AUTO", "Automatic", "The alpha channel if there is one, else the object is found by itself"),
    ("ALPHA", "Alpha", "The alpha channel tells what is object"),
    ("IMAGE", "Image", "A black and white image of the same size; white is object"),
]
QUALITY_ITEMS = [
    (name, name.title(), text)
    for name, text in zip(
        QUALITIES,
        ("Seconds; to see whether the references fit", "For most work", "Slow, with most detail"),
        strict=True,
    )
]
TEXTURE_ITEMS = [
    ("uv", "Image Texture", "Unwrap the mesh and bake the references into an image"),
    ("vertex", "Color Attribute", "Store the references' colors at the vertices"),
    ("none", "None", "No colors"),
]
SYMMETRY_ITEMS = [
    ("auto", "Auto", "Mirror the shape where the references' outlines show that it is symmetric"),
    ("none", "None", "The sides may differ"),
    ("x", "X", "Left and right are mirror images, in shape and colors"),
    ("y", "Y", "Front and back are mirror images, in shape and colors"),
]
ALIGN_ITEMS = [
    (
        ALIGNMENTS[0],
        "By Outline",
        "Each drawing is scaled and moved so that the object's outlines agree",
    ),
    (ALIGNMENTS[1], "As Drawn", "All drawings have one scale, and their middles agree"),
]
REMESH_ITEMS = [
    ("none", "None", "Keep the triangles"),
    ("quads", "Quads", "Rebuild the surface of quads with Blender's QuadriFlow"),
    ("voxels", "Voxels", "Rebuild the surface evenly with Blender's voxel remesher"),
]


def _is_image_empty(_: bpy.types.PropertyGroup, item: bpy.types.Object) -> bool:
    return is_image_empty(item)


def _is_camera(_: bpy.types.PropertyGroup, item: bpy.types.Object) -> bool:
    return item.type == "CAMERA"


class Reference(bpy.types.PropertyGroup):
    """One picture and from where it is seen; ``name`` is what the list shows."""

    enabled: BoolProperty(name="Use", description="Use this reference", default=True)
    view: EnumProperty(name="View", description="From where the picture is seen", items=VIEW_ITEMS)
    image: PointerProperty(type=bpy.types.Image, name="Picture", description="The picture")
    empty: PointerProperty(
        type=bpy.types.Object,
        name="Empty",
        description="The image empty that stands for this view",
        poll=_is_image_empty,
    )
    camera: PointerProperty(
        type=bpy.types.Object,
        name="Camera",
        description="The camera that sees the object as the picture shows it",
        poll=_is_camera,
    )
    stored_camera: StringProperty(options={"HIDDEN"})
    mask: EnumProperty(
        name="Mask", description="How the object is told from the background", items=MASK_ITEMS
    )
    mask_image: PointerProperty(
        type=bpy.types.Image, name="Mask Image", description="White where the object is"
    )

    def picture(self) -> bpy.types.Image | None:
        """The picture: the empty's, else the chosen one, else the camera's background image."""
        if self.view == "EMPTY":
            return self.empty.data if is_image_empty(self.empty) else None
        if self.image is None and self.view == "CAMERA" and self.camera is not None:
            backgrounds = self.camera.data.background_images
            return next((b.image for b in backgrounds if b.image is not None), None)
        return self.image


# A method's own parameters ------------------------------------------------------------------------


class MethodParameters(bpy.types.PropertyGroup):
    """Base of the groups that :func:`parameter_group` makes.

    A parameter follows the quality until the artist changes it: ``<name>_is_set`` then says so and
    ``<name>_value`` holds the artist's value.
    """

    spec: MethodSpec

    def names(self) -> list[str]:
        """The parameters' names, in the order of the method's ``Params``."""
        return [f.name for f in dataclasses.fields(self.spec.params)]

    def changed(self) -> dict[str, Any]:
        """The values that the artist has changed."""
        return {name: getattr(self, name) for name in self.names() if self.is_set(name)}

    def is_set(self, name: str) -> bool:
        """Whether the artist has changed a parameter."""
        return getattr(self, f"{name}_is_set")

    def reset(self, name: str) -> None:
        """Let a parameter follow the quality again."""
        setattr(self, f"{name}_is_set", False)


def parameter_group(spec: MethodSpec) -> type[MethodParameters]:
    """Make the property group of a method from its ``Params``: one property for each field."""
    annotations: dict[str, Any] = {}
    for field in dataclasses.fields(spec.params):
        annotations[field.name] = _property(spec, field)
        annotations[f"{field.name}_is_set"] = BoolProperty(options={"HIDDEN"})
        annotations[f"{field.name}_value"] = _storage(field)
    name = f"{spec.name.title().replace('_', '')}Parameters"
    return type(name, (MethodParameters,), {"__annotations__": annotations, "spec": spec})


def _storage(field: dataclasses.Field) -> Any:
    """Where the artist's value is kept; an enumeration's is its number."""
    kind = int if field.metadata["choices"] else type(field.default)
    makers: Mapping[type, Callable[..., Any]] = {
        bool: BoolProperty,
        int: IntProperty,
        float: FloatProperty,
        str: StringProperty,
    }
    return makers[kind](options={"HIDDEN"})


def _property(spec: MethodSpec, field: dataclasses.Field) -> Any:
    metadata, name = field.metadata, field.name
    choices = metadata["choices"]

    def follow(group: MethodParameters) -> Any:
        if group.is_set(name):
            return getattr(group, f"{name}_value")
        quality = group.id_data.image_to_mesh.quality
        value = spec.presets.get(quality, {}).get(name, field.default)
        return choices.index(value) if choices else value

    def change(group: MethodParameters, value: Any) -> None:
        setattr(group, f"{name}_value", _clamped(value, metadata))
        setattr(group, f"{name}_is_set", True)

    words = {
        "name": name.replace("_", " ").title(),
        "description": metadata["description"].removesuffix("."),
        "get": follow,
        "set": change,
    }
    if choices:
        return EnumProperty(items=[(c, c.replace("_", " ").title(), "") for c in choices], **words)
    if isinstance(field.default, bool):
        return BoolProperty(**words)
    if isinstance(field.default, str):
        return StringProperty(**words)
    if isinstance(field.default, int):
        return IntProperty(**words, **_bounds(metadata, -_LARGEST_INT, _LARGEST_INT))
    return FloatProperty(**words, **_bounds(metadata, -3.4e38, 3.4e38))


def _clamped(value: Any, metadata: Mapping[str, Any]) -> Any:
    """The nearest value in range: Blender asks that of sliders, but not of scripts."""
    low, high = metadata["minimum"], metadata["maximum"]
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _bounds(metadata: Mapping[str, Any], lowest: float, highest: float) -> dict[str, Any]:
    low, high = metadata["minimum"], metadata["maximum"]
    return {"min": lowest if low is None else low, "max": highest if high is None else high}


PARAMETER_GROUPS = {name: parameter_group(spec) for name, spec in METHODS.items()}


# The scene's settings -----------------------------------------------------------------------------


def _method_items() -> list[tuple[str, str, str]]:
    return [(s.name, s.label, s.summary.removesuffix(".")) for s in METHODS.values()]


class Settings(bpy.types.PropertyGroup):
    """What the next click does."""

    references: CollectionProperty(type=Reference)
    active_reference: IntProperty(name="Active Reference", options={"SKIP_SAVE"})
    align: EnumProperty(
        name="Align", description="How drawings with named views fit together", items=ALIGN_ITEMS
    )
    method: EnumProperty(
        name="Method",
        description="How the mesh is made",
        items=_method_items(),
        default=Reconstruct.method,
    )
    checkpoint: StringProperty(
        name="Trained Model",
        description="The weights' file, for methods that need one",
        options={"HIDDEN"},
    )
    quality: EnumProperty(
        name="Quality",
        description="Time against detail",
        items=QUALITY_ITEMS,
        default=Reconstruct.quality,
    )
    seed: IntProperty(
        name="Seed",
        description="The same seed gives the same mesh again",
        default=Reconstruct.seed,
        min=0,
    )
    object_name: StringProperty(
        name="Name", description="Name of the new object", default="Reconstruction"
    )
    collection: PointerProperty(
        type=bpy.types.Collection,
        name="Collection",
        description="Collection for the new object; the active one if none is chosen",
    )
    texture: EnumProperty(
        name="Colors", description="Where the colors go", items=TEXTURE_ITEMS, default="uv"
    )
    faces: IntProperty(
        name="Faces",
        description="Largest number of triangles",
        default=Reconstruct.faces,
        min=4,
        soft_min=500,
        soft_max=500_000,
    )
    symmetry: EnumProperty(
        name="Symmetry",
        description="Axis across which the object mirrors itself",
        items=SYMMETRY_ITEMS,
    )
    smooth: BoolProperty(
        name="Smooth Shading", description="Shade the mesh smooth rather than flat", default=True
    )
    remesh: EnumProperty(
        name="Remesh",
        description="Rebuild the mesh with Blender's own tools afterwards",
        items=REMESH_ITEMS,
    )
    remesh_faces: IntProperty(
        name="Quads", description="About as many faces", default=4000, min=16, soft_max=100_000
    )
    remesh_voxels: IntProperty(
        name="Voxels",
        description="Voxels along the object's longest edge",
        default=96,
        min=8,
        max=1024,
        soft_max=512,
    )
    show_overlay: BoolProperty(
        name="Show Agreement",
        description="Show over each reference where the mesh's silhouette and the mask differ",
    )

    def parameters(self) -> MethodParameters:
        """The parameters of the chosen method."""
        return getattr(self, self.method)


for _name, _group in PARAMETER_GROUPS.items():
    Settings.__annotations__[_name] = PointerProperty(type=_group)

CLASSES: tuple[type, ...] = (Reference, *PARAMETER_GROUPS.values(), Settings)


def settings_of(scene: bpy.types.Scene) -> Settings:
    """A scene's settings."""
    return scene.image_to_mesh  # pyright: ignore[reportAttributeAccessIssue]


def register() -> None:
    """Give every scene its settings."""
    bpy.types.Scene.image_to_mesh = PointerProperty(type=Settings)  # type: ignore[attr-defined]


def unregister() -> None:
    """Take the settings off again."""
    del bpy.types.Scene.image_to_mesh  # type: ignore[attr-defined]
