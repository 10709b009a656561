"""Blender's side of Image to Mesh: bpy, numpy and the standard library, never torch.

The panel and its operators will be listed in ``CLASSES``; so far there are none.
"""

import bpy

CLASSES: tuple[type, ...] = ()


def register() -> None:
    """Register every class, in the order of ``CLASSES``."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister every class, last one first."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
