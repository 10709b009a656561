"""Where the cameras of a dataset stand around the unit cube, and the settings that say so.

Azimuth 0 sees the object's front: the camera stands on -Y and looks along +Y; azimuth grows
counter-clockwise seen from above, so at 90 degrees it stands on +X. Elevation 90 is straight above.
All cameras look through the origin, which is the object's middle, with Z up, and their axes are
``backend.views``' (OpenCV). Needs numpy only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import InputError
from .lazy_numpy import np
from .methods.interface import checked_value, param
from .named_views import NAMED_VIEWS
from .views import Camera

CAMERA_SAMPLERS = ("hemisphere", "azimuth", "ring", "turntable", "fibonacci", "named")
SAMPLERS_TEXT = (
    "Where the cameras stand: hemisphere (at random above the ground, as in DVR), azimuth (at "
    "random around, within the range of elevations, as in IG-GAN), ring (even steps around, "
    "of elevation 30 unless set, as in MVCNN with 12 views), turntable (even steps around at "
    "one elevation), fibonacci (evenly all over the sphere), named (front, back, left, right, "
    "top, bottom)"
)
PROJECTIONS = ("perspective", "orthographic")

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


@dataclass(frozen=True)
class CameraSettings:
    """How an object is seen. Lengths are in edges of the unit cube, angles in degrees.

    Renderers add their own settings in classes that inherit from this one.
    """

    views: int = param(
        24,
        "Pictures of each object; named views and a scene's own cameras have a number of their "
        "own.",
        minimum=1,
        maximum=9999,
    )
    resolution: int = param(
        224, "Width and height of the pictures in pixels.", minimum=16, maximum=8192
    )
    sampler: str = param("hemisphere", f"{SAMPLERS_TEXT}.", choices=CAMERA_SAMPLERS)
    elevation: float = param(30.0, "Elevation of ring and turntable.", minimum=-90.0, maximum=90.0)
    elevation_low: float = param(
        0.0, "Lowest elevation of hemisphere and azimuth.", minimum=-90.0, maximum=90.0
    )
    elevation_high: float = param(
        90.0, "Highest elevation of hemisphere and azimuth.", minimum=-90.0, maximum=90.0
    )
    azimuth_range: float = param(
        360.0,
        "Range of the azimuths of hemisphere and azimuth, with the front in its middle.",
        minimum=0.0,
        maximum=360.0,
    )
    category_elevations: bool = param(
        False,
        "Sampler azimuth: take IG-GAN's range for the categories that it was made for (chairs "
        "-30 to 60, couches and bathtubs 15 to 60) and the given one for all others.",
    )
    projection: str = param(
        "perspective", "Whether things get smaller with distance.", choices=PROJECTIONS
    )
    field_of_view: float = param(
        40.0, "Angle of view of perspective cameras.", minimum=1.0, maximum=150.0
    )
    distance: float = param(
        0.0,
        "From the cameras to the object's middle; 0 stands so far off that the whole unit cube, "
        "however turned, fits into the picture.",
        minimum=0.0,
        maximum=1000.0,
    )
    distance_jitter: float = param(
        0.1,
        "Cameras of hemisphere and azimuth stand up to this share further off, at random; "
        "orthographic ones see so much more.",
        minimum=0.0,
        maximum=10.0,
    )
    shift_x: float = param(
        0.0, "Moves the picture's centre right, in widths.", minimum=-2.0, maximum=2.0
    )
    shift_y: float = param(
        0.0, "Moves the picture's centre up, in heights.", minimum=-2.0, maximum=2.0
    )

    def __post_init__(self) -> None:
        """Check what two fields say together.

        Raises:
            InputError: They contradict each other.
        """
        if self.elevation_low > self.elevation_high:
            raise InputError(
                f"the lowest elevation ({self.elevation_low:g}) is above the highest one "
                f"({self.elevation_high:g})."
            )


_Settings = TypeVar("_Settings", bound=CameraSettings)


def settings_from(kind: type[_Settings], owner: str, values: Mapping[str, Any]) -> _Settings:
    """Settings from some values, as numbers or text, and the defaults.

    Args:
        kind: Which settings.
        owner: How messages call what they belong to.
        values: By field.

    Raises:
        InputError: Unknown setting, or a value that cannot be used.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - set(fields)):
        raise InputError(f"there is no setting '{unknown[0]}'; there are {', '.join(fields)}.")
    return kind(**{name: checked_value(owner, fields[name], v) for name, v in values.items()})


def sample_cameras(
    settings: CameraSettings, category: str, generator: np.random.Generator
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


def fitting_distance(settings: CameraSettings) -> float:
    """From the origin to the nearest camera that has the unit cube's ball in its picture."""
    if settings.distance:
        return settings.distance
    if settings.projection == "orthographic":
        return 2.0 * CUBE_RADIUS
    return CUBE_RADIUS / math.sin(math.radians(settings.field_of_view) / 2)


def _viewpoints(
    settings: CameraSettings, category: str, generator: np.random.Generator
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
    settings: CameraSettings, category: str, generator: np.random.Generator
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


def _camera(settings: CameraSettings, azimuth: float, elevation: float, factor: float) -> Camera:
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
