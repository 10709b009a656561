"""The one place that holds what runs: the backend, the job, and what the viewport shows of it.

Blender's own data is named here, never held: between two ticks the artist may undo, delete, or load
another file. A timer calls :meth:`Session.tick`; nothing in it waits.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import bpy

from ..backend.errors import InputError
from ..backend.methods import METHODS
from ..backend.protocol import (
    Failure,
    FindMask,
    Mask,
    Reconstruct,
    ReleaseMemory,
    Result,
)
from . import overlays
from .backend_process import BackendError, BackendProcess
from .estimates import Estimates
from .extension import extension_folder
from .job import Job
from .mesh_object import MeshArrays, Placement, add_mesh_object, read_mesh, stored_on
from .preferences import preferences
from .properties import Settings, settings_of
from .reference_views import (
    NAMED_DEPTH,
    ReferenceView,
    camera_from_data,
    mask_file,
    number_of_views,
    picture_of,
    views_from_json,
    views_of_scene,
    views_to_json,
    write_inputs,
)
from .trained_models import model_card

BACKEND_FOLDER = Path(__file__).resolve().parents[1]
_BUSY_TICK, _IDLE_TICK, _WAIT = 0.1, 1.0, 0.02  # seconds

# Of a request: what an object keeps so that the same mesh can be made again.
KEPT_FIELDS = (
    *("method", "quality", "params", "checkpoint", "symmetry", "faces", "texture", "seed"),
)
FILE_FIELDS = ("inputs", "views", "sheet", "cameras", "masks")
"""Of a request: its files; kept only where they were not Blender's references."""


@dataclass(frozen=True)
class Order:
    """All that a job needs to know from Blender.

    Attributes:
        views: The references; none if ``words`` holds the :data:`FILE_FIELDS`.
        words: Fields of ``protocol.Reconstruct``, :data:`KEPT_FIELDS` above all.
        placement: What becomes of the mesh.
        hashes: SHA-256 of the pictures as they were when this was made before, by file name.
    """

    views: tuple[ReferenceView, ...]
    words: Mapping[str, Any]
    placement: Placement
    hashes: Mapping[str, str] = field(default_factory=dict)


def order_of_scene(context: bpy.types.Context, names: Sequence[str] = ()) -> Order:
    """What the panel says.

    Args:
        context: Its scene holds the settings.
        names: The references to use; none means those that the panel shows.

    Raises:
        InputError: A reference cannot be used, or the method cannot work with them.
    """
    scene, layer = scene_and_layer(context)
    settings = settings_of(scene)
    spec = METHODS[settings.method]
    layer.update()  # transforms that a script has just set
    views = views_of_scene(settings.references, scene, layer, spec.minimum_views, names)
    if why := spec.why_not(len(views), checkpoint_of(settings), "reference"):
        raise InputError(why)
    return replace(order_of_files(context, {}), views=tuple(views))


def order_of_files(context: bpy.types.Context, files: Mapping[str, Any]) -> Order:
    """What the panel says, but for files instead of the scene's references.

    Args:
        context: Its scene holds the settings.
        files: The request's :data:`FILE_FIELDS`.
    """
    scene, _ = scene_and_layer(context)
    settings = settings_of(scene)
    words = {
        "method": settings.method,
        "quality": settings.quality,
        "params": settings.parameters().changed() | {"align": settings.align},
        "checkpoint": checkpoint_of(settings),
        "symmetry": settings.symmetry,
        "faces": settings.faces,
        "texture": texture_kept(settings),
        "seed": settings.seed,
    }
    return Order((), words | dict(files), _placement(settings, scene, context.collection))


def order_of_object(item: bpy.types.Object, scene: bpy.types.Scene) -> Order:
    """What made an object, to be done again.

    Raises:
        InputError: The object was not made so, or its images are gone.
    """
    stored = stored_on(item)
    if stored is None:
        raise InputError(f"'{item.name}' was not made by Image to Mesh; select a mesh that was.")
    collections = [c.name for c in item.users_collection if c != scene.collection]
    placement = Placement(**json.loads(stored["placement"]))
    placement = replace(placement, scene=scene.name, collection=next(iter(collections), ""))
    views = tuple(views_from_json(stored["references"]))
    hashes = json.loads(stored["input_sha256"])
    return Order(views, json.loads(stored["settings"]), placement, hashes)


def checkpoint_of(settings: Settings) -> str:
    """The chosen weights' file, if it is for the chosen method and still there; else empty."""
    found = model_card(settings.checkpoint, settings.method) if settings.checkpoint else None
    return settings.checkpoint if found else ""


def why_not_now(context: bpy.types.Context) -> str:
    """Why the panel's method cannot be used with its references; empty if it can. Quick."""
    scene, layer = scene_and_layer(context)
    settings = settings_of(scene)
    spec = METHODS[settings.method]
    views = number_of_views(settings.references, layer, spec.minimum_views)
    return spec.why_not(views, checkpoint_of(settings), "reference")


def texture_kept(settings: Settings) -> str:
    """The kind of colours that survives the remeshing: a UV map does not."""
    loses_uvs = settings.remesh != "none" and settings.texture == "uv"
    return "vertex" if loses_uvs else settings.texture


def scene_and_layer(context: Any) -> tuple[bpy.types.Scene, bpy.types.ViewLayer]:
    """The context's; the stubs take both for methods."""
    return context.scene, context.view_layer


def _placement(settings: Settings, scene: bpy.types.Scene, active: Any) -> Placement:
    collection = settings.collection or active
    inside = collection is not None and collection != scene.collection
    return Placement(
        scene=scene.name,
        collection=collection.name if collection is not None and inside else "",
        name=settings.object_name.strip() or "Reconstruction",
        smooth=settings.smooth,
        remesh=settings.remesh,
        remesh_faces=settings.remesh_faces,
        remesh_voxels=settings.remesh_voxels,
    )


@dataclass
class Session:
    """What runs in this Blender.

    Attributes:
        backend: None until it is first needed.
        job: The running one, or the last.
        order: What the running job's result is for; None when nobody wants it any more.
        failure: The last one, until the next click.
        notes: What the artist should know of the last job.
    """

    backend: BackendProcess | None = None
    job: Job | None = None
    order: Order | None = None
    failure: Failure | None = None
    notes: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)
    _wanted_masks: dict[str, str] = field(default_factory=dict)
    _estimates: Estimates | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is being worked on."""
        return self.job is not None and not self.job.ended

    # The backend

    def ready_backend(self) -> BackendProcess:
        """The backend with the preferences' Python, started.

        Raises:
            BackendError: It cannot be started.
        """
        command = preferences().backend_command()
        if self.backend is not None and self.backend.command != tuple(command):
            self.backend.stop()
            self.backend = None
        if self.backend is None:
            self.backend = BackendProcess(command, BACKEND_FOLDER, log_file())
        self.backend.start()
        self._keep_ticking()
        return self.backend

    def release_memory(self) -> None:
        """Let the backend give back what it holds between jobs."""
        if self.backend is not None and self.backend.running:
            self.backend.send(ReleaseMemory())

    def stop_backend(self, seconds: float = 0.0) -> None:
        """End the backend, and with it any job."""
        self.forget_job()
        if self.backend is not None:
            self.backend.stop(seconds)
        self.backend = self.job = None

    def device(self) -> str:
        """The device that "auto" means: the backend's first one, or the processor."""
        chosen = preferences().device
        if chosen != "auto":
            return chosen
        hello = self.backend.hello if self.backend else None
        return hello.devices[0]["name"] if hello and hello.devices else "cpu"

    def estimates(self) -> Estimates:
        """What earlier runs on this machine took."""
        if self._estimates is None:
            self._estimates = Estimates(extension_folder() / "runs.json")
        return self._estimates

    # The job

    def start(self, order: Order) -> Job:
        """Begin a reconstruction.

        Raises:
            InputError: The references' images are gone, or a job runs already.
        """
        if self.busy:
            raise InputError("a reconstruction is running; wait for it, or cancel it.")
        self.failure, self.notes = None, []
        overlays.clear()
        try:
            backend = self.ready_backend()
        except BackendError as error:
            self.failure = Failure(str(error), kind="library")
            raise
        folder = self._new_folder("job")
        fields = {
            "device": preferences().device,
            **order.words,
            **(write_inputs(order.views, folder) if order.views else {}),
        }
        request = Reconstruct(
            output=os.fspath(folder / "mesh.npz"),
            overlays=os.fspath(folder / "overlays"),
            **fields,
        )
        self.order, self.job = order, Job(backend, request, owns_folder=True)
        self.job.start()
        return self.job

    def cancel(self) -> None:
        """Stop the running job."""
        if self.job is not None and self.busy:
            self.job.cancel()

    def wait(self) -> None:
        """Wait until the job has ended: for scripts."""
        try:
            while self.busy:
                self.tick()
                time.sleep(_WAIT)
        except BaseException:
            self.stop_backend()
            raise

    def forget_job(self) -> None:
        """Stop the running job, whose scene is gone, and whatever the viewport shows of it."""
        self.cancel()
        self.order = None
        self._wanted_masks.clear()
        overlays.clear()

    def finish(self) -> bpy.types.Object | None:
        """Take in how the job ended; returns the object that came out, if any.

        Raises:
            OSError: The result cannot be read.
            ValueError: Likewise.
        """
        job, order = self.job, self.order
        self.order = None
        overlays.show_preview(None)
        if job is None or order is None:
            return None
        self.failure, self.notes = job.failure, list(job.notes)
        if job.result is None:
            return None
        self.notes += job.result.warnings
        views = len(order.views) or len(job.result.silhouette_iou)
        self.estimates().record(job.request, views, job.result)
        arrays = read_mesh(Path(job.result.output))
        self.notes += _changed_pictures(order, arrays)
        return _add_result(job.request, job.result, order, arrays)

    # Masks

    def find_mask(self, view: ReferenceView) -> None:
        """Ask the backend for a reference's mask; the viewport shows it when it has come.

        Raises:
            InputError: The picture is gone, or a job runs.
            BackendError: The backend cannot be started.
        """
        if self.busy:
            raise InputError("a reconstruction is running; look at masks before or after it.")
        self.failure = None
        folder = self._new_folder("mask")
        picture = picture_of(view, folder, "picture", ())
        number = str(next(self._numbers))
        request = FindMask(
            os.fspath(picture),
            mask_file(view, folder, "given_mask"),
            os.fspath(folder / "mask.png"),
            number,
        )
        self.ready_backend().send(request)
        self._wanted_masks[number] = view.name
        overlays.expect_mask(view)

    def _take_mask(self, answer: Mask | Failure) -> None:
        name = self._wanted_masks.pop(answer.job, None)
        if name is None:
            return
        if isinstance(answer, Failure):
            self.failure = answer
            overlays.hide_mask(name)
        else:
            self.notes = list(answer.warnings)
            overlays.show_mask(name, Path(answer.output))

    # Time

    def tick(self) -> None:
        """Hear what the backend says; a few milliseconds."""
        if self.backend is None:
            return
        answers = self.backend.poll()
        for answer in answers:
            if isinstance(answer, (Mask, Failure)):
                self._take_mask(answer)
        if self.job is not None and self.busy:
            self.job.hear(answers)
            overlays.show_preview(self.job.preview)
        elif self._wanted_masks and self.backend.exit:
            self.failure = self.backend.exit
            self._wanted_masks.clear()
            overlays.clear()
        if answers or self.busy:
            overlays.redraw()

    def _keep_ticking(self) -> None:
        if not bpy.app.timers.is_registered(_tick):
            bpy.app.timers.register(_tick, persistent=True)

    def _new_folder(self, kind: str) -> Path:
        """A new folder that Blender removes when it is closed."""
        folder = Path(bpy.app.tempdir) / f"image_to_mesh_{kind}_{next(self._numbers)}"
        folder.mkdir(parents=True)
        return folder


session = Session()


def _tick() -> float | None:
    session.tick()
    if session.backend is None or not session.backend.running:
        overlays.redraw()
        return None
    return _BUSY_TICK if session.busy else _IDLE_TICK


def log_file() -> Path:
    """The backend's log."""
    return extension_folder("logs") / "backend.log"


def _changed_pictures(order: Order, arrays: MeshArrays) -> list[str]:
    """A sentence for each picture that is not what it was when this was made before."""
    now = arrays.metadata.get("input_sha256", {})
    return [
        f"{name} has changed since; the mesh is not quite the same."
        for name, digest in order.hashes.items()
        if name in now and now[name] != digest and not name.endswith(".json")
    ]


def _add_result(
    request: Reconstruct, result: Result, order: Order, arrays: MeshArrays
) -> bpy.types.Object:
    """The result as an object; it keeps what is needed to make it again, and how well it fits."""
    names = [view.name for view in order.views] or list(result.silhouette_iou)
    agreement = dict(zip(names, result.silhouette_iou.values(), strict=False))
    kept = KEPT_FIELDS if order.views else KEPT_FIELDS + FILE_FIELDS
    stored = {
        "method": result.method,
        "quality": result.quality,
        "seed": result.seed,
        "settings": json.dumps({name: getattr(request, name) for name in kept}),
        "placement": json.dumps(asdict(order.placement)),
        "references": views_to_json(order.views),
        "seen_from": views_to_json(_placed_views(order.views, arrays.metadata)),
        "agreement": json.dumps(agreement),
        "overlays": json.dumps(dict(zip(names, result.overlays, strict=False))),
        "input_sha256": json.dumps(arrays.metadata.get("input_sha256", {})),
        "seconds": result.seconds,
        "device": result.device,
        "watertight": result.watertight,
        "mirrors": json.dumps(result.symmetry),
    }
    return add_mesh_object(arrays, order.placement, stored)


def _placed_views(
    views: Sequence[ReferenceView], metadata: Mapping[str, Any]
) -> list[ReferenceView]:
    """The references, those with a named view at the camera that the backend found for them."""
    cameras = metadata.get("cameras", [])
    found = [camera_from_data(data) for data in cameras] if len(cameras) == len(views) else []
    placed = [replace(v, camera=c, depth=NAMED_DEPTH) for v, c in zip(views, found, strict=False)]
    return [p if v.camera is None else v for p, v in zip(placed or views, views, strict=True)]


# What Blender tells -------------------------------------------------------------------------------


@bpy.app.handlers.persistent
def _before_load(*_: object) -> None:
    session.forget_job()


def register() -> None:
    """Watch for other files being loaded."""
    bpy.app.handlers.load_pre.append(_before_load)


def unregister() -> None:
    """End whatever runs."""
    session.stop_backend(seconds=0.5)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    bpy.app.handlers.load_pre.remove(_before_load)
