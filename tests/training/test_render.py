"""Asset files to datasets without Blender, and the same files to datasets with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh

from backend.asset_files import list_assets
from backend.camera_files import read_cameras
from backend.camera_samplers import settings_from
from backend.dataset_files import (
    files_in,
    object_damage,
    open_dataset,
    read_dataset,
    read_record,
)
from backend.errors import InputError
from backend.exr_files import read_exr
from backend.mesh_files import read_mesh, write_mesh
from tests.dataset_parts import box, contents, from_trimesh, sphere, together
from training.check import check
from training.prepare import prepare
from training.render import (
    ViewSettings,
    all_settings,
    render_object,
    render_views_dataset,
)
from training.view_assets import ASSET_SUFFIXES

SMALL = {"views": 2, "resolution": 32}
STATES = ("rendered", "already rendered", "failed")


def settings(**values: Any) -> ViewSettings:
    return settings_from(ViewSettings, "views", SMALL | values)


def chair() -> Any:
    legs = (box((0.05, 0.05, 0.45), (x, y, 0.2)) for x in (-0.2, 0.2) for y in (-0.2, 0.2))
    back = box((0.5, 0.06, 0.5), (0, 0.22, 0.73))
    return together(box((0.5, 0.5, 0.06), (0, 0, 0.45)), back, *legs)


def assets(folder: Path) -> Path:
    """Three sound files in two categories, and four of which nothing can be made."""
    for name, mesh in (
        ("seat/chair.glb", chair()),
        ("seat/stool.obj", box((0.4, 0.4, 0.6), (3, 2, 1))),
        ("round/ball.ply", sphere(0.2, 3)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mesh(folder / name, mesh, {})
    whole = (folder / "seat/chair.glb").read_bytes()
    (folder / "seat/torn.glb").write_bytes(whole[: len(whole) // 2])
    (folder / "seat/point.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    (folder / "seat/scene.blend").write_bytes(b"BLENDER")
    (folder / "round/empty.off").write_bytes(b"")
    return folder


def states(outcomes: Any) -> dict[str, int]:
    return {state: sum(o.state == state for o in outcomes) for state in STATES}


# A whole dataset ----------------------------------------------------------------------------------


def test_assets_become_a_dataset_that_prepare_and_check_accept(tmp_path: Path) -> None:
    dataset, reported = tmp_path / "d", []
    outcomes = render_views_dataset(
        [assets(tmp_path / "assets")],
        dataset,
        settings(depth=True, normal=True),
        report=lambda done, total, outcome: reported.append((done, total, outcome.key)),
    )
    assert states(outcomes) == {"rendered": 3, "already rendered": 0, "failed": 4}
    assert [number for number, *_ in reported] == list(range(1, 8))
    assert {total for _, total, _ in reported} == {7}
    reasons = {o.key: o.reason for o in outcomes if o.state == "failed"}
    assert sorted(reasons) == ["round/empty", "seat/point", "seat/scene", "seat/torn"]
    assert "has no size" in reasons["seat/point"]
    assert ".blend are not imported" in reasons["seat/scene"]
    assert "'torn.glb' cannot be read" in reasons["seat/torn"]
    content = read_dataset(dataset)
    assert {k: v["reason"] for k, v in content["objects"].items() if v["reason"]} == reasons
    folder = dataset / "seat/stool"
    expected = {"mesh.ply", "transforms.json", "cameras.npz", "object.json", "depth/0000.exr"}
    expected |= {"depth/0001.exr"}
    expected |= {f"{kind}/000{i}.png" for kind in ("image", "mask", "normal") for i in (0, 1)}
    assert set(files_in(folder)) == expected
    record = read_record(dataset, "seat/stool")
    assert record is not None
    assert record.scale == pytest.approx(0.6)
    np.testing.assert_allclose(record.offset, [3, 2, 1], atol=1e-6)
    prepared = prepare(dataset, points=200)
    assert sorted(o.key for o in prepared if o.state == "prepared") == [
        *("round/ball", "seat/chair", "seat/stool"),
    ]
    assert check(dataset) == []


def test_files_hold_what_cameras_see(tmp_path: Path) -> None:
    """Depth and normals of a box, as they are read from the files, lie on its faces."""
    (tmp_path / "a").mkdir()
    write_mesh(tmp_path / "a/box.ply", box((0.5, 0.7, 1.0)), {})
    values = {"depth": True, "normal": True, "resolution": 48, "crease_angle": 0}
    render_views_dataset([tmp_path / "a"], tmp_path / "d", settings(**values))
    folder = tmp_path / "d/objects/box"
    for number, posed in enumerate(
        read_cameras(folder / "transforms.json", [], lambda path: (48, 48)).images
    ):
        image, mask, codes = (picture(folder, kind, number) for kind in ("image", "mask", "normal"))
        assert (image.shape, mask.shape, codes.dtype) == ((48, 48, 4), (48, 48), np.uint16)
        np.testing.assert_array_equal(np.where(image[..., 3] >= 128, 255, 0), mask)
        depth = read_exr(folder / f"depth/{number:04d}.exr")["Y"]
        rows, columns = np.nonzero(np.isfinite(depth))
        pixels = np.stack([columns, rows], axis=-1) + 0.5
        origins, directions = posed.camera.rays(pixels)
        points = origins + depth[rows, columns, None] * directions
        outside = np.abs(points) - np.array([0.25, 0.35, 0.5])
        np.testing.assert_allclose(outside.max(axis=1), 0.0, atol=1e-5)
        normals = codes[rows, columns][:, ::-1] / 65535 * 2 - 1
        axis = outside.argmax(axis=1)[:, None]
        along = np.take_along_axis(normals, axis, axis=1)
        np.testing.assert_allclose(np.abs(along), 1.0, atol=1e-4)
        signs = np.sign(np.take_along_axis(points, axis, axis=1))
        assert (np.sign(along) == signs).mean() > 0.99  # where two faces meet either may be seen
        assert (codes[~np.isfinite(depth)] == 0).all()


def picture(folder: Path, kind: str, number: int) -> np.ndarray:
    found = cv2.imread(str(folder / f"{kind}/{number:04d}.png"), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def test_colours_are_in_the_files_channels(tmp_path: Path) -> None:
    ball: Any = trimesh.creation.icosphere(3, 0.4)
    ball.visual.vertex_colors = np.tile([200, 100, 0, 255], (len(ball.vertices), 1))
    (tmp_path / "a").mkdir()
    ball.export(tmp_path / "a/ball.ply")
    render_views_dataset([tmp_path / "a"], tmp_path / "d", settings(light="uniform"))
    image = picture(tmp_path / "d/objects/ball", "image", 0)
    blue, green, red = image[image[..., 3] == 255][:, :3].mean(axis=0)
    assert red > green + 50
    assert green > blue + 50


# Twice, in parts, and interrupted -----------------------------------------------------------------


def test_workers_and_second_runs_give_the_same_bytes(tmp_path: Path) -> None:
    folder = assets(tmp_path / "assets")
    render_views_dataset([folder], tmp_path / "a/d", settings(light="random"))
    dataset = tmp_path / "b/d"
    render_views_dataset([folder], dataset, settings(light="random"), workers=2)
    whole = contents(tmp_path / "a/d")
    assert contents(dataset) == whole
    (dataset / "seat/chair/object.json").unlink()  # as of a run that was stopped
    (dataset / "seat/chair/image/0001.png").unlink()
    with (dataset / "round/ball/mask/0000.png").open("r+b") as file:
        file.truncate(30)
    again = render_views_dataset([folder], dataset, settings(light="random"))
    assert states(again) == {"rendered": 2, "already rendered": 1, "failed": 4}
    assert contents(dataset) == whole


def test_more_views_keep_the_first_ones(tmp_path: Path) -> None:
    folder = assets(tmp_path / "assets")
    render_views_dataset([folder / "round"], tmp_path / "a", settings())
    render_views_dataset([folder / "round"], tmp_path / "b", settings(views=3))
    for name in ("image/0000.png", "image/0001.png"):
        one, other = ((tmp_path / d / "objects/ball" / name).read_bytes() for d in "ab")
        assert one == other


# Wrong input --------------------------------------------------------------------------------------


def test_a_dataset_of_other_settings_is_refused(tmp_path: Path) -> None:
    folder = assets(tmp_path / "assets") / "round"
    render_views_dataset([folder], tmp_path / "d", settings())
    before = contents(tmp_path / "d")
    with pytest.raises(InputError, match="views: 2 there, 3 now"):
        render_views_dataset([folder], tmp_path / "d", settings(views=3))
    assert contents(tmp_path / "d") == before


def test_two_files_that_would_become_one_object_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assets(tmp_path / name)
    with pytest.raises(InputError, match=r"one.*two.* would both become the object 'round/ball'"):
        render_views_dataset([tmp_path / "one", tmp_path / "two"], tmp_path / "d", settings())
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 2}, "samples must be an odd number, got 2"),
        ({"resolution": 4}, "resolution must be between 16 and 2048"),
        ({"light": "scene"}, "light must be one of studio"),
        ({"sampler": "scene"}, "sampler must be one of hemisphere"),
        ({"elevation_low": 50, "elevation_high": 10}, "the lowest elevation"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**values)


def test_an_object_outside_the_picture_is_listed(tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.ply", sphere(0.2, 2), {})
    shifted = settings(shift_x=2.0)
    (asset,) = list_assets(tmp_path / "ball.ply", ASSET_SUFFIXES)
    open_dataset(tmp_path / "d", all_settings(shifted))
    outcome = render_object(tmp_path / "d", shifted, asset)
    assert (outcome.state, outcome.reason) == (
        "failed",
        "the object is not in the picture in view 0000.",
    )
    assert files_in(tmp_path / "d/objects/ball") == ["object.json"]
    assert object_damage(tmp_path / "d", "objects/ball") == {}


# Against Blender ----------------------------------------------------------------------------------


@pytest.mark.blender
def test_blender_sees_the_same(tmp_path: Path) -> None:
    """Same files, same settings: cameras, masks, depths and normals agree with Cycles'.

    Cycles' pixels reach a little into their neighbours and are made of random samples, so outlines
    differ by parts of a pixel.
    """
    folder = tmp_path / "assets"
    folder.mkdir()
    ring = from_trimesh(trimesh.creation.torus(0.4, 0.06))
    for name, mesh in (("chair.ply", chair()), ("chair.obj", chair()), ("ring.glb", ring)):
        write_mesh(folder / name, mesh, {})
    values = {"views": 3, "resolution": 128, "depth": True, "normal": True}
    render_with_blender(folder, tmp_path / "blender", tmp_path / "profile")
    render_views_dataset([folder], tmp_path / "ours", settings(**values, crease_angle=0))
    for key in ("objects/chair_ply", "objects/chair_obj", "objects/ring"):
        theirs, ours = tmp_path / "blender" / key, tmp_path / "ours" / key
        for name in ("transforms.json", "cameras.npz"):
            assert (theirs / name).read_bytes() == (ours / name).read_bytes()
        one, other = (read_mesh(side / "mesh.ply").vertices for side in (theirs, ours))
        np.testing.assert_allclose(np.sort(one, axis=0), np.sort(other, axis=0), atol=1e-6)
        for number in range(3):
            compare_views(theirs, ours, number, flat=key == "objects/chair_ply")


def render_with_blender(folder: Path, dataset: Path, profile: Path) -> None:
    words = ["--assets", folder, "-o", dataset, "--views", 3, "--resolution", 128, "--threads", 1]
    words += ["--samples", 48, "--bounces", 0, "--depth", "--normal"]
    program = Path(__file__).with_name("blender_render.py")
    command = [sys.executable, program, profile, *words]
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, "BLENDER_USER_RESOURCES": str(profile)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def compare_views(theirs: Path, ours: Path, number: int, flat: bool) -> None:
    """``flat``: Blender shades each face flat, so that normals can be compared."""
    masks = [picture(side, "mask", number) >= 128 for side in (theirs, ours)]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.99
    depths = [read_exr(side / f"depth/{number:04d}.exr")["Y"] for side in (theirs, ours)]
    found = [np.isfinite(depth) for depth in depths]
    both = found[0] & found[1]
    assert both.sum() / (found[0] | found[1]).sum() > 0.99
    errors = np.abs(depths[0][both] - depths[1][both])
    assert np.median(errors) < 1e-4
    assert np.quantile(errors, 0.98) < 1e-3
    if flat:
        codes = [picture(side, "normal", number) for side in (theirs, ours)]
        normals = [code[both] / 65535 * 2 - 1 for code in codes]
        cosines = (normals[0] * normals[1]).sum(axis=1)
        assert np.median(cosines) > 0.99999


def test_the_dataset_says_what_rendered_it(tmp_path: Path) -> None:
    write_mesh(tmp_path / "ball.ply", sphere(0.2, 1), {})
    render_views_dataset([tmp_path / "ball.ply"], tmp_path / "d", settings())
    said = json.loads((tmp_path / "d/dataset.json").read_text())["settings"]
    assert said["renderer"] == "views 1"
    assert "blender" not in said
