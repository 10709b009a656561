"""The messages between the add-on (or the command line) and the backend.

Frozen dataclasses, one JSON object a line: ``{"type": "Progress", ...}``. Messages are small;
images and meshes travel as files. Standard library only.

``python -m backend serve`` says :class:`Hello` at once and :class:`Heartbeat` every two seconds,
busy or not. It works on one job at a time; a :class:`Reconstruct` is answered by any number of
:class:`Progress` and :class:`Preview` and then by exactly one of :class:`Result`,
:class:`Failure` and :class:`Stopped`, all with the job's name. It ends with :class:`Shutdown` or
when its standard input closes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_args


@dataclass(frozen=True)
class Reconstruct:
    """Ask for a mesh.

    Attributes:
        inputs: Image files, or one folder with images and a camera file.
        output: The mesh file to write; its ending (.glb, .obj, .ply) chooses the format. The
            add-on asks for .npz, plain arrays that numpy reads.
        views: Named views (front, right, ...), one for each image, or empty.
        sheet: Named views that stand side by side in the one input picture, or empty.
        cameras: Camera file, or empty for the one found in the folder.
        masks: One entry for all images or one for each: "auto", "alpha" or a mask file.
        method: A name in ``backend.methods.METHODS``.
        quality: draft, standard or high.
        params: The method's parameters that differ from the quality's.
        checkpoint: Trained weights, for the methods that need them.
        symmetry: x or y, the axis across which the object mirrors itself; none; or auto, to take
            the planes of symmetry that the silhouettes show.
        faces: Largest number of triangles in the result.
        texture: vertex, uv or none.
        device: auto, cpu, cuda or mps.
        seed: Seeds every random choice.
        preview: Picture of the result to write, or empty.
        overlays: Folder for one picture a view that shows how the mesh's silhouette agrees with
            the mask, or empty.
        job: Name that every answer repeats.
    """

    inputs: tuple[str, ...]
    output: str
    views: tuple[str, ...] = ()
    sheet: tuple[str, ...] = ()
    cameras: str = ""
    masks: tuple[str, ...] = ("auto",)
    method: str = "visual_hull"
    quality: str = "standard"
    params: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    symmetry: str = "auto"
    faces: int = 20_000
    texture: str = "vertex"
    device: str = "auto"
    seed: int = 0
    preview: str = ""
    overlays: str = ""
    job: str = ""


@dataclass(frozen=True)
class FindMask:
    """Ask how one picture's mask looks.

    Attributes:
        image: The picture.
        mask: "auto", "alpha" or a mask file.
        output: Grey PNG to write, of the picture's size.
        job: Name that the answer repeats.
    """

    image: str
    mask: str
    output: str
    job: str = ""


@dataclass(frozen=True)
class ListMethods:
    """Ask for the methods and their parameters."""


@dataclass(frozen=True)
class ListCheckpoints:
    """Ask for the checkpoints, and their model cards, in a folder."""

    folder: str


@dataclass(frozen=True)
class Cancel:
    """Stop the job; answered by its ``Stopped``, within a second."""

    job: str


@dataclass(frozen=True)
class ReleaseMemory:
    """Give back what the backend holds between jobs: torch, loaded weights, device memory."""


@dataclass(frozen=True)
class Shutdown:
    """End; a running job is stopped."""


@dataclass(frozen=True)
class Hello:
    """The first message.

    Attributes:
        version: Of the backend.
        python: Version of Python.
        torch: Version of torch.
        devices: ``{"name": "cpu" | "cuda" | "mps", "label": str, "memory_gib": float}``, best
            first.
        speed: Of this machine's processor beside the one that the methods' expected seconds were
            measured on; 2 is twice as fast.
        process: The operating system's number for the backend.
    """

    version: str
    python: str
    torch: str
    devices: tuple[dict[str, Any], ...]
    speed: float
    process: int


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life; what the backend holds, in GiB."""

    memory_gib: float
    device_memory_gib: float = 0.0


@dataclass(frozen=True)
class Methods:
    """Answers ``ListMethods``: each as ``python -m backend methods --json`` shows it."""

    methods: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Checkpoints:
    """Answers ``ListCheckpoints``.

    Attributes:
        folder: The one asked about.
        checkpoints: ``{"path", "method", "label", "card"}`` each.
        refused: ``{"path", "reason"}`` for each file that is none.
    """

    folder: str
    checkpoints: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Mask:
    """Answers ``FindMask``: the file, how it was found, and what is odd about it."""

    image: str
    output: str
    source: str
    warnings: tuple[str, ...] = ()
    job: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the job is.

    Attributes:
        fraction: In [0, 1].
        stage: Its name.
        job: Whose.
        seconds_left: An estimate, or None while there is none.
    """

    fraction: float
    stage: str
    job: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True)
class Preview:
    """A mesh to look at meanwhile, in the world, as .npz like the result."""

    path: str
    job: str = ""


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled and left nothing."""

    job: str = ""


@dataclass(frozen=True)
class Result:
    """A finished job; also the line that ``--json`` prints.

    Attributes of which not all is said by their names:
        silhouette_iou: Of the mesh and each view's mask.
        symmetry: The planes across which the shape was mirrored; see ``views.Views``.
        overlays: Pictures, in the order of the views.
        mask_sources: How each view's mask was found.
    """

    output: str
    method: str
    quality: str
    seed: int
    device: str
    seconds: float
    stage_seconds: dict[str, float]
    vertices: int
    faces: int
    watertight: bool
    silhouette_iou: dict[str, float]
    warnings: tuple[str, ...]
    peak_memory_gib: float = 0.0
    overlays: tuple[str, ...] = ()
    mask_sources: dict[str, str] = field(default_factory=dict)
    symmetry: tuple[str, ...] = ()
    job: str = ""


FAILURE_KINDS = ("input", "memory", "cuda", "library", "crash", "failure")


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, in words.

    Attributes:
        message: One sentence.
        hint: What to do.
        kind: One of ``FAILURE_KINDS``; after "memory" a lower quality may work.
        job: Whose, or empty.
    """

    message: str
    hint: str = ""
    kind: str = "failure"
    job: str = ""


Request = Reconstruct | FindMask | ListMethods | ListCheckpoints | Cancel | ReleaseMemory | Shutdown
Answer = (
    Hello
    | Heartbeat
    | Methods
    | Checkpoints
    | Mask
    | Progress
    | Preview
    | Stopped
    | Result
    | Failure
)
Message = Request | Answer
_KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "tuple": tuple,
    "dict": dict,
}
_TYPES = {cls.__name__: cls for cls in get_args(Request) + get_args(Answer)}


def encode(message: Message) -> str:
    """Write a message as one line of JSON, without the line end."""
    return json.dumps({"type": type(message).__name__} | dataclasses.asdict(message))


def decode(line: str) -> Message:
    """Read one line; lists become tuples where the message has tuples.

    Raises:
        ValueError: Not JSON, or not a known message with exactly its fields and their types.
    """
    try:
        data = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply for a message") from None
    if not isinstance(data, dict) or str(data.get("type")) not in _TYPES:
        raise ValueError(f"not a message of this protocol: {line[:80]}")
    cls = _TYPES[str(data.pop("type"))]
    names = {f.name for f in dataclasses.fields(cls)}
    if unknown := data.keys() - names:
        raise ValueError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        message = cls(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None
    _check_types(message)
    return message


def _check_types(message: Message) -> None:
    for f in dataclasses.fields(message):
        value = getattr(message, f.name)
        if not _fits(value, str(f.type)):
            said = f"{type(message).__name__}.{f.name} must be {f.type}, got {value!r}"
            raise ValueError(said[:200])


def _fits(value: object, annotation: str) -> bool:
    """Whether a value is of the type that a field of a message names."""
    if annotation.endswith(" | None"):
        return value is None or _fits(value, annotation.removesuffix(" | None"))
    if annotation == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    kind = _KINDS[annotation.partition("[")[0]]
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
