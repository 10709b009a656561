"""Blender's images as files that the backend can read.

A file that the backend reads exactly as Blender shows it is used where it lies. What is packed is
written out as it was packed; what is generated, painted on, mirrored, or of a format that only
Blender knows, becomes a PNG.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

import bpy

from ..backend.errors import InputError
from ..backend.lazy_numpy import np

_SUFFIXES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
}
"""First bytes of the formats that the backend reads too."""

_EXIF_ORIENTATION = re.compile(
    rb"\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x02-\x08])"
    rb"|\x12\x01\x03\x00\x01\x00\x00\x00([\x02-\x08])\x00"
)
"""The tag "orientation", big or little endian, with another value than 1 (upright)."""

_HEAD = 65_536  # bytes at a file's start in which its EXIF data lies


def picture_file(image: bpy.types.Image, folder: Path, name: str, mirrored: bool = False) -> Path:
    """Find or write the file that holds an image as Blender shows it.

    Args:
        image: The picture.
        folder: Where a file is written if one must be.
        name: That file's name without its ending.
        mirrored: Whether left and right are exchanged.

    Raises:
        InputError: The image is no still picture, or its file is missing.
    """
    check_picture(image)
    path = file_of(image)
    if mirrored or image.is_dirty or image.source == "GENERATED":
        return _written(image, folder / f"{name}.png", mirrored)
    if image.packed_file is not None:
        content = image.packed_file.data
        suffix = _readable_suffix(content[:_HEAD])
        return (
            _save(folder / f"{name}{suffix}", content)
            if suffix
            else _written(image, folder / f"{name}.png")
        )
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return path if _readable_suffix(head) else _written(image, folder / f"{name}.png")


def check_picture(image: bpy.types.Image) -> None:
    """Check that an image is a still picture whose pixels are there.

    Raises:
        InputError: It is not.
    """
    if image.source not in ("FILE", "GENERATED"):
        kind = {"MOVIE": "a film", "SEQUENCE": "an image sequence", "TILED": "a set of tiles"}
        raise InputError(
            f"'{image.name}' is {kind.get(image.source, 'no picture')}; choose a single image."
        )
    in_memory = image.source == "GENERATED" or image.packed_file is not None or image.is_dirty
    if not in_memory and not file_of(image).is_file():
        raise InputError(
            f"the file of the image '{image.name}' is missing: {file_of(image)}; put it back, or "
            "find it with File > External Data > Find Missing Files."
        )
    if min(image.size) < 1:
        raise InputError(f"the image '{image.name}' cannot be read; choose another file.")


def file_of(image: bpy.types.Image) -> Path:
    """The absolute path of an image's file, whether it exists or not."""
    return Path(bpy.path.abspath(image.filepath, library=image.library))


def stored_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file, turned as its EXIF data says, as the backend reads it.

    Raises:
        InputError: Blender cannot read the file.
    """
    known = set(bpy.data.images)
    image = bpy.data.images.load(os.fspath(path), check_existing=True)
    try:
        check_picture(image)
        width, height = image.size
    finally:
        if image not in known:
            bpy.data.images.remove(image)
    with path.open("rb") as file:
        turned = _EXIF_ORIENTATION.search(file.read(_HEAD))
    lies_on_its_side = turned is not None and (turned[1] or turned[2])[0] >= 5
    return (width, height) if lies_on_its_side else (height, width)


def pixels_of(image: bpy.types.Image) -> np.ndarray:
    """``[H, W, 4]`` uint8 sRGB with straight alpha, first row on top."""
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(values)  # type: ignore[arg-type]
    values = values.reshape(height, width, image.channels)[::-1]
    colors, alpha = values[..., :3], np.ones((height, width, 1), np.float32)
    if image.channels == 4:
        alpha = values[..., 3:]
    if image.channels < 3:
        colors = np.repeat(values[..., :1], 3, axis=-1)
    if image.is_float:
        colors = _srgb(colors / np.maximum(alpha, 1e-6))
    return np.round(np.concatenate([colors, alpha], -1).clip(0.0, 1.0) * 255.0).astype(np.uint8)


def read_pixels(path: Path) -> np.ndarray:
    """An image file's ``[H, W, 4]`` uint8 pixels, without leaving it among Blender's images."""
    image = bpy.data.images.load(os.fspath(path))
    try:
        return pixels_of(image)
    finally:
        bpy.data.images.remove(image)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels as :func:`png_content` takes them; returns the path."""
    return _save(path, png_content(pixels))


def png_content(pixels: np.ndarray) -> bytes:
    """The content of a PNG file of ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]`` uint8 or uint16."""
    height, width = pixels.shape[:2]
    color_type = {2: 0, 3: {3: 2, 4: 6}.get(pixels.shape[-1])}[pixels.ndim]
    values = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    values[1:] -= values[:-1].copy()  # filter 2, "up": what is like its neighbour shrinks more
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), values], axis=1)
    depth = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 1)
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + content


def _readable_suffix(head: bytes) -> str:
    """The ending of a format that the backend reads as Blender does; empty if it does not.

    The backend turns photographs upright, Blender shows them as they are stored.
    """
    suffix = next((s for magic, s in _SUFFIXES.items() if head.startswith(magic)), "")
    return "" if _EXIF_ORIENTATION.search(head) else suffix


def _written(image: bpy.types.Image, path: Path, mirrored: bool = False) -> Path:
    pixels = pixels_of(image)
    return write_png(path, pixels[:, ::-1] if mirrored else pixels)


def _save(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
    return path


def _srgb(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0.0, None)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
