"""The command line as a user meets it: results, sentences, exit codes, and what is left on disk."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from backend import __main__ as command_line
from backend.errors import Cancelled, InputError, ReconstructionError
from backend.mesh_files import SUFFIXES
from backend.methods import METHODS
from backend.protocol import FAILURE_KINDS, Progress, Reconstruct, Result
from backend.worker import Ending, attempt, describe, run

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"
DRAWINGS = [str(ROOT / "examples" / "drawings" / f"{n}.png") for n in ("front", "right", "top")]
DRAFT = ["--quality", "draft"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs ``main`` here, without a child, which would import torch anew for every test."""
    monkeypatch.setattr(command_line, "run", attempt)

    def call(*arguments: object) -> Outcome:
        code = command_line.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call


def in_shell(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "backend", *(str(a) for a in arguments)]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_refused(outcome: Outcome, *words: str) -> bool:
    """One sentence on stderr that says all ``words``, exit code 2, and nothing else."""
    assert [outcome.code, outcome.out] == [2, ""], outcome
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    return all(word in outcome.err for word in words)


# Results ------------------------------------------------------------------------------------------


class Finished(NamedTuple):
    folder: Path
    process: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The bundled example, made by a process of its own as from a shell."""
    folder = tmp_path_factory.mktemp("out")
    places = ["-o", folder / "robot.glb", "--preview", folder / "robot.png"]
    arguments = in_shell("reconstruct", QUICKSTART, *places, *DRAFT, "--json")
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return Finished(folder, done)


def test_json_line_says_everything(finished: Finished) -> None:
    assert finished.process.returncode == 0, finished.process.stderr
    result = json.loads(finished.process.stdout.splitlines()[-1])
    assert list(result) == [field.name for field in dataclasses.fields(Result)]
    assert result["watertight"] is True
    assert 4 <= result["faces"] <= 20_000
    assert result["vertices"] > 1000
    assert sorted(result["silhouette_iou"]) == [f"view_{i}.png" for i in range(8)]
    assert min(result["silhouette_iou"].values()) >= 0.97
    assert sum(result["stage_seconds"].values()) <= result["seconds"] + 0.01
    assert [result["method"], result["quality"], result["seed"]] == ["visual_hull", "draft", 0]


def test_summary_and_files(finished: Finished) -> None:
    assert finished.process.stderr == ""  # not a terminal, so no progress bar
    summary = finished.process.stdout
    for words in (str(finished.folder / "robot.glb"), "watertight", "silhouette IoU", "robot.png"):
        assert words in summary
    assert files_in(finished.folder) == ["robot.glb", "robot.png"]


def test_same_seed_same_bytes(finished: Finished, command: Command, tmp_path: Path) -> None:
    assert command("reconstruct", QUICKSTART, "-o", tmp_path / "robot.glb", *DRAFT).code == 0
    again = (tmp_path / "robot.glb").read_bytes()
    assert again == (finished.folder / "robot.glb").read_bytes()


def test_world_of_the_cameras(finished: Finished) -> None:
    """The robot stands on z = 0, 1.08 high, its raised hand at its own right, which is -X."""
    from backend.mesh_files import read_mesh

    vertices = read_mesh(finished.folder / "robot.glb").vertices
    assert vertices[:, 2].min() == pytest.approx(0.0, abs=0.02)
    assert vertices[:, 2].max() == pytest.approx(1.08, abs=0.02)
    assert vertices[vertices[:, 2] > 0.7, 0].min() == pytest.approx(-0.447, abs=0.02)
    assert vertices[:, 1].min() < -0.18  # feet and hands point forward, which is -Y


def test_drawings_and_sheet_agree(command: Command, tmp_path: Path) -> None:
    """The sheet holds the same three drawings, so the same mesh must come out."""
    drawings, sheet = tmp_path / "drawings.ply", tmp_path / "sheet.ply"
    names = "front,right,top"
    one = command("reconstruct", *DRAWINGS, "--views", names, "-o", drawings, *DRAFT, "--json")
    picture = ROOT / "examples" / "drawings_sheet.png"
    other = command("reconstruct", picture, "--sheet", names, "-o", sheet, *DRAFT, "--json")
    assert one.code == other.code == 0, one.err + other.err
    results = [json.loads(outcome.out.splitlines()[-1]) for outcome in (one, other)]
    assert min(*results[0]["silhouette_iou"].values()) >= 0.95
    assert results[0]["faces"] == results[1]["faces"]
    assert "mask found by plain background" in one.out


def test_obj_brings_its_texture(command: Command, tmp_path: Path) -> None:
    outcome = command(
        *("reconstruct", QUICKSTART, "-o", tmp_path / "robot.obj", *DRAFT),
        *("--texture", "uv", "--faces", 2000),
    )
    assert outcome.code == 0, outcome.err
    assert files_in(tmp_path) == ["robot.mtl", "robot.obj", "robot.png"]


# methods, help, version ---------------------------------------------------------------------------


def test_methods_needs_no_torch() -> None:
    program = (
        "import sys; from backend.__main__ import main; code = main(['methods', '--json']);"
        "heavy = {'torch', 'scipy', 'cv2', 'PIL', 'trimesh', 'rich'} & set(sys.modules);"
        "sys.exit(code if not heavy else str(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    listed = {method["name"]: method for method in json.loads(done.stdout)}
    assert list(listed) == list(METHODS)
    params = {p["name"]: p for p in listed["visual_hull"]["params"]}
    assert params["fairness"]["maximum"] == 1.0
    assert params["resolution"]["type"] == "int"


def test_methods_in_words(command: Command) -> None:
    outcome = command("methods")
    assert outcome.code == 0
    for spec in METHODS.values():
        assert f"{spec.name}: {spec.summary}" in outcome.out
        for field in dataclasses.fields(spec.params):
            assert f"--param {field.name}=" in outcome.out


def test_reader_that_leaves_early_is_no_error() -> None:
    """As in ``python -m backend methods | head -1``."""
    process = subprocess.Popen(
        in_shell("methods"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.wait(timeout=30)


def test_output_endings_are_those_that_are_written() -> None:
    assert command_line.OUTPUT_SUFFIXES == SUFFIXES


# What is refused before any work ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["paint"], ["paint", "reconstruct", "methods"]),
        (["reconstruct", "-o", "OUT.glb"], ["INPUT"]),
        (["reconstruct", "IN"], ["--output"]),
        (["reconstruct", "gone.png", "-o", "OUT.glb"], ["gone.png does not exist"]),
        (["reconstruct", "IN", "-o", "OUT.stl"], ["OUT.stl", ".glb", ".obj", ".ply"]),
        (["reconstruct", "IN", "-o", "OUT.npz"], ["OUT.npz", "must end in"]),
        (["reconstruct", "IN", "-o", "OUT"], ["must end in"]),
        (["reconstruct", "IN", "-o", "gone/OUT.glb"], ["folder", "gone", "does not exist"]),
        (["reconstruct", "IN", "-o", "folder.glb"], ["folder.glb", "is a folder"]),
        (["reconstruct", "IN", "-o", "a_file/OUT.glb"], ["a_file"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--preview", "p.jpg"], ["--preview", ".png"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--method", "nerf"], ["nerf", "visual_hull"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--quality", "best"], ["best", "draft"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--symmetry", "z"], ["'z'", "none"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--device", "tpu"], ["tpu", "cuda"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--faces", "3"], ["--faces", "4 or more"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--faces", "many"], ["--faces", "many"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--seed", "-1"], ["--seed"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--views", "front,rear"], ["rear", "bottom"]),
        (["reconstruct", "A.png", "-o", "OUT.glb", "--views", "front,top"], ["2 views", "1 image"]),
        (["reconstruct", "IN", "A.png", "-o", "OUT.glb", "--sheet", "front,top"], ["--sheet", "2"]),
        (
            ["reconstruct", "A.png", "-o", "OUT.glb", "--views", "top", "--sheet", "top"],
            ["not allowed with"],
        ),
        (["reconstruct", "IN", "-o", "OUT.glb", "--cameras", "gone.json"], ["gone.json"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--masks", "gone.png"], ["gone.png"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--masks", "auto", "gone.png"], ["gone.png"]),
        (["checkpoints", "gone"], ["no folder gone"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--param", "fairness"], ["NAME=VALUE"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--param", "glow=1"], ["glow", "fairness"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--param", "fairness=2"], ["between 0.0 and 1.0"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--param", "resolution=x"], ["type int", "'x'"]),
        (["reconstruct", "IN", "-o", "OUT.glb", "--param", "align=left"], ["as_drawn", "left"]),
        (["reconstruct", "A.png", "-o", "OUT.glb", "--preview", "A.png"], ["replace an input"]),
        (["reconstruct", "A.png", "-o", "A.obj", "--texture", "uv"], ["A.png", "replace"]),
        (
            ["reconstruct", "IN", "-o", "B.obj", "--texture", "uv", "--preview", "B.png"],
            ["B.png", "both"],
        ),
    ],
    ids=lambda value: " ".join(value[1:]) if value[:1] == ["reconstruct"] else None,
)
def test_refused_at_once(
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("IN").mkdir()
    Path("folder.glb").mkdir()
    for name in ("A.png", "a_file"):
        Path(name).touch()
    before = files_in(tmp_path)
    start = time.perf_counter()
    code = command_line.main(arguments)
    assert time.perf_counter() - start < 0.5
    said = capsys.readouterr()
    assert is_refused(Outcome(code, said.out, said.err), *words)
    assert files_in(tmp_path) == before


# What only the work can find out ------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The example, to be spoilt."""
    return Path(shutil.copytree(QUICKSTART, tmp_path / "copy"))


def edited(copy: Path, change: Callable[[list[dict]], object]) -> None:
    path = copy / "transforms.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["frames"])
    path.write_text(json.dumps(content), encoding="utf-8")


def mirror(frames: list[dict]) -> None:
    for frame in frames:
        frame["transform_matrix"][0] = [-value for value in frame["transform_matrix"][0]]


def flatten(frames: list[dict]) -> None:
    frames[2]["transform_matrix"][1] = frames[2]["transform_matrix"][0]


def rename(frames: list[dict]) -> None:
    for frame in frames:
        frame["file_path"] = "gone/" + frame["file_path"]


def halve(frames: list[dict]) -> None:
    frames[0]["h"] = 200


def truncate(copy: Path) -> None:
    path = copy / "view_3.png"
    path.write_bytes(path.read_bytes()[:9000])


def make_transparent(copy: Path) -> None:
    Image.new("RGBA", (512, 512)).save(copy / "view_3.png")


def look_elsewhere(copy: Path) -> None:
    """View 3 shows the object in a corner where the other views rule it out."""
    pixels = np.zeros((512, 512, 4), np.uint8)
    pixels[10:40, 10:40] = 255
    Image.fromarray(pixels).save(copy / "view_3.png")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, ["view_3.png"]),
        (lambda copy: (copy / "view_3.png").write_text("not a picture"), ["view_3.png", "image"]),
        (lambda copy: (copy / "view_3.png").write_bytes(b""), ["view_3.png", "empty"]),
        (make_transparent, ["no object", "view_3.png"]),
        (look_elsewhere, ["view_3.png"]),
        (lambda copy: (copy / "transforms.json").unlink(), ["copy", "camera"]),
        (lambda copy: (copy / "transforms.json").write_text("{"), ["transforms.json"]),
        (lambda copy: edited(copy, mirror), ["left-handed"]),
        (lambda copy: edited(copy, flatten), ["singular"]),
        (lambda copy: edited(copy, rename), ["transforms.json", "none of the 8 images"]),
        (lambda copy: edited(copy, halve), ["view_0.png", "200"]),
        (lambda copy: edited(copy, lambda frames: frames.__delitem__(slice(1, 8))), ["2 views"]),
    ],
    ids=[
        "truncated",
        "text",
        "empty",
        "transparent",
        "elsewhere",
        "no_cameras",
        "broken_json",
        "left_handed",
        "singular",
        "missing_images",
        "wrong_size",
        "one_view",
    ],
)
def test_refused_after_reading(
    spoil: Callable[[Path], object], words: list[str], command: Command, copy: Path, tmp_path: Path
) -> None:
    spoil(copy)
    outcome = command("reconstruct", copy, "-o", tmp_path / "out.glb", *DRAFT)
    assert is_refused(outcome, *words), outcome.err
    assert files_in(tmp_path) == ["copy"]


def test_absent_device(command: Command, tmp_path: Path) -> None:
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    out = tmp_path / "out.glb"
    outcome = command("reconstruct", QUICKSTART, "-o", out, "--device", absent)
    assert is_refused(outcome, absent, "--device auto"), outcome.err


def test_masks_that_are_not_one_for_each(command: Command, tmp_path: Path) -> None:
    outcome = command(
        "reconstruct", QUICKSTART, "-o", tmp_path / "out.glb", "--masks", DRAWINGS[0], DRAWINGS[1]
    )
    assert is_refused(outcome, "2 mask files", "8 images"), outcome.err


# Failures of the work -----------------------------------------------------------------------------


def test_unexpected_errors_show_a_traceback_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(request: Reconstruct, show: Callable[[Progress], None]) -> Ending:
        try:
            struct.unpack("i", b"")
        except struct.error as error:
            return describe(error)
        raise AssertionError

    monkeypatch.setattr(command_line, "run", fail)
    arguments = ["reconstruct", str(QUICKSTART), "-o", str(tmp_path / "out.glb")]
    assert command_line.main(arguments) == 1
    quiet = capsys.readouterr().err
    assert quiet.startswith("image-to-mesh: unexpected error: unpack requires")
    assert "--debug" in quiet
    assert "Traceback" not in quiet
    assert command_line.main([*arguments, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_real_lack_of_memory_names_the_settings() -> None:
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**60, np.uint8)
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**60, dtype=torch.uint8)
    for error in (numpy_error.value, torch_error.value):
        ending = describe(error)
        assert ending.exit_code == 1
        assert "memory is full." in ending.message
        assert "Lower the quality or the resolution" in ending.hint
        assert ending.kind == "memory"


def test_lack_of_device_memory_is_named() -> None:
    ending = describe(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert ending.message.startswith("the memory of the CUDA device is full")
    assert "the device cpu" in ending.hint


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InputError("no."), "input", "no."),
        (ReconstructionError("it failed."), "failure", "it failed."),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory", "the CUDA device is full"),
        (RuntimeError("CUDA error: out of memory"), "memory", "is full"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory", "is full"),
        (OSError(12, "Cannot allocate memory"), "memory", "is full"),
        (RuntimeError("CUDA error: an illegal memory access"), "cuda", "illegal memory access"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda", "cuDNN"),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "library", "cv2 is missing in"),
        (ImportError("DLL load failed"), "library", "DLL load failed"),
        (KeyError("x"), "failure", "unexpected KeyError: 'x'"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else None,
)
def test_the_kind_of_a_failure(error: Exception, kind: str, words: str) -> None:
    failure = describe(error).as_failure("job")
    assert [failure.kind, failure.job] == [kind, "job"]
    assert failure.kind in FAILURE_KINDS
    assert words in failure.message


def test_other_endings() -> None:
    assert describe(InputError("no.")).exit_code == 2
    assert describe(Cancelled()).exit_code == 130
    ending = describe(PermissionError(13, "Permission denied", "x.glb"))
    assert [ending.exit_code, ending.message] == [1, "x.glb: Permission denied."]


def test_a_killed_child_is_explained_and_tidied_up(tmp_path: Path) -> None:
    """As when the system runs out of memory; its unfinished file is planted under its name."""
    request = Reconstruct((str(QUICKSTART),), str(tmp_path / "out.glb"), quality="draft")

    def kill(progress: Progress) -> None:
        for child in multiprocessing.active_children():
            (tmp_path / f".out.glb.{child.pid}.part").touch()
            child.kill()

    ending = run(request, kill)
    assert isinstance(ending, Ending)
    assert ending.exit_code == 1
    assert "the work" in ending.message
    assert files_in(tmp_path) == []


def test_ctrl_c_stops_within_a_second(tmp_path: Path) -> None:
    """Long into the work; nothing is left, neither files nor processes.

    The child holds the same pipes, so ``communicate`` returns only when it is gone as well.
    """
    process = subprocess.Popen(
        in_shell(
            *("reconstruct", QUICKSTART, "-o", tmp_path / "out.glb"),
            *("--method", "drwr", "--param", "steps=100000"),  # minutes on any machine
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts with "&" ignore Ctrl-C, and so would all below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(4)
    assert process.poll() is None
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert time.perf_counter() - start < 1.0
    assert [process.returncode, out] == [130, ""]
    assert err == "image-to-mesh: stopped; nothing was written.\n"
    assert files_in(tmp_path) == []
