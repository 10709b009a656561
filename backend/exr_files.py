"""OpenEXR files of 32-bit floats: what Blender's renders are read from, and depth images.

Written are scan lines with ZIP compression, which every reader knows. Read are scan lines of
32-bit floats without compression or with ZIP, of one or, as Blender 5 writes them, several parts.
So neither Blender's side nor the backend needs a library for them; the layout is that of "The
OpenEXR File Layout", https://openexr.com. Needs numpy only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .lazy_numpy import np

_MAGIC = b"v/1\x01"
_SEVERAL_PARTS = 0x1000
_LINES_OF = {0: 1, 2: 1, 3: 16}
"""Scan lines in a block, by the number of the compression: none, ZIPS, ZIP."""


@dataclass(frozen=True)
class _Part:
    """One part's header: channel names in the order of the file, and how blocks are stored."""

    channels: tuple[str, ...]
    height: int
    width: int
    top: int
    compression: int

    @property
    def blocks(self) -> int:
        return -(-self.height // _LINES_OF[self.compression])


def read_exr(path: Path) -> dict[str, np.ndarray]:
    """Read the channels ``[H, W]`` float32, first row at the top, by their full names.

    Raises:
        InputError: The file is missing, damaged, or of a kind that is not read here.
    """
    try:
        return _read(path.read_bytes())
    except (OSError, ValueError, IndexError, KeyError, struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an OpenEXR image: {error}.") from error


def write_exr(channels: Mapping[str, np.ndarray]) -> bytes:
    """The content of a file with these channels ``[H, W]``, first row at the top."""
    names = sorted(channels)
    pixels = np.stack([channels[name] for name in names], axis=1).astype("<f4")  # [H, C, W]
    height, _, width = pixels.shape
    header = _MAGIC + struct.pack("<i", 2) + _header(names, height, width)
    blocks = [
        struct.pack("<2i", top, len(packed)) + packed
        for top in range(0, height, 16)
        for packed in [_packed(pixels[top : top + 16].tobytes())]
    ]
    sizes = np.array([0, *(len(block) for block in blocks[:-1])])
    offsets = len(header) + 8 * len(blocks) + np.cumsum(sizes)
    return header + offsets.astype("<u8").tobytes() + b"".join(blocks)


# Reading ------------------------------------------------------------------------------------------


def _read(data: bytes) -> dict[str, np.ndarray]:
    if data[:4] != _MAGIC:
        raise ValueError("it does not begin like one")
    (version,) = struct.unpack_from("<i", data, 4)
    parts, position = [], 8
    while data[position]:
        part, position = _read_header(data, position)
        parts.append(part)
        if not version & _SEVERAL_PARTS:
            break
    position += bool(version & _SEVERAL_PARTS)  # the empty header after the last one
    found: dict[str, np.ndarray] = {}
    for part in parts:
        offsets = np.frombuffer(data, "<u8", part.blocks, position)
        position += 8 * part.blocks
        skipped = 4 if version & _SEVERAL_PARTS else 0
        pixels = _read_blocks(data, part, offsets + skipped)
        found |= {name: pixels[:, i] for i, name in enumerate(part.channels)}
    return found


def _read_header(data: bytes, position: int) -> tuple[_Part, int]:
    attributes: dict[str, bytes] = {}
    while data[position]:
        name, position = _text(data, position)
        _, position = _text(data, position)
        (size,) = struct.unpack_from("<i", data, position)
        attributes[name] = data[position + 4 : position + 4 + size]
        position += 4 + size
    left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
    compression = attributes["compression"][0]
    if compression not in _LINES_OF or b"tiles" in attributes:
        raise ValueError(f"compression number {compression}, or tiles, which are not read here")
    names = _channel_names(attributes["channels"])
    return _Part(names, bottom - top + 1, right - left + 1, top, compression), position + 1


def _channel_names(data: bytes) -> tuple[str, ...]:
    names, position = [], 0
    while data[position]:
        name, position = _text(data, position)
        kind, _, across, down = struct.unpack_from("<4i", data, position)
        if (kind, across, down) != (2, 1, 1):
            raise ValueError(f"the channel {name} does not hold a 32-bit float for each pixel")
        names.append(name)
        position += 16
    return tuple(names)


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = data.index(b"\0", position)
    return data[position:end].decode("utf-8"), end + 1


def _read_blocks(data: bytes, part: _Part, offsets: np.ndarray) -> np.ndarray:
    """``[H, C, W]``."""
    pixels = np.empty((part.height, len(part.channels), part.width), "<f4")
    for offset in offsets.tolist():
        line, size = struct.unpack_from("<2i", data, offset)
        first = line - part.top
        block = pixels[first : first + _LINES_OF[part.compression]]
        content = data[offset + 8 : offset + 8 + size]
        if size < block.nbytes:  # a block that would not shrink is stored as it is
            content = _unpacked(content)
        block[:] = np.frombuffer(content, "<f4").reshape(block.shape)
    return pixels


# ZIP: the bytes' differences, every second byte first, deflated -----------------------------------


def _packed(content: bytes) -> bytes:
    values = np.frombuffer(content, np.uint8)
    values = np.concatenate([values[::2], values[1::2]])
    values[1:] = values[1:] - values[:-1] + np.uint8(128)
    packed = zlib.compress(values.tobytes(), 6)
    return packed if len(packed) < len(content) else content


def _unpacked(content: bytes) -> bytes:
    values = np.frombuffer(zlib.decompress(content), np.uint8).copy()
    values[1:] += np.uint8(128)
    values = np.cumsum(values, dtype=np.uint8)
    result, half = np.empty_like(values), (len(values) + 1) // 2
    result[::2], result[1::2] = values[:half], values[half:]
    return result.tobytes()


def _header(names: list[str], height: int, width: int) -> bytes:
    channels = b"".join(name.encode() + struct.pack("<x4i", 2, 0, 1, 1) for name in names)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (
        ("channels", "chlist", channels + b"\0"),
        ("compression", "compression", b"\3"),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1.0)),
    )
    entries = [
        f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value
        for name, kind, value in attributes
    ]
    return b"".join(entries) + b"\0"
