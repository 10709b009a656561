"""The loop with toys: resumed runs, faults, several processes, and a plain loop beside it."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backend import __version__
from backend import dataset_files as files
from backend.checkpoints import find_checkpoints, read_model_card
from backend.errors import InputError, ReconstructionError
from tests.conftest import ROOT
from tests.dataset_parts import SETTINGS, box, render, sphere
from tests.training.toy_recipe import SPEC, Options, Recipe
from training import trainer
from training.batches import batches
from training.datasets import RenderedDataset
from training.learner import Learner
from training.packing import pack
from training.prepare import prepare
from training.run_files import read_metrics, read_state, write_model
from training.trainer import RunResult, TrainerSettings, evaluate, train

SHORT = TrainerSettings(
    *(20, 4),
    validate_every=8,
    checkpoint_every=5,
    picture_every=10,
    log_every=3,
    workers=0,
    ema=0.9,
    clip=0.5,
    device="cpu",
)
DROPOUT = Options(dropout=0.3)
GAN = Options(adversarial=True, dropout=0.3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trainer") / "d"
    files.open_dataset(folder, SETTINGS, "toys")
    meshes = {f"boxes/{n}": box((0.9, 0.15 * n, 0.4)) for n in range(1, 6)}
    meshes |= {"balls/val": sphere(0.4, 1), "balls/test": sphere(0.2, 1)}
    for key, mesh in meshes.items():
        split = key[6:] if key.startswith("balls") else "train"
        render(folder, key, mesh, split=split, dup_group=key, licence="CC0")
    prepare(folder, points=50)
    return folder


def run(
    dataset: Path, out: Path, options: Options = DROPOUT, settings: TrainerSettings = SHORT
) -> RunResult:
    return train(SPEC, options, settings, dataset, "", out, "python -m training toy")


def in_own_process(
    dataset: Path, out: Path, options: Options, launcher: tuple[str, ...], **environment: str
) -> subprocess.CompletedProcess[str]:
    words = {"dataset": str(dataset), "out": str(out)}
    content = {**words, "options": asdict(options), "settings": asdict(SHORT)}
    command = [sys.executable, *launcher, "-m", "tests.training.toy_recipe", json.dumps(content)]
    variables = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **environment}
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


def metrics(out: Path) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    timed = ("seconds", "steps_per_second", "data_wait")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


def assert_equal_runs(one: Path, other: Path) -> None:
    """To the last bit."""
    for name in ("last.safetensors", "model.safetensors"):
        here, there = load_file(one / name), load_file(other / name)
        assert sorted(here) == sorted(there)
        assert [n for n in here if not torch.equal(here[n], there[n])] == []
    assert metrics(one) == metrics(other)
    cards = [read_model_card(path / "model.safetensors") for path in (one, other)]
    assert cards[0]["held_out"] == cards[1]["held_out"]
    assert cards[0]["steps"] == cards[1]["steps"]


# What a run leaves


def test_a_run_leaves_what_its_folder_promises(dataset: Path, tmp_path: Path) -> None:
    result = run(dataset, tmp_path / "r", Options())
    out = tmp_path / "r"
    assert result.steps == 20
    assert [line["step"] for line in metrics(out) if "gradient_norm/generator" in line] == [
        *(3, 6, 9, 12, 15, 18, 20)
    ]
    validated = {line["step"]: line["val/error"] for line in metrics(out) if "val/error" in line}
    assert list(validated) == [8, 16, 20]
    assert result.best_step == min(validated, key=lambda step: validated[step])
    assert result.scores["val"]["error"] == validated[result.best_step]
    first, *_, last = (line for line in metrics(out) if "loss/generator/error" in line)
    assert last["loss/generator/error"] < first["loss/generator/error"]
    for step in (10, 20):
        pixels = np.asarray(Image.open(out / f"pictures/{step:07}_balls_a.png"))
        assert (pixels == 200).all()
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("val/error")] == [8, 16, 20]
    assert [e.step for e in events.Images("pictures/balls_a")] == [10, 20]


def test_the_model_card_tells_where_the_model_comes_from(dataset: Path, tmp_path: Path) -> None:
    result = run(dataset, tmp_path / "r", Options())
    card = read_model_card(result.model)
    expected = {
        **{"method": "drwr", "recipe": "toy", "category": "", "split": "train", "seed": 0},
        **{"project_version": __version__, "data_licences": {"CC0": 5}, "objects": 5},
        "settings": asdict(Options()),
        "steps": result.best_step,
        "data_hash": RenderedDataset(dataset, "train").data_hash,
        "created_by": "python -m training toy",
    }
    assert {name: card[name] for name in expected} == expected
    assert set(card["held_out"]) == {"val", "test"}
    assert card["held_out"]["val"]["undefined"] is None  # JSON has no NaN
    found, refused = find_checkpoints(tmp_path / "r")
    assert [one["path"] for one in found] == [str(result.model)]
    assert [Path(one["path"]).name for one in refused] == ["last.safetensors"]


# The loop against a plain one


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_group_is_stepped_as_a_plain_loop_does(dataset: Path, clip: float) -> None:
    recipe = Recipe(Options(), dataset, "")
    learner = Learner(Fabric(accelerator="cpu", devices=1), recipe, 3, clip, ema=0.8)
    torch.manual_seed(3)
    model = recipe.model()
    mean = copy.deepcopy(model)
    group = recipe.param_groups(model)["generator"]
    adam = torch.optim.AdamW(group.parameters, 0.02, (0.5, 0.9), weight_decay=0.01)
    for step, (batch,) in enumerate(batches(recipe.training_data(), range(12), 4, seed=3)):
        values = learner.step([batch], step)
        adam.zero_grad()
        error = recipe.loss(model, "generator", batch, step)["error"]
        error.backward()
        torch.testing.assert_close(values["loss/generator/error"], error.detach())
        model.get_parameter("unused").grad = torch.zeros(2)
        gradients = [p.grad for p in group.parameters if p.grad is not None]
        norm = torch.cat([gradient.ravel() for gradient in gradients]).norm()
        torch.testing.assert_close(values["gradient_norm/generator"], norm)
        if clip:
            for gradient in gradients:
                gradient *= min(1.0, clip / float(norm))
        for options in adam.param_groups:
            options["lr"] = 0.02 * 0.99**step
        adam.step()
        decay = min(0.8, (1 + step) / (10 + step))
        for old, new in zip(mean.parameters(), model.parameters(), strict=True):
            old.data = decay * old.data + (1 - decay) * new.data
    for name, value in model.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[name], value)
        torch.testing.assert_close(learner.average.state_dict()[name], mean.state_dict()[name])


def test_groups_are_stepped_in_turn_and_the_others_rest(dataset: Path) -> None:
    recipe = Recipe(GAN, dataset, "")
    learner = Learner(Fabric(accelerator="cpu", devices=1), recipe, 0, 0.0, 0.9)
    (batch,) = next(batches(recipe.training_data(), range(1), 4, seed=0))
    learner.step([batch], 0)
    assert [group for group, _ in recipe.required] == ["generator", "discriminator"]
    for group, trained in recipe.required:
        named = {name.partition(".")[0] for name in trained}
        assert named == ({"generator", "unused"} if group == "generator" else {"discriminator"})


def test_parts_and_bf16_change_the_result_by_rounding_only(dataset: Path, tmp_path: Path) -> None:
    whole = load_file(run(dataset, tmp_path / "whole", Options()).model)
    for name, changed, tolerance in (
        ("parts", {"accumulate": 4}, 1e-5),
        ("bf16", {"precision": "bf16-mixed"}, 5e-2),
    ):
        found = load_file(run(dataset, tmp_path / name, Options(), replace(SHORT, **changed)).model)
        for tensor, value in whole.items():
            torch.testing.assert_close(found[tensor], value, rtol=tolerance, atol=tolerance)


def test_workers_change_nothing(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "none")
    run(dataset, tmp_path / "two", settings=replace(SHORT, workers=2))
    assert_equal_runs(tmp_path / "none", tmp_path / "two")


def test_a_packed_dataset_trains_the_same(dataset: Path, tmp_path: Path) -> None:
    pack(dataset, tmp_path / "packed")
    run(dataset, tmp_path / "r")
    run(tmp_path / "packed", tmp_path / "other")
    assert_equal_runs(tmp_path / "r", tmp_path / "other")


# Resuming


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_been(dataset: Path, tmp_path: Path) -> None:
    kill = {"TOY_SIGNAL": "13", "TOY_SIGNAL_NUMBER": str(int(signal.SIGKILL))}
    done = in_own_process(dataset, tmp_path / "killed", GAN, (), **kill)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_state(tmp_path / "killed/last.safetensors")[1]["step"] == 10
    assert metrics(tmp_path / "killed")[-1]["step"] == 12
    run(dataset, tmp_path / "killed", GAN)
    run(dataset, tmp_path / "unbroken", GAN)
    assert_equal_runs(tmp_path / "killed", tmp_path / "unbroken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [DROPOUT, GAN], ids=["one group", "two groups"])
def test_a_stopped_run_saves_the_step_under_way(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Options,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setenv("TOY_SIGNAL", "6")
        patch.setenv("TOY_SIGNAL_NUMBER", str(int(number)))
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "stopped", options)
    assert signal.getsignal(number) is before
    assert read_state(tmp_path / "stopped/last.safetensors")[1]["step"] == 7
    run(dataset, tmp_path / "stopped", options)
    run(dataset, tmp_path / "unbroken", options)
    assert_equal_runs(tmp_path / "stopped", tmp_path / "unbroken")


def test_a_run_may_be_prolonged(dataset: Path, tmp_path: Path) -> None:
    whole, prolonged = tmp_path / "whole", tmp_path / "prolonged"
    run(dataset, whole)
    assert run(dataset, prolonged, settings=replace(SHORT, steps=10)).steps == 10
    assert run(dataset, prolonged, settings=replace(SHORT, workers=1)).steps == 20
    here, there = (load_file(out / "last.safetensors") for out in (whole, prolonged))
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_a_finished_run_is_left_as_it_is(dataset: Path, tmp_path: Path) -> None:
    first = run(dataset, tmp_path / "r")
    content = (tmp_path / "r/model.safetensors").read_bytes()
    second = run(dataset, tmp_path / "r")
    assert (second.steps, second.best_step) == (first.steps, first.best_step)
    assert second.scores["test"] == first.scores["test"]
    assert (tmp_path / "r/model.safetensors").read_bytes() == content


def test_metrics_are_cut_at_a_step_and_broken_lines_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3}\n{"step": 6}\n{"st\n{"step": 5}\n{"step": 4}')
    assert read_metrics(path, 5) == '{"step": 3}\n{"step": 5}\n'
    assert read_metrics(tmp_path / "none", 5) == ""


# Several processes


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_batch(dataset: Path, tmp_path: Path) -> None:
    """Up to the order of sums: 1e-5 of weights of the order of 1 after 20 steps."""
    options = Options(adversarial=True)
    alone = run(dataset, tmp_path / "one", options)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = in_own_process(dataset, tmp_path / "two", options, launcher)
    assert done.returncode == 0, done.stderr
    here, there = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert sorted(here) == sorted(there)
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-5, atol=1e-5, msg=name)
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one.pop("val/undefined", None) == two.pop("val/undefined", None)
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)
    assert alone.best_step == read_model_card(tmp_path / "two/model.safetensors")["steps"]


def test_a_batch_that_cannot_be_shared_out_is_refused(dataset: Path, tmp_path: Path) -> None:
    settings = replace(SHORT, batch_size=4, accumulate=3)
    with pytest.raises(InputError, match=r"batch of 4 .* 1 processes in 3 parts .* --batch-size 6"):
        run(dataset, tmp_path / "r", settings=settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 cuda devices were asked for, and torch finds 0"):
        run(dataset, tmp_path / "r", settings=replace(SHORT, device="cuda"))


# Faults


def test_other_settings_are_refused_with_what_differs(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(dataset, out, settings=replace(SHORT, steps=1))
    with pytest.raises(InputError, match=r"\(width: 6 there, 7 now; seed: 0 there, 1 now\)"):
        run(dataset, out, replace(DROPOUT, width=7), replace(SHORT, seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is no run; choose an empty or a new folder"):
        run(dataset, tmp_path / "other")


def test_a_run_that_saved_nothing_may_begin_anew_with_other_settings(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(ReconstructionError, match="nothing was saved yet"):
        run(dataset, tmp_path / "r", Options(nan_at=2))
    run(dataset, tmp_path / "r")
    run(dataset, tmp_path / "fresh")
    assert_equal_runs(tmp_path / "r", tmp_path / "fresh")


def test_other_data_are_refused(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path / "r", settings=replace(SHORT, steps=1))
    changed = shutil.copytree(dataset, tmp_path / "changed")
    content = json.loads((changed / "dataset.json").read_text())
    content["files"]["boxes/1/points.npz"] = 64 * "0"
    (changed / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="data_hash"):
        run(changed, tmp_path / "r", settings=replace(SHORT, steps=1))


def test_an_empty_split_is_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"split 'val' of category 'boxes' .* is empty"):
        train(SPEC, Options(), SHORT, dataset, "boxes", tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("checkpoint_every", [5, 1000])
def test_a_loss_that_is_no_number_stops_the_run(
    dataset: Path, tmp_path: Path, checkpoint_every: int
) -> None:
    out, settings = tmp_path / "r", replace(SHORT, checkpoint_every=checkpoint_every)
    with pytest.raises(ReconstructionError) as caught:
        run(dataset, out, Options(nan_at=12), settings)
    said = str(caught.value)
    assert "loss/generator/error became nan between step 12 and step 15" in said
    assert "Lower the learning rate, set --clip (now 0.5)" in said
    if checkpoint_every == 5:
        assert f"the last good checkpoint is '{out / 'last.safetensors'}'" in said
        tensors, progress = read_state(out / "last.safetensors")
        assert progress["step"] == 10
        assert all(value.isfinite().all() for value in tensors.values())
    else:
        assert "nothing was saved yet" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_last_checkpoint(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(dataset, out, settings=replace(SHORT, steps=10))
    whole = (out / "last.safetensors").read_bytes()
    part = out / f".last.safetensors.{os.getpid()}.part"
    part.symlink_to("/dev/full")
    with pytest.raises(ReconstructionError, match=r"disk is full; free .* run the same command"):
        run(dataset, out)
    assert (out / "last.safetensors").read_bytes() == whole
    assert not part.exists()
    run(dataset, out)
    run(dataset, tmp_path / "whole")
    here, there = (load_file(path / "last.safetensors") for path in (out, tmp_path / "whole"))
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_too_full_for_metrics_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(dataset, out, settings=replace(SHORT, steps=1))
    original = trainer.Monitor.log

    def full(monitor, step, values) -> None:
        monitor._metrics = Path("/dev/full")
        original(monitor, step, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Monitor, "log", full)
        with pytest.raises(ReconstructionError, match="the disk is full; free some space"):
            run(dataset, out)


@pytest.mark.parametrize(
    ("largest", "said"),
    [
        (
            3,
            "too small for 4 objects at a time, 2 fit; use --accumulate 2, which .* --batch-size 2",
        ),
        (1, "1 fit; use --accumulate 4, which gives the same result, or --batch-size 1"),
        (0, "and even for one; lower what the recipe calculates, or use --device cpu"),
    ],
)
def test_a_full_memory_names_a_batch_that_fits(
    dataset: Path, tmp_path: Path, largest: int, said: str
) -> None:
    with pytest.raises(ReconstructionError, match=said):
        run(dataset, tmp_path / "r", Options(largest=largest))


def test_the_advice_of_a_full_memory_works(dataset: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "r", Options(largest=3)
    with pytest.raises(ReconstructionError):
        run(dataset, out, options)
    assert run(dataset, out, options, replace(SHORT, accumulate=2)).steps == 20


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(dataset, out, settings=replace(SHORT, steps=5))
    path = out / "last.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"\x80\x04."):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"last.safetensors' is damaged .* delete it to begin"):
            run(dataset, out)
    path.unlink()
    assert run(dataset, out).steps == 20


# Evaluating


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "recipe_spec", lambda name: SPEC)


@pytest.mark.usefixtures("toys")
def test_evaluating_reproduces_the_cards_scores(dataset: Path, tmp_path: Path) -> None:
    result = run(dataset, tmp_path / "r")
    held_out = read_model_card(result.model)["held_out"]
    for split in ("val", "test"):
        torch.rand(7)  # whatever was drawn before
        scores = evaluate(result.model, dataset, split=split, device="cpu")
        assert scores["error"] == held_out[split]["error"]


@pytest.mark.usefixtures("toys")
def test_checkpoints_that_cannot_be_evaluated(dataset: Path, tmp_path: Path) -> None:
    model = run(dataset, tmp_path / "r", settings=replace(SHORT, steps=1)).model
    tensors, card = load_file(model), read_model_card(model)
    other = tmp_path / "other.safetensors"
    write_model(other, {**tensors, "generator.0.bias": torch.zeros(9)}, card)
    with pytest.raises(
        InputError, match=r"other.safetensors: .* 'generator.0.bias' is \(9,\) there"
    ):
        evaluate(other, dataset)
    write_model(other, tensors, {"method": "drwr"})
    with pytest.raises(InputError, match="its card names no recipe"):
        evaluate(other, dataset)
    save_file(tensors, other)
    with pytest.raises(InputError, match="no model card"):
        evaluate(other, dataset)
    with pytest.raises(InputError, match="no category 'cars'"):
        evaluate(model, dataset, "cars")
