from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from backend import dataset_files as files
from backend.errors import InputError
from backend.mesh_files import read_mesh
from tests.dataset_parts import box, contents, render, rendered_dataset, sphere
from tests.training.test_coco import decoded
from training.check import check
from training.prepare import GroundTruth, prepare, prepare_object

POINTS = 4000
SHAPES = {
    "cars/long": box((0.98, 0.4, 0.3)),
    "balls/ball": sphere(0.49),
    "balls/same": sphere(0.49, 3),
    "balls/flat": box((0.5, 0.99, 0.1)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    dataset = rendered_dataset(tmp_path_factory.mktemp("one") / "d", SHAPES)
    outcomes = prepare(dataset, workers=2, points=POINTS)
    assert [outcome.state for outcome in outcomes] == ["prepared"] * 4
    return dataset


def prepared_here(dataset: Path, key: str) -> str:
    return prepare_object(dataset, GroundTruth(7, POINTS, POINTS), key).state


# The published loaders' rules of reading, written anew


def models_of(dataset: Path, split: str) -> list[tuple[str, str]]:
    """As Occupancy Networks and DVR: every folder is a category; a line of its list is a model."""
    categories = [name for name in os.listdir(dataset) if (dataset / name).is_dir()]  # noqa: PTH208
    models = []
    for category in sorted(categories):
        lines = (dataset / category / f"{split}.lst").read_text().split("\n")
        models += [(category, line) for line in lines if line]
    return models


def points_field(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.load(folder / "points.npz")
    points = arrays["points"]
    assert points.dtype != np.float16  # the loaders would add noise
    occupancies = np.unpackbits(arrays["occupancies"])[: points.shape[0]].astype(np.float32)
    return points.astype(np.float32), occupancies


def images_field(folder: Path) -> list[dict[str, np.ndarray]]:
    """DVR: sorted files, image i with the matrices of number i; a mask is what is not zero."""
    cameras = np.load(folder / "cameras.npz")
    images, masks = (sorted((folder / name).glob("*.png")) for name in ("image", "mask"))
    assert len(images) == len(masks) > 0
    return [
        {
            "image": np.asarray(Image.open(image).convert("RGB")),
            "mask": np.asarray(Image.open(mask)).astype(bool),
            "matrix": np.linalg.multi_dot(
                [cameras[f"{n}_mat_{i}"].astype(np.float64) for n in ("camera", "world", "scale")]
            ),
        }
        for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]


def test_published_loaders_find_every_object_once(prepared: Path) -> None:
    found = [model for split in files.SPLITS for model in models_of(prepared, split)]
    assert sorted("/".join(model) for model in found) == sorted(SHAPES)


def test_points_field_reads_the_occupancies(prepared: Path) -> None:
    points, occupancies = points_field(prepared / "balls/ball")
    assert points.shape == (POINTS, 3)
    distance = np.linalg.norm(points, axis=1) - 0.49
    clear = np.abs(distance) > 2e-3
    assert np.array_equal(occupancies[clear], (distance < 0)[clear])
    sdf = np.load(prepared / "balls/ball/points.npz")["sdf"]
    assert np.abs(sdf - distance).max() < 2e-3
    assert np.array_equal(sdf < 0, occupancies == 1)


def test_pointcloud_field_reads_points_and_normals(prepared: Path) -> None:
    arrays = np.load(prepared / "balls/ball/pointcloud.npz")
    points = arrays["points"].astype(np.float32)
    normals = arrays["normals"].astype(np.float32)
    assert points.shape == normals.shape == (POINTS, 3)
    assert np.abs(np.linalg.norm(points, axis=1) - 0.49).max() < 2e-3
    assert ((points * normals).sum(axis=1) / 0.49).min() > 0.99


def test_images_field_projects_the_points_onto_the_mask(prepared: Path) -> None:
    """p -> camera_mat world_mat scale_mat p; pixels in [-1, 1], (-1, -1) at the top left."""
    for key in SHAPES:
        points = np.load(prepared / key / "pointcloud.npz")["points"].astype(np.float64)
        for view in images_field(prepared / key):
            height, width = view["mask"].shape
            assert view["image"].shape == (height, width, 3)
            flat = points @ view["matrix"][:3, :3].T + view["matrix"][:3, 3]
            assert (flat[:, 2] > 0).all()
            column, row = ((flat[:, :2] / flat[:, 2:] + 1) / 2 * [width, height]).T
            seen = np.zeros_like(view["mask"])
            seen[np.floor(row).astype(int), np.floor(column).astype(int)] = True
            assert (seen & view["mask"]).sum() > 0.8 * view["mask"].sum()  # few points
            beside = np.asarray(binary_dilation(view["mask"], np.ones((3, 3)))) > 0
            assert beside[seen].all()


def test_loc_and_scale_lead_back(tmp_path: Path) -> None:
    dataset = rendered_dataset(tmp_path / "d", {})
    render(dataset, "objects/a", sphere(0.5), scale=3.0, offset=(1.0, 2.0, 3.0))
    assert prepared_here(dataset, "objects/a") == "prepared"
    for name in ("pointcloud", "points", "voxels_32", "voxels_64"):
        arrays = np.load(dataset / f"objects/a/{name}.npz")
        assert arrays["loc"].tolist() == [1.0, 2.0, 3.0]
        assert float(arrays["scale"]) == 3.0


# The rest of what is made


def test_voxels_and_welded_mesh_are_the_shape(prepared: Path) -> None:
    """The lopsided box: x is the long axis."""
    for resolution in (32, 64):
        voxels = np.load(prepared / f"cars/long/voxels_{resolution}.npz")["voxels"]
        assert voxels.dtype == bool
        spans = [voxels.any(axis=tuple({0, 1, 2} - {axis})).sum() for axis in range(3)]
        assert np.abs(np.array(spans) / resolution - [0.98, 0.4, 0.3]).max() <= 2 / resolution
    mesh = read_mesh(prepared / "cars/long/mesh_welded.ply")
    assert mesh.is_closed_manifold()
    assert abs(mesh.signed_volume() - 0.98 * 0.4 * 0.3) < 1e-6


def test_annotations_are_the_masks(prepared: Path) -> None:
    made = json.loads((prepared / "annotations.json").read_text())
    assert [c["name"] for c in made["categories"]] == ["balls", "cars"]
    assert len(made["images"]) == len(made["annotations"]) == 12
    for image, entry in zip(made["images"], made["annotations"], strict=True):
        assert entry["image_id"] == image["id"]
        path = prepared / image["file_name"]
        mask = np.asarray(Image.open(path.parents[1] / "mask" / path.name)) >= 128
        assert (image["height"], image["width"]) == mask.shape
        assert np.array_equal(decoded(entry["segmentation"]), mask)


def test_near_duplicates_are_in_one_split(prepared: Path) -> None:
    objects = files.read_dataset(prepared)["objects"]
    assert objects["balls/ball"]["dup_group"] == objects["balls/same"]["dup_group"]
    assert objects["balls/ball"]["split"] == objects["balls/same"]["split"]
    assert {entry["status"] for entry in objects.values()} == {"prepared"}


def test_the_prepared_dataset_is_sound(prepared: Path) -> None:
    assert check(prepared) == []
    listed = files.read_dataset(prepared)["files"]
    assert sorted([*listed, "dataset.json"]) == files.files_in(prepared)


# Again, and after a stop


def test_other_workers_and_a_stop_give_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    dataset = rendered_dataset(tmp_path / "d", SHAPES)
    assert prepared_here(dataset, "cars/long") == "prepared"  # and then it was stopped
    (dataset / "balls/ball/.points.npz.77.part").write_bytes(b"half")
    states = {o.key: o.state for o in prepare(dataset, workers=1, points=POINTS)}
    assert states.pop("cars/long") == "already prepared"
    assert set(states.values()) == {"prepared"}
    (dataset / "balls/ball/.points.npz.77.part").unlink()
    assert contents(dataset) == contents(prepared)


def break_points(folder: Path) -> None:
    (folder / "points.npz").write_bytes(b"?")


def lose_voxels(folder: Path) -> None:
    (folder / "voxels_64.npz").unlink()


def break_record(folder: Path) -> None:
    (folder / "prepared.json").write_text("{}")


@pytest.mark.parametrize("damage", [break_points, lose_voxels, break_record])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    dataset = rendered_dataset(tmp_path / "d", {"objects/a": sphere()})
    assert prepared_here(dataset, "objects/a") == "prepared"
    before = contents(dataset)
    assert prepared_here(dataset, "objects/a") == "already prepared"
    damage(dataset / "objects/a")
    assert prepared_here(dataset, "objects/a") == "prepared"
    assert contents(dataset) == before


def test_other_ways_of_making_it_make_it_again(tmp_path: Path) -> None:
    dataset = rendered_dataset(tmp_path / "d", {"objects/a": sphere()})
    prepared_here(dataset, "objects/a")
    assert prepare_object(dataset, GroundTruth(7, 100, 100), "objects/a").state == "prepared"
    assert len(np.load(dataset / "objects/a/points.npz")["points"]) == 100
    render(dataset, "objects/a", sphere(0.3))
    again = prepare_object(dataset, GroundTruth(7, 100, 100), "objects/a")
    assert again.state == "prepared"


# What is broken


def test_broken_objects_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    dataset = rendered_dataset(
        tmp_path / "d", {"objects/good": sphere(), "objects/lost": box((0.3, 0.4, 0.5))}
    )
    flat = sphere()
    render(dataset, "objects/flat", flat.transformed(1e-9, np.zeros(3)))
    render(dataset, "objects/big", flat.transformed(9.0, np.zeros(3)))
    render(dataset, "objects/maskless", box((0.9, 0.4, 0.5)))
    (dataset / "objects/maskless/mask/0001.png").write_bytes(b"?")
    (dataset / "objects/lost/mesh.ply").unlink()
    outcomes = {o.key: o for o in prepare(dataset, workers=2, points=POINTS)}
    reasons = {key: o.reason for key, o in outcomes.items() if o.state == "failed"}
    assert "no face with an area" in reasons.pop("objects/flat")
    assert "outside the unit cube" in reasons.pop("objects/big")
    assert "0001.png cannot be read" in reasons.pop("objects/maskless")
    assert "mesh.ply is missing" in reasons.pop("objects/lost")
    assert reasons == {}
    objects = files.read_dataset(dataset)["objects"]
    assert objects["objects/good"]["status"] == "prepared"
    assert "no face with an area" in objects["objects/flat"]["reason"]
    lists = [(dataset / f"objects/{split}.lst").read_text() for split in files.SPLITS]
    assert "\n".join(filter(None, lists)) == "good"
    made = json.loads((dataset / "annotations.json").read_text())
    assert {Path(i["file_name"]).parts[1] for i in made["images"]} == {"good"}


@pytest.mark.slow
def test_a_process_that_dies_is_listed_and_stops_nothing(tmp_path: Path) -> None:
    """Each child process ends at once when it opens the mesh of b, as a crash would end it."""
    shapes = {f"objects/{name}": box((0.3 + 0.1 * i, 0.5, 0.4)) for i, name in enumerate("abcde")}
    dataset = rendered_dataset(tmp_path / "d", shapes)
    killer = tmp_path / "sitecustomize.py"
    killer.write_text(
        "import os, sys\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('/b/mesh.ply'):\n"
        "        os._exit(9)\n"
        "sys.addaudithook(hook)\n"
    )
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), before]))
    try:
        outcomes = {o.key: o for o in prepare(dataset, workers=2, points=POINTS)}
    finally:
        os.environ["PYTHONPATH"] = before
    assert "process died" in outcomes["objects/b"].reason
    states = [outcomes[key].state for key in shapes if key != "objects/b"]
    assert set(states) <= {"prepared", "already prepared"}


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no dataset"):
        prepare(tmp_path)
