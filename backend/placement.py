"""Where a photograph's camera stood, and where in the world its object is to stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .images import working_views
from .methods.interface import SingleImageReconstructor
from .views import Camera, Similarity, View


def photographed(
    view: View, posed: bool, method: SingleImageReconstructor, size: int
) -> tuple[View, Similarity]:
    """Find a photograph's camera, and a place for the object.

    The object stands upright and faces -Y, as the method knows its class, however the picture
    stands in the world; it has the picture's size there, and the picture's place.

    Args:
        view: The photograph.
        posed: Whether ``view.camera`` is where the picture is seen from in the world. If not, the
            object's cube is the unit cube around the world's origin.
        method: Tells the camera.
        size: Pixels along the side of the cut-out that it gets.

    Returns:
        The view with the camera that sees the object as the photograph does, and the similarity
        from the unit cube to the world.

    Raises:
        InputError: The mask is empty.
    """
    image_size = (view.mask.shape[0], view.mask.shape[1])
    pixels = Camera(np.eye(3), np.eye(4), image_size, orthographic=True)
    cut_out = working_views([replace(view, camera=pixels)], Similarity(), size)
    found = method.camera(cut_out)
    to_photograph = np.linalg.inv(cut_out.cameras[0].intrinsics)
    in_cube = replace(found, intrinsics=to_photograph @ found.intrinsics, image_size=image_size)
    to_world = _standing_in(view.camera, in_cube) if posed else Similarity()
    back = Similarity(1 / to_world.scale, -to_world.offset / to_world.scale)
    return replace(view, camera=in_cube.in_unit_cube(back)), to_world


def _standing_in(picture: Camera, in_cube: Camera) -> Similarity:
    """The cube's place where ``picture`` sees it at the same pixels, as large, as ``in_cube`` does.

    Along the line of sight it is where that passes nearest the world's origin.
    """
    pixel, depth_in_cube = in_cube.project(np.zeros(3))
    origin, direction = picture.rays(pixel)
    pixel_in_cube = _pixel_size(in_cube, float(depth_in_cube))
    depth = float(-origin @ direction / (direction @ direction))
    if not picture.orthographic and depth <= 0:  # the origin lies behind: then in its own size
        depth = pixel_in_cube / _pixel_size(picture, 1.0)
    scale = _pixel_size(picture, depth) / pixel_in_cube
    return Similarity(float(scale), origin + depth * direction)


def _pixel_size(camera: Camera, depth: float) -> float:
    """Length that a pixel sees at a depth."""
    focal = np.sqrt(abs(np.linalg.det(camera.intrinsics[:2, :2])))
    return float((1.0 if camera.orthographic else depth) / focal)
