"""DVR: implicit occupancy and colour, fitted to photographs with analytic depth gradients."""

from __future__ import annotations

from dataclasses import dataclass

from ..interface import MethodSpec, param


@dataclass(frozen=True)
class Params:
    """Parameters of DVR."""

    resolution: int = param(96, "Grid cells along the longest edge.", minimum=16, maximum=384)
    steps: int = param(400, "Optimisation steps.", minimum=1, maximum=100_000)


SPEC = MethodSpec(
    name="dvr",
    label="DVR",
    summary="Photographs from several sides with cameras; also finds dents that colours reveal.",
    citation="M. Niemeyer et al., Differentiable Volumetric Rendering, CVPR 2020",
    minimum_views=2,
    needs_cameras=True,
    needs_checkpoint=False,
    params=Params,
    presets={"draft": {"steps": 100}, "standard": {}, "high": {"resolution": 160, "steps": 1200}},
    image_size={"draft": 256, "standard": 512, "high": 1024},
)
