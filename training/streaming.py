"""Packed datasets as a stream of objects; see :mod:`training.packing`."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset
from webdataset.filters import shuffle
from webdataset.pipeline import DataPipeline
from webdataset.shardlists import SimpleShardList, split_by_node, split_by_worker
from webdataset.tariterators import tarfile_to_samples

from backend import dataset_files as files
from backend.errors import InputError

from .packing import INDEX_FILE, is_packed, read_index
from .rendered_objects import RenderedObject, hashes_by_object


class PackedDataset(IterableDataset):
    """The objects of one split of a packed dataset as a stream, for sets that no disk cache holds.

    Shards are shuffled, split over processes and workers by WebDataset, and read from their first
    byte to their last; objects are shuffled within a window. The order depends on the seed, the
    pass, and how many processes and workers share the work.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        convert: Callable[[RenderedObject], Any],
        category: str = "",
        seed: int = 0,
        passes: int = 1,
        window: int = 64,
    ) -> None:
        """Open a packed dataset.

        Args:
            folder: Its folder.
            split: ``"train"``, ``"val"`` or ``"test"``.
            convert: Makes of an object what the stream yields; called in the worker that read it.
            category: Of the objects; all if empty.
            seed: Of the order.
            passes: Through all objects.
            window: Objects among which the next one is chosen; each is held with all its files.

        Raises:
            InputError: The folder is no packed dataset, or has no shard of this split.
        """
        if not is_packed(folder):
            raise InputError(
                f"'{folder}' is no packed dataset: it has no {INDEX_FILE}; run: "
                f"python -m training pack DATASET -o {folder}"
            )
        content = files.read_dataset(folder)
        wanted = [k for k in content["objects"] if category in ("", k.partition("/")[0])]
        self._hashes = hashes_by_object(content["files"], wanted)
        names = [name for name in read_index(folder)["shards"] if name.startswith(f"{split}-")]
        if not names:
            raise InputError(f"the packed dataset '{folder}' has no objects in '{split}'.")
        self._folder, self._shards = folder, sorted(names)
        self._convert, self._seed, self._passes, self._window = convert, seed, passes, window

    def __iter__(self) -> Iterator[Any]:
        """What ``convert`` made of each object that falls to this process and worker.

        Raises:
            InputError: A shard is missing or damaged.
        """
        for number in range(self._passes):
            for sample in self._samples(random.Random(f"{self._seed}/{number}")):
                key = sample["__key__"]
                if key in self._hashes:
                    yield self._convert(_streamed_object(key, self._hashes[key], sample))

    def _samples(self, order: random.Random) -> Iterator[dict[str, Any]]:
        shards = [str(self._folder / name) for name in self._shards]
        order.shuffle(shards)
        stages = (
            SimpleShardList(shards),
            split_by_node,
            split_by_worker,
            tarfile_to_samples(),
            shuffle(self._window, initial=self._window, rng=order),
        )
        try:
            yield from DataPipeline(*stages)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(
                f"a shard of '{self._folder}' is missing or damaged ({error.args[0]}); pack again."
            ) from error


def _streamed_object(
    key: str, hashes: Mapping[str, str], sample: Mapping[str, bytes]
) -> RenderedObject:
    return RenderedObject(key, hashes, lambda name: sample[name.replace("/", ".")])
