"""Procedural shapes: training objects that anyone can make again from a seed.

Each category is a module of its name with ``make(random) -> list[Part]``: parts in metres, Z up,
the front towards -Y. :func:`make_shape` unites them into one closed surface. A shape depends on
category, seed and index alone, so that a longer series begins with the shorter one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from backend.errors import InputError, ReconstructionError
from backend.geometry.mesh import Mesh

SHAPES: dict[str, str] = {
    "chair": "Dining, arm, office, cantilever and rocking chairs with backs of many kinds.",
    "table": "Dining, pedestal, trestle and coffee tables and desks.",
    "sofa": "Sofas of one to four seats, with arms, cushions, legs and chaises of many kinds.",
    "bathtub": "Hollow tubs: freestanding, on claw feet, built in, slippers.",
    "lamp": "Table, floor, desk and hanging lamps.",
    "car": "Saloons, hatchbacks, estates, vans, pickups and sports cars.",
    "airplane": "Airliners, propeller planes, gliders and jets.",
    "mug": "Mugs and cups with handles.",
    "bottle": "Bottles, flasks and jars.",
}


def make_shape(category: str, seed: int, index: int) -> Mesh:
    """Make shape ``index`` of a category's endless series.

    Args:
        category: One of ``SHAPES``.
        seed: Of the series, 0 or more.
        index: In the series, from 0.

    Returns:
        A closed surface in one piece: faces -Y, Z up, centred in the unit cube, longest edge of
        the bounding box 0.9. Each face has the colour of its part, through ``face_uvs`` and a
        ``texture`` of one pixel per colour.

    Raises:
        InputError: No such category, or a negative seed.
    """
    _check(category, seed)
    from .surface import unite

    module = import_module(f".{category}", __name__)
    # The category's name keeps two categories of one seed from drawing the same numbers.
    random = np.random.default_rng([zlib.crc32(category.encode()), seed, index])
    return unite(module.make(random))


def write_shapes(
    category: str,
    count: int,
    folder: Path,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the first shapes of a series as ``<category>_0000.glb`` and so on.

    Files that are there are made anew; the same seed gives the same bytes.

    Args:
        category: One of ``SHAPES``.
        count: How many, 1 or more.
        folder: Made if it is missing.
        seed: Of the series.
        report: Told after each shape how many are done, of how many.

    Raises:
        InputError: No such category, a number out of range, or a place that cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    from backend.mesh_files import write_mesh

    from .surface import with_sharp_edges

    _check(category, seed)
    if count < 1:
        raise InputError(f"the number of shapes must be 1 or more, got {count}.")
    _make_folder(folder)
    for index in range(count):
        name = f"{category}_{index:04d}"
        mesh = with_sharp_edges(make_shape(category, seed, index))
        write_mesh(
            folder / f"{name}.glb", mesh, {"category": category, "seed": seed, "index": index}
        )
        report(index + 1, count)


def _check(category: str, seed: int) -> None:
    if category not in SHAPES:
        raise InputError(f"there are no shapes called '{category}'; choose {', '.join(SHAPES)}.")
    if seed < 0:
        raise InputError(f"the seed must be 0 or more, got {seed}.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"cannot make the folder '{folder}': {error.strerror}; choose another place."
        ) from error
    except OSError as error:
        raise ReconstructionError(
            f"cannot make the folder '{folder}': {error.strerror}."
        ) from error
