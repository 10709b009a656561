"""The list of references: add, remove, move, and look at masks."""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false

import json
from collections.abc import Iterable
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, StringProperty

from ...backend.camera_files import read_cameras
from ...backend.errors import InputError
from ...backend.named_views import NAMED_VIEWS
from .. import overlays
from ..backend_process import BackendError
from ..pictures import stored_size
from ..properties import Reference, Settings, settings_of
from ..reference_views import camera_to_data, image_empties, view_of_reference, views_of_scene
from ..session import session

_UNDOABLE = {"REGISTER", "UNDO"}


def _settings(context: bpy.types.Context) -> Settings:
    assert context.scene is not None
    return settings_of(context.scene)


def _selected_empties(context: bpy.types.Context) -> list[bpy.types.Object]:
    assert context.view_layer is not None
    return image_empties(context.view_layer, 1)


def _add(settings: Settings, name: str) -> Reference:
    reference = settings.references.add()
    reference.name = name
    settings.active_reference = len(settings.references) - 1
    return reference


def _load(path: Path) -> bpy.types.Image:
    """Blender's image of a file.

    Raises:
        InputError: It is none.
    """
    try:
        return bpy.data.images.load(str(path), check_existing=True)
    except RuntimeError:
        raise InputError(f"{path} is missing or no image that Blender can read.") from None


class _NeedsReference:
    """Operators on the active reference."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is one."""
        settings = _settings(context)
        if not 0 <= settings.active_reference < len(settings.references):
            cls.poll_message_set("The list of references is empty")  # pyright: ignore
            return False
        return True


class AddEmpties(bpy.types.Operator):
    """Add the selected image empties to the references."""

    bl_idname = "image_to_mesh.add_empties"
    bl_label = "Selected Image Empties"
    bl_description = "Add the selected image empties to the references"
    bl_options = _UNDOABLE

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there are any."""
        if not _selected_empties(context):
            cls.poll_message_set("There is no image empty; drag a picture into the viewport")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add those that are not in the list."""
        settings = _settings(context)
        known = {r.empty for r in settings.references if r.view == "EMPTY"}
        new = [empty for empty in _selected_empties(context) if empty not in known]
        if not new:
            self.report({"INFO"}, "All selected image empties are in the list already")
            return {"CANCELLED"}
        for empty in new:
            reference = _add(settings, empty.name)
            reference.view, reference.empty = "EMPTY", empty
        return {"FINISHED"}


class AddCamera(bpy.types.Operator):
    """Add the selected cameras to the references."""

    bl_idname = "image_to_mesh.add_camera"
    bl_label = "Selected Cameras"
    bl_description = "Add the selected cameras with their background images to the references"
    bl_options = _UNDOABLE

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether a camera is selected."""
        if not any(item.type == "CAMERA" for item in context.selected_objects):
            cls.poll_message_set("Select a camera")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add them."""
        settings = _settings(context)
        for item in context.selected_objects:
            if item.type == "CAMERA":
                reference = _add(settings, item.name)
                reference.view, reference.camera = "CAMERA", item
        return {"FINISHED"}


class AddFiles(bpy.types.Operator):
    """Add image files to the references."""

    bl_idname = "image_to_mesh.add_files"
    bl_label = "Add Image Files"
    bl_description = (
        "Add image files to the references; a name such as front.png tells from where it is seen"
    )
    bl_options = _UNDOABLE

    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN"})
    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the files."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add each file with the view that its name tells, else one that is not taken yet."""
        folder = Path(bpy.path.abspath(self.directory))
        names = [entry.name for entry in self.files if entry.name]
        paths = [folder / name for name in names] or [Path(bpy.path.abspath(self.filepath))]
        try:
            images = [_load(path) for path in paths]
        except InputError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings = _settings(context)
        for path, image in zip(paths, images, strict=True):
            view = _view_for(path, settings.references)
            reference = _add(settings, path.stem)
            reference.image, reference.view = image, view
        return {"FINISHED"}


def _view_for(path: Path, references: Iterable[Reference]) -> str:
    """The view in a file's name, else the first that no reference has."""
    words = path.stem.lower().replace("-", " ").replace("_", " ").split()
    named = next((name for name in NAMED_VIEWS if name in words), "")
    taken = {reference.view for reference in references}
    order = ("FRONT", "RIGHT", "TOP", "BACK", "LEFT", "BOTTOM")
    return named.upper() or next((view for view in order if view not in taken), "FRONT")


class AddFolder(bpy.types.Operator):
    """Add the pictures of a folder with a camera file."""

    bl_idname = "image_to_mesh.add_folder"
    bl_label = "Add Folder with Cameras"
    bl_description = (
        "Add the pictures of a folder with a camera file (transforms.json, COLMAP, cameras.npz, "
        "and others), each with its camera"
    )
    bl_options = _UNDOABLE

    directory: StringProperty(name="Folder", description="The folder", subtype="DIR_PATH")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add each picture with its camera."""
        try:
            posed = read_cameras(Path(bpy.path.abspath(self.directory)), (), stored_size)
            images = [_load(item.image) for item in posed.images]
            masks = [_load(item.mask) if item.mask else None for item in posed.images]
        except (InputError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings = _settings(context)
        for item, image, mask in zip(posed.images, images, masks, strict=True):
            reference = _add(settings, item.image.stem)
            reference.image, reference.view = image, "STORED"
            reference.stored_camera = json.dumps(camera_to_data(item.camera))
            if mask is not None:
                reference.mask, reference.mask_image = "IMAGE", mask
        for warning in posed.warnings:
            self.report({"WARNING"}, warning)
        return {"FINISHED"}


class RemoveReference(_NeedsReference, bpy.types.Operator):
    """Remove the active reference from the list."""

    bl_idname = "image_to_mesh.remove_reference"
    bl_label = "Remove Reference"
    bl_description = "Remove the active reference from the list; picture and empty stay in the file"
    bl_options = _UNDOABLE

    everything: BoolProperty(name="All", description="Empty the whole list")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it, or all."""
        settings = _settings(context)
        if self.everything:
            settings.references.clear()
        else:
            overlays.hide_mask(settings.references[settings.active_reference].name)
            settings.references.remove(settings.active_reference)
        settings.active_reference = max(
            0, min(settings.active_reference, len(settings.references) - 1)
        )
        return {"FINISHED"}


class MoveReference(_NeedsReference, bpy.types.Operator):
    """Move the active reference in the list."""

    bl_idname = "image_to_mesh.move_reference"
    bl_label = "Move Reference"
    bl_description = "Move the active reference in the list"
    bl_options = _UNDOABLE

    direction: EnumProperty(
        name="Direction", description="Where to", items=[("UP", "Up", ""), ("DOWN", "Down", "")]
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Exchange it with its neighbour."""
        settings = _settings(context)
        old = settings.active_reference
        new = old + (-1 if self.direction == "UP" else 1)
        if not 0 <= new < len(settings.references):
            return {"CANCELLED"}
        settings.references.move(old, new)
        settings.active_reference = new
        return {"FINISHED"}


class ShowMask(bpy.types.Operator):
    """Show in the viewport what is taken for background in this picture, or hide it again."""

    bl_idname = "image_to_mesh.show_mask"
    bl_label = "Show Mask"
    bl_description = (
        "Show in the viewport what is taken for background in this picture, or hide it again"
    )

    index: IntProperty(
        name="Reference",
        description="Its number; -1 for all references that the next click would use",
        default=-1,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the backend is free."""
        if session.busy:
            cls.poll_message_set("A reconstruction is running")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the backend for the masks that are not shown; hide them if all are."""
        scene, layer = context.scene, context.view_layer
        assert scene is not None
        assert layer is not None
        references = settings_of(scene).references
        try:
            if self.index >= 0:
                views = [view_of_reference(references[self.index], scene)]
            else:
                views = views_of_scene(references, scene, layer, 1)
            hidden = [view for view in views if not overlays.mask_is_shown(view.name)]
            for view in hidden:
                session.find_mask(view)
        except (InputError, BackendError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for view in views if not hidden else ():
            overlays.hide_mask(view.name)
        overlays.redraw()
        return {"FINISHED"}


CLASSES = (
    AddEmpties,
    AddCamera,
    AddFiles,
    AddFolder,
    RemoveReference,
    MoveReference,
    ShowMask,
)
