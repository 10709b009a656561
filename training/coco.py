"""Instance masks as COCO writes them, from a dataset's own mask images.

Every image shows one object, so it has at most one instance; one whose mask is empty has none. A
pixel belongs to the instance where its coverage is half or more. Masks are run lengths
(``"counts"``): down the first column, then the next, beginning with the length of the background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backend.errors import InputError


def run_lengths(mask: np.ndarray) -> list[int]:
    """Run lengths of a bool mask ``[H, W]``, column by column, background first."""
    pixels = np.concatenate([[False], mask.T.reshape(-1)])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def instance(mask: np.ndarray) -> dict[str, Any] | None:
    """``segmentation``, ``area`` and ``bbox`` (x, y, width, height) of a bool mask ``[H, W]``.

    None if the mask is empty.
    """
    if not mask.any():
        return None
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return {
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
        "area": int(mask.sum()),
        "bbox": [
            int(columns[0]),
            int(rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        ],
        "iscrowd": 0,
    }


def read_mask(path: Path) -> np.ndarray:
    """A mask image as bool ``[H, W]``.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) >= 128
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as a mask: {error}.") from error


def object_images(folder: Path) -> list[dict[str, Any]]:
    """The images of one object in order: ``name``, ``height``, ``width`` and ``instance``.

    Raises:
        InputError: An image has no mask, or one that cannot be read.
    """
    images = []
    for path in sorted((folder / "image").glob("*.png")):
        mask = read_mask(folder / "mask" / path.name)
        height, width = mask.shape
        size = {"height": height, "width": width}
        images.append({"name": f"image/{path.name}", **size, "instance": instance(mask)})
    return images


def coco_file(
    name: str,
    images: Mapping[str, Sequence[Mapping[str, Any]]],
    objects: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The contents of a COCO file.

    Args:
        name: Of the dataset.
        images: What :func:`object_images` gave, by the object's key.
        objects: ``category`` and ``licence``, by the object's key.
    """
    categories = sorted({objects[key]["category"] for key in images})
    licences = sorted({objects[key]["licence"] for key in images})
    content: dict[str, Any] = {
        "info": {"description": name},
        "licenses": [{"id": i + 1, "name": text, "url": ""} for i, text in enumerate(licences)],
        "categories": [
            {"id": i + 1, "name": text, "supercategory": ""} for i, text in enumerate(categories)
        ],
        "images": [],
        "annotations": [],
    }
    for key in sorted(images):
        category = categories.index(objects[key]["category"]) + 1
        licence = licences.index(objects[key]["licence"]) + 1
        for image in images[key]:
            number = len(content["images"]) + 1
            size = {"height": image["height"], "width": image["width"]}
            file_name = f"{key}/{image['name']}"
            content["images"].append(
                {"id": number, "file_name": file_name, **size, "license": licence}
            )
            if image["instance"]:
                ids = {"id": len(content["annotations"]) + 1, "image_id": number}
                content["annotations"].append({**ids, "category_id": category, **image["instance"]})
    return content
