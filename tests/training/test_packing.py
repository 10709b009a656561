from __future__ import annotations

import hashlib
import itertools
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from backend import dataset_files as files
from backend.errors import InputError
from tests.dataset_parts import SETTINGS, box, contents, render, sphere
from training.datasets import RenderedDataset
from training.packing import pack, read_index
from training.prepare import prepare
from training.streaming import PackedDataset

COUNT = 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packing") / "d"
    files.open_dataset(folder, SETTINGS, "shapes")
    for number in range(COUNT):
        mesh = box((0.9, 0.1 * (number + 1), 0.2))
        render(folder, f"boxes/{number}", mesh, split="train", dup_group=str(number))
    render(folder, "balls/one", sphere(0.3, 2), split="val")
    prepare(folder, points=300)
    return folder


@pytest.fixture(scope="module")
def packed(dataset: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("packing") / "packed"
    pack(dataset, out, shard_mib=0)  # every object its own shard
    return out


def key_of(one) -> str:
    return one.key


# Writing


def test_shards_hold_every_file_once_and_say_where(dataset: Path, packed: Path) -> None:
    index = read_index(packed)
    assert len(index["shards"]) == COUNT + 1
    for name, said in index["shards"].items():
        assert hashlib.sha256((packed / name).read_bytes()).hexdigest() == said
    listed = json.loads((dataset / "dataset.json").read_text())["files"]
    assert set(index["files"]) == {name for name in listed if name.count("/") > 1}
    for path, (shard, _, _) in index["files"].items():
        category, name, inside = path.split("/", 2)
        with tarfile.open(packed / shard) as archive:
            member = archive.extractfile(f"{category}/{name}.{inside.replace('/', '.')}")
            assert member
            assert member.read() == (dataset / path).read_bytes()


def test_equal_datasets_give_equal_bytes(dataset: Path, tmp_path: Path) -> None:
    told = []
    pack(dataset, tmp_path / "a", 1, lambda done, total: told.append((done, total)))
    pack(dataset, tmp_path / "b", 1)
    assert told == [(n, COUNT + 1) for n in range(1, COUNT + 2)]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]  # noqa: PTH208


def test_shards_are_full_before_the_next_begins(dataset: Path, tmp_path: Path) -> None:
    index = pack(dataset, tmp_path / "a", 1)
    names = sorted(index["shards"])
    for name, following in itertools.pairwise(names):
        if name[:5] == following[:5]:
            assert (tmp_path / "a" / name).stat().st_size >= 2**20


def test_a_damaged_file_or_a_taken_place_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already; choose an empty or a new folder"):
        pack(dataset, dataset)
    with pytest.raises(InputError, match="is no dataset"):
        pack(tmp_path, tmp_path / "out")
    path = dataset / "boxes/3/points.npz"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + b"?")
        with pytest.raises(InputError, match=r"boxes/3/points.npz is damaged"):
            pack(dataset, tmp_path / "out")
    finally:
        path.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []


# Reading in any order


def test_a_packed_dataset_reads_like_the_folder(dataset: Path, packed: Path) -> None:
    here, there = RenderedDataset(dataset, "train"), RenderedDataset(packed, "train")
    assert (here.keys, here.data_hash) == (there.keys, there.data_hash)
    for name in ("images", "intrinsics", "world_to_camera", "orthographic"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    for index in range(len(here)):
        for one, other in zip(here.surface(index), there.surface(index), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(here.voxels(index, 32), there.voxels(index, 32))
        np.testing.assert_array_equal(here.mesh(index).faces, there.mesh(index).faces)


# Streaming


def test_a_stream_is_every_object_once_in_an_order_of_the_seed(packed: Path) -> None:
    orders = [[*PackedDataset(packed, "train", key_of, seed=seed)] for seed in (0, 0, 1)]
    assert sorted(orders[0]) == [f"boxes/{number}" for number in range(COUNT)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != orders[2]
    twice = [*PackedDataset(packed, "train", key_of, passes=2)]
    assert sorted(twice[:COUNT]) == sorted(twice[COUNT:])
    assert twice[:COUNT] != twice[COUNT:]


def test_streamed_objects_are_those_of_the_folder(dataset: Path, packed: Path) -> None:
    expected = RenderedDataset(dataset, "train", image_size=16)
    stream = PackedDataset(packed, "train", lambda one: (one.key, one.views(16), one.surface()))
    for key, views, (points, normals) in stream:
        index = expected.keys.index(key)
        np.testing.assert_array_equal(views.images, expected.images[index])
        np.testing.assert_array_equal(views.intrinsics, expected.intrinsics[index])
        np.testing.assert_array_equal(points, expected.surface(index)[0])
        np.testing.assert_array_equal(normals, expected.surface(index)[1])


def test_processes_and_workers_share_the_objects(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for rank in range(2):
        for worker in range(2):
            environment = {"RANK": rank, "WORLD_SIZE": 2, "WORKER": worker, "NUM_WORKERS": 2}
            for name, value in environment.items():
                monkeypatch.setenv(name, str(value))
            seen.append([*PackedDataset(packed, "train", key_of)])
    assert sorted(itertools.chain(*seen)) == [f"boxes/{number}" for number in range(COUNT)]
    assert [len(part) for part in seen] == [2, 2, 2, 2]


def test_a_category_alone(packed: Path) -> None:
    assert [*PackedDataset(packed, "val", key_of, category="balls")] == ["balls/one"]
    assert [*PackedDataset(packed, "train", key_of, category="balls")] == []


def test_wrong_folders_splits_and_shards(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no packed dataset.* pack DATASET"):
        PackedDataset(dataset, "train", key_of)
    out = tmp_path / "packed"
    pack(dataset, out)
    with pytest.raises(InputError, match="has no objects in 'test'"):
        PackedDataset(out, "test", key_of)
    shard = next(out.glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard of .* missing or damaged .*pack again"):
        list(PackedDataset(out, "train", key_of))
    with pytest.raises(InputError, match="is missing"):
        for index in range(COUNT):
            RenderedDataset(out, "train").surface(index)
    shard.unlink()
    with pytest.raises(InputError, match=r"shard of .* missing or damaged"):
        list(PackedDataset(out, "train", key_of))
    (out / "shards.json").write_text("{}")
    with pytest.raises(InputError, match="damaged or of another version"):
        RenderedDataset(out, "train")
