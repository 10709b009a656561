"""Rendered datasets as arrays: the objects of one split, with views and ground truth.

What a dataset holds is said in :mod:`backend.dataset_files` and :mod:`training.prepare`; a folder
that :mod:`training.packing` made of one is read in the same way. Everything is in the unit cube,
cameras too.

Images are decoded once: the first process that asks for them writes all views of the split into
``<dataset>.cache``, a folder beside the dataset, and every process maps that file into its memory,
so that a step costs no decoding and the operating system keeps what fits. The cache may be deleted
at any time.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from backend import dataset_files as files
from backend.errors import InputError
from backend.geometry.mesh import Mesh

from .large_files import written_aside
from .packing import PackedFiles, is_packed
from .rendered_objects import ObjectViews, RenderedObject, hashes_by_object

_VERSION = 1  # of the cache; a change decodes all images anew
_DECODED_AT_ONCE = 64  # objects


class RenderedDataset:
    """The objects of one split of a rendered dataset, ready to be drawn from.

    Opening reads ``dataset.json`` alone; images and cameras are read when they are first asked for.
    Processes that are forked or spawned later share them.

    Attributes:
        keys: ``<category>/<object>`` of each object, sorted.
        views: Number of views V, the same for all objects.
        data_hash: Of all files of these objects.
        licences: How many of the objects have which licence.
        name: The dataset's.
    """

    def __init__(self, folder: Path, split: str, category: str = "", image_size: int = 0) -> None:
        """Open a split.

        Args:
            folder: The dataset's, or of a packed one.
            split: ``"train"``, ``"val"`` or ``"test"``.
            category: Of the objects; all if empty.
            image_size: Pixels along a side to average the images down to; 0 for as rendered.

        Raises:
            InputError: The folder is no dataset or of another schema; there is no such category;
                the split is empty, not prepared, or its objects differ in their number of views.
        """
        content = files.read_dataset(folder)
        objects = _chosen(folder, content, category)
        self.keys = tuple(sorted(key for key, entry in objects.items() if entry["split"] == split))
        if not self.keys:
            raise InputError(_empty(folder, split, category, split_sizes(folder, category)))
        if bare := [key for key in self.keys if objects[key]["status"] != "prepared"]:
            raise InputError(
                f"{len(bare)} of the {len(self.keys)} objects in the split '{split}' have no "
                f"ground truth, for example {bare[0]}; run: python -m training prepare {folder}"
            )
        self.name = str(content["name"])
        licences = Counter(objects[key]["licence"] or "not stated" for key in self.keys)
        self.licences = dict(sorted(licences.items()))
        self._folder, self._image_size = folder, image_size
        self._hashes = hashes_by_object(content["files"], self.keys)
        self._packed = PackedFiles(folder) if is_packed(folder) else None
        self.data_hash = files.settings_hash(self._hashes)
        self.views = self._common_views()

    def __len__(self) -> int:
        """Number of objects N."""
        return len(self.keys)

    @property
    def images(self) -> np.ndarray:
        """``[N, V, S, S, 4]`` uint8, straight sRGB and alpha, mapped from the disk."""
        return self._cached[0]

    @property
    def image_size(self) -> int:
        """Pixels along a side S."""
        return self.images.shape[2]

    @property
    def intrinsics(self) -> np.ndarray:
        """``[N, V, 3, 3]`` float32, in pixels of these images."""
        return self._cached[1]["intrinsics"]

    @property
    def world_to_camera(self) -> np.ndarray:
        """``[N, V, 4, 4]`` float32, from the unit cube; OpenCV axes."""
        return self._cached[1]["world_to_camera"]

    @property
    def orthographic(self) -> np.ndarray:
        """``[N, V]`` bool."""
        return self._cached[1]["orthographic"]

    def surface(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Of one object; see :meth:`RenderedObject.surface`."""
        return self.rendered_object(index).surface()

    def occupancy(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one object; see :meth:`RenderedObject.occupancy`."""
        return self.rendered_object(index).occupancy()

    def voxels(self, index: int, resolution: int) -> np.ndarray:
        """Of one object; see :meth:`RenderedObject.voxels`."""
        return self.rendered_object(index).voxels(resolution)

    def mesh(self, index: int) -> Mesh:
        """Of one object; see :meth:`RenderedObject.mesh`."""
        return self.rendered_object(index).mesh()

    def rendered_object(self, index: int) -> RenderedObject:
        """One object with its files."""
        key = self.keys[index]
        folder = files.object_folder(self._folder, key)
        packed = self._packed

        def read(name: str) -> bytes:
            return packed.read(f"{key}/{name}") if packed else (folder / name).read_bytes()

        return RenderedObject(key, self._hashes[key], read)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped images: they would be copied, and the other process can map them."""
        return {name: value for name, value in self.__dict__.items() if name != "_cached"}

    def _common_views(self) -> int:
        counts = [len(self.rendered_object(index).image_names) for index in range(len(self))]
        if differing := [key for key, n in zip(self.keys, counts, strict=True) if n != counts[0]]:
            raise InputError(
                f"{differing[0]} has {counts[self.keys.index(differing[0])]} views and "
                f"{self.keys[0]} has {counts[0]}; render all objects with the same settings."
            )
        if counts[0] == 0:
            raise InputError(f"{self.keys[0]} has no images; render it again.")
        return counts[0]

    @cached_property
    def _cached(self) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """The images, mapped, and the cameras' arrays by name."""
        made_of = {"version": _VERSION, "size": self._image_size, "files": self._hashes}
        stem = files.settings_hash(made_of)
        images, cameras = (cache_folder(self._folder) / f"{stem}{end}" for end in (".npy", ".npz"))
        if not images.is_file():
            self._write_cache(images, cameras)
        try:
            with np.load(cameras, allow_pickle=False) as arrays:
                return np.load(images, mmap_mode="r", allow_pickle=False), dict(arrays)
        except (OSError, ValueError, EOFError, BadZipFile, zlib.error):
            raise InputError(
                f"the decoded images '{images}' are damaged; delete the folder '{images.parent}', "
                "it will be made again."
            ) from None

    def _write_cache(self, images: Path, cameras: Path) -> None:
        """Decode all views; the images are moved into place last."""
        stacked: list[ObjectViews] = []
        with written_aside(images) as file:
            for views in self._decoded():
                first = stacked[0] if stacked else views
                if views.images.shape != first.images.shape:
                    raise InputError(
                        f"{self.keys[len(stacked)]} has images of {views.images.shape[1]} pixels "
                        f"and {self.keys[0]} of {first.images.shape[1]}; choose an image size that "
                        "all have."
                    )
                if not stacked:
                    shape = (len(self), *views.images.shape)
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(views.images.data)
                stacked.append(views)
            names = ("intrinsics", "world_to_camera", "orthographic")
            with written_aside(cameras) as beside:
                arrays = {name: np.stack([getattr(v, name) for v in stacked]) for name in names}
                np.savez(beside, **arrays)

    def _decoded(self) -> Iterator[ObjectViews]:
        """The views of each object, decoded by all processors, some objects ahead."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for first in range(0, len(self), _DECODED_AT_ONCE):
                some = range(first, min(first + _DECODED_AT_ONCE, len(self)))
                yield from pool.map(
                    lambda index: self.rendered_object(index).views(self._image_size), some
                )


def cache_folder(dataset: Path) -> Path:
    """Beside the dataset, as published loaders take every folder in it for a category.

    Where that place is read-only: in the user's own folder for such things.
    """
    dataset = dataset.resolve()
    beside = dataset.with_name(f"{dataset.name}.cache")
    if os.access(beside if beside.exists() else dataset.parent, os.W_OK):
        return beside
    return Path.home() / ".cache" / "image-to-mesh"


def split_sizes(folder: Path, category: str = "") -> dict[str, int]:
    """How many usable objects each split has.

    Raises:
        InputError: The folder is no dataset, or there is no such category.
    """
    objects = _chosen(folder, files.read_dataset(folder), category)
    counts = Counter(entry["split"] for entry in objects.values())
    return {split: counts[split] for split in files.SPLITS}


def _chosen(folder: Path, content: Mapping[str, Any], category: str) -> dict[str, dict[str, Any]]:
    """The entries of the objects of a category that nothing failed for."""
    try:
        usable = {
            key: entry
            for key, entry in content["objects"].items()
            if entry["status"] != "failed" and not entry["reason"] and entry["split"]
        }
        categories = sorted({entry["category"] for entry in usable.values()})
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"'{folder / files.DATASET_FILE}' is damaged; run: python -m training prepare {folder}"
        ) from None
    if not usable:
        raise InputError(f"the dataset '{folder}' has no objects; render some first.")
    if category and category not in categories:
        raise InputError(
            f"the dataset '{folder}' has no category '{category}'; it has {', '.join(categories)}."
        )
    return {key: entry for key, entry in usable.items() if category in ("", entry["category"])}


def _empty(folder: Path, split: str, category: str, sizes: Mapping[str, int]) -> str:
    said = ", ".join(f"{name} {number}" for name, number in sizes.items())
    where = f"category '{category}' of '{folder}'" if category else f"'{folder}'"
    if split not in sizes:
        return f"there is no split '{split}'; choose {', '.join(sizes)}."
    return f"the split '{split}' of {where} is empty ({said}); render more objects."
