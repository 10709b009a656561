"""Blender's side of Image to Mesh: bpy, numpy and the standard library, never torch."""

import bpy

from . import command_line, operators, overlays, panels, preferences, properties, session

CLASSES: tuple[type, ...] = (
    *preferences.CLASSES,
    *properties.CLASSES,
    *operators.CLASSES,
    *panels.CLASSES,
)
_MODULES = (properties, session, overlays, command_line)


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
