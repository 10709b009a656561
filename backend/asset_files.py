"""The 3-D files of a folder as the objects of a dataset: keys, categories and what an index says.

Which kinds of files can be read is for those who read them to say. Needs the standard library only.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .dataset_files import DEFAULT_CATEGORY, SPLITS, safe_names
from .errors import InputError

INDEX = "index.csv"
"""In a folder of assets: columns ``file`` and any of ``category``, ``licence``, ``attribution``,
``source``, ``split``, ``dup_group``, ``up_axis``."""

_SUFFIXES = (
    *(".3ds", ".3mf", ".abc", ".blend", ".blend1", ".c4d", ".dae", ".dxf", ".fbx", ".glb"),
    *(".gltf", ".gml", ".iges", ".igs", ".ive", ".lwo", ".ma", ".max", ".mb", ".mdl", ".ms3d"),
    *(".obj", ".off", ".ply", ".skp", ".step", ".stl", ".stp", ".usd", ".usda", ".usdc", ".usdz"),
    *(".vrm", ".wrl", ".x3d", ".x3dv", ".xyz", ".zpr"),
)
"""Of 3-D files; those that the reader does not know are listed as refused, other files are not."""


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        key: ``<category>/<object>``.
        source: Its path in the folder.
        path: Absolute.
        up_axis: "y", "z" or empty, as the index says.
        licence: As the index says.
        attribution: As the index says, with the source.
        split: As the index says.
        dup_group: As the index says.
        refused: Why it cannot be read, if that is known already.
    """

    key: str
    source: str
    path: Path
    up_axis: str = ""
    licence: str = ""
    attribution: str = ""
    split: str = ""
    dup_group: str = ""
    refused: str = ""


def list_assets(folder: Path, suffixes: Collection[str], category: str = "") -> list[Asset]:
    """The 3-D files below a folder, or one file, by key.

    An asset's category is, the first that is known: ``category``, what the index says, the folder's
    name in which it lies.

    Args:
        folder: Or a file.
        suffixes: Of the kinds that can be read.
        category: Of all.

    Raises:
        InputError: There are none, or the index cannot be read.
    """
    kinds = ", ".join(suffixes)
    if not folder.exists():
        raise InputError(f"'{folder}' does not exist.")
    root = folder if folder.is_dir() else folder.parent
    files = _asset_files(folder, suffixes) if folder.is_dir() else [folder]
    if not files:
        raise InputError(f"'{folder}' has no asset files ({kinds}).")
    if files == [folder] and folder.suffix.lower() not in suffixes:
        raise InputError(f"'{folder}' is of no kind that is imported ({kinds}).")
    index = _read_index(root / INDEX)
    rows = [index.get(path.relative_to(root).as_posix(), {}) for path in files]
    parts = [path.relative_to(root).parts for path in files]
    categories = [
        category or row.get("category") or (part[0] if len(part) > 1 else DEFAULT_CATEGORY)
        for row, part in zip(rows, parts, strict=True)
    ]
    keys = _asset_keys(categories, parts)
    found = [
        _asset(key, path, "/".join(part), row, suffixes)
        for key, path, part, row in zip(keys, files, parts, rows, strict=True)
    ]
    return sorted(found, key=lambda asset: asset.key)


def _asset_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        known = path.suffix.lower() in (*suffixes, *_SUFFIXES)
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if known and not hidden and path.is_file():
            found.append(path)
    return found


def _asset_keys(categories: Sequence[str], parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Keys from the files' names; with the ending where they would else be the same."""
    inner = [part[1:] or part for part in parts]
    plain = ["_".join([*part[:-1], Path(part[-1]).stem]) for part in inner]
    alike = Counter((c, name.casefold()) for c, name in zip(categories, plain, strict=True))
    names = [
        name if alike[c, name.casefold()] == 1 else "_".join(part)
        for c, name, part in zip(categories, plain, inner, strict=True)
    ]
    kinds = sorted(set(categories))
    folders = dict(zip(kinds, safe_names(kinds), strict=True))
    keys = [""] * len(names)
    for kind in kinds:
        places = [i for i, c in enumerate(categories) if c == kind]
        for i, name in zip(places, safe_names([names[i] for i in places]), strict=True):
            keys[i] = f"{folders[kind]}/{name}"
    return keys


def _asset(
    key: str, path: Path, source: str, row: Mapping[str, str], suffixes: Collection[str]
) -> Asset:
    suffix = path.suffix.lower()
    credit = dict.fromkeys(row.get(name, "") for name in ("attribution", "source"))
    return Asset(
        key,
        source,
        path.resolve(),
        up_axis=row["up_axis"] if row.get("up_axis") in ("y", "z") else "",
        licence=row.get("licence", ""),
        attribution=", ".join(filter(None, credit)),
        split=row["split"] if row.get("split") in SPLITS else "",
        dup_group=row.get("dup_group", ""),
        refused="" if suffix in suffixes else f"files of the kind {suffix} are not imported.",
    )


def _read_index(path: Path) -> dict[str, dict[str, str]]:
    """The index's rows by file; none if there is no index."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: {error}.") from error
    return {
        row["file"].replace("\\", "/"): {k: v.strip() for k, v in row.items() if k and v}
        for row in rows
        if row.get("file")
    }
