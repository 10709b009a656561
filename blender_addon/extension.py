"""Who this extension is to Blender, and where it may write."""

from pathlib import Path

import bpy

PACKAGE = (__package__ or "").rpartition(".")[0]
"""The extension's name, one level above this folder; its preferences carry it."""


def extension_folder(path: str = "") -> Path:
    """The folder for files of our own, which Blender keeps when the extension is updated.

    Args:
        path: A folder inside it; made when it is not there.

    Raises:
        OSError: It cannot be made.
    """
    try:
        folder = bpy.utils.extension_path_user(PACKAGE, path=path, create=True)
    except ValueError:  # loaded from a source folder, so no extension to Blender
        inside = f"image_to_mesh/{path}" if path else "image_to_mesh"
        folder = bpy.utils.user_resource("DATAFILES", path=inside, create=True)
    if not folder:
        raise OSError(f"Blender's folder for extensions' own files cannot be written ({path}).")
    return Path(folder)
