"""Trained weights on disk: safetensors files with a model card.

The format: eight bytes with the header's length (little-endian), the header in JSON, the tensors'
bytes. The header names each tensor's ``dtype``, ``shape`` and ``data_offsets`` within those bytes;
its ``__metadata__`` holds text, of which ``model_card`` is ours: JSON with at least the
``method`` that the weights belong to and perhaps a ``label``.

Reading a header runs no code of the file's, whatever the file holds; pickles are never opened.
Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError
from .methods import METHODS

SUFFIX = ".safetensors"
PICKLED_SUFFIXES = (".ckpt", ".pt", ".pth")
_LONGEST_HEADER = 100_000_000  # the format's own limit
_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "U16": 16, "I16": 16, "F16": 16},
    **{"BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64},
}


def find_checkpoints(
    folder: Path,
) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """Look for checkpoints in a folder and in the folders directly in it.

    Returns:
        The usable ones, ``{"path", "method", "label", "card"}`` each, and those that are refused,
        ``{"path", "reason"}`` each; files of other kinds are passed over.

    Raises:
        InputError: There is no such folder, or it cannot be read.
    """
    found, refused = [], []
    for path in _candidates(folder):
        try:
            card = read_model_card(path)
        except InputError as error:
            refused.append({"path": str(path), "reason": str(error)})
            continue
        label = str(card.get("label") or path.stem)
        found.append({"path": str(path), "method": card["method"], "label": label, "card": card})
    return tuple(found), tuple(refused)


def _candidates(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    try:
        inside = [*folder.iterdir(), *folder.glob("*/*")]
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}.") from error
    wanted = (SUFFIX, *PICKLED_SUFFIXES)
    return sorted(path for path in inside if path.suffix.lower() in wanted and path.is_file())


def read_model_card(path: Path, method: str = "") -> dict[str, Any]:
    """Read a checkpoint's model card and check that the file is whole and for one of our methods.

    Args:
        path: The file.
        method: The one that it must be for, if only one will do.

    Raises:
        InputError: It is not; says why.
    """
    if path.suffix.lower() in PICKLED_SUFFIXES:
        raise InputError(
            f"{path.name} is pickled, which may run code when it is opened; "
            f"convert it to {SUFFIX} with a model card."
        )
    try:
        header, size = _read_header(path)
        _check_tensors(header, size)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is damaged or no safetensors file: {error}.") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    card = _model_card(path.name, header.get("__metadata__"))
    if method and card["method"] != method:
        raise InputError(f"{path.name} is for the method '{card['method']}', not for '{method}'.")
    return card


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes of tensors follow it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        whole = path.stat().st_size
        if length > min(_LONGEST_HEADER, whole - 8):
            raise ValueError(f"its header should be {length} bytes long, the file has {whole}")
        header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, whole - 8 - length


def _check_tensors(header: Mapping[str, Any], size: int) -> None:
    """Compare what the header promises with the bytes that there are."""
    end = 0
    for name, start, stop, expected in _tensors(header):
        if start != end or stop - start != expected:
            raise ValueError(f"the bytes of '{name}' do not follow from its shape and place")
        end = stop
    if end != size:
        raise ValueError(f"its tensors should take {end} bytes, the file has {size}")


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, int, int, int]]:
    """Name, start, end and expected length in bytes of every tensor, in the file's order.

    Raises:
        ValueError: The header does not describe tensors.
    """
    tensors = []
    for name, said in header.items():
        if name == "__metadata__":
            continue
        try:
            start, stop = map(int, said["data_offsets"])
            expected = math.prod(map(int, said["shape"])) * _BITS[said["dtype"]] // 8
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"'{name}' is described wrongly ({error!r})") from None
        tensors.append((name, start, stop, expected))
    if not tensors:
        raise ValueError("it holds no tensors")
    yield from sorted(tensors, key=lambda tensor: tensor[1:3])


def _model_card(name: str, metadata: object) -> dict[str, Any]:
    text = metadata.get("model_card") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{name} has no model card; it was not made for Image to Mesh.")
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        card = None
    if not isinstance(card, dict) or not isinstance(card.get("method"), str):
        raise InputError(f"the model card of {name} names no method.")
    if card["method"] not in METHODS:
        raise InputError(
            f"{name} is for the method '{card['method']}', which this version does not have "
            f"({', '.join(METHODS)}); update Image to Mesh."
        )
    return card
