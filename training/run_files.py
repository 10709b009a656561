"""A run's folder: what a training leaves, and what it resumes from.

A run is a folder::

    settings.json         what was asked for; a run goes on only if it is asked for the same
    metrics.jsonl         one line for each logged step
    tensorboard/          the same, and the pictures, as TensorBoard reads them
    pictures/             input beside prediction, <step>_<name>.png
    last.safetensors      where to resume: weights, their running mean, the optimisers' state
    model.safetensors     the best running mean so far, with its model card: the result

Tensors are written with safetensors and everything else is JSON, so that reading a run, ours or a
stranger's, runs no code of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from backend import dataset_files as files
from backend.checkpoints import read_model_card
from backend.errors import InputError, ReconstructionError
from backend.files import write_files

SETTINGS_FILE = "settings.json"
METRICS_FILE = "metrics.jsonl"
STATE_FILE = "last.safetensors"
MODEL_FILE = "model.safetensors"
TENSORBOARD_FOLDER = "tensorboard"
PICTURES_FOLDER = "pictures"

_STATE_VERSION = 1


def open_run(
    folder: Path, settings: Mapping[str, Mapping[str, Any]], free: Collection[str]
) -> None:
    """Begin a run or go on with one.

    Args:
        folder: Empty, not there yet, or a run of the same settings or that never saved anything.
        settings: In parts, as values that JSON holds.
        free: Names of settings that may differ from those that the run began with.

    Raises:
        InputError: The folder holds something else, or a run of other settings, or cannot be
            written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    path = folder / SETTINGS_FILE
    if path.is_file():
        has_begun = (folder / STATE_FILE).is_file()  # else its settings bind nobody
        if has_begun and (differences := _differences(files.read_json(path), settings, free)):
            raise InputError(
                f"'{folder}' is a run with other settings ({'; '.join(differences)}); use its "
                "settings to go on with it, or choose another folder."
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"'{folder}' exists and is no run; choose an empty or a new folder.")
    try:
        (folder / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot make the folder '{folder}': {reason}.") from error
    files.write_json(path, settings)


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Mapping[str, Any]], free: Collection[str]
) -> list[str]:
    found = []
    for part, values in new.items():
        there = old.get(part)
        there = there if isinstance(there, dict) else {}
        fixed = ({k: v for k, v in some.items() if k not in free} for some in (there, values))
        found += files.settings_differences(*fixed)
    return found


# Where to resume ----------------------------------------------------------------------------------


def write_state(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write what a run resumes from; the state before it stays until this one is whole.

    Args:
        path: The file.
        tensors: By name.
        progress: Values that JSON holds.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    content = {"version": _STATE_VERSION, **progress}
    _write_tensors(path, tensors, {"progress": json.dumps(content, sort_keys=True)})


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_state` wrote: the tensors, on the CPU, and the progress.

    Raises:
        InputError: The file is damaged or of another version.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            progress = json.loads((file.metadata() or {})["progress"])
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"'{path}' is damaged ({error}); delete it to begin the run anew."
        ) from None
    if progress.get("version") != _STATE_VERSION:
        raise InputError(
            f"'{path}' is of version {progress.get('version')}, but this program reads version "
            f"{_STATE_VERSION}; begin the run anew in another folder."
        )
    return tensors, progress


def read_metrics(path: Path, until: int) -> str:
    """The lines of ``metrics.jsonl`` up to a step; what a killed process left of a line is dropped.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read: {error}; move it away.") from error
    return "".join(line for line in lines if 0 <= _step(line) <= until)


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"]) if line.endswith("\n") else -1
    except (ValueError, KeyError, TypeError):
        return -1


# The result ---------------------------------------------------------------------------------------


def write_model(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write trained weights with their model card, as ``backend.checkpoints`` reads them.

    Args:
        path: Ends in ``.safetensors``.
        tensors: By name.
        card: Values that JSON holds, with at least the ``method``.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    text = json.dumps(card, ensure_ascii=False, sort_keys=True, allow_nan=False)
    _write_tensors(path, tensors, {"model_card": text})


def read_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Trained weights, on the CPU, and their model card.

    Raises:
        InputError: The file is missing, damaged, or not for one of our methods; says why.
    """
    card = read_model_card(path)
    try:
        return safetensors.torch.load_file(path), card
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path.name} cannot be read: {error}.") from None


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON knows them: what is not finite becomes null."""
    return {name: float(v) if math.isfinite(v) else None for name, v in values.items()}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    # Copied, as the format refuses tensors that share memory, which tied weights do.
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    content = safetensors.torch.save(copies, metadata)
    try:
        write_files({path: content})
    except ReconstructionError as error:
        if not path.is_file():
            raise
        kept = "What was saved before is still there: run the same command again to go on."
        raise ReconstructionError(f"{error} {kept}") from error
