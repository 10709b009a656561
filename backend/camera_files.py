"""Cameras on disk: every format that is read, and the two that are written.

Conventions of the files, against those of ``backend.views``:

* Pixels: an image of width W spans [0, W] in every format, its centre is W / 2. COLMAP and Blender
  say so; the others leave the half pixel open and are taken the same way.
* ``transforms.json`` has Blender/OpenGL camera axes (x right, y up, z backward) and
  camera-to-world matrices; all other formats have OpenCV axes and world-to-camera matrices.
* The world stays the file's own; nothing is turned, moved or scaled. One exception: a world
  whose projection matrices turn out to be left-handed and fitted is mirrored in x, with a warning.

``transforms.json`` has the keys of NeRF (``camera_angle_x``, ``frames``, ``file_path``,
``transform_matrix``) and instant-ngp (``fl_x fl_y cx cy w h k1 k2 k3 p1 p2``), for all frames or
for each. Ours are ``"camera_model": "ORTHOGRAPHIC"``, with ``fl_x fl_y`` in pixels per world unit
or, like Blender, ``ortho_scale``, the world length of the image's longer side; ``mask_path``, which
nerfstudio has too; and ``skew``, the intrinsic matrix' upper middle number.

Needs numpy only; scipy is imported when a ``.mat`` file is read.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import InputError
from .files import write_files
from .lazy_numpy import np
from .views import Camera, Similarity, opengl_to_opencv

ImageSize = Callable[[Path], tuple[int, int]]
"""Gives the (height, width) of an image file, after EXIF rotation."""

_Size = tuple[int, int]
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_IMAGE_FOLDERS = ("", "images", "image", "input", "rgb", "visualize")
_CAMERA_FOLDERS = ("sparse", "colmap", "txt", "calib", "cameras")
_TRANSFORMS = ("transforms.json", "transforms_train.json")
_NPZ = ("cameras.npz", "cameras_sphere.npz", "cameras_large.npz")
_COLMAP_FOLDERS = ("", "sparse", "sparse/0", "colmap", "colmap/0", "colmap/sparse/0")
_MATRIX_FOLDERS = ("", "txt", "calib")
_LARGEST_MATRIX_FILE = 2_000_000  # bytes; beyond, an array beside images is a depth map or so
_FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", "ortho_scale")
_DISTORTION_KEYS = ("k1", "k2", "p1", "p2", "k3")
_NUMBER_KEYS = (*_FOCAL_KEYS, *_DISTORTION_KEYS, "cx", "cy", "w", "h", "skew")
_PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "RADIAL", "SIMPLE_RADIAL")

# COLMAP's model numbers; those with parameters are read: (fx, fy, cx, cy, k1, k2, p1, p2) by
# position in the file's parameter list.
_COLMAP_NAMES = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"),
    *("FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE"),
)
_COLMAP_PARAMETERS = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "SIMPLE_RADIAL": (0, 0, 1, 2, 3),
    "RADIAL": (0, 0, 1, 2, 3, 4),
    "OPENCV": (0, 1, 2, 3, 4, 5, 6, 7),
}


@dataclass(frozen=True)
class PosedImage:
    """An image file with its camera, and its mask file where one is named."""

    image: Path
    camera: Camera
    mask: Path | None = None


@dataclass(frozen=True)
class PosedImages:
    """What a camera file gave, and what the user should know about it."""

    images: tuple[PosedImage, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Frame:
    """One image's entry in a camera file.

    Attributes:
        name: The image as the file names it, or empty when images go by number.
        number: Its number or, when the file has none, its position.
        world_to_camera: ``[4, 4]``, OpenCV axes.
        intrinsics: Gives the ``[3, 3]`` matrix for a (height, width).
        image_size: (height, width) that the file speaks of, where it does.
        mirrorable: Whether the handedness of the world is open.
    """

    name: str
    number: int
    world_to_camera: np.ndarray
    intrinsics: Callable[[_Size], np.ndarray]
    image_size: _Size | None = None
    orthographic: bool = False
    distortion: tuple[float, ...] = ()
    mask: str = ""
    mirrorable: bool = False

    @property
    def label(self) -> str:
        return self.name or f"camera {self.number}"


# ---------------------------------------------------------------- the public functions


def find_camera_file(folder: Path) -> Path:
    """Find the one camera file, or COLMAP folder, that belongs to a folder of images.

    Raises:
        InputError: There is none, or there are several.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    found = [*_named_files(folder), *_colmap_folders(folder)[:1], *_matrix_files(folder)]
    if not found:
        raise InputError(
            f"{folder} has no camera file (transforms.json, cameras.npz, a COLMAP model, *_par.txt "
            "or projection matrices); name one with --cameras FILE, or the views with --views."
        )
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise InputError(
            f"{folder} has several camera files ({names}); choose one with --cameras FILE."
        )
    return found[0]


def read_cameras(path: Path, images: Sequence[Path], image_size: ImageSize) -> PosedImages:
    """Read a camera file and give every image its camera.

    Args:
        path: ``transforms.json``, ``cameras.npz``, a COLMAP folder, Middlebury's ``_par.txt``, or
            3x4 projection matrices (``.npy``, ``.mat`` with key P, ``.txt`` with one or many, a
            folder with a ``.txt`` for each image). A folder is searched as by
            :func:`find_camera_file`.
        images: The images to use, in the order wanted; empty for those that the file names and
            that exist, or for those that lie beside a file that names none.
        image_size: Opens an image far enough to know its size.

    Returns:
        The images with cameras whose ``image_size`` is the image's own; intrinsics are scaled when
        the file speaks of another size of the same shape.

    Raises:
        InputError: The file is missing, broken or of an unknown kind; an image has no camera in it;
            sizes do not fit; a camera is not finite, singular, left-handed or not of a kind
            that can be used.
    """
    if not path.exists():
        raise InputError(f"the camera file {path} does not exist.")
    path = _resolved_folder(path)
    with _blaming(path):
        frames = _read_frames(path)
    if not frames:
        raise InputError(f"{path} holds no cameras.")
    warnings: list[str] = []
    pairs = _matched(path, frames, images, warnings)
    posed = [_posed(path, image, frame, image_size, warnings) for image, frame in pairs]
    posed = _facing_the_object(path, posed, all(f.mirrorable for f in frames), warnings)
    _warn_of_principal_points(path, posed, warnings)
    return PosedImages(tuple(posed), tuple(dict.fromkeys(warnings)))


def write_transforms(path: Path, posed: Sequence[PosedImage]) -> None:
    """Write ``transforms.json`` with intrinsics for each frame; see the module's conventions.

    ``camera_angle_x`` also stands at the top when it is the same everywhere, as NeRF reads it.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    frames = [_frame_entry(path.parent, p) for p in posed]
    content: dict[str, Any] = {}
    angles = {frame.get("camera_angle_x") for frame in frames}
    if len(angles) == 1 and None not in angles:
        content["camera_angle_x"] = angles.pop()
    content["frames"] = frames
    write_files({path: (json.dumps(content, indent=2) + "\n").encode()})


def write_cameras_npz(
    path: Path, posed: Sequence[PosedImage], to_world: Similarity | None = None
) -> None:
    """Write ``cameras.npz`` for DVR and IDR alike, in the order of ``posed``.

    ``world_mat_i`` projects world points to pixels (what IDR reads), ``camera_mat_i`` turns pixels
    to [-1, 1] (so that their product is what DVR reads), ``scale_mat_i`` leads from the unit cube
    to the world. All are ``[4, 4]``.

    Args:
        path: The file to write.
        posed: Images with perspective cameras without distortion.
        to_world: From the unit cube around the object to the world; None if they are the same.

    Raises:
        InputError: A camera that the format has no room for, or the place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    to_world = to_world or Similarity()
    scale = np.diag([to_world.scale] * 3 + [1.0])
    scale[:3, 3] = to_world.offset
    arrays: dict[str, Any] = {}
    for i, p in enumerate(posed):
        if p.camera.orthographic or any(p.camera.distortion):
            raise InputError(
                f"{path.name} cannot hold the orthographic or distorted camera of {p.image.name}; "
                "write transforms.json instead."
            )
        height, width = p.camera.image_size
        arrays[f"world_mat_{i}"] = _padded(p.camera.intrinsics) @ p.camera.world_to_camera
        arrays[f"camera_mat_{i}"] = _padded(np.linalg.inv(_from_unit_square((height, width))))
        arrays[f"scale_mat_{i}"] = scale
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_files({path: stream.getvalue()})


# ---------------------------------------------------------------- finding files


def _named_files(folder: Path) -> list[Path]:
    found = []
    for names in (_TRANSFORMS, _NPZ):
        found += [folder / name for name in names if (folder / name).is_file()][:1]
    return found + sorted(folder.glob("*_par.txt"))


def _colmap_folders(folder: Path) -> list[Path]:
    places = [folder / place for place in _COLMAP_FOLDERS]
    return [place for place in places if _colmap_ending(place)]


def _colmap_ending(folder: Path) -> str:
    for ending in (".bin", ".txt"):
        if all((folder / f"{part}{ending}").is_file() for part in ("cameras", "images")):
            return ending
    return ""


def _matrix_files(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.glob("*.npy")) if _holds_matrices(path)]
    found += sorted(folder.glob("*.mat"))
    for place in (folder / name for name in _MATRIX_FOLDERS):
        texts = [path for path in sorted(place.glob("*.txt")) if _holds_matrices(path)]
        if _matrix_per_image(texts):
            found.append(place)
        else:
            found += texts
    return found


def _holds_matrices(path: Path) -> bool:
    """Whether a file of a name that says nothing holds 3x4 matrices; broken files do not."""
    try:
        return path.stat().st_size < _LARGEST_MATRIX_FILE and len(_matrices(path)) > 0
    except (OSError, ValueError, EOFError):
        return False


def _matrix_per_image(texts: Sequence[Path]) -> bool:
    if len(texts) == 1:
        beside = [p.stem for p in _images_in(texts[0].parent)]
        return texts[0].stem in beside
    return len(texts) > 1 and all(len(_matrices(path)) == 1 for path in texts)


def _resolved_folder(path: Path) -> Path:
    """A folder stands for the camera file in it, unless it is a model or matrices itself."""
    if path.is_file():
        belongs_to_model = path.stem in ("cameras", "images") and path.suffix in (".txt", ".bin")
        return path.parent if belongs_to_model and _colmap_ending(path.parent) else path
    return path if _colmap_ending(path) else find_camera_file(path)


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [p for p in folder.iterdir() if p.suffix.lower() in _IMAGE_ENDINGS and p.is_file()]
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _image_folders(path: Path) -> list[Path]:
    """Where the images of a camera file may lie, the likeliest first."""
    base = path if path.is_dir() else path.parent
    bases = [base]
    while base.resolve().name in _CAMERA_FOLDERS or base.resolve().name.isdecimal():
        base = base.resolve().parent
        bases.append(base)
    return [base / folder for base in bases for folder in _IMAGE_FOLDERS]


def _find_image(name: str, folders: Sequence[Path]) -> Path | None:
    endings = ("", *_IMAGE_ENDINGS, *(ending.upper() for ending in _IMAGE_ENDINGS))
    for folder in folders:
        for ending in endings:
            candidate = folder / (name + ending)
            if candidate.is_file():
                return candidate
    return None


# ---------------------------------------------------------------- which image has which camera


def _matched(
    path: Path, frames: Sequence[_Frame], images: Sequence[Path], warnings: list[str]
) -> list[tuple[Path, _Frame]]:
    if not frames[0].name:
        return _matched_by_number(path, frames, images or _images_beside(path), warnings)
    if images:
        pairs = [(image, _frame_of(path, image, frames)) for image in images]
    else:
        pairs = _existing(path, frames, warnings)
    _check_unique(path, pairs)
    return pairs


def _images_beside(path: Path) -> list[Path]:
    for folder in _image_folders(path):
        if images := _images_in(folder):
            return images
    raise InputError(f"no images were found beside {path}; name them on the command line.")


def _existing(
    path: Path, frames: Sequence[_Frame], warnings: list[str]
) -> list[tuple[Path, _Frame]]:
    folders = _image_folders(path)
    found = [(_find_image(frame.name, folders), frame) for frame in frames]
    pairs = [(image, frame) for image, frame in found if image is not None]
    if missing := [frame.name for image, frame in found if image is None]:
        if not pairs:
            raise InputError(
                f"none of the {len(frames)} images that {path} names exists, "
                f"for example {missing[0]}; put them beside it."
            )
        warnings.append(
            f"{len(missing)} of the {len(frames)} images that {path.name} names are missing "
            f"(the first is {missing[0]}); the others are used."
        )
    return pairs


def _frame_of(path: Path, image: Path, frames: Sequence[_Frame]) -> _Frame:
    """The frame whose name shares the longest tail with the image's path."""
    scores = [_shared_tail(image, frame.name) for frame in frames]
    best = max(scores)
    if best == 0:
        raise InputError(
            f"{path} has no camera for {image.name}; it names {len(frames)} images, "
            f"for example {frames[0].name}."
        )
    if scores.count(best) > 1:
        twice = ", ".join(f.name for f, score in zip(frames, scores, strict=True) if score == best)
        raise InputError(f"{path} has several cameras for {image.name}: {twice}.")
    return frames[scores.index(best)]


def _shared_tail(image: Path, name: str) -> float:
    """Number of equal path parts from the end; half for a file name with another ending."""
    ours, theirs = image.resolve().parts[::-1], PurePosixPath(name).parts[::-1]
    if ours[0] == theirs[0]:
        score = 1.0
    elif image.stem in (theirs[0], PurePosixPath(name).stem):
        score = 0.5
    else:
        return 0.0
    for our, their in zip(ours[1:], theirs[1:], strict=False):
        if our != their:
            break
        score += 1.0
    return score


def _check_unique(path: Path, pairs: Sequence[tuple[Path, _Frame]]) -> None:
    seen: set[Path | int] = set()
    for image, frame in pairs:
        keys = {image.resolve(), id(frame)}
        if keys & seen:
            raise InputError(f"{image.name} and a camera of {path} are paired more than once.")
        seen |= keys


def _matched_by_number(
    path: Path, frames: Sequence[_Frame], images: Sequence[Path], warnings: list[str]
) -> list[tuple[Path, _Frame]]:
    """Pair by sorted order when the counts agree, else by the last number in the file names."""
    if len(images) == len(frames):
        in_order = sorted(images, key=_natural_order)
        by_order = dict(zip(in_order, sorted(frames, key=lambda f: f.number), strict=True))
        return [(image, by_order[image]) for image in images]
    by_number = {frame.number: frame for frame in frames}
    numbers = [_number(image) for image in images]
    for first in (0, 1):
        chosen = [by_number.get(n - first) for n in numbers if n is not None]
        pairs = [(i, f) for i, f in zip(images, chosen, strict=False) if f is not None]
        if len(pairs) == len(images) == len(set(numbers)):
            warnings.append(
                f"{len(images)} images and the {len(frames)} cameras of {path.name} were paired by "
                f"the numbers in the file names, counted from {first}."
            )
            return pairs
    raise InputError(
        f"{path} has {len(frames)} cameras without names for {len(images)} images, and the numbers "
        "in the file names do not say which belongs to which; give as many images as cameras."
    )


def _number(image: Path) -> int | None:
    digits = re.findall(r"\d+", image.stem)
    return int(digits[-1]) if digits else None


# ---------------------------------------------------------------- from frames to cameras


def _posed(
    path: Path, image: Path, frame: _Frame, image_size: ImageSize, warnings: list[str]
) -> PosedImage:
    size = image_size(image)
    said = frame.image_size or size
    where = f"{path.name}, {frame.label}"
    with _blaming(path):
        intrinsics = _scaling(said, size, where, warnings) @ frame.intrinsics(said)
    try:
        camera = Camera(
            intrinsics, frame.world_to_camera, size, frame.orthographic, frame.distortion
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return PosedImage(image, camera, _mask_of(path, image, frame))


def _scaling(said: _Size, size: _Size, where: str, warnings: list[str]) -> np.ndarray:
    """``[3, 3]`` from pixels of the size that the file says to pixels of the image."""
    (said_height, said_width), (height, width) = said, size
    if said == size:
        return np.eye(3)
    found = f"{width} x {height} pixels, but the camera file says {said_width} x {said_height}"
    if min(said) < 1:
        raise InputError(f"{where}: wrong image size: the image has {found}.")
    x, y = width / said_width, height / said_height
    rounding = min(abs(width - said_width * y), abs(height - said_height * x))
    if rounding > 1.0:
        raise InputError(
            f"{where}: wrong image size: the image has {found}; use the images that belong to it, "
            "not cropped or turned."
        )
    warnings.append(f"the images have {found}; the cameras were scaled to the images.")
    return np.diag([x, y, 1.0])


def _mask_of(path: Path, image: Path, frame: _Frame) -> Path | None:
    if frame.mask:
        mask = path.parent / frame.mask
        if not mask.is_file():
            raise InputError(f"{path} names the mask {frame.mask}, which does not exist.")
        return mask
    if path.suffix != ".npz":
        return None
    for name in ("mask", "masks"):
        masks = _images_in(image.parent.parent / name)
        if same := [m for m in masks if m.stem == image.stem or _same_number(m, image)]:
            return same[0]
    return None


def _same_number(one: Path, other: Path) -> bool:
    return one.stem.isdecimal() and other.stem.isdecimal() and int(one.stem) == int(other.stem)


def _facing_the_object(
    path: Path, posed: Sequence[PosedImage], mirrorable: bool, warnings: list[str]
) -> list[PosedImage]:
    """Refuse cameras that all look away from the object, or mirror the world behind them.

    A projection matrix is known up to its sign, so a left-handed world shows as exactly this: a
    right-handed camera with the object behind it. Self-calibration leaves the handedness open (the
    VGG dinosaur is such a set); what was composed from K, R and t has it wrong.
    """
    if not _all_look_away([p.camera for p in posed]):
        return list(posed)
    if not mirrorable:
        raise InputError(
            f"{path}: all {len(posed)} cameras look away from the point that they surround; "
            "its world or its images are mirrored (left-handed), or its camera axes are not those "
            "of the format (in transforms.json y is up and the camera looks along -z)."
        )
    warnings.append(
        f"the world of {path.name} is left-handed; its x axis was reversed, so that the result is "
        "not a mirror image of the object."
    )
    turned = np.diag([1.0, -1.0, -1.0])  # [R | t] diag(-1, 1, 1, 1) with its sign changed
    return [
        replace(p, camera=replace(p.camera, world_to_camera=_world_to_camera(r @ turned, -t)))
        for p in posed
        for r, t in [(p.camera.world_to_camera[:3, :3], p.camera.world_to_camera[:3, 3])]
    ]


def _all_look_away(cameras: Sequence[Camera]) -> bool:
    """Whether the point where the optical axes meet best lies behind every camera.

    False where axes are too parallel to meet, or rays are parallel, which look both ways.
    """
    forward = np.stack([c.forward for c in cameras])
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # [V, 3, 3]
    normal = across.mean(axis=0)
    if any(c.orthographic for c in cameras) or np.linalg.eigvalsh(normal)[0] < 0.01:
        return False
    centres = np.stack([c.centre for c in cameras])
    meeting = np.linalg.solve(normal, np.einsum("vij,vj->i", across, centres) / len(cameras))
    return bool((np.einsum("vi,vi->v", meeting - centres, forward) < 0).all())


def _warn_of_principal_points(path: Path, posed: Sequence[PosedImage], warnings: list[str]) -> None:
    outside = 0
    for camera in (p.camera for p in posed if not p.camera.orthographic):
        height, width = camera.image_size
        x, y = camera.intrinsics[:2, 2]
        outside += not (0 <= x <= width and 0 <= y <= height)
    if outside:
        warnings.append(
            f"the optical axis of {outside} of {len(posed)} cameras in {path.name} misses the "
            "image; if images were cropped or resized after calibration, use the original ones."
        )


# ---------------------------------------------------------------- the formats


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Whatever a broken file does to its reader becomes one sentence that names the file."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path} is incomplete: {error} is missing.") from error
    except Exception as error:
        raise InputError(f"{path} is broken or not a camera file: {error}.") from error


def _read_frames(path: Path) -> list[_Frame]:
    if path.is_dir():
        return _read_colmap(path) if _colmap_ending(path) else _read_matrix_folder(path)
    readers: dict[str, Callable[[Path], list[_Frame]]] = {
        ".json": _read_transforms,
        ".npz": _read_npz,
        ".npy": _read_matrices,
        ".mat": _read_matrices,
        ".txt": _read_text,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} is of no known camera format; use transforms.json, .npz, .npy, .mat, .txt or "
            "the folder of a COLMAP model."
        )
    return reader(path)


def _read_transforms(path: Path) -> list[_Frame]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f"{path} has no list of frames; it is not a transforms.json.")
    return [_transforms_frame(path, i, content, f) for i, f in enumerate(content["frames"])]


def _transforms_frame(
    path: Path, number: int, shared: Mapping[str, Any], own: Mapping[str, Any]
) -> _Frame:
    own_focal = any(key in own for key in _FOCAL_KEYS)
    inherited = {k: v for k, v in shared.items() if not (own_focal and k in _FOCAL_KEYS)}
    merged = {**inherited, **own}
    numbers = {key: float(merged[key]) for key in _NUMBER_KEYS if key in merged}
    name = str(merged["file_path"]).replace("\\", "/")
    orthographic = _is_orthographic(f"{path.name}, {name}", merged)
    has_size = "w" in numbers and "h" in numbers
    distortion = tuple(numbers.get(key, 0.0) for key in _DISTORTION_KEYS)
    return _Frame(
        name=name,
        number=number,
        world_to_camera=_from_opengl_camera_to_world(merged["transform_matrix"]),
        intrinsics=partial(_transforms_intrinsics, f"{path.name}, {name}", numbers, orthographic),
        image_size=(round(numbers["h"]), round(numbers["w"])) if has_size else None,
        orthographic=orthographic,
        distortion=distortion if any(distortion) else (),
        mask=str(merged.get("mask_path") or "").replace("\\", "/"),
    )


def _is_orthographic(where: str, keys: Mapping[str, Any]) -> bool:
    model = str(keys.get("camera_model", "OPENCV")).upper()
    if model not in (*_PERSPECTIVE_MODELS, "ORTHOGRAPHIC") or keys.get("is_fisheye"):
        model = "fisheye" if keys.get("is_fisheye") else model
        raise InputError(
            f"{where}: the camera model {model} cannot be used; undistort the images to PINHOLE."
        )
    return model == "ORTHOGRAPHIC"


def _from_opengl_camera_to_world(matrix: object) -> np.ndarray:
    values = np.asarray(matrix, dtype=np.float64)
    if values.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"a transform_matrix is {values.shape}, not 4 x 4")
    camera_to_world = opengl_to_opencv(_padded(values))
    rotation = camera_to_world[:3, :3].T
    return _world_to_camera(rotation, -rotation @ camera_to_world[:3, 3])


def _transforms_intrinsics(
    where: str, numbers: Mapping[str, float], orthographic: bool, size: _Size
) -> np.ndarray:
    height, width = size
    focal = (
        _focal(where, numbers, "fl_x", "camera_angle_x", width),
        _focal(where, numbers, "fl_y", "camera_angle_y", height),
    )
    if orthographic and "ortho_scale" in numbers:
        focal = (focal[0] or max(size) / _positive(where, numbers, "ortho_scale"), focal[1])
    x, y = focal[0] or focal[1], focal[1] or focal[0]
    if x is None or y is None:
        wanted = "ortho_scale" if orthographic else "camera_angle_x"
        raise InputError(f"{where} has no focal length ({wanted} or fl_x).")
    centre = numbers.get("cx", width / 2), numbers.get("cy", height / 2)
    return np.array([[x, numbers.get("skew", 0.0), centre[0]], [0, y, centre[1]], [0, 0, 1.0]])


def _focal(
    where: str, numbers: Mapping[str, float], length: str, angle: str, side: int
) -> float | None:
    if length in numbers:
        return _positive(where, numbers, length)
    if angle in numbers:
        if not numbers[angle] < math.pi:
            raise InputError(f"{where}: {angle} must be below pi, got {numbers[angle]}.")
        return 0.5 * side / math.tan(0.5 * _positive(where, numbers, angle))
    return None


def _positive(where: str, numbers: Mapping[str, float], key: str) -> float:
    if not (numbers[key] > 0 and math.isfinite(numbers[key])):
        raise InputError(f"{where}: {key} must be above zero, got {numbers[key]}.")
    return numbers[key]


def _read_npz(path: Path) -> list[_Frame]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: np.asarray(file[key], dtype=np.float64) for key in file.files}
    keys = {int(k.removeprefix("world_mat_")): k for k in arrays if re.match(r"world_mat_\d+$", k)}
    if not keys:
        raise InputError(f"{path} has no world_mat_0, world_mat_1, ...: it holds no cameras.")
    return [
        _npz_frame(path, number, arrays[key], arrays.get(key.replace("world", "camera")))
        for number, key in sorted(keys.items())
    ]


def _npz_frame(
    path: Path, number: int, world_mat: np.ndarray, camera_mat: np.ndarray | None
) -> _Frame:
    """IDR and NeuS store a projection to pixels; DVR stores pose and intrinsics apart.

    Files of the first kind often have a ``camera_mat`` too, so it is the ``world_mat`` that tells.
    """
    _check_matrix(world_mat, 3)
    scale = _scale_of_rotation(world_mat[:3, :3])
    if scale is None:
        return _projection_frame(path, "", number, world_mat)
    if camera_mat is None:
        raise InputError(f"{path} holds poses but no intrinsics (camera_mat_{number}).")
    _check_matrix(camera_mat, 3)
    matrix = camera_mat[:3, :3] / camera_mat[2, 2]
    in_pixels = np.abs(matrix[:2, 2]).max() > 2.0
    intrinsics = partial(_constant, matrix) if in_pixels else partial(_from_normalised, matrix)
    pose = world_mat[:3] / scale
    return _Frame("", number, _world_to_camera(pose[:, :3], pose[:, 3]), intrinsics)


def _check_matrix(matrix: np.ndarray, side: int) -> None:
    if matrix.ndim != 2 or min(matrix.shape) < side or max(matrix.shape) > 4:
        raise ValueError(f"a matrix has the shape {matrix.shape}")


def _scale_of_rotation(matrix: np.ndarray) -> float | None:
    """s when the ``[3, 3]`` matrix is s times a rotation or mirrored rotation, else None."""
    product = matrix @ matrix.T
    scale = np.trace(product) / 3.0
    is_rotation = scale > 0 and np.abs(product / scale - np.eye(3)).max() < 1e-3
    return float(np.sqrt(scale)) if is_rotation else None


def _from_normalised(matrix: np.ndarray, size: _Size) -> np.ndarray:
    return _from_unit_square(size) @ matrix


def _constant(matrix: np.ndarray, size: _Size) -> np.ndarray:
    return matrix


def _read_text(path: Path) -> list[_Frame]:
    lines = path.read_text(encoding="utf-8").splitlines()
    tokens = [line.split() for line in lines if line.strip()]
    if path.name.endswith("_par.txt") or (len(tokens) > 1 and len(tokens[1]) == 22):
        return _read_middlebury(path, tokens)
    return _read_matrices(path)


def _read_middlebury(path: Path, tokens: Sequence[Sequence[str]]) -> list[_Frame]:
    """Count, then ``name K(9) R(9) t(3)`` for each image."""
    count, rows = int(tokens[0][0]), tokens[1:]
    if len(rows) != count or any(len(row) != 22 for row in rows):
        raise InputError(
            f"{path} is truncated or malformed: it announces {count} images and has {len(rows)} "
            "lines, each of which must be a name and 21 numbers."
        )
    frames = []
    for i, row in enumerate(rows):
        values = np.array([float(value) for value in row[1:]])
        intrinsics = values[:9].reshape(3, 3)
        pose = _world_to_camera(values[9:18].reshape(3, 3), values[18:])
        frames.append(_Frame(row[0], i, pose, partial(_constant, intrinsics)))
    return frames


def _read_matrices(path: Path) -> list[_Frame]:
    return [
        _projection_frame(path, name, number, matrix)
        for number, (name, matrix) in enumerate(_matrices(path))
    ]


def _read_matrix_folder(path: Path) -> list[_Frame]:
    texts = [text for text in sorted(path.glob("*.txt")) if _holds_matrices(text)]
    return [_projection_frame(t, t.stem, i, _matrices(t)[0][1]) for i, t in enumerate(texts)]


def _matrices(path: Path) -> list[tuple[str, np.ndarray]]:
    """Names, where the file has them, and ``[3, 4]`` matrices.

    Raises:
        ValueError: The file holds something else.
    """
    if path.suffix.lower() == ".npy":
        return _stacked(np.load(path, allow_pickle=False))
    if path.suffix.lower() == ".mat":
        return _matlab_matrices(path)
    text = path.read_text(encoding="utf-8").replace(",", " ")
    rows = [line.split() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    if rows and rows[0] == ["CONTOUR"]:
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if widths == {13}:
        return [(row[0], np.array(row[1:], dtype=np.float64).reshape(3, 4)) for row in rows]
    if widths == {12} or (widths == {4} and len(rows) % 3 == 0):
        return _stacked(np.array(rows, dtype=np.float64).reshape(-1, 3, 4))
    raise ValueError("it holds no 3 x 4 projection matrices (lines of 12 numbers, or of 4)")


def _matlab_matrices(path: Path) -> list[tuple[str, np.ndarray]]:
    from scipy.io import loadmat

    matrices = np.asarray(loadmat(path)["P"])
    if matrices.dtype == object:
        matrices = np.stack([np.asarray(m, dtype=np.float64) for m in matrices.ravel()])
    elif matrices.ndim == 3 and matrices.shape[:2] == (3, 4):
        matrices = matrices.transpose(2, 0, 1)
    return _stacked(matrices)


def _stacked(matrices: np.ndarray) -> list[tuple[str, np.ndarray]]:
    matrices = matrices[None] if matrices.ndim == 2 else matrices
    if matrices.ndim != 3 or matrices.shape[1:] not in ((3, 4), (4, 4)):
        raise ValueError(f"it holds an array {matrices.shape}, not 3 x 4 projection matrices")
    return [("", matrix[:3].astype(np.float64)) for matrix in matrices]


def _projection_frame(path: Path, name: str, number: int, matrix: np.ndarray) -> _Frame:
    where = f"{path.name}, {name or f'camera {number}'}"
    intrinsics, rotation, translation = _decomposed(where, matrix[:3])
    # K [R | t] with K's last number 1 has a last row of unit length; other scales were fitted.
    composed = abs(np.linalg.norm(matrix[2, :3]) - 1.0) < 1e-4
    return _Frame(
        name=name,
        number=number,
        world_to_camera=_world_to_camera(rotation, translation),
        intrinsics=partial(_constant, intrinsics),
        mirrorable=not composed,
    )


def _decomposed(where: str, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split a projection ``[3, 4]`` = K [R | t], known up to a factor, by RQ decomposition.

    Hartley and Zisserman, Multiple View Geometry, 6.2.4. The sign of the factor is the one that
    makes R a rotation when K's diagonal is positive.
    """
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{where}: the projection matrix is not 3 x 4 or has numbers not finite.")
    left = matrix[:, :3]
    determinant = np.linalg.det(left)
    if abs(determinant) <= 1e-12 * np.prod(np.linalg.norm(left, axis=1)):
        raise InputError(
            f"{where}: the projection matrix is singular; write orthographic cameras "
            "as transforms.json."
        )
    if _scale_of_rotation(left) is not None:
        raise InputError(f"{where}: the matrix is a pose without intrinsics, not a projection.")
    matrix = matrix * np.sign(determinant)
    backward = np.eye(3)[::-1]
    q, r = np.linalg.qr((backward @ matrix[:, :3]).T)
    intrinsics, rotation = backward @ r.T @ backward, backward @ q.T
    signs = np.sign(np.diag(intrinsics))
    intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
    return intrinsics / intrinsics[2, 2], rotation, np.linalg.solve(intrinsics, matrix[:, 3])


# ---------------------------------------------------------------- COLMAP


@dataclass(frozen=True)
class _ColmapCamera:
    model: str
    image_size: _Size
    parameters: tuple[float, ...]


def _read_colmap(folder: Path) -> list[_Frame]:
    if _colmap_ending(folder) == ".bin":
        with _blaming(folder / "cameras.bin"):
            cameras = _colmap_binary_cameras((folder / "cameras.bin").read_bytes())
        with _blaming(folder / "images.bin"):
            return _colmap_binary_images(folder, (folder / "images.bin").read_bytes(), cameras)
    with _blaming(folder / "cameras.txt"):
        cameras = _colmap_text_cameras((folder / "cameras.txt").read_text(encoding="utf-8"))
    with _blaming(folder / "images.txt"):
        text = (folder / "images.txt").read_text(encoding="utf-8")
        return _colmap_text_images(folder, text, cameras)


def _colmap_text_cameras(text: str) -> dict[int, _ColmapCamera]:
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    return {
        int(row[0]): _ColmapCamera(
            row[1], (int(row[3]), int(row[2])), tuple(float(value) for value in row[4:])
        )
        for row in rows
    }


def _colmap_text_images(
    folder: Path, text: str, cameras: Mapping[int, _ColmapCamera]
) -> list[_Frame]:
    """Two lines an image, of which the second, its points, may be empty."""
    frames = []
    lines = iter([line for line in text.splitlines() if not line.startswith("#")])
    for line in lines:
        if not line.strip():
            continue
        fields = line.split(maxsplit=9)
        if len(fields) < 10:
            raise ValueError(f"the line '{line[:40]}' has {len(fields)} fields instead of 10")
        pose = [float(value) for value in fields[1:8]]
        frames.append(
            _colmap_frame(folder, len(frames), fields[9].strip(), pose, cameras[int(fields[8])])
        )
        next(lines, None)
    return frames


def _colmap_binary_cameras(data: bytes) -> dict[int, _ColmapCamera]:
    cameras, position = {}, 8
    (count,) = struct.unpack_from("<Q", data)
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, position)
        if not 0 <= model < len(_COLMAP_NAMES):
            raise ValueError(f"camera model number {model} is unknown")
        name = _COLMAP_NAMES[model]
        length = len(set(_colmap_parameters(name)))
        parameters = struct.unpack_from(f"<{length}d", data, position + 24)
        cameras[number] = _ColmapCamera(name, (height, width), parameters)
        position += 24 + 8 * length
    return cameras


def _colmap_binary_images(
    folder: Path, data: bytes, cameras: Mapping[int, _ColmapCamera]
) -> list[_Frame]:
    frames, position = [], 8
    (count,) = struct.unpack_from("<Q", data)
    for number in range(count):
        *pose, camera = struct.unpack_from("<7di", data, position + 4)
        start = position + 64
        end = data.index(b"\0", start)
        name = data[start:end].decode("utf-8")
        frames.append(_colmap_frame(folder, number, name, pose, cameras[camera]))
        (points,) = struct.unpack_from("<Q", data, end + 1)
        position = end + 9 + 24 * points
    if position > len(data):
        raise ValueError("it ends too early")
    return frames


def _colmap_parameters(model: str) -> tuple[int, ...]:
    if model not in _COLMAP_PARAMETERS:
        raise InputError(
            f"COLMAP's camera model {model} cannot be used (only {', '.join(_COLMAP_PARAMETERS)}); "
            "undistort the images with COLMAP first."
        )
    return _COLMAP_PARAMETERS[model]


def _colmap_frame(
    folder: Path, number: int, name: str, pose: Sequence[float], camera: _ColmapCamera
) -> _Frame:
    positions = _colmap_parameters(camera.model)
    if len(camera.parameters) != len(set(positions)):
        raise ValueError(f"a {camera.model} camera has {len(camera.parameters)} parameters")
    x, y, centre_x, centre_y, *distortion = (camera.parameters[i] for i in positions)
    intrinsics = np.array([[x, 0.0, centre_x], [0.0, y, centre_y], [0.0, 0.0, 1.0]])
    rotation = _rotation_of_quaternion(np.array(pose[:4], dtype=np.float64))
    return _Frame(
        name=name.replace("\\", "/"),
        number=number,
        world_to_camera=_world_to_camera(rotation, np.array(pose[4:], dtype=np.float64)),
        intrinsics=partial(_constant, intrinsics),
        image_size=camera.image_size,
        distortion=(*distortion, *[0.0] * (5 - len(distortion))) if any(distortion) else (),
    )


def _rotation_of_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """``[3, 3]`` of (w, x, y, z), whatever its length."""
    length = np.linalg.norm(quaternion)
    if not length > 0:
        raise ValueError("a rotation quaternion is zero")
    w, *axis = quaternion / length
    v = np.array(axis)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross


# ---------------------------------------------------------------- matrices and writing


def _padded(matrix: np.ndarray) -> np.ndarray:
    """The ``[4, 4]`` identity with ``matrix`` in its upper left corner."""
    padded = np.eye(4)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded


def _world_to_camera(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    return _padded(np.column_stack([rotation, translation]))


def _from_unit_square(size: _Size) -> np.ndarray:
    """``[3, 3]`` from image coordinates in [-1, 1], y down, to pixels."""
    height, width = size
    return np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1.0]])


def _frame_entry(folder: Path, posed: PosedImage) -> dict[str, Any]:
    camera = posed.camera
    height, width = camera.image_size
    (focal_x, skew, centre_x), (_, focal_y, centre_y) = camera.intrinsics[:2].tolist()
    entry: dict[str, Any] = {
        "file_path": _relative(posed.image, folder),
        "camera_model": "ORTHOGRAPHIC" if camera.orthographic else "OPENCV",
        "w": width,
        "h": height,
        "fl_x": focal_x,
        "fl_y": focal_y,
        "cx": centre_x,
        "cy": centre_y,
    }
    if camera.orthographic:
        entry["ortho_scale"] = max(width, height) / focal_x
    else:
        entry["camera_angle_x"] = 2.0 * math.atan(0.5 * width / focal_x)
    if skew:
        entry["skew"] = skew
    entry |= {k: float(v) for k, v in zip(_DISTORTION_KEYS, camera.distortion, strict=False)}
    if posed.mask:
        entry["mask_path"] = _relative(posed.mask, folder)
    entry["transform_matrix"] = _opengl_camera_to_world(camera).tolist()
    return entry


def _opengl_camera_to_world(camera: Camera) -> np.ndarray:
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = camera.world_to_camera[:3, :3].T
    camera_to_world[:3, 3] = camera.centre
    return opengl_to_opencv(camera_to_world)


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows has no relative path
        return file.resolve().as_posix()
