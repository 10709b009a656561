from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backend import dataset_files as files
from backend.dataset_files import ObjectRecord
from backend.errors import InputError
from tests.dataset_parts import SETTINGS, box, contents, render, rendered_dataset, sphere
from training.check import check, repair
from training.prepare import prepare

SHAPES = {"objects/a": sphere(), "objects/b": box((0.8, 0.4, 0.3))}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = rendered_dataset(tmp_path / "d", SHAPES)
    prepare(folder, points=500)
    assert check(folder) == []
    return folder


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


RENDERED = ("image/0001.png", "mask/0002.png", "transforms.json", "cameras.npz", "mesh.ply")


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize("damage", [flip_one_bit, Path.unlink], ids=["damaged", "missing"])
def test_a_damaged_file_is_found_and_rendered_again(
    dataset: Path, name: str, damage: Callable[[Path], None]
) -> None:
    before = contents(dataset)
    damage(dataset / "objects/a" / name)
    problems = check(dataset)
    assert [(p.path, p.remedy) for p in problems] == [(f"objects/a/{name}", "render")]
    repair(dataset, problems)
    assert not files.is_rendered(dataset, "objects/a", SETTINGS)
    assert files.is_rendered(dataset, "objects/b", SETTINGS)
    assert check(dataset) == []
    render(dataset, "objects/a", SHAPES["objects/a"])
    prepare(dataset, points=500)
    assert contents(dataset) == before


@pytest.mark.parametrize("name", [*files.PREPARED, "prepared.json"])
def test_damaged_ground_truth_is_found_and_made_again(dataset: Path, name: str) -> None:
    before = contents(dataset)
    flip_one_bit(dataset / "objects/b" / name)
    problems = check(dataset)
    assert [(p.path, p.remedy) for p in problems] == [(f"objects/b/{name}", "prepare")]
    repair(dataset, problems)
    prepare(dataset, points=500)
    assert contents(dataset) == before


@pytest.mark.parametrize("name", ["objects/train.lst", "objects/val.lst", "annotations.json"])
def test_damaged_lists_are_found_and_composed_again(dataset: Path, name: str) -> None:
    before = contents(dataset)
    (dataset / name).write_text("someone else")
    problems = check(dataset)
    assert [p.path for p in problems] == [name]
    repair(dataset, problems)
    prepare(dataset, points=500)
    assert contents(dataset) == before


def test_a_damaged_record_is_found(dataset: Path) -> None:
    flip_one_bit(dataset / "objects/a/object.json")
    problems = check(dataset)
    assert "objects/a/object.json" in [p.path for p in problems]
    repair(dataset, problems)
    assert list(files.read_dataset(dataset)["objects"]) == ["objects/b"]
    assert check(dataset) == []


def test_foreign_files_are_named_and_left_to_their_owner(dataset: Path) -> None:
    strangers = ["notes.txt", "objects/a/image/9999.png", "holiday/beach/sun.jpg"]
    for name in strangers:
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_bytes(b"mine")
    problems = check(dataset)
    assert {p.path for p in problems} >= set(strangers)
    repair(dataset, [p for p in problems if not p.remedy])
    assert all((dataset / name).read_bytes() == b"mine" for name in strangers)


def test_what_a_stopped_process_left_is_found_and_cleared(dataset: Path) -> None:
    part = dataset / "objects/a/mask/.0001.png.77.part"
    part.write_bytes(b"half")
    unfinished = files.start_object(dataset, "objects/c")
    (unfinished / "mesh.ply").write_bytes(b"half")
    problems = check(dataset)
    assert [(p.path, p.remedy) for p in problems] == [
        ("objects/c", "render"),
        ("objects/a/mask/.0001.png.77.part", "delete"),
    ]
    repair(dataset, problems)
    assert check(dataset) == []
    assert not part.exists()
    assert not unfinished.exists()


def test_a_lost_object_is_missed(dataset: Path) -> None:
    for path in sorted((dataset / "objects/a").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert [p.what for p in check(dataset)] == [
        "the object is listed, but its record is missing",
    ]
    (dataset / "objects/a").rmdir()
    assert [p.what for p in check(dataset)] == ["the object is listed, but its folder is missing"]


def test_objects_of_other_settings_are_found(dataset: Path) -> None:
    record = files.read_record(dataset, "objects/a")
    assert record
    other = ObjectRecord("objects/a", files.settings_hash({"views": 1}), seed=record.seed)
    files.finish_object(dataset, other)
    assert "other settings" in next(p.what for p in check(dataset))


def test_a_damaged_dataset_file_goes_and_comes_back(dataset: Path) -> None:
    before = contents(dataset)
    (dataset / "dataset.json").write_text("{")
    problems = check(dataset)
    assert [p.path for p in problems] == ["dataset.json"]
    repair(dataset, problems)
    files.open_dataset(dataset, SETTINGS, "shapes")
    files.compose_dataset(dataset)
    assert contents(dataset) == before


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no dataset"):
        check(tmp_path)


# Cameras: the files are undamaged, but were wrong when they were written


def edit_transforms(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "transforms.json").read_text())
    change(content)
    (folder / "transforms.json").write_text(json.dumps(content))


def move_camera(folder: Path) -> None:
    def change(content: dict) -> None:
        content["frames"][1]["transform_matrix"][0][3] += 0.01

    edit_transforms(folder, change)


def move_all_cameras(folder: Path) -> None:
    (folder / "cameras.npz").unlink()

    def change(content: dict) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"][2][3] += 0.4

    edit_transforms(folder, change)


def drop_frame(folder: Path) -> None:
    edit_transforms(folder, lambda content: content["frames"].pop())


def mirror_world(folder: Path) -> None:
    def change(content: dict) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"][0] = [-x for x in frame["transform_matrix"][0]]

    edit_transforms(folder, change)


def drop_npz_camera(folder: Path) -> None:
    arrays = dict(np.load(folder / "cameras.npz"))
    np.savez(folder / "cameras.npz", **{k: v for k, v in arrays.items() if not k.endswith("_2")})


def blow_up_mesh(folder: Path) -> None:
    from backend.mesh_files import read_mesh, write_mesh

    mesh = read_mesh(folder / "mesh.ply")
    write_mesh(folder / "mesh.ply", mesh.transformed(3.0, np.zeros(3)), {})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (move_camera, "cameras.npz has another camera for 0001.png"),
        (move_all_cameras, "is not where its mask is"),
        (drop_frame, "image/0002.png has no camera"),
        (mirror_world, "left-handed"),
        (drop_npz_camera, "another number of cameras"),
        (blow_up_mesh, "out of the unit cube"),
    ],
)
def test_contradictions_are_found(
    tmp_path: Path, change: Callable[[Path], None], match: str
) -> None:
    dataset = rendered_dataset(tmp_path / "d", {"objects/a": box((0.8, 0.4, 0.3))})
    change(dataset / "objects/a")
    record = files.read_record(dataset, "objects/a")
    assert record
    files.finish_object(dataset, record)
    files.compose_dataset(dataset)
    assert match in " ".join(p.what for p in check(dataset))
