"""The sub-panel *Render Dataset*. Drawn from state, deciding nothing."""

# The stubs take some of Blender's properties for methods, and name every icon.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import bpy

from .dataset_command import duration
from .dataset_properties import DatasetSettings, dataset_settings_of
from .dataset_run import run, why_not_now
from .panels import draw_sentence
from .render_workers import Progress

_LISTED = 6
_CAMERA_ROWS = {
    "hemisphere": ("views", "elevation_low", "elevation_high", "azimuth_range", "distance_jitter"),
    "azimuth": (
        *("views", "elevation_low", "elevation_high", "category_elevations"),
        *("azimuth_range", "distance_jitter"),
    ),
    "ring": ("views", "elevation"),
    "turntable": ("views", "elevation"),
    "fibonacci": ("views",),
    "named": (),
    "scene": (),
}


class _Panel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Image to Mesh"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012


class IMAGE_TO_MESH_PT_dataset(_Panel, bpy.types.Panel):  # noqa: N801
    """What is rendered and where it goes, or how far it is."""

    bl_idname = "IMAGE_TO_MESH_PT_dataset"
    bl_label = "Render Dataset"
    bl_parent_id = "IMAGE_TO_MESH_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, settings = self.layout, dataset_settings_of(context.scene)
        if run.busy and run.progress is not None:
            _draw_progress(layout, run.progress)
            return
        _draw_source(layout, settings)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("image_to_mesh.render_dataset", icon="RENDER_STILL")
        if why := why_not_now(context):
            draw_sentence(layout, context, why, "INFO")
        _draw_ending(layout, context)


class IMAGE_TO_MESH_PT_dataset_cameras(_Panel, bpy.types.Panel):  # noqa: N801
    """From where objects are seen."""

    bl_label = "Cameras"
    bl_parent_id = "IMAGE_TO_MESH_PT_dataset"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what the chosen sampler uses."""
        settings = dataset_settings_of(context.scene)
        column = _column(self.layout)
        column.prop(settings, "sampler")
        for name in _CAMERA_ROWS[settings.sampler]:
            column.prop(settings, name)
        if settings.sampler == "scene":
            return
        column.prop(settings, "projection")
        if settings.projection == "perspective":
            column.prop(settings, "field_of_view")
            column.prop(settings, "distance")
        column.prop(settings, "shift_x")
        column.prop(settings, "shift_y")


class IMAGE_TO_MESH_PT_dataset_pictures(_Panel, bpy.types.Panel):  # noqa: N801
    """What is written of each view."""

    bl_label = "Pictures"
    bl_parent_id = "IMAGE_TO_MESH_PT_dataset"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what the chosen engine uses."""
        settings = dataset_settings_of(context.scene)
        column = _column(self.layout)
        column.prop(settings, "resolution")
        column.prop(settings, "engine")
        if settings.engine != "workbench":
            column.prop(settings, "light")
            column.prop(settings, "samples")
        if settings.engine == "cycles":
            for name in ("bounces", "denoise", "gpu"):
                column.prop(settings, name)
        column = _column(self.layout)
        for name in ("depth", "normal", "albedo"):
            column.prop(settings, name)
        column = _column(self.layout)
        column.prop(settings, "seed")
        column.prop(settings, "workers")


def _column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def _draw_source(layout: bpy.types.UILayout, settings: DatasetSettings) -> None:
    column = _column(layout)
    column.prop(settings, "source")
    if settings.source == "COLLECTION":
        column.prop(settings, "collection")
    elif settings.source == "ASSETS":
        column.prop(settings, "assets")
    column.prop(settings, "category")
    column.prop(settings, "output")


def _draw_progress(layout: bpy.types.UILayout, progress: Progress) -> None:
    left = progress.seconds_left
    words = f"{progress.done} of {progress.items}"
    words += "" if left is None else f", {duration(left)} left"
    row = layout.row()
    row.scale_y = 1.2
    row.progress(factor=progress.share, text=words)
    if progress.key:
        layout.label(text=progress.key, icon="RENDER_STILL")
    row = layout.row()
    row.scale_y = 1.2
    row.operator("image_to_mesh.cancel_dataset", icon="X")


def _draw_ending(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How the last run ended."""
    if not run.message:
        return
    box = layout.box()
    box.alert = run.failed
    progress = run.progress
    some_failed = progress is not None and bool(progress.failures)
    icon = "CANCEL" if run.failed else "ERROR" if some_failed else "CHECKMARK"
    draw_sentence(box, context, run.message, icon)
    box.alert = False
    if progress is None:
        return
    said = [f"failed: {key}: {reason}" for key, reason in progress.failures.items()]
    said += [f"note: {key}: {text}" for key, texts in progress.problems.items() for text in texts]
    for sentence in said[:_LISTED]:
        draw_sentence(box, context, sentence, "ERROR")
    if len(said) > _LISTED:
        box.label(text=f"and {len(said) - _LISTED} more in dataset.json", icon="BLANK1")


CLASSES = (
    IMAGE_TO_MESH_PT_dataset,
    IMAGE_TO_MESH_PT_dataset_cameras,
    IMAGE_TO_MESH_PT_dataset_pictures,
)
