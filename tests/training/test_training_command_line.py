"""``python -m training`` as users start it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.dataset_parts import box, rendered_dataset, sphere


def training(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_prepare_check_damage_repair(tmp_path: Path) -> None:
    shapes = {"objects/a": sphere(), "objects/b": box((0.3, 0.8, 0.4))}
    dataset = rendered_dataset(tmp_path / "d", shapes)
    done = training("prepare", dataset, "--workers", "2", "--points", "500")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{dataset}: 2 prepared, 0 already prepared, 0 failed\n"
    done = training("check", dataset)
    assert (done.returncode, done.stdout) == (0, f"{dataset}: sound\n")
    (dataset / "objects/a/image/0000.png").unlink()
    done = training("check", dataset, "--repair")
    assert done.returncode == 1
    assert "objects/a/image/0000.png: missing" in done.stdout
    assert "render again" in done.stdout
    assert list(json.loads((dataset / "dataset.json").read_text())["objects"]) == ["objects/b"]
    assert training("check", dataset).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepere", "d"], "invalid choice: 'prepere'"),
        (["prepare", "d", "--worker", "2"], "unrecognized arguments: --worker"),
        (["prepare", "d", "--workers", "0"], "must be 1 or more, got 0"),
        (["prepare", "d", "--workers", "two"], "invalid whole number value: 'two'"),
        (["prepare"], "required: DATASET"),
        (["prepare", "nowhere"], "'nowhere' is no dataset"),
        (["check", "nowhere"], "'nowhere' is no dataset"),
        (
            ["render", "--cluster", "auto", "--workers", "2", "--", "true"],
            "goes with --cluster local",
        ),
        (["render", "--", "true"], "required: --cluster"),
        ([], "required: COMMAND"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_code_2(words: list[str], said: str) -> None:
    done = training(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_how_to_get_it() -> None:
    done = training("render", "--cluster", "local", "--", "true")
    assert done.returncode == 2
    assert "pip install 'image-to-mesh[cluster]'" in done.stderr
