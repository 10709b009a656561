"""The command line: ``python -m backend`` or, installed, ``image-to-mesh``.

What can be checked from the words alone is checked here, before anything slow is imported. Progress
and errors go to stderr, the result to stdout. Exit codes: 0 done, 2 the input cannot be used, 1 the
work failed, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import __version__
from .checkpoints import find_checkpoints, read_model_card
from .command_options import Parser, add_inputs, add_result, add_work
from .errors import InputError
from .job_files import file_state
from .methods import METHODS
from .methods.interface import MethodSpec
from .named_views import ALIGNMENTS, NAMED_VIEWS
from .protocol import Progress, Reconstruct, Result
from .server import list_methods, serve
from .worker import FAILURE, Ending, describe, run

OUTPUT_SUFFIXES = (".glb", ".obj", ".ply")
_FEWEST_FACES = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = None
    try:
        arguments = _parser().parse_args(argv)
        ending = arguments.command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read stdout has had enough, as `| head` does; Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (Exception, KeyboardInterrupt) as error:
        ending = describe(error)
    if ending is None:
        return 0
    if arguments is not None and arguments.debug:
        print(ending.details, file=sys.stderr)
    print(f"image-to-mesh: {ending.message} {ending.hint}".rstrip(), file=sys.stderr)
    return ending.exit_code


# The words of the command line --------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="image-to-mesh",
        description="A few reference images in, a closed and textured mesh out.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"image-to-mesh {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_methods(commands)
    _add_reconstruct(commands)
    _add_checkpoints(commands)
    _add_serve(commands)
    return parser


def _add_methods(commands: Any) -> None:
    text = "List the methods and their parameters."
    methods = commands.add_parser("methods", help=text, description=text, allow_abbrev=False)
    methods.set_defaults(command=_methods)
    methods.add_argument("--json", action="store_true", help="print one JSON line instead")
    _add_debug(methods)


def _add_checkpoints(commands: Any) -> None:
    text = "List the trained weights in a folder."
    parser = commands.add_parser("checkpoints", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=_checkpoints)
    parser.add_argument("folder", metavar="FOLDER", help="looked through one level deep")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead")
    _add_debug(parser)


def _add_serve(commands: Any) -> None:
    text = "Answer requests on standard input, one JSON object a line; for programs."
    parser = commands.add_parser("serve", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=lambda arguments: serve(arguments.log_file))
    parser.add_argument(
        "--log-file", default="", metavar="FILE", help="log there instead of to standard error"
    )
    _add_debug(parser)


def _add_reconstruct(commands: Any) -> None:
    text = "Make a mesh from images."
    parser = commands.add_parser("reconstruct", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=_reconstruct)
    add_inputs(parser.add_argument_group("what is seen"), needed=True)
    add_work(parser.add_argument_group("how it is made"))
    outputs = parser.add_argument_group("what comes out")
    endings = ", ".join(OUTPUT_SUFFIXES)
    outputs.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=f"the mesh to write: {endings}"
    )
    add_result(outputs)
    _add_debug(parser)


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


# methods ------------------------------------------------------------------------------------------


def _methods(arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(list_methods()))
    else:
        print("\n\n".join(_method_as_text(spec) for spec in METHODS.values()))


def _method_as_text(spec: MethodSpec) -> str:
    lines = [f"{spec.name}: {spec.summary}", f"  {spec.citation}"]
    for f in dataclasses.fields(spec.params):
        lines.append(f"  --param {f.name}={f.default}{_accepted(f)}")
        lines.append(textwrap.indent(textwrap.fill(f.metadata["description"], 84), 8 * " "))
    for quality, values in spec.presets.items():
        changes = ", ".join(f"{name}={value}" for name, value in values.items())
        lines.append(f"  --quality {quality}: {changes or 'as above'}")
    return "\n".join(lines)


def _accepted(param: dataclasses.Field) -> str:
    low, high = param.metadata["minimum"], param.metadata["maximum"]
    if param.metadata["choices"]:
        return f" ({', '.join(param.metadata['choices'])})"
    return "" if low is None else f" ({low} or more)" if high is None else f" ({low} to {high})"


# checkpoints --------------------------------------------------------------------------------------


def _checkpoints(arguments: argparse.Namespace) -> None:
    found, refused = find_checkpoints(Path(arguments.folder))
    if arguments.json:
        print(json.dumps({"checkpoints": found, "refused": refused}))
        return
    for one in found:
        print(f"{one['path']}: {one['label']} ({one['method']})")
    for one in refused:
        print(f"{one['path']}: refused: {one['reason']}")
    if not found and not refused:
        print(f"no checkpoints in {arguments.folder}")


# reconstruct --------------------------------------------------------------------------------------


def _reconstruct(arguments: argparse.Namespace) -> Ending | None:
    request = _request(arguments)
    _check(request)
    before = file_state(Path(request.output))
    try:
        with _progress_bar() as show:
            result = run(request, show)
    except KeyboardInterrupt as error:
        ending = describe(error)
        if file_state(Path(request.output)) == before:
            return ending
        message = f"stopped; {request.output} had already been written."
        return dataclasses.replace(ending, message=message)
    if isinstance(result, Ending):
        return result
    print(_summary(result, request))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(result)))
    return None


def _request(arguments: argparse.Namespace) -> Reconstruct:
    """What the words ask for; of those that were not said, the protocol's defaults."""
    names = {f.name for f in dataclasses.fields(Reconstruct)}
    said = {k: v for k, v in vars(arguments).items() if k in names and v is not None}
    for name in ("inputs", "masks"):
        said[name] = tuple(said[name])
    if arguments.checkpoint and not arguments.method:
        said["method"] = read_model_card(Path(arguments.checkpoint))["method"]
    return Reconstruct(**said, params=dict(arguments.param))


def _check(request: Reconstruct) -> None:
    """Refuse at once what could only fail after the work."""
    _check_inputs(request)
    _check_output("-o", request.output, OUTPUT_SUFFIXES)
    if request.preview:
        _check_output("--preview", request.preview, (".png",))
    _check_nothing_overwritten(request)
    _check_params(request)
    for option, number, least in (
        ("--faces", request.faces, _FEWEST_FACES),
        ("--seed", request.seed, 0),
    ):
        if number < least:
            raise InputError(f"{option} must be {least} or more, got {number}.")


def _check_inputs(request: Reconstruct) -> None:
    named_masks = [mask for mask in request.masks if mask not in ("auto", "alpha")]
    for path in (*request.inputs, *named_masks, *filter(None, [request.cameras])):
        if not Path(path).exists():
            raise InputError(f"{path} does not exist.")
    if request.checkpoint:
        read_model_card(Path(request.checkpoint), request.method)
    for option, names in (("--views", request.views), ("--sheet", request.sheet)):
        for name in names:
            if name not in NAMED_VIEWS:
                raise InputError(
                    f"{option}: there is no view '{name}'; choose from {', '.join(NAMED_VIEWS)}."
                )
    are_files = not any(Path(path).is_dir() for path in request.inputs)
    if request.views and are_files and len(request.views) != len(request.inputs):
        raise InputError(
            f"--views names {len(request.views)} views for {len(request.inputs)} images; "
            "name one for each."
        )
    if request.sheet and len(request.inputs) != 1:
        raise InputError(f"--sheet takes one image, got {len(request.inputs)}.")


def _check_output(option: str, text: str, suffixes: Sequence[str]) -> None:
    path = Path(text)
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{option}: '{text}' must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise InputError(f"{option}: '{text}' is a folder; name a file.")
    if not path.parent.is_dir():
        raise InputError(f"{option}: the folder '{path.parent}' does not exist; make it first.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(None, "the file is write-protected")
    except OSError as error:
        raise InputError(
            f"{option}: cannot write '{text}' ({error.strerror}); choose another place."
        ) from error


def _check_nothing_overwritten(request: Reconstruct) -> None:
    output = Path(request.output)
    written = [output, *([Path(request.preview)] if request.preview else [])]
    if output.suffix.lower() == ".obj" and request.texture == "uv":
        written.append(output.with_suffix(".png"))
    read = {Path(p).resolve() for p in (*request.inputs, *request.masks, request.cameras) if p}
    for path in written:
        if path.resolve() in read:
            raise InputError(f"writing {path} would replace an input; choose another name.")
        if written.count(path) > 1:
            raise InputError(f"{path} would be both texture and preview; choose another name.")


def _check_params(request: Reconstruct) -> None:
    values = dict(request.params)
    align = values.pop("align", ALIGNMENTS[0])
    if align not in ALIGNMENTS:
        raise InputError(f"align must be one of {', '.join(ALIGNMENTS)}, got '{align}'.")
    METHODS[request.method].make_params(request.quality, values)


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar with the stage's name on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda p: bar.update(task, completed=p.fraction, description=p.stage)


def _summary(result: Result, request: Reconstruct) -> str:
    agreement = result.silhouette_iou
    mean = sum(agreement.values()) / max(len(agreement), 1)
    lowest = min(agreement, key=agreement.__getitem__)
    closed = "watertight" if result.watertight else "NOT watertight"
    lines = [
        f"{result.output}: {result.vertices} vertices, {result.faces} faces, {closed}",
        f"silhouette IoU: mean {mean:.3f}, lowest {agreement[lowest]:.3f} ({lowest})",
        f"{result.method}, {result.quality}, {result.device}: {result.seconds:.1f} s",
    ]
    if result.symmetry:
        lines.append(
            f"mirrored across: {', '.join(result.symmetry)} (--symmetry {request.symmetry})"
        )
    for source in sorted(set(result.mask_sources.values())):
        names = [name for name, used in result.mask_sources.items() if used == source]
        found = "by" if source in ("plain background", "segmentation") else "in"
        lines.append(f"mask found {found} {source}: {', '.join(names)}")
    if request.preview:
        lines.append(f"preview: {request.preview}")
    return "\n".join([*lines, *(f"warning: {text}" for text in result.warnings)])


if __name__ == "__main__":
    sys.exit(main())
