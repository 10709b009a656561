"""DRWR: a point cloud pulled into silhouettes and pushed apart, then closed to a surface.

Z. Han, C. Chen, Y.-S. Liu, M. Zwicker, "DRWR: A Differentiable Renderer without Rendering for
Unsupervised 3D Structure Learning from Silhouette Images", ICML 2020, and N. Zubic, P. Lio, "An
Effective Loss Function for Generating 3D Models from Single 2D Image without Rendering", 2021,
which is the same loss in other letters. Two methods are made of it:

* ``drwr`` fits the points of one object to its own silhouettes, without weights. Good for free
  topology from a few masks. With known cameras the silhouettes' whole content is their visual hull,
  which is faster and smoother: this one is for comparing, and for what builds on it.
* ``drwr_single_image`` is what the papers train: a network that has learned a class of objects from
  silhouettes makes the cloud from one picture, or the voxels that the papers compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..interface import MethodSpec, param


@dataclass(frozen=True)
class Params:
    """Parameters of DRWR."""

    points: int = param(8000, "Number of points.", minimum=100, maximum=200_000)
    steps: int = param(160, "Optimisation steps.", minimum=1, maximum=100_000)
    resolution: int = param(
        128, "Grid cells along the cube in which the surface is found.", minimum=16, maximum=384
    )
    loss: str = param(
        "recommended",
        "recommended holds the points in the silhouettes; paper and released are the published "
        "forms, which do not when one object is fitted alone.",
        choices=("recommended", "released", "paper"),
    )
    pull: float = param(
        1.0, "Multiplies the pull of the silhouettes on stray points.", minimum=0.0, maximum=1000.0
    )
    push: float = param(
        1.0, "Multiplies the push of the points on one another.", minimum=0.0, maximum=1000.0
    )


SPEC = MethodSpec(
    name="drwr",
    label="DRWR",
    summary="Silhouettes with cameras; a point cloud of free topology, closed to a surface.",
    citation="Z. Han et al., DRWR: A Differentiable Renderer without Rendering, ICML 2020",
    minimum_views=2,
    needs_cameras=True,
    needs_checkpoint=False,
    params=Params,
    presets={
        "draft": {"points": 4000, "steps": 80, "resolution": 80},
        "standard": {},
        "high": {"points": 32_000, "steps": 300, "resolution": 192},
    },
    image_size={"draft": 128, "standard": 256, "high": 512},
    seconds={"draft": 5, "standard": 9, "high": 200},
    memory_gib={"draft": 1, "standard": 1, "high": 2},
)


@dataclass(frozen=True)
class SingleImageParams:
    """Parameters of the trained network's cloud, or voxels, on their way to a mesh."""

    surface: str = param(
        "density",
        "density closes the cloud where it is dense enough; poisson solves for the surface whose "
        "normals the cloud's rim has, which is smoother. Voxels have a surface already.",
        choices=("density", "poisson"),
    )
    smoothing: float = param(
        1.0,
        "Multiplies the width of points, and the blur of voxels: less keeps slats and holes, more "
        "makes even sides.",
        minimum=0.3,
        maximum=4.0,
    )
    resolution: int = param(
        96, "Grid cells along the cube in which the surface is found.", minimum=16, maximum=384
    )


SINGLE_IMAGE = MethodSpec(
    name="drwr_single_image",
    label="DRWR, one image",
    summary="One picture and trained weights, no camera; a closed shape of the class it learned.",
    citation=SPEC.citation,
    minimum_views=1,
    needs_cameras=False,
    needs_checkpoint=True,
    params=SingleImageParams,
    presets={"draft": {"resolution": 64}, "standard": {}, "high": {"resolution": 128}},
    image_size={"draft": 128, "standard": 128, "high": 128},
    seconds={"draft": 2, "standard": 2, "high": 4},
    memory_gib={"draft": 1, "standard": 1, "high": 1},
    maximum_views=1,
    folder="drwr",
)
