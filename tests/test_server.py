"""The service as the add-on meets it: a real child process, real pipes, real jobs."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import __version__, protocol
from backend.camera_files import PosedImage, write_transforms
from backend.images import find_mask, read_image
from backend.mesh_files import read_mesh
from backend.methods import METHODS
from backend.protocol import (
    Cancel,
    Checkpoints,
    Failure,
    FindMask,
    Heartbeat,
    Hello,
    ListCheckpoints,
    ListMethods,
    Mask,
    Methods,
    Preview,
    Progress,
    Reconstruct,
    ReleaseMemory,
    Result,
    Shutdown,
    Stopped,
)
from backend.worker import Worker
from tests.shapes import ball, cameras_around, views_of

ROOT = Path(__file__).parents[1]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ENDINGS = (Result, Failure, Stopped, Mask)
CENTRE = (0.1, -0.06, 0.08)


class Backend:
    """``python -m backend serve`` as a child, with every line that it says."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.log_file = folder / "log" / "backend.log"
        self.errors = folder / "stderr.txt"
        command = [sys.executable, "-m", "backend", "serve", "--log-file", str(self.log_file)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("wb"),
        )
        self.lines: list[str] = []
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode())
            self._messages.put(protocol.decode(line.decode()))
        self._messages.put(None)

    def send_line(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, message: protocol.Request) -> None:
        self.send_line(protocol.encode(message).encode())

    def until(self, *types: type, seconds: float = 60) -> list[Any]:
        """All messages up to the first of these types; a Heartbeat only if asked for."""
        heard: list[Any] = []
        end = time.monotonic() + seconds
        while not (heard and isinstance(heard[-1], types)):
            message = self._messages.get(timeout=max(end - time.monotonic(), 0.01))
            assert message is not None, f"it ended after {heard}"
            if not isinstance(message, Heartbeat) or Heartbeat in types:
                heard.append(message)
        return heard

    def answer(self, request: protocol.Request, *types: type) -> Any:
        self.send(request)
        return self.until(*(types or ENDINGS))[-1]

    def rest(self, seconds: float = 10) -> list[Any]:
        """What it still says until it ends."""
        self.process.wait(seconds)
        return list(iter(lambda: self._messages.get(timeout=seconds), None))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def workers(self) -> list[int]:
        """The process number of every worker that it has started."""
        log = self.log_file.read_text(encoding="utf-8")
        return [int(number) for number in re.findall(r"worker (\d+) started", log)]


def is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def comes_true(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Backend]]:
    """Starts a service of the test's own."""
    started: list[Backend] = []

    def call(**environment: str) -> Backend:
        started.append(Backend(tmp_path, **environment))
        started[-1].until(Hello)
        return started[-1]

    yield call
    for backend in started:
        backend.process.kill()
        backend.process.wait()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One service for the tests that leave it as they found it, so that torch loads once."""
    shared = Backend(tmp_path_factory.mktemp("backend"))
    shared.until(Hello)
    yield shared
    shared.close()
    shared.process.wait(10)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures with alpha of a ball away from the origin, and their cameras."""
    folder = tmp_path_factory.mktemp("photographs of a ball, Größe 1")
    posed = []
    for one in views_of(ball(0.3, CENTRE), cameras_around(5, 96)):
        rgba = np.concatenate([one.image, one.mask[..., None]], axis=-1)
        path = folder / f"{one.name}.png"
        Image.fromarray(np.round(rgba * 255).astype(np.uint8)).save(path)
        posed.append(PosedImage(path, one.camera))
    write_transforms(folder / "transforms.json", posed)
    return folder


@pytest.fixture
def job(tmp_path: Path, photographs: Path) -> Callable[..., Reconstruct]:
    """A small request that writes into a folder of its own."""

    def make(name: str = "job", **words: Any) -> Reconstruct:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        small = {
            "output": str(folder / "mesh.npz"),
            "quality": "draft",
            "params": {"resolution": 32, "fairness": 0},
            "faces": 2000,
            "texture": "none",
        }
        return Reconstruct((str(photographs),), job=name, **(small | words))

    return make


def long(job: Callable[..., Reconstruct], name: str = "long") -> Reconstruct:
    """Minutes of work on any machine."""
    return job(name, method="drwr", params={"steps": 100_000})


def files_in(folder: Path | str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# What it says of itself ---------------------------------------------------------------------------


@LINUX
def test_hello_comes_first_and_without_torch(start: Callable[..., Backend]) -> None:
    service = start()
    hello = protocol.decode(service.lines[0])
    assert isinstance(hello, Hello)
    assert [hello.version, hello.process] == [__version__, service.process.pid]
    assert hello.torch.startswith("2.")
    assert hello.python == ".".join(map(str, sys.version_info[:3]))
    assert hello.devices[-1]["name"] == "cpu"
    assert hello.devices[-1]["memory_gib"] > 0.5
    assert 0.02 < hello.speed < 50
    assert service.answer(ListMethods(), Methods)
    assert "libtorch" not in Path(f"/proc/{hello.process}/maps").read_text()


def test_methods_are_the_command_lines(backend: Backend) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "methods", "--json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    methods = backend.answer(ListMethods(), Methods).methods
    assert list(methods) == json.loads(done.stdout)
    assert [method["name"] for method in methods] == list(METHODS)


def test_checkpoints_of_a_folder(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(b"pickled")
    answer = backend.answer(ListCheckpoints(str(tmp_path)), Checkpoints)
    assert answer.checkpoints == ()
    assert "pickled" in answer.refused[0]["reason"]
    failure = backend.answer(ListCheckpoints(str(tmp_path / "gone")), Failure)
    assert [failure.kind, "gone" in failure.message] == ["input", True]


@pytest.mark.slow
def test_heartbeats_come_during_a_job_too(
    start: Callable[..., Backend], job: Callable[..., Reconstruct]
) -> None:
    service = start()
    service.send(long(job))
    service.until(Progress)
    begin = time.monotonic()
    beats = [service.until(Heartbeat)[-1] for _ in range(2)]
    assert time.monotonic() - begin < 6
    assert 0.1 < beats[-1].memory_gib < 8  # torch is in it
    assert beats[-1].device_memory_gib == 0


# Jobs ---------------------------------------------------------------------------------------------


def test_a_job_from_request_to_mesh(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    request = job("first")
    backend.send(request)
    *before, result = backend.until(*ENDINGS)
    assert isinstance(result, Result), result
    assert {message.job for message in [*before, result]} == {"first"}
    mesh = read_mesh(Path(request.output))
    assert mesh.is_closed_manifold()
    assert [len(mesh.vertices), len(mesh.faces)] == [result.vertices, result.faces]
    radii = np.linalg.norm(mesh.vertices - np.array(CENTRE), axis=1)
    assert radii.mean() == pytest.approx(0.3, rel=0.03)
    progress = [message for message in before if isinstance(message, Progress)]
    fractions = [message.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert [fractions[0], fractions[-1]] == [0, 1]
    assert 0.1 < result.peak_memory_gib < 8
    assert result.overlays == ()


@pytest.mark.slow
def test_the_next_job_finds_torch_loaded(
    start: Callable[..., Backend], job: Callable[..., Reconstruct]
) -> None:
    service = start()
    stages = []
    for name in ("one", "two"):
        service.send(job(name))
        *before, result = service.until(*ENDINGS)
        assert isinstance(result, Result)
        stages.append([message.stage for message in before if isinstance(message, Progress)])
    assert "loading torch" in stages[0]
    assert "loading torch" not in stages[1]
    assert len(service.workers()) == 1
    one, two = (Path(job(name).output).read_bytes() for name in ("one", "two"))
    assert one == two


def test_previews_stand_in_the_world(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    request = job("previews", params={"resolution": 32}, method="dvr")
    backend.send(request)
    shown, seconds = [], []
    while True:
        message = backend.until(Preview, *ENDINGS)[-1]
        if not isinstance(message, Preview):
            break
        assert message.job == "previews"
        seconds.append(time.monotonic())
        shown.append(Path(message.path).name)
        # It may have been superseded twice already, but only if the test was asleep.
        middle = read_mesh(Path(message.path)).vertices.mean(axis=0)
        np.testing.assert_allclose(middle, CENTRE, atol=0.04)
    assert isinstance(message, Result)
    assert shown == [f"preview-{number}.npz" for number in range(1, len(shown) + 1)]
    assert shown
    assert len(shown) <= 1 + 2 * (seconds[-1] - seconds[0]) + 0.5
    assert files_in(Path(request.output).parent) == sorted(["mesh.npz", *shown[-2:]])


def test_no_previews_beside_other_files(
    backend: Backend, job: Callable[..., Reconstruct], tmp_path: Path
) -> None:
    request = job("glb", params={"resolution": 32}, output=str(tmp_path / "glb" / "mesh.glb"))
    backend.send(request)
    assert not [m for m in backend.until(*ENDINGS) if isinstance(m, Preview)]
    assert files_in(tmp_path / "glb") == ["mesh.glb"]


def test_overlays_in_the_order_of_the_views(
    backend: Backend, job: Callable[..., Reconstruct], tmp_path: Path
) -> None:
    """Symmetry adds mirrored views, of which nothing is told."""
    folder = tmp_path / "over" / "overlays"
    result = backend.answer(job("over", overlays=str(folder), symmetry="x"))
    assert isinstance(result, Result), result
    assert list(result.overlays) == [str(folder / f"view-{n:03d}.png") for n in range(5)]
    assert len(result.silhouette_iou) == 5
    assert Image.open(result.overlays[0]).size == (96, 96)


def test_a_mask_for_each_view(
    backend: Backend, job: Callable[..., Reconstruct], tmp_path: Path
) -> None:
    """The third view's mask file is half the ball, and the agreement shows it."""
    half = np.zeros((96, 96), np.uint8)
    half[:48] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    masks = ("auto", "alpha", str(tmp_path / "half.png"), "auto", "auto")
    result = backend.answer(job("masks", masks=masks))
    assert isinstance(result, Result), result
    agreement = list(result.silhouette_iou.values())
    assert np.argmin(agreement) == 2
    assert "2 masks for 5 images" in backend.answer(job("few", masks=("auto", "alpha"))).message


def test_find_mask(backend: Backend, tmp_path: Path) -> None:
    picture = ROOT / "examples" / "drawings" / "front.png"
    request = FindMask(str(picture), "auto", str(tmp_path / "mask.png"), "mask job")
    answer = backend.answer(request)
    assert isinstance(answer, Mask), answer
    assert [answer.job, answer.source] == ["mask job", "plain background"]
    written = np.asarray(Image.open(answer.output))
    expected = find_mask(read_image(picture), "front", None, "auto").coverage
    assert written.dtype == np.uint8
    np.testing.assert_allclose(written / 255, expected, atol=0.5 / 255 + 1e-6)
    failure = backend.answer(FindMask(str(picture), "alpha", str(tmp_path / "no.png"), "other"))
    assert [failure.kind, failure.job] == ["input", "other"]
    assert "no alpha channel" in failure.message
    assert files_in(tmp_path) == ["mask.png"]


def test_find_mask_does_not_load_torch(start: Callable[..., Backend], tmp_path: Path) -> None:
    service = start()
    picture = str(ROOT / "examples" / "drawings" / "front.png")
    assert isinstance(service.answer(FindMask(picture, "auto", str(tmp_path / "m.png"))), Mask)
    (worker,) = service.workers()
    if sys.platform == "linux":
        assert "libtorch" not in Path(f"/proc/{worker}/maps").read_text()


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words", "name"),
    [
        (b"no JSON", "not a request", ""),
        (b"\xff\xfe\x00", "not a request", ""),
        (b"[1, 2]", "not a message", ""),
        (b'"Hello"', "not a message", ""),
        (b"[" * 100_000, "nested too deeply", ""),
        (b'{"type": "Magic"}', "not a message", ""),
        (b'{"type": "Stopped", "job": "x"}', "Stopped is an answer", "x"),
        (b'{"type": "Cancel"}', "missing", ""),
        (b'{"type": "Cancel", "job": 5}', "Cancel.job must be str, got 5", ""),
        (b'{"type": "Reconstruct", "inputs": "a", "output": "b"}', "must be tuple", ""),
        (b'{"type": "Reconstruct", "inputs": [1], "output": "b"}', "must be tuple[str", ""),
        (b'{"type": "Reconstruct", "inputs": [], "output": "b", "new": 1, "job": "j"}', "new", "j"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_line_that_is_no_request(backend: Backend, line: bytes, words: str, name: str) -> None:
    backend.send_line(line)
    failure = backend.until(Failure)[-1]
    assert words in failure.message
    assert [failure.kind, failure.job] == ["input", name]
    assert failure.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"inputs": ("gone.png",)}, "gone.png"),
        ({"inputs": ()}, "no input"),
        ({"method": "magic"}, "magic"),
        ({"params": {"resolution": "many"}}, "resolution"),
        ({"params": {"resolution": [1]}}, "resolution"),
        ({"output": "/gone/mesh.npz"}, "gone"),
        ({"output": ""}, "cannot write"),
        ({"masks": ()}, "0 mask"),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_used(
    backend: Backend, job: Callable[..., Reconstruct], words: dict[str, Any], said: str
) -> None:
    request = protocol.encode(job("wrong"))
    wrong = protocol.decode(json.dumps(json.loads(request) | words))
    assert isinstance(wrong, Reconstruct)
    failure = backend.answer(wrong)
    assert isinstance(failure, Failure), failure
    assert [failure.kind, failure.job] == ["input", "wrong"]
    assert said in failure.message


def test_one_job_at_a_time(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    backend.send(long(job, "running"))
    backend.until(Progress)
    failure = backend.answer(job("second"), Failure)
    assert [failure.kind, failure.job] == ["input", "second"]
    assert "another job is running" in failure.message
    backend.send(Cancel("someone else's"))
    assert backend.answer(Cancel("running")) == Stopped("running")


# Cancel, crash, end -------------------------------------------------------------------------------


def test_cancel_stops_within_a_second(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    request = long(job)
    backend.send(request)
    while backend.until(Progress)[-1].fraction < 0.11:
        pass
    begin = time.monotonic()
    backend.send(Cancel("long"))
    *_, last = backend.until(*ENDINGS)
    assert time.monotonic() - begin < 1.0
    assert last == Stopped("long")
    assert files_in(Path(request.output).parent) == []
    assert isinstance(backend.answer(job("after")), Result)


@POSIX
def test_cancel_of_work_that_does_not_listen(
    start: Callable[..., Backend], job: Callable[..., Reconstruct]
) -> None:
    """As native code does not; the unfinished files are planted."""
    service = start()
    request = long(job)
    service.send(request)
    service.until(Progress)
    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    folder = Path(request.output).parent
    for name in (f".mesh.npz.{worker}.part", "mesh.npz", "preview-7.npz"):
        (folder / name).touch()
    begin = time.monotonic()
    service.send(Cancel("long"))
    assert service.until(*ENDINGS)[-1] == Stopped("long")
    assert time.monotonic() - begin < 1.0
    assert files_in(folder) == []
    assert not is_alive(worker)
    assert isinstance(service.answer(job("after")), Result)


@POSIX
def test_a_worker_is_gone_when_its_killing_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the thread that listens to it learns of its death first, as half of the time."""
    buried = threading.Event()
    wait_for = os.waitpid

    def slow(process: int, options: int) -> tuple[int, int]:
        found = wait_for(process, options)
        buried.set()
        time.sleep(0.2)
        return found

    worker = Worker()
    monkeypatch.setattr(os, "waitpid", slow)
    listener = threading.Thread(target=worker.receive)
    listener.start()
    os.kill(worker.pid, signal.SIGKILL)
    assert buried.wait(10)
    worker.kill()
    assert worker.has_ended
    listener.join()


def test_cancel_leaves_an_older_result(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    request = long(job)
    Path(request.output).write_bytes(b"older")
    backend.send(request)
    backend.until(Progress)
    assert backend.answer(Cancel("long")) == Stopped("long")
    assert Path(request.output).read_bytes() == b"older"


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize(("how", "kind"), [("SIGKILL", "memory"), ("SIGSEGV", "crash")])
def test_a_worker_that_dies_is_named_and_replaced(
    start: Callable[..., Backend], job: Callable[..., Reconstruct], how: str, kind: str
) -> None:
    service = start()
    request = long(job)
    service.send(request)
    service.until(Progress)
    (worker,) = service.workers()
    (Path(request.output).parent / f".mesh.npz.{worker}.part").touch()
    os.kill(worker, getattr(signal, how))
    failure = service.until(*ENDINGS)[-1]
    assert isinstance(failure, Failure)
    assert [failure.kind, failure.job] == [kind, "long"]
    assert failure.hint
    assert files_in(Path(request.output).parent) == []
    assert isinstance(service.answer(job("after")), Result)
    assert len(service.workers()) == 2


@pytest.mark.slow
@POSIX
def test_an_idle_worker_that_died_costs_no_job(
    start: Callable[..., Backend], job: Callable[..., Reconstruct]
) -> None:
    service = start()
    assert isinstance(service.answer(job("one")), Result)
    (worker,) = service.workers()
    os.kill(worker, signal.SIGKILL)
    assert comes_true(lambda: not is_alive(worker))
    assert isinstance(service.answer(job("two")), Result)


@pytest.mark.slow
def test_release_memory(start: Callable[..., Backend], job: Callable[..., Reconstruct]) -> None:
    """During a job when it has ended, between jobs at once."""
    service = start()
    service.send(job("one"))
    service.send(ReleaseMemory())
    assert isinstance(service.until(*ENDINGS)[-1], Result)
    (worker,) = service.workers()
    assert comes_true(lambda: not is_alive(worker))
    assert isinstance(service.answer(job("two")), Result)
    left = service.answer(ReleaseMemory(), Heartbeat)
    assert left.memory_gib < 0.2
    assert not is_alive(service.workers()[1])


def test_it_ends_when_standard_input_closes(
    start: Callable[..., Backend], job: Callable[..., Reconstruct]
) -> None:
    service = start()
    request = long(job)
    service.send(request)
    service.until(Progress)
    service.close()
    assert Stopped("long") in service.rest()
    assert service.process.returncode == 0
    assert not is_alive(service.workers()[0])
    assert files_in(Path(request.output).parent) == []


def test_it_ends_although_nobody_reads(start: Callable[..., Backend]) -> None:
    """Its pipe is full, so it hangs in an answer."""
    service = start()
    plugged = subprocess.Popen(
        service.process.args, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert plugged.stdin is not None
    plugged.stdin.write(200 * (protocol.encode(ListMethods()).encode() + b"\n"))
    plugged.stdin.close()
    time.sleep(1)
    plugged.wait(10)


def test_shutdown(start: Callable[..., Backend], job: Callable[..., Reconstruct]) -> None:
    service = start()
    service.send(long(job))
    service.until(Progress)
    service.send(Shutdown())
    assert Stopped("long") in service.rest()
    assert service.process.returncode == 0
    assert not is_alive(service.workers()[0])


@POSIX
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_it(
    start: Callable[..., Backend], job: Callable[..., Reconstruct], how: str
) -> None:
    service = start()
    service.send(long(job))
    service.until(Progress)
    (worker,) = service.workers()
    service.process.send_signal(getattr(signal, how))
    service.process.wait(5)
    assert comes_true(lambda: not is_alive(worker))


@POSIX
def test_ctrl_c_is_not_for_it(backend: Backend, job: Callable[..., Reconstruct]) -> None:
    backend.send(job("undisturbed"))
    backend.until(Progress)
    for process in (backend.process.pid, backend.workers()[-1]):
        os.kill(process, signal.SIGINT)
    assert isinstance(backend.until(*ENDINGS)[-1], Result)


# Streams, log, libraries --------------------------------------------------------------------------


def in_every_worker(folder: Path, code: str) -> dict[str, str]:
    """Environment in which every worker begins with ``code``."""
    lines = ["import os, sys", "if '--multiprocessing-fork' in sys.orig_argv:"]
    lines += [f"    {line}" for line in code.splitlines()]
    (folder / "sitecustomize.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_only_answers_reach_standard_output(
    start: Callable[..., Backend], job: Callable[..., Reconstruct], tmp_path: Path
) -> None:
    noise = "print('noise of Python', flush=True)\nos.write(1, b'noise of C')\nos.system('echo c')"
    service = start(**in_every_worker(tmp_path, noise))
    assert isinstance(service.answer(job("noisy")), Result)
    service.close()
    service.rest()
    assert all(protocol.decode(line) for line in service.lines)
    assert not [line for line in service.lines if "noise" in line]
    assert "noise of Python" in service.errors.read_text()
    assert "noise of C" in service.errors.read_text()


def test_a_missing_library_is_named(
    start: Callable[..., Backend], job: Callable[..., Reconstruct], tmp_path: Path
) -> None:
    service = start(**in_every_worker(tmp_path, "sys.modules['torch'] = None"))
    failure = service.answer(job("torchless"))
    assert isinstance(failure, Failure)
    assert [failure.kind, failure.job] == ["library", "torchless"]
    assert "torch is missing" in failure.message
    assert "Repair" in failure.hint
    assert comes_true(lambda: not is_alive(service.workers()[0]))  # the next has another chance


def test_the_log_holds_tracebacks(start: Callable[..., Backend], tmp_path: Path) -> None:
    service = start()
    failure = service.answer(FindMask("gone.png", "auto", str(tmp_path / "mask.png")))
    assert isinstance(failure, Failure)
    log = service.log_file.read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "gone.png does not exist" in log
    assert service.errors.read_text() == ""


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").touch()  # a file where the log's folder should be
    service = Backend(tmp_path)
    service.until(Hello)
    service.close()
    service.rest()
    assert "cannot write the log" in service.errors.read_text()
