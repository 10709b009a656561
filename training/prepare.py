"""``prepare``: ground truth of every rendered object, COCO masks, splits and lists.

Beside an object's ``mesh.ply``, in the same unit cube:

* ``mesh_welded.ply``: vertices at one place merged, doubled and empty faces gone, parts wound
  outwards.
* ``pointcloud.npz``: ``points`` ``[N, 3]`` float32 on the surface, ``normals`` ``[N, 3]`` float16.
* ``points.npz``: ``points`` ``[N, 3]`` float32, the first ``uniform`` of them even in
  [-0.55, 0.55]^3 and the others near the surface; ``occupancies`` packed as by ``numpy.packbits``;
  ``sdf`` ``[N]`` float32, negative inside.
* ``voxels_32.npz``, ``voxels_64.npz``: ``voxels`` ``[R, R, R]`` bool, indexed ``[x, y, z]``,
  whether the cells' centres are inside.

All have ``loc`` ``[3]`` and ``scale``: ``points * scale + loc`` leads back to the asset's own
place. ``prepared.json`` is written last. Objects are prepared in child processes, so that nothing
that goes wrong with one of them, be it a crash, stops the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backend import dataset_files as files
from backend.errors import InputError, ReconstructionError
from backend.files import write_files
from backend.mesh_files import mesh_contents, read_mesh

from .coco import coco_file, object_images
from .ground_truth import Solid
from .worker_pool import DIED, in_processes

_VERSION = 1  # of what is made here; a change makes all ground truth anew
_RESOLUTIONS = (32, 64)


@dataclass(frozen=True)
class GroundTruth:
    """How ground truth is made.

    Attributes:
        seed: The dataset's.
        surface_points: Number of points on the surface.
        occupancy_points: Number of points with occupancies and signed distances.
    """

    seed: int = 0
    surface_points: int = 100_000
    occupancy_points: int = 100_000

    @property
    def hash(self) -> str:
        """Tells one way of making it from another."""
        return files.settings_hash({**asdict(self), "version": _VERSION})


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Attributes:
        key: The object.
        state: ``"prepared"``, ``"already prepared"`` or ``"failed"``.
        reason: Why it failed, one sentence.
        images: From :func:`coco.object_images`.
    """

    key: str
    state: str
    reason: str = ""
    images: Sequence[Mapping[str, Any]] = ()


def prepare(
    dataset: Path,
    workers: int = 1,
    points: int = GroundTruth.occupancy_points,
    report: Callable[[int, int, Outcome], None] = lambda done, total, outcome: None,
) -> list[Outcome]:
    """Prepare every rendered object that is not prepared yet; see the module.

    Args:
        dataset: Its folder.
        workers: Processes at a time.
        points: On the surface, and as many with occupancies.
        report: Told of each object as it ends, with how many have ended and how many there are.

    Returns:
        What became of each object, by key. The same whatever the number of workers.

    Raises:
        InputError: The folder is no dataset or cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    content = files.compose_dataset(dataset)
    how = GroundTruth(int(content["settings"].get("seed", 0)), points, points)
    keys = [key for key, entry in content["objects"].items() if entry["status"] != "failed"]
    outcomes = []
    work = partial(prepare_object, dataset, how)
    died = partial(_failed, dataset, how, reason=DIED)
    for outcome in in_processes(work, sorted(keys), workers, died):
        outcomes.append(outcome)
        report(len(outcomes), len(keys), outcome)
    outcomes.sort(key=lambda outcome: outcome.key)
    images = {outcome.key: outcome.images for outcome in outcomes if outcome.state != "failed"}
    coco = coco_file(content["name"], images, content["objects"])
    files.write_json(dataset / files.ANNOTATIONS_FILE, coco)
    files.compose_dataset(dataset)
    return outcomes


def prepare_object(dataset: Path, how: GroundTruth, key: str) -> Outcome:
    """Prepare one object unless it is; whatever is wrong with it becomes the reason.

    Raises:
        ReconstructionError: Writing failed, say because the disk is full.
    """
    try:
        images = object_images(files.object_folder(dataset, key))
        if _is_prepared(dataset, key, how):
            return Outcome(key, "already prepared", images=images)
        _make(dataset, key, how)
    except ReconstructionError:
        raise
    except Exception as error:  # any, because one broken object must not stop the others
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}."
        return _failed(dataset, how, key, said)
    return Outcome(key, "prepared", images=images)


def _is_prepared(dataset: Path, key: str, how: GroundTruth) -> bool:
    try:
        record = files.read_prepared(dataset, key)
    except InputError:
        return False
    if record is None or record.reason or record.settings != how.hash:
        return False
    is_current = record.mesh == _mesh_hash(dataset, key)
    return is_current and not files.object_damage(dataset, key)


def _mesh_hash(dataset: Path, key: str) -> str:
    record = files.read_record(dataset, key)
    return record.files.get("mesh.ply", "") if record else ""


def _make(dataset: Path, key: str, how: GroundTruth) -> None:
    folder = files.object_folder(dataset, key)
    record = files.read_record(dataset, key)
    if record is None or not (folder / "mesh.ply").is_file():
        raise InputError("mesh.ply is missing; check the dataset with --repair and render again.")
    if files.file_hash(folder / "mesh.ply") != record.files.get("mesh.ply"):
        raise InputError("mesh.ply is damaged; check the dataset with --repair and render again.")
    contents = ground_truth_files(folder, record, how)
    write_files(contents)
    made = {path.name: files.file_hash(path) for path in sorted(contents)}
    prepared = files.PreparedRecord(record.files["mesh.ply"], how.hash, files=made)
    files.write_prepared(dataset, key, prepared)


def ground_truth_files(
    folder: Path, record: files.ObjectRecord, how: GroundTruth
) -> dict[Path, bytes]:
    """The files of one object's ground truth, by path; see the module for what they hold.

    Raises:
        InputError: The mesh cannot be read, or has no surface.
    """
    solid = Solid(read_mesh(folder / "mesh.ply"))
    rng = np.random.default_rng(files.object_seed(how.seed, record.key, "ground truth"))
    place = {"loc": np.array(record.offset, np.float64), "scale": np.float64(record.scale)}
    surface, normals = solid.surface_points(how.surface_points, rng)
    points = solid.sample_points(how.occupancy_points, rng).astype(np.float32)
    distances, inside = solid.signed_distance(points)
    uniform = np.int64(how.occupancy_points - 2 * (how.occupancy_points // 4))
    contents = mesh_contents(folder / "mesh_welded.ply", solid.mesh, {})
    contents[folder / "pointcloud.npz"] = _npz(
        points=surface.astype(np.float32), normals=normals.astype(np.float16), **place
    )
    contents[folder / "points.npz"] = _npz(
        points=points,
        occupancies=np.packbits(inside),
        sdf=distances.astype(np.float32),
        uniform=uniform,
        **place,
    )
    for resolution in _RESOLUTIONS:
        grid = solid.voxel_grid(resolution)
        contents[folder / f"voxels_{resolution}.npz"] = _npz(voxels=grid, **place)
    return contents


def _npz(**arrays: Any) -> bytes:
    """Equal arrays give equal bytes: NumPy dates every file in the archive 1980."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _failed(dataset: Path, how: GroundTruth, key: str, reason: str) -> Outcome:
    reason = f"ground truth: {' '.join(reason.split())}"
    record = files.PreparedRecord("", how.hash, reason=reason)
    folder = files.object_folder(dataset, key)
    for name in files.PREPARED:
        (folder / name).unlink(missing_ok=True)
    files.write_prepared(dataset, key, record)
    return Outcome(key, "failed", reason)
