"""References -> pictures, cameras and masks for the backend.

A reference is an image empty, a picture with a named view, a camera object or a picture with a
camera from a file. :class:`ReferenceView` is what remains of one when Blender's data is left out:
it can be stored on the result and used again.

An image empty is an orthographic camera: it stands on the side to which the empty's local Z axis
points and sees exactly the empty's rectangle. Blender's camera axes are x right, y up, z backward;
``Camera`` has OpenCV's, see ``backend.views``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from ..backend.camera_files import PosedImage, write_transforms
from ..backend.errors import InputError
from ..backend.lazy_numpy import np
from ..backend.named_views import NAMED_VIEWS, named_cameras
from ..backend.views import Camera
from .pictures import check_picture, file_of, picture_file

if TYPE_CHECKING:
    from .properties import Reference

NAMED_DEPTH = 4.0
"""From the camera of a named view to the world's origin."""

_FLAT = 1e-9  # metres; a picture with a shorter side has no size
_SHEAR = 1e-3  # cosine of the angle between a picture's sides beyond which they are not square
_STEPS_BACK = 2.0  # orthographic cameras move back by this many times the pictures' extent


@dataclass(frozen=True)
class ReferenceView:
    """One reference without Blender's data.

    Attributes:
        name: How the panel calls it.
        image: Name of Blender's image.
        file: That image's file, for when the name is gone; or empty.
        view: A named view, or empty.
        camera: Where the picture was seen from, unless the view is named.
        mask: "auto", "alpha", or the name of Blender's image that is the mask.
        mirrored: Whether the picture's left and right are exchanged.
        untouched: Whether the backend reads the file whatever Blender shows, because the camera
            comes from a camera file that speaks of the picture as it is upright.
        depth: How far before its orthographic camera the picture stands, if the scene shows it.
    """

    name: str
    image: str
    file: str
    view: str = ""
    camera: Camera | None = None
    mask: str = "auto"
    mirrored: bool = False
    untouched: bool = False
    depth: float | None = None


# Which references there are -----------------------------------------------------------------------


def is_image_empty(item: bpy.types.Object | None) -> bool:
    """Whether an object is an empty that shows a picture."""
    return (
        item is not None
        and item.type == "EMPTY"
        and item.empty_display_type == "IMAGE"
        and item.data is not None
    )


def image_empties(view_layer: bpy.types.ViewLayer, least: int) -> list[bpy.types.Object]:
    """The image empties that are used while the list of references is empty.

    The selected ones; or all visible ones when fewer than ``least`` are selected, as after the
    pictures were dropped one by one into the viewport.
    """
    visible = [
        item
        for item in view_layer.objects
        if is_image_empty(item) and item.visible_get(view_layer=view_layer)
    ]
    selected = [item for item in visible if item.select_get(view_layer=view_layer)]
    return selected if len(selected) >= least else visible


def views_of_scene(
    references: Collection[Reference],
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    least: int,
    names: Sequence[str] = (),
) -> list[ReferenceView]:
    """The references that a job would use.

    Args:
        references: The scene's list.
        scene: Holds the objects that the list names.
        view_layer: Its empties stand in for an empty list.
        names: Only these, of the list or image empties of the scene; none means all.
        least: Fewest views that the method accepts.

    Raises:
        InputError: A reference cannot be used, or named views stand among placed ones.
    """
    if names:
        views = [_view_called(name, references, scene) for name in names]
    elif len(references):
        views = [view_of_reference(r, scene) for r in references if r.enabled]
    else:
        views = [view_of_empty(item) for item in image_empties(view_layer, least)]
    if not views:
        raise InputError(
            "there are no references; select image empties, or add pictures to the list."
        )
    _check_one_kind(views)
    return _standing_back(_uniquely_named(views))


def _view_called(
    name: str, references: Collection[Reference], scene: bpy.types.Scene
) -> ReferenceView:
    listed = next((r for r in references if r.name == name), None)
    if listed is not None:
        return view_of_reference(listed, scene)
    item = scene.objects.get(name)
    if item is not None and is_image_empty(item):
        return view_of_empty(item)
    there = [r.name for r in references] + [o.name for o in scene.objects if is_image_empty(o)]
    raise InputError(f"there is no reference '{name}'; there are {', '.join(there) or 'none'}.")


def number_of_views(
    references: Collection[Reference], view_layer: bpy.types.ViewLayer, least: int
) -> int:
    """How many references :func:`views_of_scene` would give, if all are in order. Quick."""
    if len(references):
        return sum(reference.enabled for reference in references)
    return len(image_empties(view_layer, least))


def view_of_reference(reference: Reference, scene: bpy.types.Scene) -> ReferenceView:
    """One entry of the list.

    Raises:
        InputError: Its picture, empty or camera is missing or cannot be used.
    """
    name, mask = reference.name, _mask_of(reference)
    if reference.view == "EMPTY":
        empty = _in_scene(reference.empty, scene, name, "image empty")
        return replace(view_of_empty(empty), name=name, mask=mask)
    image = reference.picture()
    if image is None:
        raise InputError(f"the reference '{name}' has no picture; choose one or remove it.")
    if reference.view == "CAMERA":
        item = _in_scene(reference.camera, scene, name, "camera")
        _check_background(item, image)
        camera = camera_of_object(item, _size(image))
    elif reference.view == "STORED":
        return _stored_view(reference, image, mask)
    else:
        check_picture(image)
        camera = None
    view = "" if camera else reference.view.lower()
    return ReferenceView(name, image.name, _file(image), view, camera, mask)


def view_of_empty(empty: bpy.types.Object) -> ReferenceView:
    """An image empty.

    Raises:
        InputError: It shows no picture, has no size, or is sheared.
    """
    if not is_image_empty(empty):
        raise InputError(f"'{empty.name}' shows no picture; choose an image empty.")
    image: Any = empty.data
    camera, mirrored = camera_of_empty(empty, _size(image))
    name, file = empty.name, _file(image)
    return ReferenceView(name, image.name, file, camera=camera, mirrored=mirrored, depth=0.0)


def _stored_view(reference: Reference, image: bpy.types.Image, mask: str) -> ReferenceView:
    check_picture(image)
    camera = camera_from_data(json.loads(reference.stored_camera))
    name, file = reference.name, _file(image)
    return ReferenceView(name, image.name, file, camera=camera, mask=mask, untouched=True)


def _mask_of(reference: Reference) -> str:
    if reference.mask != "IMAGE":
        return reference.mask.lower()
    if reference.mask_image is None:
        raise InputError(f"the reference '{reference.name}' has no mask image; choose one.")
    check_picture(reference.mask_image)
    return reference.mask_image.name


def _in_scene(
    item: bpy.types.Object | None, scene: bpy.types.Scene, name: str, kind: str
) -> bpy.types.Object:
    if item is None or scene.objects.get(item.name) != item:
        raise InputError(
            f"the {kind} of the reference '{name}' is not in the scene; choose another one or "
            "remove the reference."
        )
    return item


def _size(image: bpy.types.Image) -> tuple[int, int]:
    check_picture(image)
    return image.size[1], image.size[0]


def _file(image: bpy.types.Image) -> str:
    return str(file_of(image)) if image.filepath else ""


def _check_one_kind(views: Sequence[ReferenceView]) -> None:
    named = [v.name for v in views if v.view]
    placed = [v.name for v in views if not v.view]
    if named and placed:
        raise InputError(
            f"'{named[0]}' has a named view and '{placed[0]}' stands in the scene, so nothing says "
            "how they lie to each other; give all references a named view, or place all of them."
        )


def _uniquely_named(views: Iterable[ReferenceView]) -> list[ReferenceView]:
    unique: list[ReferenceView] = []
    taken: set[str] = set()
    for view in views:
        name, number = view.name, 1
        while name in taken:
            name, number = f"{view.name} {number + 1}", number + 1
        taken.add(name)
        unique.append(replace(view, name=name))
    return unique


# Cameras ------------------------------------------------------------------------------------------


def picture_corner(
    empty: bpy.types.Object, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where an image empty shows its picture.

    Args:
        empty: The empty.
        image_size: (height, width) in pixels.

    Returns:
        The world position of the picture's lower left corner, and the vectors along its full width
        and height, each ``[3]``.
    """
    height, width = map(float, image_size)
    image: Any = empty.data
    across, up = image.display_aspect
    if across > up:
        height *= up / across
    elif across < up:
        width *= across / up
    scale = empty.empty_display_size / max(width, height)  # the longer side has the display size
    sides = np.array([width, height]) * scale
    matrix = np.array(empty.matrix_world, dtype=np.float64)
    corner = np.array([*(np.array(empty.empty_image_offset) * sides), 0.0, 1.0])
    return (matrix @ corner)[:3], matrix[:3, 0] * sides[0], matrix[:3, 1] * sides[1]


def camera_of_empty(empty: bpy.types.Object, image_size: tuple[int, int]) -> tuple[Camera, bool]:
    """The orthographic camera in the plane of an image empty that sees exactly its picture.

    Returns:
        The camera, and whether it sees the picture with left and right exchanged: so it is when
        the empty's scale mirrors it.

    Raises:
        InputError: The picture has no size or is sheared.
    """
    corner, across, up = picture_corner(empty, image_size)
    lengths = np.linalg.norm(across), np.linalg.norm(up)
    if min(lengths) < _FLAT:
        raise InputError(f"the image empty '{empty.name}' has no size; clear its scale.")
    if abs(across @ up) > _SHEAR * lengths[0] * lengths[1]:
        raise InputError(
            f"the image empty '{empty.name}' is sheared, as a turned child of a scaled parent is; "
            "apply the parent's scale or clear the parent."
        )
    mirrored = bool(np.linalg.det(np.array(empty.matrix_world)[:3, :3]) < 0)
    if mirrored:
        corner, across = corner + across, -across
    height, width = image_size
    focal = width / lengths[0], height / lengths[1]
    intrinsics = np.array([[focal[0], 0, width / 2], [0, focal[1], height / 2], [0, 0, 1.0]])
    pose = _pose(across / lengths[0], up / lengths[1], corner + (across + up) / 2)
    return Camera(intrinsics, pose, image_size, orthographic=True), mirrored


def camera_of_object(item: bpy.types.Object, image_size: tuple[int, int]) -> Camera:
    """The camera of a Blender camera whose frame is the picture.

    Args:
        item: A camera object; its scale does not count, as in Blender.
        image_size: (height, width) of the picture in pixels; it takes the place of the render's.

    Raises:
        InputError: No camera, a panoramic one, or a mirrored one.
    """
    data: Any = item.data
    if item.type != "CAMERA":
        raise InputError(f"'{item.name}' is no camera; choose a camera.")
    if data.type not in ("PERSP", "ORTHO"):
        raise InputError(
            f"the camera '{item.name}' is neither perspective nor orthographic; change its type."
        )
    matrix = np.array(item.matrix_world, dtype=np.float64)[:3]
    if np.linalg.det(matrix[:, :3]) <= 0:
        raise InputError(f"the camera '{item.name}' is mirrored; clear its scale.")
    axes = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
    height, width = image_size
    fit = data.sensor_fit
    if fit == "AUTO":
        fit, sensor = ("HORIZONTAL" if width >= height else "VERTICAL"), data.sensor_width
    else:
        sensor = data.sensor_width if fit == "HORIZONTAL" else data.sensor_height
    span = width if fit == "HORIZONTAL" else height  # pixels along the side that is fitted
    focal = span / data.ortho_scale if data.type == "ORTHO" else span * data.lens / sensor
    centre = width / 2 - data.shift_x * span, height / 2 + data.shift_y * span
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    pose = _pose(axes[:, 0], axes[:, 1], matrix[:, 3])
    return Camera(intrinsics, pose, image_size, orthographic=data.type == "ORTHO")


def _check_background(item: bpy.types.Object, image: bpy.types.Image) -> None:
    """Refuse a picture that does not fill the camera's frame, in which it was perhaps aligned.

    Raises:
        InputError: It is moved, turned, scaled or flipped there.
    """
    data: Any = item.data
    for background in data.background_images:
        offset = tuple(background.offset)
        changed = background.scale != 1 or background.rotation or any(offset)
        if background.image == image and (
            changed or background.use_flip_x or background.use_flip_y
        ):
            raise InputError(
                f"the background image of the camera '{item.name}' does not fill its frame; reset "
                "its offset, rotation, scale and flips."
            )


def _pose(right: np.ndarray, up: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """World to camera ``[4, 4]`` of a camera at ``centre`` that looks along up x right."""
    pose = np.eye(4)
    pose[:3, :3] = [right, -up, np.cross(up, right)]
    pose[:3, 3] = -pose[:3, :3] @ centre
    return pose


def _standing_back(views: Sequence[ReferenceView]) -> list[ReferenceView]:
    """Move orthographic cameras, which see the same from everywhere, before all pictures."""
    cameras = [v.camera for v in views if v.camera]
    if not cameras:
        return list(views)
    centres = np.stack([c.centre for c in cameras])
    sizes = [max(c.image_size) / c.intrinsics[0, 0] for c in cameras if c.orthographic]
    extent = float(np.ptp(centres, axis=0).max()) + max(sizes, default=0.0)
    return [_moved_back(v, _STEPS_BACK * extent) for v in views]


def _moved_back(view: ReferenceView, distance: float) -> ReferenceView:
    if view.camera is None or not view.camera.orthographic:
        return view
    pose = view.camera.world_to_camera.copy()
    pose[2, 3] += distance
    depth = None if view.depth is None else view.depth + distance
    return replace(view, camera=replace(view.camera, world_to_camera=pose), depth=depth)


def named_camera(view: str, image_size: tuple[int, int]) -> Camera:
    """The camera of a named view whose picture's middle is the world's origin."""
    blank = np.ones(image_size, np.float32)
    return named_cameras([view], [blank], "as_drawn")[0][0]


# To and from plain data ---------------------------------------------------------------------------


def camera_to_data(camera: Camera) -> dict[str, Any]:
    """A camera as JSON holds it."""
    return {
        "intrinsics": camera.intrinsics.tolist(),
        "world_to_camera": camera.world_to_camera.tolist(),
        "image_size": list(camera.image_size),
        "orthographic": camera.orthographic,
        "distortion": list(camera.distortion),
    }


def camera_from_data(data: Mapping[str, Any]) -> Camera:
    """The camera that :func:`camera_to_data` wrote."""
    return Camera(
        np.array(data["intrinsics"], dtype=np.float64),
        np.array(data["world_to_camera"], dtype=np.float64),
        (data["image_size"][0], data["image_size"][1]),
        data["orthographic"],
        tuple(data.get("distortion", ())),
    )


def views_to_json(views: Sequence[ReferenceView]) -> str:
    """References as text that a result keeps."""
    return json.dumps(
        [asdict(v) | {"camera": v.camera and camera_to_data(v.camera)} for v in views]
    )


def views_from_json(text: str) -> list[ReferenceView]:
    """The references that :func:`views_to_json` wrote."""
    return [
        ReferenceView(**{**entry, "camera": entry["camera"] and camera_from_data(entry["camera"])})
        for entry in json.loads(text)
    ]


# For the backend ----------------------------------------------------------------------------------


def write_inputs(views: Sequence[ReferenceView], folder: Path) -> dict[str, Any]:
    """Write into a job's folder what the backend needs and cannot find on disk.

    Args:
        views: All named or all with cameras.
        folder: The job's, which exists.

    Returns:
        The fields ``inputs``, ``views``, ``cameras`` and ``masks`` of ``protocol.Reconstruct``.

    Raises:
        InputError: An image is gone.
    """
    files: list[Path] = []
    for number, view in enumerate(views):
        files.append(picture_of(view, folder, f"view_{number}", files))
    fields: dict[str, Any] = {
        "inputs": tuple(map(str, files)),
        "masks": _masks(views, folder),
    }
    if all(view.view in NAMED_VIEWS for view in views):
        return fields | {"views": tuple(view.view for view in views)}
    posed = [PosedImage(f, v.camera) for f, v in zip(files, views, strict=True) if v.camera]
    write_transforms(folder / "transforms.json", posed)
    return fields | {"cameras": str(folder / "transforms.json")}


def picture_of(view: ReferenceView, folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """The picture's file; a copy of its own when another view uses the same one."""
    if view.untouched and Path(view.file).is_file():
        path = Path(view.file)
    else:
        path = picture_file(find_image(view.image, view.file), folder, name, view.mirrored)
    if path not in taken:
        return path
    copy = folder / f"{name}{path.suffix}"
    copy.write_bytes(path.read_bytes())
    return copy


def _masks(views: Sequence[ReferenceView], folder: Path) -> tuple[str, ...]:
    masks = tuple(mask_file(v, folder, f"mask_{i}") for i, v in enumerate(views))
    is_one_word = len(set(masks)) == 1 and masks[0] in ("auto", "alpha")
    return masks[:1] if is_one_word else masks


def mask_file(view: ReferenceView, folder: Path, name: str) -> str:
    """A mask as the backend takes it: "auto", "alpha", or the mask image's file."""
    if view.mask in ("auto", "alpha"):
        return view.mask
    return str(picture_file(find_image(view.mask), folder, name, view.mirrored))


def find_image(name: str, file: str = "") -> bpy.types.Image:
    """Blender's image of a name, else the one of a file.

    Raises:
        InputError: Both are gone.
    """
    image = bpy.data.images.get(name)
    if image is None and file and Path(file).is_file():
        image = bpy.data.images.load(file, check_existing=True)
    if image is None:
        raise InputError(f"the image '{name}' is no longer in this file; load it again.")
    return image
