"""``blender -b [FILE] --command image_to_mesh render``: a dataset of FILE's objects or of assets.

Exit codes as in ``command_line``. Objects that cannot be rendered do not stop the run and do not
change the exit code, unless there are no others: they are listed, with their reasons, at the end
and in ``dataset.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..backend.dataset_files import open_dataset
from ..backend.errors import InputError, ReconstructionError
from .extension import PACKAGE
from .render_dataset import (
    Item,
    all_settings,
    items_of_assets,
    items_of_collection,
    items_of_names,
    items_of_selection,
    render_items,
    shard_of,
)
from .render_settings import RenderSettings, make_settings
from .render_workers import PATIENCE, RECYCLE, Progress, Workers

_REPORT_SECONDS = 5.0

# What `blender -b --command` does, for the module bpy, which cannot dispatch commands.
_MODULE_PROGRAM = """
import importlib, os, sys
import bpy, addon_utils
package, command, file, *words = sys.argv[1:]
addon_utils.extensions_refresh()
bpy.ops.preferences.addon_enable(module=package)
if file:
    bpy.ops.wm.open_mainfile(filepath=file, load_ui=False)
code = importlib.import_module(package + ".blender_addon." + command).run(words)
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


# The words ----------------------------------------------------------------------------------------


def add_options(commands: Any) -> None:
    """Add the command ``render``, and the hidden one that a worker is started with."""
    text = "Render objects of FILE, or asset files, into a dataset for training."
    words = commands.add_parser("render", help=text, description=text, allow_abbrev=False)
    words.set_defaults(work=_render)
    source = words.add_mutually_exclusive_group()
    source.add_argument(
        "--objects",
        nargs="+",
        metavar="NAME",
        help="objects of FILE, each with what hangs on it; the selected ones if nothing is named",
    )
    source.add_argument(
        "--collection", metavar="NAME", help="a collection of FILE; each child is one object"
    )
    source.add_argument(
        "--assets",
        type=Path,
        metavar="FOLDER",
        help="a folder of asset files, imported one by one (or one file); index.csv in it may "
        "name category, licence, attribution, split, dup_group and up_axis for each file",
    )
    words.add_argument(
        "-o", "--output", type=Path, metavar="DATASET", help="a new folder, or one to go on with"
    )
    words.add_argument("--category", default="", help="of all objects; else the assets' folders")
    for option in dataclasses.fields(RenderSettings):
        _add_setting(words, option)
    words.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes of Blender (1)"
    )
    words.add_argument(
        "--threads", type=int, default=0, metavar="N", help="of each process; 0 shares all"
    )
    words.add_argument(
        "--recycle",
        type=int,
        default=RECYCLE,
        metavar="N",
        help=f"objects after which a process ends and another one goes on ({RECYCLE})",
    )
    words.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"without a view after which a process is taken for hung ({PATIENCE:g})",
    )
    words.add_argument(
        "--shard", default="1/1", metavar="I/N", help="only the I-th of N parts, for batch systems"
    )
    words.add_argument(
        "--only", nargs="+", metavar="KEY", help="only these objects, as --list names them"
    )
    words.add_argument(
        "--list", action="store_true", help="print the objects as JSON, and render nothing"
    )
    words.add_argument("--json", action="store_true", help="end the output with one JSON line")
    worker = commands.add_parser("render-job")
    worker.add_argument("job", type=Path)
    worker.set_defaults(work=_work)


def _add_setting(words: argparse.ArgumentParser, option: dataclasses.Field) -> None:
    name = f"--{option.name.replace('_', '-')}"
    help_text = f"{option.metadata['description']} ({option.default})".replace("%", "%%")
    if isinstance(option.default, bool):
        action = argparse.BooleanOptionalAction
        words.add_argument(name, action=action, default=None, help=help_text)
        return
    choices = option.metadata["choices"]
    metavar = None if choices else "N"
    words.add_argument(name, choices=choices, metavar=metavar, default=None, help=help_text)


def _settings(arguments: argparse.Namespace) -> RenderSettings:
    names = (option.name for option in dataclasses.fields(RenderSettings))
    values = {name: getattr(arguments, name) for name in names}
    return make_settings({name: value for name, value in values.items() if value is not None})


# The work -----------------------------------------------------------------------------------------


def _render(arguments: argparse.Namespace) -> None:
    for name in ("workers", "recycle"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} must be 1 or more, got {getattr(arguments, name)}.")
    settings = _settings(arguments)
    items = shard_of(_chosen(_items(arguments), arguments.only), arguments.shard)
    if arguments.list:
        sys.stdout.write(json.dumps([dataclasses.asdict(item) for item in items]) + "\n")
        return
    if arguments.output is None:
        raise InputError("say with -o where the dataset goes.")
    open_dataset(arguments.output, all_settings(settings))
    with worker_command(items) as command:
        workers = Workers(
            arguments.output,
            all_settings(settings),
            items,
            command,
            arguments.workers,
            arguments.recycle,
            arguments.threads,
            arguments.patience,
        )
        workers.wait(_Reporter())
    _say_end(workers.progress, arguments)
    if workers.progress.all_failed:
        raise ReconstructionError("no object could be rendered.")


def _items(arguments: argparse.Namespace) -> list[Item]:
    context: Any = bpy.context
    category = arguments.category
    if arguments.assets:
        return items_of_assets(arguments.assets, category)
    if arguments.objects:
        return items_of_names(context.scene, arguments.objects, category)
    if arguments.collection:
        collection = bpy.data.collections.get(arguments.collection)
        if collection is None:
            there = ", ".join(c.name for c in bpy.data.collections) or "none"
            raise InputError(f"there is no collection '{arguments.collection}'; there are {there}.")
        return items_of_collection(collection, category)
    return items_of_selection(context.view_layer, category)


def _chosen(items: Sequence[Item], keys: Sequence[str] | None) -> list[Item]:
    if not keys:
        return list(items)
    if unknown := sorted(set(keys) - {item.key for item in items}):
        raise InputError(f"--only: there is no object '{unknown[0]}'; see --list.")
    return [item for item in items if item.key in keys]


class _Reporter:
    """Writes a line every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last < _REPORT_SECONDS:
            return
        self._last = time.monotonic()
        left = progress.seconds_left
        rate = f"{progress.views / max(progress.seconds, 1e-3):.1f} views/s"
        words = [f"{progress.share:.0%}", f"{progress.done} of {progress.items} objects", rate]
        words += [] if left is None else [f"{duration(left)} left"]
        sys.stderr.write(", ".join(words) + "\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Some seconds, minutes or hours in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say_end(progress: Progress, arguments: argparse.Namespace) -> None:
    for key, problems in sorted(progress.problems.items()):
        sys.stderr.writelines(f"warning: {key}: {problem}\n" for problem in problems)
    for key, reason in sorted(progress.failures.items()):
        sys.stderr.write(f"failed: {key}: {reason}\n")
    sys.stdout.write(f"{arguments.output}: {progress.summary()}\n")
    if arguments.json:
        names = ("items", "rendered", "skipped", "views", "seconds", "failures", "problems")
        content = {name: getattr(progress, name) for name in names}
        sys.stdout.write(json.dumps(content, sort_keys=True) + "\n")


# Worker processes ---------------------------------------------------------------------------------


@contextlib.contextmanager
def worker_command(items: Sequence[Item]) -> Iterator[Callable[[Path], list[str]]]:
    """Gives the command that renders a job file in another Blender.

    It opens the file that is open here, or a copy if something in it is not saved.

    Raises:
        InputError: The copy cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="image-to-mesh-scene-") as folder:
        file = "" if all(item.asset for item in items) else _scene_file(Path(folder))
        yield lambda job: _command(file, ["render-job", os.fspath(job)])


def _scene_file(folder: Path) -> str:
    if bpy.data.filepath and not bpy.data.is_dirty:
        return bpy.data.filepath
    path = os.fspath(folder / "scene.blend")
    try:
        bpy.ops.wm.save_as_mainfile(filepath=path, copy=True, compress=False)
    except RuntimeError as error:
        raise InputError(f"a copy of the scene cannot be written to '{path}': {error}") from error
    return path


def _command(file: str, words: Sequence[str]) -> list[str]:
    if not bpy.app.binary_path:
        program = ["-c", _MODULE_PROGRAM, PACKAGE, "command_line", file]
        return [sys.executable, *program, *words]
    opened = [file] if file else []
    # Blender saves its preferences when it is closed; until then a new extension is unknown there.
    enabled = ["--addons", PACKAGE]
    return [bpy.app.binary_path, "-b", *opened, *enabled, "--command", "image_to_mesh", *words]


def _work(arguments: argparse.Namespace) -> None:
    """Render a job file's items, and tell each step; stop when the process above has ended."""
    job = json.loads(arguments.job.read_text(encoding="utf-8"))
    items = [Item(**(words | {"objects": tuple(words["objects"])})) for words in job["items"]]
    context: Any = bpy.context
    settings, parent = make_settings(job["settings"]), os.getppid()
    with Path(job["steps"]).open("a", encoding="utf-8") as file:

        def tell(content: dict[str, Any]) -> None:
            file.write(json.dumps(content) + "\n")
            file.flush()

        steps = render_items(Path(job["dataset"]), settings, items, context.scene, job["threads"])
        try:
            for step in steps:
                tell(dataclasses.asdict(step))
                if os.getppid() != parent:
                    raise ReconstructionError("the process that asked for this has ended.")
        except (InputError, ReconstructionError) as error:
            kind = "input" if isinstance(error, InputError) else "failure"
            tell({"error": str(error), "kind": kind})
            raise
        finally:
            steps.close()
