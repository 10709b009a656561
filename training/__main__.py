"""The command line: ``python -m training``.

Datasets are made by shapes, views, render, prepare, check and pack; a recipe's name trains, and
evaluate scores what came out.

Progress and errors go to stderr, the result to stdout. Exit codes: 0 done, or the dataset is sound;
1 something failed, which is listed, or the dataset is not sound; 2 what was given cannot be used;
130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.command_options import Parser
from backend.dataset_files import SPLITS, read_dataset
from backend.errors import InputError, ReconstructionError

from .options import add_options, options_from
from .recipes import RECIPES, recipe_spec

SOUND, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130
_MOST_LISTED = 50
_MOST_PICTURED = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parser(words).parse_args(words)
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


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    text = "Make datasets, train the methods' networks on them, and score what came out."
    parser = Parser(prog="python -m training", description=text, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_shapes(commands)
    _add_views(commands, wanted="views" in argv[:1])
    _add_render(commands)
    _add_prepare(commands)
    _add_check(commands)
    _add_pack(commands)
    _add_recipes(commands)
    for name, text in RECIPES.items():
        _add_recipe(commands, name, text, wanted=name in argv[:1])
    _add_evaluate(commands)
    _add_features(commands)
    return parser


def _command(
    commands: Any, name: str, text: str, work: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=work)
    return parser


def _add_shapes(commands: Any) -> None:
    text = "Make procedural shapes of a category, as GLB files."
    parser = _command(commands, "shapes", text, _shapes)
    parser.add_argument("category", metavar="CATEGORY", help="chair, table, …, or list")
    parser.add_argument(
        "-n", "--number", type=_positive, default=100, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where they go")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the series (default: %(default)s)"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="also a picture of the first ones, 64 at most"
    )


def _add_views(commands: Any, wanted: bool) -> None:
    text = "Render a folder of asset files into a dataset, without Blender."
    parser = _command(commands, "views", text, _views)
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="SOURCE", help="folders of assets, or files"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DATASET",
        help="a new folder, or one to go on with",
    )
    parser.add_argument("--category", default="", help="of all objects; else the assets' folders")
    _add_workers(parser)
    if wanted:
        from .render import ViewSettings

        add_options(parser, ViewSettings)


def _add_pack(commands: Any) -> None:
    text = "Pack a prepared dataset into tar shards, as WebDataset reads them."
    parser = _command(commands, "pack", text, _pack)
    _add_dataset(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the shards go"
    )
    parser.add_argument(
        "--shard-mib", type=_positive, default=256, metavar="N", help="(default: %(default)s)"
    )


def _add_recipes(commands: Any) -> None:
    text = "List the recipes."
    _command(commands, "recipes", text, _recipes)


def _add_recipe(commands: Any, name: str, text: str, wanted: bool) -> None:
    parser = commands.add_parser(
        name, help=f"train: {text[0].lower()}{text[1:]}", description=text, allow_abbrev=False
    )
    parser.set_defaults(command=_train, recipe=name)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DATASET",
        help="a prepared dataset, or a packed one",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="the run's folder; one that was stopped goes on",
    )
    parser.add_argument("--category", default="", help="of the objects; all if left out")
    if wanted:
        from .trainer import TrainerSettings

        spec = recipe_spec(name)
        defaults = {"steps": spec.steps, "batch_size": spec.batch_size}
        add_options(parser.add_argument_group("the recipe"), spec.options)
        add_options(parser.add_argument_group("the loop"), TrainerSettings, **defaults)


def _add_evaluate(commands: Any) -> None:
    text = "Score a checkpoint on a dataset; on its own test split that gives its card's scores."
    parser = _command(commands, "evaluate", text, _evaluate)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a model.safetensors")
    parser.add_argument("--data", type=Path, required=True, metavar="DATASET", help="its folder")
    parser.add_argument("--category", help="of the objects; the checkpoint's if left out")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def _add_prepare(commands: Any) -> None:
    text = "Make the ground truth, COCO masks, splits and lists of a rendered dataset."
    parser = _command(commands, "prepare", text, _prepare)
    _add_dataset(parser)
    _add_workers(parser)
    parser.add_argument(
        "--points",
        type=_positive,
        default=100_000,
        metavar="N",
        help="points on each surface, and as many with occupancies (default: %(default)s)",
    )


def _add_check(commands: Any) -> None:
    text = "Find what is damaged, missing, foreign or inconsistent in a dataset."
    parser = _command(commands, "check", text, _check)
    _add_dataset(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="delete what is damaged, so that render and prepare make it again",
    )


def _add_render(commands: Any) -> None:
    text = "Render on a Ray cluster: run the command after -- once for each shard of the objects."
    parser = _command(commands, "render", text, _render)
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


def _add_features(commands: Any) -> None:
    text = "Train the network whose features FID and KID compare pictures by."
    parser = _command(commands, "features", text, _features)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATASET", help="of two categories or more"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .safetensors file"
    )
    parser.add_argument("--steps", type=_positive, default=2000, help="(default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights and order (default: 0)"
    )


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the dataset's folder")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"it must be 1 or more, got {text}")
    return number


_positive.__name__ = "whole number"  # as argparse names it in its messages


# The commands -------------------------------------------------------------------------------------


def _shapes(arguments: argparse.Namespace) -> int:
    from .shapes import SHAPES, make_shape, write_shapes

    category, number, seed = arguments.category, arguments.number, arguments.seed
    if category == "list":
        print(*(f"{name}: {text}" for name, text in SHAPES.items()), sep="\n")
        return SOUND
    if category not in SHAPES:
        raise InputError(f"there is no category '{category}'; choose {', '.join(SHAPES)}.")
    if arguments.output is None and arguments.sheet is None:
        raise InputError("say with -o where the shapes go, or with --sheet where their picture.")
    if arguments.output is not None:
        with _progress("making shapes") as show:
            write_shapes(category, number, arguments.output, seed, show)
        print(f"{arguments.output}: {number} shapes of the category {category}")
    if arguments.sheet is not None:
        from backend.files import png, write_files

        from .shapes.contact_sheet import contact_sheet

        meshes = [make_shape(category, seed, i) for i in range(min(number, _MOST_PICTURED))]
        write_files({arguments.sheet: png(contact_sheet(meshes))})
        print(f"{arguments.sheet}: the first {len(meshes)}")
    return SOUND


def _views(arguments: argparse.Namespace) -> int:
    from .render import ViewSettings, render_views_dataset

    with _progress("rendering") as show:
        outcomes = render_views_dataset(
            arguments.sources,
            arguments.output,
            options_from(arguments, ViewSettings),
            arguments.category,
            arguments.workers,
            lambda done, total, _: show(done, total),
        )
    return _told(arguments.output, outcomes, ("rendered", "already rendered", "failed"))


def _told(dataset: Path, outcomes: Sequence[Any], states: Sequence[str]) -> int:
    """Say what became of the objects; failed if nothing but failures came out."""
    counts = dict.fromkeys(states, 0)
    for outcome in outcomes:
        counts[outcome.state] += 1
        if outcome.state == "failed":
            print(f"{outcome.key}: {outcome.reason}")
    print(f"{dataset}: {', '.join(f'{number} {state}' for state, number in counts.items())}")
    return FAILED if counts["failed"] and counts["failed"] == len(outcomes) else SOUND


def _pack(arguments: argparse.Namespace) -> int:
    from .packing import pack

    with _progress("packing") as show:
        index = pack(arguments.dataset, arguments.output, arguments.shard_mib, show)
    print(f"{arguments.output}: {len(index['shards'])} shards")
    return SOUND


def _recipes(arguments: argparse.Namespace) -> int:
    print(*(f"{name}: {text}" for name, text in RECIPES.items()), sep="\n")
    return SOUND


def _train(arguments: argparse.Namespace) -> int:
    from .trainer import TrainerSettings, train

    spec = recipe_spec(arguments.recipe)
    defaults = {"steps": spec.steps, "batch_size": spec.batch_size}
    result = train(
        spec,
        options_from(arguments, spec.options),
        options_from(arguments, TrainerSettings, **defaults),
        arguments.data,
        arguments.category,
        arguments.out,
        shlex.join(["python", "-m", "training", *sys.argv[1:]]),
    )
    print(f"{result.model}: best after {result.best_step} of {result.steps} steps")
    for split, scores in result.scores.items():
        _print_scores(split, scores)
    return SOUND


def _evaluate(arguments: argparse.Namespace) -> int:
    from .trainer import evaluate

    with _progress("evaluating") as show:
        scores = evaluate(
            arguments.checkpoint,
            arguments.data,
            arguments.category,
            arguments.split,
            arguments.device,
            show,
        )
    if arguments.json:
        print(json.dumps(scores))
    else:
        _print_scores(arguments.split, scores)
    return SOUND


def _features(arguments: argparse.Namespace) -> int:
    from .feature_network import accuracy, save_feature_network, train_feature_network

    pictures, labels = _labelled_pictures(arguments.data, "train")
    with _progress("training") as show:
        network = train_feature_network(
            pictures,
            labels,
            arguments.steps,
            seed=arguments.seed,
            report=lambda done, total, _: show(done, total),
        )
    save_feature_network(arguments.output, network)
    right = accuracy(network, *_labelled_pictures(arguments.data, "val"))
    print(f"{arguments.output}: names the category of {right:.1%} of the pictures of val")
    return SOUND


def _labelled_pictures(dataset: Path, split: str) -> tuple[Any, list[str]]:
    """All pictures of a split before white, ``[M, S, S, 3]`` uint8, and their categories."""
    import numpy as np

    from .datasets import RenderedDataset
    from .feature_network import IMAGE_SIZE

    rendered = int(read_dataset(dataset)["settings"].get("resolution", IMAGE_SIZE))
    data = RenderedDataset(dataset, split, image_size=min(IMAGE_SIZE, rendered))
    images = np.concatenate(data.images).astype(np.uint16)
    color, alpha = images[..., :3], images[..., 3:]
    pictures = ((color * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    labels = [key.partition("/")[0] for key in data.keys for _ in range(data.views)]
    return pictures, labels


def _print_scores(split: str, scores: Mapping[str, float]) -> None:
    for name, value in scores.items():
        print(f"{split:5} {name:32} {value:.5g}")


def _prepare(arguments: argparse.Namespace) -> int:
    from .prepare import prepare

    with _progress("preparing") as show:
        outcomes = prepare(
            arguments.dataset,
            arguments.workers,
            arguments.points,
            lambda done, total, outcome: show(done, total),
        )
    return _told(arguments.dataset, outcomes, ("prepared", "already prepared", "failed"))


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
