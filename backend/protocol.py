"""The messages between the add-on (or the command line) and the backend.

Frozen dataclasses, one JSON object a line: ``{"type": "Progress", ...}``. Messages are small;
images and meshes travel as files. Standard library only.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reconstruct:
    """Ask for a mesh.

    Attributes:
        inputs: Image files, or one folder with images and a camera file.
        output: The mesh file to write; its ending (.glb, .obj, .ply) chooses the format.
        views: Named views (front, right, ...), one for each image, or empty.
        sheet: Named views that stand side by side in the one input picture, or empty.
        cameras: Camera file, or empty for the one found in the folder.
        masks: "auto", "alpha", or mask files in the order of the images.
        method: A name in ``backend.methods.METHODS``.
        quality: draft, standard or high.
        params: The method's parameters that differ from the quality's.
        symmetry: none, x or y: the axis across which the object mirrors itself.
        faces: Largest number of triangles in the result.
        texture: vertex, uv or none.
        device: auto, cpu, cuda or mps.
        seed: Seeds every random choice.
        preview: Picture of the result to write, or empty.
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
    symmetry: str = "none"
    faces: int = 20_000
    texture: str = "vertex"
    device: str = "auto"
    seed: int = 0
    preview: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the job is: ``fraction`` in [0, 1] and the stage's name."""

    fraction: float
    stage: str


@dataclass(frozen=True)
class Result:
    """A finished job; also the line that ``--json`` prints."""

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


@dataclass(frozen=True)
class Failure:
    """Why there is no result, in words; ``hint`` says what to do."""

    message: str
    hint: str = ""


Message = Reconstruct | Progress | Result | Failure
_TYPES = {cls.__name__: cls for cls in (Reconstruct, Progress, Result, Failure)}


def encode(message: Message) -> str:
    """Write a message as one line of JSON, without the line end."""
    return json.dumps({"type": type(message).__name__} | dataclasses.asdict(message))


def decode(line: str) -> Message:
    """Read one line; lists become tuples where the message has tuples.

    Raises:
        ValueError: Not JSON, or not a known message with exactly its fields.
    """
    data = json.loads(line)
    if not isinstance(data, dict) or str(data.get("type")) not in _TYPES:
        raise ValueError(f"not a message of this protocol: {line[:80]}")
    cls = _TYPES[str(data.pop("type"))]
    names = {f.name for f in dataclasses.fields(cls)}
    if unknown := data.keys() - names:
        raise ValueError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None
