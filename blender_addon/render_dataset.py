"""Objects of the scene, or asset files, to the objects of a dataset, one after another.

:func:`render_items` works in this Blender and leaves its file as it was; ``render_workers`` spreads
items over several. An object is done when its record says so (see ``backend.dataset_files``), so a
second run renders only what is missing, damaged, or failed.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import bpy

from ..backend.asset_files import list_assets
from ..backend.camera_files import PosedImage, write_cameras_npz, write_transforms
from ..backend.camera_samplers import sample_cameras
from ..backend.dataset_files import (
    DEFAULT_CATEGORY,
    ObjectRecord,
    fail_object,
    finish_object,
    is_rendered,
    object_seed,
    safe_names,
    settings_hash,
    shape_descriptor,
    start_object,
)
from ..backend.errors import InputError, ReconstructionError
from ..backend.files import write_files
from ..backend.lazy_numpy import np
from ..backend.views import Camera
from .reference_views import camera_of_object
from .render_capture import (
    ASSET_SUFFIXES,
    Captured,
    capture,
    import_asset,
    lamps,
    leaving_no_trace,
    may_have_faces,
    show_invisible,
    temporary_scene,
    with_descendants,
)
from .render_settings import RenderSettings
from .render_views import SelfTest, Studio, mesh_content, view_files


@dataclass(frozen=True)
class Item:
    """One object of a dataset, before it is rendered.

    Attributes:
        key: ``<category>/<object>``.
        source: The asset's path in its folder, or the name in the scene.
        objects: Names of the scene's objects that it consists of, with what hangs on them.
        asset: The asset file's absolute path; empty for objects of the scene.
        up_axis: Of the asset: "y", "z" or empty.
        licence: Of the asset.
        attribution: Of the asset.
        split: Of the asset.
        dup_group: Of the asset.
        refused: Why it cannot be rendered, if that is known already.
    """

    key: str
    source: str
    objects: tuple[str, ...] = ()
    asset: str = ""
    up_axis: str = ""
    licence: str = ""
    attribution: str = ""
    split: str = ""
    dup_group: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Step:
    """What has just been done for an item.

    Attributes:
        key: The item's.
        event: "started", "view" (one more), "rendered", "skipped" (it was done before) or "failed".
        views: How many views it has; 0 while that is not known.
        reason: Why it failed.
        problems: What the user should know about it.
    """

    key: str
    event: Literal["started", "view", "rendered", "skipped", "failed"]
    views: int = 0
    reason: str = ""
    problems: tuple[str, ...] = ()


def all_settings(settings: RenderSettings) -> dict[str, Any]:
    """What ``dataset.json`` holds: the settings, and the Blender whose pictures they are."""
    return asdict(settings) | {"blender": "{}.{}".format(*bpy.app.version)}


# Which items there are ----------------------------------------------------------------------------


def items_of_objects(roots: Iterable[bpy.types.Object], category: str = "") -> list[Item]:
    """Each object, with all that hangs on it, is an item."""
    named = [(item.name, (item.name,)) for item in roots]
    return _scene_items(named, category)


def items_of_selection(layer: bpy.types.ViewLayer, category: str = "") -> list[Item]:
    """The selected objects that can show faces; not those that hang on another selected one.

    Raises:
        InputError: There are none.
    """
    layer.update()  # else what a script has just removed is still there, as None
    selected = [item for item in layer.objects if item.select_get(view_layer=layer)]
    others = set(selected)
    roots = [o for o in selected if not others & set(_ancestors(o)) and may_have_faces(o)]
    if not roots:
        raise InputError("nothing is selected that has faces; select the objects to render.")
    return items_of_objects(roots, category)


def _ancestors(item: bpy.types.Object) -> Iterator[bpy.types.Object]:
    while item.parent is not None:
        item = item.parent
        yield item


def items_of_names(scene: bpy.types.Scene, names: Sequence[str], category: str = "") -> list[Item]:
    """The objects of these names.

    Raises:
        InputError: One is not in the scene.
    """
    for name in names:
        if name not in scene.objects:
            raise InputError(f"the scene '{scene.name}' has no object '{name}'.")
    return items_of_objects([scene.objects[name] for name in dict.fromkeys(names)], category)


def items_of_collection(collection: bpy.types.Collection, category: str = "") -> list[Item]:
    """Each object of a collection that hangs on no other of it, and each collection in it.

    Raises:
        InputError: It has no objects with faces.
    """
    own = set(collection.objects)
    roots = [o for o in collection.objects if o.parent not in own and may_have_faces(o)]
    named: list[tuple[str, tuple[str, ...]]] = [(item.name, (item.name,)) for item in roots]
    for child in collection.children:
        objects = [item for item in child.all_objects if may_have_faces(item)]
        if objects:
            named.append((child.name, tuple(item.name for item in objects)))
    if not named:
        raise InputError(f"the collection '{collection.name}' has no objects with faces.")
    return _scene_items(named, category)


def _scene_items(named: Iterable[tuple[str, tuple[str, ...]]], category: str) -> list[Item]:
    named = sorted(named)
    (folder,) = safe_names([category or DEFAULT_CATEGORY])
    names = safe_names([name for name, _ in named])
    return [
        Item(f"{folder}/{safe}", name, objects)
        for safe, (name, objects) in zip(names, named, strict=True)
    ]


def items_of_assets(folder: Path, category: str = "") -> list[Item]:
    """The asset files below a folder, or one file; see ``backend.asset_files``.

    Raises:
        InputError: There are none, or the index cannot be read.
    """
    return [
        Item(
            asset.key,
            asset.source,
            asset=os.fspath(asset.path),
            up_axis=asset.up_axis,
            licence=asset.licence,
            attribution=asset.attribution,
            split=asset.split,
            dup_group=asset.dup_group,
            refused=asset.refused,
        )
        for asset in list_assets(folder, ASSET_SUFFIXES, category)
    ]


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Every N-th item, from the I-th on, for the words "I/N".

    Raises:
        InputError: Other words.
    """
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"a shard is I/N with 1 <= I <= N, as in 2/8; got '{shard}'.")
    return list(items[int(number) - 1 :: int(count)])


# Rendering them -----------------------------------------------------------------------------------


def render_items(
    dataset: Path,
    settings: RenderSettings,
    items: Iterable[Item],
    scene: bpy.types.Scene,
    threads: int = 0,
) -> Generator[Step, None, None]:
    """Render items in this Blender, one view for each step; to stop, close the iterator.

    Args:
        dataset: Opened with :func:`all_settings`.
        settings: How they are seen.
        items: What to render.
        scene: Holds the objects that items name.
        threads: Of Cycles; 0 for all.

    Raises:
        ReconstructionError: Nothing can be written any more, say because the disk is full.
    """
    for item in items:
        if is_rendered(dataset, item.key, all_settings(settings)):
            yield Step(item.key, "skipped")
            continue
        yield Step(item.key, "started")
        record = _record(item, settings)
        try:
            if item.refused:
                raise InputError(item.refused)
            yield from _render_item(dataset, settings, item, record, scene, threads)
        except ReconstructionError:
            raise
        except Exception as error:  # importers raise whatever they like, and the run goes on
            reason = _reason(error)
            fail_object(dataset, record, reason)
            yield Step(item.key, "failed", reason=reason)


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, InputError) else f"{type(error).__name__}: {words}"


def _record(item: Item, settings: RenderSettings) -> ObjectRecord:
    return ObjectRecord(
        item.key,
        settings_hash(all_settings(settings)),
        source=item.source,
        licence=item.licence,
        attribution=item.attribution,
        seed=object_seed(settings.seed, item.key, "cameras"),
        dup_group=item.dup_group,
        split=item.split,
    )


def _render_item(
    dataset: Path,
    settings: RenderSettings,
    item: Item,
    record: ObjectRecord,
    scene: bpy.types.Scene,
    threads: int,
) -> Iterator[Step]:
    folder = start_object(dataset, item.key)
    with leaving_no_trace():
        if item.asset:
            shown = around = import_asset(Path(item.asset), item.up_axis)
            revealed = show_invisible(shown)
            world = next((s.world for o in shown for s in o.users_scene if s.world), None)
        else:
            shown, around, world = _of_scene(item, scene), list(scene.objects), scene.world
            revealed = []
        captured = capture(shown, None if item.asset else scene, item.source)
        cameras = _cameras(settings, item, record.seed, captured, around)
        studio = Studio(captured, settings, lamps(around), world, threads)
        with studio:
            yield from _render_views(folder, settings, item, captured, cameras, studio)
        record = replace(
            record,
            scale=captured.to_world.scale,
            offset=tuple(captured.to_world.offset.tolist()),
            problems=(*captured.problems, *revealed),
            descriptor=shape_descriptor(captured.vertices, captured.faces),
        )
    _write_cameras(folder, cameras)
    finish_object(dataset, record)
    yield Step(item.key, "rendered", len(cameras), problems=record.problems)


def _render_views(
    folder: Path,
    settings: RenderSettings,
    item: Item,
    captured: Captured,
    cameras: Sequence[Camera],
    studio: Studio,
) -> Iterator[Step]:
    test = SelfTest(captured)
    write_files({folder / "mesh.ply": mesh_content(captured)})
    for number, camera in enumerate(cameras):
        seed = object_seed(settings.seed, item.key, f"view {number}")
        view = studio.render(camera, seed)
        test.check(view, camera, f"view {number:04d}")
        files = view_files(view, number, settings)
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
        write_files({folder / name: content for name, content in files.items()})
        yield Step(item.key, "view", len(cameras))


def _of_scene(item: Item, scene: bpy.types.Scene) -> list[bpy.types.Object]:
    objects = [scene.objects.get(name) for name in item.objects]
    if gone := [n for n, o in zip(item.objects, objects, strict=True) if o is None]:
        raise InputError(f"the object '{gone[0]}' is no longer in the scene.")
    return [part for found in objects if found for part in with_descendants(found)]


def _cameras(
    settings: RenderSettings,
    item: Item,
    seed: int,
    captured: Captured,
    around: Sequence[bpy.types.Object],
) -> list[Camera]:
    """The item's cameras, in its unit cube."""
    if settings.sampler != "scene":
        category = item.key.partition("/")[0]
        return sample_cameras(settings, category, np.random.default_rng(seed))
    size = (settings.resolution, settings.resolution)
    found = sorted((o for o in around if o.type == "CAMERA"), key=lambda o: o.name)
    if not found:
        raise InputError("there are no cameras; add some, or choose another sampler.")
    with temporary_scene() as scene:
        for camera in found:
            scene.collection.objects.link(camera)
        scene.view_layers[0].update()  # so that new objects know where they are
        return [camera_of_object(c, size).in_unit_cube(captured.to_world) for c in found]


def _write_cameras(folder: Path, cameras: Sequence[Camera]) -> None:
    # Without the masks: the images' own alpha is finer, and is what readers then take.
    posed = [PosedImage(folder / f"image/{i:04d}.png", c) for i, c in enumerate(cameras)]
    write_transforms(folder / "transforms.json", posed)
    if not any(camera.orthographic for camera in cameras):
        write_cameras_npz(folder / "cameras.npz", posed)
