"""A method's parameters, and the messages that carry them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pytest

from backend.errors import InputError
from backend.methods import METHODS
from backend.methods.interface import QUALITIES, MethodSpec, param
from backend.protocol import Failure, Message, Progress, Reconstruct, Result, decode, encode


@dataclass(frozen=True)
class Params:
    steps: int = param(10, "Steps.", minimum=1, maximum=100)
    weight: float = param(0.5, "Weight.", minimum=0.0)
    loss: str = param("soft", "Loss.", choices=("soft", "hard"))
    fair: bool = param(True, "Fair.")


SPEC = MethodSpec(
    name="trial",
    label="Trial",
    summary="For tests.",
    citation="-",
    minimum_views=1,
    needs_cameras=False,
    needs_checkpoint=False,
    params=Params,
    presets={"draft": {"steps": 5, "fair": False}, "standard": {}, "high": {"steps": 50}},
    image_size={"draft": 64, "standard": 128, "high": 256},
    seconds={"draft": 1, "standard": 2, "high": 3},
    memory_gib={"draft": 1, "standard": 1, "high": 1},
)


def test_defaults_then_preset_then_user() -> None:
    assert SPEC.make_params("standard", {}) == Params()
    assert SPEC.make_params("draft", {}) == Params(steps=5, fair=False)
    assert SPEC.make_params("draft", {"steps": 7}) == Params(steps=7, fair=False)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "7", 7),
        ("steps", 7.0, 7),
        ("steps", "1", 1),
        ("steps", "100", 100),
        ("weight", "1e3", 1000.0),
        ("weight", 2, 2.0),
        ("loss", "hard", "hard"),
        ("fair", "no", False),
        ("fair", "TRUE", True),
        ("fair", "0", False),
        ("fair", False, False),
    ],
)
def test_text_becomes_the_type(name: str, text: Any, value: Any) -> None:
    made = getattr(SPEC.make_params("standard", {name: text}), name)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 1}, "trial has no parameter 'size'; it has: steps, weight, loss, fair."),
        ({"steps": "many"}, "steps must be of type int, got 'many'"),
        ({"steps": 2.5}, "steps must be of type int"),
        ({"steps": 0}, "steps must be between 1 and 100, got 0"),
        ({"steps": 101}, "steps must be between 1 and 100, got 101"),
        ({"weight": -0.1}, "weight must be 0.0 or more, got -0.1"),
        ({"weight": "nan"}, "weight must be 0.0 or more, got nan"),
        ({"weight": None}, "weight must be of type float"),
        ({"loss": "firm"}, "loss must be one of soft, hard, got 'firm'"),
        ({"fair": "perhaps"}, "fair must be of type bool, got 'perhaps'"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        SPEC.make_params("standard", values)
    assert words in str(caught.value)


@pytest.mark.parametrize("spec", METHODS.values(), ids=METHODS.keys())
def test_front_pages_are_whole(spec: MethodSpec) -> None:
    """Every preset holds under the method's own checks, and every parameter says what it is."""
    for quality in QUALITIES:
        preset = spec.presets[quality]
        assert spec.make_params(quality, {}) == spec.make_params("standard", preset)
        assert spec.image_size[quality] >= 64
    for field in dataclasses.fields(spec.params):
        assert field.metadata["description"].endswith(".")


REQUEST = Reconstruct(
    inputs=("a.png", "b ü.png"),
    output="out.glb",
    views=("front", "right"),
    params={"fairness": 0.5, "align": "as_drawn"},
    seed=3,
)
RESULT = Result(
    output="out.glb",
    method="dvr",
    quality="draft",
    seed=0,
    device="cpu",
    seconds=1.5,
    stage_seconds={"reading images": 0.5},
    vertices=4,
    faces=4,
    watertight=True,
    silhouette_iou={"a.png": 0.99},
    warnings=("a\nb",),
)


@pytest.mark.parametrize(
    "message",
    [REQUEST, Reconstruct(("x",), "y.ply"), Progress(0.25, "texturing"), RESULT, Failure("no", "")],
    ids=lambda message: type(message).__name__,
)
def test_messages_survive_the_way(message: Message) -> None:
    line = encode(message)
    assert "\n" not in line
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        json.dumps({"type": "Render"}),
        json.dumps({"type": "Progress", "fraction": 0.5}),
        json.dumps({"type": "Progress", "fraction": 0.5, "stage": "a", "colour": "red"}),
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError):
        decode(line)
