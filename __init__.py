"""Image to Mesh, a Blender extension: reference images in, a closed and textured mesh out."""

from .blender_addon import register, unregister
