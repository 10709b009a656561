"""DVR: implicit occupancy and colour, fitted to photographs with analytic depth gradients."""

from __future__ import annotations

from dataclasses import dataclass

from ..interface import MethodSpec, param


@dataclass(frozen=True)
class Params:
    """Parameters of DVR."""

    field: str = param(
        "grid",
        "grid: solved on a grid from the fair hull, seconds; mlp: the paper's network, for a GPU.",
        choices=("grid", "mlp"),
    )
    resolution: int = param(96, "Grid cells along the longest edge.", minimum=16, maximum=384)
    rounds: int = param(
        16, "grid: how often the photographs are compared.", minimum=1, maximum=1000
    )
    smoothing_rounds: int = param(
        8, "grid: how long the hull is smoothed beforehand.", minimum=1, maximum=200
    )
    trust: float = param(
        1.0, "grid: how much colors count against smoothness.", minimum=0.0, maximum=100.0
    )
    steps: int = param(10_000, "mlp: optimisation steps.", minimum=1, maximum=1_000_000)
    hidden: int = param(256, "mlp: units in each layer.", minimum=8, maximum=2048)
    rays: int = param(4096, "mlp: rays in each step.", minimum=16, maximum=65_536)


SPEC = MethodSpec(
    name="dvr",
    label="DVR",
    summary="Photographs from several sides with cameras; also finds dents that colors reveal.",
    citation="M. Niemeyer et al., Differentiable Volumetric Rendering, CVPR 2020",
    minimum_views=2,
    needs_cameras=True,
    needs_checkpoint=False,
    params=Params,
    presets={
        "draft": {"resolution": 64, "rounds": 9},
        "standard": {"resolution": 128, "rounds": 40},
        "high": {"resolution": 160, "rounds": 40},
    },
    image_size={"draft": 256, "standard": 512, "high": 1024},
    seconds={"draft": 6, "standard": 40, "high": 130},
    memory_gib={"draft": 1, "standard": 1, "high": 2},
)
