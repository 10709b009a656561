"""What a rendered dataset is asked to be: one line here is the option, the panel's field, the JSON.

All of it decides about the bytes of the files. How the work is spread (processes, shards, threads)
does not, and is no part of it. Needs no Blender.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..backend.errors import InputError
from ..backend.methods.interface import checked_value, param

SAMPLERS = ("hemisphere", "azimuth", "ring", "turntable", "fibonacci", "named", "scene")
LIGHTS = ("studio", "two_beams", "uniform", "random", "scene")
ENGINES = ("cycles", "eevee", "workbench")
PROJECTIONS = ("perspective", "orthographic")


@dataclass(frozen=True)
class RenderSettings:
    """How each object is seen. Lengths are in edges of the unit cube, angles in degrees."""

    views: int = param(
        24,
        "Pictures of each object. The six named views and the scene's cameras have a number of "
        "their own.",
        minimum=1,
        maximum=9999,
    )
    resolution: int = param(
        224, "Width and height of the pictures in pixels.", minimum=16, maximum=8192
    )
    sampler: str = param(
        "hemisphere",
        "Where the cameras stand: hemisphere (at random above the ground, as in DVR), azimuth (at "
        "random around, within the range of elevations, as in IG-GAN), ring (even steps around, "
        "of elevation 30 unless set, as in MVCNN with 12 views), turntable (even steps around at "
        "one elevation), fibonacci (evenly all over the sphere), named (front, back, left, right, "
        "top, bottom), scene (the scene's own cameras).",
        choices=SAMPLERS,
    )
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
    light: str = param(
        "studio",
        "Where light comes from: studio (key, fill, rim and a grey sky), two_beams (as in "
        "IG-GAN), uniform (white sky), random (other beams in each view), scene (its own lamps "
        "and sky).",
        choices=LIGHTS,
    )
    engine: str = param(
        "cycles", "Cycles, EEVEE (wants a graphics card) or Workbench (fast).", choices=ENGINES
    )
    samples: int = param(
        16, "Samples for each pixel, of Cycles and EEVEE.", minimum=1, maximum=16384
    )
    bounces: int = param(4, "Bounces of light in Cycles.", minimum=0, maximum=64)
    denoise: bool = param(False, "Let Cycles remove the noise from the colours.")
    gpu: bool = param(
        False, "Let Cycles use the graphics card that Blender's preferences or the machine offer."
    )
    depth: bool = param(True, "Write depth along the camera's axis.")
    normal: bool = param(True, "Write normals.")
    albedo: bool = param(False, "Write the colour of the surface without light.")
    seed: int = param(0, "Of cameras, lights, noise and splits.", minimum=0, maximum=2**31 - 1)

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
        if self.engine == "workbench" and self.light == "scene":
            raise InputError("Workbench has lights of its own; choose another engine or light.")


def make_settings(values: Mapping[str, Any]) -> RenderSettings:
    """Settings from some values, as numbers or text, and the defaults.

    Raises:
        InputError: Unknown setting, or a value that cannot be used.
    """
    fields = {field.name: field for field in dataclasses.fields(RenderSettings)}
    if unknown := sorted(set(values) - set(fields)):
        raise InputError(f"there is no setting '{unknown[0]}'; there are {', '.join(fields)}.")
    checked = {name: checked_value("render", fields[name], v) for name, v in values.items()}
    return RenderSettings(**checked)
