"""``check``: whether a dataset is sound.

Looked for: files that are missing or whose bytes are not those that were written (SHA-256), files
that belong to nothing, objects rendered with other settings or not to their end, cameras that
contradict each other, the images or the mesh.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backend import dataset_files as files
from backend.camera_files import PosedImage, read_cameras
from backend.errors import InputError
from backend.mesh_files import read_mesh

from .coco import read_mask

_PIXELS = 1.5  # a mask may reach that far beyond the projected vertices: filter and rounding
_CUBE = 0.5 + 1e-3
_DEEP = 1e-3  # pixels by which two camera files may differ


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: The file or folder, relative to the dataset.
        what: What is wrong with it.
        remedy: What repairing does: ``"render"`` or ``"prepare"`` again, ``"delete"`` the file,
            ``"compose"`` what is made of the records, or ``""`` where only its owner knows.
        key: The object that it belongs to, if any.
    """

    path: str
    what: str
    remedy: str
    key: str = ""

    def __str__(self) -> str:
        """As one line."""
        return f"{self.path}: {self.what}"


def check(
    dataset: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> list[Problem]:
    """Look at every file of a dataset; nothing is changed.

    Args:
        dataset: Its folder.
        report: Told how many objects were looked at, of how many.

    Raises:
        InputError: The folder is no dataset.
    """
    if not (dataset / files.DATASET_FILE).is_file():
        raise InputError(f"'{dataset}' is no dataset: it has no {files.DATASET_FILE}.")
    try:
        content = files.read_dataset(dataset)
    except InputError as error:
        return [Problem(files.DATASET_FILE, str(error), "delete")]
    folders = _object_folders(dataset)
    listed = content["objects"]
    problems = [
        Problem(key, "the object is listed, but its folder is missing", "compose", key)
        for key in sorted(set(listed) - set(folders))
    ]
    expected = {files.DATASET_FILE, files.ANNOTATIONS_FILE}
    expected |= {f"{f.partition('/')[0]}/{s}.lst" for f in folders for s in files.SPLITS}
    for number, key in enumerate(folders, start=1):
        problems += _object_problems(dataset, key, listed, content["settings"])
        report(number, len(folders))
    problems += _composed_problems(dataset, content)
    return [*problems, *_foreign(dataset, folders, expected)]


def repair(dataset: Path, problems: list[Problem]) -> None:
    """Delete what is damaged, so that ``render`` and ``prepare`` make it again.

    Records of damaged objects go, and what a stopped process left; lists and ``dataset.json`` are
    composed anew. Files that belong to nothing are left to their owner.

    Raises:
        InputError: The dataset cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    for problem in problems:
        if problem.remedy == "render":
            folder = files.start_object(dataset, problem.key)
            with suppress(OSError):
                folder.rmdir()  # unless something of its owner's lies in it
        elif problem.remedy == "prepare":
            (dataset / problem.key / files.PREPARED_FILE).unlink(missing_ok=True)
        elif problem.remedy == "delete":
            (dataset / problem.path).unlink(missing_ok=True)
    if (dataset / files.DATASET_FILE).is_file():
        files.compose_dataset(dataset)


def _object_folders(dataset: Path) -> list[str]:
    """Keys of all folders where objects lie, with or without a record."""
    folders = (path for path in dataset.glob("*/*") if path.is_dir())
    return sorted(path.relative_to(dataset).as_posix() for path in folders)


# One object ---------------------------------------------------------------------------------------


def _object_problems(
    dataset: Path, key: str, listed: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[Problem]:
    try:
        damage = files.object_damage(dataset, key)
    except InputError:
        yield Problem(key, "the folder belongs to nothing in the dataset", "", key)
        return
    for name, what in sorted(damage.items()):
        made_later = name in (*files.PREPARED, files.PREPARED_FILE)
        yield Problem(f"{key}/{name}", what, "prepare" if made_later else "render", key)
    if files.OBJECT_FILE in damage:
        return
    record = files.read_record(dataset, key)
    if record is None:
        what = "is listed, but its record is missing" if key in listed else "was not finished"
        yield Problem(key, f"the object {what}", "render", key)
    elif record.settings != files.settings_hash(settings):
        yield Problem(key, "the object was rendered with other settings", "render", key)
    elif record.status == "rendered" and not damage:
        for what in camera_problems(dataset / key):
            yield Problem(f"{key}/transforms.json", what, "render", key)
        yield from _prepared_problems(dataset, key, record)


def _prepared_problems(dataset: Path, key: str, record: files.ObjectRecord) -> Iterator[Problem]:
    prepared = files.read_prepared(dataset, key)
    if prepared and not prepared.reason and prepared.mesh != record.files.get("mesh.ply"):
        what = "the ground truth was made from another mesh"
        yield Problem(f"{key}/{files.PREPARED_FILE}", what, "prepare", key)


def camera_problems(folder: Path) -> list[str]:
    """What contradicts what among the cameras, images, masks and the mesh of an object's folder."""
    try:
        posed = read_cameras(folder / "transforms.json", [], _image_size).images
        vertices = read_mesh(folder / "mesh.ply").vertices.astype(np.float64)
    except InputError as error:
        return [str(error)]
    problems = []
    found = {path.name for path in (folder / "image").glob("*.png")}
    if differing := sorted(found ^ {p.image.name for p in posed}):
        problems.append(f"image/{differing[0]} has no camera, or its camera no image")
    if np.abs(vertices).max() > _CUBE:
        problems.append("the mesh reaches out of the unit cube")
    problems += _disagreeing(folder, posed)
    for one in posed:
        problems += _outside_projection(one, vertices)
    return problems


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as an image: {error}.") from error


def _disagreeing(folder: Path, posed: tuple[PosedImage, ...]) -> list[str]:
    """Whether ``cameras.npz``, where there is one, projects as ``transforms.json`` does."""
    path = folder / "cameras.npz"
    if not path.is_file():
        return []
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (16, 3))
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        if sum(name.startswith("world_mat_") for name in arrays) != len(posed):
            return ["cameras.npz has another number of cameras"]
        for i, one in enumerate(posed):
            names = (f"camera_mat_{i}", f"world_mat_{i}", f"scale_mat_{i}")
            matrix = np.linalg.multi_dot([arrays[name] for name in names])
            flat = points @ matrix[:3, :3].T + matrix[:3, 3]
            height, width = one.camera.image_size
            pixels = (flat[:, :2] / flat[:, 2:] + 1.0) * 0.5 * [width, height]
            if not np.abs(pixels - one.camera.project(points)[0]).max() < _DEEP:
                return [f"cameras.npz has another camera for {one.image.name}"]
    return []


def _outside_projection(posed: PosedImage, vertices: np.ndarray) -> list[str]:
    """Whether the mask stays within the box around the projected vertices."""
    try:
        mask = read_mask(posed.image.parents[1] / "mask" / posed.image.name)
    except InputError as error:
        return [str(error)]
    if mask.shape != posed.camera.image_size:
        return [f"mask/{posed.image.name} has another size than its image"]
    pixels, depth = posed.camera.project(vertices)
    if not mask.any() or (not posed.camera.orthographic and depth.min() <= 0):
        return []
    rows, columns = np.nonzero(mask)
    low, high = pixels.min(axis=0) - _PIXELS, pixels.max(axis=0) + _PIXELS
    box = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
    if (box[0] < low).any() or (box[1] > high).any():
        return [f"the mesh, seen by the camera of {posed.image.name}, is not where its mask is"]
    return []


# The whole ----------------------------------------------------------------------------------------


def _composed_problems(dataset: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    """Lists and annotations against the SHA-256 that ``dataset.json`` has."""
    for name, wanted in sorted(content["files"].items()):
        if not (name.endswith(".lst") or name == files.ANNOTATIONS_FILE):
            continue
        try:
            damaged = files.file_hash(dataset / name) != wanted
        except OSError:
            yield Problem(name, "missing", "compose")
            continue
        if damaged:
            remedy = "delete" if name == files.ANNOTATIONS_FILE else "compose"
            yield Problem(name, "damaged: its bytes are not those that were written", remedy)


def _foreign(dataset: Path, folders: list[str], expected: set[str]) -> Iterator[Problem]:
    """Files that no record names; what an object without a record left is no problem of its own."""
    expected, unfinished = set(expected), set[str]()
    kinds = (
        (files.read_record, files.OBJECT_FILE, files.RENDERED),
        (files.read_prepared, files.PREPARED_FILE, files.PREPARED),
    )
    for key in folders:
        for read, record_file, names in kinds:
            record = None
            with suppress(InputError):
                record = read(dataset, key)
            expected |= {
                f"{key}/{name}" for name in (*(record.files if record else ()), record_file)
            }
            unfinished |= set() if record else {f"{key}/{name}" for name in names}
    for name in files.files_in(dataset):
        if name in expected or "/".join(name.split("/")[:3]) in unfinished:
            continue
        left = name.rpartition("/")[2].startswith(".") and name.endswith(".part")
        what = "left by a process that was stopped" if left else "belongs to nothing in the dataset"
        yield Problem(name, what, "delete" if left else "")
