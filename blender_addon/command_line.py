"""``blender -b FILE --command image_to_mesh reconstruct``: the button without a window.

``render`` makes datasets; see ``dataset_command``.

The options are those of the backend's own command line, and what is not said is as FILE's panel has
it. Exit codes: 0 done, 2 the input cannot be used, 1 the work failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy

from ..backend.checkpoints import read_model_card
from ..backend.command_options import Parser, add_inputs, add_result, add_work
from ..backend.errors import InputError, ReconstructionError
from ..backend.methods import METHODS
from ..backend.named_views import ALIGNMENTS
from . import dataset_command
from .backend_process import BackendError
from .mesh_object import acting_on
from .properties import Settings, settings_of
from .session import Order, order_of_files, order_of_scene, session

COMMAND = "image_to_mesh"
SUFFIXES = (".blend", ".glb", ".obj", ".ply")

_handle: Any = None


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        arguments.work(arguments)
    except SystemExit as ending:  # --help
        return int(ending.code or 0)
    except InputError as error:
        return _said(str(error), 2)
    except (ReconstructionError, BackendError, OSError, ValueError, RuntimeError) as error:
        return _said(str(error), 1)
    finally:
        session.stop_backend(seconds=1.0)
    return 0


def _said(message: str, code: int) -> int:
    sys.stderr.write(f"image-to-mesh: {message}\n")
    return code


# The words ----------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=f"blender -b FILE --command {COMMAND}", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Make a mesh from the references of FILE."
    words = commands.add_parser("reconstruct", help=text, description=text, allow_abbrev=False)
    words.set_defaults(work=_reconstruct)
    dataset_command.add_options(commands)
    add_inputs(words, needed=False)
    words.add_argument(
        "--references",
        nargs="+",
        default=(),
        metavar="NAME",
        help="references of the panel's list, or image empties; if none are named, those that "
        "the panel would use",
    )
    words.add_argument(
        "-o",
        "--output",
        default="",
        metavar="OUT",
        help=f"what to write: {', '.join(SUFFIXES)}; FILE itself if this is left out",
    )
    add_work(words)
    add_result(words)
    return parser


# The work -----------------------------------------------------------------------------------------


def _reconstruct(arguments: argparse.Namespace) -> None:
    output = _checked_output(arguments.output)
    context: Any = bpy.context
    _apply(arguments, settings_of(context.scene))
    order = _order(arguments, context)
    words = dict(order.words)
    if arguments.device:
        words["device"] = arguments.device
    if arguments.preview:
        words["preview"] = os.fspath(Path(arguments.preview).absolute())
    session.start(dataclasses.replace(order, words=words))
    session.wait()
    item = session.finish()
    if item is None:
        _raise_failure()
        return
    _write(item, output)
    for note in session.notes:
        sys.stderr.write(f"warning: {note}\n")
    result = session.job.result if session.job else None
    sys.stdout.write(f"{output}: '{item.name}'\n")
    if arguments.json and result is not None:
        sys.stdout.write(json.dumps(dataclasses.asdict(result)) + "\n")


def _order(arguments: argparse.Namespace, context: Any) -> Order:
    """What is to be made, of files or else of the scene's references.

    Raises:
        InputError: Both are named, a file is missing, or a reference cannot be used.
    """
    if not arguments.inputs:
        if alone := [f"--{n}" for n in ("views", "sheet", "cameras") if getattr(arguments, n)]:
            raise InputError(f"{alone[0]} says something of an INPUT, and there is none.")
        return order_of_scene(context, arguments.references)
    if arguments.references:
        raise InputError("name either files or --references, not both.")
    masks = [m if m in ("auto", "alpha") else _existing(m) for m in arguments.masks]
    files = {
        "inputs": tuple(map(_existing, arguments.inputs)),
        "views": arguments.views,
        "sheet": arguments.sheet,
        "cameras": arguments.cameras and _existing(arguments.cameras),
        "masks": tuple(masks),
    }
    return order_of_files(context, files)


def _existing(text: str) -> str:
    """The absolute path; the backend works in a folder of its own."""
    path = Path(text).absolute()
    if not path.exists():
        raise InputError(f"{text} does not exist.")
    return os.fspath(path)


def _raise_failure() -> None:
    failure = session.failure
    if failure is None:
        raise ReconstructionError("stopped; nothing was written.")
    kind = InputError if failure.kind == "input" else ReconstructionError
    raise kind(f"{failure.message} {failure.hint}".strip())


def _checked_output(text: str) -> Path:
    """Where the result goes.

    Raises:
        InputError: Nowhere, or it cannot be written there.
    """
    if not text and not bpy.data.filepath:
        raise InputError("say with -o where the result goes: no saved file is open.")
    path = Path(text or bpy.data.filepath).absolute()
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"-o: '{text}' must end in {' or '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise InputError(f"-o: the folder '{path.parent}' does not exist; make it first.")
    return path


def _apply(arguments: argparse.Namespace, settings: Settings) -> None:
    """Set in the scene what the command line says.

    Raises:
        InputError: A parameter that the method does not have, or a wrong value.
    """
    if arguments.checkpoint:
        settings.checkpoint = _existing(arguments.checkpoint)
        card = read_model_card(Path(settings.checkpoint), arguments.method or "")
        settings.method = card["method"]
    for name in ("method", "quality", "symmetry", "seed", "faces", "texture"):
        value = getattr(arguments, name)
        if value is not None:
            setattr(settings, name, value)
    values = dict(arguments.param)
    align = values.pop("align", settings.align)
    if align not in ALIGNMENTS:
        raise InputError(f"align must be one of {', '.join(ALIGNMENTS)}, got '{align}'.")
    settings.align = align
    params = METHODS[settings.method].make_params(settings.quality, values)
    for name in values:
        setattr(settings.parameters(), name, getattr(params, name))


def _write(item: bpy.types.Object, path: Path) -> None:
    """Write the new object alone, or with FILE when a .blend is wanted."""
    file, suffix = os.fspath(path), path.suffix.lower()
    with acting_on(item):
        if suffix == ".blend":
            bpy.ops.wm.save_as_mainfile(filepath=file, copy=path != Path(bpy.data.filepath))
        elif suffix == ".glb":
            bpy.ops.export_scene.gltf(filepath=file, export_format="GLB", use_selection=True)
        elif suffix == ".obj":
            bpy.ops.wm.obj_export(filepath=file, export_selected_objects=True)
        else:
            bpy.ops.wm.ply_export(filepath=file, export_selected_objects=True)


# Blender ------------------------------------------------------------------------------------------


def register() -> None:
    """Make the command known to Blender."""
    global _handle
    _handle = bpy.utils.register_cli_command(COMMAND, run)


def unregister() -> None:
    """Take it back."""
    bpy.utils.unregister_cli_command(_handle)
