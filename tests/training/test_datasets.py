from __future__ import annotations

import io
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend import dataset_files as files
from backend.camera_files import read_cameras
from backend.errors import InputError, ReconstructionError
from backend.images import image_size
from backend.mesh_files import read_mesh
from tests.dataset_parts import SETTINGS, box, render, sphere
from training.check import check
from training.datasets import RenderedDataset, cache_folder, split_sizes
from training.prepare import prepare
from training.rendered_objects import area_averaged

POINTS = 600
OBJECTS = {
    "balls/large": ("train", sphere(0.45)),
    "balls/small": ("train", sphere(0.2, 2)),
    "balls/unseen": ("val", sphere(0.3, 3)),
    "boxes/flat": ("train", box((0.9, 0.5, 0.1))),
    "boxes/cube": ("test", box((0.5, 0.5, 0.5))),
}


def make_dataset(folder: Path) -> Path:
    files.open_dataset(folder, SETTINGS, "shapes")
    for number, (key, (split, mesh)) in enumerate(OBJECTS.items()):
        licence = "CC0" if key.startswith("balls") else "CC-BY-4.0"
        render(folder, key, mesh, split=split, licence=licence, dup_group=str(number))
    prepare(folder, points=POINTS)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("datasets") / "d")


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "copy")


# What is read


def test_views_are_the_files(dataset: Path) -> None:
    train = RenderedDataset(dataset, "train")
    assert train.keys == ("balls/large", "balls/small", "boxes/flat")
    assert (len(train), train.views, train.image_size) == (3, 3, SETTINGS["size"])
    assert train.licences == {"CC-BY-4.0": 1, "CC0": 2}
    assert isinstance(train.images, np.memmap)
    for index, key in enumerate(train.keys):
        folder = dataset / key
        posed = read_cameras(folder / "transforms.json", [], image_size).images
        assert len(posed) == train.views
        for view, one in enumerate(posed):
            pixels = np.asarray(Image.open(one.image))
            np.testing.assert_array_equal(train.images[index, view], pixels)
            camera = one.camera
            np.testing.assert_allclose(train.intrinsics[index, view], camera.intrinsics, rtol=1e-6)
            found = train.world_to_camera[index, view]
            np.testing.assert_allclose(found, camera.world_to_camera, atol=1e-6)
    assert not train.orthographic.any()


def test_cameras_see_the_mesh_where_the_smaller_images_show_it(dataset: Path) -> None:
    train = RenderedDataset(dataset, "train", image_size=20)
    assert train.images.shape == (3, 3, 20, 20, 4)
    for index in range(len(train)):
        points = train.mesh(index).vertices @ train.world_to_camera[index, 0, :3, :3].T
        points = (points + train.world_to_camera[index, 0, :3, 3]) @ train.intrinsics[index, 0].T
        pixels = points[:, :2] / points[:, 2:]
        rows, columns = np.nonzero(train.images[index, 0, ..., 3] >= 128)
        for axis, seen in enumerate((columns, rows)):
            assert abs(pixels[:, axis].min() - seen.min()) < 1.5
            assert abs(pixels[:, axis].max() - seen.max() - 1) < 1.5


def test_ground_truth_is_the_files(dataset: Path) -> None:
    train = RenderedDataset(dataset, "train", "balls")
    points, normals = train.surface(0)
    assert points.shape == normals.shape == (POINTS, 3)
    assert (points.dtype, normals.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 0.45, atol=2e-3)
    assert ((points / 0.45 * normals).sum(axis=1) > 0.99).all()
    where, inside, distances = train.occupancy(0)
    np.testing.assert_array_equal(inside, distances < 0)
    np.testing.assert_allclose(distances, np.linalg.norm(where, axis=1) - 0.45, atol=2e-3)
    voxels = train.voxels(0, 32)
    assert voxels.shape == (32, 32, 32)
    assert voxels.mean() == pytest.approx(4 / 3 * np.pi * 0.45**3, rel=0.02)
    np.testing.assert_array_equal(
        train.mesh(0).vertices, read_mesh(dataset / "balls/large/mesh_welded.ply").vertices
    )


def test_area_averaging_weighs_colour_by_coverage() -> None:
    """A red pixel beside three of no coverage stays red, whatever colour those had."""
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[..., 3] = 0
    pixels[0, 0] = (255, 0, 0, 255)
    assert area_averaged(pixels, 1)[0, 0].tolist() == [255, 0, 0, 64]


def test_area_averaging_of_whole_blocks_is_their_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 4), np.uint8)
    values = pixels.astype(float)
    weights = values[..., 3:] / 255
    blocks = np.concatenate([values[..., :3] * weights, weights], axis=-1)
    blocks = blocks.reshape(4, 3, 4, 3, 4).mean(axis=(1, 3))
    expected = np.concatenate([blocks[..., :3] / blocks[..., 3:], 255 * blocks[..., 3:]], axis=-1)
    assert np.abs(area_averaged(pixels, 4) - expected).max() <= 0.51


# Hash and cache


def test_the_hash_follows_the_objects_and_nothing_else(dataset: Path, copy: Path) -> None:
    here = RenderedDataset(dataset, "train")
    assert RenderedDataset(copy, "train").data_hash == here.data_hash
    assert RenderedDataset(copy, "train", image_size=8).data_hash == here.data_hash
    assert RenderedDataset(copy, "train", "balls").data_hash != here.data_hash
    render(copy, "balls/small", sphere(0.25, 2), split="train", dup_group="1")
    prepare(copy, points=POINTS)
    assert RenderedDataset(copy, "train").data_hash != here.data_hash
    assert RenderedDataset(copy, "val").data_hash == RenderedDataset(dataset, "val").data_hash


def test_images_are_decoded_once_and_the_dataset_stays_sound(copy: Path) -> None:
    first = RenderedDataset(copy, "train").images.copy()
    made = sorted(path.name for path in cache_folder(copy).iterdir())
    shutil.rmtree(copy / "balls/large/image")
    np.testing.assert_array_equal(RenderedDataset(copy, "train").images, first)
    assert sorted(path.name for path in cache_folder(copy).iterdir()) == made
    with pytest.raises(InputError, match=r"balls/large/image/0000.png is missing"):
        _ = RenderedDataset(copy, "train", image_size=16).images


def test_the_cache_is_no_part_of_the_dataset(copy: Path) -> None:
    _ = RenderedDataset(copy, "train").images
    assert check(copy) == []


def _sum(dataset: RenderedDataset) -> int:
    return int(dataset.images.sum(dtype=np.int64))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_share_it_and_may_race(copy: Path, start: str) -> None:
    dataset = RenderedDataset(copy, "train", image_size=16)
    with multiprocessing.get_context(start).Pool(2) as pool:
        sums = pool.map(_sum, [dataset] * 4, chunksize=1)
    assert sums == [_sum(dataset)] * 4
    assert len(list(cache_folder(copy).iterdir())) == 2


def test_a_dataset_sent_elsewhere_leaves_its_images_behind(dataset: Path) -> None:
    import pickle

    here = RenderedDataset(dataset, "train")
    _ = here.images
    sent = pickle.dumps(here)
    assert len(sent) < here.images.nbytes / 4
    np.testing.assert_array_equal(pickle.loads(sent).images, here.images)


def test_a_damaged_cache_is_named(copy: Path) -> None:
    _ = RenderedDataset(copy, "train").images
    path = next(cache_folder(copy).glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"copy\.cache.* damaged; delete the folder"):
        _ = RenderedDataset(copy, "train").images


def test_a_full_disk_leaves_no_part_behind(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.datasets.np.lib.format.write_array_header_1_0", full)
    with pytest.raises(ReconstructionError, match="the disk is full; free some space"):
        _ = RenderedDataset(copy, "train").images
    assert list(cache_folder(copy).iterdir()) == []


# Wrong input


@pytest.mark.parametrize(
    ("split", "category", "said"),
    [
        ("train", "cars", r"no category 'cars'; it has balls, boxes"),
        ("val", "boxes", r"'val' of category 'boxes'.* is empty \(train 1, val 0, test 1\)"),
        ("training", "", r"no split 'training'; choose train, val, test"),
    ],
)
def test_what_is_not_there_is_named(dataset: Path, split: str, category: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        RenderedDataset(dataset, split, category)


def test_split_sizes(dataset: Path) -> None:
    assert split_sizes(dataset) == {"train": 3, "val": 1, "test": 1}
    assert split_sizes(dataset, "boxes") == {"train": 1, "val": 0, "test": 1}


def test_no_dataset_another_schema_no_objects(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no dataset"):
        RenderedDataset(tmp_path / "nowhere", "train")
    files.open_dataset(tmp_path / "new", SETTINGS)
    with pytest.raises(InputError, match="has no objects; render some first"):
        RenderedDataset(tmp_path / "new", "train")
    content = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**content, "objects": {"a/b": 3}}))
    with pytest.raises(InputError, match=r"dataset.json' is damaged; run: .* prepare"):
        RenderedDataset(copy, "train")
    (copy / "dataset.json").write_text(json.dumps({**content, "schema_version": 9}))
    with pytest.raises(InputError, match="schema version 9"):
        RenderedDataset(copy, "train")


def test_objects_without_ground_truth_must_be_prepared(copy: Path) -> None:
    render(copy, "balls/new", sphere(0.4, 1), split="train", dup_group="new")
    files.compose_dataset(copy)
    with pytest.raises(InputError, match=r"1 of the 4 .* balls/new; run: .* prepare"):
        RenderedDataset(copy, "train")


def test_views_must_agree_in_number(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "views", 2)
    render(copy, "balls/small", sphere(0.2, 2), split="train", dup_group="1")
    prepare(copy, points=POINTS)
    with pytest.raises(InputError, match="balls/small has 2 views and balls/large has 3"):
        RenderedDataset(copy, "train")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("image/0001.png", lambda dataset: dataset.images),
        ("transforms.json", lambda dataset: dataset.intrinsics),
        ("pointcloud.npz", lambda dataset: dataset.surface(0)),
        ("points.npz", lambda dataset: dataset.occupancy(0)),
        ("voxels_64.npz", lambda dataset: dataset.voxels(0, 64)),
        ("mesh_welded.ply", lambda dataset: dataset.mesh(0)),
    ],
)
def test_a_damaged_or_missing_file_is_named(copy: Path, name: str, use) -> None:
    path = copy / "balls/large" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"balls/large/{name} is damaged"):
        use(RenderedDataset(copy, "train"))
    path.unlink()
    with pytest.raises(InputError, match=rf"balls/large/{name} is missing"):
        use(RenderedDataset(copy, "train"))


def _rewritten(dataset: Path, pixels: np.ndarray) -> None:
    """Replace an image as if it had been rendered so."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    (dataset / "balls/large/image/0000.png").write_bytes(stream.getvalue())
    record = files.read_record(dataset, "balls/large")
    assert record
    files.finish_object(dataset, record)
    files.compose_dataset(dataset)


@pytest.mark.parametrize(
    ("shape", "asked", "said"),
    [
        ((48, 48, 3), 0, "has no alpha channel"),
        ((48, 40, 4), 0, "40 x 48 pixels; training needs square images"),
        ((32, 32, 4), 0, "images of 32 and of 48 pixels"),
        ((32, 32, 4), 40, "32 pixels a side and 40 were asked for"),
    ],
)
def test_images_that_cannot_be_used(
    copy: Path, shape: tuple[int, ...], asked: int, said: str
) -> None:
    _rewritten(copy, np.full(shape, 9, np.uint8))
    with pytest.raises(InputError, match=said):
        _ = RenderedDataset(copy, "train", image_size=asked).images


def test_voxels_of_another_resolution(dataset: Path) -> None:
    with pytest.raises(InputError, match="no voxels of resolution 128, only 32, 64"):
        RenderedDataset(dataset, "train").voxels(0, 128)
