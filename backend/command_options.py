"""The words of ``reconstruct``, alike on the backend's command line and on Blender's.

What is not said is None or empty, and whoever reads the words knows what then holds. Needs the
standard library only.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from .errors import InputError
from .methods import METHODS
from .methods.interface import QUALITIES
from .named_views import ALIGNMENTS, NAMED_VIEWS
from .protocol import Reconstruct


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line like any other wrong input."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{message}; see {self.prog} --help.")


def add_inputs(group: Any, needed: bool) -> None:
    """Add what is seen; ``needed`` says whether there must be an INPUT."""
    group.add_argument(
        "inputs",
        nargs="+" if needed else "*",
        metavar="INPUT",
        help="image files, or a folder with images and a camera file",
    )
    named = group.add_mutually_exclusive_group()
    named.add_argument(
        "--views",
        type=_words,
        default=(),
        metavar="NAMES",
        help="what the INPUT images show, in their order, with commas between: "
        f"{', '.join(NAMED_VIEWS)}",
    )
    named.add_argument(
        "--sheet",
        type=_words,
        default=(),
        metavar="NAMES",
        help="the one INPUT holds these views side by side, from left to right",
    )
    group.add_argument(
        "--cameras", default="", metavar="FILE", help="camera file, if not the folder's own"
    )
    group.add_argument(
        "--masks",
        nargs="+",
        default=["auto"],
        metavar="MASK",
        help="auto (alpha channel, else found by itself), alpha or a file: one for all images or "
        "one for each",
    )


def add_work(group: Any) -> None:
    """Add how it is made."""
    group.add_argument("--method", choices=tuple(METHODS))
    group.add_argument("--quality", choices=QUALITIES)
    group.add_argument(
        "--param",
        action="append",
        type=_name_and_value,
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter of the method (the backend's methods command lists them), or "
        f"align={'|'.join(ALIGNMENTS)} for named views; may be repeated",
    )
    group.add_argument(
        "--checkpoint",
        default="",
        metavar="FILE",
        help="trained weights; they also say the method, if --method does not",
    )
    group.add_argument(
        "--symmetry",
        choices=("auto", "none", "x", "y"),
        help="x or y: the object is its own mirror image along this axis, in shape and colors; "
        "auto (which goes without saying): in shape, where the silhouettes show it",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"))
    group.add_argument("--seed", type=int, metavar="N")


def add_result(group: Any) -> None:
    """Add what comes out, the output itself aside."""
    group.add_argument(
        "--faces",
        type=int,
        metavar="N",
        help=f"largest number of triangles ({Reconstruct.faces}, if nothing else says so)",
    )
    group.add_argument(
        "--texture",
        choices=("vertex", "uv", "none"),
        help="colours at the vertices, a texture image, or none",
    )
    group.add_argument(
        "--preview", default="", metavar="PNG", help="also write a picture of the result"
    )
    group.add_argument("--json", action="store_true", help="end the output with one JSON line")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise argparse.ArgumentTypeError(f"it takes NAME=VALUE, got '{text}'")
    return name.strip(), value.strip()
