"""Trained models in the panel: added, chosen, refused and removed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.blender_addon.test_panels import drawn
from tests.trained_parts import BALLS

pytestmark = pytest.mark.blender

CARD = {
    "method": "drwr_single_image",
    "label": "My chairs (DRWR)",
    "category": "chair",
    "steps": 12_000,
}


def checkpoint(path: Path, card: dict[str, Any], content: bytes = bytes(4)) -> Path:
    """A whole file of one number."""
    tensor = {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": {"model_card": json.dumps(card)}, "one": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)
    return path


@pytest.fixture
def models(blender: Any) -> Iterator[Any]:
    yield blender.trained_models
    for model in blender.trained_models.trained_models():
        Path(model["path"]).unlink()


def test_added_one_joins_the_list_and_is_chosen(blender: Any, models: Any, tmp_path: Path) -> None:
    assert "Trained Model" not in drawn(blender)
    blender.settings.method = "drwr_single_image"
    assert "needs a checkpoint (trained weights), and none is chosen" in drawn(blender)
    blender.settings.method = "visual_hull"

    given = checkpoint(tmp_path / "model.safetensors", CARD)
    assert blender.ops.add_model(filepath=str(given)) == {"FINISHED"}
    given.unlink()  # the copy stays
    assert blender.settings.method == "drwr_single_image"
    said = drawn(blender)
    assert "My chairs (DRWR)" in said
    assert "Learned from chair in 12,000 steps." in said
    assert "needs one reference or more, got 0" in said
    kept = Path(blender.session.checkpoint_of(blender.settings))
    assert kept.parent == models.models_folder()
    assert kept.is_file()

    blender.settings.method = "dvr"
    assert blender.session.checkpoint_of(blender.settings) == ""
    assert blender.ops.choose_model(path=str(kept)) == {"FINISHED"}
    assert blender.settings.method == "drwr_single_image"


def test_the_same_file_is_kept_once_and_another_beside_it(
    blender: Any, models: Any, tmp_path: Path
) -> None:
    first = checkpoint(tmp_path / "a.safetensors", CARD)
    second = checkpoint(tmp_path / "b.safetensors", CARD, struct.pack("<f", 1.0))
    for path in (first, second, first):
        models.add_model(path)
    assert len(models.trained_models()) == 2
    assert {Path(m["path"]).read_bytes() for m in models.trained_models()} == {
        first.read_bytes(),
        second.read_bytes(),
    }


@pytest.mark.parametrize(
    ("card", "cut", "words"),
    [
        (CARD, 1, "damaged or no safetensors file"),
        (CARD | {"method": "of_tomorrow"}, 0, "does not have"),
        (CARD | {"method": "visual_hull"}, 0, "takes no weights"),
        ({}, 0, "names no method"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(
    blender: Any, models: Any, tmp_path: Path, card: dict[str, Any], cut: int, words: str
) -> None:
    path = checkpoint(tmp_path / "model.safetensors", card)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    with pytest.raises(RuntimeError, match=words):
        blender.ops.add_model(filepath=str(path))
    assert models.trained_models() == []


def test_removed_it_is_gone(blender: Any, models: Any, tmp_path: Path) -> None:
    blender.ops.add_model(filepath=str(checkpoint(tmp_path / "model.safetensors", CARD)))
    kept = Path(blender.settings.checkpoint)
    assert blender.ops.remove_model() == {"FINISHED"}
    assert not kept.exists()
    assert models.trained_models() == []
    blender.settings.method = "drwr_single_image"
    assert "none is chosen" in drawn(blender)


def test_a_file_elsewhere_is_not_deleted(blender: Any, models: Any, tmp_path: Path) -> None:
    mine = checkpoint(tmp_path / "model.safetensors", CARD)
    blender.settings.method, blender.settings.checkpoint = "drwr_single_image", str(mine)
    with pytest.raises(RuntimeError, match="not one of the added models"):
        blender.ops.remove_model()
    assert mine.exists()


def test_one_empty_one_click_one_mesh(
    blender: Any, models: Any, drawings: list[Path], tmp_path: Path
) -> None:
    """The network's ball stands in the drawing, as large as the drawing shows it; twice."""
    weights = BALLS["drwr_single_image"](tmp_path / "model.safetensors", 0.35)
    blender.ops.add_model(filepath=str(weights))
    empty = blender.image_empty("Front", drawings[0], (np.pi / 2, 0, 0))
    empty.location, empty.empty_display_size = (1.0, 2.0, 3.0), 1.5
    blender.settings.quality, blender.settings.texture = "draft", "vertex"
    assert blender.ops.reconstruct() == {"FINISHED"}
    item = blender.bpy.context.active_object
    assert item.type == "MESH"
    vertices = np.array([item.matrix_world @ v.co for v in item.data.vertices])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    np.testing.assert_allclose((low + high)[[0, 2]] / 2, [1.0, 3.0], atol=0.1)
    # The drawing's ellipse is 0.8 wide and 0.5 high; no ball fills it, but one of about its size.
    assert 0.4 < (high - low).max() < 0.9

    blender.settings.checkpoint = ""
    assert blender.ops.recreate() == {"FINISHED"}
    again = blender.bpy.context.active_object
    assert again != item
    assert len(again.data.vertices) == len(item.data.vertices)
