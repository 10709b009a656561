"""``python -m training`` as users start it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.checkpoints import read_model_card
from tests.conftest import ROOT
from tests.dataset_parts import box, rendered_dataset, sphere
from training.feature_network import load_feature_network


def training(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_prepare_check_damage_repair(tmp_path: Path) -> None:
    shapes = {"objects/a": sphere(), "objects/b": box((0.3, 0.8, 0.4))}
    dataset = rendered_dataset(tmp_path / "d", shapes)
    ended = training("prepare", dataset, "--workers", "2", "--points", "500")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{dataset}: 2 prepared, 0 already prepared, 0 failed\n"
    ended = training("check", dataset)
    assert (ended.returncode, ended.stdout) == (0, f"{dataset}: sound\n")
    (dataset / "objects/a/image/0000.png").unlink()
    ended = training("check", dataset, "--repair")
    assert ended.returncode == 1
    assert "objects/a/image/0000.png: missing" in ended.stdout
    assert "render again" in ended.stdout
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
    ended = training(*words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_how_to_get_it() -> None:
    ended = training("render", "--cluster", "local", "--", "true")
    assert ended.returncode == 2
    assert "pip install 'image-to-mesh[cluster]'" in ended.stderr


def done(*words: str | Path) -> str:
    """What a command prints that ends well."""
    ended = training(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_from_shapes_to_a_mesh_of_one_picture(tmp_path: Path) -> None:
    """The whole journey of the README with its own commands, at the smallest size."""
    for category in ("mug", "table"):
        folder = tmp_path / "shapes" / category
        done("shapes", category, "-n", "8", "-o", folder, "--sheet", tmp_path / f"{category}.png")
        assert len(list(folder.glob("*.glb"))) == 8
    dataset, run = tmp_path / "dataset", tmp_path / "run"
    few = ("--views", "4", "--resolution", "32", "--seed", "3")
    assert "16 rendered" in done("views", tmp_path / "shapes", "-o", dataset, *few)
    assert "16 already rendered" in done("views", tmp_path / "shapes", "-o", dataset, *few)
    assert "16 prepared" in done("prepare", dataset, "--points", "300")
    assert done("check", dataset) == f"{dataset}: sound\n"

    small = ("--image-size", "32", "--points", "300", "--width", "0.0625", "--batch-size", "2")
    words = ("drwr", "--data", dataset, "--category", "mug", "--out", run, *small)
    assert "best after" in done(*words, "--steps", "3", "--workers", "0", "--device", "cpu")
    model = run / "model.safetensors"
    said = json.loads(done("evaluate", model, "--data", dataset, "--device", "cpu", "--json"))
    assert said == read_model_card(model)["held_out"]["test"]

    picture = next((dataset / "mug").glob("*/image/0000.png"))
    words = ("reconstruct", picture, "--checkpoint", model, "-o", tmp_path / "mug.glb")
    command = [sys.executable, "-m", "backend", *map(str, words)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "watertight" in ended.stdout

    features = tmp_path / "features.safetensors"
    assert "of the pictures of val" in done(
        "features", "--data", dataset, "-o", features, "--steps", "3"
    )
    assert load_feature_network(features).categories == ("mug", "table")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shapes", "chairs", "-o", "x"], "there is no category 'chairs'; choose chair,"),
        (["shapes", "chair"], "say with -o"),
        (["views", "nowhere", "-o", "d"], "nowhere"),
        (["drwr", "--data", "nowhere", "--out", "r"], "'nowhere' is no dataset"),
        (["drwr", "--data", "d", "--out", "r", "--point", "9"], "unrecognized arguments: --point"),
        (["drwr", "--data", "d", "--out", "r", "--points", "-1"], "--points"),
        (["drwr", "--out", "r"], "required: --data"),
        (["evaluate", "no.safetensors", "--data", "d"], "no.safetensors"),
        (["pack", "nowhere", "-o", "x"], "'nowhere' is no dataset"),
        (["features", "--data", "nowhere", "-o", "x.safetensors"], "'nowhere' is no dataset"),
    ],
)
def test_wrong_words_of_training(words: list[str], said: str, tmp_path: Path) -> None:
    ended = training(*words)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
