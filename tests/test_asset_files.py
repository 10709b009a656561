"""Which object a 3-D file of a folder becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.asset_files import INDEX, list_assets
from backend.errors import InputError

SUFFIXES = (".glb", ".obj")


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_categories_and_names_come_from_the_places(tmp_path: Path) -> None:
    names = ("chair/a.glb", "chair/old/a.glb", "chair/b.GLB", "loose.obj", "Stühle é/c.obj")
    assets = list_assets(made(tmp_path, *names, "chair/notes.txt", ".trash/x.glb"), SUFFIXES)
    assert [(asset.key, asset.source) for asset in assets] == [
        ("Stühle_é/c", "Stühle é/c.obj"),
        ("chair/a", "chair/a.glb"),
        ("chair/b", "chair/b.GLB"),
        ("chair/old_a", "chair/old/a.glb"),
        ("objects/loose", "loose.obj"),
    ]
    assert all(asset.path == tmp_path.resolve() / asset.source for asset in assets)
    given = list_assets(tmp_path, SUFFIXES, "seat")
    assert {asset.key.partition("/")[0] for asset in given} == {"seat"}


def test_files_that_differ_only_in_their_kind_keep_it(tmp_path: Path) -> None:
    assets = list_assets(made(tmp_path, "a.glb", "a.obj", "b.glb"), SUFFIXES)
    assert [asset.key for asset in assets] == ["objects/a_glb", "objects/a_obj", "objects/b"]


def test_other_kinds_of_3d_files_are_refused_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "a.glb", "b.fbx", "c.blend", "d.png", "e.json", "f.glb.bak")
    assets = list_assets(tmp_path, SUFFIXES)
    assert {asset.source: asset.refused for asset in assets} == {
        "a.glb": "",
        "b.fbx": "files of the kind .fbx are not imported.",
        "c.blend": "files of the kind .blend are not imported.",
    }


def test_an_index_adds_what_files_do_not_say(tmp_path: Path) -> None:
    made(tmp_path, "x/a.glb", "x/b.glb", "x/c.glb")
    rows = [
        "file,category,licence,attribution,source,split,dup_group,up_axis,colour",
        "x/a.glb,seat,CC0,Somebody,Somewhere,test,g1,y,red",
        "x\\b.glb,,CC0,Same,Same,holdout,,x,",
    ]
    (tmp_path / INDEX).write_text("\n".join(rows), encoding="utf-8-sig")
    seat, b, c = list_assets(tmp_path, SUFFIXES)
    assert (seat.key, seat.licence, seat.attribution) == ("seat/a", "CC0", "Somebody, Somewhere")
    assert (seat.split, seat.dup_group, seat.up_axis) == ("test", "g1", "y")
    assert (b.key, b.attribution, b.split, b.up_axis) == ("x/b", "Same", "", "")
    assert (c.key, c.licence) == ("x/c", "")


def test_one_file_alone(tmp_path: Path) -> None:
    made(tmp_path, "chair/a.glb", "chair/b.glb")
    (asset,) = list_assets(tmp_path / "chair/a.glb", SUFFIXES)
    assert (asset.key, asset.source) == ("objects/a", "a.glb")


def test_places_without_assets_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "empty/readme.txt", "a.fbx")
    for name, message in (
        ("nowhere", "does not exist"),
        ("empty", r"has no asset files \(.glb, .obj\)"),
        ("a.fbx", r"is of no kind that is imported \(.glb, .obj\)"),
    ):
        with pytest.raises(InputError, match=message):
            list_assets(tmp_path / name, SUFFIXES)
    (tmp_path / INDEX).write_bytes(b"file\n\xff\xfe\xff")
    with pytest.raises(InputError, match=r"index.csv' cannot be read"):
        list_assets(tmp_path, SUFFIXES)
