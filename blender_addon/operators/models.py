"""Trained models: add a checkpoint to the panel's list, choose one, take one off."""

# Blender reads the annotations, so they must not be postponed. The stubs take some of Blender's
# properties for methods.
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportIncompatibleMethodOverride=false

from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...backend.errors import InputError
from ..properties import settings_of
from ..trained_models import add_model, model_card, remove_model, trained_models


class AddModel(bpy.types.Operator):
    """Add a checkpoint to the list of trained models."""

    bl_idname = "image_to_mesh.add_model"
    bl_label = "Add Checkpoint"
    bl_description = (
        "Add trained weights (model.safetensors, made by python -m training) to the panel's list, "
        "and choose them. The file is copied"
    )

    filepath: StringProperty(subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the artist choose a file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it and choose it."""
        try:
            model = add_model(Path(bpy.path.abspath(self.filepath)))
        except (InputError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings = settings_of(context.scene)
        settings.method, settings.checkpoint = model["method"], model["path"]
        self.report({"INFO"}, f"Added {model['label']}")
        return {"FINISHED"}


class ChooseModel(bpy.types.Operator):
    """Use one of the trained models."""

    bl_idname = "image_to_mesh.choose_model"
    bl_label = "Use Trained Model"
    bl_description = "Use these trained weights"
    bl_options = {"UNDO", "INTERNAL"}  # noqa: RUF012

    path: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Choose it, and its method."""
        for model in trained_models():
            if model["path"] == self.path:
                settings = settings_of(context.scene)
                settings.method, settings.checkpoint = model["method"], model["path"]
                return {"FINISHED"}
        self.report({"ERROR"}, "That model is no longer there; add its checkpoint again")
        return {"CANCELLED"}


class RemoveModel(bpy.types.Operator):
    """Take the chosen model off the list."""

    bl_idname = "image_to_mesh.remove_model"
    bl_label = "Remove Trained Model"
    bl_description = "Delete the chosen model's copy in the extension's folder"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether one is chosen."""
        settings = settings_of(context.scene)
        if model_card(settings.checkpoint, settings.method) is None:
            cls.poll_message_set("No trained model is chosen")  # pyright: ignore
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Delete it."""
        settings = settings_of(context.scene)
        try:
            remove_model(Path(settings.checkpoint))
        except (InputError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        settings.checkpoint = ""
        return {"FINISHED"}


CLASSES: tuple[type, ...] = (AddModel, ChooseModel, RemoveModel)
