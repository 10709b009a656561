"""Rendered datasets on disk: names, records, settings, splits and lists.

A dataset is a folder::

    dataset.json                     settings, objects and the SHA-256 of every file
    annotations.json                 COCO instances of all images
    <category>/train.lst val.lst test.lst
    <category>/<object>/object.json  the object's record, written last: its presence means rendered
    <category>/<object>/prepared.json the same for the ground truth
    <category>/<object>/...          images, cameras, meshes

An object's key is ``<category>/<object>``, both made by :func:`safe_names`. A record describes its
folder alone, so that several processes need no lock; ``dataset.json`` and the lists are composed of
the records, by any of them and as often as they like. Nothing holds a time of day, and random
numbers come from :func:`object_seed`, so the same settings give the same bytes in whatever order,
however often interrupted and by however many processes the objects were made.

Needs numpy and the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import __version__
from .errors import InputError
from .files import write_files
from .lazy_numpy import np
from .views import Similarity

SCHEMA_VERSION = 1
DATASET_FILE = "dataset.json"
OBJECT_FILE = "object.json"
PREPARED_FILE = "prepared.json"
ANNOTATIONS_FILE = "annotations.json"
SPLITS = ("train", "val", "test")
DEFAULT_SHARES = (0.8, 0.1, 0.1)
DEFAULT_CATEGORY = "objects"
RENDERED = (
    *("image", "mask", "depth", "normal", "albedo"),
    *("transforms.json", "cameras.npz", "mesh.ply"),
)
PREPARED = (
    *("mesh_welded.ply", "pointcloud.npz", "points.npz"),
    *("voxels_32.npz", "voxels_64.npz"),
)

_LONGEST_NAME = 80
_SMALLEST = 1e-9  # in the object's units; what is of this size has none
_RESERVED = {
    *("con", "prn", "aux", "nul", "clock"),
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
}
# Of descriptors. Among 229 models of furniture, cars and so on, unrelated designs differed by 0.027
# and more; variants of one design by 0 to 0.3. Wider groups would chain plain boxes together.
_SAME_SHAPE = 0.018


# Names and seeds ----------------------------------------------------------------------------------


def safe_names(names: Sequence[str]) -> list[str]:
    """Names that every file system takes, one for each of ``names``, all different.

    Letters, digits, ``-`` and ``_`` stay. Names that would become the same, whatever the case of
    their letters, each get a hash of what they were; equal names are numbered. A result depends
    on its own name and on those like it, not on the order of the others.
    """
    plain = [_plain_name(name) for name in names]
    alike = Counter(name.casefold() for name in plain)
    result, seen = [], Counter[str]()
    for name, original in zip(plain, names, strict=True):
        if alike[name.casefold()] > 1:
            seen[original] += 1
            number = f"#{seen[original]}" if seen[original] > 1 else ""
            name = f"{name}_{_digest(original + number)[:8]}"
        result.append(name)
    return result


def _plain_name(name: str) -> str:
    text = unicodedata.normalize("NFC", name)
    text = re.sub(r"[^\w-]+", "_", text).strip("_").lstrip("-")
    while len(text.encode()) > _LONGEST_NAME:
        text = text[:-1]
    return f"{text}_" if text.casefold() in _RESERVED else text or "unnamed"


def object_seed(seed: int, key: str, purpose: str = "") -> int:
    """The seed (48 bits) of what is random about an object, the same in every run and shard."""
    return int(_digest(f"{seed}/{key}/{purpose}")[:12], 16)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# The unit cube ------------------------------------------------------------------------------------


def unit_cube_of(vertices: np.ndarray, name: str) -> Similarity:
    """From a dataset's unit cube, which an object's longest edge fills, to its own place.

    Args:
        vertices: ``[V, 3]``, at least one.
        name: How messages call the object.

    Raises:
        InputError: The object has no size, or coordinates are no numbers.
    """
    if not np.isfinite(vertices).all():
        raise InputError(f"'{name}' has vertices whose coordinates are no numbers; repair it.")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    longest = float((high - low).max())
    if longest < _SMALLEST:
        raise InputError(f"'{name}' has no size: all its vertices lie in one place.")
    return Similarity(longest, (low + high) / 2)


# Files --------------------------------------------------------------------------------------------


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; equal contents give equal bytes.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_files({path: text.encode()})


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: The file is missing, damaged or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object.")
    return content


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, as sorted relative paths with ``/``."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _damage(folder: Path, expected: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with files of known SHA-256, by relative path."""
    found = {}
    for name, wanted in expected.items():
        try:
            if file_hash(folder / name) != wanted:
                found[name] = "damaged: its bytes are not those that were written"
        except FileNotFoundError:
            found[name] = "missing"
        except OSError as error:
            found[name] = f"unreadable: {error.strerror or error}"
    return found


# Settings -----------------------------------------------------------------------------------------


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Tells one set of settings from another; the order of the keys does not matter."""
    return _digest(json.dumps(dict(settings), sort_keys=True, allow_nan=False))[:16]


def settings_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between settings, a few words each: ``views: 24 there, 12 now``."""
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return [f"{key}: {_shown(old, key)} there, {_shown(new, key)} now" for key in keys]


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "nothing"


def open_dataset(folder: Path, settings: Mapping[str, Any], name: str = "") -> None:
    """Begin a dataset or go on with one.

    Args:
        folder: Empty, not there yet, or a dataset of the same settings.
        settings: All that decides about the bytes of the files, as values that JSON holds; with
            ``seed`` (int) and perhaps ``split_shares`` (train, val, test; they add up to 1).
        name: What the dataset is called; the folder's name if empty.

    Raises:
        InputError: The folder holds something else, or a dataset of other settings, or cannot be
            written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    _shares(settings)
    if (folder / DATASET_FILE).is_file():
        old = read_dataset(folder)["settings"]
        if differences := settings_differences(old, settings):
            raise InputError(
                f"'{folder}' is a dataset with other settings ({'; '.join(differences)}); use its "
                "settings to go on with it, or choose another folder."
            )
        return
    if (
        folder.exists()
        and (not folder.is_dir() or any(folder.iterdir()))
        and not _belongs(folder, settings)
    ):
        raise InputError(f"'{folder}' exists and is no dataset; choose an empty or a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot make the folder '{folder}': {reason}.") from error
    write_json(folder / DATASET_FILE, _dataset(name or folder.resolve().name, settings))


def _belongs(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder without dataset.json holds objects that were rendered with the settings."""
    hashes = {record.settings for record in _undamaged(folder)}
    return hashes == {settings_hash(settings)}


def _dataset(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "project_version": __version__,
        "name": name,
        "settings": dict(settings),
        "objects": {},
        "files": {},
    }


def read_dataset(folder: Path) -> dict[str, Any]:
    """Read ``dataset.json``; see :func:`compose_dataset` for its contents.

    Raises:
        InputError: The folder is no dataset, or the file is damaged or of a newer version.
    """
    if not (folder / DATASET_FILE).is_file():
        raise InputError(f"'{folder}' is no dataset: it has no {DATASET_FILE}.")
    content = read_json(folder / DATASET_FILE)
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"'{folder / DATASET_FILE}' has schema version {version}, but this program reads "
            f"version {SCHEMA_VERSION}."
        )
    if missing := [key for key in ("name", "settings", "objects", "files") if key not in content]:
        raise InputError(f"'{folder / DATASET_FILE}' is damaged: {missing[0]} is missing.")
    return content


# Records ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectRecord:
    """What the renderer says about one object: the contents of ``object.json``.

    Attributes:
        key: ``<category>/<object>``, both safe names.
        settings: The hash of the settings it was rendered with.
        status: ``"rendered"``, or ``"failed"`` with a ``reason``; a second run tries those again.
        reason: One sentence.
        source: The asset's file (relative) or the object's name in the scene.
        licence: Of the asset, as its owner says it.
        attribution: Of the asset.
        scale: ``world = scale * unit + offset`` leads from the unit cube to the asset's own place.
        offset: ``[3]``.
        seed: Of the cameras and lights.
        problems: What the user should know about, such as missing textures.
        descriptor: From :func:`shape_descriptor`, by which near-duplicates are found.
        dup_group: Of near-duplicates, where the assets' index says so.
        split: ``"train"``, ``"val"`` or ``"test"``, where the assets' index says so.
        files: SHA-256 by path relative to the object's folder; all that was written but this file.
    """

    key: str
    settings: str
    status: str = "rendered"
    reason: str = ""
    source: str = ""
    licence: str = ""
    attribution: str = ""
    scale: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    problems: tuple[str, ...] = ()
    descriptor: tuple[float, ...] = ()
    dup_group: str = ""
    split: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what later steps rely on.

        Raises:
            ValueError: An unknown split or status.
        """
        if self.split not in ("", *SPLITS):
            raise ValueError(f"the split must be one of {', '.join(SPLITS)}, got '{self.split}'")
        if self.status not in ("rendered", "failed"):
            raise ValueError(f"the status must be rendered or failed, got '{self.status}'")


@dataclass(frozen=True)
class PreparedRecord:
    """What ``prepare`` says about one object: the contents of ``prepared.json``.

    Attributes:
        mesh: SHA-256 of the ``mesh.ply`` that the ground truth was made from.
        settings: The hash of the settings it was made with.
        reason: Why there is none, one sentence; empty if there is.
        files: SHA-256 by name.
    """

    mesh: str
    settings: str
    reason: str = ""
    files: dict[str, str] = field(default_factory=dict)


def object_folder(dataset: Path, key: str) -> Path:
    """The folder of an object.

    Raises:
        InputError: The key leads elsewhere.
    """
    category, slash, name = key.partition("/")
    if not slash or [category, name] != [_plain_name(category), _plain_name(name)]:
        raise InputError(f"'{key}' is no key of an object, which is <category>/<object>.")
    return dataset / category / name


def start_object(dataset: Path, key: str) -> Path:
    """Make an object's folder, and empty it of what an earlier run left there.

    Only what a renderer or ``prepare`` writes is deleted. Returns the folder.

    Raises:
        InputError: The folder cannot be made or emptied.
    """
    folder = object_folder(dataset, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (OBJECT_FILE, PREPARED_FILE, *PREPARED, *RENDERED):
            _delete(folder / name)
        for part in folder.glob(".*.part"):
            _delete(part)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror or error}.") from error
    return folder


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def finish_object(dataset: Path, record: ObjectRecord) -> ObjectRecord:
    """Write an object's record, with the SHA-256 of all that lies in its folder.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    folder = object_folder(dataset, record.key)
    names = [name for name in files_in(folder) if name not in (OBJECT_FILE, PREPARED_FILE)]
    record = replace(record, files={name: file_hash(folder / name) for name in names})
    _write_record(folder / OBJECT_FILE, asdict(record))
    return record


def fail_object(dataset: Path, record: ObjectRecord, reason: str) -> None:
    """List an object as failed; its folder keeps nothing but the record.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    folder = start_object(dataset, record.key)
    failed = replace(record, status="failed", reason=reason, files={})
    _write_record(folder / OBJECT_FILE, asdict(failed))


def read_record(dataset: Path, key: str) -> ObjectRecord | None:
    """An object's record; None if it has none.

    Raises:
        InputError: The record is damaged.
    """
    path = object_folder(dataset, key) / OBJECT_FILE
    content = _record_content(path, ObjectRecord)
    if content is None:
        return None
    try:
        tuples = {name: tuple(content.get(name, ())) for name in ("problems", "descriptor")}
        record = ObjectRecord(**{**content, **tuples, "offset": tuple(content["offset"])})
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    if record.key != key:
        raise InputError(f"{path} is damaged: it is the record of '{record.key}'.")
    return record


def write_prepared(dataset: Path, key: str, record: PreparedRecord) -> None:
    """Write ``prepared.json``.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    _write_record(object_folder(dataset, key) / PREPARED_FILE, asdict(record))


def read_prepared(dataset: Path, key: str) -> PreparedRecord | None:
    """The record of an object's ground truth; None if it has none.

    Raises:
        InputError: The record is damaged.
    """
    path = object_folder(dataset, key) / PREPARED_FILE
    content = _record_content(path, PreparedRecord)
    try:
        return None if content is None else PreparedRecord(**content)
    except TypeError as error:
        raise InputError(f"{path} is damaged: {error}.") from error


def _write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record with a hash of itself, as nothing else tells whether it is damaged."""
    write_json(path, {**content, "hash": settings_hash(content)})


def _record_content(path: Path, kind: type) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = read_json(path)
    said = content.pop("hash", "")
    if said != settings_hash(content):
        raise InputError(f"{path} is damaged: its contents are not those that were written.")
    if unknown := sorted(set(content) - {f.name for f in fields(kind)}):
        raise InputError(f"{path} is of a newer version: it has '{unknown[0]}'.")
    return content


def object_damage(dataset: Path, key: str) -> dict[str, str]:
    """What is wrong with the files that an object's records name, by path in its folder.

    A damaged record is named itself; a failed object has nothing wrong with it.
    """
    folder = object_folder(dataset, key)
    damage: dict[str, str] = {}
    readers = ((read_record, OBJECT_FILE), (read_prepared, PREPARED_FILE))
    for read, name in readers:
        try:
            record = read(dataset, key)
            damage |= _damage(folder, record.files) if record else {}
        except InputError as error:
            damage[name] = str(error)
    return damage


def is_rendered(dataset: Path, key: str, settings: Mapping[str, Any]) -> bool:
    """Whether an object needs no rendering: a record with these settings, all files undamaged."""
    try:
        record = read_record(dataset, key)
    except InputError:
        return False
    if not record or record.status == "failed" or record.settings != settings_hash(settings):
        return False
    return not _damage(object_folder(dataset, key), record.files)


def object_keys(dataset: Path) -> list[str]:
    """The keys of all objects with a record, sorted."""
    records = dataset.glob(f"*/*/{OBJECT_FILE}")
    return sorted(path.parent.relative_to(dataset).as_posix() for path in records)


# Near-duplicates and splits -----------------------------------------------------------------------


def shape_descriptor(vertices: np.ndarray, faces: np.ndarray) -> tuple[float, ...]:
    """Seven numbers of a surface, the same however it is moved, turned, mirrored or triangulated.

    With x the offset from the surface's centroid, in units of its root mean square: the standard
    deviations along two principal axes, ``E|x|^4``, ``|E(|x|^2 x)|``, the largest ``|x|``, and the
    logarithms of the area and of 1 + the volume; all integrals are exact.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.

    Returns:
        Rounded to six digits; empty for a surface without area.
    """
    corners = np.asarray(vertices, dtype=np.float64)[np.asarray(faces)]  # [F, 3, 3]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = 0.5 * np.linalg.norm(cross, axis=1)
    if not areas.sum() > 0 or not np.isfinite(areas.sum()):
        return ()
    points, weights = _quadrature(corners, areas)
    corners, points = corners - weights @ points, points - weights @ points
    size = np.sqrt(weights @ (points**2).sum(axis=1))
    corners, points = corners / size, points / size
    squares = (points**2).sum(axis=1)
    spread = np.linalg.eigvalsh(np.einsum("q,qi,qj->ij", weights, points, points))
    volume = abs(np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6
    numbers = (
        *np.sqrt(spread[:2].clip(0.0)),
        weights @ squares**2,
        np.linalg.norm((weights * squares) @ points),
        np.linalg.norm(corners[areas > 0], axis=-1).max(),
        np.log(areas.sum() / size**2),
        np.log1p(volume),
    )
    return tuple(round(float(number), 6) for number in numbers)


def _quadrature(corners: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[6 F, 3]`` and weights ``[6 F]`` that integrate polynomials of degree 4 exactly.

    Dunavant (1985), the rule of six points.
    """
    near, far = 0.091576213509770743, 0.445948490915964886
    rows = [np.roll([1 - 2 * a, a, a], i) for a in (near, far) for i in range(3)]
    points = np.einsum("qc,fci->qfi", np.array(rows), corners)
    shares = np.repeat([0.109951743655321868, 0.223381589678011466], 3)
    weights = shares[:, None] * areas / areas.sum()
    return points.reshape(-1, 3), weights.reshape(-1) / weights.sum()


def near_duplicates(records: Sequence[ObjectRecord]) -> dict[str, str]:
    """The group of each object, by key: objects of a group stay in one split.

    Objects belong together when their ``dup_group`` says so or their descriptors agree. A group
    is called as the index calls it, or after the first of its keys.
    """
    parent = {record.key: record.key for record in records}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in (*_named_alike(records), *_shaped_alike(records)):
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    names: dict[str, str] = {}
    for record in sorted(records, key=lambda r: (not r.dup_group, r.dup_group, r.key)):
        names.setdefault(root(record.key), record.dup_group or root(record.key))
    return {record.key: names[root(record.key)] for record in records}


def _named_alike(records: Iterable[ObjectRecord]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for record in records:
        if record.dup_group:
            yield record.key, first.setdefault(record.dup_group, record.key)


def _shaped_alike(records: Iterable[ObjectRecord]) -> Iterator[tuple[str, str]]:
    known = sorted((r for r in records if r.descriptor), key=lambda r: r.descriptor)
    if not known:
        return
    numbers = np.array([r.descriptor for r in known])
    ends = np.searchsorted(numbers[:, 0], numbers[:, 0] + _SAME_SHAPE, side="right")
    for i, end in enumerate(ends):
        differences = np.abs(numbers[i + 1 : end] - numbers[i]).max(axis=1, initial=0.0)
        for j in np.flatnonzero(differences <= _SAME_SHAPE):
            yield known[i].key, known[i + 1 + j].key


def split_objects(
    records: Sequence[ObjectRecord], seed: int, shares: Sequence[float] = DEFAULT_SHARES
) -> dict[str, str]:
    """The split of each object, by key.

    Within each category, groups of near-duplicates are shuffled and cut at the shares. A split
    that the assets' index gives is kept, and taken over by near-duplicates without one.

    Args:
        records: All objects.
        seed: Of the shuffle.
        shares: Of train, val and test.
    """
    groups = near_duplicates(records)
    members: defaultdict[str, list[ObjectRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.key):
        members[groups[record.key]].append(record)
    categories: defaultdict[str, list[str]] = defaultdict(list)
    for name, group in members.items():
        categories[group[0].key.partition("/")[0]].append(name)
    splits: dict[str, str] = {}
    for names in categories.values():
        free = [name for name in names if not any(r.split for r in members[name])]
        free.sort(key=lambda name: _digest(f"{seed}/split/{name}"))
        sizes = np.array([len(members[name]) for name in free], dtype=float)
        middles = (np.cumsum(sizes) - 0.5 * sizes) / max(sizes.sum(), 1.0)
        # Less a little, so that rounding does not decide where a middle lies on the border.
        chosen = np.searchsorted(np.cumsum(shares)[:2] - 1e-9, middles, side="right")
        given = {name: SPLITS[i] for name, i in zip(free, chosen, strict=True)}
        for name in names:
            first = min((r.split for r in members[name] if r.split), key=SPLITS.index, default="")
            splits |= {r.key: r.split or first or given[name] for r in members[name]}
    return splits


def _shares(settings: Mapping[str, Any]) -> tuple[float, ...]:
    shares = tuple(settings.get("split_shares", DEFAULT_SHARES))
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
        raise InputError(
            f"the shares of train, val and test must be three numbers that add up to 1, got "
            f"{', '.join(map(str, shares))}."
        )
    return shares


# dataset.json and the lists -----------------------------------------------------------------------


def compose_dataset(folder: Path) -> dict[str, Any]:
    """Write the lists and ``dataset.json`` anew from the records, and return its contents.

    Its ``objects`` have, by key: ``category``, ``split``, ``dup_group``, ``source``, ``licence``,
    ``attribution``, ``problems``, ``status`` (``"rendered"``, ``"prepared"`` or ``"failed"``) and
    ``reason``; ``files`` has the SHA-256 by relative path. Objects whose record is damaged are
    left out. Lists name the objects that nothing failed for.

    Takes time in proportion to all objects: call it at the end of a run, not after each object.

    Raises:
        InputError: The folder is no dataset, or cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    old = read_dataset(folder)
    records = list(_undamaged(folder))
    rendered = [record for record in records if record.status == "rendered"]
    settings = old["settings"]
    splits = split_objects(rendered, int(settings.get("seed", 0)), _shares(settings))
    groups = near_duplicates(rendered)
    content = _dataset(old["name"], settings)
    for record in records:
        entry, files = _entry(folder, record)
        entry["split"] = splits.get(record.key, "")
        entry["dup_group"] = groups.get(record.key, "")
        content["objects"][record.key] = entry
        content["files"] |= {f"{record.key}/{name}": value for name, value in files.items()}
    for name in (*_write_lists(folder, content["objects"]), ANNOTATIONS_FILE):
        if (folder / name).is_file():
            content["files"][name] = file_hash(folder / name)
    write_json(folder / DATASET_FILE, content)
    return content


def _undamaged(folder: Path) -> Iterator[ObjectRecord]:
    for key in object_keys(folder):
        try:
            record = read_record(folder, key)
        except InputError:
            continue
        if record:
            yield record


def _entry(dataset: Path, record: ObjectRecord) -> tuple[dict[str, Any], dict[str, str]]:
    """An object's entry in ``dataset.json``, and the SHA-256 of its files."""
    folder = object_folder(dataset, record.key)
    names = ("source", "licence", "attribution", "status", "reason")
    entry: dict[str, Any] = {name: getattr(record, name) for name in names}
    entry |= {"category": record.key.partition("/")[0], "problems": list(record.problems)}
    files = {**record.files, OBJECT_FILE: file_hash(folder / OBJECT_FILE)}
    try:
        prepared = read_prepared(dataset, record.key)
    except InputError:
        prepared = None
    if prepared:
        files |= {**prepared.files, PREPARED_FILE: file_hash(folder / PREPARED_FILE)}
        entry["status"] = entry["status"] if prepared.reason else "prepared"
        entry["reason"] = prepared.reason
    return entry, files


def _write_lists(folder: Path, objects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write each category's lists, without a last newline, which published readers count."""
    written = {}
    for category in sorted({entry["category"] for entry in objects.values()}):
        for split in SPLITS:
            names = [
                key.partition("/")[2]
                for key, entry in sorted(objects.items())
                if (entry["category"], entry["split"], entry["reason"]) == (category, split, "")
            ]
            written[f"{category}/{split}.lst"] = "\n".join(names).encode()
    write_files({folder / name: content for name, content in written.items()})
    return list(written)
