"""Cameras around the unit cube.

Azimuth 0 sees the object's front: the camera stands on -Y and looks along +Y; azimuth grows
counter-clockwise seen from above, so at 90 degrees it stands on +X. Elevation 90 is straight above.
All cameras look through the origin, which is the object's middle, with Z up, and their axes are
``backend.views``' (OpenCV). Needs numpy only.
"""

from __future__ import annotations

import math

from ..backend.lazy_numpy import np
from ..backend.named_views import NAMED_VIEWS
from ..backend.views import Camera
from .render_settings import RenderSettings

CUBE_RADIUS = math.sqrt(0.75)
"""Of the ball around the unit cube."""

CATEGORY_ELEVATIONS = {
    **dict.fromkeys(("chair", "chairs"), (-30.0, 60.0)),
    **dict.fromkeys(("couch", "couches", "sofa", "sofas"), (15.0, 60.0)),
    **dict.fromkeys(("bathtub", "bathtubs"), (15.0, 60.0)),
}
"""IG-GAN's ranges of elevations."""

_NAMED_ANGLES = {
    "front": (0.0, 0.0),
    "back": (180.0, 0.0),
    "left": (270.0, 0.0),
    "right": (90.0, 0.0),
    "top": (0.0, 90.0),
    "bottom": (0.0, -90.0),
}
_GOLDEN_ANGLE = 180.0 * (3.0 - math.sqrt(5.0))


def sample_cameras(
    settings: RenderSettings, category: str, generator: np.random.Generator
) -> list[Camera]:
    """The cameras of one object, in unit-cube coordinates; not for the sampler "scene".

    Args:
        settings: Which sampler, how many views, which lens.
        category: Of the object, by which elevations may go.
        generator: Used by "hemisphere" and "azimuth" alone.
    """
    angles, factors = _viewpoints(settings, category, generator)
    pairs = zip(angles.tolist(), factors.tolist(), strict=True)
    return [_camera(settings, azimuth, elevation, f) for (azimuth, elevation), f in pairs]


def fitting_distance(settings: RenderSettings) -> float:
    """From the origin to the nearest camera that has the unit cube's ball in its picture."""
    if settings.distance:
        return settings.distance
    if settings.projection == "orthographic":
        return 2.0 * CUBE_RADIUS
    return CUBE_RADIUS / math.sin(math.radians(settings.field_of_view) / 2)


def _viewpoints(
    settings: RenderSettings, category: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """``[V, 2]`` azimuth and elevation in degrees, and ``[V]`` factors of the distance."""
    count, steps = settings.views, np.arange(settings.views)
    if settings.sampler == "named":
        angles = np.array([_NAMED_ANGLES[name] for name in NAMED_VIEWS])
    elif settings.sampler in ("ring", "turntable"):
        angles = np.stack([360.0 * steps / count, np.full(count, settings.elevation)], axis=1)
    elif settings.sampler == "fibonacci":
        heights = 1.0 - (2.0 * steps + 1.0) / count
        angles = np.stack([(_GOLDEN_ANGLE * steps) % 360.0, _arcsine(heights)], axis=1)
    else:
        return _random_viewpoints(settings, category, generator)
    return angles, np.ones(len(angles))


def _random_viewpoints(
    settings: RenderSettings, category: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    low, high = settings.elevation_low, settings.elevation_high
    if settings.sampler == "azimuth" and settings.category_elevations:
        low, high = CATEGORY_ELEVATIONS.get(category.casefold(), (low, high))
    # Three numbers for each view, so that more views leave the first ones where they are.
    shares = generator.random((settings.views, 3))
    azimuths = (shares[:, 0] - 0.5) * settings.azimuth_range
    if settings.sampler == "azimuth":
        elevations = low + shares[:, 1] * (high - low)
    else:  # evenly over the area, as heights are
        heights = np.sin(np.radians([low, high]))
        elevations = _arcsine(heights[0] + shares[:, 1] * (heights[1] - heights[0]))
    return np.stack([azimuths, elevations], axis=1), 1.0 + settings.distance_jitter * shares[:, 2]


def _arcsine(heights: np.ndarray) -> np.ndarray:
    return np.degrees(np.arcsin(heights.clip(-1.0, 1.0)))


def _camera(settings: RenderSettings, azimuth: float, elevation: float, factor: float) -> Camera:
    size, orthographic = settings.resolution, settings.projection == "orthographic"
    distance = fitting_distance(settings) * factor
    if orthographic:
        focal = size / (2.0 * CUBE_RADIUS * factor)
    else:
        focal = 0.5 * size / math.tan(math.radians(settings.field_of_view) / 2)
    centre_x, centre_y = size * (0.5 - settings.shift_x), size * (0.5 + settings.shift_y)
    intrinsics = np.array([[focal, 0, centre_x], [0, focal, centre_y], [0, 0, 1.0]])
    pose = np.eye(4)
    pose[:3, :3] = _axes(azimuth, elevation)
    pose[2, 3] = distance
    return Camera(intrinsics, pose, (size, size), orthographic)


def _axes(azimuth: float, elevation: float) -> np.ndarray:
    """``[3, 3]`` rows right, down and forward of a camera that looks at the origin."""
    a, e = math.radians(azimuth), math.radians(elevation)
    # From the angles and not by cross products, which have no answer straight above.
    right = np.array([math.cos(a), math.sin(a), 0.0])
    forward = np.array([-math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    return np.stack([right, np.cross(forward, right), forward])
