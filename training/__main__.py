"""The command line: ``python -m training``.

Progress and errors go to stderr, the result to stdout. Exit codes: 0 done, or the dataset is sound;
1 something failed, which is listed, or the dataset is not sound; 2 what was given cannot be used;
130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from backend.errors import InputError, ReconstructionError

SOUND, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
_MOST_LISTED = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        return arguments.command(arguments)
    except InputError as error:
        return _say(str(error), BAD_INPUT)
    except ModuleNotFoundError as error:
        hint = "install it with: pip install 'image-to-mesh[train]'"
        return _say(f"the library {error.name} is missing in {sys.executable}; {hint}.", BAD_INPUT)
    except ReconstructionError as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return _say("stopped; run the same command again to go on.", STOPPED)


def _say(message: str, code: int) -> int:
    print(f"training: {message}", file=sys.stderr)
    return code


# The words of the command line --------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line like any other wrong input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    text = "Rendered datasets: ground truth, checks, and rendering on many machines."
    parser = _Parser(prog="python -m training", description=text, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_prepare(commands)
    _add_check(commands)
    _add_render(commands)
    return parser


def _add_prepare(commands: Any) -> None:
    text = "Make the ground truth, COCO masks, splits and lists of a rendered dataset."
    parser = commands.add_parser("prepare", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=_prepare)
    _add_dataset(parser)
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)"
    )
    parser.add_argument(
        "--points",
        type=_positive,
        default=100_000,
        metavar="N",
        help="points on each surface, and as many with occupancies (default: %(default)s)",
    )


def _add_check(commands: Any) -> None:
    text = "Find what is damaged, missing, foreign or inconsistent in a dataset."
    parser = commands.add_parser("check", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=_check)
    _add_dataset(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="delete what is damaged, so that render and prepare make it again",
    )


def _add_render(commands: Any) -> None:
    text = "Render on a Ray cluster: run the command after -- once for each shard of the objects."
    parser = commands.add_parser("render", help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=_render)
    parser.add_argument(
        "--cluster",
        required=True,
        metavar="ADDRESS",
        help="the cluster's address, auto, or local for this machine alone",
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="FOLDER", help="composed at the end: what -o says"
    )
    parser.add_argument(
        "--shards", type=_positive, default=64, metavar="N", help="tasks (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="with --cluster local: tasks at a time"
    )
    parser.add_argument(
        "--cpus", type=_positive, default=1, metavar="N", help="processors that one task takes"
    )
    parser.add_argument(
        "renderer",
        nargs="+",
        metavar="COMMAND",
        help="after --, say: blender -b --command image_to_mesh render --assets A -o DATASET",
    )


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the dataset's folder")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"it must be 1 or more, got {text}")
    return number


_positive.__name__ = "whole number"  # as argparse names it in its messages


# The commands -------------------------------------------------------------------------------------


def _prepare(arguments: argparse.Namespace) -> int:
    from .prepare import prepare

    with _progress("preparing") as show:
        outcomes = prepare(
            arguments.dataset,
            arguments.workers,
            arguments.points,
            lambda done, total, outcome: show(done, total),
        )
    counts: dict[str, int] = dict.fromkeys(("prepared", "already prepared", "failed"), 0)
    for outcome in outcomes:
        counts[outcome.state] += 1
        if outcome.state == "failed":
            print(f"{outcome.key}: {outcome.reason}")
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    print(f"{arguments.dataset}: {said}")
    return FAILED if counts["failed"] else SOUND


def _check(arguments: argparse.Namespace) -> int:
    from .check import check, repair

    with _progress("checking") as show:
        problems = check(arguments.dataset, show)
    for problem in problems[:_MOST_LISTED]:
        print(problem)
    if len(problems) > _MOST_LISTED:
        print(f"... and {len(problems) - _MOST_LISTED} more")
    if not problems:
        print(f"{arguments.dataset}: sound")
        return SOUND
    print(f"{arguments.dataset}: not sound, {len(problems)} problems")
    if arguments.repair:
        repair(arguments.dataset, problems)
        print(_next_steps({problem.remedy for problem in problems}))
    return FAILED


def _next_steps(remedies: set[str]) -> str:
    steps = []
    if "render" in remedies:
        steps.append("what was damaged was deleted: render again with the same settings")
    if remedies & {"render", "prepare", "delete"}:
        steps.append("run prepare")
    if "" in remedies:
        steps.append("move away by hand what belongs to nothing")
    return f"repaired; {', then '.join(steps)}." if steps else "repaired."


def _render(arguments: argparse.Namespace) -> int:
    from backend.dataset_files import compose_dataset

    from .cluster import ShardEnd, render_on_cluster

    def report(done: int, end: ShardEnd) -> None:
        show(done, arguments.shards)
        if end.code != 0:
            print(f"shard {end.shard} ended with {end.code}: {end.output.strip()}", file=sys.stderr)

    if arguments.workers and arguments.cluster != "local":
        raise InputError("--workers goes with --cluster local; a cluster knows its own machines.")
    with _progress("rendering") as show:
        ends = render_on_cluster(
            arguments.renderer,
            arguments.cluster,
            arguments.shards,
            arguments.workers,
            arguments.cpus,
            report=report,
        )
    if arguments.dataset:
        objects = compose_dataset(arguments.dataset)["objects"]
        failed = {key: entry for key, entry in objects.items() if entry["status"] == "failed"}
        print(*(f"{key}: {entry['reason']}" for key, entry in failed.items()), sep="\n")
        print(f"{arguments.dataset}: {len(objects) - len(failed)} rendered, {len(failed)} failed")
    bad = [end for end in ends if end.code != 0]
    print(f"{len(ends) - len(bad)} of {len(ends)} shards done")
    return FAILED if bad else SOUND


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
