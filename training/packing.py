"""``pack``: a dataset as WebDataset tar shards, for disks and networks that dislike small files.

A packed dataset is a folder::

    dataset.json                  as it was
    shards.json                   SHA-256 of the shards, and where each file lies in them
    train-000000.tar ...          objects of one split, whole; val and test likewise

In a shard, the file ``image/0000.png`` of the object ``chair/a`` is ``chair/a.image.0000.png``, so
that WebDataset's readers see one sample for each object. Files are not compressed and their places
are known, so a packed dataset can be read in any order (:class:`PackedFiles`, which
:class:`training.datasets.RenderedDataset` uses) or as a stream (:mod:`training.streaming`). Equal
datasets give equal bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from backend import dataset_files as files
from backend.errors import InputError

from .large_files import disk_errors
from .rendered_objects import hashes_by_object

INDEX_FILE = "shards.json"
_VERSION = 1
_MIB = 2**20


def is_packed(folder: Path) -> bool:
    """Whether a folder was made by :func:`pack`."""
    return (folder / INDEX_FILE).is_file()


# Writing ------------------------------------------------------------------------------------------


def pack(
    dataset: Path,
    out: Path,
    shard_mib: int = 256,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Pack the prepared objects of a dataset.

    Args:
        dataset: Its folder.
        out: A new or empty folder; it appears when all is done.
        shard_mib: Size at which a shard is full, in MiB. A shard holds whole objects, so the last
            one may reach beyond; 0 gives every object a shard of its own.
        report: Told how many objects are packed, of how many.

    Returns:
        The contents of ``shards.json``: ``version``, ``shards`` (SHA-256 by name), and ``files``
        (``[shard, first byte, number of bytes]`` by path in the dataset).

    Raises:
        InputError: The folder is no dataset, or has no prepared objects; a file is missing or
            damaged; the place is taken or cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    content = files.read_dataset(dataset)
    objects = {
        key: entry for key, entry in content["objects"].items() if entry["status"] == "prepared"
    }
    if not objects:
        raise InputError(
            f"'{dataset}' has no prepared objects; run: python -m training prepare {dataset}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"'{out}' exists already; choose an empty or a new folder.")
    part = out.with_name(f".{out.name}.part")
    with disk_errors(out):
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was stopped
        part.mkdir(parents=True)
        try:
            shutil.copyfile(dataset / files.DATASET_FILE, part / files.DATASET_FILE)
            index = _write_shards(dataset, content, objects, part, max(shard_mib * _MIB, 1), report)
            files.write_json(part / INDEX_FILE, index)
            if out.is_dir():
                out.rmdir()
            os.replace(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return index


def _write_shards(
    dataset: Path,
    content: Mapping[str, Any],
    objects: Mapping[str, Mapping[str, Any]],
    folder: Path,
    full: int,
    report: Callable[[int, int], None],
) -> dict[str, Any]:
    shards: dict[str, str] = {}
    places: dict[str, list[Any]] = {}
    hashes = hashes_by_object(content["files"], objects)
    done = 0
    for split in files.SPLITS:
        waiting = sorted(
            (key for key, entry in objects.items() if entry["split"] == split), reverse=True
        )
        while waiting:
            name = f"{split}-{len(shards):06}.tar"
            with (folder / name).open("wb") as file:
                while waiting and file.tell() < full:
                    key = waiting.pop()
                    found = _add_object(file, dataset, key, hashes[key])
                    places |= {path: [name, *place] for path, place in found.items()}
                    done += 1
                    report(done, len(objects))
                file.write(bytes(2 * tarfile.BLOCKSIZE))  # the archive's end
            shards[name] = files.file_hash(folder / name)
    return {"version": _VERSION, "shards": shards, "files": places}


def _add_object(
    file: BinaryIO, dataset: Path, key: str, hashes: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """Append an object's files; returns their first bytes and lengths by path in the dataset."""
    places = {}
    for name in sorted(hashes):
        path = f"{key}/{name}"
        try:
            content = (dataset / path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); check the dataset."
            ) from None
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise InputError(f"{path} is damaged; check the dataset with --repair.")
        member = tarfile.TarInfo(f"{key}.{name.replace('/', '.')}")
        member.size, member.mode = len(content), 0o644
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        places[path] = (file.tell(), len(content))
        file.write(content)
        file.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return places


# Reading ------------------------------------------------------------------------------------------


class PackedFiles:
    """The files of a packed dataset, in any order."""

    def __init__(self, folder: Path) -> None:
        """Read the index.

        Raises:
            InputError: It is damaged or of another version.
        """
        self._folder = folder
        self._places = read_index(folder)["files"]

    def read(self, path: str) -> bytes:
        """The bytes of a file by its path in the dataset.

        Raises:
            KeyError: There is none.
            OSError: Its shard is missing, shorter than it was, or cannot be read.
        """
        shard, start, length = self._places[path]
        with (self._folder / shard).open("rb") as file:
            file.seek(start)
            content = file.read(length)
        if len(content) < length:
            raise OSError(f"{shard} is shorter than it was")
        return content


def read_index(folder: Path) -> dict[str, Any]:
    """Read ``shards.json``; see :func:`pack` for its contents.

    Raises:
        InputError: It is missing, damaged or of another version.
    """
    index = files.read_json(folder / INDEX_FILE)
    if index.get("version") != _VERSION or not {"shards", "files"} <= set(index):
        raise InputError(f"'{folder / INDEX_FILE}' is damaged or of another version; pack again.")
    return index
