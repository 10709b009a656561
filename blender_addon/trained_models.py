"""The trained weights that the panel offers: files of the extension's own folder.

A file is copied there when it is added, so it outlives the folder in which it was trained.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ..backend.checkpoints import SUFFIX, find_checkpoints, read_model_card
from ..backend.errors import InputError
from ..backend.methods import METHODS
from .extension import extension_folder

_listed: tuple[int, list[dict[str, Any]]] | None = None
_cards: dict[tuple[str, int], dict[str, Any]] = {}


def models_folder() -> Path:
    """Where they are kept."""
    return extension_folder("models")


def trained_models() -> list[dict[str, Any]]:
    """``{"path", "method", "label", "card"}`` of each; read anew only when the folder changes."""
    global _listed
    folder = models_folder()
    changed = folder.stat().st_mtime_ns
    if _listed is None or _listed[0] != changed:
        _listed = (changed, list(find_checkpoints(folder)[0]))
    return _listed[1]


def add_model(path: Path) -> dict[str, Any]:
    """Copy a checkpoint into the folder; returns its entry in :func:`trained_models`.

    Raises:
        InputError: It is missing, damaged, or not for one of the methods that take weights.
        OSError: It cannot be copied.
    """
    card = read_model_card(path)
    if not METHODS[card["method"]].needs_checkpoint:
        raise InputError(f"{path.name} is for '{card['method']}', which takes no weights.")
    kept = _free_name(path, str(card.get("label") or path.stem))
    if not kept.exists():
        beside = kept.with_name(f"{kept.name}.part")
        try:
            shutil.copyfile(path, beside)
            beside.replace(kept)
        finally:
            beside.unlink(missing_ok=True)
    return next(model for model in trained_models() if model["path"] == os.fspath(kept))


def _free_name(path: Path, label: str) -> Path:
    """Where a file goes: named after its label, and where the very same file lies already."""
    stem = "".join(letter if letter.isalnum() else "_" for letter in label)[:60]
    content = path.read_bytes()
    number = 1
    while True:
        kept = models_folder() / f"{stem}{f'_{number}' if number > 1 else ''}{SUFFIX}"
        if not kept.exists() or kept.read_bytes() == content:
            return kept
        number += 1


def remove_model(path: Path) -> None:
    """Delete a file of the folder.

    Raises:
        InputError: It is not one of them.
        OSError: It cannot be deleted.
    """
    if path.parent != models_folder():
        raise InputError(f"{path.name} is not one of the added models.")
    path.unlink()


def model_card(path: str, method: str) -> dict[str, Any] | None:
    """The card of a checkpoint for ``method``; None if it is none or for another. Quick."""
    try:
        key = (path, Path(path).stat().st_mtime_ns)
        if key not in _cards:
            _cards[key] = read_model_card(Path(path))
    except (OSError, InputError):
        return None
    return _cards[key] if _cards[key]["method"] == method else None


def said_of(card: dict[str, Any]) -> str:
    """One sentence on what a model has learned."""
    category = card.get("category") or "all categories"
    steps = card.get("steps")
    return f"Learned from {category}" + (f" in {steps:,} steps." if steps else ".")
