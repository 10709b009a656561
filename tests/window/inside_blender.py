"""What ``take_pictures.py`` runs inside a windowed Blender; each step waits for a real redraw.

``blender … --python inside_blender.py -- ARCHIVE PYTHON PICTURES DRAWINGS``
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from math import pi
from pathlib import Path
from typing import Any

import numpy as np

bpy: Any = importlib.import_module("bpy")
MODULE = "bl_ext.user_default.image_to_mesh"
ARCHIVE, PYTHON, PICTURES, DRAWINGS = sys.argv[sys.argv.index("--") + 1 :]
TICK = 0.2  # seconds
BUTTON, CANCEL = 50, 82  # pixels below the sidebar's upper edge
HEADERS = (419, 251, 115)  # of Result, Method and References, as they are at first
METHOD, DATASET, RENDER = 141, 219, 325  # headers and a button, when those three are closed
WIDER = 70  # pixels

Steps = Iterator[None]


# The window ---------------------------------------------------------------------------------------


def view() -> tuple[Any, Any, dict[str, Any]]:
    """The window, its 3D view, and that one's regions."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area, {region.type: region for region in area.regions}


def on_screen(region: Any, x: float, y_from_top: float) -> tuple[int, int]:
    """X's coordinates of a place in a region."""
    return int(region.x + x), int(view()[0].height - region.y - region.height + y_from_top)


def hand(*words: str | int) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)


def click(y_from_top: int) -> Steps:
    """A real click in the sidebar's middle."""
    sidebar = view()[2]["UI"]
    hand("mousemove", *on_screen(sidebar, sidebar.width / 2 - 10, y_from_top))
    yield
    hand("click", 1)
    yield
    rest()


def rest() -> None:
    """Take the mouse to where it shines on nothing."""
    hand("mousemove", *on_screen(view()[2]["WINDOW"], 300, 700))


def widen_sidebar() -> Steps:
    """By dragging its edge, as its width cannot be set."""
    x, y = on_screen(view()[2]["UI"], -2, 500)
    for words in (
        ("mousemove", x, y),
        ("mousedown", 1),
        *(("mousemove", x - step, y) for step in (10, WIDER // 2, WIDER)),
        ("mouseup", 1),
    ):
        hand(*words)
        yield
    rest()


def photograph(name: str, sidebar_only: bool = False) -> Steps:
    """Save what X shows of the 3D view, or of its sidebar."""
    _, area, regions = view()
    area.tag_redraw()
    yield
    yield
    region = regions["UI"] if sidebar_only else area
    x, y = on_screen(region, 0, 0)
    crop = f"{region.width}x{region.height}+{x}+{y}"
    file = str(Path(PICTURES) / f"panel-{name}.png")
    small = ("-strip", "+dither", "-colors", "200", f"png8:{file}")
    words = ["-window", "root", "-crop", crop, "+repage", *small]
    subprocess.run(["import", *words], check=True)
    print("PICTURE", file, flush=True)


def pixels() -> np.ndarray:
    """What X shows of the 3D view's main region, ``[height, width, 3]``."""
    region = view()[2]["WINDOW"]
    x, y = on_screen(region, 0, 0)
    crop = f"{region.width}x{region.height}+{x}+{y}"
    words = ["-window", "root", "-crop", crop, "+repage", "-depth", "8", "rgb:-"]
    done = subprocess.run(["import", *words], check=True, capture_output=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(region.height, region.width, 3)


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Steps:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it never happened: {what}"
        yield


# The scene ----------------------------------------------------------------------------------------


def addon(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.blender_addon.{name}")


def session() -> Any:
    return addon("session").session


def stand_drawings() -> None:
    """Three drawings around the origin, seen from in front, from the right and from above."""
    for name, rotation, location in (
        ("front", (pi / 2, 0, 0), (0, 1.3, 0)),
        ("right", (pi / 2, 0, pi / 2), (-1.3, 0, 0)),
        ("top", (0, 0, 0), (0, 0, -1.1)),
    ):
        item = bpy.data.objects.new(name.title(), None)
        item.empty_display_type, item.empty_display_size = "IMAGE", 2.0
        item.data = bpy.data.images.load(str(Path(DRAWINGS) / f"{name}.png"))
        item.location, item.rotation_euler = location, rotation
        bpy.context.collection.objects.link(item)
        item.select_set(True)
        bpy.context.view_layer.objects.active = item
    bpy.ops.ed.undo_push(message="Add drawings")


def have_thumbnails() -> bool:
    pictures = [item.data.preview for item in bpy.data.objects]
    return all(picture is not None and any(picture.icon_pixels) for picture in pictures)


def look_at_scene() -> None:
    _, area, _ = view()
    space = area.spaces.active
    space.shading.color_type = "TEXTURE"
    looking = space.region_3d
    looking.view_rotation = (0.79, 0.44, 0.21, 0.37)
    looking.view_distance = 6.5
    looking.view_location = (0.33, 0.38, 0.0)  # a little to the right: the sidebar lies there


def empties_alone_are_selected() -> None:
    for item in bpy.data.objects:
        item.select_set(item.type == "EMPTY")


def result_is_seen(item: Any) -> Steps:
    """It changes the picture just where its vertices are seen."""
    project = importlib.import_module("bpy_extras.view3d_utils").location_3d_to_region_2d
    _, area, regions = view()
    item.select_set(False)
    yield from until_drawn()
    shown = pixels().astype(int)
    item.hide_set(True)
    yield from until_drawn()
    changed = (np.abs(pixels() - shown) > 12).any(axis=-1)
    item.hide_set(False)
    item.select_set(True)
    region, looking = regions["WINDOW"], area.spaces.active.region_3d
    places = np.array(
        [project(region, looking, item.matrix_world @ v.co) for v in item.data.vertices]
    )
    places[:, 1] = region.height - places[:, 1]
    left = regions["UI"].x - region.x  # the sidebar and the words on top change too
    low, high = places.min(axis=0), places.max(axis=0)
    found = np.argwhere(changed[100:, :left])[:, ::-1] + [0, 100]
    np.testing.assert_allclose(found.min(axis=0), low, atol=8)
    np.testing.assert_allclose(found.max(axis=0), high, atol=8)
    assert len(found) > 0.25 * np.prod(high - low)


def until_drawn() -> Steps:
    view()[1].tag_redraw()
    yield
    yield


# The story ----------------------------------------------------------------------------------------


def story() -> Steps:
    yield from open_the_panel()
    yield from photograph("no-backend", sidebar_only=True)
    bpy.context.preferences.addons[MODULE].preferences.python = PYTHON
    check = addon("preferences").WORK
    yield from until(lambda: check.check is None, "the Python is checked")
    # Long enough for a photograph; its own undo step, as when the artist moves the slider.
    bpy.context.scene.image_to_mesh.visual_hull.resolution = 128
    stand_drawings()
    yield from until(have_thumbnails, "the drawings' thumbnails")
    yield from photograph("ready")
    yield from click_and_wait_for_the_mesh()
    yield from cancel()
    yield from pull_the_plug()
    yield from render_a_dataset()
    yield from add_a_model()
    yield from quit_in_mid_job()


def open_the_panel() -> Steps:
    bpy.ops.extensions.package_install_files(
        filepath=ARCHIVE, repo="user_default", enable_on_install=True
    )
    for item in list(bpy.data.objects):
        bpy.data.objects.remove(item)
    yield
    window, area, _ = view()
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.screen.screen_full_area(use_hide_panels=False)
    yield
    yield
    view()[1].spaces.active.show_region_ui = True
    yield
    yield
    view()[2]["UI"].active_panel_category = "Image to Mesh"  # only possible once it was drawn
    yield
    yield from widen_sidebar()
    look_at_scene()


def click_and_wait_for_the_preview(backend: str) -> Steps:
    begin = time.monotonic()
    yield from click(BUTTON)
    assert session().busy, "the click did not start a job"
    yield from until(lambda: session().job.preview or not session().busy, "a preview")
    assert session().job.preview
    print(f"PREVIEW after {time.monotonic() - begin:.1f} s, {backend} backend", flush=True)


def click_and_wait_for_the_mesh() -> Steps:
    before = set(bpy.data.objects)
    yield from click_and_wait_for_the_preview("cold")
    overlays = addon("overlays")
    yield from until(lambda: session().job.fraction > 0.4 or not session().busy, "progress")
    assert session().busy, "it was done before it could be photographed"
    assert overlays.preview_is_shown()
    yield from photograph("running")
    yield from until(lambda: not session().busy, "the mesh", 120)
    yield
    [item] = set(bpy.data.objects) - before
    assert item.type == "MESH"
    assert bpy.context.selected_objects == [item] == [bpy.context.active_object]
    yield from result_is_seen(item)
    yield from photograph("done")
    bpy.context.scene.image_to_mesh.show_overlay = True
    yield from photograph("agreement")
    bpy.context.scene.image_to_mesh.show_overlay = False
    bpy.ops.ed.undo()
    yield
    assert not [item for item in bpy.data.objects if item.type == "MESH"], "one undo is enough"


def cancel() -> Steps:
    empties_alone_are_selected()
    yield from click_and_wait_for_the_preview("warm")
    begin = time.monotonic()
    yield from click(CANCEL)
    yield from until(lambda: not session().busy, "the end of a cancelled job", 3)
    print(f"CANCELLED after {time.monotonic() - begin:.1f} s", flush=True)
    assert session().job.state == "cancelled"
    assert len(bpy.data.objects) == 3


def pull_the_plug() -> Steps:
    empties_alone_are_selected()
    yield from click(BUTTON)
    yield from until(lambda: session().job.fraction > 0.1, "progress")
    os.kill(session().backend.hello.process, signal.SIGSEGV)
    yield from until(lambda: not session().busy, "the end of the job")
    yield
    assert session().failure is not None
    yield from photograph("failed", sidebar_only=True)
    assert len(bpy.data.objects) == 3


def render_a_dataset() -> Steps:
    """Five selected objects, a click, and what comes out is sound."""
    session().failure, session().notes = None, []
    empties_alone_are_selected()
    yield
    for y_from_top in (*HEADERS, DATASET):
        yield from click(y_from_top)
    empties = list(bpy.data.objects)
    for empty in empties:
        empty.hide_set(True)
    for number in range(5):
        bpy.ops.mesh.primitive_monkey_add(size=0.5, location=(number - 2.0, 0.0, 0.3))
        item = bpy.context.active_object
        item.name, item.rotation_euler = f"Head {number}", (0.0, 0.0, number)
    bpy.ops.object.select_pattern(pattern="Head *", extend=False)
    settings = bpy.context.scene.image_to_mesh_dataset
    settings.output = str(Path(PICTURES) / "dataset")
    settings.resolution, settings.views = 64, 24
    run = addon("dataset_run").run
    yield
    yield from photograph("dataset-ready")
    yield from click(RENDER)
    assert run.busy, "the click did not start the rendering"
    yield from until(lambda: (run.progress and run.progress.done) or not run.busy, "progress")
    assert run.busy, "it was done before it could be photographed"
    yield from photograph("dataset-running")
    yield from until(lambda: not run.busy, "the dataset", 120)
    yield
    yield from photograph("dataset-done")
    assert not run.failed, run.message
    assert run.progress.rendered == 5, run.progress.failures
    words = [PYTHON, "-m", "training", "check", settings.output]
    subprocess.run(words, check=True)
    for item in set(bpy.data.objects) - set(empties):
        bpy.data.objects.remove(item)
    for empty in empties:
        empty.hide_set(False)


def add_a_model() -> Steps:
    """A trained model joins the list; what it holds matters only to the backend."""
    card = {
        "method": "drwr_single_image",
        "label": "My chairs",
        "category": "chair",
        "steps": 60000,
    }
    tensor = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": {"model_card": json.dumps(card)}, "bias": tensor}).encode()
    file = Path(PICTURES) / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    empties_alone_are_selected()
    bpy.data.objects["Right"].select_set(False)
    bpy.data.objects["Top"].select_set(False)
    bpy.ops.image_to_mesh.add_model(filepath=str(file))
    yield from click(METHOD)
    yield
    yield from photograph("model")
    settings = bpy.context.scene.image_to_mesh
    assert settings.method == "drwr_single_image"
    bpy.ops.image_to_mesh.remove_model()
    settings.method = "visual_hull"


def quit_in_mid_job() -> Steps:
    empties_alone_are_selected()
    yield from click(BUTTON)
    yield from until(lambda: session().job.fraction > 0.1, "progress")
    print("WORKER", session().backend.hello.process)
    print("ALL SEEN", flush=True)
    bpy.ops.wm.quit_blender()


def tick(steps: Steps) -> float | None:
    try:
        next(steps)
    except StopIteration:
        return None
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    return TICK


def main() -> None:
    settings = bpy.context.preferences
    settings.view.show_splash = settings.use_preferences_save = False
    settings.filepaths.use_auto_save_temporary_files = False
    steps = story()
    bpy.app.timers.register(lambda: tick(steps), first_interval=1.5, persistent=True)


main()
