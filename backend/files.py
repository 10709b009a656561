"""Files that appear whole or not at all. Needs numpy only, and Pillow when a picture is made."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Mapping
from pathlib import Path

from .errors import InputError, ReconstructionError
from .lazy_numpy import np


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files so that either all of them appear or none.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    waiting = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in files}
    placed: list[Path] = []
    try:
        for path, content in files.items():
            waiting[path].write_bytes(content)
        for path, part in waiting.items():
            os.replace(part, path)
            placed.append(path)
    except OSError as error:
        for path in placed:
            path.unlink(missing_ok=True)
        raise unwritable([*files][-1], error) from error
    finally:
        for part in waiting.values():
            _remove(part)


def _remove(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:
        return  # its folder does not exist or cannot be written to, so neither does it


def unwritable(path: Path, error: OSError) -> InputError | ReconstructionError:
    """What the system says about writing ``path``, in one sentence, to be raised."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return InputError(f"cannot write '{path}': the folder '{path.parent}' does not exist.")
    unusable = isinstance(error, (PermissionError, NotADirectoryError, IsADirectoryError))
    if unusable or error.errno == errno.EROFS:
        return InputError(f"cannot write '{path}': {reason}; choose another place.")
    if error.errno == errno.ENOSPC:
        return ReconstructionError(f"cannot write '{path}': the disk is full; free some space.")
    return ReconstructionError(f"cannot write '{path}': {reason}.")


def png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file.

    Args:
        pixels: uint8 ``[H, W]`` grey, ``[H, W, 3]`` or ``[H, W, 4]`` sRGB, first row at the top.
    """
    from PIL import Image

    stream = io.BytesIO()
    # Half the time of Pillow's own 6, and a twentieth larger.
    Image.fromarray(pixels).save(stream, "PNG", compress_level=4)
    return stream.getvalue()
