"""Pictures: read any common file, find the object's mask, cut out what a method works on.

Arrays are ``[H, W, ...]`` float32 in [0, 1], colours sRGB with straight (not premultiplied) alpha.
Pixel centres lie at half-integers, as in ``backend.views``; OpenCV's resizing agrees with that, its
lens model counts from pixel centres and is shifted.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .errors import InputError
from .segmentation import automatic_mask, component_sizes
from .threads import in_threads
from .views import Camera, Similarity, View, Views

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
LARGEST_MEGAPIXELS = 100
SMALLEST_SIDE = 16
"""Fewest pixels a side in which an automatic mask can tell object from background."""

OPAQUE = 0.95
"""An alpha channel that never falls below this holds no mask."""

MARGIN = 0.04
"""Free space around the object in a working picture, of its longer side."""


@dataclass(frozen=True)
class Picture:
    """An image file's content, upright.

    Attributes:
        pixels: ``[H, W, 3]`` float32 sRGB in [0, 1].
        alpha: ``[H, W]`` float32 in [0, 1], or None where the file has none.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class Mask:
    """Where the object is in a picture.

    Attributes:
        coverage: ``[H, W]`` float32 in [0, 1], 1 = object.
        source: "file", "alpha", "plain background" or "segmentation".
        warnings: What about it looks wrong, one sentence each.
    """

    coverage: np.ndarray
    source: str
    warnings: tuple[str, ...] = ()


# --- reading -------------------------------------------------------------------------------------


def read_image(path: Path) -> Picture:
    """Read a picture of 8 or 16 bits a channel: the first frame, turned as its EXIF data says.

    Raises:
        InputError: Missing, empty, truncated, too large, or not an image.
    """
    with _opened(path) as image:
        deep = _bits_per_channel(path, image) > 8
        upright = ImageOps.exif_transpose(_loaded(image))
        if not deep:
            return _picture_from_bytes(upright)
        # OpenCV turns TIFF files itself, and no others when it reads them unchanged.
        orientation = _orientation(image) if image.format != "TIFF" else 1
    return _picture_from_deep(_decoded_deep(path), orientation)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) that :func:`read_image` will give, from the file's header alone.

    Raises:
        InputError: Missing, empty, too large, or not an image.
    """
    with _opened(path) as image:
        width, height = _stored_size(image)
        return (width, height) if _orientation(image) >= 5 else (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture's header; every failure, later ones included, becomes an InputError."""
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if path.is_dir():
        raise InputError(f"{path} is a folder where an image file is needed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > LARGEST_MEGAPIXELS * 1e6:
                    raise Image.DecompressionBombError
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{path} has more than {LARGEST_MEGAPIXELS} megapixels; save it smaller."
        ) from None
    except UnidentifiedImageError:
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is not an image"
        raise InputError(f"{path} {what}; give a PNG, JPEG, WebP or TIFF file.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, cv2.error) as error:
        raise InputError(f"{path} is damaged or cannot be read: {error}.") from error


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    # Pillow has turned the size of a TIFF file already, in some versions.
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    return (tags[256], tags[257]) if tags else image.size


def _bits_per_channel(path: Path, image: Image.Image) -> int:
    """Bits as stored: Pillow quietly reads 16-bit colours as 8-bit ones."""
    bits = 8
    if image.format == "PNG":
        with path.open("rb") as file:
            bits = file.read(25)[24]
    elif image.format == "TIFF":
        bits = max(getattr(image, "tag_v2", {}).get(258, (8,)))
    if bits > 16 or image.mode == "F":
        raise InputError(f"{path} has {bits} bits a channel; save it with 8 or 16.")
    return bits


def _picture_from_bytes(image: Image.Image) -> Picture:
    if not image.has_transparency_data:
        return Picture(np.asarray(image.convert("RGB"), np.float32) / 255)
    values = np.asarray(image.convert("RGBA"), np.float32) / 255
    return Picture(np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3]))


def _decoded_deep(path: Path) -> np.ndarray:
    # From memory: OpenCV cannot open every file name on Windows.
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise InputError(f"{path} has 16 bits in a form that cannot be read; save it with 8 bits.")
    return values


def _picture_from_deep(values: np.ndarray, orientation: int) -> Picture:
    """Picture from OpenCV's grey, BGR or BGRA array of uint16."""
    upright = _turned(values, orientation).astype(np.float32) / 65535
    if upright.ndim == 2:
        return Picture(np.repeat(upright[..., None], 3, axis=2))
    pixels = np.ascontiguousarray(upright[..., 2::-1])
    return Picture(pixels, upright[..., 3].copy() if upright.shape[2] == 4 else None)


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


# --- lens ----------------------------------------------------------------------------------------


def undistorted(picture: Picture, camera: Camera) -> tuple[Picture, Camera]:
    """Take the lens distortion out of a picture; its size and intrinsics stay.

    A mask that was drawn on the distorted photograph goes through as ``picture.alpha``.

    Args:
        picture: Of ``camera.image_size``.
        camera: With OpenCV's distortion coefficients, or none.

    Returns:
        The picture, replicated colours and alpha 0 where the photograph ends, and the camera
        without distortion.
    """
    if not any(camera.distortion):
        return picture, replace(camera, distortion=())
    height, width = camera.image_size
    coefficients = np.zeros(max(5, len(camera.distortion)))
    coefficients[: len(camera.distortion)] = camera.distortion
    intrinsics = camera.intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    maps = cv2.initUndistortRectifyMap(
        intrinsics, coefficients, np.eye(3), intrinsics, (width, height), cv2.CV_32FC1
    )
    pixels = cv2.remap(
        picture.pixels, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).clip(0, 1)
    alpha = picture.alpha
    if alpha is not None:
        alpha = cv2.remap(alpha, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return Picture(pixels, alpha), replace(camera, distortion=())


# --- masks ---------------------------------------------------------------------------------------


def find_mask(picture: Picture, name: str, mask_file: Path | None, mode: str) -> Mask:
    """The user's mask, else the alpha channel, else an automatic one.

    Args:
        picture: The picture.
        name: How messages call it.
        mask_file: White (or opaque) where the object is, or None.
        mode: "auto", or "alpha" to allow no automatic mask.

    Raises:
        InputError: No object found, a mask file of another shape, or no alpha in mode "alpha".
    """
    if mask_file is not None:
        coverage, source = _mask_from_file(mask_file, picture.pixels.shape[:2], name), "file"
    elif picture.alpha is not None and picture.alpha.min() < OPAQUE:
        coverage, source = picture.alpha, "alpha"
    elif mode == "alpha":
        found = "no alpha channel" if picture.alpha is None else "an alpha channel that is opaque"
        raise InputError(f"{name} has {found}; cut the object out, or use automatic masks.")
    elif min(picture.pixels.shape[:2]) < SMALLEST_SIDE:
        raise InputError(f"{name} is smaller than {SMALLEST_SIDE} pixels; give a larger picture.")
    else:
        coverage, source = automatic_mask(picture.pixels)
    if not (coverage >= 0.5).any():
        raise InputError(f"no object found in {name} ({_EMPTY[source]}).")
    return Mask(coverage, source, tuple(_mask_warnings(coverage, name)))


_EMPTY = {
    "file": "its mask file is black; white means object",
    "alpha": "its alpha channel is transparent everywhere",
    "plain background": "it has the colour of its border everywhere; give a mask file",
    "segmentation": "nothing differs from its border; give a mask file",
}


def _mask_from_file(path: Path, size: tuple[int, ...], name: str) -> np.ndarray:
    picture = read_image(path)
    coverage = picture.alpha
    if coverage is None or coverage.min() >= OPAQUE:
        coverage = picture.pixels.mean(axis=2)
    if coverage.shape == size:
        return coverage
    height, width = coverage.shape
    # Rounding a size may change it by a pixel, which is no other shape.
    if abs(height * size[1] - width * size[0]) > max(height, width, *size):
        raise InputError(
            f"the mask {path} is {width} x {height} pixels, but {name} is {size[1]} x {size[0]}; "
            "they must have one shape."
        )
    how = cv2.INTER_AREA if height > size[0] else cv2.INTER_LINEAR
    return cv2.resize(coverage, (size[1], size[0]), interpolation=how)


def _mask_warnings(coverage: np.ndarray, name: str) -> Iterator[str]:
    inside = coverage >= 0.5
    if inside.mean() > 0.95:
        yield (
            f"{name}: the mask covers {inside.mean():.0%} of the picture; "
            "if that is not the object, give a mask file."
        )
    sizes = component_sizes(inside)
    pieces = sum(size > 0.01 * sizes[0] for size in sizes)
    if pieces > 1:
        yield f"{name}: the mask is in {pieces} pieces; check that all of them are the object."
    if sides := touched_sides(coverage):
        yield (
            f"{name}: the object touches the {', '.join(sides)} border of the picture; "
            "what lies beyond is unknown."
        )


def touched_sides(coverage: np.ndarray) -> tuple[str, ...]:
    """Those of "left", "right", "top" and "bottom" where the object meets the picture's border."""
    edges = {
        "left": coverage[:, 0],
        "right": coverage[:, -1],
        "top": coverage[0],
        "bottom": coverage[-1],
    }
    return tuple(side for side, edge in edges.items() if (edge >= 0.5).any())


# --- working pictures ----------------------------------------------------------------------------


def working_views(views: Sequence[View], to_world: Similarity, size: int) -> Views:
    """Cut a square around the object out of every view and bring all to one size.

    Args:
        views: At least one, in the world.
        to_world: From the unit cube to the world.
        size: Pixels along the side of each working picture.

    Raises:
        InputError: A mask is empty.
    """
    squares = [_square_around(view) for view in views]
    cut = in_threads(partial(_cut_out, size=size), views, squares)
    cameras = tuple(
        view.camera.in_unit_cube(to_world).resampled(left, top, size / side, (size, size))
        for view, (left, top, side) in zip(views, squares, strict=True)
    )
    images, masks, known = (np.stack(parts) for parts in zip(*cut, strict=True))
    return Views(tuple(view.name for view in views), images, masks, known, cameras, to_world)


def mirrored(views: Sequence[View], axis: int, offset: float) -> list[View]:
    """The views of the mirror image of a world that is symmetric about ``axis = offset``."""
    return [
        View(
            f"{view.name} (mirrored)",
            np.ascontiguousarray(view.image[:, ::-1]),
            np.ascontiguousarray(view.mask[:, ::-1]),
            view.camera.mirrored(axis, offset),
        )
        for view in views
    ]


def _square_around(view: View) -> tuple[int, int, int]:
    """Left, top and side, in whole pixels so that averaging over areas is exact."""
    rows, columns = (np.flatnonzero((view.mask > 0.1).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise InputError(f"no object found in {view.name} (its mask is empty).")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = int(np.ceil(max(bottom - top, right - left) * (1 + 2 * MARGIN)))
    return int((left + right - side) // 2), int((top + bottom - side) // 2), side


def _cut_out(
    view: View, square: tuple[int, int, int], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image ``[S, S, 3]``, mask ``[S, S]`` and known ``[S, S]`` of one square."""
    left, top, side = square
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    height, width = view.mask.shape
    nearest = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
    in_photograph = np.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    image, mask = view.image[nearest], (view.mask[nearest] * in_photograph)[..., None]
    # Background must not bleed into the object's edge: its colours count by coverage.
    weighted = np.concatenate([image * mask, mask], axis=2)
    plain, mean, known = (
        _resized(part, size) for part in (image, weighted, _is_known(rows, columns, view.mask))
    )
    image = np.where(mean[..., 3:] > 0.01, _own_colors(mean), plain)
    if size > side:
        # Linear interpolation blurs, and blurred colours mislead about depth.
        sharp = cv2.resize(weighted, (size, size), interpolation=cv2.INTER_CUBIC)
        image = np.where(sharp[..., 3:] > 0.5, _own_colors(sharp), image)
    return image.clip(0, 1), mean[..., 3].clip(0, 1), known > 0.999


def _is_known(rows: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the object cannot have gone on beyond the photograph: ``[rows, columns]`` float32."""
    height, width = mask.shape
    touched = touched_sides(mask)
    lost_rows = ((rows < 0) & ("top" in touched)) | ((rows >= height) & ("bottom" in touched))
    lost_columns = ((columns < 0) & ("left" in touched)) | (
        (columns >= width) & ("right" in touched)
    )
    return np.outer(~lost_rows, ~lost_columns).astype(np.float32)


def _own_colors(weighted: np.ndarray) -> np.ndarray:
    """``[H, W, 3]`` from colours times coverage, and coverage, ``[H, W, 4]``."""
    return weighted[..., :3] / np.maximum(weighted[..., 3:], 1e-6)


def _resized(part: np.ndarray, size: int) -> np.ndarray:
    how = cv2.INTER_AREA if len(part) >= size else cv2.INTER_LINEAR
    return cv2.resize(part.astype(np.float32), (size, size), interpolation=how)
