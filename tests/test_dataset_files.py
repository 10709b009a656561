from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from backend import dataset_files as files
from backend.dataset_files import ObjectRecord, safe_names, shape_descriptor
from backend.errors import InputError
from tests.dataset_parts import SETTINGS, box, contents, from_trimesh, sphere, together

HASH = files.settings_hash(SETTINGS)


def empty_dataset(folder: Path) -> Path:
    files.open_dataset(folder, SETTINGS, "shapes")
    return folder


def write_object(dataset: Path, key: str, content: bytes = b"picture", **record) -> None:
    folder = files.start_object(dataset, key)
    (folder / "image").mkdir()
    (folder / "image" / "0000.png").write_bytes(content)
    files.finish_object(dataset, ObjectRecord(key, HASH, **record))


# Names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Chair.001", "Chair_001"),
        ("../../etc/passwd", "etc_passwd"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        ("CON", "CON_"),
        ("com1", "com1_"),
        ("nul.txt", "nul_txt"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("--help", "help"),
        (" spaced out. ", "spaced_out"),
        ("stuhl\u0308", "stuhl"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("椅子", "椅子"),
        ("line\nbreak\x00", "line_break"),
        ("train.lst", "train_lst"),
    ],
)
def test_a_hostile_name_becomes_a_folder(tmp_path: Path, name: str, safe: str) -> None:
    assert safe_names([name]) == [safe]
    folder = files.start_object(empty_dataset(tmp_path / "d"), f"objects/{safe}")
    assert folder.is_dir()
    assert folder.parent.parent == tmp_path / "d"


def test_names_differ_whatever_the_case_and_are_not_too_long() -> None:
    names = ["Chair", "chair", "a b", "a_b", "same", "same", "é" * 300, "é" * 301]
    safe = safe_names(names)
    assert len({name.casefold() for name in safe}) == len(names)
    assert max(len(name.encode()) for name in safe) < 100


def test_names_do_not_depend_on_the_order() -> None:
    names = ["Chair", "chair", "table", "CON", "lamp/1", "lamp_1"]
    expected = dict(zip(names, safe_names(names), strict=True))
    random.Random(0).shuffle(names)
    assert dict(zip(names, safe_names(names), strict=True)) == expected
    assert safe_names(["table"]) == ["table"]


@pytest.mark.parametrize("key", ["../outside", "a/b/c", "a", "/etc", "a/..", "a/CON", "", "a/"])
def test_a_key_never_leads_out_of_the_dataset(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="no key of an object"):
        files.object_folder(tmp_path, key)


def test_seeds_differ_by_object_and_purpose_and_stay_the_same() -> None:
    seeds = {files.object_seed(s, k, p) for s in (0, 1) for k in ("a/b", "a/c") for p in ("", "x")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**48 for seed in seeds)


# Settings


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    empty_dataset(tmp_path / "d")
    with pytest.raises(InputError, match=r"views: 3 there, 24 now.*choose another folder"):
        files.open_dataset(tmp_path / "d", {**SETTINGS, "views": 24})
    with pytest.raises(InputError, match=r"albedo: nothing there, true now"):
        files.open_dataset(tmp_path / "d", {**SETTINGS, "albedo": True})
    files.open_dataset(tmp_path / "d", dict(reversed(SETTINGS.items())))


def test_tuples_are_the_same_settings_as_the_lists_they_become(tmp_path: Path) -> None:
    settings = {"seed": 0, "size": (128, 128)}
    files.open_dataset(tmp_path / "d", settings)
    files.open_dataset(tmp_path / "d", settings)
    assert files.settings_hash(settings) == files.settings_hash({"size": [128, 128], "seed": 0})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="is no dataset"):
        files.open_dataset(tmp_path, SETTINGS)
    with pytest.raises(InputError, match="is no dataset"):
        files.open_dataset(tmp_path / "holiday.jpg", SETTINGS)
    with pytest.raises(InputError, match="cannot make the folder"):
        files.open_dataset(tmp_path / "holiday.jpg" / "d", SETTINGS)
    with pytest.raises(InputError, match="add up to 1"):
        files.open_dataset(tmp_path / "d", {"split_shares": (0.5, 0.5, 0.5)})


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    content = files.read_dataset(dataset)
    files.write_json(dataset / "dataset.json", {**content, "schema_version": 2})
    with pytest.raises(InputError, match="schema version 2"):
        files.open_dataset(dataset, SETTINGS)


def test_a_lost_dataset_file_comes_back_from_the_records(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    write_object(dataset, "objects/a")
    expected = files.compose_dataset(dataset)
    (dataset / "dataset.json").unlink()
    with pytest.raises(InputError, match="is no dataset"):
        files.open_dataset(dataset, {**SETTINGS, "views": 24})
    files.open_dataset(dataset, SETTINGS, "shapes")
    assert files.compose_dataset(dataset) == expected


# Records


def test_a_record_comes_back(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    write_object(
        dataset,
        "chairs/a",
        scale=2.0,
        offset=(1.0, 2.0, 3.0),
        problems=("wood.png is missing",),
        descriptor=(0.5,),
        split="val",
        seed=2**47,
    )
    record = files.read_record(dataset, "chairs/a")
    assert record
    again = files.finish_object(dataset, record)
    assert again == record == files.read_record(dataset, "chairs/a")
    assert list(record.files) == ["image/0000.png"]


def test_an_object_is_done_only_undamaged_and_with_its_settings(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    assert not files.is_rendered(dataset, "objects/a", SETTINGS)
    write_object(dataset, "objects/a")
    assert files.is_rendered(dataset, "objects/a", SETTINGS)
    assert not files.is_rendered(dataset, "objects/a", {**SETTINGS, "views": 1})
    (dataset / "objects/a/image/0000.png").write_bytes(b"pictur?")
    assert not files.is_rendered(dataset, "objects/a", SETTINGS)
    assert files.object_damage(dataset, "objects/a").keys() == {"image/0000.png"}
    write_object(dataset, "objects/a")
    (dataset / "objects/a/object.json").write_text('{"key": ')
    assert not files.is_rendered(dataset, "objects/a", SETTINGS)
    assert files.object_damage(dataset, "objects/a").keys() == {"object.json"}


def test_starting_again_leaves_nothing_of_before_but_what_is_not_ours(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    write_object(dataset, "objects/a")
    folder = dataset / "objects/a"
    for name in (".0001.png.77.part", "mesh.ply", "points.npz", "notes.txt"):
        (folder / name).write_text("")
    assert files.start_object(dataset, "objects/a") == folder
    assert files.files_in(folder) == ["notes.txt"]


def test_a_failed_object_is_listed_with_its_reason_and_tried_again(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    files.fail_object(dataset, ObjectRecord("objects/a", HASH), "it has no faces.")
    write_object(dataset, "objects/b")
    content = files.compose_dataset(dataset)
    entry = content["objects"]["objects/a"]
    assert (entry["status"], entry["reason"], entry["split"]) == ("failed", "it has no faces.", "")
    assert not files.is_rendered(dataset, "objects/a", SETTINGS)
    assert (dataset / "objects/train.lst").read_text() == "b"
    write_object(dataset, "objects/a")
    assert files.compose_dataset(dataset)["objects"]["objects/a"]["status"] == "rendered"


def test_wrong_words_in_a_record_are_refused() -> None:
    with pytest.raises(ValueError, match="train, val, test"):
        ObjectRecord("a/b", HASH, split="training")
    with pytest.raises(ValueError, match="rendered or failed"):
        ObjectRecord("a/b", HASH, status="done")


# Composing


def test_order_and_repetition_give_the_same_bytes(tmp_path: Path) -> None:
    keys = [f"{category}/{name}" for category in ("cars", "chairs") for name in "abcdefg"]
    one, other = empty_dataset(tmp_path / "one"), empty_dataset(tmp_path / "other")
    for key in keys:
        write_object(one, key, key.encode())
    for key in reversed(keys):
        write_object(other, key, key.encode())
        files.compose_dataset(other)
    files.compose_dataset(one)
    assert contents(one) == contents(other)


def test_dataset_file_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    for name in "abc":
        write_object(dataset, f"objects/{name}")
    listed = files.compose_dataset(dataset)["files"]
    assert sorted([*listed, "dataset.json"]) == files.files_in(dataset)
    assert all(files.file_hash(dataset / name) == value for name, value in listed.items())
    assert json.loads((dataset / "dataset.json").read_text())["files"] == listed


def test_lists_hold_every_object_once_and_no_empty_line(tmp_path: Path) -> None:
    dataset = empty_dataset(tmp_path / "d")
    names = [f"o{i:02d}" for i in range(20)]
    for name in names:
        write_object(dataset, f"objects/{name}")
    files.compose_dataset(dataset)
    lists = [(dataset / f"objects/{split}.lst").read_text().split("\n") for split in files.SPLITS]
    assert sorted(name for lines in lists for name in lines) == names
    assert [len(lines) for lines in lists] == [16, 2, 2]


# Near-duplicates and splits


def turned(mesh, angle: float = 1.0, scale: float = 3.0):
    matrix = Rotation.from_rotvec(np.array([1, 2, 3]) * angle).as_matrix()
    return (mesh.vertices @ matrix.T * scale + [5, -2, 1]), mesh.faces


def test_descriptor_knows_a_shape_however_it_lies_and_is_cut() -> None:
    mesh = together(
        from_trimesh(trimesh.creation.annulus(0.2, 0.5, 0.3, sections=24)), box((0.1, 0.2, 0.9))
    )
    vertices, faces = mesh.vertices.astype(float), mesh.faces
    original = np.array(shape_descriptor(vertices, faces))
    cut = trimesh.Trimesh(vertices, faces, process=False).subdivide().subdivide()
    fine = np.asarray(cut.vertices), np.asarray(cut.faces)
    for other in (fine, (vertices * [-1, 1, 1], faces), turned(mesh)):
        assert np.abs(np.array(shape_descriptor(*other)) - original).max() < 2e-6


def test_descriptor_of_a_sphere_by_formula() -> None:
    mesh = sphere(0.4, 5)
    expected = [3**-0.5, 3**-0.5, 1.0, 0.0, 1.0, np.log(4 * np.pi), np.log1p(4 * np.pi / 3)]
    assert np.abs(np.array(shape_descriptor(mesh.vertices, mesh.faces)) - expected).max() < 2e-3
    assert shape_descriptor(mesh.vertices * 0, mesh.faces) == ()
    assert shape_descriptor(np.zeros((0, 3)), np.zeros((0, 3), int)) == ()


def records(count: int = 60, seed: int = 0) -> list[ObjectRecord]:
    """Convex shapes in two categories; every third comes again, turned, elsewhere."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        points = rng.normal(size=(rng.integers(5, 9), 3)) * rng.uniform(0.1, 1.0, 3)
        mesh = from_trimesh(trimesh.Trimesh(points).convex_hull)
        made.append(
            ObjectRecord(
                f"one/a{i:02d}", HASH, descriptor=shape_descriptor(mesh.vertices, mesh.faces)
            )
        )
        if i % 3 == 0:
            descriptor = shape_descriptor(*turned(mesh, float(i)))
            made.append(ObjectRecord(f"two/a{i:02d}", HASH, descriptor=descriptor))
    return made


def test_near_duplicates_share_a_split_and_the_shares_hold() -> None:
    made = records()
    groups, splits = files.near_duplicates(made), files.split_objects(made, 0)
    for i in range(0, 60, 3):
        assert groups[f"one/a{i:02d}"] == groups[f"two/a{i:02d}"]
        assert splits[f"one/a{i:02d}"] == splits[f"two/a{i:02d}"]
    assert len(set(groups.values())) >= 58
    for groups_split in ({s for k, s in splits.items() if groups[k] == g} for g in groups.values()):
        assert len(groups_split) == 1
    shares = [sum(s == split for s in splits.values()) / len(splits) for split in files.SPLITS]
    assert np.abs(np.array(shares) - files.DEFAULT_SHARES).max() < 0.05


def test_splits_depend_on_the_seed_not_on_the_order() -> None:
    made = records()
    splits = files.split_objects(made, 0)
    assert files.split_objects(made[::-1], 0) == splits
    assert files.split_objects(made, 1) != splits


def test_groups_and_splits_of_an_index_are_kept() -> None:
    made = [
        ObjectRecord("c/a", HASH, dup_group="x", split="test"),
        ObjectRecord("c/b", HASH, dup_group="x"),
        ObjectRecord("c/c", HASH, split="val"),
        ObjectRecord("c/d", HASH),
    ]
    assert files.near_duplicates(made) == {"c/a": "x", "c/b": "x", "c/c": "c/c", "c/d": "c/d"}
    assert files.split_objects(made, 0) == {
        "c/a": "test",
        "c/b": "test",
        "c/c": "val",
        "c/d": "train",
    }


def test_duplicates_are_found_over_a_third() -> None:
    """The named group joins a and b, the shapes b and c."""
    made = records(2)
    first, second = made[0], replace(made[-1], key="one/b")
    third = replace(second, key="one/c", dup_group="")
    linked = [replace(first, dup_group="g"), replace(second, dup_group="g"), third]
    assert set(files.near_duplicates(linked).values()) == {"g"}


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0, 0)), (5, (4, 0, 1)), (10, (8, 1, 1))])
def test_few_objects_are_cut_at_the_shares(count: int, expected: tuple[int, int, int]) -> None:
    made = [ObjectRecord(f"c/{i}", HASH) for i in range(count)]
    splits = list(files.split_objects(made, 3).values())
    assert tuple(splits.count(split) for split in files.SPLITS) == expected
