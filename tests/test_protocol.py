"""Every message goes out as a line and comes back as it was."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

import pytest

from backend import protocol
from backend.protocol import Answer, Message, Progress, Reconstruct, Request, decode, encode

SAMPLES: dict[str, Any] = {
    "str": "Stühle\n1 \u2028",
    "int": 7,
    "float": 0.25,
    "float | None": 1.5,
    "bool": True,
    "tuple[str, ...]": ("a", "b"),
    "tuple[dict[str, Any], ...]": ({"name": "cpu", "deep": [1, None]},),
    "dict[str, Any]": {"resolution": 96, "words": ["x"]},
    "dict[str, float]": {"front": 0.5},
    "dict[str, str]": {"front": "alpha"},
}


def sample(cls: type) -> Message:
    """A message in which no field has its default."""
    return cls(**{f.name: SAMPLES[str(f.type)] for f in dataclasses.fields(cls)})


@pytest.mark.parametrize("cls", get_args(Request) + get_args(Answer), ids=lambda c: c.__name__)
def test_round_trip(cls: type) -> None:
    message = sample(cls)
    line = encode(message)
    assert "\n" not in line
    assert json.loads(line)["type"] == cls.__name__
    assert decode(line) == message


def test_defaults_need_not_be_said() -> None:
    line = '{"type": "Reconstruct", "inputs": ["a.png"], "output": "b.glb"}'
    assert decode(line) == Reconstruct(("a.png",), "b.glb")
    assert decode('{"type": "Progress", "fraction": 1, "stage": "s", "seconds_left": null}') == (
        Progress(1, "s")
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"type": "Message"}',
        '{"type": ["Cancel"], "job": "a"}',
        '{"type": "Cancel"}',
        '{"type": "Cancel", "job": null}',
        '{"type": "Cancel", "job": "a", "new": 1}',
        '{"type": "Progress", "fraction": "1", "stage": "s"}',
        '{"type": "Progress", "fraction": true, "stage": "s"}',
        '{"type": "Reconstruct", "inputs": "a.png", "output": "b.glb"}',
        '{"type": "Reconstruct", "inputs": ["a.png", 1], "output": "b.glb"}',
        '{"type": "Reconstruct", "inputs": [], "output": "b.glb", "params": []}',
        '{"type": "Reconstruct", "inputs": [], "output": "b.glb", "faces": 2.5}',
        "[" * 100_000,
    ],
    ids=lambda line: line[:60],
)
def test_what_is_no_message(line: str) -> None:
    with pytest.raises(ValueError):
        decode(line)


def test_every_message_says_what_it_is_for() -> None:
    for cls in get_args(Request) + get_args(Answer):
        assert cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
        assert getattr(protocol, cls.__name__) is cls
