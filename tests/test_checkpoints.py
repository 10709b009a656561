"""Checkpoints on disk: files written byte by byte, as the format's description says."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.checkpoints import find_checkpoints, read_model_card
from backend.errors import InputError

ROOT = Path(__file__).parents[1]
CARD = {"method": "dvr", "label": "Chairs", "steps": 1000}
WEIGHT = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
BIAS = {"dtype": "F16", "shape": [], "data_offsets": [24, 26]}


def header_of(card: Any = CARD, **tensors: Any) -> dict[str, Any]:
    metadata = {"model_card": json.dumps(card)}
    return {"__metadata__": metadata, "bias": BIAS, "weight": WEIGHT} | tensors


def safetensors(header: Any, data: bytes = bytes(26)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_model_card(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(header_of()))
    assert read_model_card(path) == CARD


def damaged(change: str) -> bytes:
    whole = safetensors(header_of())
    return {
        "empty": b"",
        "short": whole[:5],
        "header cut": whole[:40],
        "tensors cut": whole[:-1],
        "too long": whole + b"x",
        "huge header": struct.pack("<Q", 2**63) + whole[8:],
        "not JSON": safetensors(b"{weight"),
        "not UTF-8": safetensors(b"\xff\xfe{}"),
        "nested": safetensors(b"[" * 100_000),
        "a list": safetensors([1, 2]),
        "no tensors": safetensors({"__metadata__": {}}, b""),
        "no shape": safetensors(header_of(weight={"dtype": "F32", "data_offsets": [0, 24]})),
        "unknown type": safetensors(header_of(weight=WEIGHT | {"dtype": "F33"})),
        "gap": safetensors(header_of(bias=BIAS | {"data_offsets": [25, 27]}), bytes(27)),
        "overlap": safetensors(header_of(bias=BIAS | {"data_offsets": [22, 24]}), bytes(24)),
        "other shape": safetensors(header_of(weight=WEIGHT | {"shape": [2, 4]})),
        "a pickle": pickle.dumps({"weight": [1.0] * 100}),
    }[change]


@pytest.mark.parametrize(
    "change",
    [
        *("empty", "short", "header cut", "tensors cut", "too long", "huge header", "not JSON"),
        *("not UTF-8", "nested", "a list", "no tensors", "no shape", "unknown type", "gap"),
        *("overlap", "other shape", "a pickle"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(damaged(change))
    with pytest.raises(InputError, match=r"^model.safetensors is damaged or no safetensors file: "):
        read_model_card(path)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "has no model card"),
        ({}, "has no model card"),
        ({"format": "pt"}, "has no model card"),
        ({"model_card": "# Chairs"}, "names no method"),
        ({"model_card": "[1]"}, "names no method"),
        ({"model_card": '{"label": "Chairs"}'}, "names no method"),
        ({"model_card": '{"method": ["dvr"]}'}, "names no method"),
        ({"model_card": '{"method": "magic"}'}, "'magic', which this version does not have"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, metadata: Any, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(header_of() | {"__metadata__": metadata}))
    with pytest.raises(InputError, match=words):
        read_model_card(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Not even read: nobody may, and yet the answer is the same."""
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(CARD))
    path.chmod(0)
    with pytest.raises(InputError, match=r"model.pth is pickled, which may run code"):
        read_model_card(path)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder as training leaves it, with strangers in it."""
    (tmp_path / "chairs").mkdir()
    (tmp_path / "chairs" / "model.safetensors").write_bytes(safetensors(header_of()))
    unnamed = safetensors(header_of({"method": "drwr"}))
    (tmp_path / "unnamed.safetensors").write_bytes(unnamed)
    (tmp_path / "old.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.safetensors").mkdir()
    return tmp_path


def test_a_folder(runs: Path) -> None:
    found, refused = find_checkpoints(runs)
    assert [(Path(f["path"]).name, f["method"], f["label"]) for f in found] == [
        ("model.safetensors", "dvr", "Chairs"),
        ("unnamed.safetensors", "drwr", "unnamed"),
    ]
    assert found[0]["card"] == CARD
    assert [Path(r["path"]).name for r in refused] == ["old.pt"]
    with pytest.raises(InputError, match="there is no folder"):
        find_checkpoints(runs / "gone")


def test_command_line(runs: Path) -> None:
    command = [sys.executable, "-m", "backend", "checkpoints", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "model.safetensors: Chairs (dvr)" in done.stdout
    assert "old.pt: refused: old.pt is pickled" in done.stdout
    command += ["--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)
    assert [data["checkpoints"][0]["card"], len(data["refused"])] == [CARD, 1]
