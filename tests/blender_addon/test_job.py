"""One reconstruction through the real backend, and through programs that fail as it could."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.addon_parts import ROOT, backend_process, job, protocol
from tests.child_programs import Programs, is_alive, leaving, started, until

BackendProcess, Job, Reconstruct = backend_process.BackendProcess, job.Job, protocol.Reconstruct
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    programs.end()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[backend_process.BackendProcess]:
    """One for all tests, so that torch is imported once; a test may kill it."""
    log = tmp_path_factory.mktemp("logs") / "backend.log"
    backend = BackendProcess([sys.executable], ROOT, log)
    yield backend
    backend.stop(5.0)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A dark egg before white, from the front, the right and the top."""
    folder = tmp_path_factory.mktemp("Bilder é 网")
    paths = [folder / f"{name}.png" for name in ("front", "right", "top")]
    for path, half_height in zip(paths, (40, 40, 25), strict=True):
        picture = Image.new("RGB", (96, 96), "white")
        box = (48 - 25, 48 - half_height, 48 + 25, 48 + half_height)
        ImageDraw.Draw(picture).ellipse(box, fill=(120, 60, 30))
        picture.save(path)
    return tuple(map(str, paths))


def request_for(drawings: tuple[str, ...], folder: Path, **words: Any) -> protocol.Reconstruct:
    folder.mkdir(exist_ok=True)
    small = {"quality": "draft", "params": {"resolution": 32, "fairness": 0}, "faces": 2000}
    views = ("front", "right", "top")
    return Reconstruct(drawings, str(folder / "mesh.npz"), views=views, **(small | words))


def slow(drawings: tuple[str, ...], folder: Path) -> protocol.Reconstruct:
    """One that takes some ten seconds."""
    return request_for(drawings, folder, quality="high", params={"resolution": 200})


def run(one: job.Job, seconds: float = 60.0) -> job.Job:
    one.start()
    one.wait(seconds)
    assert one.ended
    return one


def is_at_work(one: job.Job) -> bool:
    one.poll()
    assert not one.ended, one.failure
    return one.state == "running" and one.fraction > 0


# Through the real backend -------------------------------------------------------------------------


def test_from_pictures_to_a_mesh(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    one = Job(real, request_for(drawings, tmp_path / "Auftrag é 1"), owns_folder=True)
    assert one.state == "waiting"
    fractions: list[float] = []
    one.start()
    until(lambda: one.poll() or fractions.append(one.fraction) or one.ended, 60.0)
    assert (one.state, one.failure, one.notes) == ("done", None, [])
    assert fractions == sorted(fractions)
    assert (fractions[-1], one.seconds_left) == (1.0, 0.0)
    assert one.result is not None
    assert one.result.job == one.request.job != ""
    assert one.result.output == one.request.output
    with np.load(one.result.output) as mesh:
        low, high = mesh["vertices"].min(axis=0), mesh["vertices"].max(axis=0)
    width, depth, height = high - low
    assert depth / width == pytest.approx(1.0, abs=0.08)
    assert height / width == pytest.approx(1.6, abs=0.08)


def test_what_is_wrong_with_the_pictures_is_told(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    one = run(Job(real, request_for((*drawings[:2], "/no/such.png"), tmp_path)))
    assert one.state == "failed"
    assert one.failure is not None
    assert one.failure.kind == "input"
    assert "/no/such.png" in one.failure.message
    assert real.running
    assert run(Job(real, request_for(drawings, tmp_path))).state == "done"


def test_cancel_ends_the_work_and_leaves_nothing(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    one = Job(real, slow(drawings, tmp_path / "job"), owns_folder=True)
    one.start()
    until(lambda: is_at_work(one), 60.0)
    begin = time.monotonic()
    one.cancel()
    one.cancel()
    one.wait(5.0)
    assert (one.state, one.result, one.failure) == ("cancelled", None, None)
    assert time.monotonic() - begin < 1.5
    assert not (tmp_path / "job").exists()
    assert run(Job(real, request_for(drawings, tmp_path))).state == "done"


@posix_only
@pytest.mark.slow
def test_backend_killed_in_the_middle(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    """A kill looks like a lack of memory: once more, lower, in a new process."""
    first = started(real)
    one = Job(real, slow(drawings, tmp_path))
    one.start()
    until(lambda: is_at_work(one), 60.0)
    os.kill(first, signal.SIGKILL)
    until(lambda: one.poll() or one.notes)
    assert (one.state, one.fraction, one.request.quality) == ("waiting", 0.0, "standard")
    until(lambda: is_at_work(one), 60.0)
    assert started(real) != first
    assert one.notes == [
        "The memory did not suffice for high quality; tried again at standard, with that quality's "
        "resolution."
    ]
    one.wait(60.0)
    assert one.state == "done"
    assert one.result is not None
    assert one.result.quality == "standard"


@posix_only
def test_backend_killed_again_during_the_restart(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    first = started(real)
    one = Job(real, slow(drawings, tmp_path / "job"), owns_folder=True)
    one.start()
    until(lambda: is_at_work(one), 60.0)
    os.kill(first, signal.SIGKILL)
    until(lambda: one.poll() or one.notes)
    child = real._child
    assert child is not None
    os.kill(child.process.pid, signal.SIGKILL)  # before it could say Hello
    one.wait(10.0)
    assert one.state == "failed"
    assert one.failure is not None
    assert one.failure.kind == "memory"
    assert "SIGKILL" in one.failure.message
    assert len(one.notes) == 1
    assert not (tmp_path / "job").exists()
    assert run(Job(real, request_for(drawings, tmp_path))).state == "done"  # the next click


@posix_only
def test_backend_that_crashes_is_started_by_the_next_click(
    real: backend_process.BackendProcess, drawings: tuple[str, ...], tmp_path: Path
) -> None:
    process = started(real)
    one = Job(real, slow(drawings, tmp_path))
    one.start()
    until(lambda: is_at_work(one), 60.0)
    os.kill(process, signal.SIGSEGV)
    one.wait(10.0)
    assert one.state == "failed"
    assert one.failure is not None
    assert one.failure.kind == "crash"
    assert "SIGSEGV" in one.failure.message
    assert run(Job(real, request_for(drawings, tmp_path))).state == "done"


@pytest.mark.parametrize("end", [BackendProcess.stop, BackendProcess.kill])
def test_backend_restarted_by_hand(
    real: backend_process.BackendProcess,
    drawings: tuple[str, ...],
    tmp_path: Path,
    end: Callable[[backend_process.BackendProcess], None],
) -> None:
    one = Job(real, slow(drawings, tmp_path))
    one.start()
    until(lambda: is_at_work(one), 60.0)
    end(real)
    started(real)
    one.poll()
    assert one.state == "failed"
    assert one.failure is not None
    assert one.failure.message == "The backend was stopped."


def test_no_backend_at_all(tmp_path: Path) -> None:
    backend = BackendProcess([str(tmp_path / "python")], ROOT, tmp_path / "backend.log")
    one = run(Job(backend, Reconstruct(("a.png",), str(tmp_path / "mesh.npz"))), 1.0)
    assert one.state == "failed"
    assert one.failure is not None
    assert one.failure.kind == "library"
    assert "There is no Python at" in one.failure.message


# Through programs that fail -----------------------------------------------------------------------

REQUEST = Reconstruct(("a.png",), "mesh.npz", quality="high", texture="uv", job="ours")
RESULT = """
def result(request):
    say("Result", output=request["output"], method=request["method"], quality=request["quality"],
        seed=0, device="cpu", seconds=1.0, stage_seconds={}, vertices=4, faces=4, watertight=True,
        silhouette_iou={}, warnings=[request["texture"], json.dumps(request["params"])],
        job=request["job"])
hello()
"""


def test_memory_full_means_one_more_try_at_lower_quality(make: Programs) -> None:
    backend = make(
        RESULT
        + """
request = ask()
say("Progress", fraction=0.7, stage="fitting", job="ours")
say("Preview", path="preview-1.npz", job="ours")
say("Failure", message="memory is full.", kind="memory", job="ours")
result(ask())
time.sleep(60)
"""
    )
    one = Job(backend, dataclasses.replace(REQUEST, params={"fairness": 0.5, "resolution": 300}))
    seen: list[tuple[float, bool]] = []
    one.start()
    until(lambda: one.poll() or seen.append((one.fraction, bool(one.notes))) or one.ended)
    assert one.state == "done"
    assert one.result is not None
    assert one.result.quality == one.request.quality == "standard"
    assert one.result.warnings == ("uv", '{"fairness": 0.5}')
    assert "did not suffice for high quality; tried again at standard" in one.notes[0]
    for again in (False, True):
        fractions = [fraction for fraction, noted in seen if noted == again]
        assert fractions == sorted(fractions)
    assert one.preview is None


@pytest.mark.parametrize(("quality", "tries"), [("high", 2), ("standard", 2), ("draft", 1)])
def test_never_more_than_two_tries(make: Programs, quality: str, tries: int) -> None:
    backend = make(
        """
        hello()
        for number in range(1, 9):
            ask()
            say("Failure", message=f"full {number}.", hint="Less.", kind="memory", job="ours")
        """
    )
    one = run(Job(backend, dataclasses.replace(REQUEST, quality=quality)))
    assert one.state == "failed"
    assert one.failure == protocol.Failure(f"full {tries}.", "Less.", "memory", "ours")
    assert len(one.notes) == tries - 1


@pytest.mark.parametrize("kind", ["input", "cuda", "library", "crash", "failure"])
def test_other_failures_are_not_tried_again(make: Programs, kind: str) -> None:
    backend = make(f"""
        hello()
        ask()
        say("Failure", message="no.", kind="{kind}", job="ours")
        ask()
    """)
    one = run(Job(backend, REQUEST))
    assert one.failure == protocol.Failure("no.", "", kind, "ours")
    assert one.notes == []


def test_other_jobs_and_backward_steps_are_not_heard(make: Programs) -> None:
    backend = make(
        RESULT
        + """
request = ask()
for job in ("", "theirs"):
    say("Failure", message="no.", kind="memory", job=job)
    say("Progress", fraction=0.9, stage="theirs", job=job)
    say("Preview", path="theirs.npz", job=job)
    say("Stopped", job=job)
for fraction in (0.2, 0.4, 0.3, -1, 0.5):
    say("Progress", fraction=fraction, stage="ours", job="ours", seconds_left=3.0)
    time.sleep(0.05)
say("Preview", path="preview-1.npz", job="ours")
ask()
say("Progress", fraction=7, stage="ours", job="ours")
result(request)
say("Failure", message="too late.", job="ours")
ask()
"""
    )
    one = Job(backend, REQUEST)
    one.start()
    fractions: list[float] = []
    until(lambda: one.poll() or fractions.append(one.fraction) or one.preview)
    assert (one.state, one.fraction, one.stage, one.seconds_left) == ("running", 0.5, "ours", 3.0)
    assert fractions == sorted(fractions)
    assert one.preview == Path("preview-1.npz")
    backend.send(protocol.ListMethods())
    one.wait(10.0)
    for _ in range(5):
        one.poll()
    assert (one.state, one.fraction) == ("done", 1.0)


def test_backend_that_hangs(make: Programs) -> None:
    one = run(Job(make("hello()\nask()\ntime.sleep(60)", silence_limit=0.3), REQUEST))
    assert one.failure is not None
    assert one.failure.kind == "crash"
    assert "does not answer" in one.failure.message


def test_backend_that_never_says_hello(make: Programs) -> None:
    one = run(Job(make("sys.exit('no licence')"), REQUEST))
    assert one.failure is not None
    assert one.failure.message.endswith("(exit code 1): no licence.")


# Cancel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        ("time.sleep(60)", False),
        ("say('Failure', message='no.', kind='memory', job='ours'); time.sleep(60)", True),
        ("result(request); time.sleep(60)", True),
        ("say('Stopped', job='ours'); time.sleep(60)", True),
        ("os._exit(3)", False),
        ("os.kill(os.getpid(), 9)", False),
    ],
)
def test_cancelled_whatever_the_backend_does(
    make: Programs, answer: str, stays: bool, tmp_path: Path
) -> None:
    say = "say('Progress', fraction=0.1, stage='', job='ours')"
    backend = make(f"{RESULT}\nrequest = ask()\n{say}\nask()\n{answer}")
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "mesh.npz").touch()
    request = dataclasses.replace(REQUEST, output=str(folder / "mesh.npz"))
    one = Job(backend, request, owns_folder=True)
    one.start()
    until(lambda: is_at_work(one))
    begin = time.monotonic()
    one.cancel()
    one.wait(5.0)
    assert time.monotonic() - begin < 1.5
    assert (one.state, one.result, one.failure, one.notes) == ("cancelled", None, None, [])
    assert not folder.exists()
    assert backend.running == stays


def test_one_that_does_not_stop_is_ended(make: Programs) -> None:
    backend = make("hello()\nask()\nwhile True:\n    beat()\n    time.sleep(0.05)")
    process = started(backend)
    one = Job(backend, REQUEST)
    one.start()
    one.poll()
    one.cancel()
    one.wait(0.8)
    assert one.state == "running"
    one.wait(0.5)
    assert one.state == "cancelled"
    until(lambda: backend.poll() is None or not leaving(backend))
    assert not is_alive(process)


def test_cancel_before_the_start(make: Programs) -> None:
    backend = make("time.sleep(0.2)\nhello()\nask()")
    one = Job(backend, REQUEST)
    one.start()
    one.cancel()
    assert one.state == "cancelled"
    started(backend)
    one.poll()
    assert one.state == "cancelled"
    assert backend.running  # nothing was asked of it


def test_folder_of_others_is_left_alone(make: Programs, tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()
    backend = make("hello()\nask()")
    request = dataclasses.replace(REQUEST, output=str(tmp_path / "mesh.npz"))
    assert run(Job(backend, request)).state == "failed"
    assert (tmp_path / "picture.png").exists()
