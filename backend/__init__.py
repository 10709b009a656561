"""Local reconstruction backend: reference images in, a closed and textured mesh out.

Needs torch, never bpy. The files that Blender's side reads too (``protocol``, ``views``,
``camera_files``, ``errors`` and the front pages under ``methods``) need numpy at most.
"""

__version__ = "0.1.0"
