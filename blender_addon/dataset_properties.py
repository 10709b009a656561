"""What the panel *Render Dataset* sets, kept in the scene as ``scene.image_to_mesh_dataset``.

The fields of ``render_settings.RenderSettings`` become properties of the same names.
"""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false

import dataclasses
from pathlib import Path
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..backend.errors import InputError
from .render_dataset import Item, items_of_assets, items_of_collection, items_of_selection
from .render_settings import RenderSettings, make_settings

SOURCE_ITEMS = [
    ("SELECTION", "Selected Objects", "Each selected object with all that hangs on it"),
    ("COLLECTION", "Collection", "Each child of a collection"),
    ("ASSETS", "Asset Files", "Each GLB, glTF, OBJ, PLY, FBX, STL, USD, OFF or .blend file"),
]
_LARGEST_FLOAT = 3.0e38


class DatasetSettings(bpy.types.PropertyGroup):
    """What is rendered, where it goes, and how."""

    source: EnumProperty(name="Source", description="What is rendered", items=SOURCE_ITEMS)
    collection: PointerProperty(
        type=bpy.types.Collection,
        name="Collection",
        description="Its children are rendered; the active collection if none is chosen",
    )
    assets: StringProperty(
        name="Assets", description="Folder of asset files, with folders in it", subtype="DIR_PATH"
    )
    output: StringProperty(
        name="Dataset",
        description="Folder of the dataset: a new one, or one to go on with",
        subtype="DIR_PATH",
    )
    category: StringProperty(
        name="Category", description="What the objects are; empty: the folders of the assets say so"
    )
    workers: IntProperty(
        name="Processes",
        description="How many Blenders render at once, beside this one",
        default=1,
        min=1,
        max=256,
    )

    def render_settings(self) -> RenderSettings:
        """How things are rendered.

        Raises:
            InputError: Two settings contradict each other.
        """
        names = (field.name for field in dataclasses.fields(RenderSettings))
        # Blender keeps 32 bits of a number, and 0.1 must stay what the command line calls 0.1.
        values = {name: getattr(self, name) for name in names}
        return make_settings(
            {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()}
        )

    def chosen_items(self, context: bpy.types.Context) -> list[Item]:
        """What is rendered.

        Raises:
            InputError: There is nothing.
        """
        if self.source == "ASSETS":
            if not self.assets:
                raise InputError("choose the folder of the asset files.")
            return items_of_assets(Path(bpy.path.abspath(self.assets)), self.category)
        if self.source == "COLLECTION":
            return items_of_collection(self.collection or context.collection, self.category)
        return items_of_selection(context.view_layer, self.category)

    def dataset(self) -> Path:
        """The dataset's folder.

        Raises:
            InputError: None is chosen.
        """
        if not self.output:
            raise InputError("choose the folder of the dataset.")
        return Path(bpy.path.abspath(self.output))


def _property(field: dataclasses.Field) -> Any:
    """One of the render settings as a property."""
    metadata, default = field.metadata, field.default
    words = {"name": field.name.replace("_", " ").title(), "description": metadata["description"]}
    words["description"] = words["description"].rstrip(".")
    if isinstance(default, bool):
        return BoolProperty(default=default, **words)
    if choices := metadata["choices"]:
        items = [(choice, choice.replace("_", " ").title(), "") for choice in choices]
        return EnumProperty(items=items, default=default, **words)
    low, high = metadata["minimum"], metadata["maximum"]
    if isinstance(default, int):
        return IntProperty(default=default, min=int(low), max=int(high), **words)
    return FloatProperty(default=default, min=low, max=min(high, _LARGEST_FLOAT), **words)


for _field in dataclasses.fields(RenderSettings):
    DatasetSettings.__annotations__[_field.name] = _property(_field)

CLASSES: tuple[type, ...] = (DatasetSettings,)


def dataset_settings_of(scene: bpy.types.Scene) -> DatasetSettings:
    """A scene's settings."""
    return scene.image_to_mesh_dataset


def register() -> None:
    """Give every scene its settings."""
    bpy.types.Scene.image_to_mesh_dataset = PointerProperty(type=DatasetSettings)


def unregister() -> None:
    """Take the settings off again."""
    del bpy.types.Scene.image_to_mesh_dataset
