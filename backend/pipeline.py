"""From a request to a mesh file: the one way that the command line and the add-on both go."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from . import __version__
from .dataset_files import file_hash
from .errors import InputError, ReconstructionError
from .files import png, write_files
from .geometry.cameras import Cameras
from .geometry.decimation import decimate
from .geometry.mesh import Mesh
from .geometry.mesh_repair import keep_solid_parts, make_closed_manifold
from .geometry.silhouettes import SPECK
from .geometry.symmetry import with_mirrors
from .geometry.visual_hull import unit_cube
from .images import mirrored, working_views
from .inputs import Inputs, read_inputs
from .job_files import overlay_path
from .mesh_files import check_suffix, mesh_contents
from .methods import METHODS
from .methods.interface import (
    MakePreview,
    MethodSpec,
    Reconstructor,
    Report,
    SingleImageReconstructor,
)
from .overlays import overlay
from .placement import photographed
from .preview import preview_png
from .protocol import Reconstruct, Result
from .rendering.mesh_rasterizer import silhouette
from .texture import bake_texture, vertex_colors
from .threads import in_threads
from .views import Similarity, View, Views

TEXTURE_SIZE = {"draft": 512, "standard": 1024, "high": 2048}
SYMMETRIES = ("auto", "none", "x", "y")


class _Stages:
    """Times the stages and turns each one's progress into the job's."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, start: float, end: float) -> Iterator[Report]:
        """Time what happens inside; the yielded report runs from ``start`` to ``end``."""
        begin = time.perf_counter()

        def report(fraction: float, message: str, preview: MakePreview | None = None) -> None:
            self.report(start + fraction * (end - start), message, preview)

        report(0.0, name)
        yield report
        self.seconds[name] = round(time.perf_counter() - begin, 3)


@dataclass(frozen=True)
class _Plan:
    """A request whose words have been checked."""

    spec: MethodSpec
    params: Any
    align: str
    device: str


def reconstruct(request: Reconstruct, report: Report) -> Result:
    """Do the whole job and write the mesh.

    Args:
        request: What is wanted.
        report: Told the progress, and shown previews in the world; may raise ``Cancelled``, then
            nothing is written.

    Raises:
        InputError: The request or its files cannot be used.
        ReconstructionError: The work failed.
    """
    begin = time.perf_counter()
    plan = _plan(request)
    stages = _Stages(report)
    with stages.stage("reading images", 0.0, 0.1):
        inputs = read_inputs(request, plan.align, plan.spec.needs_cameras)
        if why := plan.spec.why_not(len(inputs.views), request.checkpoint):
            raise InputError(why)
        method = plan.spec.load(plan.params, plan.device, request.seed, request.checkpoint or None)
        views, fitted = _prepared(inputs, request, plan.spec, method)
    with stages.stage(plan.spec.label, 0.1, 0.75) as method_report:
        unit_mesh = method.reconstruct(fitted, _in_world(method_report, fitted.to_world))
    with stages.stage("cleaning the mesh", 0.75, 0.8):
        unit_mesh = finished(unit_mesh, request.faces)
        agreement = silhouette_agreement(unit_mesh, fitted, plan.device)
        mesh = _placed(unit_mesh, fitted.to_world)
    with stages.stage("texturing", 0.8, 0.95):
        mesh = _coloured(mesh, views, request, plan.device)
    with stages.stage("writing", 0.95, 1.0) as report_writing:
        output, given = Path(request.output), views[: len(inputs.views)]  # mirror images follow
        files = mesh_contents(output, mesh, _metadata(request, plan, inputs, given, fitted.mirrors))
        if request.preview:
            files[Path(request.preview)] = preview_png(mesh)
        overlays = _overlays(request, mesh, given, plan.device, report_writing)
        report_writing(1.0, "writing")
        if overlays:
            Path(request.overlays).mkdir(parents=True, exist_ok=True)
        write_files(files | overlays)
    # Of one picture a method can but guess, and the artist sees how well it did.
    low_agreement = _low_agreement(agreement) if plan.spec.needs_cameras else []
    return Result(
        output=request.output,
        method=request.method,
        quality=request.quality,
        seed=request.seed,
        device=plan.device,
        seconds=round(time.perf_counter() - begin, 3),
        stage_seconds=stages.seconds,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        watertight=mesh.is_closed_manifold(),
        silhouette_iou=agreement,
        warnings=tuple(inputs.warnings + _guessed_masks(inputs) + low_agreement),
        overlays=tuple(map(str, overlays)),
        mask_sources=inputs.mask_sources,
        symmetry=fitted.mirrors,
        job=request.job,
    )


def _plan(request: Reconstruct) -> _Plan:
    if request.method not in METHODS:
        raise InputError(f"there is no method '{request.method}'; choose {', '.join(METHODS)}.")
    spec = METHODS[request.method]
    if request.quality not in spec.presets:
        raise InputError(
            f"there is no quality '{request.quality}'; choose {', '.join(spec.presets)}."
        )
    if request.symmetry not in SYMMETRIES:
        raise InputError(f"symmetry must be auto, none, x or y, got '{request.symmetry}'.")
    if request.texture not in ("vertex", "uv", "none"):
        raise InputError(f"texture must be vertex, uv or none, got '{request.texture}'.")
    if request.faces < 4:
        raise InputError(f"a closed mesh needs 4 faces or more, got {request.faces}.")
    check_suffix(Path(request.output))
    values = dict(request.params)
    align = values.pop("align", "extents")
    params = spec.make_params(request.quality, values)
    return _Plan(spec, params, align, resolve_device(request.device))


def resolve_device(name: str) -> str:
    """Turn "auto" into the best device there is.

    Raises:
        InputError: An unknown device, or one that this machine or this torch does not have.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if name not in there:
        raise InputError(f"there is no device '{name}'; choose auto, {', '.join(there)}.")
    if not there[name]:
        raise InputError(
            f"the device {name} was asked for but torch {torch.__version__} finds none on this "
            "machine; use --device auto or cpu."
        )
    return name


def _prepared(
    inputs: Inputs, request: Reconstruct, spec: MethodSpec, method: Reconstructor
) -> tuple[list[View], Views]:
    """The views that colour the mesh, and the square cut-outs for the method."""
    views, size = inputs.views, spec.image_size[request.quality]
    if spec.needs_cameras:
        fitted = working_views(views, unit_cube(views), size)
        fitted = with_mirrors(fitted, request.symmetry)
    else:
        method = cast(SingleImageReconstructor, method)
        view, to_world = photographed(views[0], inputs.posed, method, size)
        views = [view]
        fitted = working_views(views, to_world, size)
    if request.symmetry in ("x", "y"):  # the shape may be found to be symmetric; colors are said to
        axis = "xy".index(request.symmetry)
        views = views + mirrored(views, axis, float(fitted.to_world.offset[axis]))
    return views, fitted


def _placed(mesh: Mesh, to_world: Similarity) -> Mesh:
    return mesh.transformed(to_world.scale, to_world.offset)


def _in_world(report: Report, to_world: Similarity) -> Report:
    """The report that a method gets: its previews are in the unit cube."""

    def placed(preview: MakePreview) -> Mesh | None:
        mesh = preview()
        return None if mesh is None else _placed(mesh, to_world)

    def report_in_world(fraction: float, message: str, preview: MakePreview | None = None) -> None:
        report(fraction, message, preview and partial(placed, preview))

    return report_in_world


def finished(mesh: Mesh, faces: int) -> Mesh:
    """One closed manifold without stray pieces, of at most ``faces`` triangles."""
    solid = keep_solid_parts(make_closed_manifold(mesh), SPECK)
    small = decimate(solid, faces)
    if not small.is_closed_manifold():
        raise ReconstructionError("the decimated mesh is not closed; ask for more --faces.")
    return small


def silhouette_agreement(mesh: Mesh, views: Views, device: str) -> dict[str, float]:
    """IoU of the mesh's silhouette with each view's mask, where the photograph knows it."""
    cameras = Cameras.stack(views.cameras, device)
    vertices = torch.as_tensor(mesh.vertices, device=device)
    faces = torch.as_tensor(mesh.faces.astype(np.int64), device=device)

    def of_view(index: int) -> float:
        rendered = silhouette(vertices, faces, cameras, index, supersample=1).cpu().numpy() >= 0.5
        observed, known = views.masks[index] >= 0.5, views.known[index]
        union = ((rendered | observed) & known).sum()
        return round(float((rendered & observed & known).sum() / max(union, 1)), 4)

    return dict(zip(views.names, in_threads(of_view, range(len(views.names))), strict=True))


def _coloured(mesh: Mesh, views: Sequence[View], request: Reconstruct, device: str) -> Mesh:
    if request.texture == "none":
        return Mesh(mesh.vertices, mesh.faces)
    if request.texture == "uv":
        return bake_texture(mesh, views, TEXTURE_SIZE[request.quality], device)
    return vertex_colors(mesh, views, device)


def _overlays(
    request: Reconstruct, mesh: Mesh, views: Sequence[View], device: str, report: Report
) -> dict[Path, bytes]:
    """The content of each view's overlay by its file, if they are wanted."""
    files = {}
    for index, view in enumerate(views if request.overlays else ()):
        report(index / len(views), "writing")
        files[overlay_path(Path(request.overlays), index)] = png(overlay(mesh, view, device))
    return files


def _metadata(
    request: Reconstruct,
    plan: _Plan,
    inputs: Inputs,
    views: Sequence[View],
    mirrors: Sequence[str],
) -> Mapping[str, Any]:
    """What is needed to make the mesh again; nothing that differs from run to run."""
    return {
        "generator": f"image-to-mesh {__version__}",
        "method": request.method,
        "quality": request.quality,
        "parameters": dataclasses.asdict(plan.params),
        "align": plan.align,
        "symmetry": request.symmetry,
        "mirrors": list(mirrors),
        "faces": request.faces,
        "texture": request.texture,
        "seed": request.seed,
        "input_sha256": inputs.hashes,
        **({"checkpoint": _checkpoint(request.checkpoint)} if request.checkpoint else {}),
        **({"cameras": _cameras_as_data(views)} if request.overlays else {}),
    }


def _checkpoint(path: str) -> dict[str, str]:
    """Which weights were used: the file's name and what is in it."""
    return {"name": Path(path).name, "sha256": file_hash(Path(path))}


def _cameras_as_data(views: Sequence[View]) -> list[dict[str, Any]]:
    """Where each view's overlay belongs; of named views only the backend knows it."""
    return [
        {
            "intrinsics": view.camera.intrinsics.tolist(),
            "world_to_camera": view.camera.world_to_camera.tolist(),
            "image_size": list(view.camera.image_size),
            "orthographic": view.camera.orthographic,
        }
        for view in views
    ]


def _guessed_masks(inputs: Inputs) -> list[str]:
    """A graph cut may err, so the user should look at what it found."""
    names = [name for name, source in inputs.mask_sources.items() if source == "segmentation"]
    return [f"mask found by segmentation: {', '.join(names)}; look at it."] if names else []


def _low_agreement(agreement: Mapping[str, float]) -> list[str]:
    return [
        f"{name}: the mesh's silhouette covers only {iou:.0%} of what the mask shows together; "
        "check this view's mask and camera."
        for name, iou in agreement.items()
        if iou < 0.9
    ]
