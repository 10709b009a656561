"""Scenes and asset files to datasets: what is rendered, what is left alone, what comes twice."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backend.camera_files import read_cameras
from backend.dataset_files import (
    compose_dataset,
    files_in,
    object_damage,
    open_dataset,
    read_dataset,
)
from tests.blender_addon.conftest import MODULE
from tests.blender_addon.test_render_views import add_mesh, lopsided

pytestmark = pytest.mark.blender

QUICK = ["--views", "3", "--resolution", "48", "--samples", "2", "--threads", "1"]


def things(blender: Any, *names: str) -> list[Any]:
    """Selected objects, each a little different, that stand apart."""
    made = [lopsided(blender, name) for name in names]
    for number, item in enumerate(made):
        item.location.x += 4 * number
        item.data.vertices[6].co.z += 0.1 * number
        item.select_set(True)
    blender.bpy.context.view_layer.update()
    return made


def render(blender: Any, output: Path, *words: Any) -> int:
    texts = ["-o", output, *QUICK, *words]
    return blender.command_line.run(["render", *map(str, texts)])


def contents(dataset: Path) -> dict[str, bytes]:
    return {name: (dataset / name).read_bytes() for name in files_in(dataset)}


def without_name(dataset: Path) -> dict[str, bytes]:
    """All files; without the dataset's own name, which is its folder's."""
    found = contents(dataset)
    record = json.loads(found["dataset.json"]) | {"name": ""}
    return found | {"dataset.json": json.dumps(record).encode()}


def state(blender: Any) -> dict[str, Any]:
    """All that an artist could notice: data-blocks, selection, settings of scene and render."""
    bpy, context = blender.bpy, blender.bpy.context
    collections = [p.identifier for p in bpy.data.bl_rna.properties if p.type == "COLLECTION"]
    found: dict[str, Any] = {
        name: [(block.name, block.users) for block in getattr(bpy.data, name)]
        for name in collections
    }
    for owner in ("render", "cycles", "view_settings", "display", "render.image_settings"):
        settings: Any = context.scene
        for part in owner.split("."):
            settings = getattr(settings, part)
        values = {p.identifier: str(getattr(settings, p.identifier)) for p in plain(settings)}
        found[owner] = values
    found["selected"] = sorted(item.name for item in context.selected_objects)
    found["active"] = context.view_layer.objects.active
    found["scene"] = (context.scene.name, context.scene.frame_current, context.scene.camera)
    found["places"] = {o.name: str(o.matrix_world) for o in bpy.data.objects}
    found["registered"] = hasattr(bpy.types, "Capture")
    return found


def plain(settings: Any) -> list[Any]:
    kinds = ("BOOLEAN", "INT", "FLOAT", "STRING", "ENUM")
    return [p for p in settings.bl_rna.properties if p.type in kinds and not p.is_readonly]


def by_panel(blender: Any, output: Path, **values: Any) -> Any:
    settings = blender.dataset_properties.dataset_settings_of(blender.scene)
    wanted = {"views": 3, "resolution": 48, "samples": 2, "output": str(output)} | values
    for name, value in wanted.items():
        setattr(settings, name, value)
    return settings


# A whole dataset ----------------------------------------------------------------------------------


def test_five_selected_objects_become_a_sound_dataset(blender: Any, tmp_path: Path) -> None:
    made = things(blender, "One", "Two", "Three", "Four", "Five")
    dataset = tmp_path / "Stühle"
    assert render(blender, dataset, "--category", "chair") == 0
    content = read_dataset(dataset)
    assert sorted(content["objects"]) == sorted(f"chair/{item.name}" for item in made)
    assert {entry["status"] for entry in content["objects"].values()} == {"rendered"}
    assert all(object_damage(dataset, key) == {} for key in content["objects"])
    assert content["settings"]["views"] == 3
    listed = [(dataset / f"chair/{split}.lst").read_text().split() for split in ("train", "val")]
    assert len(listed[0]) >= 3
    folder = dataset / "chair/Two"
    names = ["0000", "0001", "0002"]
    expected = {"mesh.ply", "transforms.json", "cameras.npz", "object.json"}
    expected |= {f"{kind}/{n}.png" for kind in ("image", "mask", "normal") for n in names}
    assert set(files_in(folder)) == expected | {f"depth/{n}.exr" for n in names}
    read = read_cameras(folder / "transforms.json", [], lambda path: (48, 48))
    arrays = np.load(folder / "cameras.npz")
    corner = np.array([0.1, 0.2, 0.3, 1.0])
    for i, posed in enumerate(read.images):
        assert posed.image == folder / f"image/{i:04d}.png"
        assert posed.mask is None  # so that readers take the image's alpha, which is finer
        x, y, z, _ = arrays[f"camera_mat_{i}"] @ arrays[f"world_mat_{i}"] @ corner
        pixel, depth = posed.camera.project(corner[:3])
        np.testing.assert_allclose([24 * (x / z + 1), 24 * (y / z + 1), z], [*pixel, depth])
    record = json.loads((folder / "object.json").read_text())
    places = np.array([made[1].matrix_world @ v.co for v in made[1].data.vertices])
    assert abs(record["scale"] - np.ptp(places, axis=0).max()) < 1e-5
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    np.testing.assert_allclose(record["offset"], middle, atol=1e-5)


def test_the_button_makes_what_the_command_makes(blender: Any, tmp_path: Path) -> None:
    things(blender, "One", "Two")
    assert render(blender, tmp_path / "a" / "d") == 0
    by_panel(blender, tmp_path / "b" / "d")
    before = state(blender)
    assert blender.ops.render_dataset() == {"FINISHED"}
    after = state(blender)
    assert {k: v for k, v in after.items() if before[k] != v} == {}
    assert contents(tmp_path / "a" / "d") == contents(tmp_path / "b" / "d")
    assert blender.dataset_run.run.message.startswith("2 rendered (6 views")


def test_a_run_of_the_panel_goes_on_beside_the_artist(blender: Any, tmp_path: Path) -> None:
    things(blender, "One", "Two")
    by_panel(blender, tmp_path / "d", workers=2)
    run = blender.dataset_run.run
    before = state(blender)
    run.start(blender.bpy.context)
    assert not blender.ops.render_dataset.poll()
    assert state(blender) == before
    blender.bpy.data.objects.remove(blender.scene.objects["Two"])  # the artist goes on
    assert waited(lambda: not run.poll())
    assert not run.failed
    assert run.progress.rendered == 2
    run.start(blender.bpy.context)
    assert blender.ops.cancel_dataset() == {"FINISHED"}
    assert "Stopped" in run.message


def waited(done: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
    return done()


# The artist's scene -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["cancelled", "error", "disk full"])
def test_the_scene_is_as_before_after(
    blender: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    things(blender, "One", "Two")
    blender.scene.render.resolution_x = 123
    blender.scene.frame_set(7)
    settings = by_panel(blender, tmp_path / "d").render_settings()
    module = blender.render_dataset
    items = module.items_of_selection(blender.bpy.context.view_layer)
    opened = module.all_settings(settings)
    open_dataset(tmp_path / "d", opened)
    before = state(blender)
    steps = module.render_items(tmp_path / "d", settings, items, blender.scene, threads=1)
    assert [next(steps).event for _ in range(3)] == ["started", "view", "view"]
    if ending == "cancelled":
        steps.close()
    elif ending == "error":  # of the engine, in the middle of an object
        monkeypatch.setattr(blender.render_views.Studio, "render", lambda *_: 1 / 0)
        reasons = [step.reason for step in steps if step.event == "failed"]
        assert reasons == ["ZeroDivisionError: division by zero"] * 2
    else:
        errors = importlib.import_module(f"{MODULE}.backend.errors")

        def full(_: Any) -> None:
            raise errors.ReconstructionError("cannot write: the disk is full; free some space.")

        monkeypatch.setattr(module, "write_files", full)
        with pytest.raises(errors.ReconstructionError, match="disk is full"):
            list(steps)
    after = state(blender)
    assert {k: v for k, v in after.items() if before[k] != v} == {}
    content = compose_dataset(tmp_path / "d")
    assert len(content["objects"]) == (2 if ending == "error" else 0)
    monkeypatch.undo()
    events = [
        step.event
        for step in module.render_items(tmp_path / "d", settings, items, blender.scene, 1)
    ]
    assert events.count("rendered") == 2


# Which objects ------------------------------------------------------------------------------------


def test_selected_parents_bring_their_children(blender: Any) -> None:
    parent, child, other = things(blender, "Parent", "Child", "Other")
    child.parent = parent
    light = blender.bpy.data.objects.new("Lamp", blender.bpy.data.lights.new("Lamp", "SUN"))
    blender.scene.collection.objects.link(light)
    light.select_set(True)
    other.select_set(False)
    layer = blender.bpy.context.view_layer
    items = blender.render_dataset.items_of_selection(layer)
    assert [(item.key, item.objects) for item in items] == [("objects/Parent", ("Parent",))]
    parent.select_set(False)
    assert [i.source for i in blender.render_dataset.items_of_selection(layer)] == ["Child"]


def test_each_child_of_a_collection_is_one_object(blender: Any, tmp_path: Path) -> None:
    bpy = blender.bpy
    whole, inner = bpy.data.collections.new("Shop"), bpy.data.collections.new("Sofa")
    blender.scene.collection.children.link(whole)
    whole.children.link(inner)
    chair, seat, back = things(blender, "Chair", "Seat", "Back")
    for item, collection in ((chair, whole), (seat, inner), (back, inner)):
        blender.scene.collection.objects.unlink(item)
        collection.objects.link(item)
    items = blender.render_dataset.items_of_collection(whole)
    assert {i.key: set(i.objects) for i in items} == {
        "objects/Chair": {"Chair"},
        "objects/Sofa": {"Seat", "Back"},
    }
    assert render(blender, tmp_path / "d", "--collection", "Shop") == 0
    faces = (tmp_path / "d/objects/Sofa/mesh.ply").read_bytes().split(b"end_header")[0]
    assert b"element face 20" in faces  # two wedges of 10 triangles


def test_hostile_names(blender: Any, tmp_path: Path) -> None:
    names = ["../../evil", "a/b", "A\\B", "nul", "Ünïcode 椅子", ".hidden", "x" * 60, "CON.txt"]
    things(blender, *names)
    assert render(blender, tmp_path / "d", "--category", "../up") == 0
    content = read_dataset(tmp_path / "d")
    assert sorted(entry["source"] for entry in content["objects"].values()) == sorted(names)
    folders = [key.casefold() for key in content["objects"]]
    assert len(set(folders)) == len(names)
    assert all(len(key.split("/")) == 2 and "." not in key for key in folders)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_the_scenes_own_cameras_and_lights(blender: Any, tmp_path: Path) -> None:
    import mathutils

    bpy = blender.bpy
    (item,) = things(blender, "One")
    for number, height in enumerate((2.0, 8.0)):
        data = bpy.data.cameras.new(f"Camera {number}")
        data.shift_x, data.lens = 0.05, 35
        camera = bpy.data.objects.new(data.name, data)
        away = mathutils.Vector((4.0, -5.0, height))
        camera.location = item.location + away
        camera.rotation_euler = away.to_track_quat("Z", "Y").to_euler()
        blender.scene.collection.objects.link(camera)
    light = bpy.data.objects.new("Red", bpy.data.lights.new("Red", "SUN"))
    light.data.color, light.data.energy = (1.0, 0.0, 0.0), 3.0
    light.location = (9, -9, 9)
    blender.scene.collection.objects.link(light)
    words = ["--sampler", "scene", "--light", "scene", "--objects", "One"]
    assert render(blender, tmp_path / "d", *words) == 0
    folder = tmp_path / "d/objects/One"
    assert len(list((folder / "image").iterdir())) == 2
    from PIL import Image

    pixels = np.array(Image.open(folder / "image/0000.png"))
    lit = pixels[pixels[..., 3] == 255]
    assert lit[:, 0].max() > 60
    assert lit[:, 1:3].max() < 5


# Twice, in parts, and interrupted -----------------------------------------------------------------


def test_shards_and_workers_give_the_same_bytes(blender: Any, tmp_path: Path) -> None:
    things(blender, "One", "Two", "Three")
    assert render(blender, tmp_path / "whole/d") == 0
    for shard in ("2/2", "1/2"):
        assert render(blender, tmp_path / "parts/d", "--shard", shard) == 0
    words = ["--workers", 2, "--recycle", 1, "--threads", 2]
    assert render(blender, tmp_path / "workers/d", *words) == 0
    whole = contents(tmp_path / "whole/d")
    assert len(whole) > 30
    assert contents(tmp_path / "parts/d") == whole
    assert contents(tmp_path / "workers/d") == whole


def test_a_second_run_does_only_what_is_missing_or_damaged(
    blender: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    things(blender, "One", "Two", "Three")
    dataset = tmp_path / "d"
    assert render(blender, dataset) == 0
    whole = contents(dataset)
    (dataset / "objects/One/object.json").unlink()
    (dataset / "objects/One/image/0001.png").unlink()
    with (dataset / "objects/Two/depth/0002.exr").open("r+b") as file:
        file.truncate(100)
    capfd.readouterr()
    assert render(blender, dataset, "--json") == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (said["rendered"], said["skipped"], said["views"]) == (2, 1, 6)
    assert contents(dataset) == whole
    assert render(blender, dataset, "--light", "uniform", "--views", 4) == 2
    error = capfd.readouterr().err
    assert 'light: "studio" there, "uniform" now; views: 3 there, 4 now' in error
    assert contents(dataset) == whole


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills processes as POSIX does")
def test_killed_and_resumed_gives_the_same_bytes(blender: Any, tmp_path: Path) -> None:
    """First the driver is killed, then a worker; neither leaves anything half done."""
    things(blender, *(f"Thing {number}" for number in range(6)))
    file = str(tmp_path / "scene.blend")
    blender.bpy.ops.wm.save_as_mainfile(filepath=file)
    slower = ["--views", 5, "--samples", 64]
    assert render(blender, tmp_path / "whole/d", *slower) == 0
    whole, dataset = contents(tmp_path / "whole/d"), tmp_path / "killed/d"
    words = ["render", "-o", dataset, *QUICK, *slower]
    command = blender.dataset_command._command(file, list(map(str, words)))
    command += ["--objects", *(f"Thing {number}" for number in range(6))]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert waited(lambda: len(list(dataset.glob("*/*/object.json"))) >= 2)
    driver.kill()
    driver.wait()
    assert waited(lambda: quiet(dataset))
    done = len(list(dataset.glob("*/*/object.json")))
    assert 2 <= done < 6
    kill_a_worker_in_mid_run(blender, dataset, command)
    failed = [r for r in records(dataset) if r["status"] == "failed"]
    assert len(failed) == 1
    assert "Blender ended while it was rendered (signal 9)" in failed[0]["reason"]
    assert render(blender, dataset, *slower) == 0
    assert contents(dataset) == whole


def quiet(folder: Path) -> bool:
    """Whether nothing is written any more."""
    before = contents(folder)
    time.sleep(1.0)
    return contents(folder) == before


def records(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in dataset.glob("*/*/object.json")]


def kill_a_worker_in_mid_run(blender: Any, dataset: Path, command: Sequence[str]) -> None:
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    known = len(records(dataset))
    assert waited(lambda: len(records(dataset)) > known)
    (worker,) = children(driver.pid)
    os.kill(worker, signal.SIGKILL)
    assert driver.wait(60) == 0


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


# Asset files --------------------------------------------------------------------------------------


@pytest.fixture
def assets(blender: Any, tmp_path: Path) -> Path:
    """The same wedge in every kind of file, and files that are of no use."""
    folder = tmp_path / "assets"
    (folder / "chair/office").mkdir(parents=True)
    (item,) = things(blender, "Wedge")
    item.location = (0, 0, 0)
    wm, file = blender.bpy.ops.wm, str(folder / "chair/wedge")
    blender.bpy.ops.export_scene.gltf(filepath=file + ".glb")
    wm.obj_export(filepath=file + ".obj")
    wm.ply_export(filepath=str(folder / "ply.ply"), forward_axis="Y", up_axis="Z")
    wm.stl_export(filepath=str(folder / "stl.stl"))
    wm.usd_export(filepath=str(folder / "usd.usdc"))
    blender.bpy.ops.export_scene.fbx(filepath=str(folder / "chair/office/a.fbx"))
    wm.save_as_mainfile(filepath=str(folder / "file.blend"), copy=True)
    mesh = item.data
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.polygons)} 0"]
    lines += ["{} {} {}".format(*(item.matrix_world @ v.co)) for v in mesh.vertices]
    lines += [" ".join(map(str, [len(p.vertices), *p.vertices])) for p in mesh.polygons]
    (folder / "off.off").write_text("\n".join(lines))
    for name, content in [
        ("broken.glb", b"glTF\x02"),
        ("empty.obj", b"# nothing\n"),
        ("old.3ds", b"MM"),
        ("notes.txt", b"not an asset"),
        (".hidden.glb", b""),
    ]:
        (folder / name).write_bytes(content)
    rows = ["file,category,licence,attribution,source,split,dup_group,up_axis"]
    rows += ["chair/wedge.glb,seat,CC0,Somebody,Somewhere,test,g1,y", "ply.ply,,,,,,,z"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    blender.bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, load_ui=False)
    return folder


def test_every_kind_of_asset_and_broken_ones(
    blender: Any, assets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "d"
    before = state(blender)
    assert render(blender, dataset, "--assets", assets, "--recycle", 5) == 0
    assert state(blender) == before
    said = capfd.readouterr().err
    objects = read_dataset(dataset)["objects"]
    failed = {key: entry["reason"] for key, entry in objects.items() if entry["reason"]}
    assert sorted(failed) == ["objects/broken", "objects/empty", "objects/old"]
    assert "of the kind .3ds are not imported" in failed["objects/old"]
    assert all(f"failed: {key}: {reason}" in said for key, reason in failed.items())
    assert str(tmp_path) not in json.dumps(failed)
    rendered = sorted(set(objects) - set(failed))
    assert rendered == [
        *("chair/office_a", "chair/wedge", "objects/file", "objects/off", "objects/ply"),
        *("objects/stl", "objects/usd", "seat/wedge"),
    ]
    entry = objects["seat/wedge"]
    found = [entry[name] for name in ("licence", "attribution", "split", "dup_group", "source")]
    assert found == ["CC0", "Somebody, Somewhere", "test", "g1", "chair/wedge.glb"]
    shapes = [record["descriptor"] for record in records(dataset) if record["descriptor"]]
    np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], (8, 7)), atol=2e-4)
    masks = [(dataset / key / "mesh.ply").read_bytes()[:2] for key in rendered]
    assert masks == [b"pl"] * 8
    upright = [np.ptp(vertices_of(dataset / key / "mesh.ply"), axis=0) for key in rendered]
    np.testing.assert_allclose(upright, np.broadcast_to(upright[0], (8, 3)), atol=1e-3)


def vertices_of(path: Path) -> np.ndarray:
    head, _, rest = path.read_bytes().partition(b"end_header\n")
    count = int(head.split(b"element vertex ")[1].split()[0])
    return np.frombuffer(rest, "<f4", 3 * count).reshape(-1, 3)


def test_an_asset_of_transparent_materials_alone_is_shown(blender: Any, tmp_path: Path) -> None:
    """Whole collections of published models have an alpha of 0 where they mean opaque."""
    (item,) = things(blender, "Ghost")
    material = blender.bpy.data.materials.new("Ghost")
    material.use_nodes = True
    shader = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Alpha"].default_value = 0.0
    item.data.materials.append(material)
    assert render(blender, tmp_path / "scene") == 1  # the artist's own is rendered as it is
    (reason,) = [entry["reason"] for entry in records(tmp_path / "scene")]
    assert "not in the picture, or wholly transparent" in reason
    blender.bpy.ops.export_scene.gltf(filepath=str(tmp_path / "ghost.glb"))
    assert render(blender, tmp_path / "asset", "--assets", tmp_path / "ghost.glb") == 0
    (record,) = records(tmp_path / "asset")
    assert "rendered opaque" in record["problems"][0]


def test_a_hung_process_is_ended(
    blender: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    things(blender, "One")
    endless = ["--resolution", 2048, "--samples", 4096, "--patience", 2]
    assert render(blender, tmp_path / "d", *endless) == 1
    assert "it was stopped because it hung" in capfd.readouterr().err


def test_the_panel_in_every_state(blender: Any, tmp_path: Path) -> None:
    from tests.blender_addon import test_panels

    def drawn() -> str:
        classes = SimpleNamespace(
            bpy=blender.bpy, panels=SimpleNamespace(CLASSES=blender.dataset_panel.CLASSES)
        )
        return test_panels.drawn(classes)

    assert "choose the folder of the dataset" in drawn().lower()
    settings = by_panel(blender, tmp_path / "d")
    for source in ("SELECTION", "COLLECTION", "ASSETS"):
        for sampler in blender.render_settings.SAMPLERS:
            for engine in blender.render_settings.ENGINES:
                settings.source, settings.sampler, settings.engine = source, sampler, engine
                assert "Render Dataset" in drawn()
    settings.source, settings.sampler, settings.engine = "SELECTION", "ring", "cycles"
    run = blender.dataset_run.run
    things(blender, "One")
    add_mesh(blender, "Point", [(1, 1, 1)] * 3, [(0, 1, 2)]).select_set(True)
    run.start(blender.bpy.context)
    assert "0 of 2" in drawn()
    assert waited(lambda: not run.poll())
    assert "1 rendered (3 views" in drawn()
    assert "Failed: objects/Point: 'Point' has no size" in drawn()
    settings.light = "uniform"
    assert blender.ops.render_dataset.poll()
    with pytest.raises(RuntimeError, match="other settings"):  # as scripts are told of errors
        blender.ops.render_dataset()
    assert "other settings" in drawn()


def test_an_asset_alone_and_a_list(
    blender: Any, assets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert render(blender, tmp_path / "d", "--assets", assets, "--list") == 0
    listed = [entry["key"] for entry in json.loads(capfd.readouterr().out.splitlines()[-1])]
    assert listed == sorted(listed)
    assert len(listed) == 11
    assert not (tmp_path / "d").exists()
    words = ["--assets", assets, "--only", "objects/stl", "objects/usd"]
    assert render(blender, tmp_path / "d", *words) == 0
    assert sorted(read_dataset(tmp_path / "d")["objects"]) == ["objects/stl", "objects/usd"]
    assert render(blender, tmp_path / "e", "--assets", assets / "stl.stl") == 0
    assert render(blender, tmp_path / "f", "--assets", assets / "broken.glb") == 1
    assert "no object could be rendered" in capfd.readouterr().err


# Wrong input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing is selected that has faces"),
        (["--objects", "Nobody"], "has no object 'Nobody'"),
        (["--collection", "Nothing"], "there is no collection 'Nothing'"),
        (["--assets", "no/such/folder"], "does not exist"),
        (["--assets", "{empty}"], "has no asset files"),
        (["--assets", __file__], "is of no kind that is imported"),
        (["--objects", "A", "--assets", "."], "not allowed with"),
        (["--shard", "3/2"], "a shard is I/N"),
        (["--workers", "0"], "--workers must be 1 or more"),
        (["--resolution", "5"], "resolution must be between 16 and 8192"),
        (["--sampler", "cube"], "invalid choice"),
        (["-o", "{other}"], "exists and is no dataset"),
        (["-o", "{file}/d"], "cannot make the folder"),
    ],
)
def test_wrong_words_are_refused(
    blender: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    if any(word.startswith(("-o", "--shard")) for word in words):
        things(blender, "One")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/holiday.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    places = {name: str(tmp_path / name) for name in ("empty", "other", "file")}
    assert render(blender, tmp_path / "d", *(word.format(**places) for word in words)) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_objects_that_cannot_be_rendered_are_listed(
    blender: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    things(blender, "Good")
    add_mesh(blender, "Faceless", [(0, 0, 0), (1, 0, 0)], [])
    add_mesh(blender, "Point", [(1, 1, 1)] * 3, [(0, 1, 2)])
    names = ["--objects", "Good", "Faceless", "Point"]
    assert render(blender, tmp_path / "d", *names) == 0
    said = capfd.readouterr().err
    assert "failed: objects/Faceless: 'Faceless' has no faces" in said
    assert "failed: objects/Point: 'Point' has no size" in said
    statuses = {k: v["status"] for k, v in read_dataset(tmp_path / "d")["objects"].items()}
    assert statuses == {
        "objects/Faceless": "failed",
        "objects/Good": "rendered",
        "objects/Point": "failed",
    }
    alone = ["--objects", "Faceless"]
    assert render(blender, tmp_path / "e", *alone) == 1
