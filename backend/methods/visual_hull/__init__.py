"""Visual hull: the largest shape that all silhouettes allow, and its fair (smoothest) relative."""

from __future__ import annotations

from dataclasses import dataclass

from ..interface import MethodSpec, param


@dataclass(frozen=True)
class Params:
    """Parameters of the visual hull."""

    resolution: int = param(96, "Grid cells along the longest edge.", minimum=16, maximum=384)
    fairness: float = param(
        1.0,
        "0 keeps the exact hull with its ridges; 1 is the smoothest surface that lies inside the "
        "hull and still meets every silhouette.",
        minimum=0.0,
        maximum=1.0,
    )
    rounding: float = param(
        0.0,
        "Makes the cross-sections that two or three drawings leave open round. With fairness 1 "
        "every silhouette is kept; with less, drawings of many parts may lose some.",
        minimum=0.0,
        maximum=1.0,
    )


SPEC = MethodSpec(
    name="visual_hull",
    label="Visual Hull",
    summary="Two or more views with cameras; seconds, no colors needed. Smooth shapes, no dents.",
    citation="A. Laurentini, The Visual Hull Concept for Silhouette-Based Image Understanding, "
    "IEEE TPAMI 16(2), 1994",
    minimum_views=2,
    needs_cameras=True,
    needs_checkpoint=False,
    params=Params,
    presets={"draft": {"resolution": 64}, "standard": {}, "high": {"resolution": 160}},
    image_size={"draft": 256, "standard": 512, "high": 1024},
    seconds={"draft": 3, "standard": 7, "high": 30},
    memory_gib={"draft": 1, "standard": 1, "high": 2},
)
