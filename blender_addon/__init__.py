"""Blender's side of Image to Mesh: bpy, numpy and the standard library, never torch."""

import bpy

from . import (
    command_line,
    dataset_panel,
    dataset_properties,
    dataset_run,
    operators,
    overlays,
    panels,
    preferences,
    properties,
    session,
)

CLASSES: tuple[type, ...] = (
    *preferences.CLASSES,
    *properties.CLASSES,
    *dataset_properties.CLASSES,
    *operators.CLASSES,
    *panels.CLASSES,
    *dataset_panel.CLASSES,
)
_MODULES = (properties, dataset_properties, session, dataset_run, overlays, command_line)


def register() -> None:
    """Register every class, in the order of ``CLASSES``, and what hangs on them."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    for module in _MODULES:
        module.register()


def unregister() -> None:
    """Undo it, last one first."""
    for module in reversed(_MODULES):
        module.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
