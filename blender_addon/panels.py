"""The panel: 3D View > Sidebar > Image to Mesh. Drawn from state, deciding nothing."""

# The stubs take some of Blender's properties for methods, and name every icon.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportOptionalMemberAccess=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import json
import textwrap
from typing import Any

import bpy

from ..backend.methods import METHODS
from ..backend.named_views import NAMED_VIEWS
from .backend_process import BackendProcess
from .estimates import available_memory_gib
from .extension import PACKAGE
from .job import Job
from .mesh_object import stored_on
from .overlays import has_overlays, mask_is_shown
from .preferences import preferences
from .properties import Reference, Settings, settings_of
from .reference_views import image_empties, number_of_views
from .session import session, texture_kept, why_not_now
from .trained_models import model_card, said_of, trained_models

_POINTS_A_LETTER = 6.6  # of the interface at scale 1, on average
_GOOD_AGREEMENT = 0.9
_SHOWN_EMPTIES = 8


class _Panel:
    """Where all of them stand."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Image to Mesh"


class _SubPanel(_Panel):
    bl_parent_id = "IMAGE_TO_MESH_PT_main"


class IMAGE_TO_MESH_PT_main(_Panel, bpy.types.Panel):  # noqa: N801
    """The button, or the running job, and how the last one ended."""

    bl_idname = "IMAGE_TO_MESH_PT_main"
    bl_label = "Image to Mesh"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout = self.layout
        job = session.job
        if job is not None and session.busy:
            _draw_job(layout, job)
            return
        column = layout.column()
        column.scale_y = 1.6
        column.operator("image_to_mesh.reconstruct", icon="MESH_ICOSPHERE")
        _draw_before_the_click(layout, context)
        _draw_ending(layout, context)


class IMAGE_TO_MESH_PT_made(_SubPanel, bpy.types.Panel):  # noqa: N801
    """How the active mesh was made and how well it fits."""

    bl_label = "Active Mesh"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether it was made here."""
        return context.active_object is not None and stored_on(context.active_object) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw agreement and the button that makes it again."""
        layout, item = self.layout, context.active_object
        stored: Any = item and stored_on(item)
        method = (
            METHODS[stored["method"]].label if stored["method"] in METHODS else stored["method"]
        )
        words = f"{method}, {stored['quality']}, seed {stored['seed']}, {stored['seconds']:.1f} s"
        layout.label(text=words, icon="MESH_DATA")
        agreement = _agreement(context)
        if agreement:
            mean = sum(agreement.values()) / len(agreement)
            row = layout.row()
            row.label(text="Silhouette agreement", icon="OVERLAY")
            _draw_agreement(row, mean)
        if mirrors := _mirrors(context):
            planes = " and ".join(mirrors)
            layout.label(text=f"Mirrored across {planes}", icon="MOD_MIRROR")
        row = layout.row()
        row.enabled = has_overlays(item)
        row.prop(settings_of(context.scene), "show_overlay", toggle=True)
        layout.operator("image_to_mesh.recreate", icon="FILE_REFRESH")


class IMAGE_TO_MESH_PT_references(_SubPanel, bpy.types.Panel):  # noqa: N801
    """What the mesh is made from."""

    bl_label = "References"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list and its active entry, or the empties that stand in for it."""
        layout, settings = self.layout, settings_of(context.scene)
        row = layout.row()
        if settings.references:
            row.template_list(
                "IMAGE_TO_MESH_UL_references",
                "",
                settings,
                "references",
                settings,
                "active_reference",
                rows=5,
            )
        else:
            _draw_empties(row.box().column(align=True), context, settings)
        _draw_list_buttons(row.column(align=True), settings)
        if 0 <= settings.active_reference < len(settings.references):
            _draw_reference(layout, settings.references[settings.active_reference])
        if any(r.enabled and r.view.lower() in NAMED_VIEWS for r in settings.references):
            layout.prop(settings, "align")


class IMAGE_TO_MESH_MT_add(bpy.types.Menu):  # noqa: N801
    """What can become a reference."""

    bl_label = "Add References"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout = self.layout
        layout.operator("image_to_mesh.add_empties", icon="OUTLINER_OB_IMAGE")
        layout.operator("image_to_mesh.add_camera", icon="OUTLINER_OB_CAMERA")
        layout.operator("image_to_mesh.add_files", text="Image Files…", icon="FILE_IMAGE")
        layout.operator("image_to_mesh.add_folder", text="Folder with Cameras…", icon="FILE_FOLDER")


class IMAGE_TO_MESH_MT_references(bpy.types.Menu):  # noqa: N801
    """What can be done with all references."""

    bl_label = "References"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout = self.layout
        layout.operator("image_to_mesh.show_mask", text="Show or Hide All Masks", icon="MOD_MASK")
        layout.separator()
        remove = layout.operator("image_to_mesh.remove_reference", text="Remove All", icon="X")
        remove.everything = True


class IMAGE_TO_MESH_UL_references(bpy.types.UIList):  # noqa: N801
    """Thumbnail, name, view, agreement with the active mesh, and mask."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: Any,
        item: Any,
        icon: int,
        active_data: Any,
        active_property: str,
        index: int = 0,
        flt_flag: int = 0,
    ) -> None:
        """Draw one entry."""
        picture = item.picture()
        row = layout.row(align=True)
        row.active = item.enabled
        thumbnail = layout.icon(picture) if picture else 0
        if picture:
            row.prop(item, "name", text="", emboss=False, icon_value=thumbnail)
        else:
            row.prop(item, "name", text="", emboss=False, icon="ERROR")
        _draw_agreement(row, _agreement(context).get(item.name))
        view = item.bl_rna.properties["view"].enum_items[item.view]
        row.label(text="", icon=view.icon)
        shown = mask_is_shown(item.name)
        row.operator(
            "image_to_mesh.show_mask", text="", icon="MOD_MASK", emboss=False, depress=shown
        ).index = index
        row.prop(item, "enabled", text="")


class IMAGE_TO_MESH_PT_method(_SubPanel, bpy.types.Panel):  # noqa: N801
    """How it is made."""

    bl_label = "Method"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw method and quality."""
        layout, settings = self.layout, settings_of(context.scene)
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(settings, "method")
        draw_sentence(layout, context, METHODS[settings.method].summary)
        if METHODS[settings.method].needs_checkpoint:
            _draw_model(layout, context, settings)
        row = layout.row()
        row.use_property_split = False
        row.prop(settings, "quality", expand=True)


class IMAGE_TO_MESH_MT_models(bpy.types.Menu):  # noqa: N801
    """The trained models."""

    bl_label = "Trained Models"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw those that were added, and how to add one."""
        layout = self.layout
        models = trained_models()
        for model in models:
            layout.operator(
                "image_to_mesh.choose_model", text=model["label"], icon="FILE_CACHE"
            ).path = model["path"]
        if models:
            layout.separator()
        layout.operator("image_to_mesh.add_model", text="Add Checkpoint…", icon="ADD")


class IMAGE_TO_MESH_PT_parameters(_Panel, bpy.types.Panel):  # noqa: N801
    """The method's own parameters."""

    bl_label = "Parameters"
    bl_parent_id = "IMAGE_TO_MESH_PT_method"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw a row for each; those that the artist has changed can be reset."""
        layout, settings = self.layout, settings_of(context.scene)
        layout.use_property_split = True
        layout.use_property_decorate = False
        group = settings.parameters()
        for name in group.names():
            row = layout.row(align=True)
            row.prop(group, name)
            if group.is_set(name):
                row.operator(
                    "image_to_mesh.reset_parameter", text="", icon="LOOP_BACK", emboss=False
                ).parameter = name
            else:
                row.label(text="", icon="BLANK1")
        layout.prop(settings, "seed")


class IMAGE_TO_MESH_PT_result(_SubPanel, bpy.types.Panel):  # noqa: N801
    """What comes out."""

    bl_label = "Result"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the new object's settings."""
        layout, settings = self.layout, settings_of(context.scene)
        layout.use_property_split = True
        layout.use_property_decorate = False
        column = layout.column()
        column.prop(settings, "object_name")
        column.prop(settings, "collection")
        column = layout.column()
        column.prop(settings, "texture")
        if texture_kept(settings) != settings.texture:
            draw_sentence(
                column, context, "Remeshing loses UV maps: colors go to an attribute.", "INFO"
            )
        column.prop(settings, "faces")
        column.prop(settings, "symmetry")
        column.prop(settings, "smooth")
        column = layout.column()
        column.prop(settings, "remesh")
        if settings.remesh == "quads":
            column.prop(settings, "remesh_faces")
        elif settings.remesh == "voxels":
            column.prop(settings, "remesh_voxels")


class IMAGE_TO_MESH_PT_backend(_SubPanel, bpy.types.Panel):  # noqa: N801
    """The process that does the work."""

    bl_label = "Backend"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw its state and its buttons."""
        layout, backend = self.layout, session.backend
        if backend is not None and backend.running:
            _draw_backend(layout, context, backend)
        else:
            _draw_no_backend(layout, context)
        row = layout.row(align=True)
        running = backend is not None and backend.running
        row.operator(
            "image_to_mesh.restart_backend",
            text="Restart" if running else "Start",
            icon="FILE_REFRESH",
        )
        row.operator("image_to_mesh.open_log", icon="TEXT")
        layout.operator("image_to_mesh.release_memory", icon="TRASH")


# Parts --------------------------------------------------------------------------------------------


def _draw_job(layout: bpy.types.UILayout, job: Job) -> None:
    row = layout.row()
    row.scale_y = 1.2
    left = f", {_duration(job.seconds_left)} left" if job.seconds_left else ""
    stage = job.stage[:1].upper() + job.stage[1:]
    row.progress(factor=job.fraction, text=f"{stage or 'Starting'}{left}")
    row = layout.row()
    row.scale_y = 1.2
    row.operator("image_to_mesh.cancel", icon="X")


def _draw_before_the_click(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What keeps the button from working, or what it will take."""
    if problem := preferences().backend_problem():
        draw_sentence(layout, context, problem, "ERROR")
        _draw_preferences_button(layout)
        return
    if why := why_not_now(context):
        draw_sentence(layout, context, why, "INFO")
        return
    settings = settings_of(context.scene)
    least = METHODS[settings.method].minimum_views
    views = number_of_views(settings.references, context.view_layer, least)
    hello = session.backend.hello if session.backend else None
    estimate = session.estimates().expect(
        settings.method,
        settings.quality,
        session.device(),
        views,
        hello.speed if hello else 1.0,
        settings.parameters().changed(),
    )
    row = layout.row()
    row.active = False
    row.label(text=estimate.words[:1].upper() + estimate.words[1:], icon="PREVIEW_RANGE")
    if warning := estimate.warning(available_memory_gib()):
        draw_sentence(layout, context, warning, "ERROR")


def _draw_ending(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How the last click ended."""
    if session.failure is not None:
        box = layout.box()
        box.alert = True
        draw_sentence(box, context, session.failure.message, "CANCEL")
        box.alert = False
        if session.failure.hint:
            draw_sentence(box, context, session.failure.hint)
        if session.failure.kind in ("library", "cuda"):
            _draw_preferences_button(box)
        elif session.failure.kind in ("crash", "failure"):
            box.operator("image_to_mesh.open_log", icon="TEXT")
    if session.notes:
        box = layout.box()
        for note in session.notes[:6]:
            draw_sentence(box, context, note, "INFO")


def _draw_preferences_button(layout: bpy.types.UILayout) -> None:
    layout.operator(
        "preferences.addon_show", text="Open Preferences", icon="PREFERENCES"
    ).module = PACKAGE


def _draw_list_buttons(column: bpy.types.UILayout, settings: Settings) -> None:
    column.menu("IMAGE_TO_MESH_MT_add", text="", icon="ADD")
    if settings.references:
        column.operator("image_to_mesh.remove_reference", text="", icon="REMOVE").everything = False
    column.separator()
    column.menu("IMAGE_TO_MESH_MT_references", text="", icon="DOWNARROW_HLT")
    if len(settings.references) > 1:
        column.separator()
        column.operator("image_to_mesh.move_reference", text="", icon="TRIA_UP").direction = "UP"
        column.operator(
            "image_to_mesh.move_reference", text="", icon="TRIA_DOWN"
        ).direction = "DOWN"


def _draw_empties(
    layout: bpy.types.UILayout, context: bpy.types.Context, settings: Settings
) -> None:
    """The image empties that stand in for the empty list."""
    empties = image_empties(context.view_layer, METHODS[settings.method].minimum_views)
    if not empties:
        draw_sentence(layout, context, "Drag pictures into the viewport, or add files.", margin=40)
        return
    selected = all(empty.select_get() for empty in empties)
    layout.label(text="Selected image empties" if selected else "All visible image empties")
    agreement = _agreement(context)
    for empty in empties[:_SHOWN_EMPTIES]:
        row = layout.row()
        row.label(text=empty.name, icon_value=layout.icon(empty.data))
        _draw_agreement(row, agreement.get(empty.name))
    if len(empties) > _SHOWN_EMPTIES:
        layout.label(text=f"and {len(empties) - _SHOWN_EMPTIES} more", icon="BLANK1")


def _draw_agreement(row: bpy.types.UILayout, agreement: float | None) -> None:
    if agreement is not None:
        row = row.row()
        row.alignment = "RIGHT"
        row.alert = agreement < _GOOD_AGREEMENT
        row.label(text=f"{agreement:.0%}")


def _draw_model(layout: bpy.types.UILayout, context: bpy.types.Context, settings: Settings) -> None:
    """The weights of a method that needs them."""
    card = model_card(settings.checkpoint, settings.method) if settings.checkpoint else None
    split = layout.split(factor=0.4)
    label = split.row()
    label.alignment = "RIGHT"
    label.label(text="Trained Model")
    row = split.row(align=True)
    row.use_property_split = False
    name = str(card.get("label") or "Unnamed") if card else "None"
    row.menu("IMAGE_TO_MESH_MT_models", text=name, icon="FILE_CACHE")
    row.operator("image_to_mesh.add_model", text="", icon="ADD")
    if card:
        row.operator("image_to_mesh.remove_model", text="", icon="X")
        draw_sentence(layout, context, said_of(card))


def _draw_reference(layout: bpy.types.UILayout, reference: Reference) -> None:
    """The settings of the active reference."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    column = layout.column()
    column.prop(reference, "view")
    if reference.view == "EMPTY":
        column.prop(reference, "empty")
    else:
        if reference.view == "CAMERA":
            column.prop(reference, "camera")
        column.template_ID(reference, "image", open="image.open", text="Picture")
    column.prop(reference, "mask")
    if reference.mask == "IMAGE":
        column.template_ID(reference, "mask_image", open="image.open", text="Mask Image")


def _draw_backend(
    layout: bpy.types.UILayout, context: bpy.types.Context, backend: BackendProcess
) -> None:
    column = layout.column(align=True)
    hello, heartbeat = backend.hello, backend.heartbeat
    if hello is None:
        column.label(text="Starting…", icon="TIME")
        return
    column.label(text=f"Running, torch {hello.torch}", icon="CHECKMARK")
    for device in hello.devices[:1]:
        column.label(text=f"{device['label']}, {device['memory_gib']:.0f} GiB", icon="MEMORY")
    if heartbeat is not None:
        used = f"Uses {heartbeat.memory_gib:.1f} GiB"
        if heartbeat.device_memory_gib:
            used += f", {heartbeat.device_memory_gib:.1f} GiB on the device"
        column.label(text=used, icon="BLANK1")


def _draw_no_backend(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    problem = preferences().backend_problem()
    if problem:
        draw_sentence(layout, context, problem, "ERROR")
        _draw_preferences_button(layout)
    else:
        layout.label(text="Not running; starts with the first click", icon="PAUSE")


def _agreement(context: bpy.types.Context) -> dict[str, float]:
    """How well the active mesh fits each reference, by name."""
    stored = stored_on(context.active_object) if context.active_object else None
    return json.loads(stored["agreement"]) if stored else {}


def _mirrors(context: bpy.types.Context) -> list[str]:
    """The axes across which the active mesh was found to be, or was made, symmetric."""
    stored = stored_on(context.active_object) if context.active_object else None
    found = json.loads(stored.get("mirrors", "[]")) if stored else []
    return [mirror.upper() for mirror in found if mirror in ("x", "y")]


def draw_sentence(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    text: str,
    icon: str = "NONE",
    margin: int = 0,
) -> None:
    """A sentence on as many lines as the sidebar's width, less a margin, needs."""
    scale = context.preferences.system.ui_scale
    width = int((context.region.width / scale - 60 - margin) / _POINTS_A_LETTER)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text[:1].upper() + text[1:], max(width, 20)):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else icon


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


CLASSES = (
    IMAGE_TO_MESH_UL_references,
    IMAGE_TO_MESH_MT_add,
    IMAGE_TO_MESH_MT_references,
    IMAGE_TO_MESH_MT_models,
    IMAGE_TO_MESH_PT_main,
    IMAGE_TO_MESH_PT_made,
    IMAGE_TO_MESH_PT_references,
    IMAGE_TO_MESH_PT_method,
    IMAGE_TO_MESH_PT_parameters,
    IMAGE_TO_MESH_PT_result,
    IMAGE_TO_MESH_PT_backend,
)
