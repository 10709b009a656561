"""What a rendered dataset is asked to be: one line here is the option, the panel's field, the JSON.

All of it decides about the bytes of the files. How the work is spread (processes, shards, threads)
does not, and is no part of it. Needs no Blender.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..backend.camera_samplers import (
    CAMERA_SAMPLERS,
    SAMPLERS_TEXT,
    CameraSettings,
    settings_from,
)
from ..backend.errors import InputError
from ..backend.methods.interface import param

SAMPLERS = (*CAMERA_SAMPLERS, "scene")
LIGHTS = ("studio", "two_beams", "uniform", "random", "scene")
ENGINES = ("cycles", "eevee", "workbench")


@dataclass(frozen=True)
class RenderSettings(CameraSettings):
    """How each object is seen, and how Blender renders it."""

    sampler: str = param(
        "hemisphere", f"{SAMPLERS_TEXT}, scene (the scene's own cameras).", choices=SAMPLERS
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
        super().__post_init__()
        if self.engine == "workbench" and self.light == "scene":
            raise InputError("Workbench has lights of its own; choose another engine or light.")


def make_settings(values: Mapping[str, Any]) -> RenderSettings:
    """Settings from some values, as numbers or text, and the defaults.

    Raises:
        InputError: Unknown setting, or a value that cannot be used.
    """
    return settings_from(RenderSettings, "render", values)
