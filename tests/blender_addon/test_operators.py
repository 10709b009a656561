"""The button and its neighbours, through the real backend."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.camera_files import read_cameras
from backend.images import image_size
from tests.blender_addon.conftest import HALF_EDGES, MIDDLE, MODULE, ROOT
from tests.child_programs import is_alive

pytestmark = pytest.mark.blender

QUICKSTART = ROOT / "examples/quickstart"


def prepare(blender: Any, **words: Any) -> None:
    """A small and quick job."""
    settings = blender.settings
    settings.quality, settings.faces, settings.texture = "draft", 2000, "vertex"
    settings.visual_hull.resolution, settings.visual_hull.fairness = 32, 0.0
    for name, value in words.items():
        setattr(settings, name, value)


def vertices(item: Any) -> np.ndarray:
    return np.array([item.matrix_world @ v.co for v in item.data.vertices])


def until(done: Callable[[], bool], blender: Any, seconds: float = 60.0) -> None:
    """Let time pass as in a window."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it took too long"
        blender.current.tick()
        time.sleep(0.02)


def start(blender: Any) -> Any:
    """What the button does when it is clicked."""
    session = blender.session
    return blender.current.start(session.order_of_scene(blender.bpy.context))


def stage_reached(blender: Any) -> bool:
    return blender.current.job.fraction >= 0.1 or not blender.current.busy


# The job


def test_the_mesh_stands_where_the_references_stand(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender, object_name="Egg", seed=5)
    before = set(blender.bpy.data.objects)
    assert blender.ops.reconstruct() == {"FINISHED"}
    item = blender.bpy.context.active_object
    assert set(blender.bpy.data.objects) - before == {item}
    assert blender.bpy.context.selected_objects == [item]
    assert item.name == "Egg"
    low, high = vertices(item).min(axis=0), vertices(item).max(axis=0)
    np.testing.assert_allclose((low + high) / 2, MIDDLE, atol=0.02)
    np.testing.assert_allclose((high - low) / 2, HALF_EDGES, atol=0.025)
    assert item.data.color_attributes["Color"].domain == "POINT"
    stored = item["image_to_mesh"]
    assert (stored["method"], stored["quality"], stored["seed"]) == ("visual_hull", "draft", 5)
    params = json.loads(stored["settings"])["params"]
    assert params == {"resolution": 32, "fairness": 0.0, "align": "extents"}
    hashes = json.loads(stored["input_sha256"])
    assert {"front.png", "right.png", "top.png"} <= hashes.keys()
    agreement = json.loads(stored["agreement"])
    assert list(agreement) == ["Front", "Right", "Top"]
    assert min(agreement.values()) > 0.95
    assert all(Path(file).is_file() for file in json.loads(stored["overlays"]).values())
    assert blender.current.failure is None


def test_recreate_gives_the_same_vertices(blender: Any, drawings: list[Path]) -> None:
    empties = blender.stand_drawings(drawings)
    prepare(blender)
    blender.ops.reconstruct()
    first = blender.bpy.context.active_object
    for empty in empties:
        blender.bpy.data.objects.remove(empty)
    prepare(blender, faces=100, quality="high", texture="none")
    assert blender.ops.recreate() == {"FINISHED"}
    second = blender.bpy.context.active_object
    assert second != first
    np.testing.assert_array_equal(vertices(second), vertices(first))
    np.testing.assert_array_equal(
        [p.vertices[:] for p in second.data.polygons], [p.vertices[:] for p in first.data.polygons]
    )
    assert not [note for note in blender.current.notes if "changed" in note]


def test_recreate_tells_that_a_picture_has_changed(
    blender: Any, drawings: list[Path], tmp_path: Path
) -> None:
    copies = [tmp_path / path.name for path in drawings]
    for path, copy in zip(drawings, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    blender.stand_drawings(copies)
    prepare(blender)
    blender.ops.reconstruct()
    blender.bpy.data.images["top.png"].pixels[0] = 0.9  # painted on
    blender.bpy.data.images["top.png"].save()
    assert blender.ops.recreate() == {"FINISHED"}
    changed = [note for note in blender.current.notes if "changed" in note]
    assert changed == ["top.png has changed since; the mesh is not quite the same."]


def test_one_undo_removes_the_mesh_and_nothing_else(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    blender.bpy.ops.ed.undo_push(message="before")
    assert blender.ops.reconstruct("EXEC_DEFAULT", True) == {"FINISHED"}
    assert len(blender.bpy.data.objects) == 4
    blender.bpy.ops.ed.undo()
    assert {item.name for item in blender.bpy.data.objects} == {"Front", "Right", "Top"}
    assert not blender.bpy.data.meshes
    assert blender.settings.faces == 2000
    blender.bpy.ops.ed.redo()
    assert len(blender.bpy.data.objects) == 4


def test_the_list_makes_the_same_mesh_as_the_selection(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    blender.ops.reconstruct()
    first = vertices(blender.bpy.context.active_object)
    for name in ("Front", "Right", "Top"):
        blender.scene.objects[name].select_set(True)
    assert blender.ops.add_empties() == {"FINISHED"}
    assert len(blender.settings.references) == 3
    assert blender.ops.add_empties() == {"CANCELLED"}
    blender.ops.reconstruct()
    np.testing.assert_array_equal(vertices(blender.bpy.context.active_object), first)


def test_drawings_with_named_views(blender: Any, drawings: list[Path]) -> None:
    files = [{"name": path.name} for path in drawings]
    blender.ops.add_files(directory=str(drawings[0].parent), files=files)
    assert [r.view for r in blender.settings.references] == ["FRONT", "RIGHT", "TOP"]
    prepare(blender, texture="uv")
    assert blender.ops.reconstruct() == {"FINISHED"}
    item = blender.bpy.context.active_object
    low, high = vertices(item).min(axis=0), vertices(item).max(axis=0)
    np.testing.assert_allclose((low + high) / 2, 0, atol=0.04)
    np.testing.assert_allclose(high - low, 2 * HALF_EDGES / HALF_EDGES.max(), atol=0.06)
    assert item.data.uv_layers
    # The backend tells where the drawings stand, so that agreement can be drawn over them.
    seen = blender.reference_views.views_from_json(item["image_to_mesh"]["seen_from"])
    for view in seen:
        pixels, _ = view.camera.project(vertices(item))
        middle = (pixels.min(axis=0) + pixels.max(axis=0)) / 2
        np.testing.assert_allclose(middle, [64, 64], atol=2)


def test_a_folder_with_cameras(blender: Any) -> None:
    assert blender.ops.add_folder(directory=str(QUICKSTART)) == {"FINISHED"}
    context = blender.bpy.context
    views = blender.reference_views.views_of_scene(
        blender.settings.references, context.scene, context.view_layer, 2
    )
    expected = read_cameras(QUICKSTART / "transforms.json", (), image_size).images
    assert [Path(view.file).name for view in views] == [item.image.name for item in expected]
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (5, 3))
    for view, item in zip(views, expected, strict=True):
        np.testing.assert_allclose(
            view.camera.project(points)[0], item.camera.project(points)[0], atol=1e-6
        )
    with pytest.raises(RuntimeError, match="has no camera file"):
        blender.ops.add_folder(directory=str(ROOT / "examples/drawings"))


# What comes between


def test_cancel_leaves_nothing(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender, quality="high")
    blender.settings.visual_hull.resolution = 300
    assert not blender.ops.cancel.poll()
    job = start(blender)
    folder = Path(job.request.output).parent
    until(lambda: stage_reached(blender), blender)
    assert not blender.ops.reconstruct.poll()
    begin = time.monotonic()
    assert blender.ops.cancel() == {"FINISHED"}
    until(lambda: not blender.current.busy, blender)
    assert time.monotonic() - begin < 1.5
    assert job.state == "cancelled"
    assert blender.current.finish() is None
    assert blender.current.failure is None
    assert not folder.exists()
    assert len(blender.bpy.data.objects) == 3


def test_another_file_is_loaded_meanwhile(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    start(blender)
    blender.current.tick()
    blender.bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, load_ui=False)
    until(lambda: not blender.current.busy, blender)
    assert blender.current.finish() is None
    assert not blender.bpy.data.objects
    blender.stand_drawings(drawings)
    prepare(blender)
    assert blender.ops.reconstruct() == {"FINISHED"}


def test_references_and_scene_vanish_meanwhile(blender: Any, drawings: list[Path]) -> None:
    empties = blender.stand_drawings(drawings)
    prepare(blender)
    blender.bpy.ops.ed.undo_push(message="before")
    start(blender)
    until(lambda: stage_reached(blender), blender)
    for empty in empties:
        blender.bpy.data.objects.remove(empty)
    old = blender.scene
    blender.bpy.context.window.scene = blender.bpy.data.scenes.new("Another")
    blender.bpy.data.scenes.remove(old)
    until(lambda: not blender.current.busy, blender)
    item = blender.current.finish()
    assert item is not None
    assert list(blender.bpy.data.scenes["Another"].objects) == [item]


def test_undo_is_pressed_meanwhile(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    blender.bpy.ops.ed.undo_push(message="before")
    blender.scene.objects["Top"].location = (9, 9, 9)
    blender.bpy.ops.ed.undo_push(message="moved")
    blender.scene.objects["Top"].location = MIDDLE - [0, 0, 1]
    start(blender)
    blender.bpy.ops.ed.undo()
    until(lambda: not blender.current.busy, blender)
    item = blender.current.finish()
    np.testing.assert_allclose(vertices(item).mean(axis=0), MIDDLE, atol=0.05)


def test_the_backend_is_killed_meanwhile(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    start(blender)
    until(lambda: blender.current.backend.hello is not None, blender)
    os.kill(blender.current.backend.hello.process, 15)
    until(lambda: not blender.current.busy, blender)
    assert blender.current.finish() is None
    assert blender.current.failure.message
    assert blender.ops.reconstruct() == {"FINISHED"}
    assert blender.current.failure is None


def test_restart_and_switching_off_end_the_job(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    prepare(blender)
    start(blender)
    until(lambda: stage_reached(blender), blender)
    old = blender.current.backend
    assert blender.ops.restart_backend() == {"FINISHED"}
    assert not blender.current.busy
    assert not old.running
    start(blender)
    until(lambda: stage_reached(blender), blender)
    process = blender.current.backend.hello.process
    blender.bpy.ops.preferences.addon_disable(module=MODULE)
    try:
        assert not blender.current.busy
        assert not is_alive(process)
    finally:
        blender.bpy.ops.preferences.addon_enable(module=MODULE)
    blender.preferences.preferences().python = sys.executable
    assert blender.ops.reconstruct() == {"FINISHED"}


# What is wrong


def test_a_missing_backend_is_named(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    blender.preferences.preferences().python = "/no/such/python"
    blender.current.stop_backend(1.0)
    with pytest.raises(RuntimeError, match="no Python at"):
        blender.ops.reconstruct()
    assert blender.current.failure.kind == "library"
    assert len(blender.bpy.data.objects) == 3


def test_too_few_references_keep_the_button_grey(blender: Any, drawings: list[Path]) -> None:
    assert not blender.ops.reconstruct.poll()
    blender.image_empty("Front", drawings[0])
    assert not blender.ops.reconstruct.poll()
    assert "needs 2 references or more, got 1" in blender.session.why_not_now(blender.bpy.context)
    blender.image_empty("Right", drawings[1])
    assert blender.ops.reconstruct.poll()


def test_what_the_backend_refuses_reaches_the_artist(blender: Any, drawings: list[Path]) -> None:
    for name in ("Front", "Right"):  # one direction twice: depth is unknown
        blender.image_empty(name, drawings[0])
    prepare(blender)
    with pytest.raises(RuntimeError, match="look along one line"):
        blender.ops.reconstruct()
    assert blender.current.failure.kind == "input"


# The list


def test_references_are_moved_and_removed(blender: Any, drawings: list[Path]) -> None:
    listed = blender.settings.references
    assert not blender.ops.remove_reference.poll()
    for path in drawings:
        blender.ops.add_files(filepath=str(path))
    assert [r.name for r in listed] == ["front", "right", "top"]
    assert blender.settings.active_reference == 2
    blender.ops.move_reference(direction="UP")
    assert [r.name for r in listed] == ["front", "top", "right"]
    assert blender.ops.move_reference(direction="UP") == {"FINISHED"}
    assert blender.ops.move_reference(direction="UP") == {"CANCELLED"}
    blender.ops.remove_reference()
    assert [r.name for r in listed] == ["front", "right"]
    blender.ops.remove_reference(everything=True)
    assert not len(listed)
    with pytest.raises(RuntimeError, match="missing or no image"):
        blender.ops.add_files(filepath="/no/such/picture.png")


def test_a_camera_with_its_background_image(blender: Any, drawings: list[Path]) -> None:
    data = blender.bpy.data.cameras.new("Camera")
    item = blender.bpy.data.objects.new("Camera", data)
    blender.scene.collection.objects.link(item)
    item.select_set(True)
    image = blender.bpy.data.images.load(str(drawings[0]))
    data.background_images.new().image = image
    assert blender.ops.add_camera() == {"FINISHED"}
    [reference] = blender.settings.references
    assert reference.picture() == image
    view = blender.reference_views.view_of_reference(reference, blender.scene)
    assert view.camera.image_size == (128, 128)
    data.background_images[0].offset = (0.1, 0)
    with pytest.raises(ValueError, match="background image of the camera 'Camera' does not fill"):
        blender.reference_views.view_of_reference(reference, blender.scene)


def test_a_mask_is_found_and_shown(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    blender.bpy.context.view_layer.update()
    blender.ops.add_empties()
    assert blender.ops.show_mask(index=0) == {"FINISHED"}
    shown = blender.overlays._shown
    until(lambda: "Front" in shown.masks, blender)
    [quad] = shown.masks["Front"]
    alpha = quad.pixels[..., 3]
    assert alpha[64, 64] == 0
    assert alpha[2, 2] > 100
    expected = (MIDDLE + [0, 3, 0]) + np.array([[-0.75, 0, -0.75], [0.75, 0, 0.75]])
    np.testing.assert_allclose(quad.corners[[0, 2]], expected, atol=1e-5)
    blender.ops.show_mask(index=0)
    assert not shown.masks


# Parameters


def test_parameters_follow_the_quality_until_they_are_changed(blender: Any) -> None:
    settings = blender.settings
    group = settings.visual_hull
    settings.quality = "draft"
    assert group.resolution == 64
    settings.quality = "high"
    assert group.resolution == 160
    assert group.changed() == {}
    group.resolution = 100
    settings.quality = "draft"
    assert group.resolution == 100
    assert group.changed() == {"resolution": 100}
    blender.ops.reset_parameter(parameter="resolution")
    assert group.resolution == 64
    settings.drwr.loss = "paper"
    assert settings.drwr.changed() == {"loss": "paper"}
    group.resolution = 5
    assert group.resolution == 16
