"""The light that datasets are rendered in: beams from afar and an even sky.

A beam is the azimuth and elevation, in degrees as in ``camera_samplers``, of where it comes from;
its irradiance on a surface that faces it; and the angle of the sun's disc in degrees, by which
shadows are soft. The sky is white, as bright as its number. Needs numpy only.
"""

from __future__ import annotations

import math

from .lazy_numpy import np

Beam = tuple[float, float, float, float]

STUDIO: tuple[Beam, ...] = (
    (-40.0, 45.0, 1.5, 20.0),
    (55.0, 20.0, 0.5, 40.0),
    (170.0, 50.0, 1.0, 20.0),
)
TWO_BEAMS: tuple[Beam, ...] = ((-45.0, 45.0, 2.0, 1.0), (135.0, 45.0, 2.0, 1.0))
SKY = {"studio": 0.25, "two_beams": 0.1, "uniform": 1.0, "random": 0.2}
"""How bright the sky is, by the light's name."""


def beam_direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Towards where a beam comes from; azimuth 0 is the front, -Y."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)


def random_beams(generator: np.random.Generator) -> list[Beam]:
    """Three beams from above or the side, of random strength and softness."""
    rows = generator.random((3, 4)).tolist()
    return [(360 * a, 80 * e - 10, 0.3 + 1.2 * s, 1 + 39 * w) for a, e, s, w in rows]
