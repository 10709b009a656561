from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import InputError
from training.coco import coco_file, instance, object_images, run_lengths


def decoded(segmentation: dict) -> np.ndarray:
    """A mask from run lengths as COCO's readers have it: down the columns, background first."""
    height, width = segmentation["size"]
    values = np.arange(len(segmentation["counts"])) % 2
    flat = np.repeat(values, segmentation["counts"])
    return flat.reshape(width, height).T.astype(bool)


def test_run_lengths_of_a_mask_small_enough_to_see() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert run_lengths(mask) == [2, 3, 1]
    assert run_lengths(~mask) == [0, 2, 3, 1]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 1.0])
def test_a_mask_comes_back(share: float) -> None:
    mask = np.random.default_rng(0).random((37, 53)) < share
    made = instance(mask)
    assert made
    assert sum(made["segmentation"]["counts"]) == mask.size
    assert np.array_equal(decoded(made["segmentation"]), mask)
    assert made["area"] == mask.sum()
    x, y, width, height = made["bbox"]
    assert mask[y : y + height, x : x + width].sum() == mask.sum()
    for row in (y, y + height - 1):
        assert mask[row].any()
    for column in (x, x + width - 1):
        assert mask[:, column].any()


def test_an_empty_mask_is_no_instance() -> None:
    assert instance(np.zeros((4, 5), dtype=bool)) is None


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "0003.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003\.png cannot be read as a mask"):
        object_images(tmp_path)


def test_ids_are_unique_and_point_to_what_they_mean() -> None:
    mask = np.eye(4, dtype=bool)
    full = {"name": "image/0000.png", "height": 4, "width": 4, "instance": instance(mask)}
    empty = {**full, "name": "image/0001.png", "instance": None}
    images = {"cars/a": [full, empty], "beds/b": [full]}
    objects = {
        "cars/a": {"category": "cars", "licence": "CC0"},
        "beds/b": {"category": "beds", "licence": "MIT"},
    }
    made = coco_file("shapes", images, objects)
    assert [c["name"] for c in made["categories"]] == ["beds", "cars"]
    assert [i["file_name"] for i in made["images"]] == [
        "beds/b/image/0000.png",
        "cars/a/image/0000.png",
        "cars/a/image/0001.png",
    ]
    pairs = [(a["id"], a["image_id"], a["category_id"]) for a in made["annotations"]]
    assert pairs == [(1, 1, 1), (2, 2, 2)]
    licences = {entry["id"]: entry["name"] for entry in made["licenses"]}
    assert [licences[i["license"]] for i in made["images"]] == ["MIT", "CC0", "CC0"]
